"""Methods of lists, tuples, dicts and sets.

Owns their capture rules. Invariant: a method that depends on what an outside container holds guards it before it
looks, so that the exceptions it raises are guarded too.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.arrays import sequence_items
from janusjit.analysis.capture.containers import dict_has, method, update_dict, wrote
from janusjit.analysis.capture.growing import append
from janusjit.analysis.capture.identity import identical
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.protocols import guard_structure, hash_key, invoke, key_value
from janusjit.analysis.capture.set_algebra import members
from janusjit.analysis.capture.state import DictObject, GrownList, ListObject, SetObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    DictView,
    Known,
    Reference,
    Scalar,
    TupleValue,
)

#: so many whole numbers known at run time only are sorted in the graph
_FEW = 8

# ---------------------------------------------------------------------- list methods


@method(list, "append")
def _list_append(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item = wrote(machine, owner)
    if isinstance(item, GrownList):
        append(machine, owner, item, arguments[0])
    else:
        item.items.append(arguments[0])
    return NONE


@method(list, "extend")
def _list_extend(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    drawn = draw_all(machine, arguments[0])
    wrote(machine, owner).items.extend(drawn)
    return NONE


def _restructure(machine: Machine, owner: Reference) -> list[AbstractValue]:
    guard_structure(machine, machine.heap(owner))
    items: list[AbstractValue] = wrote(machine, owner).items
    return items


@method(list, "insert")
def _list_insert(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    _restructure(machine, owner).insert(machine.constant(arguments[0], "a list index"), arguments[1])
    return NONE


@method(list, "pop")
def _list_pop(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    position = machine.constant(arguments[0], "a list index") if arguments else -1
    items = _restructure(machine, owner)
    return machine.resolve(fold(machine, items.pop, position))


@method(list, "clear")
def _list_clear(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    _restructure(machine, owner).clear()
    return NONE


@method(list, "reverse")
def _list_reverse(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    _restructure(machine, owner).reverse()
    return NONE


@method(list, "copy")
def _list_copy(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return machine.state.allocate(ListObject(items=sequence_items(machine, owner) or []))


@method(list, "index")
def _list_index(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return _index(machine, sequence_items(machine, owner) or [], arguments)


@method(list, "remove")
def _list_remove(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    items = _restructure(machine, owner)
    del items[_find(machine, items, arguments[0])]
    return NONE


@method(list, "count")
def _list_count(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    items = sequence_items(machine, owner) or []
    return Known(sum(_known_equal(machine, item, arguments[0]) for item in items))


@method(list, "sort")
def _list_sort(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    items = _restructure(machine, owner)
    items[:] = sort_items(machine, list(items), keywords)
    return NONE


def sort_items(
    machine: Machine,
    items: list[AbstractValue],
    keywords: dict[str, AbstractValue],
    by: list[AbstractValue] | None = None,
) -> list[AbstractValue]:
    """Return items sorted by keys (``by``, if given), as ``sorted(items, key=…, reverse=…)``.

    The keys have to be known, but for a few numbers that are sorted by themselves.
    """
    key = keywords.get("key", NONE)
    by_key = not (isinstance(key, Known) and key.value is None)
    items = [machine.resolve(item) for item in items]
    if by is None:
        by = [invoke(machine, key, item) for item in items] if by_key else items
    reverse = bool(machine.constant(keywords["reverse"], "reverse")) if "reverse" in keywords else False
    exchanged = None if by_key or by is not items else _exchanged(machine, items, reverse)
    if exchanged is not None:
        return exchanged
    keys = [machine.constant(item, "a sort key") for item in by]
    order = fold(machine, lambda: sorted(range(len(items)), key=keys.__getitem__, reverse=reverse))
    return [items[i] for i in order]


def _exchanged(machine: Machine, items: list[AbstractValue], reverse: bool) -> list[AbstractValue] | None:
    """Return a few numbers of one kind in order, exchanged in pairs at run time; None where it takes known ones.

    Of two, those that do not compare, such as NaN, stay as they are; of more, Python's order depends on how it sorts.
    """
    kinds = {item.kind for item in items if isinstance(item, Scalar)}
    if len(kinds) != 1 or not all(isinstance(item, Scalar) for item in items):
        return None
    (kind,) = kinds
    whole = kind == "int" or kind.startswith(("numpy.i", "numpy.u"))
    if len(items) > (_FEW if whole else 2):
        return None
    values = [item.value for item in items if isinstance(item, Scalar)]
    for turn in range(len(values)):  # after as many rounds over neighbours, alternately even and odd, all are in order
        for at in range(turn % 2, len(values) - 1, 2):
            first, second = values[at], values[at + 1]
            pair = (first, second) if reverse else (second, first)
            swapped = machine.emit("less", *pair)
            values[at] = machine.emit("where", swapped, second, first)
            values[at + 1] = machine.emit("where", swapped, first, second)
    return [Scalar(value, kind) for value in values]


def _index(machine: Machine, items: list[AbstractValue], arguments: Any) -> AbstractValue:
    bounds = [machine.constant(bound, "a bound") for bound in arguments[1:]]
    start, stop, _ = slice(bounds[0] if bounds else 0, *bounds[1:2] or [None]).indices(len(items))
    return Known(start + _find(machine, items[start:stop], arguments[0]))


def _find(machine: Machine, items: list[AbstractValue], value: AbstractValue) -> int:
    for position, item in enumerate(items):
        if _known_equal(machine, machine.resolve(item), value):
            return position
    raise machine.python_error(ValueError, "value is not in list")


def _known_equal(machine: Machine, item: AbstractValue, value: AbstractValue) -> bool:
    item = machine.resolve(item)
    if type(item) is type(value) and isinstance(item, Reference | ArrayValue) and identical(machine, item, value):
        return True
    return bool(machine.constant(operators.binary(machine, "==", item, value), "an equality"))


@method(tuple, "index")
def _tuple_index(machine: Machine, owner: Any, arguments: Any, keywords: Any) -> AbstractValue:
    return _index(machine, list(owner.items), arguments)


@method(tuple, "count")
def _tuple_count(machine: Machine, owner: Any, arguments: Any, keywords: Any) -> AbstractValue:
    return Known(sum(_known_equal(machine, item, arguments[0]) for item in owner.items))


@method(tuple, "_replace")
def _namedtuple_replace(machine: Machine, owner: Any, arguments: Any, keywords: Any) -> AbstractValue:
    fields = owner.type_._fields
    unknown = [name for name in keywords if name not in fields]
    if unknown:
        raise machine.python_error(ValueError, f"Got unexpected field names: {unknown!r}")
    items = (keywords.get(name, item) for name, item in zip(fields, owner.items, strict=True))
    return TupleValue(tuple(items), owner.type_)


@method(tuple, "_asdict")
def _namedtuple_asdict(machine: Machine, owner: Any, arguments: Any, keywords: Any) -> AbstractValue:
    return machine.state.allocate(DictObject(items=dict(zip(owner.type_._fields, owner.items, strict=True))))


# ---------------------------------------------------------------------- dict methods


@method(dict, "keys")
def _dict_keys(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return DictView(owner, "keys")


@method(dict, "values")
def _dict_values(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return DictView(owner, "values")


@method(dict, "items")
def _dict_items(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return DictView(owner, "items")


@method(dict, "get")
def _dict_get(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item: DictObject = machine.heap(owner)
    key = hash_key(machine, arguments[0])
    if dict_has(machine, item, key):
        return machine.resolve(item.items[key])
    return arguments[1] if len(arguments) > 1 else NONE


@method(dict, "setdefault")
def _dict_setdefault(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item: DictObject = machine.heap(owner)
    key = hash_key(machine, arguments[0])
    if dict_has(machine, item, key):
        return machine.resolve(item.items[key])
    default = arguments[1] if len(arguments) > 1 else NONE
    wrote(machine, owner).items[key] = default
    return default


@method(dict, "pop")
def _dict_pop(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item: DictObject = machine.heap(owner)
    key = hash_key(machine, arguments[0])
    if dict_has(machine, item, key):
        return machine.resolve(wrote(machine, owner).items.pop(key))
    if len(arguments) > 1:
        default: AbstractValue = arguments[1]
        return default
    raise machine.python_error(KeyError, key)


@method(dict, "popitem")
def _dict_popitem(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    key, value = fold(machine, wrote(machine, owner).items.popitem)
    return TupleValue((key_value(machine, key), machine.resolve(value)))


@method(dict, "clear")
def _dict_clear(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    wrote(machine, owner).items.clear()
    return NONE


@method(dict, "copy")
def _dict_copy(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item: DictObject = machine.heap(owner)
    guard_structure(machine, item)
    made = DictObject(items=dict(item.items), type_=item.type_, default_factory=item.default_factory)
    return machine.state.allocate(made)


@method(dict, "update")
def _dict_update(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    if arguments:
        update_dict(machine, owner, arguments[0])
    for name, value in keywords.items():
        dict_has(machine, machine.heap(owner), name)
        wrote(machine, owner).items[name] = value
    return NONE


# ---------------------------------------------------------------------- set methods


@method(set, "add")
def _set_add(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    wrote(machine, owner).items.setdefault(hash_key(machine, arguments[0]), arguments[0])
    return NONE


@method(set, "discard")
def _set_discard(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    item: SetObject = wrote(machine, owner)
    item.unordered = item.items.pop(hash_key(machine, arguments[0]), None) is not None or item.unordered
    return NONE


@method(set, "remove")
def _set_remove(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    key = hash_key(machine, arguments[0])
    guard_structure(machine, machine.heap(owner))
    if key not in machine.heap(owner).items:
        raise machine.python_error(KeyError, key)
    item: SetObject = wrote(machine, owner)
    del item.items[key]
    item.unordered = True
    return NONE


@method(set, "update")
def _set_update(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    for values in arguments:
        found = members(machine, values)
        if not one_by_one(machine, values):
            wrote(machine, owner).unordered = True
        for value in draw_all(machine, values) if found is None else found.values():
            wrote(machine, owner).items.setdefault(hash_key(machine, value), value)
    return NONE


@method(set, "copy")
def _set_copy(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    return machine.state.allocate(SetObject(items=dict(machine.heap(owner).items), unordered=True))


def one_by_one(machine: Machine, values: AbstractValue) -> bool:
    """Whether a set takes the items of an iterable one after the other, as it does of all but sets and dicts."""
    values = machine.resolve(values)
    if isinstance(values, Known):
        return not isinstance(values.value, set | frozenset | dict)
    return not (isinstance(values, Reference) and isinstance(machine.heap(values), SetObject | DictObject))
