"""Updates in place that read neighbouring rows, as the sweeps of stencils do.

Owns `delay`: by how many rows the writing has to stay behind the computing. Rows that have been computed wait in a ring
of buffers until no later row reads what they replace. That takes half the memory of an update made elsewhere, and lines
that have been read are in the cache when they are written; so it pays where an array is larger than part of the cache.
Invariant: what a row reads of the array is written after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from janusjit.backend.address import Address

#: the most bytes that rows may wait in: they should stay in the first-level cache
RING_BYTES = 1 << 14
#: of an array of one axis, so many neighbours are a row: no whole page, whose places processors take for each other
BLOCK = 440


def delay(target: Address, sources: Iterable[Address]) -> int | None:
    """Return how many rows the writing of ``target`` has to stay behind, row by row, the reading of ``sources``.

    All have one shape and lie in one storage. None if rows are not apart from each other, or that is not known.
    """
    pitch, span, start = _row(target)
    if pitch is None or span is None or start is None or not 0 < span <= pitch:
        return None
    behind = 0
    for source in sources:
        if source.layout.strides != target.layout.strides or source.layout.shape != target.layout.shape:
            return None
        other = _offset(source)
        if other is None:
            return None
        # row i of the source meets those rows i + r of the target for which |r*pitch - distance| < span
        first = (other - start - span) // pitch + 1
        behind = max(behind, -first)
    return behind


def ring_bytes(target: Address, rows: int) -> int | None:
    """Return how many bytes the ring has for a delay of so many rows."""
    size = target.layout.item_size
    for dim in target.layout.shape[1:] or (BLOCK,):
        if not isinstance(dim, int):
            return None
        size *= dim
    return size * (rows + 1)


def _row(address: Address) -> tuple[int | None, int | None, int | None]:
    """Return the bytes from row to row, those from a row's begin to its end, and where the first row begins."""
    span = address.layout.item_size
    if len(address.layout.shape) == 1:
        is_contiguous = address.layout.strides == (span,)
        return BLOCK * span if is_contiguous else None, BLOCK * span, _offset(address)
    for dim, stride in zip(address.layout.shape[1:], address.layout.strides[1:], strict=True):
        if not isinstance(dim, int) or not isinstance(stride, int) or stride < 0:
            return None, None, None
        span += (dim - 1) * stride
    pitch = address.layout.strides[0]
    return pitch if isinstance(pitch, int) else None, span, _offset(address)


def _offset(address: Address) -> int | None:
    total = 0
    for start, stride in address.terms:
        if not isinstance(start, int) or not isinstance(stride, int):
            return None
        total += start * stride
    return total
