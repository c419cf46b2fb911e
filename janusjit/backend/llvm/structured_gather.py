"""Kernels that pick elements: ``take``, ``gather``.

Invariant: all indices are checked before the first element is read; results come in the order of NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.backend.llvm.indexing import (
    Index,
    at,
    broadcast_to,
    copy_elements,
    load_at,
    nest,
    require_in_bounds,
    without_axes,
    wrapped,
)
from janusjit.backend.llvm.values import (
    ArrayValue,
    KernelContext,
    multiply,
    offset_pointer,
)
from janusjit.ir.graph import Node

Arrays = Sequence[ArrayValue]


def picked(
    context: KernelContext, array: ArrayValue, axes: Sequence[int], indices: Arrays, position: Index
) -> ArrayValue:
    """Return the part of ``array`` that index arrays (of one shape) pick at ``position``; indices have been checked."""
    pointer = array.pointer
    for axis, index in zip(axes, indices, strict=True):
        chosen = wrapped(context, load_at(context, index, position), array.dims[axis])
        offset = multiply(context.builder, chosen, array.strides[axis])
        pointer = offset_pointer(context.builder, pointer, offset)
    rest = without_axes(array, axes)
    return ArrayValue(array.dtype, pointer, rest.dims, rest.strides)


def emit_take(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``take`` along one axis."""
    (x, indices), (out,), axis = inputs, outputs, node.attributes["axis"]
    require_in_bounds(context, indices, x.dims[axis])
    with nest(context, x.dims[:axis]) as outer, nest(context, indices.dims) as position:
        source = picked(context, at(context, x, outer), (0,), (indices,), position)
        copy_elements(context, source, at(context, out, (*outer, *position)))


def emit_gather(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``gather``: the index arrays' broadcast shape comes first."""
    (x, *indices), (out,), axes = inputs, outputs, node.attributes["axes"]
    for axis, index in zip(axes, indices, strict=True):
        require_in_bounds(context, index, x.dims[axis])
    picked_rank = out.rank - (x.rank - len(axes))
    indices = [broadcast_to(index, out.dims[:picked_rank]) for index in indices]
    with nest(context, out.dims[:picked_rank]) as position:
        copy_elements(context, picked(context, x, axes, indices, position), at(context, out, position))
