"""States that are the same but for names.

Owns `alike` and `Renaming`. Invariant: in states that are told to be alike, whatever can be reached from the one is the
same as what is reached from the other in the same way; only what numbers heap objects and Python objects, and graph
values that are given as the same, may differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.remembered import field_names, inner_fields
from janusjit.analysis.capture.sameness import same_constant
from janusjit.analysis.capture.state import Frame, HeapObject, Listed, Mirror, State
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, HostValue, Known, Poison, Reference
from janusjit.ir.graph import Value
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import PathStep

#: what is compared by its fields
_TAKEN_APART = (AbstractValue, HeapObject, Mirror)
#: what is compared by value; of anything else, which may be the program's, only whether it is the same object
_PLAIN = (bool, int, str, bytes, TensorType, PathStep)


class Renaming:
    """What is called otherwise in a second state than in a first one, each by one name only."""

    __slots__ = ("_back", "_there")

    def __init__(self) -> None:
        self._there: dict[Any, Any] = {}
        self._back: dict[Any, Any] = {}

    def pair(self, first: Any, second: Any) -> bool:
        """Let a name in the one state stand for a name in the other; False if one stands for something else."""
        there, back = self._there.setdefault(first, second), self._back.setdefault(second, first)
        return bool(there == second and back == first)

    def knows(self, first: Any) -> bool:
        """Whether it is known what a name of the first state is in the second."""
        return first in self._there

    def names(self, second: Any) -> bool:
        """Whether it is known what a name of the second state is in the first."""
        return second in self._back


def alike(first: State, second: State, same: Iterable[tuple[Value, Value]], guessed: Iterable[Poison] = ()) -> bool:
    """Whether two states of one control position are the same but for names.

    Parameters
    ----------
    first, second : State
        The states.
    same : iterable of pairs of Value
        Graph values of the first and the second state that are taken to be the same.
    guessed : iterable of Poison
        What must not be in both states.
    """
    comparison = _Comparison(first, second, {id(one) for one in guessed})
    return all(comparison.values.pair(*pair) for pair in same) and comparison.of_states()


class _Comparison:
    def __init__(self, first: State, second: State, guessed: set[int]) -> None:
        self._first, self._second, self._guessed = first, second, guessed
        self.values, self._objects, self._identities = Renaming(), Renaming(), Renaming()
        self._pending: list[tuple[int, int]] = []

    def of_states(self) -> bool:
        one, other = self._first, self._second
        if len(one.frames) != len(other.frames) or len(one.effects) != len(other.effects):
            return False
        if one.freed != other.freed or one.dims != other.dims or one.refined != other.refined:
            return False
        return (
            all(first is second for first, second in zip(one.effects, other.effects, strict=True))
            and all(map(self._frames, one.frames, other.frames))
            and self._same(one.returned, other.returned)
            and self._heaps()
        )

    def _frames(self, one: Frame, other: Frame) -> bool:
        if one.core is not other.core or len(one.blocks) != len(other.blocks):
            return False
        if any(a.block is not b.block or a.index != b.index for a, b in zip(one.blocks, other.blocks, strict=True)):
            return False
        if one.locals.keys() != other.locals.keys() or one.cells.keys() != other.cells.keys():
            return False
        return (
            all(self._same(value, other.locals[name]) for name, value in one.locals.items())
            and all(self._same(value, other.cells[name]) for name, value in one.cells.items())
            and self._same(one.instance, other.instance)
            and (one.generator is None) == (other.generator is None)
            and (one.generator is None or self._reach(one.generator, other.generator))
        )

    # ------------------------------------------------------------------ heaps

    def _reach(self, one: int, other: Any) -> bool:
        known = self._objects.knows(one)
        if (one < 0 or other < 0) and one != other:
            return False
        if not self._objects.pair(one, other):
            return False
        if not known:
            self._pending.append((one, other))
        return True

    def _heaps(self) -> bool:
        """Compare what can be reached, and then what only rules of capture hold, which know it by one index."""
        if not self._reached():
            return False
        for index in [*self._first.heap, *self._second.heap]:
            if self._objects.knows(index) or self._objects.names(index):
                continue
            if not self._reach(index, index) or not self._reached():
                return False
        return True

    def _reached(self) -> bool:
        while self._pending:
            one, other = self._pending.pop()
            pair = _item(self._first, one), _item(self._second, other)
            if pair[0] is None or pair[1] is None or not self._same(*pair):
                return False
        return True

    # ------------------------------------------------------------------ values

    def _same(self, one: Any, other: Any) -> bool:
        kind = type(one)  # isinstance would ask objects of the user's for their class
        if kind is not type(other):
            return False
        if issubclass(kind, Value):
            renamed = self.values.knows(one) or self.values.names(other)
            return self.values.pair(one, other) if renamed else one is other
        if kind is Known:
            return same_constant(one.value, other.value)
        if kind is Unread or kind is HostValue:
            return one is other or (kind is HostValue and one.place is other.place and one.value is other.value)
        if kind is Poison:
            return one.fork == other.fork and not (one is other and id(one) in self._guessed)
        if kind is Reference:
            return self._reach(one.index, other.index)
        if kind is Frame:
            return self._frames(one, other)
        if kind is Listed:
            owned = self._reach(one.owner, other.owner) and self._identities.pair(one.buffer, other.buffer)
            return owned and one.loop is other.loop and self._same(one.position, other.position)
        if kind is tuple or kind is list:
            return len(one) == len(other) and all(map(self._same, one, other))
        if kind is dict:
            if len(one) != len(other) or not all(map(self._same, one, other)):
                return False
            return all(map(self._same, one.values(), other.values()))
        if issubclass(kind, _TAKEN_APART):
            names = inner_fields(one)
            outer = all(getattr(one, name) is getattr(other, name) for name in field_names(one) if name not in names)
            return outer and all(self._same_field(name, one, other) for name in names)
        return one is other or (issubclass(kind, _PLAIN) and bool(one == other))

    def _same_field(self, name: str, one: Any, other: Any) -> bool:
        first, second = getattr(one, name), getattr(other, name)
        if name == "identity":
            return self._identities.pair(first, second)
        if name == "storage" and type(one) is ArrayValue:
            return self._reach(first, second)
        return self._same(first, second)


def _item(state: State, index: int) -> HeapObject | None:
    return state.heap.get(index) or state.templates.get(index)
