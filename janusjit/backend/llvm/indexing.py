"""Loops over arrays and index arrays.

Owns `nest`, `broadcast_to`, `copy_elements` and the checks of integer indices. Invariant: an index is used to address
memory only after `require_in_bounds` has seen it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from llvmlite import ir

from janusjit.backend.llvm.values import (
    I1,
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    as_i64,
    element_pointer,
    load,
    multiply,
    offset_pointer,
    store,
)

Index = tuple[ir.Value, ...]


@contextmanager
def nest(context: KernelContext, dims: Sequence[Extent]) -> Iterator[Index]:
    """Emit one loop for each dimension, the last innermost; the ``with`` body emits what is inside all of them."""
    with ExitStack() as loops:
        yield tuple(loops.enter_context(context.loop(dim)) for dim in dims)


def broadcast_to(array: ArrayValue, dims: Sequence[Extent]) -> ArrayValue:
    """Return ``array`` as a view of the given dimensions, by NumPy's rules."""
    missing = len(dims) - array.rank
    strides = [
        0 if isinstance(dim, int) and dim == 1 else stride
        for dim, stride in zip(array.dims, array.strides, strict=True)
    ]
    return replace(array, dims=tuple(dims), strides=(0,) * missing + tuple(strides), owner=None, input_index=None)


def part(
    context: KernelContext, array: ArrayValue, axis: int, start: Extent, length: Extent, step: int = 1
) -> ArrayValue:
    """Return ``length`` positions of one axis, ``step`` apart."""
    offset = multiply(context.builder, start, array.strides[axis])
    strides = list(array.strides)
    strides[axis] = multiply(context.builder, step, strides[axis])
    dims = (*array.dims[:axis], length, *array.dims[axis + 1 :])
    pointer = offset_pointer(context.builder, array.pointer, offset)
    return ArrayValue(array.dtype, pointer, dims, tuple(strides))


def at(context: KernelContext, array: ArrayValue, index: Sequence[Extent]) -> ArrayValue:
    """Return the part of ``array`` at an index of its leading dimensions."""
    pointer = element_pointer(context.builder, array, index)
    return ArrayValue(array.dtype, pointer, array.dims[len(index) :], array.strides[len(index) :])


def without_axes(array: ArrayValue, axes: Sequence[int]) -> ArrayValue:
    """Return the dimensions that are not in ``axes``, at index 0 of those that are."""
    left = [axis for axis in range(array.rank) if axis not in axes]
    dims, strides = (tuple(extents[axis] for axis in left) for extents in (array.dims, array.strides))
    return ArrayValue(array.dtype, array.pointer, dims, strides)


def copy_elements(context: KernelContext, source: ArrayValue, target: ArrayValue) -> None:
    """Emit ``target[...] = source`` for arrays of one element type, ``source`` broadcast."""
    source = broadcast_to(source, target.dims)
    with nest(context, target.dims) as index:
        builder = context.builder
        value = load(builder, source.dtype, element_pointer(builder, source, index))
        store(builder, value, element_pointer(builder, target, index))


def load_at(context: KernelContext, array: ArrayValue, index: Sequence[Extent]) -> ir.Value:
    """Emit a load of one element."""
    return load(context.builder, array.dtype, element_pointer(context.builder, array, index)).value


def require_in_bounds(context: KernelContext, indices: ArrayValue, size: Extent) -> None:
    """Require of every element of an ``i64`` array that it is an index, from either end, into ``size`` elements."""
    outside = context.stack_slot(I1, align=8)
    context.builder.store(ir.Constant(I1, 0), outside)
    with nest(context, indices.dims) as index:
        builder = context.builder
        # -size <= value < size in one comparison
        shifted = builder.add(load_at(context, indices, index), as_i64(size))
        wrong = builder.icmp_unsigned(">=", shifted, builder.shl(as_i64(size), ir.Constant(I64, 1)))
        builder.store(builder.or_(builder.load(outside, typ=I1), wrong), outside)
    context.require(context.builder.not_(context.builder.load(outside, typ=I1)))


def wrapped(context: KernelContext, index: ir.Value, size: Extent) -> ir.Value:
    """Return an index in bounds counted from the start."""
    builder = context.builder
    negative = builder.icmp_signed("<", index, ir.Constant(I64, 0))
    return builder.select(negative, builder.add(index, as_i64(size)), index)
