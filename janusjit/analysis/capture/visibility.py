"""What values are made of, as joins of control paths look at it.

Owns `is_visible` and `referred`. Invariant: no part of what is visible behind a loop is a graph value that was made in
the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.remembered import field_names
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known, Poison, Reference, Scalar
from janusjit.ir.graph import Value

#: what holds an object of the program, which may be a long list, and nothing of the graph
_FROM_OUTSIDE = (Known, Unread)
#: what refers to no heap object
_WITHOUT_REFERENCES = (*_FROM_OUTSIDE, Poison, Scalar)


def is_visible(value: Any, hides: Callable[[Value], bool]) -> bool:
    """Whether nothing that a value is made of is among what ``hides`` says is hidden, but for the heap."""
    kind = type(value)  # isinstance would ask objects of the user's for their class
    if issubclass(kind, Value):
        return not hides(value)
    if issubclass(kind, _FROM_OUTSIDE):
        return True
    if issubclass(kind, tuple):
        return all(is_visible(item, hides) for item in value)
    if issubclass(kind, AbstractValue):
        return all(is_visible(getattr(value, name), hides) for name in field_names(value))
    return True


def referred(value: Any) -> Iterator[int]:
    """Yield the heap objects that a value refers to."""
    kind = type(value)
    if kind is Reference:
        yield value.index
    elif kind is ArrayValue:
        yield value.storage
    elif issubclass(kind, tuple):
        for item in value:
            yield from referred(item)
    elif issubclass(kind, AbstractValue) and not issubclass(kind, _WITHOUT_REFERENCES):
        for name in field_names(value):
            yield from referred(getattr(value, name))
