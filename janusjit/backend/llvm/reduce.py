"""Reductions of a block of contiguous elements.

Owns the identities, the combining step and the block functions of every reduction kind. Invariant: float sums add in
NumPy's order (`janusjit.backend.llvm.pairwise_sum`); other kinds do not depend on the order, but ``prod``, which keeps
the elements'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import pairwise_sum
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.values import (
    I1,
    I32,
    I64,
    POINTER,
    KernelContext,
    PythonEmitter,
    Scalar,
    item_size,
    load,
    memory_type,
    register_type,
)
from janusjit.backend.llvm.vectors import VectorLoop, load_vector
from janusjit.ir.types import DTYPES

#: how many elements a block has at most
BLOCK = 512
LANES = 8
#: up to how many floats are combined without loops, if it is known how many there are
FEW = 64
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


def combined_block(
    context: KernelContext, kind: str, total: Scalar, elements: ir.Value, count: ir.Value, just_stored: bool
) -> Scalar:
    """Emit the combination of ``total`` with contiguous elements; for pairwise kinds, that of the elements alone."""
    dtype = total.dtype
    if isinstance(count, ir.Constant) and LANES <= count.constant <= FEW and is_float(dtype):
        if kind == "sum":
            return Scalar(dtype, pairwise_sum.emit_known(context.builder, dtype, elements, count.constant))
        if kind in ("max", "min"):
            found = emit_known_extremum(context, kind, dtype, elements, count.constant, just_stored)
            return combine(LLVMScalarEmitter(context.builder), kind, total, found)
    if is_pairwise(kind, dtype):
        sum_function = pairwise_sum.function(context.module, context.python, dtype, just_stored)
        return Scalar(dtype, context.builder.call(sum_function, [elements, count]))
    function = block_function(context.module, context.python, kind, dtype)
    return Scalar(dtype, context.builder.call(function, [total.value, elements, count]))


def emit_known_extremum(
    context: KernelContext, kind: str, dtype: str, elements: ir.Value, count: int, just_stored: bool
) -> Scalar:
    """Emit the extremum of a few contiguous elements, NaN if there is one, without loops.

    What is left after whole vectors is part of one more vector, which overlaps the last; but where elements have
    ``just_stored`` been, the processor would wait for all of the stores a vector overlaps.
    """
    builder, emitter = context.builder, LLVMScalarEmitter(context.builder)
    whole = count - count % LANES
    starts = [*range(0, whole, LANES), *([count - LANES] if whole < count and not just_stored else [])]
    vectors = [load_vector(builder, dtype, elements, ir.Constant(I64, start), LANES) for start in starts]
    best, nan = vectors[0], nan_lanes(builder, dtype, vectors[0])
    for x in vectors[1:]:
        best, nan = better(builder, kind, dtype, best, x), builder.or_(nan, nan_lanes(builder, dtype, x))
    found = _or_nan(builder, dtype, any_lane(builder, nan), across(builder, kind, dtype, best))
    for index in range(whole, count) if just_stored else ():
        pointer = builder.gep(elements, [ir.Constant(I64, index)], inbounds=True, source_etype=memory_type(dtype))
        found = combine(emitter, kind, found, load(builder, dtype, pointer))
    return found


def nan_lanes(builder: ir.IRBuilder, dtype: str, x: ir.Value) -> ir.Value:
    """Return the mask of the lanes of a vector that are NaN."""
    if is_float(dtype):
        return builder.fcmp_unordered("uno", x, x)
    return ir.Constant(ir.VectorType(I1, x.type.count), [0] * x.type.count)


def exceeds(builder: ir.IRBuilder, kind: str, dtype: str, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return the mask of the lanes in which ``x`` is more extreme than ``y``."""
    operator = ">" if kind == "max" else "<"
    if is_float(dtype):
        return builder.fcmp_ordered(operator, x, y)
    if dtype == "bool" or dtype.startswith("u"):
        return builder.icmp_unsigned(operator, x, y)
    return builder.icmp_signed(operator, x, y)


def better(builder: ir.IRBuilder, kind: str, dtype: str, best: ir.Value, x: ir.Value) -> ir.Value:
    """Return what of two vectors is more extreme; a NaN never stays."""
    return builder.select(exceeds(builder, kind, dtype, best, x), best, x)


def any_lane(builder: ir.IRBuilder, lanes: ir.Value) -> ir.Value:
    """Return whether any lane of a mask is set."""
    mask = ir.IntType(lanes.type.count)
    return builder.icmp_unsigned("!=", builder.bitcast(lanes, mask), ir.Constant(mask, 0))


def _folded(builder: ir.IRBuilder, kind: str, dtype: str, best: ir.Value, lanes: int) -> ir.Value:
    """Return the extrema of the lanes of a vector as a vector of fewer lanes."""
    while best.type.count > lanes:  # LLVM's own reductions heed NaN, lane after lane
        half = best.type.count // 2
        undefined, indices = ir.Constant(best.type, ir.Undefined), ir.VectorType(I32, half)
        lower, upper = (ir.Constant(indices, list(range(first, first + half))) for first in (0, half))
        parts = [builder.shuffle_vector(best, undefined, part) for part in (lower, upper)]
        best = better(builder, kind, dtype, *parts)
    return best


def across(builder: ir.IRBuilder, kind: str, dtype: str, best: ir.Value) -> ir.Value:
    """Return the extremum of the lanes of a vector."""
    return builder.extract_element(_folded(builder, kind, dtype, best, 1), ir.Constant(I32, 0))


def _or_nan(builder: ir.IRBuilder, dtype: str, seen: ir.Value, found: ir.Value) -> Scalar:
    """Return NaN where one was ``seen``."""
    if not is_float(dtype):
        return Scalar(dtype, found)
    return Scalar(dtype, builder.select(seen, ir.Constant(found.type, float("nan")), found))


def block_function(module: ir.Module, python: PythonEmitter, kind: str, dtype: str) -> ir.Function:
    """Return ``f(total, elements, count)``: ``total`` combined with contiguous elements. Not for sums of floats."""
    name = f"janus.reduce.{kind}.{dtype}"
    known = module.globals.get(name)
    if known is not None:
        return known
    type_ = register_type(dtype)
    function = ir.Function(module, ir.FunctionType(type_, [type_, POINTER, I64]), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    function.attributes.add("noinline")  # a call for many elements; copies in every kernel would cost compile time
    context = KernelContext(function, python)
    total, elements, count = function.args
    if kind in ("max", "min") and dtype != "bool":
        result = _emit_extremum_block(context, kind, dtype, total, elements, count)
    else:
        result = _emit_sequence(context, kind, dtype, total, elements, ir.Constant(I64, 0), count)
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
    index.add_incoming(next_turn(builder, index), builder.block)
    running.add_incoming(following.value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return running


def _emit_extremum_block(
    context: KernelContext, kind: str, dtype: str, total: ir.Value, elements: ir.Value, count: ir.Value
) -> ir.Value:
    """Emit the extremum of ``total`` and the elements: by wide vectors, narrow ones, and one that overlaps the last.

    Vectors skip NaN, and it is noted whether there was one.
    """
    builder, zero = context.builder, ir.Constant(I64, 0)
    few = builder.icmp_signed("<", count, ir.Constant(I64, LANES))
    with builder.if_then(few):
        builder.ret(_emit_sequence(context, kind, dtype, total, elements, zero, count))
    lanes = EXTREMUM_BYTES // item_size(dtype)
    worst = ir.Constant(ir.VectorType(memory_type(dtype), lanes), [identity(kind, dtype)] * lanes)
    done, best, seen = _emit_extremum_loop(context, kind, dtype, elements, (zero, count), worst)
    best = _folded(builder, kind, dtype, best, LANES)
    _, best, seen_later = _emit_extremum_loop(context, kind, dtype, elements, (done, count), best)
    last = load_vector(builder, dtype, elements, builder.sub(count, ir.Constant(I64, LANES)), LANES)
    seen_last = any_lane(builder, nan_lanes(builder, dtype, last))
    seen = builder.or_(builder.or_(seen, seen_later), seen_last)
    found = _or_nan(builder, dtype, seen, across(builder, kind, dtype, better(builder, kind, dtype, best, last)))
    return combine(LLVMScalarEmitter(builder), kind, Scalar(dtype, total), found).value


def _emit_extremum_loop(
    context: KernelContext, kind: str, dtype: str, elements: ir.Value, span: tuple[ir.Value, ir.Value], best: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Emit a loop over vectors like ``best``; return where it ended, the best lanes, and whether there was a NaN."""
    builder, lanes = context.builder, best.type.count
    no_nan = ir.Constant(ir.VectorType(I1, lanes), [0] * lanes)
    loop = VectorLoop.begin(context, span, [best, no_nan], lanes)
    x = load_vector(builder, dtype, elements, loop.index, lanes)
    best, nan = loop.carried
    loop.end(builder, [better(builder, kind, dtype, best, x), builder.or_(nan, nan_lanes(builder, dtype, x))])
    return loop.index, best, any_lane(builder, nan)
