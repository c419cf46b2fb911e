"""What the frames of a recursion keep, on tapes.

Owns how a value of a slot (`janusjit.analysis.capture.recursion_slots`) is put on a tape and made again. Invariant: an
array that another frame may refer to comes back as one that must not be written; a value that may be of several forms
comes back as one of them on each control path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from janusjit.analysis.capture.arrays import constant, read, scalar_value
from janusjit.analysis.capture.control import fork, site_key
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.object_pool import Kind
from janusjit.analysis.capture.recursion_slots import (
    OUTSIDE,
    Array,
    Fixed,
    Items,
    Number,
    Object,
    Several,
    Slot,
    Variant,
    kinds_of,
)
from janusjit.analysis.capture.run_time_objects import address_of, each_kind, kind_at
from janusjit.analysis.capture.sameness import kind_number, number_kind
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    EitherValue,
    Known,
    Scalar,
    TupleValue,
)
from janusjit.ir.graph import Value
from janusjit.ir.types import INT, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Unsettled(AbstractValue):
    """What comes off a tape and is to be asked what it is.

    ``value`` is the address of an `Object` of several ``kinds``, or the number of the one that it is of those.
    """

    value: Value
    kinds: frozenset[Kind] | tuple[AbstractValue, ...]


def types_of(slot: Slot) -> list[TensorType]:
    """Return the types of what a slot has on the tape."""
    if isinstance(slot, Items):
        return [type_ for item in slot.items for type_ in types_of(item)]
    if isinstance(slot, Object):
        return [INT]
    if isinstance(slot, Several):
        return [INT, *slot.types]
    if isinstance(slot, Variant):
        return [INT, *(type_ for one in slot.slots for type_ in types_of(one))]
    return [] if isinstance(slot, Fixed) else [slot.type]


def parts_of(machine: Machine, slot: Slot, value: AbstractValue) -> list[Value]:
    """Return what a value is on the tape."""
    value = machine.resolve(value)
    if isinstance(slot, Fixed):
        return []
    if isinstance(slot, Items):
        assert isinstance(value, TupleValue)
        pairs = zip(slot.items, value.items, strict=True)
        return [part for inner, item in pairs for part in parts_of(machine, inner, item)]
    if isinstance(slot, Array):
        assert isinstance(value, ArrayValue)
        return [read(machine, value)]
    if isinstance(slot, Object):
        is_none = isinstance(value, Known)
        return [constant(machine, 0, "i64") if is_none else address_of(machine, value)]
    if isinstance(slot, Variant):
        return _variant(machine, slot, value)
    if isinstance(slot, Several):
        own, number = number_kind(value), kind_number(value)
        parts = [_number_of(machine, value if own and own[1] == type_ else Known(0), type_) for type_ in slot.types]
        return [constant(machine, number, "i64"), *parts]
    return [_number_of(machine, value, slot.type)]


def _number_of(machine: Machine, value: AbstractValue, type_: TensorType) -> Value:
    if isinstance(value, Known):
        return constant(machine, value.value, type_.dtype)
    number = scalar_value(machine, value)
    assert number is not None
    return number


def _variant(machine: Machine, slot: Variant, value: AbstractValue) -> list[Value]:
    own = next(number for number, one in enumerate(slot.slots) if admits(machine, one, value))
    parts = [constant(machine, own, "i64")]
    for number, one in enumerate(slot.slots):
        parts += parts_of(machine, one, value) if number == own else [_zero(machine, type_) for type_ in types_of(one)]
    return parts


def _zero(machine: Machine, type_: TensorType) -> Value:
    zero = constant(machine, False if type_.dtype == "bool" else 0, type_.dtype)
    return machine.emit("full", zero, shape=type_.shape) if type_.shape else zero


def admits(machine: Machine, slot: Slot, value: AbstractValue) -> bool:
    """Whether a value, which is of the kinds that some slots have, is of a kind of this one."""
    value = machine.resolve(value)
    if isinstance(slot, Items):
        alike = isinstance(value, TupleValue) and value.type_ is slot.type_ and len(value.items) == len(slot.items)
        return alike and all(map(admits, [machine] * len(slot.items), slot.items, value.items))  # type: ignore[attr-defined]
    if isinstance(slot, Array):
        return isinstance(value, ArrayValue) and value.type == slot.type
    if isinstance(slot, Object):
        is_none = isinstance(value, Known) and value.value is None
        return (Kind("none") if is_none else kind_at(machine, value)) in slot.kinds
    if isinstance(slot, Number | Several):
        return kind_number(value) in {number for number, _ in kinds_of(slot)}
    return True


def rebuilt(machine: Machine, slot: Slot, parts: Iterator[Value]) -> AbstractValue:
    """Return a value that comes off the tape."""
    if isinstance(slot, Fixed):
        return slot.value
    if isinstance(slot, Items):
        return TupleValue(tuple([rebuilt(machine, item, parts) for item in slot.items]), slot.type_)
    value = next(parts)
    if isinstance(slot, Variant):
        return Unsettled(value, tuple([rebuilt(machine, one, parts) for one in slot.slots]))
    if isinstance(slot, Several):
        numbers = {type_: next(parts) for type_ in slot.types}
        options = [(n, NONE if kind is None else Scalar(numbers[kind[1]], kind[0])) for n, kind in slot.kinds]
        machine.several_kinds = True
        return EitherValue(value, tuple(sorted(options, key=lambda option: option[0])), ("recursion", machine.span))
    if isinstance(slot, Object):
        return Unsettled(value, slot.kinds)
    if isinstance(slot, Number):
        return Scalar(value, slot.kind)
    made = machine.state.allocate(Storage(version=value, frozen=slot.frozen))
    return ArrayValue(made.index, (), value.type)


def may_be_outside(slot: Slot) -> bool:
    """Whether a value may be an array from outside."""
    if isinstance(slot, Items | Variant):
        return any(map(may_be_outside, slot.items if isinstance(slot, Items) else slot.slots))
    return isinstance(slot, Array) and slot.frozen == OUTSIDE


def settle(machine: Machine, values: list[AbstractValue], then: Callable[[list[AbstractValue]], None]) -> None:
    """Go on with values that came off a tape, on a path of its own for each kind that one of them may be of."""
    unsettled = next(_unsettled(values), None)
    if unsettled is None:
        then(values)
        return

    def go_on(found: AbstractValue) -> None:
        settle(machine, [_replaced(value, unsettled, found) for value in values], then)

    if isinstance(unsettled.kinds, tuple):
        _choose(machine, unsettled.value, list(enumerate(unsettled.kinds)), go_on)
    else:
        kinds = sorted(unsettled.kinds, key=lambda kind: kind.order)
        each_kind(machine, unsettled.value, kinds, go_on, trusted=True)


def _choose(
    machine: Machine, which: Value, options: list[tuple[int, AbstractValue]], then: Callable[[AbstractValue], None]
) -> None:
    """Go on with each of some values on a path of its own, by its number."""
    (number, value), *others = options
    if not others:
        then(value)
        return
    key = (*site_key(machine, "branch"), "slot", number)
    is_it = machine.emit("equal", which, constant(machine, number, "i64"))

    def rest() -> None:
        _choose(machine, which, others, then)

    fork(machine, is_it, lambda: then(value), rest, key, (0, 0), split=True, relaxable=False)


def is_settled(values: Sequence[AbstractValue]) -> bool:
    """Whether all of some values are of known kinds."""
    return next(_unsettled(values), None) is None


def _unsettled(values: Sequence[AbstractValue]) -> Iterator[Unsettled]:
    for value in values:
        if isinstance(value, Unsettled):
            yield value
        elif isinstance(value, TupleValue):
            yield from _unsettled(value.items)


def _replaced(value: AbstractValue, old: Unsettled, new: AbstractValue) -> AbstractValue:
    if isinstance(value, TupleValue):
        return replace(value, items=tuple([_replaced(item, old, new) for item in value.items]))
    return new if value is old else value
