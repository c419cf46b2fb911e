"""What a capture assumes of the world at entry.

Owns `EntryGuards`, the base of `Externals`: the places a capture names and the guards on them. Invariant: a place is
one object however often it is named, and an assumption is guarded once.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from janusjit.errors import CaptureFailure
from janusjit.ir.class_guards import ClassAttributeIs, ClassOrderIs, is_changeable
from janusjit.ir.floating_point import FLAGS_CODE, FlagsGuard, flags_text, may_be_backed_up
from janusjit.ir.graph import Graph
from janusjit.ir.guards import (
    DictKeysAre,
    DistinctObjects,
    EntryGuard,
    ErrorStateDefault,
    IdentityIs,
    IsMissing,
    LengthIs,
    TypeIs,
    ValueEquals,
    WarningFilters,
    find_on_type,
    may_raise_warnings,
)
from janusjit.ir.places import (
    MISSING,
    AttributePlace,
    ConstantPlace,
    GlobalPlace,
    ItemPlace,
    LengthPlace,
    MembershipPlace,
    PackedPlace,
    Place,
)
from janusjit.ops.generators import BIT_GENERATORS
from janusjit.spans import Span

#: longer strings are taken for data as soon as one varies
LONGEST_WORD = 64
_POSITION = re.compile(r"\[\d+\]")


def alike(place: Place) -> str:
    """Return what places have in common that differ in the positions of items only: ``a[3][0]``, ``a[7][0]``."""
    return _POSITION.sub("[…]", str(place))


def data_key(place: Place) -> tuple[str, str]:
    """Return the name under which it is remembered that strings are data, rather than a few names of what to do."""
    return ("data", alike(place))


class EntryGuards:
    """The places and entry guards of one capture.

    Parameters
    ----------
    graph : Graph
        Receives entry guards.
    relaxations : collection
        Keys of assumptions that failed before and are not made again.
    span : callable
        Returns the span of the instruction being captured.

    Attributes
    ----------
    sets_error_modes : bool
        Whether the function uses ``np.errstate``.
    error_mode_setters : list
        The instructions that make its context managers.
    namespaces : dict
        The globals that the code of each file runs with.
    tuples : set
        The places of tuples, by their ids.
    lengths_assumed, grown : set of str
        The places of containers whose lengths are assumed as they are asked for, and of lists that have grown.
    outcomes : frozenset of str
        The names of what Python has found at a commit point, behind which this is a continuation.
    """

    sets_error_modes = False

    def __init__(self, graph: Graph, relaxations: Collection[Any], span: Callable[[], Span]) -> None:
        self.graph = graph
        self.relaxations = relaxations
        self.span = span
        self._places: dict[Any, Place] = {}
        self._guarded: set[Any] = set()
        self.error_mode_setters: list[Any] = []
        self.namespaces: dict[str, dict[str, Any]] = {}
        self.tuples: set[int] = set()
        self.outcomes: frozenset[str] = frozenset()
        self.lengths_assumed: set[str] = set()
        self.grown: set[str] = set()

    # ------------------------------------------------------------------ places

    def attribute_place(self, owner: Place, name: str) -> Place:
        """Return the one place object for ``owner.name``."""
        return self._place((id(owner), "attribute", name), lambda: AttributePlace(owner, name))

    def item_place(self, owner: Place, key: Any) -> Place:
        """Return the one place object for ``owner[key]``."""
        return self._place((id(owner), "item", type(key), key), lambda: ItemPlace(owner, key))

    def names_at(self, owner: Place, kind: str) -> set[str]:
        """Return the attributes ("attribute") or string keys ("item") of an object that have been looked at."""
        return {key[-1] for key in self._places if key[:2] == (id(owner), kind) and type(key[-1]) is str}

    def names_of_globals(self) -> dict[int, tuple[dict[str, Any], set[str]]]:
        """Return the namespaces that globals have been looked for in, and their names."""
        found: dict[int, tuple[dict[str, Any], set[str]]] = {}
        for place in self._places.values():
            if isinstance(place, GlobalPlace):
                found.setdefault(id(place.namespace), (place.namespace, set()))[1].add(place.name)
        return found

    def has_keys(self, place: Place) -> bool:
        """Whether all keys of an outside dict are assumed."""
        return (id(place), "keys") in self._guarded

    def length_place(self, owner: Place) -> Place:
        """Return the one place object for ``len(owner)``."""
        return self._place((id(owner), "len"), lambda: LengthPlace(owner))

    def packed_place(self, owner: Place, kind: str, last: int | None = None) -> Place:
        """Return the one place object for the items of a list, or the last few, as an array."""
        return self._place((id(owner), "packed", kind, last), lambda: PackedPlace(owner, kind, last))

    def length_varies(self, place: Place) -> bool:
        """Whether the length of an outside container was assumed before, and varied."""
        return ("length", str(place)) in self.relaxations

    def length_keeps_varying(self, place: Place) -> bool:
        """Whether an outside list has had so many lengths that a loop over it asks Python for each item."""
        return ("iterated", str(place)) in self.relaxations

    def constant_place(self, value: Any, name: str) -> Place:
        """Return the one place object for an object known at capture."""
        return self._place((id(value), "constant"), lambda: ConstantPlace(value, name))

    def _place(self, key: Any, make: Callable[[], Place]) -> Place:
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = make()
        return found

    # ------------------------------------------------------------------ guards

    def guard(self, key: Any, guard: EntryGuard) -> None:
        """Add an entry guard, once for each ``key``."""
        if key not in self._guarded:
            self._guarded.add(key)
            self.graph.guards.entry.append(guard)

    def guard_value(self, place: Place, value: Any) -> None:
        """Assume that a place holds exactly this number or string."""
        is_text = isinstance(value, str | bytes) and len(value) > LONGEST_WORD
        key = data_key(place) if is_text else ("value", str(place))
        self.guard((id(place), "value"), ValueEquals(place, value, span=self.span(), relaxation=key))

    def is_data(self, place: Place) -> bool:
        """Whether strings at places like this one are data, of which there may be any number."""
        return data_key(place) in self.relaxations

    def may_assume_value(self, place: Place) -> bool:
        """Whether the value at a place never varied so far; of flags in lists and tuples, at all places alike."""
        return ("value", str(place)) not in self.relaxations and ("flags", alike(place)) not in self.relaxations

    def is_among_many(self, place: Place) -> bool:
        """Whether a flag may be one of as many as a list has items: not one of a tuple that is none of them itself."""
        if alike(place) == str(place) or not isinstance(place, ItemPlace):
            return False
        return isinstance(place.owner, ItemPlace) or id(place.owner) not in self.tuples

    def are_told_apart(self, place: Place) -> bool:
        """Whether an array at a place like this was once one with another, and once not: then it is read by itself."""
        return ("apart", alike(place)) in self.relaxations

    def is_assumed(self, place: Place) -> bool:
        """Whether it is assumed what number or string a place holds."""
        return (id(place), "value") in self._guarded

    def guard_length(self, place: Place, length: int) -> None:
        """Assume the length of an outside list, tuple or dict."""
        key = ("iterated" if self.length_varies(place) else "length", str(place))
        self.guard((id(place), "length"), LengthIs(place, length, span=self.span(), relaxation=key))

    def guard_distinct(self, first: Place, second: Place) -> None:
        """Assume that two places hold two objects."""
        key = (*sorted((id(first), id(second))), "distinct")
        self.guard(key, DistinctObjects(first, second, span=self.span()))

    def guard_membership(self, place: Place, key: Any, present: bool) -> None:
        """Assume that an outside set has an item, or has not."""
        member = self._place((id(place), "has", type(key), key), lambda: MembershipPlace(place, key))
        self.guard((id(member), "identity"), IdentityIs(member, present, span=self.span()))

    def guard_keys(self, place: Place, keys: tuple[Any, ...]) -> None:
        """Assume the keys of an outside dict, in order."""
        self.guard((id(place), "keys"), DictKeysAre(place, keys, span=self.span()))

    def on_type(self, type_: type, name: str) -> Any:
        """Return what a class holds under a name along its MRO, and assume it stays where it can be changed."""
        found = find_on_type(type_, name)
        if is_changeable(type_):
            guard = ClassAttributeIs(type_, name, found, span=self.span())
            self.guard((id(type_), "class", name), guard)  # which keeps the class alive, and its id its own
        return found

    def on_class(self, item: Any, name: str) -> Any:
        """Return what the class of an instance on the heap holds under a name, which stays."""
        return self.on_type(item.type_, name)

    def classes_behind(self, type_: type, after: type) -> tuple[type, ...]:
        """Return the MRO of a class behind one of its classes, and assume it stays."""
        order = type_.__mro__
        if is_changeable(type_):
            self.guard((id(type_), "order"), ClassOrderIs(type_, order, span=self.span()))
        return order[order.index(after) + 1 :]

    def behind(self, type_: type, after: type, name: str) -> Any:
        """Return what the MRO of a class holds under a name behind one of its classes, and assume it stays."""
        rest = self.classes_behind(type_, after)
        if rest and rest[0].__mro__ == rest:
            return self.on_type(rest[0], name)
        for base in rest:  # what each of them finds stays, so none comes to have another of its own
            self.on_type(base, name)
            if name in base.__dict__:
                return base.__dict__[name]
        return MISSING

    def guard_code(self, function: types.FunctionType) -> None:
        """Assume that a function keeps its code object."""
        owner = self.constant_place(function, function.__qualname__)
        place = self.attribute_place(owner, "__code__")
        self.guard((id(place), "identity"), IdentityIs(place, function.__code__, span=self.span()))

    def guard_defaults(self, function: types.FunctionType) -> None:
        """Assume that a function keeps its tuple of default values."""
        place = self.attribute_place(self.constant_place(function, function.__qualname__), "__defaults__")
        self.guard((id(place), "identity"), IdentityIs(place, function.__defaults__, span=self.span()))

    def guard_keyword_default(self, function: types.FunctionType, name: str) -> None:
        """Assume that a keyword-only parameter keeps its default value."""
        table = self.attribute_place(self.constant_place(function, function.__qualname__), "__kwdefaults__")
        place = self.item_place(table, name)
        value = (function.__kwdefaults__ or {})[name]
        self.guard((id(place), "identity"), IdentityIs(place, value, span=self.span()))

    def guard_missing(self, place: Place) -> None:
        """Assume that there is nothing at a place."""
        self.guard((id(place), "missing"), IsMissing(place, span=self.span()))

    def guard_bit_generator(self, owner: Place, live: Any) -> None:
        """Assume the type of the object that keeps the state of a generator of NumPy's.

        Raises
        ------
        CaptureFailure
            If it is not NumPy's own.
        """
        type_ = type(live._bit_generator)
        if type_ not in BIT_GENERATORS:
            reason = f"the bit generator is a {type_.__qualname__}, whose state cannot be saved"
            raise CaptureFailure("numpy.random", "supportable", self.span(), str(owner), reason, "")
        place = self.attribute_place(owner, "_bit_generator")
        self.guard((id(place), "type"), TypeIs(place, type_, span=self.span()))

    def guard_not_own(self, place: Place, live: Any, name: str) -> None:
        """Assume that an outside instance has no attribute of its own that hides the class's ``name``."""
        own = getattr(live, "__dict__", None)
        if own is not None:
            table = self.attribute_place(place, "__dict__")
            if type(own) is dict:
                self.guard((id(table), "type"), TypeIs(table, dict, span=self.span()))
            item = self.item_place(table, name)
            self.guard((id(item), "missing"), IsMissing(item, span=self.span()))

    # ------------------------------------------------------------------ floating-point errors

    def assume_error_modes(self, span: Span) -> None:
        """Assume that NumPy treats floating-point errors as it does now.

        A graph that meets an error which NumPy is to act on is discarded: Python does what it is to do.
        """
        modes = {name: str(mode) for name, mode in np.geterr().items()}
        self.guard("errstate", ErrorStateDefault(tuple(modes.items()), span=span))
        if any(mode != "ignore" for mode in modes.values()):
            key = ("errors apart", span.file, span.line)
            text = flags_text(modes, apart=key in self.relaxations)
            guard = FlagsGuard(
                FLAGS_CODE, "np.geterr()", text, span=span, relaxation=key, namespaces=self.namespaces
            )
            self.graph.guards.in_graph.append(guard)

    def note_namespace(self, file: str, namespace: dict[str, Any]) -> None:
        """Note whose globals code from a file runs with; of two that differ, none is known."""
        if self.namespaces.setdefault(file, namespace) is not namespace:
            self.namespaces[file] = {}

    def assume_warning_filters(self, written: list[Place], span: Span) -> None:
        """Assume that warnings are no exceptions, or are, where it is too late for Python to do a call again."""
        types = (given.value.type for given in self.graph.inputs if any(given.place is place for place in written))
        if any(guard.code == FLAGS_CODE for guard in self.graph.guards.in_graph) and not may_be_backed_up(types):
            self.guard("warnings", WarningFilters(may_raise_warnings(), span=span))
