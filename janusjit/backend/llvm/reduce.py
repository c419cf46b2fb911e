"""Reductions of a block of contiguous elements.

Owns the identities, the combining step and the block functions of every reduction kind. Invariant: a float sum adds in
the very order of NumPy's pairwise summation (``numpy/_core/src/umath/loops_utils.h.src``), so sums of contiguous axes
are NumPy's bit for bit; other kinds do not depend on the order, but ``prod``, which keeps the elements'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    KernelContext,
    PythonEmitter,
    Scalar,
    declare,
    item_size,
    load,
    memory_type,
    register_type,
)
from janusjit.ir.types import DTYPES

#: how many elements a block has at most: NumPy's ``PW_BLOCKSIZE``
BLOCK = 128
LANES = 8
#: how many bytes of elements an extremum looks at in a turn: enough to hide the latency of comparing
EXTREMUM_BYTES = 256


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
    function.attributes.add("noinline")  # a call for many elements; copies in every kernel would cost compile time
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


@dataclass(frozen=True)
class _VectorLoop:
    """``for (index = first; index + lanes <= count; index += lanes)`` with vectors carried from turn to turn."""

    index: ir.PhiInstr
    carried: list[ir.PhiInstr]
    head: ir.Block
    after: ir.Block
    lanes: int

    @staticmethod
    def begin(
        context: KernelContext, span: tuple[ir.Value, ir.Value], carried: list[ir.Value], lanes: int
    ) -> _VectorLoop:
        """Emit the loop's head; what is emitted next is its body."""
        builder, (first, count) = context.builder, span
        before = builder.block
        head, body, after = (context.function.append_basic_block(name) for name in ("vectors", "vector", "vectored"))
        builder.branch(head)
        builder.position_at_end(head)
        loop = _VectorLoop(builder.phi(I64), [builder.phi(value.type) for value in carried], head, after, lanes)
        loop.index.add_incoming(first, before)
        for phi, value in zip(loop.carried, carried, strict=True):
            phi.add_incoming(value, before)
        end = builder.sub(count, ir.Constant(I64, lanes))
        builder.cbranch(builder.icmp_signed("<=", loop.index, end), body, after)
        builder.position_at_end(body)
        return loop

    def end(self, builder: ir.IRBuilder, following: list[ir.Value]) -> None:
        """Emit the way back to the head; what is emitted next comes after the loop."""
        self.index.add_incoming(builder.add(self.index, ir.Constant(I64, self.lanes), flags=("nsw",)), builder.block)
        for phi, value in zip(self.carried, following, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(self.head)
        builder.position_at_end(self.after)


def load_vector(builder: ir.IRBuilder, dtype: str, elements: ir.Value, index: ir.Value, lanes: int) -> ir.Value:
    """Emit a load of ``lanes`` consecutive elements."""
    pointer = builder.gep(elements, [index], inbounds=True, source_etype=memory_type(dtype))
    return builder.load(pointer, typ=ir.VectorType(memory_type(dtype), lanes), align=item_size(dtype))


def _emit_pairwise_block(context: KernelContext, dtype: str, elements: ir.Value, count: ir.Value) -> ir.Value:
    builder = context.builder
    type_ = register_type(dtype)
    result = context.stack_slot(type_)
    few = builder.icmp_signed("<", count, ir.Constant(I64, LANES))
    with builder.if_else(few) as (then, otherwise):
        with then:
            nothing = ir.Constant(type_, -0.0)
            total = _emit_sequence(context, "sum", dtype, nothing, elements, ir.Constant(I64, 0), count)
            builder.store(total, result)
        with otherwise:
            first = load_vector(builder, dtype, elements, ir.Constant(I64, 0), LANES)
            loop = _VectorLoop.begin(context, (ir.Constant(I64, LANES), count), [first], LANES)
            (running,) = loop.carried
            loop.end(builder, [builder.fadd(running, load_vector(builder, dtype, elements, loop.index, LANES))])
            lanes = [builder.extract_element(running, ir.Constant(I64, lane)) for lane in range(LANES)]
            while len(lanes) > 1:
                lanes = [builder.fadd(a, b) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
            total = _emit_sequence(context, "sum", dtype, lanes[0], elements, loop.index, count)
            builder.store(total, result)
    return builder.load(result, typ=type_)


def _emit_extremum_block(
    context: KernelContext, kind: str, dtype: str, total: ir.Value, elements: ir.Value, count: ir.Value
) -> ir.Value:
    """Emit the extremum of ``total`` and the elements: with wide vectors, then narrow ones, then one by one."""
    first: ir.Value = ir.Constant(I64, 0)
    for lanes in (EXTREMUM_BYTES // item_size(dtype), LANES):
        first, total = _emit_extremum_loop(context, kind, Scalar(dtype, total), elements, (first, count), lanes)
    return _emit_sequence(context, kind, dtype, total, elements, first, count)


def _emit_extremum_loop(
    context: KernelContext, kind: str, total: Scalar, elements: ir.Value, span: tuple[ir.Value, ir.Value], lanes: int
) -> tuple[ir.Value, ir.Value]:
    """Emit a loop over vectors that skips NaN and notes whether there was one; return where it ended, and the total."""
    builder, dtype = context.builder, total.dtype
    type_, vector = register_type(dtype), ir.VectorType(memory_type(dtype), lanes)
    worst = ir.Constant(vector, [identity(kind, dtype)] * lanes)
    no_nan = ir.Constant(ir.VectorType(I1, lanes), [0] * lanes)
    loop = _VectorLoop.begin(context, span, [worst, no_nan], lanes)
    best, nan = loop.carried
    x = load_vector(builder, dtype, elements, loop.index, lanes)
    better = builder.fcmp_ordered(">" if kind == "max" else "<", best, x)
    loop.end(builder, [builder.select(better, best, x), builder.or_(nan, builder.fcmp_unordered("uno", x, x))])
    name = f"llvm.vector.reduce.f{kind}.v{lanes}{dtype}"  # llvmlite does not know how vectors are called in it
    reduced = declare(builder.module, name, type_, [vector])
    mask = ir.IntType(lanes)
    seen = builder.icmp_unsigned("!=", builder.bitcast(nan, mask), ir.Constant(mask, 0))
    found = builder.select(seen, ir.Constant(type_, float("nan")), builder.call(reduced, [best]))
    return loop.index, combine(LLVMScalarEmitter(builder), kind, total, Scalar(dtype, found)).value
