"""Positions of extrema.

Owns `emit_position` (``argmax`` and ``argmin``). Invariant: the position is the first of the extremum, or that of the
first NaN if there is one, as NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import position_functions
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import merged, nest
from janusjit.backend.llvm.position_functions import is_better
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    load,
    multiply,
    register_type,
    store,
)
from janusjit.ir.graph import Node

#: rows of up to so many elements, if their number is known, are searched without a loop
UNROLLED = 8


def emit_position(context: KernelContext, node: Node, inputs: list[Operand], outputs: list[ArrayValue]) -> None:
    """Emit ``argmax`` or ``argmin`` of an array, over one axis or over all in C order."""
    x, out = context.as_array(inputs[0]), outputs[0]
    axis = node.attributes["axis"]
    axes = list(range(x.rank)) if axis is None else [axis]
    if node.guard is not None:
        for reduced in axes:
            context.require(context.builder.icmp_signed(">", as_i64(x.dims[reduced]), ir.Constant(I64, 0)))
    kept = [a for a in range(x.rank) if a not in axes]
    target = ArrayValue("i64", out.pointer, tuple(x.dims[a] for a in kept), tuple(_kept_strides(out, x.rank, kept)))
    if len(axes) == 1 and kept and _is_searched_by_columns(x, axes[0], kept[-1], target):
        _emit_columns(context, node.op, x, axes[0], target)
        return
    with nest(context, target.dims) as index:
        builder = context.builder
        row = element_pointer(builder, _arranged(x, kept), index)
        place = element_pointer(builder, target, index)
        dims, strides = [x.dims[a] for a in axes], [x.strides[a] for a in axes]
        found = _emit_search(context, node.op, merged(ArrayValue(x.dtype, row, tuple(dims), tuple(strides))))
        store(builder, Scalar("i64", found), place)


def _arranged(x: ArrayValue, axes: Sequence[int]) -> ArrayValue:
    return ArrayValue(x.dtype, x.pointer, tuple(x.dims[a] for a in axes), tuple(x.strides[a] for a in axes))


def _kept_strides(out: ArrayValue, rank: int, kept: Sequence[int]) -> list[Extent]:
    """Return the result's strides along the dimensions that are left, kept dimensions of 1 skipped."""
    return [out.strides[a] for a in kept] if out.rank == rank else list(out.strides)


def _is_searched_by_columns(x: ArrayValue, axis: int, last: int, target: ArrayValue) -> bool:
    """Return whether neighbours are to be searched side by side: where they are in memory, and columns are long."""
    length = x.dims[axis]
    contiguous = x.strides[last] == item_size(x.dtype) and target.strides[-1] == 8
    return contiguous and x.strides[axis] != item_size(x.dtype) and not (isinstance(length, int) and length < 2)


def _emit_columns(context: KernelContext, op: str, x: ArrayValue, axis: int, target: ArrayValue) -> None:
    """Emit the search of the columns that begin at neighbouring elements."""
    kept = [a for a in range(x.rank) if a != axis]
    function = position_functions.columns(context, op, x.dtype)
    with nest(context, target.dims[:-1]) as index:
        builder = context.builder
        first = element_pointer(builder, _arranged(x, kept), index)
        place = element_pointer(builder, target, index)
        numbers = (x.strides[axis], x.dims[axis], x.dims[kept[-1]])
        builder.call(function, [first, *map(as_i64, numbers), place])


def _emit_search(context: KernelContext, op: str, row: ArrayValue) -> ir.Value:
    """Emit the search of ``row``, whose elements are counted in C order."""
    context.needs_passes = True
    if row.rank == 1 and isinstance(row.dims[0], int) and row.dims[0] <= UNROLLED:
        return _emit_unrolled(context, op, row, row.dims[0])
    if row.rank == 1 and row.strides == (item_size(row.dtype),):
        context.needs_passes = False
        if isinstance(row.dims[0], int) and position_functions.is_short(row.dtype, row.dims[0]):
            return position_functions.emit_known(context, op, row.dtype, row.pointer, row.dims[0])
        function = position_functions.row(context, op, row.dtype)
        return context.builder.call(function, [row.pointer, as_i64(row.dims[0])])
    builder, dtype = context.builder, row.dtype
    best, place = context.stack_slot(register_type(dtype)), context.stack_slot(I64)
    builder.store(load(builder, dtype, row.pointer).value, best)
    builder.store(ir.Constant(I64, 0), place)
    with nest(context, row.dims) as index:
        builder = context.builder
        number: Extent = 0
        for dim, position in zip(row.dims, index, strict=True):
            number = builder.add(as_i64(multiply(builder, number, dim)), position)
        x = load(builder, dtype, element_pointer(builder, row, index))
        leader = Scalar(dtype, builder.load(best, typ=register_type(dtype)))
        better = is_better(LLVMScalarEmitter(builder), op, x, leader)
        builder.store(builder.select(better.value, x.value, leader.value), best)
        builder.store(builder.select(better.value, as_i64(number), builder.load(place, typ=I64)), place)
    return context.builder.load(place, typ=I64)


def _emit_unrolled(context: KernelContext, op: str, row: ArrayValue, count: int) -> ir.Value:
    builder = context.builder
    leader, place = load(builder, row.dtype, row.pointer), ir.Constant(I64, 0)
    for number in range(1, count):
        x = load(builder, row.dtype, element_pointer(builder, row, [number]))
        better = is_better(LLVMScalarEmitter(builder), op, x, leader).value
        leader = Scalar(row.dtype, builder.select(better, x.value, leader.value))
        place = builder.select(better, ir.Constant(I64, number), place)
    return place
