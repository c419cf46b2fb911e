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

#: so many vectors are scanned side by side
TOGETHER = 4


def emit_scan(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``cumsum`` or ``cumprod`` along one axis."""
    (x,), (out,), axis = inputs, outputs, node.attributes["axis"]
    if 0 < axis == x.rank - 1 and isinstance(count := x.dims[axis - 1], int) and count >= TOGETHER:
        with nest(context, x.dims[: axis - 1]) as outer:
            _scan_lines(context, node.op, at(context, x, outer), at(context, out, outer), count)
        return
    with nest(context, x.dims[:axis]) as outer:
        line, result = at(context, x, outer), at(context, out, outer)
        if line.rank == 1:
            _scan_beside(context, node.op, [(line, result)])
        else:
            _scan_rows(context, node.op, line, result)


def _scan_lines(context: KernelContext, name: str, lines: ArrayValue, results: ArrayValue, count: int) -> None:
    """Scan vectors, some of them side by side: each addition waits for the one before of its own vector."""
    with context.loop(count // TOGETHER) as block:
        first = context.builder.mul(block, ir.Constant(I64, TOGETHER))
        numbers = [context.builder.add(first, ir.Constant(I64, number)) for number in range(TOGETHER)]
        pairs = [(at(context, lines, (number,)), at(context, results, (number,))) for number in numbers]
        _scan_beside(context, name, pairs)
    with context.loop(count % TOGETHER) as number:
        last = context.builder.add(number, ir.Constant(I64, count - count % TOGETHER))
        _scan_beside(context, name, [(at(context, lines, (last,)), at(context, results, (last,)))])


def _scan_beside(context: KernelContext, name: str, pairs: Sequence[tuple[ArrayValue, ArrayValue]]) -> None:
    """Scan vectors of one length side by side, the totals in registers."""
    emitter = LLVMScalarEmitter(context.builder)
    line = pairs[0][0]
    type_ = register_type(line.dtype)
    # adding -0.0 or multiplying by 1 leaves the first element as it is
    start = emitter.constant(1 if name == "cumprod" else -0.0, line.dtype)
    totals = [context.stack_slot(type_) for _ in pairs]
    for total in totals:
        context.builder.store(start.value, total)
    with context.loop(line.dims[0]) as i:
        builder = context.builder
        for total, (line, result) in zip(totals, pairs, strict=True):
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
