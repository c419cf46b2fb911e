"""Arrays that are items of lists which grow in loops.

Owns `listed_in`, which notes that an array is such an item, and what joins of paths know of that. Invariants: such an
array is not written, since the list's buffer has its elements as they were; where the list and the array leave the
graph together, the array is the item, or the loop is left to Python.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture.numpy_memory import axis_order, strides
from janusjit.analysis.capture.sharing import freeze, permit
from janusjit.analysis.capture.signals import Unmergeable
from janusjit.analysis.capture.state import GrownList, Listed, State, Storage
from janusjit.analysis.capture.values import AbstractValue, ArrayValue
from janusjit.errors import CaptureFailure
from janusjit.ir.types import INT

if TYPE_CHECKING:
    from janusjit.analysis.capture.machine import Machine
    from janusjit.analysis.capture.merge import Merger

#: the kind of what a buffer holds that are arrays of one type
ARRAYS = "array"
_LISTED = "it is an item of a list that a loop appends to"


def may_be_listed(machine: Machine, state: State, value: AbstractValue) -> bool:
    """Whether a buffer may hold the elements of an array instead of the object: nobody else may know its memory."""
    if not isinstance(value, ArrayValue) or not value.type.shape or value.storage < 0:
        return False
    storage: Storage = state.at(value.storage)
    unknown = storage.outside is not None or storage.mirrors is not None or storage.frozen or storage.listed is not None
    return not unknown and storage.writeable and value.storage not in machine.aliased


def in_c_order(machine: Machine, array: ArrayValue) -> bool:
    """Whether eager has an array in C order; asked in the state that the array is in."""
    return axis_order(array.type.shape, strides(machine, array)) == ()


def listed_in(machine: Machine, array: ArrayValue, listed: Listed) -> None:
    """Note that an array is an item of a list."""
    freeze(machine, array.storage, _LISTED)
    machine.state.at(array.storage).listed = listed


def join_storages(merger: Merger, where: tuple[Any, ...], merged: Storage, items: list[Storage]) -> None:
    """Make one memory of the paths', as far as writes and lists are concerned.

    Raises
    ------
    Unmergeable
        If it is an item of one list on some path, and of another on another.
    """
    permit(merged, items)
    found = [item.listed for item in items if item.listed is not None]
    if not found:
        merged.listed = None
        return
    first = found[0]
    if any((one.owner, one.buffer) != (first.owner, first.buffer) for one in found):
        raise Unmergeable("an array is an item of several lists")
    positions = []
    for arm, item in zip(merger.arms, items, strict=True):
        position = merger.constant(arm, -1, INT) if item.listed is None else item.listed.position
        if position is None:
            merged.listed = replace(first, position=None)
            return
        positions.append(position)
    merged.listed = replace(first, position=merger.graph_value((*where, "listed"), positions))


def list_with(machine: Machine, listed: Listed) -> GrownList | None:
    """Return the list that has an array as its item, or None if nothing refers to that list any more."""
    item = machine.state.at(listed.owner) if listed.owner < 0 else machine.state.heap.get(listed.owner)
    while isinstance(item, GrownList):
        if item.identity == listed.buffer:
            return item
        item = item.base
    return None


def refused(machine: Machine, listed: Listed, construct: str, message: str) -> CaptureFailure:
    """Return the failure that leaves to Python the loop that appends an array to a list."""
    failure = machine.unsupported("array.alias", construct, message)
    if listed.loop is not None and listed.loop not in machine.hosts.loops:
        failure.instruction = listed.loop
    return failure
