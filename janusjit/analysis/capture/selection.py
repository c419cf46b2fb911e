"""Items of lists and tuples at a position known at run time only.

Owns `selected` and `item_of_turn`, which read such an item, and `replaced`, which writes one. Invariants: items are
only selected from if whichever it is has the same structure and types, so that nothing but numbers' values is open, or
which of some strings it is, which an exit makes; a position out of bounds leaves the graph, and Python raises.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant, is_number, new_array, scalar_value, stack
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.index_parsing import normalized_position
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import kind_of
from janusjit.analysis.capture.packed import number_at
from janusjit.analysis.capture.values import AbstractValue, Deferred, Known, Scalar, TupleValue
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name
from janusjit.ops.indexing import FrozenArray

#: items among which one is selected whose values are known at run time only: each costs an operation
ITEM_LIMIT = 64
#: strings among which one is selected: each costs a guard where they come from outside
TEXT_LIMIT = 256


def selected(machine: Machine, items: Sequence[AbstractValue], index: AbstractValue) -> AbstractValue | None:
    """Return ``items[index]``; None where the position may be known, or the items are not alike.

    Parameters
    ----------
    machine : Machine
        The machine.
    items : sequence of AbstractValue
        The items of a list or tuple: numbers of one kind, or tuples of such.
    index : AbstractValue
        The position.
    """
    index = machine.resolve(index)
    resolved = _alike(machine, items, text=True) if _is_open(machine, index) else None
    if resolved is None:
        return None
    assert isinstance(index, Scalar)
    position = Scalar(normalized_position(machine, index, len(resolved)), "int")
    return _select(machine, resolved, position)


def selected_by_key(machine: Machine, items: dict[Any, AbstractValue], key: AbstractValue) -> AbstractValue | None:
    """Return ``items[key]`` of a dict whose keys are consecutive ints; None where the key may be known, or of another.

    A key that is none of them leaves the graph.
    """
    key = machine.resolve(key)
    keys = list(items)
    if not _is_open(machine, key) or not keys or any(type(one) is not int for one in keys):
        return None
    first = min(keys)
    if sorted(keys) != list(range(first, first + len(keys))) or not abs(first) < 2**62:
        return None
    resolved = _alike(machine, [items[first + number] for number in range(len(keys))], text=True)
    if resolved is None:
        return None
    assert isinstance(key, Scalar)
    position = machine.emit("subtract", cast(machine, key.value, "i64"), constant(machine, first, "i64"))
    low, high = constant(machine, 0, "i64"), constant(machine, len(keys), "i64")
    inside = machine.emit(
        "logical_and", machine.emit("greater_equal", position, low), machine.emit("less", position, high)
    )
    machine.require(inside, machine.guard("value", machine.span.text or "key", f"a key of {first} to {max(keys)}"))
    return _select(machine, resolved, Scalar(position, "int"))


def chosen(machine: Machine, items: Sequence[AbstractValue], position: Value) -> AbstractValue | None:
    """Return the item at a position that was drawn and is there; None where the items are not alike."""
    resolved = _alike(machine, items, text=True)
    return None if resolved is None else _select(machine, resolved, Scalar(position, "int"))


def are_selectable(machine: Machine, items: Sequence[AbstractValue]) -> bool:
    """Whether an item of these may be read at any position."""
    return _alike(machine, items) is not None


def item_of_turn(machine: Machine, items: Sequence[AbstractValue], position: AbstractValue) -> AbstractValue | None:
    """Return the item at a position that is known to be there; None where the items are not alike."""
    resolved = _alike(machine, items) if isinstance(position, Scalar) else None
    return None if resolved is None else _select(machine, resolved, position)  # type: ignore[arg-type]


def replaced(
    machine: Machine, items: Sequence[AbstractValue], index: AbstractValue, value: AbstractValue
) -> list[AbstractValue] | None:
    """Return the items after ``items[index] = value``; None where the position may be known, or they are not alike."""
    index = machine.resolve(index)
    if not _is_open(machine, index) or len(items) > ITEM_LIMIT:
        return None
    resolved = _alike(machine, (*items, value))
    if resolved is None:
        return None
    assert isinstance(index, Scalar)
    position = normalized_position(machine, index, len(items))
    *before, new = resolved
    return [
        _either(machine, machine.emit("equal", position, constant(machine, number, "i64")), new, item)
        for number, item in enumerate(before)
    ]


def _is_open(machine: Machine, index: AbstractValue) -> bool:
    """Whether an index is an int that is neither known nor to be assumed."""
    return isinstance(index, Scalar) and index.value.type.dtype[0] in "iu" and not machine.may_specialize(index)


def _alike(machine: Machine, items: Sequence[AbstractValue], text: bool = False) -> list[AbstractValue] | None:
    """Return what the items are, read if need be; None if they differ in more than numbers' values, or strings."""
    live = {type(item.live) for item in items if isinstance(item, Unread)}
    if not items or len(live) > 1 or not live <= {bool, int, float, tuple, np.float64, np.float32, np.int64, str}:
        return None
    if live and len(items) > (TEXT_LIMIT if live == {str} else ITEM_LIMIT):
        return None
    if live == {str} and not text:
        return None
    resolved = [machine.resolve(item) for item in items]
    if text and all(isinstance(item, Known) and type(item.value) is str for item in resolved):
        return resolved
    structure = _structure(machine, resolved[0])
    if structure is None or any(_structure(machine, item) != structure for item in resolved[1:]):
        return None
    if len(items) > ITEM_LIMIT and not all(_is_known(item) for item in resolved):
        return None
    return resolved


def _structure(machine: Machine, value: AbstractValue) -> Any:
    """Return the kind of a number, or those of a tuple's parts; None of anything else."""
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        parts = tuple(_structure(machine, part) for part in value.items)
        return None if any(part is None for part in parts) else (value.type_, parts)
    if isinstance(value, Known) and isinstance(value.value, np.generic):
        return f"numpy.{dtype_name(value.value.dtype)}"
    if isinstance(value, Known) and type(value.value) is int and not -(2**63) <= value.value < 2**63:
        return None
    exact = isinstance(value, Scalar) or (isinstance(value, Known) and type(value.value) in (bool, int, float))
    return kind_of(value) if exact and is_number(value) else None


def _is_known(value: AbstractValue) -> bool:
    return all(map(_is_known, value.items)) if isinstance(value, TupleValue) else isinstance(value, Known)


def _select(machine: Machine, items: list[AbstractValue], position: Scalar) -> AbstractValue:
    first = items[0]
    if isinstance(first, Known) and type(first.value) is str:
        texts = tuple(item.value for item in items)  # type: ignore[attr-defined]
        return Deferred(operator.getitem, (Known(texts), position))
    if isinstance(first, TupleValue):
        columns = [[machine.resolve(item.items[part]) for item in items] for part in range(len(first.items))]  # type: ignore[attr-defined]
        return TupleValue(tuple(_select(machine, column, position) for column in columns), first.type_)
    return number_at(machine, new_array(machine, _together(machine, items)), position, _structure(machine, first))


def _together(machine: Machine, numbers: list[AbstractValue]) -> Value:
    """Return numbers of one kind as an array."""
    values = [scalar_value(machine, number) for number in numbers]
    assert values[0] is not None
    if all(isinstance(number, Known) for number in numbers):
        array = np.array([number.value for number in numbers], values[0].type.numpy_dtype)  # type: ignore[attr-defined]
        return machine.emit("constant_array", value=FrozenArray(array))
    return stack(machine, [value for value in values if value is not None])


def _either(machine: Machine, chosen: Value, new: AbstractValue, old: AbstractValue) -> AbstractValue:
    if isinstance(old, TupleValue):
        pairs = zip(new.items, old.items, strict=True)  # type: ignore[attr-defined]
        parts = [_either(machine, chosen, machine.resolve(one), machine.resolve(other)) for one, other in pairs]
        return TupleValue(tuple(parts), old.type_)
    one, other = scalar_value(machine, new), scalar_value(machine, old)
    assert one is not None and other is not None
    return Scalar(machine.emit("where", chosen, one, other), _structure(machine, old))
