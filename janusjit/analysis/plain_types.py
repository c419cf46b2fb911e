"""Classes whose instances keep attributes, or items, the ordinary way.

Owns `has_plain_attributes`, `computes_class` and `is_followed_tuple`. Invariant: what compiled code reads of such an
instance is what Python would read.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.guards import find_on_type

_PLAIN: dict[type, bool] = {}
#: what a class leaves to ``tuple``, or does not have, if its instances are tuples by their items
_OF_TUPLE = {
    name: find_on_type(tuple, name)
    for name in (
        *("__len__", "__getitem__", "__iter__", "__contains__", "__bool__", "__hash__"),
        *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__getattribute__", "__getattr__"),
        *("__array__", "__array_ufunc__", "__array_function__", "__array_interface__", "__array_struct__"),
    )
}


def has_plain_attributes(type_: type) -> bool:
    """Whether instances of a Python class keep attributes the ordinary way, so that compiled code can read them."""
    if type_ not in _PLAIN:
        _PLAIN[type_] = _is_plain(type_)
    return _PLAIN[type_] and find_on_type(type_, "__getattribute__") is object.__dict__["__getattribute__"]


def computes_class(type_: type) -> bool:
    """Whether asking an object for its ``__class__``, as ``isinstance`` does, runs code of the user's."""
    if find_on_type(type_, "__class__") is not object.__dict__["__class__"]:
        return True
    return isinstance(find_on_type(type_, "__getattribute__"), types.FunctionType)


def _is_plain(type_: type) -> bool:
    if type_.__flags__ & (1 << 9) == 0:  # Py_TPFLAGS_HEAPTYPE: made by a class statement
        return False
    plain = all(
        base is object or base.__flags__ & (1 << 9) or base.__module__ in ("abc", "typing", "contextlib")
        for base in type_.__mro__
    )
    return plain and (type_.__module__ != "numpy" or type_ is np.vectorize)  # the others wrap C objects


def is_followed_tuple(type_: type, look_up: Callable[[type, str], Any]) -> bool:
    """Whether instances are tuples or named tuples that are known by their items.

    Their class leaves length, items, iteration, truth, equality and order to ``tuple``; it may have operators.
    ``look_up`` finds a name on a class, as `find_on_type` does, and may note that what is found must stay.
    """
    if type_ is tuple:
        return True
    return hasattr(type_, "_fields") and all(look_up(type_, name) is wanted for name, wanted in _OF_TUPLE.items())
