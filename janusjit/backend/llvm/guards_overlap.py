"""Entry guards on which arrays share memory.

Owns the emission of `NoOverlap`. Invariant: where each of some arrays is apart from each of all, which is what a graph
that writes to arrays guards, the code grows with the number of arrays, not with that of their pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.entry_places import place_key
from janusjit.backend.llvm.guards import GuardEmitter, emits
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.python_api import I1, I64, POINTER, PythonApi
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import Extent, as_i64, item_size, multiply
from janusjit.ir import guards as kinds
from janusjit.ir.places import Place

#: fewer guards than this are emitted one by one
_FEW = 4
#: how many intervals are compared at a time
LANES = 8
_INTERVALS, _TRUTHS = ir.VectorType(I64, LANES), ir.VectorType(I1, LANES)
_ZERO = ir.Constant(I64, 0)


@dataclass(frozen=True)
class _Bounds:
    """The memory an array lies in: ``[low, high)``; nothing if ``empty``, which is None where it cannot be."""

    low: ir.Value
    high: ir.Value
    empty: ir.Value | None


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
    for empty in (first.empty, second.empty):
        if empty is not None:
            meets = builder.and_(meets, builder.not_(empty))
    emitter.frame.fail_if(meets, number)


def emit_no_overlaps(emitter: GuardEmitter, guards: Sequence[tuple[int, kinds.NoOverlap]]) -> None:
    """Emit the checks of numbered guards, together where that is possible; then the first one's number is told."""
    order = _order([guard for _, guard in guards]) if len(guards) >= _FEW else None
    bounds = [_bounds(emitter, place) for place in order[1]] if order is not None else [None]
    if order is None or None in bounds:
        for number, guard in guards:
            emitter.emit(guard, number)
        return
    api, builder, count = emitter.api, emitter.builder, len(bounds)
    lows, highs = (emitter.frame.scratch(ir.ArrayType(I64, count + LANES)) for _ in range(2))
    for position in range(count, count + LANES):  # empty intervals, for the last vector
        builder.store(ir.Constant(I64, -1), api.address(builder, lows, 8 * position))
        builder.store(_ZERO, api.address(builder, highs, 8 * position))
    for position, one in enumerate(bounds):
        assert one is not None
        low = one.low if one.empty is None else builder.select(one.empty, ir.Constant(I64, -1), one.low)
        builder.store(low, api.address(builder, lows, 8 * position))
        builder.store(one.high, api.address(builder, highs, 8 * position))
    meets = any_overlap(api, builder, lows, highs, ir.Constant(I64, order[0]), ir.Constant(I64, count))
    emitter.frame.fail_if(meets, guards[0][0])


def _order(guards: Sequence[kinds.NoOverlap]) -> tuple[int, list[Place]] | None:
    """Return places so that each of the first ones is guarded against all behind it, and how many; None if none is."""
    places: dict[Hashable, Place] = {place_key(guard.first): guard.first for guard in guards}
    first = len(places)
    for guard in guards:
        places.setdefault(place_key(guard.second), guard.second)
    keys = list(places)
    position = {key: index for index, key in enumerate(keys)}
    pairs = {frozenset((position[place_key(guard.first)], position[place_key(guard.second)])) for guard in guards}
    wanted = {frozenset((i, j)) for i in range(first) for j in range(i + 1, len(keys))}
    return (first, list(places.values())) if pairs == wanted else None


def _bounds(emitter: GuardEmitter, place: Place) -> _Bounds | None:
    """Emit the bounds of an array's memory, as NumPy's ``get_array_memory_extents`` has them."""
    facts = emitter.established.arrays.get(place_key(place))
    if facts is None:
        return None
    builder = emitter.builder
    low = high = builder.ptrtoint(facts.pointer, I64)
    empty: ir.Value | None = None
    for dim in facts.dims:
        if not isinstance(dim, int) or dim == 0:
            none = builder.icmp_signed("==", as_i64(dim), _ZERO)
            empty = none if empty is None else builder.or_(empty, none)
    if facts.contiguous:
        size: Extent = item_size(facts.dtype)
        for dim in facts.dims:
            size = multiply(builder, size, dim)
        return _Bounds(low, builder.add(high, as_i64(size)), empty)
    for dim, stride in zip(facts.dims, facts.strides, strict=True):
        reach = builder.mul(builder.sub(as_i64(dim), ir.Constant(I64, 1)), as_i64(stride))
        backwards = builder.icmp_signed("<", reach, _ZERO)
        low = builder.add(low, builder.select(backwards, reach, _ZERO))
        high = builder.add(high, builder.select(backwards, _ZERO, reach))
    return _Bounds(low, builder.add(high, ir.Constant(I64, item_size(facts.dtype))), empty)


@shared(I1, POINTER, POINTER, I64, I64, is_hot=True)
def any_overlap(api: PythonApi, function: ir.Function) -> None:
    """Whether one of the first intervals ``[lows[i], highs[i])`` meets one behind it; an empty one is ``[-1, …)``.

    There are `LANES` empty ones behind the last: the inner loop compares so many at a time, and does not end early.
    """
    lows, highs, first, count = function.args
    names = ("entry", "row", "begin", "column", "next", "found", "apart")
    entry, row, begin, column, following, found, apart = (function.append_basic_block(name) for name in names)
    ir.IRBuilder(entry).branch(row)
    builder = ir.IRBuilder(row)
    i = builder.phi(I64)
    i.add_incoming(_ZERO, entry)
    builder.cbranch(builder.icmp_unsigned("<", i, first), begin, apart)
    builder.position_at_end(begin)
    limits = [builder.load(builder.gep(array, [i], source_etype=I64), typ=I64) for array in (lows, highs)]
    low, high = (splat(builder, limit, _INTERVALS) for limit in limits)
    after = builder.add(i, ir.Constant(I64, 1))
    builder.branch(column)
    builder.position_at_end(column)
    j, met = builder.phi(I64), builder.phi(_TRUTHS)
    others = [
        builder.load(builder.gep(array, [j], source_etype=I64), typ=_INTERVALS, align=8) for array in (lows, highs)
    ]
    meets = builder.and_(builder.icmp_unsigned("<", low, others[1]), builder.icmp_unsigned("<", others[0], high))
    so_far, further = builder.or_(met, meets), builder.add(j, ir.Constant(I64, LANES))
    j.add_incoming(after, begin)
    j.add_incoming(further, column)
    met.add_incoming(ir.Constant(_TRUTHS, None), begin)
    met.add_incoming(so_far, column)
    builder.cbranch(builder.icmp_unsigned("<", further, count), column, following)
    builder.position_at_end(following)
    i.add_incoming(after, following)
    bits = builder.bitcast(so_far, ir.IntType(LANES))
    builder.cbranch(builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), found, row)
    ir.IRBuilder(found).ret(ir.Constant(I1, 1))
    ir.IRBuilder(apart).ret(ir.Constant(I1, 0))
