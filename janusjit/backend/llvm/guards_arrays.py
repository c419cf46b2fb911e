"""Entry guards on arrays.

Owns the emission of `ArrayLayout`, `NoOverlap` and `DimRelation`. Invariant: what an `ArrayLayout` check establishes
(`ArrayFacts`) is all the compiled code assumes of an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_places import place_key
from janusjit.backend.llvm.guards import ArrayFacts, GuardEmitter, emits
from janusjit.backend.llvm.python_api import I1, I8, I32, I64, POINTER, array_descriptor
from janusjit.backend.llvm.values import Extent, as_i64, contiguous_strides, item_size, multiply
from janusjit.ir import guards as kinds
from janusjit.ir.dims import Dim, FloorDivision, Monomial, Symbol
from janusjit.ir.places import Place

_LAYOUT_FLAGS = {"C": layout.ARRAY_C_CONTIGUOUS, "F": layout.ARRAY_F_CONTIGUOUS, "any": 0}


@emits(kinds.ArrayLayout)
def _emit_array_layout(emitter: GuardEmitter, guard: kinds.ArrayLayout, number: int) -> None:
    reading = emitter.places.read(guard.place)
    emitter.require_type(reading, np.ndarray, number)
    array = reading.value
    _require_descriptor(emitter, array, guard.dtype, number)
    _require_rank_and_flags(emitter, array, guard, number)
    dims = _require_dims(emitter, array, guard.shape, number)
    pointer = emitter.api.field(emitter.builder, array, layout.ARRAY_DATA, POINTER)
    strides = _strides(emitter, array, guard, dims)
    facts = ArrayFacts(guard.dtype, pointer, dims, strides, guard.layout != "any")
    emitter.established.arrays.setdefault(place_key(guard.place), facts)


def _require_descriptor(emitter: GuardEmitter, array: ir.Value, dtype: str, number: int) -> None:
    """Emit: fail unless the dtype is NumPy's own object for it or, seldom, another that NumPy says is equivalent."""
    api, builder = emitter.api, emitter.builder
    found = api.field(builder, array, layout.ARRAY_DESCR, POINTER)
    expected = api.object(builder, array_descriptor(dtype))
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", found, expected), likely=False):
        equivalent = api.call(builder, "PyArray_EquivTypes", found, expected)
        differs = builder.icmp_unsigned("==", equivalent, ir.Constant(I8, 0))
        asked_in = builder.block
    wrong = builder.phi(I1)
    wrong.add_incoming(ir.Constant(I1, 0), before)
    wrong.add_incoming(differs, asked_in)
    emitter.frame.fail_if(wrong, number)


def _require_rank_and_flags(emitter: GuardEmitter, array: ir.Value, guard: kinds.ArrayLayout, number: int) -> None:
    api, builder = emitter.api, emitter.builder
    required = layout.ARRAY_ALIGNED | _LAYOUT_FLAGS[guard.layout]
    if guard.writeable:
        required |= layout.ARRAY_WRITEABLE
    flags = api.field(builder, array, layout.ARRAY_FLAGS, I32)
    lacking = builder.and_(builder.not_(flags), ir.Constant(I32, required))
    rank = api.field(builder, array, layout.ARRAY_RANK, I32)
    wrong = builder.or_(lacking, builder.xor(rank, ir.Constant(I32, len(guard.shape))))
    emitter.frame.fail_if(builder.icmp_unsigned("!=", wrong, ir.Constant(I32, 0)), number)


def _require_dims(emitter: GuardEmitter, array: ir.Value, shape: tuple[Dim, ...], number: int) -> tuple[Extent, ...]:
    """Emit the comparison of all dimensions, in one branch, and bind the symbols that are new."""
    if not shape:
        return ()
    api, builder, symbols = emitter.api, emitter.builder, emitter.established.symbols
    address = api.field(builder, array, layout.ARRAY_DIMS, POINTER)
    wrong: ir.Value = ir.Constant(I1, 0)
    dims: list[Extent] = []
    for axis, dim in enumerate(shape):
        size = api.field(builder, address, 8 * axis, I64)
        if isinstance(dim, int):
            dims.append(dim)
            wrong = builder.or_(wrong, builder.icmp_signed("!=", size, ir.Constant(I64, dim)))
            continue
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


@dataclass(frozen=True)
class _Bounds:
    """The memory an array lies in: ``[low, high)``; nothing if ``empty``."""

    low: ir.Value
    high: ir.Value
    empty: ir.Value


@emits(kinds.NoOverlap)
def _emit_no_overlap(emitter: GuardEmitter, guard: kinds.NoOverlap, number: int) -> None:
    first, second = _bounds(emitter, guard.first), _bounds(emitter, guard.second)
    if first is None or second is None:
        emitter.check_in_python(guard, number)
        return
    builder = emitter.builder
    meets = builder.and_(
        builder.icmp_unsigned("<", first.low, second.high), builder.icmp_unsigned("<", second.low, first.high)
    )
    empty = builder.or_(first.empty, second.empty)
    emitter.frame.fail_if(builder.and_(meets, builder.not_(empty)), number)


def _bounds(emitter: GuardEmitter, place: Place) -> _Bounds | None:
    """Emit the bounds of an array's memory, as NumPy's ``get_array_memory_extents`` has them."""
    facts = emitter.established.arrays.get(place_key(place))
    if facts is None:
        return None
    builder = emitter.builder
    zero = ir.Constant(I64, 0)
    low = high = builder.ptrtoint(facts.pointer, I64)
    empty: ir.Value = ir.Constant(I1, 0)
    for dim in facts.dims:
        if not isinstance(dim, int) or dim == 0:
            empty = builder.or_(empty, builder.icmp_signed("==", as_i64(dim), zero))
    if facts.contiguous:
        size: Extent = item_size(facts.dtype)
        for dim in facts.dims:
            size = multiply(builder, size, dim)
        return _Bounds(low, builder.add(high, as_i64(size)), empty)
    for dim, stride in zip(facts.dims, facts.strides, strict=True):
        reach = builder.mul(builder.sub(as_i64(dim), ir.Constant(I64, 1)), as_i64(stride))
        backwards = builder.icmp_signed("<", reach, zero)
        low = builder.add(low, builder.select(backwards, reach, zero))
        high = builder.add(high, builder.select(backwards, zero, reach))
    return _Bounds(low, builder.add(high, ir.Constant(I64, item_size(facts.dtype))), empty)


_COMPARISONS = frozenset({"==", "!=", "<=", "<"})


@emits(kinds.DimRelation)
def _emit_dim_relation(emitter: GuardEmitter, guard: kinds.DimRelation, number: int) -> None:
    if guard.operator not in _COMPARISONS:
        raise ValueError(f"a dimension relation is one of {sorted(_COMPARISONS)}, not {guard.operator!r}")
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
