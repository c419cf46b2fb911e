"""States as they were before a step.

Owns `Before`, which a state fills in while a step runs that may have to be taken back, `copied`, `field_names` and
`inner_fields`. Invariant: an object is copied before it is handed out the first time, so what is changed later is not
what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from janusjit.analysis.capture.state import HeapObject, State

Item = TypeVar("Item")
#: fields with objects of the program's, and with what was there when the call, or a loop, began
_OUTER_FIELDS = frozenset({"live", "namespace", "original", "given"})


@cache
def _field_names(type_: Any) -> tuple[str, ...]:
    return tuple(field_.name for field_ in fields(type_))


def field_names(item: Any) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, which `dataclasses.fields` goes through anew each time."""
    type_: Any = type(item)
    return _field_names(type_)


@cache
def _inner_names(type_: Any) -> tuple[str, ...]:
    return tuple(name for name in _field_names(type_) if name not in _OUTER_FIELDS)


def inner_fields(item: Any) -> tuple[str, ...]:
    """Return the names of the fields of an abstract value or heap object that hold nothing of the program's own."""
    type_: Any = type(item)
    return _inner_names(type_)


@cache
def _reader(type_: Any) -> Callable[[Any], tuple[Any, ...]]:
    names = _field_names(type_)
    if len(names) > 1:
        return attrgetter(*names)
    return lambda item: tuple(getattr(item, name) for name in names)


def copied(item: Item) -> Item:
    """Return ``copy.copy(item)`` of a dataclass, in a fraction of the time."""
    type_: Any = type(item)
    made: Item = type_(*_reader(type_)(item))
    return made


@dataclass(slots=True, eq=False)
class Before:
    """What a state was: all but the heap, and of that the objects that may have been changed since, None if missing."""

    owner: State
    rest: State
    heap: dict[int, HeapObject]
    outer: Before | None
    changed: dict[int, HeapObject | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Note no more: what has happened since stays."""
        self.owner.before = self.outer
        if self.outer is not None and self.outer.heap is self.heap:
            for index, item in self.changed.items():
                self.outer.changed.setdefault(index, item)

    def state(self) -> State:
        """Return the state there was, in place of the one that has been changed since."""
        self.owner.before = self.outer
        for index, item in self.changed.items():
            if item is None:
                self.heap.pop(index, None)
            else:
                self.heap[index] = item
        self.rest.heap, self.rest.before = self.heap, self.outer
        return self.rest
