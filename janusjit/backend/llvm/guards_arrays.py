"""Entry guards on arrays.

Owns the emission of `ArrayLayout` and `DimRelation`. Invariant: what an `ArrayLayout` check establishes
(`ArrayFacts`) is all the compiled code assumes of an array.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_places import place_key
from janusjit.backend.llvm.guards import ArrayFacts, GuardEmitter, emits
from janusjit.backend.llvm.python_api import I1, I8, I32, I64, POINTER, PythonApi, array_descriptor, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import Extent, as_i64, contiguous_strides, item_size, multiply
from janusjit.errors import CompileError
from janusjit.ir import guards as kinds
from janusjit.ir.dims import Dim, FloorDivision, Monomial, Symbol

_LAYOUT_FLAGS = {"C": layout.ARRAY_C_CONTIGUOUS, "F": layout.ARRAY_F_CONTIGUOUS, "any": 0}


@emits(kinds.ArrayLayout)
def _emit_array_layout(emitter: GuardEmitter, guard: kinds.ArrayLayout, number: int) -> None:
    reading = emitter.places.read(guard.place)
    emitter.require_present(reading, number)
    array = reading.value
    api, builder = emitter.api, emitter.builder
    required = layout.ARRAY_ALIGNED | _LAYOUT_FLAGS[guard.layout]
    if guard.writeable:
        required |= layout.ARRAY_WRITEABLE
    sizes = constant_sizes(api.module, guard.shape)
    descriptor = api.object(builder, array_descriptor(guard.dtype))
    rank, flags = ir.Constant(I32, len(guard.shape)), ir.Constant(I32, required)
    emitter.frame.fail_unless(array_matches(api, builder, array, descriptor, rank, flags, sizes), number)
    if guard.writeable and guard.layout == "any":
        item = ir.Constant(I64, item_size(guard.dtype))
        emitter.frame.fail_unless(elements_lie_apart(api, builder, array, builder.zext(rank, I64), item), number)
    reading.type_ = np.ndarray
    dims = _require_symbols(emitter, array, guard.shape, number)
    pointer = emitter.api.field(emitter.builder, array, layout.ARRAY_DATA, POINTER)
    strides = _strides(emitter, array, guard, dims)
    facts = ArrayFacts(guard.dtype, pointer, dims, strides, guard.layout != "any")
    emitter.established.arrays.setdefault(place_key(guard.place), facts)


_ANY_SIZE = -1


def constant_sizes(module: ir.Module, shape: tuple[Dim, ...]) -> ir.Value:
    """Return a constant array of the sizes a shape requires, `_ANY_SIZE` where it names a symbol."""
    sizes = [dim if isinstance(dim, int) else _ANY_SIZE for dim in shape]
    name = "sizes_" + "_".join("n" if size == _ANY_SIZE else str(size) for size in sizes)
    if name not in module.globals:
        constant = ir.GlobalVariable(module, ir.ArrayType(I64, len(sizes)), name)
        constant.linkage, constant.global_constant = "internal", True
        constant.initializer = ir.Constant(constant.value_type, sizes)
        opaque(constant)
    return module.globals[name]


@shared(I1, POINTER, POINTER, I32, I32, POINTER, is_hot=True)
def array_matches(api: PythonApi, function: ir.Function) -> None:
    """Takes object, descriptor, rank, required flags, and the sizes with `_ANY_SIZE` where any will do.

    The descriptor is NumPy's own for the dtype or, seldom, another one that NumPy says is equivalent.
    """
    array, descriptor, rank, required, sizes = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    differs = function.append_basic_block("differs")
    ir.IRBuilder(differs).ret(ir.Constant(I1, 0))
    _go_on_if(builder, api.has_type(builder, array, np.ndarray), differs)
    found = api.field(builder, array, layout.ARRAY_DESCR, POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", found, descriptor), likely=False):
        equivalent = api.call(builder, "PyArray_EquivTypes", found, descriptor)
        _go_on_if(builder, builder.icmp_unsigned("!=", equivalent, ir.Constant(I8, 0)), differs)
    lacking = builder.and_(builder.not_(api.field(builder, array, layout.ARRAY_FLAGS, I32)), required)
    wrong = builder.or_(lacking, builder.xor(api.field(builder, array, layout.ARRAY_RANK, I32), rank))
    _go_on_if(builder, builder.icmp_unsigned("==", wrong, ir.Constant(I32, 0)), differs)
    _emit_compare_sizes(api, builder, array, sizes, builder.zext(rank, I64), differs)


def _go_on_if(builder: ir.IRBuilder, condition: ir.Value, otherwise: ir.Block) -> None:
    going_on = builder.append_basic_block()
    builder.cbranch(condition, going_on, otherwise)
    builder.position_at_end(going_on)


def _emit_compare_sizes(
    api: PythonApi, builder: ir.IRBuilder, array: ir.Value, sizes: ir.Value, rank: ir.Value, differs: ir.Block
) -> None:
    """Emit the loop over the dimensions and the return."""
    before = builder.block
    loop, compare, done = (builder.append_basic_block(name) for name in ("loop", "compare", "done"))
    dims = api.field(builder, array, layout.ARRAY_DIMS, POINTER)
    builder.branch(loop)
    builder.position_at_end(loop)
    axis = builder.phi(I64)
    axis.add_incoming(ir.Constant(I64, 0), before)
    builder.cbranch(builder.icmp_signed("<", axis, rank), compare, done)
    builder.position_at_end(compare)
    required, found = (builder.load(builder.gep(p, [axis], source_etype=I64), typ=I64) for p in (sizes, dims))
    any_size = builder.icmp_signed("==", required, ir.Constant(I64, _ANY_SIZE))
    axis.add_incoming(builder.add(axis, ir.Constant(I64, 1)), compare)
    builder.cbranch(builder.or_(any_size, builder.icmp_signed("==", found, required)), loop, differs)
    ir.IRBuilder(done).ret(ir.Constant(I1, 1))


@shared(I1, POINTER, I64, I64, is_hot=True)
def elements_lie_apart(api: PythonApi, function: ir.Function) -> None:
    """Takes object, rank and item size; says what `janusjit.ir.memory.lies_apart` says."""
    array, rank, item = function.args
    zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
    names = ("entry", "axis", "begin", "other", "reach", "compare", "following", "overlaps", "apart")
    entry, outer, begin, inner, reach, compare, following, overlaps, apart = map(function.append_basic_block, names)
    builder = ir.IRBuilder(entry)
    dims, strides = (api.field(builder, array, field, POINTER) for field in (layout.ARRAY_DIMS, layout.ARRAY_STRIDES))
    builder.branch(outer)

    def axis_at(position: ir.Value) -> tuple[ir.Value, ir.Value]:
        size, stride = (builder.load(builder.gep(p, [position], source_etype=I64), typ=I64) for p in (dims, strides))
        return size, builder.select(builder.icmp_signed("<", stride, zero), builder.neg(stride), stride)

    builder.position_at_end(outer)
    axis = builder.phi(I64)
    axis.add_incoming(zero, entry)
    builder.cbranch(builder.icmp_signed("<", axis, rank), begin, apart)
    builder.position_at_end(begin)
    size, own = axis_at(axis)
    after = builder.add(axis, one)
    builder.cbranch(builder.icmp_signed(">", size, one), inner, following)
    builder.position_at_end(inner)
    other, total = builder.phi(I64), builder.phi(I64)
    other.add_incoming(zero, begin)
    total.add_incoming(item, begin)
    builder.cbranch(builder.icmp_signed("<", other, rank), reach, compare)
    builder.position_at_end(reach)
    steps, step = axis_at(other)
    counts = builder.and_(builder.icmp_signed(">", steps, one), builder.icmp_signed("<=", step, own))
    counts = builder.and_(counts, builder.icmp_signed("!=", other, axis))
    further = builder.select(counts, builder.mul(builder.sub(steps, one), step), zero)
    is_empty, never = builder.icmp_signed("==", steps, zero), ir.Constant(I64, -(1 << 62))
    other.add_incoming(builder.add(other, one), reach)
    total.add_incoming(builder.select(is_empty, never, builder.add(total, further)), reach)
    builder.branch(inner)
    builder.position_at_end(compare)
    builder.cbranch(builder.icmp_signed("<=", total, own), following, overlaps)
    builder.position_at_end(following)
    axis.add_incoming(after, following)
    builder.branch(outer)
    ir.IRBuilder(overlaps).ret(ir.Constant(I1, 0))
    ir.IRBuilder(apart).ret(ir.Constant(I1, 1))


def _require_symbols(emitter: GuardEmitter, array: ir.Value, shape: tuple[Dim, ...], number: int) -> tuple[Extent, ...]:
    """Emit the comparison of the dimensions that are symbols, in one branch, and bind those that are new."""
    if all(isinstance(dim, int) for dim in shape):
        return tuple(dim for dim in shape if isinstance(dim, int))
    api, builder, symbols = emitter.api, emitter.builder, emitter.established.symbols
    address = api.field(builder, array, layout.ARRAY_DIMS, POINTER)
    wrong: ir.Value = ir.Constant(I1, 0)
    dims: list[Extent] = []
    for axis, dim in enumerate(shape):
        if isinstance(dim, int):
            dims.append(dim)
            continue
        size = api.field(builder, address, 8 * axis, I64)
        (symbol,) = dim.symbols()
        if symbol in symbols:
            wrong = builder.or_(wrong, builder.icmp_signed("!=", size, symbols[symbol]))
        else:
            wrong = builder.or_(wrong, builder.icmp_signed("<", size, ir.Constant(I64, symbol.minimum)))
            symbols[symbol] = size
        dims.append(symbols[symbol])
    emitter.frame.fail_if(wrong, number)
    return tuple(dims)


def _strides(
    emitter: GuardEmitter, array: ir.Value, guard: kinds.ArrayLayout, dims: tuple[Extent, ...]
) -> tuple[Extent, ...]:
    if guard.layout == "C":
        return contiguous_strides(emitter.builder, guard.dtype, dims)
    if guard.layout == "F":
        return contiguous_strides(emitter.builder, guard.dtype, dims[::-1])[::-1]
    address = emitter.api.field(emitter.builder, array, layout.ARRAY_STRIDES, POINTER)
    return tuple(emitter.api.field(emitter.builder, address, 8 * axis, I64) for axis in range(len(dims)))


_COMPARISONS = frozenset({"==", "!=", "<=", "<"})


@emits(kinds.DimRelation)
def _emit_dim_relation(emitter: GuardEmitter, guard: kinds.DimRelation, number: int) -> None:
    if guard.operator not in _COMPARISONS:
        raise CompileError("backend.guard", f"there is no dimension relation {guard.operator!r}")
    symbols = emitter.established.symbols
    left = as_i64(emit_dim(emitter.builder, guard.left, symbols))
    right = as_i64(emit_dim(emitter.builder, guard.right, symbols))
    emitter.frame.fail_unless(emitter.builder.icmp_signed(guard.operator, left, right), number)


def emit_dim(builder: ir.IRBuilder, dim: Dim, symbols: Mapping[Symbol, ir.Value]) -> Extent:
    """Emit the value of a dimension expression, given each symbol's.

    Raises
    ------
    KeyError
        If a symbol of the expression is not bound.
    """
    if isinstance(dim, int):
        return dim
    total: Extent = 0
    for monomial, coefficient in dim.terms:
        term = _emit_monomial(builder, monomial, coefficient, symbols)
        total = term if total == 0 else builder.add(as_i64(total), as_i64(term))
    return total


def _emit_monomial(
    builder: ir.IRBuilder, monomial: Monomial, coefficient: int, symbols: Mapping[Symbol, ir.Value]
) -> Extent:
    value: Extent = coefficient
    for atom in monomial:
        factor = symbols[atom] if isinstance(atom, Symbol) else _emit_floor_division(builder, atom, symbols)
        value = multiply(builder, value, factor)
    return value


def _emit_floor_division(builder: ir.IRBuilder, atom: FloorDivision, symbols: Mapping[Symbol, ir.Value]) -> ir.Value:
    """Emit ``numerator // divisor`` for a positive divisor: rounds down, where LLVM's ``sdiv`` rounds to zero."""
    numerator = as_i64(emit_dim(builder, atom.numerator, symbols))
    divisor = ir.Constant(I64, atom.divisor)
    remainder = builder.srem(numerator, divisor)
    negative = builder.zext(builder.icmp_signed("<", remainder, ir.Constant(I64, 0)), I64)
    return builder.sub(builder.sdiv(numerator, divisor), negative)
