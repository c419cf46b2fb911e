"""Functions that find the first of the extrema of contiguous rows, or of neighbouring columns.

Owns them for every element type; each is compiled once in a process. Invariant: of equal elements the first counts, and
the first NaN before all others. Short rows are searched in two passes, for what the extremum is and for where it is,
long ones by chunks. Columns are searched side by side, in vectors of values and vectors of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.lanes import LANES_OF_BYTES, resized, splat
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import (
    I1,
    I32,
    I64,
    POINTER,
    VOID,
    KernelContext,
    Scalar,
    declare,
    item_size,
    load,
    memory_type,
    offset_pointer,
    register_type,
)
from janusjit.backend.llvm.vectors import VectorLoop, load_vector, zeros

#: rows are searched in blocks that stay in the first-level cache for the second pass
BLOCK_BYTES = 8192
#: bytes of a row of floats that are looked at in a turn, in how many vectors
CHUNK, CHUNK_VECTORS = 256, 4
#: how many elements are compared at a time with what is searched for
SEARCHED = 16
#: how many columns are searched at a time, or fewer where elements are larger, and of those that are left
COLUMNS, COLUMNS_BYTES = 64, 256
FEWER_COLUMNS = 8


def is_better(emitter: LLVMScalarEmitter, op: str, x: Scalar, leader: Scalar) -> Scalar:
    """Return whether ``x``, which comes later, takes the place of ``leader``."""
    if x.dtype == "bool":
        x, leader = emitter.cast(x, "u8"), emitter.cast(leader, "u8")
    better = emitter.gt(x, leader) if op == "argmax" else emitter.lt(x, leader)
    if not is_float(x.dtype):
        return better
    is_first_nan = emitter.logical_and(emitter.isnan(x), emitter.logical_not(emitter.isnan(leader)))
    return emitter.logical_or(better, is_first_nan)


def row(context: KernelContext, op: str, dtype: str) -> ir.Function:
    """Return ``f(elements, count)``, the position in a contiguous row of at least one element."""
    symbol = f"{HANDWRITTEN}{op}_row_{dtype}"

    def emit(module: ir.Module) -> None:
        inner = KernelContext(declare(module, symbol, I64, [POINTER, I64]), context.python)
        elements, count = inner.function.args
        inner.finish_with(_emit_row(inner, op, dtype, elements, count))

    load_once((symbol,), emit)
    return _declared(context, symbol, I64, [POINTER, I64])


def columns(context: KernelContext, op: str, dtype: str) -> ir.Function:
    """Return ``f(elements, stride, count, columns, positions)``.

    It stores the position of the extremum of each of so many columns, which begin at neighbouring ``elements`` and have
    ``count`` elements, ``stride`` bytes apart.
    """
    symbol = f"{HANDWRITTEN}{op}_columns_{dtype}"
    parameters = [POINTER, I64, I64, I64, POINTER]

    def emit(module: ir.Module) -> None:
        inner = KernelContext(declare(module, symbol, VOID, parameters), context.python)
        elements, stride, count, width, positions = inner.function.args
        done: ir.Value = ir.Constant(I64, 0)
        for lanes in (min(COLUMNS, COLUMNS_BYTES // item_size(dtype)), FEWER_COLUMNS):
            loop = VectorLoop.begin(inner, (done, width), [], lanes)
            first = inner.builder.gep(elements, [loop.index], inbounds=True, source_etype=memory_type(dtype))
            found = _emit_columns(inner, op, dtype, _Columns(first, stride, count, lanes))
            target = inner.builder.gep(positions, [loop.index], inbounds=True, source_etype=I64)
            inner.builder.store(found, target, align=8)
            loop.end(inner.builder, [])
            done = loop.index
        left = inner.builder.sub(width, done)
        with inner.builder.if_then(inner.builder.icmp_signed(">", left, ir.Constant(I64, 0))):
            numbers = ir.Constant(ir.VectorType(I64, FEWER_COLUMNS), list(range(FEWER_COLUMNS)))
            mask = inner.builder.icmp_signed("<", numbers, splat(inner.builder, left, numbers.type))
            first = inner.builder.gep(elements, [done], inbounds=True, source_etype=memory_type(dtype))
            found = _emit_columns(inner, op, dtype, _Columns(first, stride, count, FEWER_COLUMNS, mask))
            target = inner.builder.gep(positions, [done], inbounds=True, source_etype=I64)
            store = inner.declare(
                f"llvm.masked.store.v{FEWER_COLUMNS}i64.p0", VOID, [found.type, POINTER, I32, mask.type]
            )
            inner.builder.call(store, [found, target, ir.Constant(I32, 8), mask])
        inner.finish()

    load_once((symbol,), emit)
    return _declared(context, symbol, VOID, parameters)


def _declared(context: KernelContext, symbol: str, result: ir.Type, parameters: list[ir.Type]) -> ir.Function:
    function = declare(context.module, symbol, result, parameters)
    function.attributes.add("nounwind")
    return function


@dataclass(frozen=True, slots=True)
class _Columns:
    """Adjacent columns: where the first begins, the bytes from row to row, how many rows, and how many columns.

    Where there is a ``mask``, there are only the columns it has lanes for.
    """

    first: ir.Value
    stride: ir.Value
    count: ir.Value
    lanes: int
    mask: ir.Value | None = None

    def row(self, context: KernelContext, dtype: str, number: ir.Value) -> ir.Value:
        """Return a row as a vector."""
        builder = context.builder
        pointer = offset_pointer(builder, self.first, builder.mul(number, self.stride))
        if self.mask is None:
            return load_vector(builder, dtype, pointer, ir.Constant(I64, 0), self.lanes)
        mask = self.mask if item_size(dtype) > 1 else resized(builder, self.mask, LANES_OF_BYTES, zeros(self.mask.type))
        type_ = ir.VectorType(memory_type(dtype), mask.type.count)
        suffix = {"bool": "i8"}.get(dtype, dtype).replace("u", "i")
        masked = context.declare(
            f"llvm.masked.load.v{type_.count}{suffix}.p0", type_, [POINTER, I32, mask.type, type_]
        )
        align = ir.Constant(I32, item_size(dtype))
        row = builder.call(masked, [pointer, align, mask, ir.Constant(type_, None)])
        return resized(builder, row, self.lanes)


def _emit_columns(context: KernelContext, op: str, dtype: str, columns: _Columns) -> ir.Value:
    """Emit the search of adjacent columns; return the positions in a vector.

    To heed NaN makes the chain from row to row longer, so floats are searched without, and again if there was one.
    """
    if not is_float(dtype):
        return _emit_columns_in_order(context, op, dtype, columns, heeds_nan=False)[0]
    place, nan = _emit_columns_in_order(context, op, dtype, columns, heeds_nan=False)
    slot = context.stack_slot(place.type)
    context.builder.store(place, slot)
    with context.builder.if_then(reduce.any_lane(context.builder, nan), likely=False):
        place_of_nan, _ = _emit_columns_in_order(context, op, dtype, columns, heeds_nan=True)
        context.builder.store(place_of_nan, slot)
    return context.builder.load(slot, typ=place.type)


def _emit_columns_in_order(
    context: KernelContext, op: str, dtype: str, columns: _Columns, heeds_nan: bool
) -> tuple[ir.Value, ir.Value]:
    """Return the positions, and a mask of the columns in which there is a NaN."""
    builder, zero = context.builder, ir.Constant(I64, 0)
    best = columns.row(context, dtype, zero)
    place = ir.Constant(ir.VectorType(I64, columns.lanes), [0] * columns.lanes)
    nan = reduce.nan_lanes(builder, dtype, best)
    loop = VectorLoop.begin(context, (ir.Constant(I64, 1), columns.count), [best, place, nan], 1)
    best, place, nan = loop.carried
    x = columns.row(context, dtype, loop.index)
    better = reduce.exceeds(builder, op.removeprefix("arg"), dtype, x, best)
    if heeds_nan:
        first_nan = builder.and_(reduce.nan_lanes(builder, dtype, x), builder.fcmp_ordered("ord", best, best))
        better = builder.or_(better, first_nan)
    here, nan = splat(builder, loop.index, place.type), builder.or_(nan, reduce.nan_lanes(builder, dtype, x))
    loop.end(builder, [builder.select(better, x, best), builder.select(better, here, place), nan])
    return place, loop.carried[2]


def _emit_row(context: KernelContext, op: str, dtype: str, elements: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the search of a row: for the block that has the extremum, then in that block."""
    builder, kind = context.builder, op.removeprefix("arg")
    if dtype == "bool":
        return _emit_first_truth(context, op, elements, count)
    if is_float(dtype):
        enough = ir.Constant(I64, CHUNK // item_size(dtype))
        with builder.if_then(builder.icmp_signed(">=", count, enough)):
            builder.ret(_emit_by_chunks(context, op, dtype, elements, count))
    extremum = reduce.block_function(context.module, context.python, kind, dtype)
    worst = LLVMScalarEmitter(builder).constant(reduce.identity(kind, dtype), dtype).value
    best, place = context.stack_slot(register_type(dtype)), context.stack_slot(I64)
    builder.store(load(builder, dtype, elements).value, best)
    builder.store(ir.Constant(I64, 0), place)
    size = BLOCK_BYTES // item_size(dtype)
    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, size - 1)), ir.Constant(I64, size))
    with context.loop(blocks) as number:
        builder = context.builder
        start = builder.mul(number, ir.Constant(I64, size))
        left, full = builder.sub(count, start), ir.Constant(I64, size)
        length = builder.select(builder.icmp_signed("<", left, full), left, full)
        block = builder.gep(elements, [start], inbounds=True, source_etype=memory_type(dtype))
        x = Scalar(dtype, builder.call(extremum, [worst, block, length]))
        leader = Scalar(dtype, builder.load(best, typ=register_type(dtype)))
        better = is_better(LLVMScalarEmitter(builder), op, x, leader).value
        builder.store(builder.select(better, x.value, leader.value), best)
        builder.store(builder.select(better, start, builder.load(place, typ=I64)), place)
    builder = context.builder
    found, start = Scalar(dtype, builder.load(best, typ=register_type(dtype))), builder.load(place, typ=I64)
    return _emit_first_equal(context, found, elements, start, count)


def _emit_first_truth(context: KernelContext, op: str, elements: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the search for the first element that is true, or not true for ``argmin``; 0 if there is none."""
    operator, byte = "!=" if op == "argmax" else "==", memory_type("bool")
    done: ir.Value = ir.Constant(I64, 0)
    for lanes in (64, 1):
        loop = VectorLoop.begin(context, (done, count), [], lanes)
        builder, bits = context.builder, ir.IntType(lanes)
        x = load_vector(builder, "bool", elements, loop.index, lanes)
        zero = ir.Constant(ir.VectorType(byte, lanes), [0] * lanes)
        hits = builder.bitcast(builder.icmp_unsigned(operator, x, zero), bits)
        with builder.if_then(builder.icmp_unsigned("!=", hits, ir.Constant(bits, 0)), likely=False):
            number = builder.cttz(hits, ir.Constant(I1, 1))
            builder.ret(builder.add(loop.index, builder.zext(number, I64) if lanes < 64 else number))
        loop.end(builder, [])
        done = loop.index
    return ir.Constant(I64, 0)


def _emit_by_chunks(context: KernelContext, op: str, dtype: str, elements: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the search of a row of at least one chunk of floats in one pass.

    Each lane carries the best it has seen, and where the chunk begins in which it first saw that. The first chunk that
    has the best of all lanes is looked at once more.
    """
    builder, lanes, size = context.builder, CHUNK // CHUNK_VECTORS // item_size(dtype), CHUNK // item_size(dtype)
    kind, zero, length = op.removeprefix("arg"), ir.Constant(I64, 0), ir.Constant(I64, size)
    worst = ir.Constant(ir.VectorType(memory_type(dtype), lanes), [reduce.identity(kind, dtype)] * lanes)
    starts = ir.Constant(ir.VectorType(I64, lanes), [0] * lanes)
    no_nan = ir.Constant(ir.VectorType(I1, lanes), [0] * lanes)
    chunks = builder.sdiv(builder.add(count, ir.Constant(I64, size - 1)), length)
    loop = VectorLoop.begin(context, (zero, chunks), [worst, starts, no_nan], 1)
    best, starts, nan = loop.carried
    start, last = builder.mul(loop.index, length), builder.sub(count, length)  # the last chunk may overlap another
    start = builder.select(builder.icmp_signed("<", start, last), start, last)
    a, b, c, d = _chunk(builder, dtype, elements, start)
    first, second = reduce.better(builder, kind, dtype, a, b), reduce.better(builder, kind, dtype, c, d)
    x = reduce.better(builder, kind, dtype, first, second)
    is_more = builder.fcmp_ordered(">" if kind == "max" else "<", x, best)
    for one, other in ((a, b), (c, d)):
        nan = builder.or_(nan, builder.fcmp_unordered("uno", one, other))
    here = splat(builder, start, starts.type)
    loop.end(builder, [builder.select(is_more, x, best), builder.select(is_more, here, starts), nan])
    best, starts, nan = loop.carried
    with builder.if_then(reduce.any_lane(builder, nan), likely=False):
        not_a_number = Scalar(dtype, ir.Constant(register_type(dtype), float("nan")))
        builder.ret(_emit_first_equal(context, not_a_number, elements, zero, count))
    extremum = splat(builder, reduce.across(builder, kind, dtype, best), best.type)
    unseen = ir.Constant(starts.type, [2**63 - 1] * lanes)
    begins = builder.select(builder.fcmp_ordered("==", best, extremum), starts, unseen)
    least = context.declare(f"llvm.vector.reduce.umin.v{lanes}i64", I64, [begins.type])
    start = builder.call(least, [begins])
    bits = zero
    for number, x in enumerate(_chunk(builder, dtype, elements, start)):
        bits = builder.or_(bits, _bits_from(builder, builder.fcmp_ordered("==", x, extremum), number * lanes))
    return builder.add(start, builder.cttz(bits, ir.Constant(I1, 1)))


def _chunk(builder: ir.IRBuilder, dtype: str, elements: ir.Value, start: ir.Value) -> list[ir.Value]:
    lanes = CHUNK // CHUNK_VECTORS // item_size(dtype)
    firsts = [builder.add(start, ir.Constant(I64, number * lanes)) for number in range(CHUNK_VECTORS)]
    return [load_vector(builder, dtype, elements, first, lanes) for first in firsts]


def is_short(dtype: str, count: int) -> bool:
    """Return whether `emit_known` is for rows of so many elements."""
    return is_float(dtype) and reduce.LANES <= count <= CHUNK // item_size(dtype)


def emit_known(context: KernelContext, op: str, dtype: str, elements: ir.Value, count: int) -> ir.Value:
    """Emit the position in a row of a few contiguous floats, without a loop."""
    builder, lanes = context.builder, reduce.LANES
    extremum = reduce.emit_known_extremum(context, op.removeprefix("arg"), dtype, elements, count, just_stored=False)
    equal = nan = ir.Constant(I64, 0)
    for start in (*range(0, count - lanes, lanes), count - lanes):
        x = load_vector(builder, dtype, elements, ir.Constant(I64, start), lanes)
        same = builder.fcmp_ordered("==", x, splat(builder, extremum.value, x.type))
        equal = builder.or_(equal, _bits_from(builder, same, start))
        nan = builder.or_(nan, _bits_from(builder, builder.fcmp_unordered("uno", x, x), start))
    any_nan = builder.icmp_unsigned("!=", nan, ir.Constant(I64, 0))
    return builder.cttz(builder.select(any_nan, nan, equal), ir.Constant(I1, 0))


def _bits_from(builder: ir.IRBuilder, mask: ir.Value, start: int) -> ir.Value:
    """Return the lanes of a mask as bits from bit ``start`` on."""
    bits = builder.zext(builder.bitcast(mask, ir.IntType(mask.type.count)), I64)
    return builder.shl(bits, ir.Constant(I64, start))


def _emit_first_equal(
    context: KernelContext, x: Scalar, elements: ir.Value, first: ir.Value, count: ir.Value
) -> ir.Value:
    """Emit the search for the first element from ``first`` on that is ``x``, which there is.

    It goes by vectors, the last of which may overlap the one before, and one by one only where there are too few
    elements for one vector. Elements before ``first`` are not ``x``.
    """
    builder, lanes = context.builder, ir.Constant(I64, SEARCHED)
    before_last = builder.sub(count, lanes)
    with builder.if_then(builder.icmp_signed("<", before_last, ir.Constant(I64, 0))):
        builder.ret(_emit_first_equal_by_one(context, x, elements))
    search, found = (context.function.append_basic_block(name) for name in ("search", "found"))
    start = builder.block
    builder.branch(search)
    builder.position_at_end(search)
    index = builder.phi(I64)
    index.add_incoming(first, start)
    inside = builder.icmp_signed("<", index, before_last)
    place = builder.select(inside, index, before_last)
    hits = _equal_lanes(builder, x, elements, place, SEARCHED)
    index.add_incoming(builder.add(index, lanes), search)
    builder.cbranch(builder.icmp_unsigned("==", hits, ir.Constant(hits.type, 0)), search, found)
    builder.position_at_end(found)
    return builder.add(place, builder.zext(builder.cttz(hits, ir.Constant(I1, 1)), I64))


def _emit_first_equal_by_one(context: KernelContext, x: Scalar, elements: ir.Value) -> ir.Value:
    builder = context.builder
    compare, following, found = (context.function.append_basic_block(n) for n in ("compare", "next", "found"))
    start = builder.block
    builder.branch(compare)
    builder.position_at_end(compare)
    position = builder.phi(I64)
    position.add_incoming(ir.Constant(I64, 0), start)
    pointer = builder.gep(elements, [position], inbounds=True, source_etype=memory_type(x.dtype))
    equal = _is_same(LLVMScalarEmitter(builder), load(builder, x.dtype, pointer), x)
    builder.cbranch(equal.value, found, following)
    builder.position_at_end(following)
    position.add_incoming(builder.add(position, ir.Constant(I64, 1)), following)
    builder.branch(compare)
    builder.position_at_end(found)
    return position


def _is_same(emitter: LLVMScalarEmitter, element: Scalar, x: Scalar) -> Scalar:
    if x.dtype == "bool":
        return emitter.logical_not(emitter.logical_xor(element, x))
    same = emitter.eq(element, x)
    if not is_float(x.dtype):
        return same
    return emitter.logical_or(same, emitter.logical_and(emitter.isnan(element), emitter.isnan(x)))


def _equal_lanes(builder: ir.IRBuilder, x: Scalar, elements: ir.Value, index: ir.Value, lanes: int) -> ir.Value:
    """Return a mask of which of the elements from ``index`` on are ``x``."""
    loaded = load_vector(builder, x.dtype, elements, index, lanes)
    value = builder.zext(x.value, memory_type("bool")) if x.dtype == "bool" else x.value
    undefined = ir.Constant(loaded.type, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    everywhere = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))
    if not is_float(x.dtype):
        same = builder.icmp_unsigned("==", loaded, everywhere)
    else:
        both_nan = builder.and_(
            builder.fcmp_unordered("uno", loaded, loaded), builder.fcmp_unordered("uno", everywhere, everywhere)
        )
        same = builder.or_(builder.fcmp_ordered("==", loaded, everywhere), both_nan)
    return builder.bitcast(same, ir.IntType(lanes))
