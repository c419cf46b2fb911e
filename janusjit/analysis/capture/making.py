"""What exits call to make objects.

Owns the functions of `CallBox` recipes. Invariant: none has an effect on anything but the object it is given to finish.
"""

from __future__ import annotations

import types
from typing import Any


def make_read_only(array: Any) -> Any:
    """Return an array that cannot be written to any more."""
    array.flags.writeable = False
    return array


def choose(is_outside: bool, outside: Any, made: Any) -> Any:
    """Return the array from outside, or the one made inside."""
    return outside if is_outside else made


def choose_item(position: int, items: Any, made: Any) -> Any:
    """Return the item of a list, or the array made inside that is none."""
    return made if position < 0 else items[position]


def make_function(code: Any, namespace: Any, name: Any, cells: Any, defaults: Any, keywords: Any) -> types.FunctionType:
    """Return a function of a code object, with its name, defaults and cells."""
    made = types.FunctionType(code, namespace, code.co_name, defaults, cells)
    made.__qualname__ = name
    if keywords:
        made.__kwdefaults__ = keywords
    return made
