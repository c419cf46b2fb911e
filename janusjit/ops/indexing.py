"""Attribute values with structure: index items, paths of view steps, array constants.

Owns their classes and `evaluate_attributes`. Invariant: all are immutable and hash by value, so nodes that do the same
have equal attributes; a symbolic dimension may stand wherever an int may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Union

import numpy as np

from janusjit.ir.dims import Dim, DimExpr, Symbol


@dataclass(frozen=True, slots=True)
class Operand:
    """The value of extra input ``number`` of the node: an ``i64[]``, not negative and in bounds (guarded before)."""

    number: int

    def __str__(self) -> str:
        return f"operand{self.number}"


Start = Union[Dim, Operand]


@dataclass(frozen=True, slots=True)
class NewAxis:
    """A new dimension of length 1."""

    def __str__(self) -> str:
        return "newaxis"


@dataclass(frozen=True, slots=True)
class Pick:
    """One position of a dimension, which is dropped; ``0 <= start < size``."""

    start: Start

    def __str__(self) -> str:
        return str(self.start)


@dataclass(frozen=True, slots=True)
class Range:
    """``length`` positions of a dimension: ``start``, ``start + step``, …, all in bounds.

    ``step`` is not zero and may be negative. If ``length`` is 0, ``start`` means nothing.
    """

    start: Start
    length: Dim
    step: int = 1

    def __str__(self) -> str:
        return f"{self.start}:+{self.length}" + (f":{self.step}" if self.step != 1 else "")


IndexItem = Union[NewAxis, Pick, Range]


@dataclass(frozen=True, slots=True)
class PathStep:
    """One view operation (``view``, ``transpose`` or ``reshape``) on the way to the part an ``update`` sets.

    ``attributes`` are the operation's as sorted (name, value) pairs; ``extras`` is how many extra inputs it takes, from
    those left by the steps before.
    """

    op: str
    attributes: tuple[tuple[str, Any], ...]
    extras: int = 0

    @staticmethod
    def of(op: str, extras: int = 0, **attributes: Any) -> PathStep:
        """Return the step of an operation with these attributes."""
        return PathStep(op, tuple(sorted(attributes.items())), extras)


class FrozenArray:
    """An array constant: a private read-only copy that compares and hashes by dtype, shape and bytes."""

    __slots__ = ("_key", "value")

    def __init__(self, value: Any) -> None:
        self.value = np.array(value, order="C")
        self.value.setflags(write=False)
        self._key = (self.value.dtype.str, self.value.shape, self.value.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenArray) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"FrozenArray({self.value.tolist()}, {self.value.dtype.name})"


def numpy_index(index: Sequence[IndexItem], extras: Sequence[Any]) -> tuple[Any, ...]:
    """Return the NumPy basic index of ``index``, whose dimensions are ints, with the extra inputs' values filled in."""
    return tuple(_numpy_item(item, extras) for item in index)


def _numpy_item(item: IndexItem, extras: Sequence[Any]) -> Any:
    if isinstance(item, NewAxis):
        return np.newaxis
    start = int(extras[item.start.number] if isinstance(item.start, Operand) else item.start)  # type: ignore[arg-type]
    if isinstance(item, Pick):
        return start
    assert isinstance(item.length, int)
    if item.length == 0:
        return slice(0, 0)
    stop = start + item.length * item.step
    return slice(start, None if stop < 0 else stop, item.step)


def evaluate_attributes(value: Any, symbols: Mapping[Symbol, int]) -> Any:
    """Return ``value`` (attributes, or a part of them) with every symbolic dimension replaced by its int."""
    if isinstance(value, DimExpr):
        return value.evaluate(symbols)
    if isinstance(value, dict):
        return {key: evaluate_attributes(item, symbols) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(evaluate_attributes(item, symbols) for item in value)
    if isinstance(value, (Pick, Range, PathStep)):
        return type(value)(*(evaluate_attributes(getattr(value, f.name), symbols) for f in fields(value)))
    return value


def symbols_in(value: Any) -> frozenset[Symbol]:
    """Return every symbol that attributes (or a part of them) mention in dimensions."""
    if isinstance(value, DimExpr):
        return value.symbols()
    if isinstance(value, dict):
        return symbols_in(tuple(value.values()))
    if isinstance(value, tuple):
        return frozenset().union(*map(symbols_in, value))
    if is_dataclass(value) and isinstance(value, (Pick, Range, PathStep)):
        return symbols_in(tuple(getattr(value, f.name) for f in fields(value)))
    return frozenset()
