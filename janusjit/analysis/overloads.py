"""Operators and properties of user-written classes, profiled.

Owns what a twin runs in place of ``a + b``, ``a < b``, ``-a``, ``a[k]`` and ``a.name`` when a class written by the user
overloads it: the dispatch of CPython's data model, with the user's method replaced by its twin. Invariant: only classes
whose bases are all written in Python are handled, so that no slot of a builtin type has a say; everything else is left
to the operator itself.
"""

from __future__ import annotations

import operator
from abc import ABCMeta
from collections.abc import Callable
from types import FunctionType, NoneType
from typing import Any

import numpy as np

_BINARY: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "+": ("add", operator.add),
    "-": ("sub", operator.sub),
    "*": ("mul", operator.mul),
    "/": ("truediv", operator.truediv),
    "//": ("floordiv", operator.floordiv),
    "%": ("mod", operator.mod),
    "**": ("pow", operator.pow),
    "@": ("matmul", operator.matmul),
    "&": ("and", operator.and_),
    "|": ("or", operator.or_),
    "^": ("xor", operator.xor),
    "<<": ("lshift", operator.lshift),
    ">>": ("rshift", operator.rshift),
}
_COMPARISON: dict[str, tuple[str, str, Callable[[Any, Any], Any]]] = {
    "==": ("__eq__", "__eq__", operator.eq),
    "!=": ("__ne__", "__ne__", operator.ne),
    "<": ("__lt__", "__gt__", operator.lt),
    "<=": ("__le__", "__ge__", operator.le),
    ">": ("__gt__", "__lt__", operator.gt),
    ">=": ("__ge__", "__le__", operator.ge),
}
_UNARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "u-": ("__neg__", operator.neg),
    "u+": ("__pos__", operator.pos),
    "~": ("__invert__", operator.invert),
}
#: the operators handled here
OPERATORS = frozenset([*_BINARY, *_COMPARISON, *_UNARY])

# Builtin operands whose own slots either refuse a foreign operand or can be asked by their reflected method.
_NUMBERS = (int, float, complex, NoneType, np.ndarray, np.generic)
_MISSING: Any = object()
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


class Overloads:
    """The overloaded operators of one profile.

    Parameters
    ----------
    twin : callable
        Gives the twin of a function, or the function itself.
    is_user : callable
        Whether a function was written by the user.

    Attributes
    ----------
    asked : int
        How many times it was asked whether something is overloaded.
    """

    def __init__(
        self, twin: Callable[[FunctionType], Callable[..., Any]], is_user: Callable[[FunctionType], bool]
    ) -> None:
        self.twin = twin
        self.is_user = is_user
        self.known: dict[type, bool] = {}
        self.asked = 0

    def overloaded(self, left: Any, right: Any = None) -> bool:
        """Whether an operator on these operands is to be dispatched here."""
        self.asked += 1
        known = self.known
        first, second = type(left), type(right)
        one = known[first] if first in known else self._classify(first)
        other = known[second] if second in known else self._classify(second)
        return (one and (other or issubclass(second, _NUMBERS))) or (other and issubclass(first, _NUMBERS))

    def _classify(self, kind: type) -> bool:
        """Whether a class and its bases, ``object`` apart, are ordinary classes with methods written by the user."""
        bases = kind.__mro__[:-1]
        ordinary = all(type(base) in (type, ABCMeta) and base.__flags__ & _HEAP_TYPE for base in bases)
        values = (value for base in bases for value in vars(base).values()) if ordinary else ()
        self.known[kind] = any(type(value) in (FunctionType, property) for value in values)
        return self.known[kind]

    def _method(self, kind: type, name: str) -> Any:
        """Return the method of a class (its twin if the user wrote it), None where it says None, or `_MISSING`."""
        found = _lookup(kind, name)
        if type(found) is FunctionType:
            return self.twin(found) if self.is_user(found) else found
        if found is _MISSING or found is None:
            return found
        getter = getattr(type(found), "__get__", None)
        return lambda owner, *others: (found if getter is None else getter(found, owner, kind))(*others)

    def operate(self, symbol: str, left: Any, right: Any = None) -> Any:
        """Return ``left symbol right``, or ``symbol left`` for a unary operator."""
        if symbol in _UNARY:
            name, plain = _UNARY[symbol]
            method = self._method(type(left), name)
            return plain(left) if method is _MISSING or method is None else method(left)
        if symbol in _COMPARISON:
            return self._compare(symbol, left, right)
        name, plain_binary = _BINARY[symbol]
        if self._is_unusual(name, left, right):
            return plain_binary(left, right)
        return self._binary(name, symbol, left, right)

    def in_place(self, symbol: str, left: Any, right: Any) -> Any:
        """Return what ``left symbol= right`` binds."""
        name, _ = _BINARY[symbol]
        if self._is_unusual(name, left, right) or _lookup(type(left), f"__i{name}__") is None:
            return getattr(operator, f"i{name}")(left, right)
        method = self._method(type(left), f"__i{name}__")
        if method is not _MISSING:
            result = method(left, right)
            if result is not NotImplemented:
                return result
        return self._binary(name, symbol + "=", left, right)

    def _is_unusual(self, name: str, left: Any, right: Any) -> bool:
        """Whether a class says None for a method, which has rules of its own."""
        pairs = ((type(left), f"__{name}__"), (type(right), f"__r{name}__"), (type(left), f"__r{name}__"))
        return any(_lookup(kind, method) is None for kind, method in pairs)

    def _binary(self, name: str, symbol: str, left: Any, right: Any) -> Any:
        """Dispatch a binary operator (``binary_op1`` and ``SLOT1BINFULL`` of CPython)."""
        forward, reflected = f"__{name}__", f"__r{name}__"
        first, second = type(left), type(right)
        ask_right = first is not second
        if ask_right and first in second.__mro__ and _lookup(second, reflected) is not _lookup(first, reflected):
            result = self._ask(second, reflected, right, left)
            if result is not NotImplemented:
                return result
            ask_right = False
        result = self._ask(first, forward, left, right)
        if result is NotImplemented and ask_right:
            result = self._ask(second, reflected, right, left)
        if result is NotImplemented:
            shown = "** or pow()" if symbol == "**" else symbol
            kinds = f"{first.__name__!r} and {second.__name__!r}"
            raise TypeError(f"unsupported operand type(s) for {shown}: {kinds}")
        return result

    def _compare(self, symbol: str, left: Any, right: Any) -> Any:
        """Dispatch a comparison (``do_richcompare`` of CPython)."""
        forward, reflected, plain = _COMPARISON[symbol]
        first, second = type(left), type(right)
        if _lookup(first, forward) is None or _lookup(second, reflected) is None:
            return plain(left, right)
        ask_right = True
        if first is not second and first in second.__mro__:
            ask_right = False
            result = self._ask(second, reflected, right, left)
            if result is not NotImplemented:
                return result
        result = self._ask(first, forward, left, right)
        if result is NotImplemented and ask_right:
            result = self._ask(second, reflected, right, left)
        if result is not NotImplemented:
            return result
        if symbol in ("==", "!="):
            return (left is right) == (symbol == "==")
        kinds = f"{first.__name__!r} and {second.__name__!r}"
        raise TypeError(f"{symbol!r} not supported between instances of {kinds}")

    def _ask(self, kind: type, name: str, owner: Any, other: Any) -> Any:
        method = self._method(kind, name)
        return NotImplemented if method is _MISSING else method(owner, other)

    def has_item(self, owner: Any, key: Any) -> bool:
        """Whether ``owner[key]`` runs a method the user wrote."""
        self.asked += 1
        kind = type(owner)
        if not (self.known[kind] if kind in self.known else self._classify(kind)):
            return False
        return type(_lookup(kind, "__getitem__")) is FunctionType

    def item(self, owner: Any, key: Any) -> Any:
        """Return ``owner[key]``."""
        return self._method(type(owner), "__getitem__")(owner, key)

    def has_property(self, owner: Any, name: str) -> bool:
        """Whether ``owner.name`` runs a property the user wrote, and nothing else."""
        self.asked += 1
        kind = type(owner)
        if not (self.known[kind] if kind in self.known else self._classify(kind)):
            return False
        found = _lookup(kind, name)
        if type(found) is not property or type(found.fget) is not FunctionType:
            return False
        plain = _lookup(kind, "__getattribute__") is object.__getattribute__
        return plain and _lookup(kind, "__getattr__") is _MISSING

    def property(self, owner: Any, name: str) -> Any:
        """Return ``owner.name`` of a property."""
        getter = _lookup(type(owner), name).fget
        return (self.twin(getter) if self.is_user(getter) else getter)(owner)


def _lookup(kind: type, name: str) -> Any:
    """Find an attribute as special methods are found: on the class, not through its metaclass or instance."""
    for base in kind.__mro__:
        found = vars(base).get(name, _MISSING)
        if found is not _MISSING:
            return found
    return _MISSING
