"""Sets, frozen sets and views of a dict's keys: operators, comparisons and the methods of sets.

Owns their capture rules. Invariant: items are those of the operand Python takes them from where two are equal but not
the same (``1`` and ``1.0``), and the result of an operation on two sets is in no known order.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable, Sequence
from typing import Any

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.containers import method, wrote
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import ObjectKey, guard_structure, hash_key, key_value, set_order
from janusjit.analysis.capture.state import DictObject, SetObject
from janusjit.analysis.capture.values import NONE, AbstractValue, DictView, Known, Reference

Members = dict[Any, AbstractValue]


def _union(left: Members, right: Members) -> Members:
    return {**left, **{key: value for key, value in right.items() if key not in left}}


def _intersection(left: Members, right: Members) -> Members:
    through, others = (left, right) if len(left) < len(right) else (right, left)
    return {key: value for key, value in through.items() if key in others}


def _difference(left: Members, right: Members) -> Members:
    return {key: value for key, value in left.items() if key not in right}


def _symmetric_difference(left: Members, right: Members) -> Members:
    return {**_difference(left, right), **_difference(right, left)}


_OPERATIONS: dict[str, Callable[[Members, Members], Members]] = {
    "|": _union,
    "&": _intersection,
    "-": _difference,
    "^": _symmetric_difference,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def members(machine: Machine, value: AbstractValue) -> Members | None:
    """Return the items of a set, a frozen set or a view of keys, by hash key; None for anything else."""
    value = machine.resolve(value)
    if isinstance(value, Known) and isinstance(value.value, frozenset):
        return {item: key_value(machine, item) for item in value.value}
    if isinstance(value, DictView) and value.kind == "keys":
        guard_structure(machine, machine.heap(value.owner))
        return {key: key_value(machine, key) for key in machine.heap(value.owner).items}
    if isinstance(value, Reference) and isinstance(machine.heap(value), SetObject):
        guard_structure(machine, machine.heap(value))
        return dict(machine.heap(value).items)
    return None


def combine(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue | None:
    """Return ``left symbol right`` of two sets, or None where they are not."""
    if symbol not in _OPERATIONS and symbol not in _COMPARISONS:
        return None
    first, second = members(machine, left), members(machine, right)
    if first is None or second is None:
        return None
    if symbol in _COMPARISONS:
        return Known(_COMPARISONS[symbol](first.keys(), second.keys()))
    return _made(machine, _OPERATIONS[symbol](first, second), isinstance(machine.resolve(left), Known))


def _made(machine: Machine, items: Members, frozen: bool) -> AbstractValue:
    if not frozen:
        return machine.state.allocate(SetObject(items=items, unordered=True))
    if any(isinstance(key, ObjectKey) for key in items):
        raise machine.unsupported("python.set", "frozenset", "a frozen set of objects made inside")
    return Known(frozenset(items))


def combine_in_place(machine: Machine, symbol: str, left: Reference, right: AbstractValue) -> bool:
    """``left symbol= right`` of two sets; False where ``right`` is none."""
    other = members(machine, right)
    if symbol not in _OPERATIONS or other is None:
        return False
    _replace(machine, left, _OPERATIONS[symbol](members(machine, left) or {}, other))
    return True


def _replace(machine: Machine, owner: Reference, items: Members) -> None:
    item: SetObject = wrote(machine, owner)
    item.items, item.unordered = items, True


def _drawn(machine: Machine, values: AbstractValue) -> Members:
    """Return the items of any iterable as a set's."""
    found = members(machine, values)
    if found is not None:
        return found
    made: Members = {}
    for value in draw_all(machine, values):
        made.setdefault(hash_key(machine, value), value)
    return made


# ---------------------------------------------------------------------- methods


def _combining(symbol: str) -> Callable[..., AbstractValue]:
    def rule(machine: Machine, owner: Reference, arguments: Sequence[AbstractValue], keywords: Any) -> AbstractValue:
        result = members(machine, owner) or {}
        for values in arguments:
            result = _OPERATIONS[symbol](result, _drawn(machine, values))
        return _made(machine, result, False)

    return rule


def _updating(symbol: str) -> Callable[..., AbstractValue]:
    def rule(machine: Machine, owner: Reference, arguments: Sequence[AbstractValue], keywords: Any) -> AbstractValue:
        for values in arguments:
            _replace(machine, owner, _OPERATIONS[symbol](members(machine, owner) or {}, _drawn(machine, values)))
        return NONE

    return rule


def _comparing(symbol: str) -> Callable[..., AbstractValue]:
    def rule(machine: Machine, owner: Reference, arguments: Sequence[AbstractValue], keywords: Any) -> AbstractValue:
        own, other = members(machine, owner) or {}, _drawn(machine, arguments[0])
        return Known(_COMPARISONS[symbol](own.keys(), other.keys()))

    return rule


for _name, _symbol in (
    ("union", "|"),
    ("intersection", "&"),
    ("difference", "-"),
    ("symmetric_difference", "^"),
):
    method(set, _name)(_combining(_symbol))
    if _symbol != "|":  # `update` keeps the order of what is put in one by one
        method(set, f"{_name}_update")(_updating(_symbol))
method(set, "issubset")(_comparing("<="))
method(set, "issuperset")(_comparing(">="))


@method(set, "isdisjoint")
def _set_isdisjoint(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    return Known((members(machine, owner) or {}).keys().isdisjoint(_drawn(machine, arguments[0])))


@method(set, "pop")
def _set_pop(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    order = set_order(machine, machine.heap(owner))
    if not order:
        raise machine.python_error(KeyError, "pop from an empty set")
    item: SetObject = wrote(machine, owner)
    del item.items[hash_key(machine, order[0])]
    item.unordered = True
    return order[0]


@method(set, "clear")
def _set_clear(machine: Machine, owner: Reference, arguments: Any, keywords: Any) -> AbstractValue:
    guard_structure(machine, machine.heap(owner))
    _replace(machine, owner, {})
    machine.heap(owner).unordered = False
    return NONE


def merge_dicts(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue | None:
    """Return ``left | right`` of two dicts, or None where they are not; its type and default are those of the left."""
    if symbol != "|" or not (isinstance(left, Reference) and isinstance(right, Reference)):
        return None
    first, second = machine.heap(left), machine.heap(right)
    if not (isinstance(first, DictObject) and isinstance(second, DictObject)):
        return None
    if collections.Counter in (first.type_, second.type_):
        return None  # the greater counts
    if first.type_ is not dict and second.type_ is not first.type_ and second.type_ is not dict:
        return None
    if first.type_ is dict and second.type_ is not dict:
        return None  # the subclass's own method comes first
    guard_structure(machine, first)
    guard_structure(machine, second)
    items = {**first.items, **second.items}
    return machine.state.allocate(DictObject(items=items, type_=first.type_, default_factory=first.default_factory))


operators.SET_BINARY.extend((combine, merge_dicts))
operators.COMBINE_IN_PLACE.append(combine_in_place)
