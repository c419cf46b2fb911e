"""Places: the paths by which a function reaches what lives outside it.

Owns the `Place` kinds. Invariant: a place can be read by Python (`Place.read`) and by compiled code to the very same
object, and prints as the user would write it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class MissingType:
    """The type of `MISSING`, what reading a place gives when there is nothing there."""

    def __repr__(self) -> str:
        return "<missing>"


MISSING = MissingType()


@dataclass(frozen=True, eq=False)
class Place:
    """Base of all places. Compared by identity: capture makes one place object for one path."""

    def read(self, arguments: Sequence[Any]) -> Any:
        """Return the object now at this place, or `MISSING`; ``arguments`` are the call's, in parameter order."""
        raise TypeError(f"{type(self).__name__} cannot be read")


@dataclass(frozen=True, eq=False)
class ConstantPlace(Place):
    """An object known at capture and kept alive by the specialization (a module, a class, a function's globals)."""

    value: Any
    name: str

    def read(self, arguments: Sequence[Any]) -> Any:
        return self.value

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class ArgumentPlace(Place):
    """Parameter ``index`` of the jitted function (``*args`` arrives as one tuple, ``**kwargs`` as one dict)."""

    index: int
    name: str

    def read(self, arguments: Sequence[Any]) -> Any:
        return arguments[self.index]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class GlobalPlace(Place):
    """Name ``name`` in a module's namespace ``namespace`` (a dict, kept alive)."""

    namespace: dict[str, Any]
    name: str

    def read(self, arguments: Sequence[Any]) -> Any:
        return self.namespace.get(self.name, MISSING)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class CellPlace(Place):
    """The contents of a closure cell."""

    cell: types.CellType
    name: str

    def read(self, arguments: Sequence[Any]) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:  # an empty cell
            return MISSING

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class AttributePlace(Place):
    """``owner.name``, read by the generic attribute protocol (instance dict, slots, class)."""

    owner: Place
    name: str

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        return MISSING if owner is MISSING else getattr(owner, self.name, MISSING)

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


@dataclass(frozen=True, eq=False)
class ItemPlace(Place):
    """``owner[key]`` of an exact list, tuple (``key`` a non-negative int) or dict (``key`` a hashable constant)."""

    owner: Place
    key: Any

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        if isinstance(owner, Mapping):
            return owner.get(self.key, MISSING)
        if isinstance(owner, (list, tuple)) and self.key < len(owner):
            return owner[self.key]
        return MISSING

    def __str__(self) -> str:
        return f"{self.owner}[{self.key!r}]"


@dataclass(frozen=True, eq=False)
class LengthPlace(Place):
    """``len(owner)`` of an exact list, dict or set."""

    owner: Place

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        return MISSING if owner is MISSING else len(owner)

    def __str__(self) -> str:
        return f"len({self.owner})"


@dataclass(frozen=True, eq=False)
class MembershipPlace(Place):
    """``key in owner`` of an exact dict, set or frozenset; ``key`` is a hashable constant."""

    owner: Place
    key: Any

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        return MISSING if owner is MISSING else self.key in owner

    def __str__(self) -> str:
        return f"{self.key!r} in {self.owner}"
