"""Classes whose instances keep attributes the ordinary way.

Owns `has_plain_attributes`. Invariant: what compiled code reads of such an instance is what Python would read.
"""

from __future__ import annotations

import numpy as np

from janusjit.ir.guards import find_on_type

_PLAIN: dict[type, bool] = {}


def has_plain_attributes(type_: type) -> bool:
    """Whether instances of a Python class keep attributes the ordinary way, so that compiled code can read them."""
    if type_ not in _PLAIN:
        _PLAIN[type_] = _is_plain(type_)
    return _PLAIN[type_] and find_on_type(type_, "__getattribute__") is object.__dict__["__getattribute__"]


def _is_plain(type_: type) -> bool:
    if type_.__flags__ & (1 << 9) == 0:  # Py_TPFLAGS_HEAPTYPE: made by a class statement
        return False
    plain = all(
        base is object or base.__flags__ & (1 << 9) or base.__module__ in ("abc", "typing", "contextlib")
        for base in type_.__mro__
    )
    return plain and (type_.__module__ != "numpy" or type_ is np.vectorize)  # the others wrap C objects
