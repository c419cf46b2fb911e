"""The objects that compiled code may meet.

Owns `ObjectPool` and `Kind`. Invariant: nothing is run to look at an object: only what instances hold in their own
dicts and slots, and the items of lists and tuples.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING
from janusjit.ir.types import dtype_name

NUMBERS = {int: "int", float: "float", bool: "bool"}
#: where lists and tuples are from: the class and the name of an attribute, or their own class and nothing
Origin = tuple[type, str]
#: what is known of: an attribute, the items of lists, or an item of tuples
Key = tuple[type, str, Union[int, str, None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an attribute or item may be.

    That is ``none``, an ``instance``, a ``number``, a ``text``, an ``array`` or a ``sequence``. ``detail`` is the
    class, the number's kind, the string, the dtype and shape of the array, or the class and the origin of the list or
    tuple. Of anything ``else`` it is the class, and of what is ``missing`` there is none: nothing is done with those.
    """

    name: str
    detail: Any = None

    @property
    def order(self) -> tuple[int, str]:
        """What comes first is asked for first."""
        names = ("none", "instance", "sequence", "number", "text", "array", "else", "missing")
        return names.index(self.name), str(self.detail)


def kind_of(value: Any, origin: Origin) -> Kind:
    """Return the kind of an object that is found at an origin."""
    type_ = type(value)
    if value is None:
        return Kind("none")
    if value is MISSING:
        return Kind("missing")
    if type_ in NUMBERS:
        return Kind("number", NUMBERS[type_])
    if type_ is str:
        return Kind("text", value)
    if type_ is list or type_ is tuple:
        return Kind("sequence", (type_, origin))
    if isinstance(value, np.generic) and type_ is value.dtype.type and dtype_name(value.dtype) is not None:
        return Kind("number", f"numpy.{dtype_name(value.dtype)}")
    if type_ is np.ndarray and value.dtype.isnative and dtype_name(value.dtype) is not None:
        return Kind("array", (dtype_name(value.dtype), value.shape))
    return Kind("instance" if is_walked(type_) else "else", type_)


def is_walked(type_: type) -> bool:
    """Whether compiled code can look at instances of a class, and an instance can be made to ask the class."""
    unusual = ("__del__", "__getattr__", "__new__")
    plain = (MISSING, MISSING, object.__dict__["__new__"])
    return has_plain_attributes(type_) and tuple(find_on_type(type_, name) for name in unusual) == plain


class ObjectPool:
    """The objects that a call can reach by the attributes that are read, and the kinds of those.

    Parameters
    ----------
    known : dict
        The kinds of each attribute and item, as former captures found them; it is added to.

    Attributes
    ----------
    version : int
        How often the kinds of something have grown.
    reads_arrays, reads_sequences : bool
        Whether the graph reads arrays, lists or tuples that it finds at run time.
    """

    def __init__(self, known: dict[Key, set[Kind]]) -> None:
        self._known = known
        self._live: dict[type, dict[int, Any]] = {}
        self._sequences: dict[tuple[int, Origin], Any] = {}
        self._names: dict[type, dict[str, None]] = {}
        self.version = 0
        self.reads_arrays = self.reads_sequences = False

    @property
    def types(self) -> Iterable[type]:
        """The classes of the objects there are."""
        return self._live

    def add(self, value: Any, origin: Origin) -> None:
        """Add an object that is found at an origin, and what can be reached from it."""
        pending = [(value, origin)]
        while pending:
            found, origin = pending.pop()
            if type(found) is list or type(found) is tuple:
                pending += self._items(found, origin)
                continue
            known = self._live.setdefault(type(found), {})
            if id(found) not in known:
                known[id(found)] = found
                for name in self._names.get(type(found), ()):
                    pending += self._attribute(found, name)

    def _attribute(self, owner: Any, name: str) -> list[tuple[Any, Origin]]:
        origin = (type(owner), name)
        return self._note((*origin, None), held_attribute(owner, name), origin)

    def _items(self, sequence: Any, origin: Origin) -> list[tuple[Any, Origin]]:
        if (id(sequence), origin) in self._sequences:
            return []
        self._sequences[id(sequence), origin] = sequence
        pending = []
        for position, item in enumerate(sequence):
            pending += self._note((*origin, position if type(sequence) is tuple else "items"), item, origin)
        return pending

    def _note(self, key: Key, value: Any, origin: Origin) -> list[tuple[Any, Origin]]:
        """Note the kind of what is found; return it if it is to be looked at as well."""
        kind = kind_of(value, origin)
        kinds = self._known.setdefault(key, set())
        if kind not in kinds:
            kinds.add(kind)
            self.version += 1
        return [(value, origin)] if kind.name in ("instance", "sequence") else []

    def kinds(self, type_: type, name: str) -> list[Kind]:
        """Return the kinds of an attribute of a class's instances, in the order in which they are asked for."""
        names = self._names.setdefault(type_, {})
        if name not in names:
            names[name] = None
            for owner in list(self._live.get(type_, {}).values()):
                for value, origin in self._attribute(owner, name):
                    self.add(value, origin)
        return self._in_order([(type_, name, None)])

    def item_kinds(self, origin: Origin, type_: type, position: int | None) -> list[Kind]:
        """Return the kinds of the items of lists, or of tuples, from an origin; of those at a position, if given."""
        self.reads_sequences = True
        if type_ is tuple and position is not None:
            return self._in_order([(*origin, position)])
        positions = (key for key in self._known if key[:2] == origin and key[2] is not None)
        return self._in_order([key for key in positions if (key[2] == "items") is (type_ is list)])

    def _in_order(self, keys: list[Key]) -> list[Kind]:
        found = set[Kind]().union(*(self._known.get(key, ()) for key in keys))
        return sorted(found, key=lambda kind: kind.order)


def held_attribute(owner: Any, name: str) -> Any:
    """Return an attribute of an object, or ``MISSING``, without running code of the user's."""
    on_class = find_on_type(type(owner), name)
    if isinstance(on_class, types.MemberDescriptorType):
        try:
            return on_class.__get__(owner)
        except AttributeError:
            return MISSING
    own = getattr(owner, "__dict__", {}).get(name, MISSING)
    if own is not MISSING or on_class is MISSING:
        return own
    return MISSING if hasattr(type(on_class), "__get__") else on_class
