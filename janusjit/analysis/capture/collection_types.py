"""``collections``: deques, counters, ordered and default dicts; ``dict.fromkeys``.

Owns the entries of `MODELS` for them and the methods in which they differ from lists and dicts. Invariant: an object of
these types that is made inside is a list or dict on the heap with that type; one from outside stays Python's.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Sequence
from typing import Any

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.calls import models
from janusjit.analysis.capture.container_methods import sort_items
from janusjit.analysis.capture.containers import METHODS, build, method, new_dict, update_dict, wrote
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.protocols import guard_structure, hash_key, key_value
from janusjit.analysis.capture.state import DictObject, ListObject
from janusjit.analysis.capture.values import NONE, TRUE, AbstractValue, Known, Reference, TupleValue

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]

# ---------------------------------------------------------------------- deque


@models(collections.deque, keywords=("iterable", "maxlen"))
def _model_deque(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    named = dict(zip(("iterable", "maxlen"), arguments, strict=False)) | keywords
    limit = machine.constant(named.get("maxlen", NONE), "maxlen")
    if limit is not None and fold(machine, operator.index, limit) < 0:
        raise machine.python_error(ValueError, "maxlen must be non-negative")
    items = draw_all(machine, named["iterable"]) if "iterable" in named else []
    made = ListObject(items=items, type_=collections.deque, limit=limit)
    _cut(made, from_left=True)
    return machine.state.allocate(made)


def _cut(item: ListObject, from_left: bool) -> None:
    """Drop what is past a deque's limit."""
    if item.limit is not None and len(item.items) > item.limit:
        item.items[:] = item.items[len(item.items) - item.limit :] if from_left else item.items[: item.limit]


def _changed(machine: Machine, owner: Reference) -> ListObject:
    """Return a deque that is about to be changed; an iterator over it is of no use from now on."""
    item: ListObject = wrote(machine, owner)
    item.changes += 1
    return item


def _changing(name: str, from_left: bool) -> None:
    @method(collections.deque, name)
    def rule(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
        added = draw_all(machine, arguments[0]) if name.startswith("extend") else [arguments[0]]
        item: ListObject = _changed(machine, owner)
        if from_left:
            item.items.extend(added)
        else:
            item.items[:0] = reversed(added)
        _cut(item, from_left)
        return NONE


for _name in ("append", "extend"):
    _changing(_name, True)
    _changing(f"{_name}left", False)


def _popping(name: str, position: int) -> None:
    @method(collections.deque, name)
    def rule(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
        if not machine.heap(owner).items:
            raise machine.python_error(IndexError, "pop from an empty deque")
        return machine.resolve(_changed(machine, owner).items.pop(position))


_popping("pop", -1)
_popping("popleft", 0)


@method(collections.deque, "rotate")
def _deque_rotate(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    steps = fold(machine, operator.index, machine.constant(arguments[0], "a number of steps")) if arguments else 1
    item: ListObject = _changed(machine, owner)
    rotated = collections.deque(item.items)
    rotated.rotate(steps)
    item.items[:] = rotated
    return NONE


@method(collections.deque, "copy")
def _deque_copy(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    item: ListObject = machine.heap(owner)
    return machine.state.allocate(ListObject(items=list(item.items), type_=item.type_, limit=item.limit))


def _as_of_lists(name: str) -> None:
    """Take the rule that lists have for a method that changes something."""

    @method(collections.deque, name)
    def rule(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
        _changed(machine, owner)
        return METHODS[list, name](machine, owner, arguments, keywords)


for _name in ("clear", "remove", "reverse"):
    _as_of_lists(_name)
for _name in ("count", "index"):
    METHODS[collections.deque, _name] = METHODS[list, _name]

# ---------------------------------------------------------------------- dicts of other types


@models(collections.OrderedDict, keywords=None)
def _model_ordered_dict(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    made = new_dict(machine, collections.OrderedDict)
    if arguments:
        update_dict(machine, made, arguments[0])
    machine.heap(made).items.update(keywords)
    return made


@method(collections.OrderedDict, "move_to_end")
def _move_to_end(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    key = hash_key(machine, arguments[0])
    guard_structure(machine, machine.heap(owner))
    items: dict[Any, AbstractValue] = machine.heap(owner).items
    if key not in items:
        raise machine.python_error(KeyError, key)
    last = arguments[1] if len(arguments) > 1 else keywords.get("last", TRUE)
    value = items[key]
    rest = {other: kept for other, kept in items.items() if other != key}
    first = {key: value} if not machine.constant(last, "last") else {}
    wrote(machine, owner).items = {**first, **rest} | ({} if first else {key: value})
    return NONE


@method(collections.OrderedDict, "popitem")
def _ordered_popitem(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    last = arguments[0] if arguments else keywords.get("last", TRUE)
    guard_structure(machine, machine.heap(owner))
    items: dict[Any, AbstractValue] = wrote(machine, owner).items
    if not items:
        raise machine.python_error(KeyError, "dictionary is empty")
    key = list(items)[-1 if machine.constant(last, "last") else 0]
    return TupleValue((key_value(machine, key), machine.resolve(items.pop(key))))


@models(collections.defaultdict, keywords=None)
def _model_defaultdict(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    factory = arguments[0] if arguments else NONE
    none = isinstance(factory, Known) and factory.value is None
    made = new_dict(machine, collections.defaultdict, None if none else factory)
    if len(arguments) > 1:
        update_dict(machine, made, arguments[1])
    machine.heap(made).items.update(keywords)
    return made


@models(dict.fromkeys)
def _model_fromkeys(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = arguments[1] if len(arguments) > 1 else NONE
    made = new_dict(machine, dict)
    for key in draw_all(machine, arguments[0]):
        machine.heap(made).items[hash_key(machine, key)] = value
    return made


# ---------------------------------------------------------------------- Counter


@models(collections.Counter, keywords=None)
def _model_counter(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    made = new_dict(machine, collections.Counter)
    _count(machine, made, arguments, keywords, "+")
    return made


def _count(machine: Machine, owner: Reference, arguments: Arguments, keywords: Named, symbol: str) -> None:
    """Add to, or subtract from, the counts: of a mapping's values, or of each item of an iterable."""
    guard_structure(machine, machine.heap(owner))
    items = wrote(machine, owner).items
    pairs: list[tuple[Any, AbstractValue]] = []
    for values in arguments:
        values = machine.resolve(values)
        if isinstance(values, Known) and values.value is None:
            continue
        if isinstance(values, Reference) and isinstance(machine.heap(values), DictObject):
            if not items and symbol == "+":  # as if by dict.update: the counts are taken as they are
                update_dict(machine, owner, values)
                continue
            guard_structure(machine, machine.heap(values))
            pairs.extend((key, machine.resolve(count)) for key, count in machine.heap(values).items.items())
        else:
            pairs.extend((hash_key(machine, item), Known(1)) for item in draw_all(machine, values))
    for key, count in [*pairs, *keywords.items()]:
        items[key] = operators.binary(machine, symbol, machine.resolve(items.get(key, Known(0))), count)


@method(collections.Counter, "update")
def _counter_update(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    _count(machine, owner, arguments, keywords, "+")
    return NONE


@method(collections.Counter, "subtract")
def _counter_subtract(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    _count(machine, owner, arguments, keywords, "-")
    return NONE


@method(collections.Counter, "most_common")
def _counter_most_common(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    limit = machine.constant(arguments[0] if arguments else keywords.get("n", NONE), "n")
    guard_structure(machine, machine.heap(owner))
    items: dict[Any, AbstractValue] = machine.heap(owner).items
    pairs = [(key, machine.resolve(count)) for key, count in items.items()]
    order = sort_items(machine, [Known(at) for at in range(len(pairs))], {"reverse": TRUE}, [c for _, c in pairs])
    rows: list[AbstractValue] = []
    for at in order if limit is None else order[: max(0, limit)]:
        assert isinstance(at, Known)
        key, count = pairs[at.value]
        rows.append(TupleValue((key_value(machine, key), count)))
    return build(machine, "list", rows)


@method(collections.Counter, "total")
def _counter_total(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    total: AbstractValue = Known(0)
    guard_structure(machine, machine.heap(owner))
    for count in machine.heap(owner).items.values():
        total = operators.binary(machine, "+", total, machine.resolve(count))
    return total
