"""What an update leaves as it was.

Owns `unchanged_parts`. Invariant: the parts and the part that the update sets are disjoint and make up the whole base,
so an array filled with both needs nothing else of its base.
"""

from __future__ import annotations

from janusjit.backend.cost import COPIED_WHOLE
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Node
from janusjit.ops.indexing import IndexItem, NewAxis, Pick, Range

Index = tuple[IndexItem, ...]


def unchanged_parts(update: Node) -> list[Index] | None:
    """Return the indices of the parts of its base that an ``update`` does not set.

    None where the whole base is rather copied: positions are known at run time only, the part is not a block of
    neighbours, or little is saved.
    """
    shape = update.inputs[0].type.shape
    block = _block(update, shape)
    if block is None:
        return None
    parts: list[Index] = []
    for axis, (start, stop) in enumerate(block):
        before = tuple(Range(first, last - first) for first, last in block[:axis])
        after = tuple(Range(0, dim) for dim in shape[axis + 1 :])
        size = shape[axis]
        assert isinstance(size, int)
        spans = [(0, start), (stop, size)]
        parts += [(*before, Range(first, last - first), *after) for first, last in spans if first < last]
    left = sum(_elements(part) for part in parts)
    whole = _elements(tuple(Range(0, dim) for dim in shape))
    return parts if whole >= COPIED_WHOLE and 2 * left <= whole else None


def _block(update: Node, shape: tuple[Dim, ...]) -> list[tuple[int, int]] | None:
    """Return where the updated part starts and stops along each dimension; None if it has gaps or that is not known."""
    if update.op != "update" or not all(isinstance(dim, int) for dim in shape):
        return None
    path = update.attributes["path"]
    if len(path) != 1 or path[0].op != "view":
        return None
    block = []
    for item in dict(path[0].attributes)["index"]:
        if isinstance(item, NewAxis):
            continue
        length = 1 if isinstance(item, Pick) else item.length
        step = 1 if isinstance(item, Pick) else item.step
        if not isinstance(item.start, int) or not isinstance(length, int) or length == 0 or step != 1:
            return None
        block.append((item.start, item.start + length))
    return block if len(block) == len(shape) else None


def _elements(index: Index) -> int:
    count = product(item.length for item in index if isinstance(item, Range))
    assert isinstance(count, int)
    return count
