"""What can be seen behind a loop.

Owns `is_visible`. Invariant: no part of what is visible is a graph value that was made in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from janusjit.analysis.capture.values import AbstractValue
from janusjit.ir.graph import Value


def is_visible(value: Any, hides: Callable[[Value], bool]) -> bool:
    """Whether nothing that a value is made of is among what ``hides`` says is hidden, but for the heap."""
    if isinstance(value, Value):
        return not hides(value)
    if isinstance(value, tuple):
        return all(is_visible(item, hides) for item in value)
    if isinstance(value, AbstractValue):
        return all(is_visible(getattr(value, field.name), hides) for field in fields(value))
    return True
