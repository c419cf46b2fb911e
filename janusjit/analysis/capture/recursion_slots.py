"""What the frames of a recursion keep, in terms of graph values.

Owns `Slot`, what is known of one part of a frame at every push, and `Slots`, which finds it. Invariant: slots only
widen, from what is the same at every push to what varies, so that finding them comes to an end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Union

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.object_pool import Kind
from janusjit.analysis.capture.remembered import field_names
from janusjit.analysis.capture.run_time_objects import address_of, kind_at
from janusjit.analysis.capture.sameness import number_kind, number_of_kind, same_constant
from janusjit.analysis.capture.state import State, Storage, reference_count
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    Reference,
    TupleValue,
)
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Value
from janusjit.ir.types import TensorType

#: forms that one part of a frame may have
_ALTERNATIVES = 4
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


@dataclass(frozen=True, slots=True)
class Variant:
    """What is one of several slots: the number of the slot, and what each has on the tape."""

    slots: tuple[Slot, ...]


Slot = Union[Fixed, Number, Array, Items, Object, Several, Variant]


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
            return Fixed(value) if self._is_fixed(value) else self.varying(value, lent)
        if isinstance(slot, Fixed):
            if _same(slot.value, value):
                return slot
            return self._joined(self.varying(slot.value, lent), self.varying(value, lent))
        return self._joined(slot, self.varying(value, lent))

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
            return all(self._is_fixed(getattr(value, name)) for name in field_names(value))
        return True

    def _is_sized_inside(self, type_: TensorType) -> bool:
        return self.machine.sized_since(Value(type_), self._values)

    def varying(self, value: AbstractValue, lent: frozenset[int] = frozenset()) -> Slot:
        """Return what is known of a part that differs from push to push."""
        kind = number_kind(value)
        if kind is not None:
            return Number(*kind)
        if isinstance(value, ArrayValue) and not self._is_sized_inside(value.type):
            return Array(value.type, self._frozen(value, lent))
        if isinstance(value, Known) and value.value is None:
            return Object(frozenset({Kind("none")}))
        kind_of_object = kind_at(self.machine, value)
        if kind_of_object is not None:
            address_of(self.machine, value)
            return Object(frozenset({kind_of_object}))
        if isinstance(value, TupleValue):
            items = (self.varying(item, lent) if not isinstance(item, Known) else Fixed(item) for item in value.items)
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
            self.varying(slot.value, frozenset()) if isinstance(slot, Fixed) else slot for slot in (first, second)
        )
        slots: list[Slot] = list(first.slots) if isinstance(first, Variant) else [first]
        for slot in second.slots if isinstance(second, Variant) else (second,):
            self._add(slots, slot)
        if len(slots) > _ALTERNATIVES:
            raise self.failure("what it passes or keeps is of too many kinds")
        return slots[0] if len(slots) == 1 else Variant(tuple(slots))

    def _add(self, slots: list[Slot], slot: Slot) -> None:
        """Widen one of some slots so that it is another one as well; or add that."""
        for number, known in enumerate(slots):
            together = self._alike(known, slot)
            if together is not None:
                slots[number] = together
                return
        slots.append(slot)

    def _alike(self, first: Slot, second: Slot) -> Slot | None:
        """Return the slot that two slots of one form are together; None if they are of several."""
        if first == second:
            return first
        if isinstance(first, Array) and isinstance(second, Array) and first.type == second.type:
            reasons = {first.frozen, second.frozen}
            return replace(first, frozen=OUTSIDE if OUTSIDE in reasons else SHARED)
        if isinstance(first, Object) and isinstance(second, Object):
            return Object(first.kinds | second.kinds)
        one, other = kinds_of(first), kinds_of(second)
        if one and other:
            return Several(one | other)
        if isinstance(first, Items) and isinstance(second, Items) and first.alike(second):
            return Items(first.type_, tuple(map(self._joined, first.items, second.items)))
        return None

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
        compared = [name for name in field_names(first) if name not in ("place", "sample", "origins")]
        return all(_same(getattr(first, name), getattr(second, name)) for name in compared)
    return bool(first == second)


def kinds_of(slot: Slot) -> frozenset[tuple[int, tuple[str, TensorType] | None]]:
    """Return the kinds of numbers, None among them, that a slot may have; none if it may be anything else."""
    if isinstance(slot, Number):
        kind = slot.kind, slot.type
        return frozenset({(number_of_kind(slot.kind), kind)})
    if isinstance(slot, Object) and slot.kinds == {Kind("none")}:
        return frozenset({(number_of_kind("None"), None)})
    return slot.kinds if isinstance(slot, Several) else frozenset()
