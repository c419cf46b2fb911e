"""Lists whose length varies, as arrays.

Owns `packed`, which reads the items of such a list from outside into one array with a symbolic size, and `sliced`,
which makes lists of part of them. Invariants: only items of one type, and of one shape, are packed, which the place
itself checks at every call; an array is only used for what it says of the items' values at entry, so it is refused
where an item may have been written since.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from janusjit.analysis.capture import numbers as arithmetic
from janusjit.analysis.capture.arrays import PACKED, guard_length, is_python_number, new_array, read, scalar_value
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.indexing import get_item
from janusjit.analysis.capture.listed import ARRAYS, listed_in
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import require_nonempty
from janusjit.analysis.capture.protocols import GROWN_ITERATOR, GROWN_LENGTH, iterator_over, over_numbers
from janusjit.analysis.capture.recent_items import recent_item
from janusjit.analysis.capture.sameness import number_kind
from janusjit.analysis.capture.state import GraphLoopEntry, GrownList, IteratorObject, Listed, ListObject, Storage
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    Known,
    NumbersValue,
    Reference,
    Scalar,
    SliceValue,
)
from janusjit.ir.dims import DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.places import LengthPlace, pack, packing_kind
from janusjit.ir.types import DTYPES, INT, TensorType
from janusjit.ops.indexing import FrozenArray

#: kinds of numbers that a buffer holds, and its dtype
BUFFER_DTYPES = {"float": "f64", "int": "i64", "bool": "bool", "numpy.f64": "f64", "numpy.f32": "f32"}
#: the kind of what a buffer holds that are Python's floats and NumPy's
MIXED = "float or numpy.f64"
BUFFER_DTYPES[MIXED] = "f64"


#: so many floats are read into an array, whether or not the length of the list varies
MANY = 64
_MANY_OF: tuple[str | None, ...] = ("float", "numpy.f64")


@dataclass(frozen=True, slots=True)
class Packed:
    """The items of a list, along the first axis of ``value``; ``kind`` as `janusjit.ir.places.packing_kind` has it."""

    value: Value
    kind: str

    def item(self, machine: Machine, index: AbstractValue) -> Scalar:
        """Return one of the numbers of a list of numbers."""
        return number_at(machine, new_array(machine, self.value), index, self.kind)


def number_at(machine: Machine, array: ArrayValue, index: AbstractValue, kind: str) -> Scalar:
    """Return an item of a list of numbers that stands in an array."""
    found = get_item(machine, array, index)
    assert isinstance(found, Scalar)
    return Scalar(found.value, kind)


def packed(machine: Machine, value: AbstractValue, numbers: bool = False) -> Packed | None:
    """Return a list as an array; None where it is none whose length varies, or its items do.

    Parameters
    ----------
    machine : Machine
        The machine.
    value : AbstractValue
        What may be a list.
    numbers : bool
        Whether the items are looked at one by one, which only numbers allow: arrays have an identity.
    """
    together = _together(machine, value, numbers)
    if together is not None and not numbers and together.kind not in _MANY_OF:
        # NumPy makes an array of float64, without further axes, of an empty list
        require_nonempty(machine, together.value.type.shape[0], "an array of a list")
    return together


def _together(machine: Machine, value: AbstractValue, numbers: bool) -> Packed | None:
    if isinstance(value, NumbersValue):
        return Packed(value.value, value.kind)
    item = machine.heap(value) if isinstance(value, Reference) else None
    if isinstance(item, GrownList):
        return None if numbers and item.kind == ARRAYS else _grown(machine, item)
    if not isinstance(item, ListObject) or item.place is None or len(item.original) < 2:
        return None
    if not item.intact or not _is_read_together(machine, item):
        return None
    return _packed_items(machine, item, None, numbers)


def _is_read_together(machine: Machine, item: ListObject) -> bool:
    """Whether the items of an outside list are not read one by one: its length varies, or there are many floats."""
    assert item.place is not None
    if machine.externals.length_varies(item.place):
        return True
    if len(item.original) <= MANY:
        return False
    live = [unread.live for unread in item.original if isinstance(unread, Unread)]
    return len(live) == len(item.original) and packing_kind(live) in _MANY_OF


def _packed_items(machine: Machine, item: ListObject, last: int | None, numbers: bool) -> Packed | None:
    """Return the items of a list, or the last that it had at entry and those appended since, as an array."""
    externals = machine.externals
    wanted = item.original if last is None else item.original[-last:]
    live = [unread.live for unread in wanted if isinstance(unread, Unread)]
    kind = packing_kind(live) if len(live) == len(wanted) else None
    if kind is None or (numbers and kind == "array") or (kind == "array" and _items_may_differ(machine)):
        return None
    assert item.place is not None
    array = externals.read(externals.packed_place(item.place, kind, last), pack(live, kind))
    if not isinstance(array, ArrayValue):
        return None
    storage: Storage = machine.state.at(array.storage)
    inner, entry = machine.region, _outermost_loop(machine)
    if entry is not None:  # computed before the loops that are being captured
        machine.region = entry.loop.outer
    try:
        value = _with_known_length(machine, item, storage.version) if last is None else storage.version
        joined = _joined(machine, item, value, kind)
    finally:
        machine.region = inner
    return None if joined is None else Packed(joined, kind)


def _grown(machine: Machine, item: GrownList) -> Packed | None:
    """Return the items of a list that has grown in a loop as an array; None if they are of several kinds."""
    if item.kind == ARRAYS:
        return _grown_arrays(machine, item)
    before = _grown(machine, item.base) if isinstance(item.base, GrownList) else _before(machine, item.base, item.kind)
    behind = grown_values(machine, item)
    if before is None or behind is None or before.kind != item.kind:
        return None
    parts = [part for part in (before.value, *behind) if part.type.shape[0] != 0]
    return Packed(parts[0] if len(parts) == 1 else machine.emit("concatenate", *parts, axis=0), item.kind)


def _grown_arrays(machine: Machine, item: GrownList) -> Packed | None:
    """Return the items of a list that has grown in a loop, which are arrays, along the first axis of one."""
    base, parts = item.base, []
    if isinstance(base, ListObject) and not base.items:
        if base.place is not None:
            guard_length(machine, base)
    else:
        before = _grown_arrays(machine, base) if isinstance(base, GrownList) else _before(machine, base, ARRAYS)
        if before is None:
            return None
        parts = [before.value]
    behind = grown_values(machine, item)
    row = TensorType(item.buffer.type.dtype, item.buffer.type.shape[1:])
    if behind is None or any((part.type.dtype, part.type.shape[1:]) != (row.dtype, row.shape) for part in parts):
        return None
    parts += behind
    return Packed(parts[0] if len(parts) == 1 else machine.emit("concatenate", *parts, axis=0), ARRAYS)


def _before(machine: Machine, item: ListObject, kind: str) -> Packed | None:
    """Return the items that a list had before a loop, if they are of a kind."""
    if item.place is not None and _is_read_together(machine, item) and len(item.original) > 1:
        return _packed_items(machine, item, None, numbers=kind != ARRAYS)
    if item.place is not None:
        guard_length(machine, item)
    numbers = [_as_item(machine, value, kind) for value in item.items]
    known_numbers = [number for number in numbers if number is not None]
    if len(known_numbers) < len(numbers):
        return None
    if not numbers:
        return Packed(machine.emit("constant_array", value=FrozenArray(np.zeros(0, DTYPES[BUFFER_DTYPES[kind]]))), kind)
    rows = [machine.emit("reshape", number, shape=(1, *number.type.shape)) for number in known_numbers]
    if any(row.type != rows[0].type for row in rows):
        return None
    return Packed(rows[0] if len(rows) == 1 else machine.emit("concatenate", *rows, axis=0), kind)


def grown_item(machine: Machine, owner: Reference, index: AbstractValue) -> AbstractValue:
    """Return ``owner[index]`` of a list that has grown in a loop, or one of the last items while it grows."""
    item: GrownList = machine.heap(owner)
    recent = None if item.filling is None else recent_item(machine, owner, item, index)
    if recent is not None:
        return recent
    together = None if item.filling is not None else _grown(machine, item)
    if together is None:
        raise machine.unsupported("python.loop", "[]", "the list is read while a loop appends to it")
    if item.kind == ARRAYS:
        return _array_at(machine, owner, item, together, index)
    return _part(machine, together, index) if isinstance(index, SliceValue) else together.item(machine, index)


def _array_at(
    machine: Machine, owner: Reference, item: GrownList, together: Packed, index: AbstractValue
) -> AbstractValue:
    """Return an item of a list of arrays: a view of them all, which is not written, nor returned beside the list."""
    if isinstance(index, SliceValue):
        raise machine.unsupported("python.size", "[]", "which items of a growing list they are, is known at run time")
    return get_item(machine, _rows(machine, owner, item, together), index)


def _rows(machine: Machine, owner: Reference, item: GrownList, together: Packed) -> ArrayValue:
    """Return an array whose rows stand for the items of a list of arrays, all of which loops have appended."""
    if item.later or isinstance(item.base, GrownList) or item.base.items:
        raise machine.unsupported("python.size", "items", "some items were there before a loop, or came later")
    array = new_array(machine, together.value)
    listed_in(machine, array, Listed(owner.index, item.identity, item.loop, None))
    return array


def over_grown(machine: Machine, owner: Reference, backwards: bool = False) -> AbstractValue | None:
    """Return an iterator over a list that has grown in loops; None while one appends to it."""
    item: GrownList = machine.heap(owner)
    together = None if item.filling is not None else _grown(machine, item)
    if together is None:
        return None
    last_first = SliceValue(NONE, NONE, Known(-1))
    if item.kind != ARRAYS:
        found = _part(machine, together, last_first) if backwards else None
        return over_numbers(machine, owner, together) if found is None else iterator_over(machine, found)
    rows: AbstractValue = _rows(machine, owner, item, together)
    if backwards:
        return iterator_over(machine, get_item(machine, rows, last_first))  # type: ignore[arg-type]
    made = IteratorObject(kind="numbers", sources=(rows, owner), function=Known((ARRAYS, 0)))
    return machine.state.allocate(made)


def sliced(machine: Machine, owner: Reference, index: SliceValue) -> NumbersValue | list[AbstractValue] | None:
    """Return part of an outside list whose length varies, or its items; None where the length has to be known."""
    item: ListObject = machine.heap(owner)
    if item.place is None or not item.intact or not _is_read_together(machine, item):
        return None
    count = _from_the_end(machine, index)
    if count is None:
        together = packed(machine, owner, numbers=True)
        return None if together is None else _part(machine, together, index)
    grown = len(item.items) - len(item.original)
    if grown >= count:
        return item.items[-count:]
    together = _packed_items(machine, item, count - grown, True) if item.original else None
    return None if together is None else NumbersValue(together.value, together.kind)


def _from_the_end(machine: Machine, index: SliceValue) -> int | None:
    """Return how many items ``[-count:]`` gives at most; None for any other slice."""
    start, stop, step = (machine.resolve(part) for part in (index.start, index.stop, index.step))
    whole = all(isinstance(part, Known) and part.value is None for part in (stop, step))
    if not whole or not isinstance(start, Known) or type(start.value) is not int or start.value >= 0:
        return None
    return int(-start.value)


def _part(machine: Machine, together: Packed, index: SliceValue) -> NumbersValue:
    found = get_item(machine, new_array(machine, together.value), index)
    assert isinstance(found, ArrayValue)
    return NumbersValue(read(machine, found), together.kind)


def numbers_item(machine: Machine, owner: NumbersValue, index: AbstractValue) -> AbstractValue:
    """Return ``owner[index]``."""
    together = Packed(owner.value, owner.kind)
    return _part(machine, together, index) if isinstance(index, SliceValue) else together.item(machine, index)


def _as_item(machine: Machine, value: AbstractValue, kind: str) -> Value | None:
    """Return the graph value of what was appended to a list, if it is of the kind of its items."""
    value = machine.resolve(value)
    if kind == "array":
        return read(machine, value) if isinstance(value, ArrayValue) else None
    own = value.kind if isinstance(value, Scalar) else None
    if isinstance(value, Known) and is_python_number(value):
        own = type(value.value).__name__
    return scalar_value(machine, value) if own == kind else None


def _joined(machine: Machine, item: ListObject, value: Value, kind: str) -> Value | None:
    """Return the items of a list at entry and those appended since; None if these are of another kind."""
    dtype, shape = value.type.dtype, value.type.shape[1:]
    rows = [value]
    for appended in item.items[len(item.original) :]:
        found = _as_item(machine, appended, kind)
        if found is None or found.type.shape != shape or found.type.dtype != dtype:
            return None
        rows.append(machine.emit("reshape", found, shape=(1, *shape)))
    return rows[0] if len(rows) == 1 else machine.emit("concatenate", *rows, axis=0)


def _outermost_loop(machine: Machine) -> GraphLoopEntry | None:
    """Return the outermost of the loops being captured that stay loops in the graph."""
    entries = (entry for frame in machine.state.frames for entry in frame.blocks if isinstance(entry, GraphLoopEntry))
    return next(entries, None)


def in_graph_loop(machine: Machine) -> bool:
    """Whether a loop is being captured that stays one in the graph."""
    return _outermost_loop(machine) is not None


def _items_may_differ(machine: Machine) -> bool:
    """Whether an array in a list may have been written since the call began."""
    return in_graph_loop(machine) or any(isinstance(machine.state.at(index), Storage) for index in machine.written)


def _with_known_length(machine: Machine, item: ListObject, value: Value) -> Value:
    """Give the first axis the size that ``len()`` has been read as, if it was."""
    assert item.place is not None
    length = machine.externals.known_length(item.place)
    dim = machine.dims.get(length.value) if isinstance(length, Scalar) else None
    own = value.type.shape[0]
    if dim is None or dim == own or not isinstance(own, DimExpr):
        return value
    actual = machine.emit("dim", types=(INT,), dim=own)
    wanted = machine.emit("dim", types=(INT,), dim=dim)
    guard = machine.guard("array.shape", str(LengthPlace(item.place)), f"{dim}")
    machine.require(machine.emit("equal", actual, wanted), guard)
    return machine.emit("reshape", value, shape=(dim, *value.type.shape[1:]))


def grown_length(machine: Machine, item: GrownList, length_of_base: AbstractValue) -> AbstractValue:
    """Return ``len(list)``, given that of the list before the loop."""
    total = arithmetic.binary(machine, "+", length_of_base, Scalar(item.count, "int"))
    return arithmetic.binary(machine, "+", total, Known(len(item.later))) if item.later else total


def grown_values(machine: Machine, item: GrownList) -> list[Value] | None:
    """Return the numbers appended to a list in a loop and since, in arrays; None if they are of several kinds."""
    if item.of_numpy is not None:
        return None
    filled = get_item(machine, new_array(machine, item.buffer), SliceValue(NONE, Scalar(item.count, "int"), NONE))
    assert isinstance(filled, ArrayValue)
    parts = [read(machine, filled)]
    for value in item.later:
        if item.kind == ARRAYS:
            row = read(machine, value) if isinstance(value, ArrayValue) else None
            if row is None or (row.type.dtype, row.type.shape) != (item.buffer.type.dtype, item.buffer.type.shape[1:]):
                return None
            parts.append(machine.emit("reshape", row, shape=(1, *row.type.shape)))
            continue
        kind, number = number_kind(value), scalar_value(machine, value)
        if kind is None or number is None or kind[0] != item.kind:
            return None
        parts.append(machine.emit("reshape", number, shape=(1,)))
    return parts


PACKED.append(packed)
GROWN_LENGTH.append(grown_length)
GROWN_ITERATOR.append(over_grown)
