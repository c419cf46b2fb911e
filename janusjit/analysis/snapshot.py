"""What a call's arguments hold, to be captured while the program goes on.

Owns `Snapshot`. Invariants: it is made at once, so that it is consistent, and nothing the program does later changes
it; it keeps none of the program's arrays, containers and objects alive, and to let go of it runs no code of the user's.
Capture asks of arrays what they are, never what is in them, so arrays stand in for arrays with none of their contents.
"""

from __future__ import annotations

import itertools
import types
from abc import ABCMeta
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING
from janusjit.ir.types import dtype_name, is_writeable

#: objects of a snapshot; to make a larger one would hold the program up
_MOST_OBJECTS = 1000
#: what cannot change
_IMMUTABLE = frozenset({
    int, float, bool, complex, str, bytes, type(None), type(Ellipsis), type, types.FunctionType, np.ufunc,
    types.BuiltinFunctionType, types.ModuleType, type(np.sum), type(np.dtype(float)),
})  # fmt: skip
_KEYS = frozenset({str, int})
#: of instances that keep all in ``__dict__``
_BASIC_SIZE = type("Example", (), {}).__basicsize__


class OutsideSnapshot(BaseException):
    """Capture has come to something that can change and is in no snapshot; whoever gave it the snapshot handles that.

    No `Exception`, since it says nothing about the function: nobody on the way is to take it for a failure.
    """


class _Unsuitable(Exception):
    """There can be no snapshot."""


class Snapshot(Sequence[Any]):
    """A call's arguments as they were when this was made; see `snapshot_of`."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._count = 0
        self._arguments = tuple(self._copy(argument) for argument in arguments)
        if _overlap(self._arrays):
            raise _Unsuitable
        self._arrays.clear()
        copies = [copy for _, copy in self._made.values()]
        self._made.clear()
        self._own = {id(copy): copy for copy in copies}

    def __len__(self) -> int:
        return len(self._arguments)

    def __getitem__(self, index: Any) -> Any:
        return self._arguments[index]

    def holds(self, live: Any) -> bool:
        """Whether an object belongs to the snapshot, or is a tuple of what cannot change."""
        return id(live) in self._own or (type(live) is tuple and all(map(_is_immutable, live)))

    def _copy(self, live: Any) -> Any:
        kind = type(live)
        if _is_immutable(live):
            return live
        known = self._made.get(id(live))
        if known is not None:
            return known[1]
        return _COPIES.get(kind, _copy_instance)(self, live)

    def _keep(self, live: Any, copy: Any) -> Any:
        self._made[id(live)] = (live, copy)
        return copy

    def _items(self, live: Sequence[Any]) -> list[Any]:
        self._count += len(live)
        if self._count > _MOST_OBJECTS:
            raise _Unsuitable
        return [self._copy(item) for item in live]


def _is_immutable(live: Any) -> bool:
    return type(live) in _IMMUTABLE or isinstance(live, np.generic)


def snapshot_of(arguments: Sequence[Any]) -> Snapshot | None:
    """Return a snapshot of a call's arguments; None if they hold something that none can be made of."""
    try:
        return Snapshot(arguments)
    except (_Unsuitable, MemoryError, RecursionError):
        return None


def _copy_array(snapshot: Snapshot, live: np.ndarray[Any, Any]) -> Any:
    flags = live.flags
    if dtype_name(live.dtype) is None or not (live.dtype.isnative and flags.aligned and flags.forc):
        raise _Unsuitable
    copy = np.empty(live.shape, live.dtype, "C" if flags.c_contiguous else "F")
    copy.flags.writeable = is_writeable(live)
    snapshot._arrays.append(live)
    return snapshot._keep(live, copy)


def _copy_tuple(snapshot: Snapshot, live: tuple[Any, ...]) -> Any:
    return snapshot._keep(live, tuple(snapshot._items(live)))


def _copy_list(snapshot: Snapshot, live: list[Any]) -> Any:
    copy: list[Any] = snapshot._keep(live, [])
    copy += snapshot._items(live)
    return copy


def _copy_dict(snapshot: Snapshot, live: dict[Any, Any]) -> Any:
    if not all(type(key) in _KEYS for key in live):  # the hash of another one may be code of the user's
        raise _Unsuitable
    copy: dict[Any, Any] = snapshot._keep(live, {})
    copy.update(zip(list(live), snapshot._items(list(live.values())), strict=True))
    return copy


def _copy_instance(snapshot: Snapshot, live: Any) -> Any:
    kind = type(live)
    if not (has_plain_attributes(kind) and _keeps_all_in_dict(kind) and find_on_type(kind, "__del__") is MISSING):
        raise _Unsuitable
    copy = snapshot._keep(live, object.__new__(kind))
    attributes = live.__dict__
    if type(attributes) is not dict or not all(type(key) is str for key in attributes):
        raise _Unsuitable
    names, values = list(attributes), snapshot._items(list(attributes.values()))
    copy.__dict__.update(zip(names, values, strict=True))
    return copy


def _keeps_all_in_dict(kind: Any) -> bool:
    """Whether all there is to an instance of a class are its attributes."""
    bases = kind.__mro__[:-1]
    ordinary = all(type(base) in (type, ABCMeta) and "__slots__" not in vars(base) for base in bases)
    own = kind.__module__.startswith("janusjit.analysis")  # what is recorded for gradients knows of its identity
    return ordinary and not own and kind.__basicsize__ <= _BASIC_SIZE


_COPIES: dict[type, Callable[[Snapshot, Any], Any]] = {
    np.ndarray: _copy_array,
    tuple: _copy_tuple,
    list: _copy_list,
    dict: _copy_dict,
}


def _overlap(arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Whether some of the arrays, which are contiguous, share memory: a copy would not show that."""
    extents = sorted((array.__array_interface__["data"][0], array.nbytes) for array in arrays)
    return any(start + size > after for (start, size), (after, _) in itertools.pairwise(extents))
