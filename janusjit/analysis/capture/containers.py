"""Lists, dicts, sets, tuples: displays and items.

Owns the capture rules of the display, item and unpacking nodes, and the table of container methods.
Invariant: a write marks the container, so that an exit commits it if it is from outside.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.arrays import as_array, new_array, read, sequence_items
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.index_writing import set_item as set_array_item
from janusjit.analysis.capture.indexing import get_item as get_array_item
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.packed import grown_item, in_graph_loop, numbers_item, packed, sliced
from janusjit.analysis.capture.protocols import guard_structure, hash_key, holds_object, invoke, iterator_over, rejected
from janusjit.analysis.capture.python_types import special_method
from janusjit.analysis.capture.selection import replaced, selected, selected_by_key
from janusjit.analysis.capture.state import DictObject, GrownList, ListObject, SetObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    FlatValue,
    HostValue,
    Known,
    NumbersValue,
    ObjectsValue,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
    concrete,
    lift,
)
from janusjit.analysis.core import (
    Build,
    BuildDict,
    BuildSlice,
    DictInsert,
    GetIterator,
    ListAppend,
    LoadItem,
    RemoveItem,
    SetAdd,
    StoreItem,
    Unpack,
)

Method = Callable[[Machine, Reference, Sequence[AbstractValue], dict[str, AbstractValue]], AbstractValue]
METHODS: dict[tuple[type, str], Method] = {}


def method(owner: type, name: str) -> Callable[[Method], Method]:
    """Register the rule of a container method."""

    def register(function: Method) -> Method:
        METHODS[owner, name] = function
        return function

    return register


def wrote(machine: Machine, reference: Reference) -> Any:
    """Return a heap object that is about to be written, noted as such."""
    item = machine.heap(reference)
    item.written = True
    if reference.index < 0:
        machine.written.add(reference.index)
    return item


# ---------------------------------------------------------------------- displays


@executes(Build)
def execute_build(machine: Machine, instruction: Build) -> None:
    """A tuple, list or set display."""
    items: list[AbstractValue] = []
    for atom, starred in zip(instruction.items, instruction.starred, strict=True):
        items.extend(draw_all(machine, machine.get(atom)) if starred else [machine.hand_on(atom)])
    kind = "display" if instruction.kind == "set" else instruction.kind
    machine.set(instruction.target, build(machine, kind, items))


def build(machine: Machine, kind: str, items: list[AbstractValue]) -> AbstractValue:
    """Return a new tuple, list or set."""
    if kind == "tuple":
        return TupleValue(tuple(items))
    if kind == "list":
        return machine.state.allocate(ListObject(items=items))
    literal = len(items) > 2 and all(isinstance(item, Known) for item in items)  # CPython keeps one as a frozen set
    return machine.state.allocate(
        SetObject(items={hash_key(machine, item): item for item in items}, unordered=literal and kind == "display")
    )


def from_python(machine: Machine, value: Any) -> AbstractValue:
    """Return the abstract value of a new object that Python made of constants at capture."""
    if type(value) in (list, tuple, set):
        return build(machine, type(value).__name__, [from_python(machine, item) for item in value])
    if type(value) is dict:
        items = {key: from_python(machine, item) for key, item in value.items()}
        return machine.state.allocate(DictObject(items=items))
    return lift(value)


@executes(BuildDict)
def execute_build_dict(machine: Machine, instruction: BuildDict) -> None:
    """A dict display."""
    table = machine.state.allocate(DictObject())
    item: DictObject = machine.heap(table)
    for key, value in instruction.items:
        if key is None:
            update_dict(machine, table, machine.get(value))
        else:
            item.items[hash_key(machine, machine.get(key))] = machine.hand_on(value)
    machine.set(instruction.target, table)


@executes(BuildSlice)
def execute_build_slice(machine: Machine, instruction: BuildSlice) -> None:
    """``start:stop:step``."""
    parts = (machine.get(instruction.start), machine.get(instruction.stop), machine.get(instruction.step))
    machine.set(instruction.target, SliceValue(*parts))


@executes(ListAppend)
def execute_list_append(machine: Machine, instruction: ListAppend) -> None:
    """An item of a list comprehension."""
    METHODS[list, "append"](machine, _reference(machine, instruction.owner), [machine.get(instruction.value)], {})


@executes(SetAdd)
def execute_set_add(machine: Machine, instruction: SetAdd) -> None:
    """An item of a set comprehension."""
    METHODS[set, "add"](machine, _reference(machine, instruction.owner), [machine.get(instruction.value)], {})


@executes(DictInsert)
def execute_dict_insert(machine: Machine, instruction: DictInsert) -> None:
    """An item of a dict comprehension."""
    owner = _reference(machine, instruction.owner)
    set_item(machine, owner, machine.get(instruction.key), machine.get(instruction.value))


def _reference(machine: Machine, atom: Any) -> Reference:
    value = machine.get(atom)
    assert isinstance(value, Reference)
    return value


@executes(GetIterator)
def execute_get_iterator(machine: Machine, instruction: GetIterator) -> None:
    """``iter(value)``."""
    machine.set(instruction.target, iterator_over(machine, machine.get(instruction.value)))


@executes(Unpack)
def execute_unpack(machine: Machine, instruction: Unpack) -> None:
    """``a, b, *c = value``."""
    value = machine.get(instruction.value)
    if isinstance(value, ObjectsValue) and instruction.star < 0:
        ITEM_AT[0][1](machine, value, instruction.targets)
        return
    items = draw_all(machine, value)
    count, star = len(instruction.targets), instruction.star
    if star < 0:
        if len(items) != count:
            word = "too many values" if len(items) > count else "not enough values"
            raise machine.python_error(ValueError, f"{word} to unpack (expected {count})")
        bound = items
    else:
        after = count - star - 1
        if len(items) < count - 1:
            raise machine.python_error(ValueError, f"not enough values to unpack (expected at least {count - 1})")
        middle = build(machine, "list", items[star : len(items) - after])
        bound = [*items[:star], middle, *items[len(items) - after :]]
    for target, item in zip(instruction.targets, bound, strict=True):
        machine.set(target, item)


# ---------------------------------------------------------------------- items


@executes(LoadItem)
def execute_load_item(machine: Machine, instruction: LoadItem) -> None:
    """``target = owner[index]``."""
    owner, index = machine.get(instruction.owner), machine.get(instruction.index)
    if isinstance(owner, ObjectsValue):
        ITEM_AT[0][0](machine, owner, index, lambda value: machine.set(instruction.target, value))
    else:
        machine.set(instruction.target, get_item(machine, owner, index))


#: set by `janusjit.analysis.capture.run_time_objects`: go on with an item of a list or tuple that is known at run time
#: only, and unpack one
ITEM_AT: list[tuple[Callable[..., None], Callable[..., None]]] = []


@executes(StoreItem)
def execute_store_item(machine: Machine, instruction: StoreItem) -> None:
    """``owner[index] = value``."""
    owner, index = machine.get(instruction.owner), machine.get(instruction.index)
    kept = isinstance(owner, Reference)  # an array takes a number by its kind
    value = machine.hand_on(instruction.value) if kept else machine.get(instruction.value)
    set_item(machine, owner, index, value)


@executes(RemoveItem)
def execute_remove_item(machine: Machine, instruction: RemoveItem) -> None:
    """``del owner[index]``."""
    remove_item(machine, machine.get(instruction.owner), machine.get(instruction.index))


def get_item(machine: Machine, owner: AbstractValue, index: AbstractValue) -> AbstractValue:
    """Return ``owner[index]``."""
    owner = machine.resolve(owner)
    if isinstance(owner, ArrayValue):
        return get_array_item(machine, owner, index)
    if isinstance(owner, FlatValue):
        found = get_array_item(machine, owner.elements, index)
        return found if isinstance(found, Scalar) else new_array(machine, machine.emit("copy", read(machine, found)))  # type: ignore[arg-type]
    if isinstance(owner, TupleValue):
        return _sequence_item(machine, list(owner.items), index, lambda items: TupleValue(tuple(items)))
    if isinstance(owner, NumbersValue):
        return numbers_item(machine, owner, index)
    if isinstance(owner, Reference):
        item = machine.heap(owner)
        if isinstance(item, DictObject):
            value = _selected_value(machine, item, index)
            return dict_item(machine, owner, hash_key(machine, index)) if value is None else value
        if isinstance(item, GrownList):
            return grown_item(machine, owner, index)
        if isinstance(item, ListObject) and item.place is not None:
            return _outside_list_item(machine, owner, item, index)
        items = sequence_items(machine, owner)
        if items is not None:
            sliced = None if item.type_ is not list else lambda chosen: build(machine, "list", chosen)
            return _sequence_item(machine, items, index, sliced)
        getter = special_method(machine, owner, "__getitem__")
        if getter is not None:
            return invoke(machine, getter, index)
    if isinstance(owner, Known):
        if isinstance(owner.value, type):
            return lift(owner.value[machine.constant(index, "a type argument")])  # type: ignore[index]
        return lift(fold(machine, lambda: owner.value[machine.constant(index, "an index")]))
    if isinstance(owner, RangeValue):
        return lift(fold(machine, lambda: concrete(owner)[machine.constant(index, "an index")]))
    if isinstance(owner, Scalar):
        return _number_item(machine, owner, index)
    if isinstance(owner, HostValue):
        raise machine.unsupported("python.host_object", "[]", f"{owner.place} is an object capture cannot enter")
    raise rejected(machine, "[]", "object is not subscriptable", (owner, "__getitem__"))


def _number_item(machine: Machine, owner: Scalar, index: AbstractValue) -> AbstractValue:
    """Return an item of a number: of NumPy's, an array with the new axes that are asked for."""
    if owner.is_python:
        raise machine.python_error(TypeError, f"'{owner.kind}' object is not subscriptable")
    index = machine.resolve(index)
    parts = [machine.resolve(part) for part in index.items] if isinstance(index, TupleValue) else [index]
    if not parts:
        return owner
    axes = [part for part in parts if isinstance(part, Known) and part.value is None]
    others = [part for part in parts if part not in axes]
    if others and not (len(others) == 1 and isinstance(others[0], Known) and others[0].value is Ellipsis):
        raise machine.python_error(IndexError, "invalid index to scalar variable.")
    return new_array(machine, machine.emit("reshape", owner.value, shape=(1,) * len(axes)))


def _outside_list_item(machine: Machine, owner: Reference, item: ListObject, index: AbstractValue) -> AbstractValue:
    """Return an item of an outside list; one counted from the start, or appended, needs no guard on its length."""
    if isinstance(index, Scalar):
        numbers = packed(machine, owner, numbers=True) if in_graph_loop(machine) else None
        if numbers is not None:
            return numbers.item(machine, index)
        if item.place is not None and machine.externals.length_varies(item.place):
            raise machine.unsupported("python.size", "[]", "which item of a growing list it is, is known at run time")
        found = selected(machine, item.items, index)
        if found is not None:
            guard_structure(machine, item)
            return found
    part = sliced(machine, owner, index) if isinstance(index, SliceValue) else None
    if part is not None:
        return build(machine, "list", part) if isinstance(part, list) else part
    position = machine.constant(index, "a list index")
    grown, intact = len(item.items) - len(item.original), item.intact
    if isinstance(position, int) and intact and (0 <= position < len(item.original) or -grown <= position < 0):
        return machine.resolve(item.items[position])
    assert item.place is not None
    if isinstance(position, int) and intact and -len(item.items) <= position < -grown:
        unread = item.original[position + grown]
        if isinstance(unread, Unread) and machine.externals.length_varies(item.place):
            return machine.externals.read(machine.externals.item_place(item.place, position + grown), unread.live)
    items = sequence_items(machine, owner) or []
    return _sequence_item(machine, items, Known(position), lambda chosen: build(machine, "list", chosen))


def _sequence_item(
    machine: Machine,
    items: list[AbstractValue],
    index: AbstractValue,
    rebuild: Callable[[list[AbstractValue]], AbstractValue] | None,
) -> AbstractValue:
    found = selected(machine, items, index)
    if found is not None:
        return found
    position = machine.constant(index, "a list index")
    if isinstance(position, slice):
        if rebuild is None:
            raise machine.python_error(TypeError, "sequence index must be integer, not 'slice'")
        return rebuild(items[position])
    return machine.resolve(fold(machine, lambda: items[position]))


def _selected_value(machine: Machine, item: DictObject, index: AbstractValue) -> AbstractValue | None:
    """Return an item of a dict by a number that is known at run time only; None where it may be assumed."""
    if item.type_ is not dict or not isinstance(machine.resolve(index), Scalar):
        return None
    found = selected_by_key(machine, item.items, index)
    if found is not None:
        guard_structure(machine, item)
    return found


def dict_item(machine: Machine, owner: Reference, key: Any) -> AbstractValue:
    """Return ``owner[key]`` of a dict; a missing key calls the default factory or raises KeyError."""
    item: DictObject = machine.heap(owner)
    if dict_has(machine, item, key):
        return machine.resolve(item.items[key])
    if item.type_ is collections.Counter:
        return Known(0)
    if item.default_factory is not None:
        made = invoke(machine, item.default_factory)
        wrote(machine, owner).items[key] = made
        return made
    raise machine.python_error(KeyError, key)


def dict_has(machine: Machine, item: DictObject, key: Any) -> bool:
    """Return whether a dict has a key, guarding what an outside dict had at entry."""
    if item.place is None or (key not in item.original and key in item.items) or holds_object(machine, key):
        return key in item.items
    if key in item.original:
        original = item.original[key]
        if item.items.get(key) is original or not item.written:
            machine.resolve(original)
    elif key not in item.items:
        place = machine.externals.item_place(item.place, key)
        machine.externals.guard_missing(place)
    return key in item.items


operators.DICT_HAS.append(dict_has)


def set_item(machine: Machine, owner: AbstractValue, index: AbstractValue, value: AbstractValue) -> None:
    """``owner[index] = value``."""
    owner = machine.resolve(owner)
    if isinstance(owner, ArrayValue):
        set_array_item(machine, owner, index, value)
        return
    if isinstance(owner, FlatValue):
        _set_flat_item(machine, owner, index, value)
        return
    if isinstance(owner, Reference):
        item = machine.heap(owner)
        if isinstance(item, DictObject):
            key = hash_key(machine, index)
            if item.place is not None:
                dict_has(machine, item, key)
            wrote(machine, owner).items[key] = value
            return
        if isinstance(item, ListObject):
            _set_list_item(machine, owner, item, index, value)
            return
        setter = special_method(machine, owner, "__setitem__")
        if setter is not None:
            invoke(machine, setter, index, value)
            return
    if isinstance(owner, HostValue):
        raise machine.unsupported("python.host_object", "[] =", f"{owner.place} is an object capture cannot enter")
    raise rejected(machine, "[] =", "object does not support item assignment", (owner, "__setitem__"))


def _set_flat_item(machine: Machine, owner: FlatValue, index: AbstractValue, value: AbstractValue) -> None:
    """``array.flat[index] = value``; values that are fewer than the elements would be repeated."""
    values = as_array(machine, value)
    target = get_array_item(machine, owner.elements, index)
    shape = target.type.shape if isinstance(target, ArrayValue) else ()
    if values is None or (values.type.shape and values.type.shape != shape):
        raise machine.unsupported("array.attribute", ".flat[] =", "the values are not as many as the elements")
    set_array_item(machine, owner.elements, index, value)


def _set_list_item(
    machine: Machine, owner: Reference, item: ListObject, index: AbstractValue, value: AbstractValue
) -> None:
    guard_structure(machine, item)
    changed = replaced(machine, item.items, index, value)
    if changed is not None:
        wrote(machine, owner).items[:] = changed
        return
    position = machine.constant(index, "a list index")
    content = draw_all(machine, value) if isinstance(position, slice) else value
    items = wrote(machine, owner).items

    def assign() -> None:
        items[position] = content

    fold(machine, assign)


def remove_item(machine: Machine, owner: AbstractValue, index: AbstractValue) -> None:
    """``del owner[index]``."""
    if isinstance(owner, Reference):
        item = machine.heap(owner)
        if isinstance(item, DictObject):
            key = hash_key(machine, index)
            if not dict_has(machine, item, key):
                if item.type_ is collections.Counter:
                    return
                raise machine.python_error(KeyError, key)
            del wrote(machine, owner).items[key]
            return
        if isinstance(item, ListObject):
            guard_structure(machine, item)
            position = machine.constant(index, "a list index")
            fold(machine, wrote(machine, owner).items.__delitem__, position)
            return
        remover = special_method(machine, owner, "__delitem__")
        if remover is not None:
            invoke(machine, remover, index)
            return
    raise rejected(machine, "del []", "object doesn't support item deletion", (owner, "__delitem__"))


def update_dict(machine: Machine, owner: Reference, other: AbstractValue) -> None:
    """``owner.update(other)``."""
    if isinstance(other, Reference) and isinstance(machine.heap(other), DictObject):
        source: DictObject = machine.heap(other)
        guard_structure(machine, source)
        pairs = list(source.items.items())
    else:
        pairs = []
        for pair in draw_all(machine, other):
            parts = draw_all(machine, pair)
            if len(parts) != 2:
                raise machine.python_error(ValueError, f"dictionary update sequence element has length {len(parts)}")
            key, value = parts
            pairs.append((hash_key(machine, key), value))
    target: DictObject = machine.heap(owner)
    for key, value in pairs:
        if target.place is not None:
            dict_has(machine, target, key)
        wrote(machine, owner).items[key] = value


operators.UPDATE.append(update_dict)


def new_dict(machine: Machine, type_: type, factory: AbstractValue | None = None) -> Reference:
    """Return a new empty dict, ``OrderedDict`` or ``defaultdict``."""
    return machine.state.allocate(DictObject(type_=type_, default_factory=factory))
