"""Positions of extrema.

Owns `emit_position` (``argmax`` and ``argmin``). Invariant: the position is the first of the extremum, or that of the
first NaN if there is one, as NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.indexing import nest
from janusjit.backend.llvm.values import (
    I32,
    I64,
    POINTER,
    ArrayValue,
    Extent,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    load,
    memory_type,
    multiply,
    register_type,
    store,
)
from janusjit.backend.llvm.vectors import load_vector
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
    """Emit the search of ``row``, whose elements are counted in C order."""
    if row.rank == 1 and row.strides == (item_size(row.dtype),):
        function = _search_function(context, op, row.dtype)
        return context.builder.call(function, [row.pointer, as_i64(row.dims[0])])
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
        x = load(builder, dtype, element_pointer(builder, row, index))
        leader = Scalar(dtype, builder.load(best, typ=register_type(dtype)))
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


def _search_function(context: KernelContext, op: str, dtype: str) -> ir.Function:
    """Return ``f(elements, count)``: finds the extremum, then the first element equal to it, or the first NaN."""
    module = context.module
    name = f"janus.{op}.{dtype}"
    known = module.globals.get(name)
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(I64, [POINTER, I64]), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    inner = KernelContext(function, context.python)
    builder, (elements, count) = inner.builder, function.args
    kind = op.removeprefix("arg")
    emitter = LLVMScalarEmitter(builder)
    worst = emitter.constant(reduce.identity(kind, dtype), dtype)
    extremum = builder.call(reduce.block_function(module, context.python, kind, dtype), [worst.value, elements, count])
    inner.finish_with(_emit_first_equal(inner, Scalar(dtype, extremum), elements, count))
    return function


def _emit_first_equal(context: KernelContext, x: Scalar, elements: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the search for the first element that is ``x``: by vectors up to the one that has it, then one by one."""
    builder, function = context.builder, context.function
    lanes = 16
    blocks = [function.append_basic_block(n) for n in ("search", "vector", "one.by.one", "compare", "next", "found")]
    search, vector, scalar, compare, following, found = blocks
    start = builder.block
    builder.branch(search)
    builder.position_at_end(search)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), start)
    room = builder.icmp_signed("<=", index, builder.sub(count, ir.Constant(I64, lanes)))
    builder.cbranch(room, vector, scalar)
    builder.position_at_end(vector)
    hits = _equal_lanes(builder, x, elements, index, lanes)
    index.add_incoming(builder.add(index, ir.Constant(I64, lanes)), vector)
    builder.cbranch(builder.icmp_unsigned("==", hits, ir.Constant(hits.type, 0)), search, scalar)
    builder.position_at_end(scalar)
    builder.branch(compare)
    builder.position_at_end(compare)
    position = builder.phi(I64)
    position.add_incoming(index, scalar)
    emitter = LLVMScalarEmitter(builder)
    pointer = builder.gep(elements, [position], inbounds=True, source_etype=memory_type(x.dtype))
    equal = _is_same(emitter, load(builder, x.dtype, pointer), x)
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
