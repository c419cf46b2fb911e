"""Kernels that pick elements: ``take``, ``gather``, ``compress``, ``nonzero``.

Invariant: all indices are checked before the first element is read; results come in the order of NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter
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
    I64,
    ArrayValue,
    KernelContext,
    Scalar,
    element_pointer,
    load,
    multiply,
    offset_pointer,
    store,
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


def _is_true(context: KernelContext, array: ArrayValue, index: Index) -> ir.Value:
    scalar = load(context.builder, array.dtype, element_pointer(context.builder, array, index))
    return LLVMScalarEmitter(context.builder).cast(scalar, "bool").value


def count_true(context: KernelContext, array: ArrayValue) -> ir.Value:
    """Emit the number of elements that are not zero."""
    count = context.stack_slot(I64)
    context.builder.store(ir.Constant(I64, 0), count)
    with nest(context, array.dims) as index:
        builder = context.builder
        one = builder.zext(_is_true(context, array, index), I64)
        builder.store(builder.add(builder.load(count, typ=I64), one), count)
    return context.builder.load(count, typ=I64)


def count_compress(context: KernelContext, node: Node, inputs: Arrays) -> ir.Value:
    """Emit the length of the result of ``compress``."""
    return count_true(context, inputs[1])


def count_nonzero(context: KernelContext, node: Node, inputs: Arrays) -> ir.Value:
    """Emit the length of the results of ``nonzero``."""
    return count_true(context, inputs[0])


class Cursor:
    """A position that moves on by one wherever a mask is true."""

    def __init__(self, context: KernelContext) -> None:
        self._builder = context.builder
        self._slot = context.stack_slot(I64)
        self._builder.store(ir.Constant(I64, 0), self._slot)

    def step(self) -> ir.Value:
        """Emit a move; return the position before it."""
        position = self._builder.load(self._slot, typ=I64)
        self._builder.store(self._builder.add(position, ir.Constant(I64, 1)), self._slot)
        return position


def emit_compress(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``compress``: what the mask selects, one behind the other."""
    (x, mask), (out,) = inputs, outputs
    cursor = Cursor(context)
    with nest(context, mask.dims) as index, context.builder.if_then(_is_true(context, mask, index)):
        copy_elements(context, at(context, x, index), at(context, out, (cursor.step(),)))


def emit_nonzero(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``nonzero``: the indices of the elements that are not zero, one array a dimension."""
    (x,) = inputs
    cursor = Cursor(context)
    with nest(context, x.dims) as index, context.builder.if_then(_is_true(context, x, index)):
        position = cursor.step()
        for number, out in zip(index, outputs, strict=True):
            store(context.builder, Scalar("i64", number), element_pointer(context.builder, out, (position,)))
