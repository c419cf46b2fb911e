"""What loops of the graph were found to carry, as a guess at what they carry when they are met again.

Owns `SettledLoops`. A loop that stands in another is captured anew in each round of the search for what the outer one
carries, and would search as long each time: so loops nested in each other would be captured as many times as a power
of their depth tells. Invariant: a guess is a state that is joined with the one before the loop, as if a turn had ended
in it; what comes of that join is only believed if the turns that then are captured give one that is alike
(`janusjit.analysis.capture.alike_states`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture.alike_states import alike
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.liveness import bound_in, live_names
from janusjit.analysis.capture.remembered import inner_fields
from janusjit.analysis.capture.sameness import number_kind
from janusjit.analysis.capture.state import Frame, GrownList, HeapObject, Listed, Mirror, State
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    DictView,
    EitherValue,
    HostValue,
    Known,
    MethodValue,
    ObjectsValue,
    Poison,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
)
from janusjit.ir.graph import Value

if TYPE_CHECKING:
    from janusjit.analysis.capture.merge import Merger
    from janusjit.analysis.core import Instruction

#: states in which a loop is remembered
_REMEMBERED = 4
#: what holds an object of the program's
_OPAQUE = (HostValue, Unread)
_MISSING = (type(None), Poison)
#: what consists of values and data that can be taken over from one state to another
_TAKEN_OVER = (Scalar, EitherValue, TupleValue, MethodValue, BuiltinMethod, SliceValue, RangeValue, ObjectsValue)
_TAKEN_OVER_ALSO = (ArrayValue, DictView, Listed, Mirror)


class _NoGuess(Exception):
    """What a loop carried cannot be told in terms of another state."""


@dataclass(slots=True)
class Header:
    """What a loop is taken to carry: the state in which its turns begin, and what of it are the region's parameters."""

    state: State
    parameters: tuple[Value, ...] = ()
    shape: list[Any] = field(default_factory=list)

    @staticmethod
    def of(merger: Merger) -> Header:
        """Return what joined paths leave."""
        merged = merger.merge()
        shape: list[Any] = [(slot.location, slot.result.type) for slot in merger.slots]
        return Header(merged, tuple(slot.result for slot in merger.slots), shape + merger.poisoned + merger.kinds)


@dataclass(slots=True)
class Guess:
    """A state that the turns of a loop may end in, and what it has that no path has left: `Poison` of joins."""

    state: State
    poison: list[Poison] = field(default_factory=list)


def holds(found: Header, guessed: Header, merger: Merger, guess: Guess) -> bool:
    """Whether turns that began as guessed give what was guessed, and nothing is carried for the guess alone."""
    if [value.type for value in found.parameters] != [value.type for value in guessed.parameters]:
        return False
    together = list(zip(guessed.parameters, found.parameters, strict=True))
    for slot, parameter in zip(merger.slots, guessed.parameters, strict=True):
        if all(value is parameter for value in slot.values[1:]):
            return False
    return alike(guessed.state, found.state, together, guess.poison)


@dataclass(slots=True)
class _Met:
    """A loop as it was met: the state before it, and the one in which its turns began, as it settled.

    None for the latter: it did not, since a variable was of its final kind only after a turn. ``growths`` is what lists
    were given buffers for, and ``entry`` the state before the loop once they had them.
    """

    before: State
    header: State | None
    growths: Mapping[int, Any]
    entry: State


@dataclass(slots=True)
class Recalled:
    """A loop that was met before, in a state that it is met in now; ``growths`` are in terms of that state.

    ``peels``: a turn has to be peeled off it.
    """

    peels: bool
    growths: dict[int, Any]
    _met: _Met

    def guess(self, entry: State) -> Guess | None:
        """Return the guess, given the state before the loop once lists have buffers; None if nothing tells."""
        transfer = _Transfer(self._met.entry, entry)
        transfer.pair_states()
        return transfer.guess(self._met.header)


class SettledLoops:
    """The loops that a capture has met, as they were met last."""

    def __init__(self) -> None:
        self._met: dict[Any, list[_Met]] = {}
        self._bound: dict[Instruction, frozenset[str]] = {}

    def note(
        self,
        instruction: Instruction,
        attempt: int,
        before: State,
        header: State | None,
        growths: Mapping[int, Any] | None = None,
        entry: State | None = None,
    ) -> None:
        """Note what a loop carries, or that a turn of it has to be peeled off; no state is changed any more."""
        met = self._met.setdefault(_key(instruction, attempt, before), [])
        met.insert(0, _Met(before, header, growths or {}, entry or before))
        del met[_REMEMBERED:]

    def recall(self, instruction: Instruction, attempt: int, before: State) -> Recalled | None:
        """Return what a loop did when it was met in a state with values of the same kinds; None if nothing tells."""
        all_met = self._met.get(_key(instruction, attempt, before), ())
        if all_met and instruction not in self._bound:
            self._bound[instruction] = bound_in(instruction)
        for met in all_met:
            transfer = _Transfer(met.before, before)
            alike_objects = transfer.pair_states()
            fits = transfer.fits(self._bound[instruction]) and all(map(transfer.is_filled_alike, met.growths))
            if fits and (alike_objects or met.header is not None):  # a turn too many would be one for nothing
                growths = {transfer.objects.get(index, index): growth for index, growth in met.growths.items()}
                return Recalled(met.header is None, growths, met)
        return None


def _key(instruction: Instruction, attempt: int, state: State) -> Any:
    return (instruction, attempt, state.frames[-1].core)


class _Transfer:
    """Tells what a loop did to one state in terms of another: what it left as it was is as it is there."""

    def __init__(self, old: State, new: State) -> None:
        self._old, self._new = old, new
        self.objects: dict[int, int] = {}
        self._values: dict[Value, Value] = {}
        self._stand_ins: dict[Value, Value] = {}
        self._unpaired: list[tuple[int, int]] = []
        self._untold: list[HeapObject] = []

    def pair_states(self) -> bool:
        """Learn what of the old state is what in the new one; tell whether objects are of the same kinds."""
        self._pair_frames(self._old.frames[-1], self._new.frames[-1])
        same = True
        while self._unpaired:  # which may be as many as there are nodes of a linked list
            old_index, new_index = self._unpaired.pop()
            same &= self._pair(_item(self._old, old_index), _item(self._new, new_index))
        return same

    def fits(self, bound: frozenset[str]) -> bool:
        """Whether names that are bound have values of the same kinds in both states."""
        old, new, live = self._old.frames[-1].locals, self._new.frames[-1].locals, live_names(self._old.frames[-1])
        return all(self._pair(old.get(name), new.get(name)) for name in (bound if live is None else bound & live))

    def is_filled_alike(self, index: int) -> bool:
        """Whether a list is one in both states, or has a buffer that the same loop fills."""
        old, new = _item(self._old, index), _item(self._new, self.objects.get(index, index))
        if isinstance(old, GrownList) and isinstance(new, GrownList):
            return old.filling is new.filling
        return type(old) is type(new)

    def guess(self, header: State | None) -> Guess | None:
        """Return the guess; None if what the loop carried cannot be told in terms of the state."""
        if header is None:
            return None
        self._header, self._result = header, Guess(made := self._new.fork())
        try:
            frame = made.frames[-1]  # no other frame's variables are bound by the loop
            frame.locals = self._named(self._old.frames[-1].locals, header.frames[-1].locals, frame.locals)
            for index in [*header.heap]:
                before = _item(self._old, index)
                there = self.objects.get(index, index if index < 0 else None)
                if before is not None and there is not None:
                    made.heap[there] = self._changed(before, header.heap[index], made.at(there))
            while self._untold:
                item = self._untold.pop()
                for name in inner_fields(item):
                    setattr(item, name, self._told(getattr(item, name)))
        except _NoGuess:
            return None
        return self._result

    # ------------------------------------------------------------------ what is what in the other state

    def _pair_frames(self, old: Frame, new: Frame) -> None:
        for name in old.locals.keys() & new.locals.keys():
            self._pair(old.locals[name], new.locals[name])
        for name in old.cells.keys() & new.cells.keys():
            self._pair(old.cells[name], new.cells[name])
        self._pair(old.instance, new.instance)

    def _pair(self, old: Any, new: Any) -> bool:
        """Note what is what in two values; False if they are of different kinds."""
        kind = type(old)
        if kind in _MISSING or type(new) in _MISSING:
            return kind in _MISSING and type(new) in _MISSING
        if kind in (Known, Scalar):
            if kind is type(new) is Scalar:
                self._values.setdefault(old.value, new.value)
            return number_kind(old) == number_kind(new)
        if kind is not type(new):
            return False
        if issubclass(kind, Value):
            self._values.setdefault(old, new)
            return bool(old.type == new.type)
        if kind is Reference:
            return self._pair_objects(old.index, new.index)
        if kind is ArrayValue:
            if old.type != new.type or len(old.operands) != len(new.operands):
                return False
            return self._pair_objects(old.storage, new.storage) and self._pair(old.operands, new.operands)
        if kind is tuple or kind is list:
            return len(old) == len(new) and all(map(self._pair, old, new))
        if kind is dict:
            return all(self._pair(value, new[key]) for key, value in old.items() if key in new)
        if kind is Frame:
            self._pair_frames(old, new)
        if issubclass(kind, AbstractValue | HeapObject) and kind not in _OPAQUE:
            return all(self._pair(getattr(old, name), getattr(new, name)) for name in inner_fields(old))
        return True

    def _pair_objects(self, old: int, new: int) -> bool:
        if old in self.objects:
            return self.objects[old] == new
        self.objects[old] = new
        self._unpaired.append((old, new))
        return True

    # ------------------------------------------------------------------ what the loop did

    def _changed(self, old: Any, header: Any, new: Any) -> Any:
        """Return what the loop makes of ``new``, given what it made of ``old``."""
        if _is_unchanged(old, header):
            return new
        kind = type(header)
        if kind is type(old) is type(new):
            if issubclass(kind, HeapObject):
                new, written = new.copy(), header.written or new.written
                for name in inner_fields(header):
                    setattr(new, name, self._changed(*(getattr(item, name) for item in (old, header, new))))
                new.written = written
                return new
            if kind is Value and old.type == header.type:  # sizes may have other names now
                return self._stand_ins.setdefault(header, Value(new.type))
            if kind is TupleValue and len(old.items) == len(header.items) == len(new.items):
                return replace(header, items=self._changed(old.items, header.items, new.items))
            if kind in (tuple, list) and len(old) == len(header) == len(new):
                return kind(self._changed(*items) for items in zip(old, header, new, strict=True))
            if kind is dict:
                return self._named(old, header, new)
        return self._told(header)

    def _named(self, old: dict[Any, Any], header: dict[Any, Any], new: dict[Any, Any]) -> dict[Any, Any]:
        """Return what the loop makes of what has names; a name that it knew no more is kept."""
        made = dict(new)
        for name, value in header.items():
            if name in old and name in new:
                made[name] = self._changed(old[name], value, new[name])
            elif name not in old or not _is_unchanged(old[name], value):
                made[name] = self._told(value)
        return made

    def _told(self, value: Any) -> Any:
        """Return something of the old state in terms of the new one."""
        kind = type(value)
        if issubclass(kind, Value):
            return self._values.get(value, value)
        if kind is Poison:
            self._result.poison.append(replace(value))
            return self._result.poison[-1]
        if kind is Reference:
            return Reference(self._there(value.index))
        if kind is tuple or kind is list:
            return kind(self._told(item) for item in value)
        if kind is dict:
            return {key: self._told(item) for key, item in value.items()}
        if issubclass(kind, (*_TAKEN_OVER, *_TAKEN_OVER_ALSO)):
            return self._with_fields(value)
        if issubclass(kind, AbstractValue | HeapObject) and kind not in (Known, *_OPAQUE):
            raise _NoGuess
        return value

    def _with_fields(self, value: Any) -> Any:
        told: dict[str, Any] = {}
        for name in inner_fields(value):
            before = getattr(value, name)
            heap = (type(value) is ArrayValue and name == "storage") or (type(value) is Listed and name == "owner")
            tell: Callable[[Any], Any] = self._there if heap else self._told
            after = tell(before)
            if after is not before:
                told[name] = after
        return replace(value, **told) if told else value

    def _there(self, index: int) -> int:
        """Return where in the new state an object is; one that a join has made is made."""
        if index < 0:
            return index
        if index not in self.objects:
            if index in self._old.heap:
                raise _NoGuess
            made = self._result.state.allocate(HeapObject())
            self.objects[index] = made.index
            item = self._result.state.heap[made.index] = self._header.heap[index].copy()
            self._untold.append(item)
        return self.objects[index]


def _item(state: State, index: int) -> HeapObject | None:
    return state.heap.get(index) or state.templates.get(index)


def _is_unchanged(old: Any, header: Any) -> bool:
    """Whether a loop leaves something as it was; where that takes long to tell, it is said not to."""
    if old is header:
        return True
    kind = type(header)
    if kind is not type(old):
        return False
    if kind is ArrayValue:
        same_view = old.storage == header.storage and old.path == header.path
        return same_view and _is_unchanged(old.operands, header.operands)
    if kind is Scalar:
        return old.value is header.value and bool(old.kind == header.kind)
    if kind is Reference:
        return bool(old.index == header.index)
    if kind is TupleValue:
        return _is_unchanged(old.items, header.items)
    if issubclass(kind, HeapObject):
        return all(_is_unchanged(getattr(old, name), getattr(header, name)) for name in inner_fields(old))
    if kind in (tuple, list):
        return len(old) == len(header) and all(map(_is_unchanged, old, header))
    if kind is dict:
        return old.keys() == header.keys() and all(_is_unchanged(old[name], value) for name, value in header.items())
    return kind in (bool, int, str) and bool(old == header)
