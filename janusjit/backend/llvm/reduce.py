"""Reductions of a block of contiguous elements.

Owns the identities, the combining step and the block functions of every reduction kind. Invariant: a float sum adds in
the very order of NumPy's pairwise summation (``numpy/_core/src/umath/loops_utils.h.src``), so sums of contiguous axes
are NumPy's bit for bit; other kinds do not depend on the order, but ``prod``, which keeps the elements'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.values import (
    I64,
    POINTER,
    KernelContext,
    PythonEmitter,
    Scalar,
    load,
    memory_type,
    register_type,
)
from janusjit.ir.types import DTYPES

#: how many elements a block has at most: NumPy's ``PW_BLOCKSIZE``
BLOCK = 128
LANES = 8


def is_pairwise(kind: str, dtype: str) -> bool:
    """Return whether partial results are combined as a tree, not one after the other."""
    return kind == "sum" and is_float(dtype)


def identity(kind: str, dtype: str) -> Any:
    """Return what a reduction to ``dtype`` begins with."""
    if kind in ("sum", "any", "count_nonzero"):
        return 0
    if kind in ("prod", "all"):
        return 1
    if dtype == "bool":
        return kind == "min"
    if is_float(dtype):
        return -np.inf if kind == "max" else np.inf
    limits = np.iinfo(DTYPES[dtype])
    return limits.min if kind == "max" else limits.max


def element(emitter: LLVMScalarEmitter, kind: str, x: Scalar) -> Scalar:
    """Return what of an element is combined: its truth for ``any``, ``all`` and counts, else itself."""
    if kind in ("any", "all"):
        return emitter.cast(x, "bool")
    if kind == "count_nonzero":
        return emitter.cast(emitter.cast(x, "bool"), "i64")
    return x


def combine(emitter: LLVMScalarEmitter, kind: str, total: Scalar, x: Scalar) -> Scalar:
    """Return ``total`` combined with the next element or partial result."""
    if kind in ("sum", "count_nonzero"):
        return emitter.add(total, x)
    if kind == "prod":
        return emitter.mul(total, x)
    if kind == "any" or (kind == "max" and x.dtype == "bool"):
        return emitter.logical_or(total, x)
    if kind == "all" or (kind == "min" and x.dtype == "bool"):
        return emitter.logical_and(total, x)
    better = emitter.ge(total, x) if kind == "max" else emitter.le(total, x)
    if is_float(x.dtype):
        better = emitter.logical_or(better, emitter.isnan(total))
    return emitter.select(better, total, x)


def block_function(module: ir.Module, python: PythonEmitter, kind: str, dtype: str) -> ir.Function:
    """Return ``f(total, elements, count)``, which combines ``total`` with up to `BLOCK` contiguous elements.

    For pairwise kinds ``total`` is not there, and the result is the block's alone.
    """
    name = f"janus.reduce.{kind}.{dtype}"
    known = module.globals.get(name)
    if known is not None:
        return known
    type_ = register_type(dtype)
    arguments = [POINTER, I64] if is_pairwise(kind, dtype) else [type_, POINTER, I64]
    function = ir.Function(module, ir.FunctionType(type_, arguments), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    context = KernelContext(function, python)
    *totals, elements, count = function.args
    if is_pairwise(kind, dtype):
        result = _emit_pairwise_block(context, dtype, elements, count)
    elif kind in ("max", "min") and is_float(dtype):
        result = _emit_extremum_block(context, kind, dtype, totals[0], elements, count)
    else:
        result = _emit_sequence(context, kind, dtype, totals[0], elements, ir.Constant(I64, 0), count)
    context.finish_with(result)
    return function


def _emit_sequence(
    context: KernelContext, kind: str, dtype: str, total: ir.Value, elements: ir.Value, first: ir.Value, end: ir.Value
) -> ir.Value:
    """Emit a loop that combines ``total`` with elements ``first`` to ``end``."""
    builder = context.builder
    before = builder.block
    head, body, after = (context.function.append_basic_block(name) for name in ("combine", "next", "combined"))
    builder.branch(head)
    builder.position_at_end(head)
    index, running = builder.phi(I64), builder.phi(register_type(dtype))
    index.add_incoming(first, before)
    running.add_incoming(total, before)
    builder.cbranch(builder.icmp_signed("<", index, end), body, after)
    builder.position_at_end(body)
    x = load(builder, dtype, builder.gep(elements, [index], inbounds=True, source_etype=memory_type(dtype)))
    following = combine(LLVMScalarEmitter(builder), kind, Scalar(dtype, running), x)
    index.add_incoming(builder.add(index, ir.Constant(I64, 1), flags=("nsw",)), builder.block)
    running.add_incoming(following.value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return running


def _vector_loop(
    context: KernelContext, dtype: str, elements: ir.Value, count: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Block, ir.Block]:
    """Emit ``vector = elements[:8]; for i in range(8, count - count % 8, 8)``; return phis and the blocks to fill."""
    builder = context.builder
    vector_type = ir.VectorType(memory_type(dtype), LANES)
    size = DTYPES[dtype].itemsize
    first = builder.load(elements, typ=vector_type, align=size)
    before = builder.block
    head, body, after = (context.function.append_basic_block(name) for name in ("vector", "vectors", "vectored"))
    builder.branch(head)
    builder.position_at_end(head)
    index, running = builder.phi(I64), builder.phi(vector_type)
    index.add_incoming(ir.Constant(I64, LANES), before)
    running.add_incoming(first, before)
    end = builder.and_(count, ir.Constant(I64, -LANES))
    builder.cbranch(builder.icmp_signed("<", index, end), body, after)
    builder.position_at_end(body)
    return index, running, head, after


def _load_vector(builder: ir.IRBuilder, dtype: str, elements: ir.Value, index: ir.Value) -> ir.Value:
    pointer = builder.gep(elements, [index], inbounds=True, source_etype=memory_type(dtype))
    return builder.load(pointer, typ=ir.VectorType(memory_type(dtype), LANES), align=DTYPES[dtype].itemsize)


def _close_vector_loop(
    builder: ir.IRBuilder, index: ir.Value, running: ir.Value, following: ir.Value, blocks: tuple[ir.Block, ir.Block]
) -> None:
    head, after = blocks
    index.add_incoming(builder.add(index, ir.Constant(I64, LANES), flags=("nsw",)), builder.block)
    running.add_incoming(following, builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def _emit_pairwise_block(context: KernelContext, dtype: str, elements: ir.Value, count: ir.Value) -> ir.Value:
    builder = context.builder
    type_ = register_type(dtype)
    result = context.stack_slot(type_)
    few = builder.icmp_signed("<", count, ir.Constant(I64, LANES))
    with builder.if_else(few) as (then, otherwise):
        with then:
            zero = ir.Constant(type_, -0.0)
            total = _emit_sequence(context, "sum", dtype, zero, elements, ir.Constant(I64, 0), count)
            builder.store(total, result)
        with otherwise:
            index, running, head, after = _vector_loop(context, dtype, elements, count)
            following = builder.fadd(running, _load_vector(builder, dtype, elements, index))
            _close_vector_loop(builder, index, running, following, (head, after))
            lanes = [builder.extract_element(running, ir.Constant(I64, lane)) for lane in range(LANES)]
            while len(lanes) > 1:
                lanes = [builder.fadd(a, b) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
            total = _emit_sequence(context, "sum", dtype, lanes[0], elements, index, count)
            builder.store(total, result)
    return builder.load(result, typ=type_)


def _emit_extremum_block(
    context: KernelContext, kind: str, dtype: str, total: ir.Value, elements: ir.Value, count: ir.Value
) -> ir.Value:
    builder = context.builder
    emitter = LLVMScalarEmitter(builder)
    type_ = register_type(dtype)
    result, done = context.stack_slot(type_), context.stack_slot(I64)
    builder.store(total, result)
    builder.store(ir.Constant(I64, 0), done)
    with builder.if_then(builder.icmp_signed(">=", count, ir.Constant(I64, LANES))):
        index, running, head, after = _vector_loop(context, dtype, elements, count)
        x = _load_vector(builder, dtype, elements, index)
        better = builder.fcmp_ordered(">=" if kind == "max" else "<=", running, x)
        better = builder.or_(better, builder.fcmp_unordered("uno", running, running))
        _close_vector_loop(builder, index, running, builder.select(better, running, x), (head, after))
        best = Scalar(dtype, total)
        for lane in range(LANES):
            best = combine(emitter, kind, best, Scalar(dtype, builder.extract_element(running, ir.Constant(I64, lane))))
        builder.store(best.value, result)
        builder.store(index, done)
    first, best_so_far = builder.load(done, typ=I64), builder.load(result, typ=type_)
    return _emit_sequence(context, kind, dtype, best_so_far, elements, first, count)
