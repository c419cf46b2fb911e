"""What the frames of a recursion keep, in terms of graph values.

Owns `Slot`: what is known of one part of a frame at every push, and how it is put on a tape and made again. Invariant:
slots only widen, from what is the same at every push to what varies, so that finding them comes to an end; an array
that another frame may refer to comes back as one that must not be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Union

from janusjit.analysis.capture.arrays import constant, read, scalar_value
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.run_time_objects import Kind, address_of, each_kind
from janusjit.analysis.capture.sameness import kind_number, number_kind, number_of_kind, same_constant
from janusjit.analysis.capture.state import Instance, State, Storage, reference_count
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    EitherValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Value
from janusjit.ir.types import INT, TensorType

#: why arrays that were on a tape must not be written
SHARED = "another frame of the recursion may refer to it"
OUTSIDE = "it may be an array from outside"


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """The same at every push; it is on no tape."""

    value: AbstractValue

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))


@dataclass(frozen=True, slots=True)
class Number:
    """A number of one kind, as `number_kind` has it."""

    kind: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Array:
    """An array of one type; ``frozen`` says why it must not be written where it comes off the tape."""

    type: TensorType
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple."""

    type_: type
    items: tuple[Slot, ...]

    def alike(self, other: Items) -> bool:
        """Whether another tuple has the same type and length."""
        return self.type_ is other.type_ and len(self.items) == len(other.items)


@dataclass(frozen=True, slots=True)
class Object:
    """An instance of one of some classes, as its address, or None, as 0."""

    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class Several:
    """A number, or None, of one of several kinds: the kind's number, and a number of each type there is.

    ``kinds`` has for each kind its number and what `number_kind` says of it.
    """

    kinds: frozenset[tuple[int, tuple[str, TensorType] | None]]

    @property
    def types(self) -> list[TensorType]:
        """The types of the numbers."""
        return sorted({kind[1] for _, kind in self.kinds if kind is not None}, key=str)


Slot = Union[Fixed, Number, Array, Items, Object, Several]


@dataclass(frozen=True, slots=True, eq=False)
class Unsettled(AbstractValue):
    """What comes off a tape as an `Object` of several kinds: which it is is to be asked."""

    address: Value
    kinds: frozenset[Kind]


class Slots:
    """Finds the slots of values, for one recursion.

    Parameters
    ----------
    machine : Machine
        Stopped before the recursion.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._values, self._objects = len(machine.births), State.mark()

    def widened(self, slot: Slot | None, value: AbstractValue, lent: frozenset[int] = frozenset()) -> Slot:
        """Return what is known of a part at every push, the one of ``value`` among them.

        Parameters
        ----------
        slot : Slot, optional
            What was known before; None at the first push.
        value : AbstractValue
            What is pushed.
        lent : frozenset of int
            The storages that another frame gets as well.
        """
        value = self.machine.resolve(value)
        if slot is None:
            return Fixed(value) if self._is_fixed(value) else self._varying(value, lent)
        if isinstance(slot, Fixed):
            if _same(slot.value, value):
                return slot
            return self._joined(self._varying(slot.value, lent), self._varying(value, lent))
        return self._joined(slot, self._varying(value, lent))

    def _is_fixed(self, value: Any) -> bool:
        """Whether a value was there before the recursion."""
        machine = self.machine
        if isinstance(value, Value):
            return not machine.born_since(value, self._values)
        if isinstance(value, Reference):
            return value.index < self._objects
        if isinstance(value, ArrayValue) and (value.storage >= self._objects or self._is_sized_inside(value.type)):
            return False
        if isinstance(value, Known):
            return True
        if isinstance(value, tuple):
            return all(map(self._is_fixed, value))
        if isinstance(value, AbstractValue):
            return all(self._is_fixed(getattr(value, field.name)) for field in fields(value))
        return True

    def _is_sized_inside(self, type_: TensorType) -> bool:
        return self.machine.sized_since(Value(type_), self._values)

    def _varying(self, value: AbstractValue, lent: frozenset[int]) -> Slot:
        kind = number_kind(value)
        if kind is not None:
            return Number(*kind)
        if isinstance(value, ArrayValue) and not self._is_sized_inside(value.type):
            return Array(value.type, self._frozen(value, lent))
        if isinstance(value, Known) and value.value is None:
            return Object(frozenset({Kind("none")}))
        item = self.machine.heap(value) if isinstance(value, Reference) else None
        if isinstance(item, Instance):
            address_of(self.machine, item)
            return Object(frozenset({Kind("instance", item.type_)}))
        if isinstance(value, TupleValue):
            items = (self._varying(item, lent) if not isinstance(item, Known) else Fixed(item) for item in value.items)
            return Items(value.type_, tuple(items))
        raise self.failure("it passes or keeps what is no number, array of one shape, or tuple of such")

    def _frozen(self, array: ArrayValue, lent: frozenset[int]) -> str:
        storage: Storage = self.machine.state.at(array.storage)
        if array.storage < 0 or storage.frozen == OUTSIDE or storage.outside is not None:
            return OUTSIDE
        shared = array.storage in lent or array.path or storage.mirrors is not None or not storage.writeable
        shared = shared or array.storage < self._objects or array.storage in self.machine.aliased
        if storage.frozen or shared or reference_count(self.machine.state, array.storage) > 1:
            return SHARED
        return ""

    def _joined(self, first: Slot, second: Slot) -> Slot:
        if isinstance(first, Fixed) and isinstance(second, Fixed) and _same(first.value, second.value):
            return first
        first, second = (
            self._varying(slot.value, frozenset()) if isinstance(slot, Fixed) else slot for slot in (first, second)
        )
        if first == second:
            return first
        if isinstance(first, Array) and isinstance(second, Array) and first.type == second.type:
            reasons = {first.frozen, second.frozen}
            return replace(first, frozen=OUTSIDE if OUTSIDE in reasons else SHARED)
        if isinstance(first, Object) and isinstance(second, Object):
            return Object(first.kinds | second.kinds)
        one, other = _kinds_of(first), _kinds_of(second)
        if one and other:
            return Several(one | other)
        if isinstance(first, Items) and isinstance(second, Items) and first.alike(second):
            return Items(first.type_, tuple(map(self._joined, first.items, second.items)))
        raise self.failure("what it passes or keeps is not of one kind")

    def failure(self, reason: str) -> CaptureFailure:
        """Return the failure that leaves the recursion to be followed in another way."""
        return self.machine.unsupported("python.recursion", self.machine.span.text or "call", reason)


def _same(first: Any, second: Any) -> bool:
    """Whether two values are the same object whatever happens."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, Known):
        return same_constant(first.value, second.value)
    if isinstance(first, ArrayValue):
        parts = ("storage", "path", "operands")
        return all(getattr(first, name) == getattr(second, name) for name in parts)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, AbstractValue):
        compared = [field.name for field in fields(first) if field.name not in ("place", "sample")]
        return all(_same(getattr(first, name), getattr(second, name)) for name in compared)
    return bool(first == second)


def _kinds_of(slot: Slot) -> frozenset[tuple[int, tuple[str, TensorType] | None]]:
    """Return the kinds of numbers, None among them, that a slot may have; none if it may be anything else."""
    if isinstance(slot, Number):
        kind = slot.kind, slot.type
        return frozenset({(number_of_kind(slot.kind), kind)})
    if isinstance(slot, Object) and slot.kinds == {Kind("none")}:
        return frozenset({(number_of_kind("None"), None)})
    return slot.kinds if isinstance(slot, Several) else frozenset()


def types_of(slot: Slot) -> list[TensorType]:
    """Return the types of what a slot has on the tape."""
    if isinstance(slot, Items):
        return [type_ for item in slot.items for type_ in types_of(item)]
    if isinstance(slot, Object):
        return [INT]
    if isinstance(slot, Several):
        return [INT, *slot.types]
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
        is_none = not isinstance(value, Reference)
        return [constant(machine, 0, "i64") if is_none else address_of(machine, machine.heap(value))]  # type: ignore[arg-type]
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


def rebuilt(machine: Machine, slot: Slot, parts: Iterator[Value]) -> AbstractValue:
    """Return a value that comes off the tape."""
    if isinstance(slot, Fixed):
        return slot.value
    if isinstance(slot, Items):
        return TupleValue(tuple([rebuilt(machine, item, parts) for item in slot.items]), slot.type_)
    value = next(parts)
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
    if isinstance(slot, Items):
        return any(map(may_be_outside, slot.items))
    return isinstance(slot, Array) and slot.frozen == OUTSIDE


def settle(machine: Machine, values: list[AbstractValue], then: Callable[[list[AbstractValue]], None]) -> None:
    """Go on with values that came off a tape, on a path of its own for each kind that one of them may be of."""
    unsettled = next(_unsettled(values), None)
    if unsettled is None:
        then(values)
        return
    kinds = sorted(unsettled.kinds, key=lambda kind: kind.order)

    def go_on(found: AbstractValue) -> None:
        settle(machine, [_replaced(value, unsettled, found) for value in values], then)

    each_kind(machine, unsettled.address, kinds, go_on, trusted=True)


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
