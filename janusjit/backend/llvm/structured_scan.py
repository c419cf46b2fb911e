"""Kernels of the running reductions: ``cumsum``, ``cumprod``.

Invariant: elements are combined one after the other along the axis, as NumPy's ``accumulate`` does, so results are its
bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import at, copy_elements, nest, part
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    load,
    register_type,
    store,
)
from janusjit.ir.graph import Node

Arrays = Sequence[ArrayValue]


def emit_scan(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``cumsum`` or ``cumprod`` along one axis."""
    (x,), (out,), axis = inputs, outputs, node.attributes["axis"]
    with nest(context, x.dims[:axis]) as outer:
        line, result = at(context, x, outer), at(context, out, outer)
        if line.rank == 1:
            _scan_line(context, node.op, line, result)
        else:
            _scan_rows(context, node.op, line, result)


def _scan_line(context: KernelContext, name: str, line: ArrayValue, result: ArrayValue) -> None:
    """Scan a vector, the total in a register."""
    emitter = LLVMScalarEmitter(context.builder)
    type_ = register_type(line.dtype)
    total = context.stack_slot(type_)
    # adding -0.0 or multiplying by 1 leaves the first element as it is
    start = emitter.constant(1 if name == "cumprod" else -0.0, line.dtype)
    context.builder.store(start.value, total)
    with context.loop(line.dims[0]) as i:
        builder = context.builder
        element = load(builder, line.dtype, element_pointer(builder, line, (i,)))
        so_far = Scalar(line.dtype, builder.load(total, typ=type_))
        combined = _combine(emitter, name, so_far, element)
        builder.store(combined.value, total)
        store(builder, combined, element_pointer(builder, result, (i,)))


def _scan_rows(context: KernelContext, name: str, rows: ArrayValue, result: ArrayValue) -> None:
    """Scan along the first axis, a whole row at a time."""
    first, rest = _first_and_rest(context, rows.dims[0])
    copy_elements(context, part(context, rows, 0, 0, first), part(context, result, 0, 0, first))
    with context.loop(rest) as before:
        row = context.builder.add(before, ir.Constant(I64, 1))
        with nest(context, rows.dims[1:]) as index:
            builder = context.builder
            so_far = load(builder, rows.dtype, element_pointer(builder, result, (before, *index)))
            element = load(builder, rows.dtype, element_pointer(builder, rows, (row, *index)))
            combined = _combine(LLVMScalarEmitter(builder), name, so_far, element)
            store(builder, combined, element_pointer(builder, result, (row, *index)))


def _first_and_rest(context: KernelContext, size: Extent) -> tuple[Extent, Extent]:
    """Return how many of ``size`` rows are the first (0 or 1), and how many follow."""
    if isinstance(size, int):
        return min(size, 1), max(size - 1, 0)
    builder = context.builder
    empty = builder.icmp_signed("==", size, ir.Constant(I64, 0))
    first = builder.select(empty, ir.Constant(I64, 0), ir.Constant(I64, 1))
    return first, builder.sub(as_i64(size), first)


def _combine(emitter: LLVMScalarEmitter, name: str, so_far: Scalar, element: Scalar) -> Scalar:
    return (emitter.mul if name == "cumprod" else emitter.add)(so_far, element)
