"""Which kernels run on several threads, and how they are divided.

Owns `Division` and `divide`. Invariant: what is divided are loops none of whose turns reads what another writes or adds
to what another adds to, so each element is computed as by one thread, and the results are the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from janusjit.backend import calibration, cost
from janusjit.backend.fused import FusedKernel
from janusjit.backend.plan import IF_LARGE
from janusjit.ir.dims import Dim, product
from janusjit.pacing import pause

#: how many chunks there are for each thread, where they are long enough: one that is late leaves the rest to others
_CHUNKS = 8
#: chunks of the innermost loop are a multiple of so many elements, and no fewer than so many where it is in a loop
_UNIT, _SHORTEST = 64, 128
#: how many times elements that are added up are halved, and how many parts that makes, which have so many at least
HALVINGS = 5
PARTS, _PART = 1 << HALVINGS, 1024


@dataclass(frozen=True)
class Division:
    """How a kernel, or several over the same rows, are divided among threads.

    Attributes
    ----------
    axis : int or None
        The loop whose turns are divided: the rows. None where all elements are added up: then rows are the parts that
        pairwise summation halves them into, which are added up by themselves.
    rows : Dim
        How many there are.
    elements : Dim
        What the rows have together.
    nanoseconds : float
        An estimate of what one element takes.
    unit, least : int
        Chunks have a multiple of ``unit`` rows, and at least ``least``.
    """

    axis: int | None
    rows: Dim
    elements: Dim
    nanoseconds: float
    unit: int = 1
    least: int = 1

    @property
    def work(self) -> int | None:
        """Nanoseconds the whole takes one thread, if that is known."""
        return round(self.elements * self.nanoseconds) if isinstance(self.elements, int) else None

    @property
    def least_elements(self) -> int:
        """From how many elements on it pays to divide the kernel."""
        least = int(calibration.current().parallel_nanoseconds / self.nanoseconds) + 1
        return least if self.axis is not None else max(least, PARTS * _PART)

    @property
    def chunk_elements(self) -> int:
        """How many elements a chunk should have at least."""
        return int(cost.CHUNK_NANOSECONDS / self.nanoseconds) + 1

    @property
    def longest_elements(self) -> int:
        """How many elements a chunk should have at most."""
        return int(cost.LONGEST_CHUNK_NANOSECONDS / self.nanoseconds) + 1

    def chunk(self, threads: int) -> int:
        """Return how many rows a chunk has, where sizes are known."""
        if self.axis is None:
            return 1
        assert isinstance(self.rows, int)
        assert isinstance(self.elements, int)
        a_row = max(self.elements // max(self.rows, 1), 1)
        share = min(-(-self.rows // (_CHUNKS * threads)), max(self.longest_elements // a_row, 1))
        wanted = max(share, -(-self.chunk_elements // a_row), self.least)
        return -(-wanted // self.unit) * self.unit

    def limit(self, threads: int) -> int:
        """Return how many threads are of use, where sizes are known."""
        assert self.work is not None
        return min(threads, max(2, self.work // cost.THREAD_NANOSECONDS))

    def shares(self, threads: int) -> int:
        """Return into how many chunks rows are divided where they are so many that chunks are long enough."""
        return _CHUNKS * threads

    def pays(self, threads: int) -> bool | None:
        """Return whether the kernel is worth dividing; None if that depends on sizes that are not known."""
        if self.work is None:
            return None
        assert isinstance(self.elements, int)
        assert isinstance(self.rows, int)
        return self.elements >= self.least_elements and self.chunk(threads) < self.rows


    def text(self, threads: int) -> str:
        """Return in words how many threads there are, and where it is known what is expected to be saved."""
        if self.work is None:
            return f"up to {threads} from {self.least_elements}{IF_LARGE}"
        return f"up to {threads}, about {self.work / 1000:.0f} µs for one"


def divide(kernel: FusedKernel, threads: int) -> Division | None:
    """Return how a kernel can be divided; None if it cannot, or is known not to be worth it."""
    if threads < 2 or kernel.delay is not None:
        return None
    for axis, size in enumerate(kernel.dims):
        innermost = axis == len(kernel.dims) - 1
        fewest = 2 * _SHORTEST if innermost and axis > 0 else 2 * threads
        is_free = not kernel.reduced[axis] and _is_apart(kernel, axis, kernel.written())
        if not is_free or (isinstance(size, int) and size < fewest):
            continue
        division = Division(
            axis,
            size,
            product(kernel.dims),
            kernel_nanoseconds(kernel),
            unit=_UNIT if innermost else 1,
            least=_SHORTEST if innermost and axis > 0 else 1,
        )
        return None if division.pays(threads) is False else division
    if not _is_total(kernel):
        return None
    division = Division(None, PARTS, product(kernel.dims), kernel_nanoseconds(kernel))
    return None if division.pays(threads) is False else division


def _is_total(kernel: FusedKernel) -> bool:
    """Return whether a kernel adds up all elements as if they were one row, as a tree."""
    sums = all(r.kind == "sum" and kernel.dtypes[r.target] in ("f32", "f64") for r in kernel.reductions)
    stored = {number for _, number in kernel.stores}
    apart = all(_is_apart(kernel, axis, stored) for axis in range(len(kernel.dims)))
    is_row = all(kernel.reduced) and kernel.flat_dims == len(kernel.dims)
    return bool(kernel.reductions) and sums and apart and is_row


def together(kernels: Sequence[FusedKernel], threads: int) -> Division | None:
    """Return how kernels over the same rows, which are done block by block, are divided; None if that is not worth it.

    All sizes are known.
    """
    elements = [math.prod(dim for dim in kernel.dims if isinstance(dim, int)) for kernel in kernels]
    most = max(elements)
    total = sum(count * kernel_nanoseconds(kernel) for kernel, count in zip(kernels, elements, strict=True))
    division = Division(0, kernels[0].dims[0], most, total / most)
    return division if threads > 1 and division.pays(threads) else None


def kernel_nanoseconds(kernel: FusedKernel) -> float:
    """Return an estimate of what one element of a kernel takes one thread."""
    pause()
    machine = calibration.current()
    moved = sum(
        address.layout.item_size
        for address, strides in zip(kernel.arrays, kernel.strides, strict=True)
        if strides and strides[-1] != 0
    )
    width = max((address.layout.item_size for address in kernel.arrays), default=8)
    costs = [cost.operation_cost(instruction.op) for instruction in kernel.instructions]
    functions = sum(units for units in costs if units >= cost.FUNCTION)
    additions = sum(costs) - functions + len(kernel.reductions)
    elements = product(kernel.dims)
    transfer = machine.transfer(elements * moved if isinstance(elements, int) else None)
    computing = (additions * machine.addition + functions * machine.function) * width
    return max(computing, moved * transfer, 0.01)


def _is_apart(kernel: FusedKernel, axis: int, written: Iterable[int]) -> bool:
    """Return whether what a turn of a loop writes to some arrays is what no other turn writes."""
    for number in written:
        stride, storage = kernel.strides[number][axis], kernel.arrays[number].storage
        if stride == 0 or not (isinstance(stride, int) or storage.kind != "input" or storage.layout.is_contiguous):
            return False
    return True
