"""Boxes and effects: how an exit of a graph becomes Python objects again.

Owns the recipes an exit node carries: `Box` trees describe the objects to make, `Effect`s the writes to commit.
``Operand`` numbers index the exit node's inputs. Invariant: every box with the same non-negative ``key`` is one Python
object: it is made once per exit and shared, so identity is what eager would have made it.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

from janusjit.ir.places import Place


@dataclass(frozen=True)
class Box:
    """Base of the recipes."""


@dataclass(frozen=True, eq=False)
class ConstantBox(Box):
    """An object known at capture (kept alive by the specialization)."""

    value: Any


@dataclass(frozen=True, eq=False)
class ChoiceBox(Box):
    """One of several objects known at capture: the one at the position that an integer operand gives."""

    operand: int
    objects: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class EitherBox(Box):
    """What one of several recipes makes: the one whose number an integer operand has. Only that one is made."""

    operand: int
    options: tuple[tuple[int, Box], ...]


@dataclass(frozen=True, eq=False)
class PlaceBox(Box):
    """The very object found at a place at entry: a returned argument is that argument."""

    place: Place


@dataclass(frozen=True, eq=False)
class ScalarBox(Box):
    """A 0-d operand as a scalar of ``kind``: ``"int"``, ``"float"``, ``"bool"``, or a NumPy scalar ``"numpy.f64"``.

    ``"object"``: the operand is the address of an object that was made inside, and it is that object.
    """

    operand: int
    kind: str


@dataclass(frozen=True, eq=False)
class ArrayBox(Box):
    """A fresh ndarray that owns the operand's value (never memory of the arena or of an earlier result).

    Its elements lie without gaps, the axes in the ``order`` given, from the one that steps furthest; in C order if none
    is given.
    """

    operand: int
    key: int = -1
    order: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class ViewBox(Box):
    """An ndarray that is a view: of ``base`` (an `ArrayBox` or `PlaceBox`), shaped as ``operand``.

    The operand is produced from the base's own value by view operations only (``view``, ``transpose``, ``reshape``,
    ``broadcast``), so its pointer and strides tell where in the base's memory it lies.
    """

    operand: int
    base: Box
    key: int = -1


@dataclass(frozen=True, eq=False)
class SequenceBox(Box):
    """A new ``tuple``, ``list``, ``set`` or ``frozenset`` (``type_``) of items."""

    type_: type
    items: tuple[Box, ...]
    key: int = -1


@dataclass(frozen=True, eq=False)
class DictBox(Box):
    """A new dict, items in insertion order."""

    items: tuple[tuple[Box, Box], ...]
    key: int = -1


@dataclass(frozen=True, eq=False)
class ObjectBox(Box):
    """A new instance of ``type_``: ``type_.__new__(type_)``, then its attributes set with ``object.__setattr__``."""

    type_: type
    attributes: tuple[tuple[str, Box], ...]
    key: int = -1


@dataclass(frozen=True, eq=False)
class CallBox(Box):
    """What a trusted, side-effect-free callable makes of boxed arguments (a slice, a namedtuple, a closure)."""

    function: Callable[..., Any]
    arguments: tuple[Box, ...]
    key: int = -1


@dataclass(frozen=True)
class Effect:
    """Base of the writes an exit commits, in program order, after its last guard and after all boxes are made."""


@dataclass(frozen=True, eq=False)
class SetAttribute(Effect):
    """``setattr(owner, name, value)``."""

    owner: Box
    name: str
    value: Box


@dataclass(frozen=True, eq=False)
class DeleteAttribute(Effect):
    """``delattr(owner, name)``."""

    owner: Box
    name: str


@dataclass(frozen=True, eq=False)
class SetItem(Effect):
    """``owner[key] = value`` on an exact dict or list."""

    owner: Box
    key: Box
    value: Box


@dataclass(frozen=True, eq=False)
class DeleteItem(Effect):
    """``del owner[key]`` on an exact dict."""

    owner: Box
    key: Box


@dataclass(frozen=True, eq=False)
class ListAppend(Effect):
    """``owner.append(value)`` on an exact list."""

    owner: Box
    value: Box


@dataclass(frozen=True, eq=False)
class ReplaceContents(Effect):
    """``owner[:] = items`` on an exact list; ``clear`` and ``update`` on an exact set."""

    owner: Box
    items: tuple[Box, ...]


@dataclass(frozen=True, eq=False)
class SetGlobal(Effect):
    """``namespace[name] = value``."""

    namespace: dict[str, Any]
    name: str
    value: Box


@dataclass(frozen=True, eq=False)
class DeleteGlobal(Effect):
    """``del namespace[name]``."""

    namespace: dict[str, Any]
    name: str


@dataclass(frozen=True, eq=False)
class SetCell(Effect):
    """Set the contents of a closure cell."""

    cell: types.CellType
    value: Box


@dataclass(frozen=True, eq=False)
class WriteArray(Effect):
    """The array at ``place`` ends with the value of ``operand`` (same type; its final version).

    The operand stems from the place's own input by ``update`` nodes. The backend makes the updates in the caller's
    memory where no guard can fail after the first of them, and otherwise in a copy that this effect writes back.
    """

    place: Place
    operand: int


@dataclass(frozen=True, eq=False)
class CallFunction(Effect):
    """A deferred call for its effect (``print``): ``function(*arguments, **keywords)``, its result dropped."""

    function: Box
    arguments: tuple[Box, ...]
    keywords: tuple[tuple[str, Box], ...] = ()


class PythonPoint:
    """What an exit returns for Python to go on from: an object of which code knows `takes_exceptions`, and no more."""

    __slots__ = ()

    @property
    def takes_exceptions(self) -> bool:
        """Whether Python can go on from here by raising, and something of the user's handles exceptions there."""
        return False


IdentityBox = Union[ArrayBox, ViewBox, SequenceBox, DictBox, ObjectBox, CallBox]


@dataclass(frozen=True, eq=False)
class ExitRecipe:
    """What an exit does: commit ``effects`` in order, then return ``result``."""

    result: Box
    effects: tuple[Effect, ...] = ()
