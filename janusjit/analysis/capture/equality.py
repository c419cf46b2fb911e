"""Equality of containers and constants.

Owns `equal`. Invariant: False is only answered where the types tell that Python answers it; a comparison that neither
they nor the items decide is left to an operator rule, or to Python.
"""

from __future__ import annotations

import collections
import operator
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import is_number, is_python_number
from janusjit.analysis.capture.identity import identical, is_one_nan
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import deferred_used, guard_structure
from janusjit.analysis.capture.python_types import python_type, special_method
from janusjit.analysis.capture.state import DictObject, ListObject
from janusjit.analysis.capture.values import (
    FALSE,
    TRUE,
    AbstractValue,
    AddressValue,
    ArrayValue,
    Deferred,
    HostValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.ir.graph import Value
from janusjit.ir.guards import find_on_type


def equal(machine: Machine, left: AbstractValue, right: AbstractValue) -> AbstractValue | None:
    """Return ``left == right`` of containers and constants, or None where an operator rule must decide."""
    if isinstance(left, Known) and isinstance(right, Known):
        own = any(special_method(machine, value, "__eq__") is not None for value in (left, right))
        return None if own else Known(left.value == right.value)
    if isinstance(left, AddressValue) and isinstance(right, AddressValue):
        return Known(identical(machine, left.owner, right.owner))
    if isinstance(left, Deferred) or isinstance(right, Deferred):
        raise deferred_used(machine)
    if is_number(left) and is_number(right):
        return None
    if isinstance(left, ArrayValue) or isinstance(right, ArrayValue):
        return None
    first, second = _items(machine, left), _items(machine, right)
    if first is not None and second is not None:
        if not _compare_as_one(machine, left, right) or len(first) != len(second):
            return FALSE
        return _all_equal(machine, first, second)
    if isinstance(left, Reference) and isinstance(right, Reference) and left.index == right.index:
        return TRUE
    if isinstance(left, RangeValue) and isinstance(right, RangeValue):
        ranges = (TupleValue((r.start, r.stop, r.step)) for r in (left, right))
        return Known(operator.eq(*(range(*machine.constant(r, "range")) for r in ranges)))
    tables = _tables(machine, left, right)
    if tables is not None:
        keys, other_keys = (table.keys() for table in tables)
        if keys != other_keys:
            return FALSE
        return _all_equal(machine, list(tables[0].values()), [tables[1][key] for key in keys])
    if isinstance(left, Known) or isinstance(right, Known):
        constant_, other = (left, right) if isinstance(left, Known) else (right, left)
        if type(constant_.value) in _EQUAL_TO_THEIR_KIND and not isinstance(other, HostValue):  # type: ignore[attr-defined]
            return FALSE if special_method(machine, other, "__eq__") is None else None
    return None


def _compare_as_one(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Whether two sequences are of types that compare item by item: both lists, both deques, both tuples.

    Raises
    ------
    CaptureFailure
        If one is a tuple with its own equality.
    """
    types_ = [python_type(machine, value) for value in (left, right)]
    if all(type_ is not None and issubclass(type_, tuple) for type_ in types_):
        own = find_on_type(tuple, "__eq__")
        if any(machine.externals.on_type(type_, "__eq__") is not own for type_ in types_ if type_ is not None):
            raise machine.unsupported("python.equality", "==", "a tuple's class defines its own equality")
        return True
    return types_[0] is types_[1]


def _tables(
    machine: Machine, left: AbstractValue, right: AbstractValue
) -> tuple[dict[Any, AbstractValue], dict[Any, AbstractValue]] | None:
    """Return the contents of two dicts that are equal if their items are."""
    if not (isinstance(left, Reference) and isinstance(right, Reference)):
        return None
    first, second = machine.heap(left), machine.heap(right)
    if not (isinstance(first, DictObject) and isinstance(second, DictObject)) or left.index == right.index:
        return None
    if any(item.type_ is collections.Counter for item in (first, second)):
        return None  # a count that is missing is 0
    if all(item.type_ is collections.OrderedDict for item in (first, second)):
        return None  # the order counts
    guard_structure(machine, first)
    guard_structure(machine, second)
    return first.items, second.items


#: types whose objects equal none of another type that does not say so itself
_EQUAL_TO_THEIR_KIND = frozenset(
    {
        *(str, bytes, bool, int, float, type),
        *map(type, (None, Ellipsis, np._NoValue, np.sum, len, lambda: 0)),
    }
)


def _all_equal(machine: Machine, first: list[AbstractValue], second: list[AbstractValue]) -> AbstractValue | None:
    found: Value | None = None
    for a, b in zip(first, second, strict=True):
        a, b = machine.resolve(a), machine.resolve(b)
        if a is b or is_one_nan(machine, a, b):  # an object equals itself in a container, even NaN
            continue
        both_python = is_python_number(a) and is_python_number(b)
        same = numbers.compare(machine, "==", a, b) if both_python else equal(machine, a, b)
        if isinstance(same, Known):
            if not same.value:
                return FALSE
        elif isinstance(same, Scalar):
            found = same.value if found is None else machine.emit("logical_and", found, same.value)
        else:
            raise machine.unsupported("python.equality", "==", "items of these kinds are compared")
    return TRUE if found is None else Scalar(found, "bool")


def _items(machine: Machine, value: AbstractValue) -> list[AbstractValue] | None:
    if isinstance(value, TupleValue):
        return list(value.items)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject):
            guard_structure(machine, item)
            return list(item.items)
    return None
