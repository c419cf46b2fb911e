"""Places: the paths by which a function reaches what lives outside it.

Owns the `Place` kinds. Invariant: a place can be read by Python (`Place.read`) and by compiled code to the very same
object, and prints as the user would write it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
        try:
            return MISSING if owner is MISSING else getattr(owner, self.name, MISSING)
        except ValueError:  # the contents of an empty cell
            if type(owner) is not types.CellType:
                raise
            return MISSING

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


@dataclass(frozen=True, eq=False)
class ItemPlace(Place):
    """``owner[key]`` of an exact list or tuple (``key`` an int) or dict (``key`` a hashable constant)."""

    owner: Place
    key: Any

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        if isinstance(owner, Mapping):
            return owner.get(self.key, MISSING)
        if isinstance(owner, (list, tuple)) and -len(owner) <= self.key < len(owner):
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


@dataclass(frozen=True, eq=False)
class PackedPlace(Place):
    """The items of an exact list, all of one type, as a new array; ``kind`` as `packing_kind` names it.

    With ``last``, only the last so many of them, or all where there are fewer.
    """

    owner: Place
    kind: str
    last: int | None = None

    def read(self, arguments: Sequence[Any]) -> Any:
        owner = self.owner.read(arguments)
        return MISSING if owner is MISSING else pack(owner, self.kind, self.last)

    def __str__(self) -> str:
        return f"{self.owner}[{'' if self.last is None else -self.last}:]"


#: the number types whose lists are packed, by name
_PACKED_TYPES: dict[str, type] = {
    "float": float,
    "int": int,
    "bool": bool,
    "numpy.f64": np.float64,
    "numpy.f32": np.float32,
}


def packing_kind(items: Sequence[Any]) -> str | None:
    """Return what all items are, if one array can hold them: a type of numbers, or ``"array"`` (of one type)."""
    found = set(map(type, items))
    if len(found) != 1:
        return None
    (type_,) = found
    if type_ is np.ndarray:
        layouts = {(item.dtype, item.shape) for item in items}
        plain = all(dtype.isnative and dtype.kind in "biuf" for dtype, _ in layouts)
        return "array" if len(layouts) == 1 and plain else None
    return next((name for name, candidate in _PACKED_TYPES.items() if candidate is type_), None)


def pack(items: Any, kind: str, last: int | None = None) -> Any:
    """Return the items of a list, or its last few, as an array; `MISSING` if they are not all of this kind."""
    items = items if last is None else items[-last:]
    if not items or packing_kind(items) != kind:
        return MISSING
    packed = np.array(items)
    return MISSING if packed.dtype.kind not in "biuf" or (kind == "int" and packed.dtype != np.int64) else packed
