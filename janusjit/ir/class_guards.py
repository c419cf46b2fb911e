"""Guards on classes.

Owns `ClassAttributeIs` and `ClassOrderIs`. Invariant: they are of the class itself, so one of a kind does for all
instances that a call meets, those it makes included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from janusjit.ir.guards import EntryGuard, SymbolValues, find_on_type, summary

_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8


def is_changeable(type_: type) -> bool:
    """Whether attributes of a class or of one of its bases can be set, or it can be given other bases."""
    return any(base.__flags__ & _HEAP_TYPE and not base.__flags__ & _IMMUTABLE_TYPE for base in type_.__mro__)


@dataclass(frozen=True, eq=False)
class ClassAttributeIs(EntryGuard):
    """Looking ``name`` up on a class along its MRO finds this very object (or nothing: `MISSING`)."""

    code: ClassVar[str] = "python.class_attribute"
    class_: type
    name: str
    value: Any

    @property
    def subject(self) -> str:
        return f"{self.class_.__qualname__}.{self.name}"

    @property
    def expected(self) -> str:
        return summary(self.value)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        found = find_on_type(self.class_, self.name)
        return found is self.value, summary(found)


@dataclass(frozen=True, eq=False)
class ClassOrderIs(EntryGuard):
    """The MRO of a class is this very tuple."""

    code: ClassVar[str] = "python.class_order"
    class_: type
    order: tuple[type, ...]

    @property
    def subject(self) -> str:
        return f"{self.class_.__qualname__}.__mro__"

    @property
    def expected(self) -> str:
        return summary(self.order)

    def check(self, arguments: Sequence[Any], symbols: SymbolValues) -> tuple[bool, str]:
        return self.class_.__mro__ is self.order, summary(self.class_.__mro__)
