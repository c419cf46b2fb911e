"""The last items of a list, while a loop of the graph appends to it.

Owns `recent_item`: ``path[-1]`` in the turns that append to ``path``. Invariant: what it gives is the item that the
list has at that moment; the items before the loop that it may be are known, and of the kind that is appended.
"""

from __future__ import annotations

from dataclasses import replace

from janusjit.analysis.capture.arrays import constant, new_array, read, scalar_value, view
from janusjit.analysis.capture.known_trips import assumable_range
from janusjit.analysis.capture.listed import ARRAYS, listed_in
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.sameness import number_kind
from janusjit.analysis.capture.signals import PoisonUsed
from janusjit.analysis.capture.state import GraphLoopEntry, GrownList, Listed, ListObject
from janusjit.analysis.capture.values import AbstractValue, Known, Reference, Scalar
from janusjit.ir.graph import Value
from janusjit.ops.indexing import Operand, PathStep, Pick, Range

#: how far from the end items are looked for
_FARTHEST = 4


def recent_item(machine: Machine, owner: Reference, item: GrownList, index: AbstractValue) -> AbstractValue | None:
    """Return ``owner[index]`` of a list that a loop appends to; None where that has no rule.

    Raises
    ------
    PoisonUsed
        If the loop has to be peeled until the items that it begins with are of the kind that it appends.
    """
    base = item.base
    if not isinstance(base, ListObject) or base.place is not None or item.of_numpy is not None:
        return None
    if not isinstance(index, Known) or type(index.value) is not int or _may_be_unrolled(machine, item):
        return None
    distance = -index.value
    if not 1 <= distance <= _FARTHEST:
        return None
    before = base.items[-distance:]
    if len(before) < distance:
        least = constant(machine, distance - len(before), "i64")
        guard = machine.guard("index.bounds", machine.span.text or "[]", f"a list of at least {distance} items")
        machine.require(machine.emit("greater_equal", item.count, least), guard)
    position = machine.emit("subtract", item.count, constant(machine, distance, "i64"))
    if item.kind == ARRAYS:
        return None if before else _array(machine, owner, item, position)
    return _number(machine, item, before, position)


def _may_be_unrolled(machine: Machine, item: GrownList) -> bool:
    """Whether the loop can be unrolled, where each item is known, or may stand in another function, where it is not."""
    entries = machine.frame.blocks
    here = any(isinstance(entry, GraphLoopEntry) and entry.instruction is item.loop for entry in entries)
    return not here or item.loop is None or assumable_range(machine, item.loop) is not None


def _array(machine: Machine, owner: Reference, item: GrownList, position: Value) -> AbstractValue:
    """Return an array with an item's elements, which leaves the graph as the item if the list leaves it too."""
    array = new_array(machine, machine.emit("copy", _at(machine, item, position)))
    listed_in(machine, array, Listed(owner.index, item.identity, item.loop, position))
    return replace(array, joined=True)


def _number(machine: Machine, item: GrownList, before: list[AbstractValue], position: Value) -> AbstractValue:
    zero = constant(machine, 0, "i64")
    found = _at(machine, item, machine.emit("maximum", position, zero)) if before else _at(machine, item, position)
    for behind, value in enumerate(before):
        kind, number = number_kind(value), scalar_value(machine, value)
        if kind is None or number is None or kind[0] != item.kind:
            raise PoisonUsed(("loop", item.loop), "a list begins with items of another kind than a loop appends")
        is_it = machine.emit("equal", position, constant(machine, behind - len(before), "i64"))
        found = machine.emit("where", is_it, number, found)
    return Scalar(found, item.kind)


def _at(machine: Machine, item: GrownList, position: Value) -> Value:
    """Return what is at a position of the buffer that is known to be within it."""
    whole = (Range(0, size) for size in item.buffer.type.shape[1:])
    place = PathStep.of("view", 1, index=(Pick(Operand(0)), *whole))
    return read(machine, view(machine, new_array(machine, item.buffer), place, (position,)))
