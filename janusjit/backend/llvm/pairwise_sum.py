"""Sums of contiguous floats.

Owns the function of each type that adds them up. Invariant: it adds in the very order of NumPy's pairwise summation
(``numpy/_core/src/umath/loops_utils.h.src``), so sums of contiguous axes are NumPy's bit for bit. NumPy halves a row
until a part has no more than 128 elements, and adds those up in eight running sums: one chain of additions that wait
for each other. The parts do not depend on each other, so two or four are added up together where that helps: for
floats of 32 bits in a cache. To the processor's prefetching four places so close to each other are no stream, so what
comes from memory is read in order, and asked for in advance: branches at the ends of parts that are not foreseen keep
the processor from looking ahead by itself. Additions of 64 bits fill the vectors as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import (
    I32,
    I64,
    POINTER,
    KernelContext,
    PythonEmitter,
    declare,
    item_size,
    load,
    memory_type,
    offset_pointer,
    prefetch,
    register_type,
)
from janusjit.backend.llvm.vectors import VectorLoop, load_vector

#: how many elements are added up without being halved: NumPy's ``PW_BLOCKSIZE``
PART = 128
#: how many running sums there are in a part
LANES = 8
#: how many bytes ahead of what is added up memory is asked for: as much as arrives while it takes to get there
_AHEAD = 12 << 10


def function(module: ir.Module, python: PythonEmitter, dtype: str, cached: bool) -> ir.Function:
    """Return ``f(elements, count)``, the sum of contiguous elements, which are in a cache or not.

    It is compiled once in a process.
    """
    together = cached and dtype == "f32"
    symbol = f"{HANDWRITTEN}sum_{dtype}" + ("_cached" if together else "")
    type_ = register_type(dtype)

    def emit(module: ir.Module) -> None:
        own = declare(module, symbol, type_, [POINTER, I64])
        context = KernelContext(own, python)
        elements, count = own.args
        context.finish_with(_emit_sum(context, dtype, elements, count, together))

    load_once((symbol,), emit)
    declared = declare(module, symbol, type_, [POINTER, I64])
    declared.attributes.add("nounwind")
    return declared


def halves(builder: ir.IRBuilder, count: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return how many elements the halves of a row have, the first a multiple of `LANES`."""
    first = builder.and_(builder.lshr(count, ir.Constant(I64, 1)), ir.Constant(I64, -LANES))
    return first, builder.sub(count, first)


def emit_known(builder: ir.IRBuilder, dtype: str, elements: ir.Value, count: int) -> ir.Value:
    """Emit the sum of at least `LANES` contiguous elements, without loops: for a few."""
    whole = count - count % LANES
    vectors = [load_vector(builder, dtype, elements, ir.Constant(I64, n), LANES) for n in range(0, whole, LANES)]
    (total,) = _totals(builder, [functools.reduce(builder.fadd, vectors)])
    for index in range(whole, count):
        total = builder.fadd(total, load(builder, dtype, _at(builder, dtype, elements, ir.Constant(I64, index))).value)
    return total


def _emit_sum(context: KernelContext, dtype: str, elements: ir.Value, count: ir.Value, together: bool) -> ir.Value:
    builder = context.builder
    part = ir.Constant(I64, PART)
    zero = ir.Constant(I64, 0)
    with builder.if_then(builder.icmp_signed("<=", count, part)):
        with builder.if_then(builder.icmp_signed("<", count, ir.Constant(I64, LANES)), likely=False):
            nothing = ir.Constant(register_type(dtype), -0.0)
            builder.ret(_emit_rest(context, dtype, nothing, elements, zero, count))
        builder.ret(_emit_parts(context, dtype, elements, [count], ahead=not together))
    first, second = halves(builder, count)
    if together:
        with builder.if_then(builder.icmp_signed("<=", second, part)):
            builder.ret(_emit_parts(context, dtype, elements, [first, second], ahead=False))
        quarters = [*halves(builder, first), *halves(builder, second)]
        whole = builder.icmp_signed(">", first, part)
        for size in (quarters[1], quarters[3]):  # the larger ones
            whole = builder.and_(whole, builder.icmp_signed("<=", size, part))
        with builder.if_then(whole):
            builder.ret(_emit_parts(context, dtype, elements, quarters, ahead=False))
    left = builder.call(context.function, [elements, first])
    right = builder.call(context.function, [_at(builder, dtype, elements, first), second])
    return builder.fadd(left, right)


def _at(builder: ir.IRBuilder, dtype: str, elements: ir.Value, index: ir.Value) -> ir.Value:
    return builder.gep(elements, [index], inbounds=True, source_etype=memory_type(dtype))


def _emit_parts(
    context: KernelContext, dtype: str, elements: ir.Value, sizes: Sequence[ir.Value], ahead: bool
) -> ir.Value:
    """Emit the sum of one, two or four adjacent parts of at least `LANES` elements, all but the last a multiple."""
    builder, zero, lanes = context.builder, ir.Constant(I64, 0), ir.Constant(I64, LANES)
    starts = [elements]
    for size in sizes[:-1]:
        starts.append(_at(builder, dtype, starts[-1], size))
    if ahead:
        for line in range(0, PART * item_size(dtype), 64):
            prefetch(context, offset_pointer(builder, elements, _AHEAD + line))
    least = sizes[0]
    for size in sizes[1:]:
        least = builder.select(builder.icmp_signed("<", size, least), size, least)
    running = [load_vector(builder, dtype, start, zero, LANES) for start in starts]
    together = VectorLoop.begin(context, (lanes, least), running, LANES)
    more = [load_vector(builder, dtype, start, together.index, LANES) for start in starts]
    together.end(builder, [builder.fadd(a, b) for a, b in zip(together.carried, more, strict=True)])
    running, end = list(together.carried), together.index
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if len(sizes) > 1:  # what a part is longer than the shortest
            alone = VectorLoop.begin(context, (together.index, size), [running[number]], LANES)
            more = [load_vector(builder, dtype, start, alone.index, LANES)]
            alone.end(builder, [builder.fadd(alone.carried[0], more[0])])
            running[number], end = alone.carried[0], alone.index
    totals = _totals(builder, running)
    totals[-1] = _emit_rest(context, dtype, totals[-1], starts[-1], end, sizes[-1])
    return _tree(context.builder, totals)


def _totals(builder: ir.IRBuilder, running: list[ir.Value]) -> list[ir.Value]:
    """Return the sum of the lanes of each vector, neighbours first; what is left of two vectors goes into one."""
    count = len(running)
    vectors = running
    for _ in range(LANES.bit_length() - 1):
        if len(vectors) == 1:
            pairs = [(vectors[0], ir.Constant(vectors[0].type, ir.Undefined))]
            width = vectors[0].type.count // 2
        else:
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            width = vectors[0].type.count
        mask = ir.VectorType(I32, width)
        even, odd = (ir.Constant(mask, [2 * lane + more for lane in range(width)]) for more in (0, 1))
        halved = [(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd)) for a, b in pairs]
        vectors = [builder.fadd(left, right) for left, right in halved]
    return [builder.extract_element(vectors[0], ir.Constant(I32, lane)) for lane in range(count)]


def _tree(builder: ir.IRBuilder, totals: list[ir.Value]) -> ir.Value:
    while len(totals) > 1:
        totals = [builder.fadd(a, b) for a, b in zip(totals[::2], totals[1::2], strict=True)]
    return totals[0]


def _emit_rest(
    context: KernelContext, dtype: str, total: ir.Value, elements: ir.Value, first: ir.Value, end: ir.Value
) -> ir.Value:
    """Emit a loop that adds elements ``first`` to ``end`` to ``total``, one after the other."""
    builder = context.builder
    loop = VectorLoop.begin(context, (first, end), [total], 1)
    element = load(builder, dtype, _at(builder, dtype, elements, loop.index))
    loop.end(builder, [builder.fadd(loop.carried[0], element.value)])
    return loop.carried[0]
