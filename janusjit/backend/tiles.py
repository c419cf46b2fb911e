"""Steps over the same rows, done block by block of rows.

Owns `Tile` and `find_tiles`. A chain such as a layer norm's (reduce, broadcast, reduce, broadcast) goes over its arrays
once for every step; where they are larger than the cache, neighbouring steps take turns over a few rows instead, and
each finds in the cache what the last has read or written. Invariant: no step of a tile touches, in one row, memory that
another writes in a different row, and storages in use anywhere in a tile are in use in all of it; so the order of the
rows cannot be told from the results, whose every element is computed as before. Arrays that nothing but one tile uses
are there for one block of rows only, and for each thread where a tile is divided among threads.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from janusjit.backend import cost
from janusjit.backend.address import Address, Addresses
from janusjit.backend.fused import FusedKernel, undivided
from janusjit.backend.parallel import Division, together
from janusjit.backend.plan import FusedStep, NodeStep, Plan, RegionStep, Step
from janusjit.backend.storage import Placement, Storage
from janusjit.ir.dims import Dim, symbol
from janusjit.pacing import pause

#: bytes that processors fetch together: two lines
_LINES = 128
#: the storages nobody outside the graph's code can see
_PRIVATE = frozenset({"arena", "object", "own"})


@dataclass(frozen=True, eq=False)
class Tile:
    """Consecutive ``steps``, done for ``block`` of their ``rows`` at a time; ``size`` stands for the rows in a turn.

    ``division`` says how the rows are divided among threads, if they are; ``product`` is the matrix product whose rows
    come first, if there is one (`janusjit.backend.epilogues`), which ``is_whole`` if it cannot be there for a block
    only. Where it ``is_packed``, its routine does the steps for rows that are done, on up to so many ``threads``.
    """

    steps: tuple[FusedStep, ...]
    rows: int
    block: int
    division: Division | None = None
    product: NodeStep | None = None
    is_whole: bool = False
    is_packed: bool = False
    threads: int = 1

    @property
    def size(self) -> Dim:
        """The symbol of how many rows there are in a turn: fewer in the last."""
        return symbol(f"rows{self.steps[0].time}")

    @property
    def first(self) -> Step:
        """The step that is done first."""
        return self.members[0]

    @property
    def members(self) -> list[Step]:
        """All steps, in order."""
        return [*self.steps] if self.product is None else [self.product, *self.steps]


def find_tiles(
    plan: Plan, placement: Placement, threads: int = 1, untiled: Collection[Step] = ()
) -> dict[Step, Tile]:
    """Return the tile of each step that is in one, and have the arrays in use there stay where they are meanwhile.

    Each of ``threads`` threads gets a block of rows of its own; the steps ``untiled`` stay by themselves.
    """
    finder = _Finder(Addresses(placement), placement, threads, untiled)
    finder.visit(plan.steps)
    tiles: dict[Step, Tile] = {step: tile for tile in finder.tiles for step in tile.steps}
    for tile in finder.tiles:
        settle_storages(placement, tile, threads)
    return tiles


def settle_storages(placement: Placement, tile: Tile, threads: int = 1) -> None:
    """Have the arrays in use in a tile stay where they are meanwhile, and keep those for it alone by blocks of rows."""
    product = None if tile.product is None else placement.storage(tile.product.node.result)
    count = tile.threads if tile.division is None else threads
    of_routine = product if tile.is_packed else None  # which does as many rows as there is room for
    whole = [product] if tile.is_whole else []
    settle_rooms(placement, (tile.first, tile.steps[-1]), (tile.rows, tile.block), count, whole, of_routine)


def settle_rooms(
    placement: Placement,
    ends: tuple[Step, Step],
    sizes: tuple[int, int],
    threads: int,
    whole: Collection[Storage | None],
    undivided: Storage | None = None,
) -> None:
    """Keep storages that are used from the first to the last of some steps only by blocks of rows, one a thread.

    Parameters
    ----------
    placement : Placement
        Has the storages; those in use anywhere between the ends are in use in all of it.
    ends : tuple of Step
        The first and the last step.
    sizes : tuple of int
        How many rows there are, and how many a block has.
    threads : int
        How many threads there are, each of which has room for a block.
    whole : collection of Storage
        Those that are there as a whole.
    undivided : Storage, optional
        One in which the threads' rows follow each other.
    """
    (first, last), (rows, block) = ends, sizes
    for storage in placement.storages:
        within = _is_within(storage, first, last) and storage not in whole
        if within and storage.layout.shape[0] == rows:
            storage.room = _room(storage, min(block, rows), 1 if storage is undivided else threads)
            storage.kept_rows = storage.room * threads
        if storage.birth <= last.time and storage.death >= first.time:
            storage.birth, storage.death = min(storage.birth, first.time), max(storage.death, last.time)


def _room(storage: Storage, block: int, threads: int) -> int:
    """Return how many rows a thread has room for, where a block is all that it needs.

    Threads that write to the same line of their caches take it from each other every time.
    """
    pitch = storage.layout.strides[0]
    if threads == 1 or not isinstance(pitch, int) or block * pitch % _LINES == 0:
        return block
    return block + -(-_LINES // pitch)


def is_by_rows(step: FusedStep, placement: Placement) -> bool:
    """Return whether a step goes over a known number of rows, none of whose results are wanted by others."""
    known = all(isinstance(dim, int) for dim in step.shape) and len(step.shape) > 0 and step.shape[0] not in (0, 1)
    copies = any(value in placement.copied for value in step.stores)
    return known and not copies and 0 not in (step.axes or ())


class _Finder:
    def __init__(
        self, addresses: Addresses, placement: Placement, threads: int, untiled: Collection[Step]
    ) -> None:
        self._untiled = untiled
        self.tiles: list[Tile] = []
        self._addresses, self._placement, self._threads = addresses, placement, threads

    def visit(self, steps: list[Step]) -> None:
        """Find tiles among the steps of a region, and those nested in it."""
        run: list[tuple[FusedStep, FusedKernel]] = []
        for step in steps:
            pause()
            if isinstance(step, RegionStep):
                for body in step.bodies:
                    self.visit(body)
            if not isinstance(step, FusedStep) or step in self._untiled or not is_by_rows(step, self._placement):
                self._close(run)
                run = []
                continue
            kernel = undivided(step, self._addresses)
            if run and not (step.shape[0] == run[0][0].shape[0] and _keeps_to_rows([*(k for _, k in run), kernel])):
                self._close(run)
                run = []
            run.append((step, kernel))
        self._close(run)

    def _close(self, run: list[tuple[FusedStep, FusedKernel]]) -> None:
        """Make a tile of a run of steps, if it pays."""
        if len(run) < 2:
            return
        rows = run[0][0].shape[0]
        assert isinstance(rows, int)
        seen: dict[Storage, int] = {}
        moved = 0
        for _, kernel in run:
            here: dict[Storage, int] = {}
            for address in kernel.arrays:
                here[address.storage] = max(here.get(address.storage, 0), row_bytes(address))
            moved += sum(here.values())
            seen = {s: max(seen.get(s, 0), here.get(s, 0)) for s in {**seen, **here}}
        row = sum(seen.values())
        spared = sum(size for storage, size in seen.items() if _is_within(storage, run[0][0], run[-1][0]))
        is_large = rows * spared > cost.CACHE_BYTES or rows * row > cost.SHARED_CACHE_BYTES
        if is_large and row <= cost.TILE_ROW_BYTES and cost.TILE_GAIN * row <= moved:
            block = max(1, cost.TILE_BYTES // row)
            division = together([kernel for _, kernel in run], self._threads)
            self.tiles.append(Tile(tuple(step for step, _ in run), rows, block, division))


def _is_within(storage: Storage, first: Step, last: Step) -> bool:
    """Return whether nothing before ``first`` or after ``last`` uses a storage, and no user sees it."""
    return storage.kind == "arena" and first.time <= storage.birth and storage.death <= last.time


def _keeps_to_rows(kernels: list[FusedKernel]) -> bool:
    """Return whether kernels touch, in one row, nothing that one of them writes in another."""
    written = {kernel.arrays[n].storage for kernel in kernels for n in kernel.written()}
    pitches: dict[Storage, Dim] = {}
    for kernel in kernels:
        for address in kernel.arrays:
            storage = address.storage
            if storage in written:
                pitch = pitches.setdefault(storage, address.layout.strides[0])
                if storage.kind not in _PRIVATE or pitch != address.layout.strides[0] or not is_inside_row(address):
                    return False
    return True


def is_inside_row(address: Address) -> bool:
    """Return whether row ``r`` of an array lies between ``r`` and ``r + 1`` times the stride of its rows."""
    pause()
    pitch, *strides = address.layout.strides
    end: Dim = address.layout.item_size
    for start, stride in address.terms:
        if not isinstance(start, int) or not isinstance(stride, int) or start * stride < 0:
            return False
        end = end + start * stride
    for dim, stride in zip(address.layout.shape[1:], strides, strict=True):
        if not isinstance(dim, int) or not isinstance(stride, int) or stride < 0:
            return False
        end = end + (dim - 1) * stride
    return isinstance(pitch, int) and isinstance(end, int) and end <= pitch


def row_bytes(address: Address) -> int:
    """Return how many bytes of an array a row takes; 0 where all rows are the same."""
    if address.layout.strides[0] == 0:
        return 0
    pause()
    size = address.layout.item_size
    for dim, stride in zip(address.layout.shape[1:], address.layout.strides[1:], strict=True):
        if stride != 0:
            assert isinstance(dim, int)
            size *= dim
    return size
