"""Loops over arrays and index arrays.

Owns `nest`, `broadcast_to`, `copy_elements` and the checks of integer indices. Invariant: an index is used to address
memory only after `require_in_bounds` has seen it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.lanes import splat, widened, zeros
from janusjit.backend.llvm.loops import turns
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    load,
    multiply,
    offset_pointer,
    store,
)

Index = tuple[ir.Value, ...]
#: how many indices are looked at in a turn
LANES = 8


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


def merged(row: ArrayValue) -> ArrayValue:
    """Return the elements with dimensions of known sizes merged that are walked through as one."""
    dims, strides = list(row.dims), list(row.strides)
    for axis in reversed(range(len(dims) - 1)):
        inner, step, outer_step = dims[axis + 1], strides[axis + 1], strides[axis]
        known = isinstance(inner, int) and isinstance(step, int) and isinstance(outer_step, int)
        if known and outer_step == step * inner and isinstance(dims[axis], int):
            dims[axis : axis + 2] = [dims[axis] * inner]
            strides[axis : axis + 2] = [step]
    return ArrayValue(row.dtype, row.pointer, tuple(dims), tuple(strides))


def require_in_bounds(context: KernelContext, indices: ArrayValue, size: Extent) -> None:
    """Require of every element of an ``i64`` array that it is an index, from either end, into ``size`` elements."""
    indices = merged(indices)
    outside = context.stack_slot(I64, align=8)
    context.builder.store(ir.Constant(I64, 0), outside)
    is_row = indices.rank > 0 and indices.strides[-1] == item_size(indices.dtype)
    with nest(context, indices.dims[:-1] if is_row else indices.dims) as lead:
        if is_row:
            found = _outside_of_row(context, at(context, indices, lead), size)
        else:
            found = [_outside(context.builder, load_at(context, indices, lead), size)]
        for one in found:
            context.builder.store(context.builder.or_(context.builder.load(outside, typ=I64), one), outside)
    builder = context.builder
    context.require(builder.icmp_signed("==", builder.load(outside, typ=I64), ir.Constant(I64, 0)))


def _outside_of_row(context: KernelContext, row: ArrayValue, size: Extent) -> list[ir.Value]:
    """Return numbers that are not 0 where one of some contiguous elements is no index: of vectors, and of the rest."""
    length = row.dims[0]
    known = isinstance(length, int)
    whole = length // LANES * LANES if known else context.builder.and_(length, ir.Constant(I64, -LANES))
    found: list[ir.Value] = []
    for first, end, lanes in ((0, whole, LANES), (whole, length, 1)):
        if known and first == end:
            continue
        type_ = widened(I64, lanes)
        with turns(context, (as_i64(first), as_i64(end)), lanes, [zeros(type_)]) as (index, carried):
            builder = context.builder
            place = element_pointer(builder, row, (index,))
            value = builder.load(place, typ=type_, align=item_size(row.dtype))
            carried[0] = builder.or_(carried[0], _outside(builder, value, size))
        found.append(carried[0])
        if lanes > 1:
            anywhere = context.declare(f"llvm.vector.reduce.or.v{lanes}i64", I64, [type_])
            found[-1] = context.builder.call(anywhere, [carried[0]])
    return found


def _outside(builder: ir.IRBuilder, index: ir.Value, size: Extent) -> ir.Value:
    """Return -1 for what is no index, and 0 for what is: ``-size <= index < size``, in one comparison."""
    length = splat(builder, as_i64(size), index.type)
    end = splat(builder, builder.shl(as_i64(size), ir.Constant(I64, 1)), index.type)
    return builder.sext(builder.icmp_unsigned(">=", builder.add(index, length), end), index.type)


def wrapped(context: KernelContext, index: ir.Value, size: Extent) -> ir.Value:
    """Return an index in bounds counted from the start."""
    builder = context.builder
    negative = builder.icmp_signed("<", index, ir.Constant(I64, 0))
    return builder.select(negative, builder.add(index, as_i64(size)), index)


@dataclass(frozen=True, slots=True)
class ElementSource:
    """An input as an element rule sees it (`janusjit.ops.registry.Source`)."""

    builder: ir.IRBuilder
    array: ArrayValue

    @property
    def shape(self) -> tuple[Scalar, ...]:
        """The dimensions, as ``i64`` scalars."""
        return tuple(Scalar("i64", as_i64(dim)) for dim in self.array.dims)

    def __call__(self, *index: Scalar) -> Scalar:
        """Emit a load of the element at an index."""
        pointer = element_pointer(self.builder, self.array, [i.value for i in index])
        return load(self.builder, self.array.dtype, pointer)
