"""Positions of extrema.

Owns `emit_position` (``argmax`` and ``argmin``). Invariant: the position is the first of the extremum, or that of the
first NaN if there is one, as NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.indexing import nest
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    element_pointer,
    load,
    multiply,
    register_type,
    store,
)
from janusjit.ir.graph import Node


def emit_position(context: KernelContext, node: Node, inputs: list[Operand], outputs: list[ArrayValue]) -> None:
    """Emit ``argmax`` or ``argmin`` of an array, over one axis or over all in C order."""
    x, out = context.as_array(inputs[0]), outputs[0]
    axis = node.attributes["axis"]
    axes = list(range(x.rank)) if axis is None else [axis]
    if node.guard is not None:
        for reduced in axes:
            context.require(context.builder.icmp_signed(">", as_i64(x.dims[reduced]), ir.Constant(I64, 0)))
    kept = [a for a in range(x.rank) if a not in axes]
    out_strides = dict(zip(kept, _kept_strides(out, x.rank, kept), strict=True))
    with nest(context, [x.dims[a] for a in kept]) as index:
        builder = context.builder
        row = element_pointer(builder, _arranged(x, kept), index)
        target = element_pointer(builder, ArrayValue("i64", out.pointer, (), tuple(out_strides.values())), index)
        dims, strides = [x.dims[a] for a in axes], [x.strides[a] for a in axes]
        found = _emit_search(context, node.op, ArrayValue(x.dtype, row, tuple(dims), tuple(strides)))
        store(builder, Scalar("i64", found), target)


def _arranged(x: ArrayValue, axes: Sequence[int]) -> ArrayValue:
    return ArrayValue(x.dtype, x.pointer, tuple(x.dims[a] for a in axes), tuple(x.strides[a] for a in axes))


def _kept_strides(out: ArrayValue, rank: int, kept: Sequence[int]) -> list[Extent]:
    """Return the result's strides along the dimensions that are left, kept dimensions of 1 skipped."""
    return [out.strides[a] for a in kept] if out.rank == rank else list(out.strides)


def _emit_search(context: KernelContext, op: str, row: ArrayValue) -> ir.Value:
    """Emit loops over ``row`` that remember the best element and its number in C order."""
    builder, dtype = context.builder, row.dtype
    best, place = context.stack_slot(register_type(dtype)), context.stack_slot(I64)
    builder.store(load(builder, dtype, row.pointer).value, best)
    builder.store(ir.Constant(I64, 0), place)
    with nest(context, row.dims) as index:
        builder = context.builder
        emitter = LLVMScalarEmitter(builder)
        number: Extent = 0
        for dim, position in zip(row.dims, index, strict=True):
            number = builder.add(as_i64(multiply(builder, number, dim)), position)
        x, leader = load(builder, dtype, element_pointer(builder, row, index)), Scalar(dtype, builder.load(best, typ=register_type(dtype)))
        better = _is_better(emitter, op, x, leader)
        builder.store(builder.select(better.value, x.value, leader.value), best)
        builder.store(builder.select(better.value, as_i64(number), builder.load(place, typ=I64)), place)
    return context.builder.load(place, typ=I64)


def _is_better(emitter: LLVMScalarEmitter, op: str, x: Scalar, leader: Scalar) -> Scalar:
    if x.dtype == "bool":
        x, leader = emitter.cast(x, "u8"), emitter.cast(leader, "u8")
    better = emitter.gt(x, leader) if op == "argmax" else emitter.lt(x, leader)
    if not is_float(x.dtype):
        return better
    is_first_nan = emitter.logical_and(emitter.isnan(x), emitter.logical_not(emitter.isnan(leader)))
    return emitter.logical_or(better, is_first_nan)
