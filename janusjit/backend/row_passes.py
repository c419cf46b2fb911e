"""Steps over the same rows that end in products which sum over these, done in one pass over blocks of rows.

Owns `RowPass` and `find_row_passes`. ``e = f(x @ w)`` and then ``x.T @ e`` go over ``x`` twice; block by block of rows,
the second finds it in the cache. Such a product adds its part for each block to what there is. Invariants: no step of a
pass touches, in one row, memory that another writes in a different row; nothing in a pass reads what a product that
sums over the rows gives; how the rows are divided into sums that are added up at last depends on sizes alone, so the
result has the same bits on any number of threads. Storages in use anywhere in a pass are in use in all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from janusjit.backend import cost
from janusjit.backend.address import Address, Addresses, moved
from janusjit.backend.epilogues import keep_to_rows
from janusjit.backend.fused import FusedKernel, undivided
from janusjit.backend.layout import viewed
from janusjit.backend.plan import FusedStep, NodeStep, Plan, RegionStep, Step
from janusjit.backend.row_order import is_long, row_operands
from janusjit.backend.storage import Placement, Storage
from janusjit.backend.tiles import is_by_rows, row_bytes, settle_rooms
from janusjit.ir.dims import Dim, symbol
from janusjit.ir.graph import Node
from janusjit.pacing import pause

#: rows are divided into so many sums at most: each thread computes some of them
_PARTS = 8
#: a block has so many rows at least: results are added to for each
_LEAST_BLOCK = 8
#: a pass has so many steps at most
_MOST_STEPS = 40


@dataclass(frozen=True, eq=False)
class RowPass:
    """Consecutive ``steps``, done for ``block`` of their ``rows`` at a time.

    Attributes
    ----------
    steps : tuple of Step
        Fused steps, products that are computed by rows, and those that sum over them.
    sums : frozenset of Step
        The products that sum over the rows.
    rows, block : int
        How many rows there are, and how many are done at a time.
    parts : int
        How many sums, of neighbouring rows each, are added up at last.
    row_bytes : int
        How many bytes a row of all arrays has.
    """

    steps: tuple[Step, ...]
    sums: frozenset[Step]
    rows: int
    block: int
    parts: int
    row_bytes: int

    @property
    def size(self) -> Dim:
        """The symbol of how many rows there are in a turn: fewer in the last."""
        return symbol(f"rows{self.steps[0].time}")

    @property
    def first(self) -> Step:
        """The step that is done first."""
        return self.steps[0]

    @property
    def members(self) -> list[Step]:
        """All steps, in order."""
        return [*self.steps]


def find_row_passes(
    plan: Plan, placement: Placement, threads: int = 1, apart: Collection[Step] = ()
) -> dict[Step, RowPass]:
    """Return the pass of each step that is in one; storages stay where they are meanwhile.

    The steps ``apart`` stay by themselves.
    """
    finder = _Finder(Addresses(placement), placement, apart)
    finder.visit(plan.steps)
    for one in finder.passes:
        sums = [placement.storage(step.node.result) for step in one.sums if isinstance(step, NodeStep)]
        settle_rooms(placement, (one.first, one.steps[-1]), (one.rows, one.block), threads, sums)
    return {step: one for one in finder.passes for step in one.steps}


def rows_first(addresses: Addresses, node: Node) -> tuple[Address, Address]:
    """Return where the operands of a product that sums over rows lie, rows along the first axis."""
    left, right = node.inputs
    turned = addresses.of(left)
    if left.type.rank == 2:
        turned = moved(turned, viewed(turned.layout, "transpose", {"axes": (1, 0)}), ())
    return turned, addresses.of(right)


@dataclass
class _Run:
    """Steps over the same rows, as kernels that name their arrays, the first axis of which are the rows."""

    rows: int
    steps: list[Step]
    kernels: list[FusedKernel]
    sums: list[NodeStep]
    results: set[Storage]
    shared: int = 0


class _Finder:
    def __init__(self, addresses: Addresses, placement: Placement, apart: Collection[Step]) -> None:
        self.passes: list[RowPass] = []
        self._addresses, self._placement, self._apart = addresses, placement, apart

    def visit(self, steps: list[Step]) -> None:
        """Find passes among the steps of a region, and those nested in it."""
        run: _Run | None = None
        is_there = any(map(_sums_rows, steps))
        for step in steps:
            if isinstance(step, RegionStep):
                for body in step.bodies:
                    self.visit(body)
            if is_there:
                pause()
                run = self._continued(run, step)
        self._close(run)

    def _continued(self, run: _Run | None, step: Step) -> _Run | None:
        """Return the run with a step, or a new one, if the step is over rows; what ends here becomes a pass."""
        found = None if step in self._apart else self._as_kernel(step)
        if found is not None and run is not None and self._joins(run, step, found):
            return run
        self._close(run)
        if found is None:
            return None
        run = _Run(_rows(found), [], [], [], set())
        return run if self._joins(run, step, found) else None

    def _joins(self, run: _Run, step: Step, kernel: FusedKernel) -> bool:
        """Add a step to a run, if it can be done by the same blocks."""
        touched = {address.storage for address in kernel.arrays}
        if _rows(kernel) != run.rows or not run.results.isdisjoint(touched):
            return False
        if not keep_to_rows([*run.kernels, kernel]):
            return False
        if len(run.steps) == _MOST_STEPS:
            return False
        if isinstance(step, NodeStep) and _sums_rows(step):
            result = self._addresses.of(step.node.result)
            everything = touched.union(*({a.storage for a in one.arrays} for one in run.kernels))
            if result.storage in everything or result.storage.kind not in ("arena", "object", "own"):
                return False
            run.results.add(result.storage)
            run.sums.append(step)
            run.shared += _bytes(result)
        elif isinstance(step, NodeStep):
            run.shared += _bytes(self._addresses.of(step.node.inputs[1]))
        run.steps.append(step)
        run.kernels.append(kernel)
        return True

    def _as_kernel(self, step: Step) -> FusedKernel | None:
        """Return a step's arrays as those of a kernel over its rows; None if it is not done row by row."""
        if isinstance(step, FusedStep):
            return undivided(step, self._addresses) if is_by_rows(step, self._placement) else None
        if not isinstance(step, NodeStep) or step.node.op != "matmul":
            return None
        node = step.node
        if node.result.type.dtype not in ("f32", "f64"):
            return None
        if _sums_rows(step):
            return self._summing(node)
        return self._product(node)

    def _summing(self, node: Node) -> FusedKernel | None:
        arrays = list(rows_first(self._addresses, node))
        if not all(map(_is_known, arrays)) or (max(map(_width, arrays)) > 1 and not _is_wide(arrays)):
            return None
        return _of_rows(arrays, ())

    def _product(self, node: Node) -> FusedKernel | None:
        a, b = node.inputs
        if a.type.rank != 2 or b.type.rank > 2 or a.type.shape[0] in (0, 1):
            return None
        out, left, right = (self._addresses.of(value) for value in (node.result, a, b))
        if not all(map(_is_known, (out, left, right))):
            return None
        right = right.broadcast((a.type.shape[0], *right.layout.shape)) if right.layout.shape else right
        return _of_rows([out, left, right], (0,))

    def _close(self, run: _Run | None) -> None:
        """Make a pass of a run, up to its last product that sums over the rows, if it pays."""
        if run is None or not run.sums:
            return
        end = run.steps.index(run.sums[-1]) + 1
        begin = _first_of_use(run.kernels[:end])
        kernels = run.kernels[begin:end]
        seen, moved_bytes = _row_traffic(kernels)
        total, spared = run.rows * seen, run.rows * (moved_bytes - seen)
        if len(kernels) < 2 or not cost.pays_in_one_pass(total, spared, run.shared) or seen > cost.PASS_BYTES:
            return
        block = _block(run.rows, max(cost.PASS_BYTES, min(2 * run.shared, cost.CACHE_BYTES)) // seen)
        parts = min(_PARTS, max(1, total // (cost.PASS_TIMES_SHARED * max(run.shared, 1))), run.rows // block)
        if block < run.rows:
            steps = tuple(run.steps[begin:end])
            sums = frozenset(step for step in run.sums if step in steps)
            self.passes.append(RowPass(steps, sums, run.rows, block, max(parts, 1), seen))


def _sums_rows(step: Step) -> bool:
    """Return whether a step is a product that sums over many rows."""
    if not isinstance(step, NodeStep) or row_operands(step.node) is None:
        return False
    return is_long(step.node.inputs[0].type.shape[-1])


def _rows(kernel: FusedKernel) -> int:
    rows = kernel.dims[0]
    assert isinstance(rows, int)
    return rows


def _of_rows(arrays: list[Address], written: Sequence[int]) -> FusedKernel:
    """Return a kernel that names arrays; of which some are written, row by row."""
    rows = arrays[0].layout.shape[0]
    kernel = FusedKernel([rows], [False], arrays, [[one.layout.strides[0]] for one in arrays])
    kernel.stores += [(None, number) for number in written]  # type: ignore[misc]
    return kernel


def _is_known(address: Address) -> bool:
    return all(isinstance(extent, int) for extent in (*address.layout.shape, *address.layout.strides))


def _width(address: Address) -> int:
    """Return how many elements a row has."""
    width = address.layout.shape[1] if len(address.layout.shape) > 1 else 1
    assert isinstance(width, int)
    return width


def _is_wide(arrays: Sequence[Address]) -> bool:
    """Return whether the wider of two operands, or the second, has its rows along memory: it is loaded by vectors."""
    left, right = arrays
    wider = left if _width(left) > _width(right) else right
    return wider.layout.strides[-1] == wider.layout.item_size


def _bytes(address: Address) -> int:
    size = address.layout.item_size
    for dim in address.layout.shape:
        assert isinstance(dim, int)
        size *= dim
    return size


def _first_of_use(kernels: Sequence[FusedKernel]) -> int:
    """Return the number of the first kernel that shares an array with later ones."""
    for number, kernel in enumerate(kernels):
        mine = {address.storage for address in kernel.arrays if row_bytes(address)}
        if any(address.storage in mine for later in kernels[number + 1 :] for address in later.arrays):
            return number
    return len(kernels)


def _row_traffic(kernels: Sequence[FusedKernel]) -> tuple[int, int]:
    """Return how many bytes the arrays have in a row, and how many all kernels touch there one after the other."""
    seen: dict[Storage, int] = {}
    total = 0
    for kernel in kernels:
        here: dict[Storage, int] = {}
        for address in kernel.arrays:
            here[address.storage] = max(here.get(address.storage, 0), row_bytes(address))
        total += sum(here.values())
        seen |= {storage: max(seen.get(storage, 0), size) for storage, size in here.items()}
    return sum(seen.values()), total


def _block(rows: int, about: int) -> int:
    """Return how many rows a block has: a number that divides all, if there is one near enough."""
    about = max(_LEAST_BLOCK, about)
    near = [size for size in range(about, about // 2, -1) if rows % size == 0]
    return near[0] if near else about - about % 4
