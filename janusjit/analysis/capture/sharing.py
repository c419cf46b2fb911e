"""Arrays that may share memory in eager NumPy, which capture cannot tell, and names of one object behind joins.

Owns `may_share`, `frozen_reason`, what joins note of arrays and refuse of objects, and what exits check. Invariants:
such an array is written in place only where nothing that may be read later can reach another that it may share with,
and leaves a graph without such another: then whether it does makes no difference. No object that is one on some path
is two behind a join.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from janusjit.analysis.capture.liveness import live_after
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_memory import first_copy
from janusjit.analysis.capture.signals import Unmergeable
from janusjit.analysis.capture.state import Frame, State, Storage
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Reference
from janusjit.errors import CaptureFailure

UNKNOWN_ALIAS = "whether another array made of it shares its memory is not known"
_JOINED = "another name may refer to it"
_PACKAGE = __name__.rpartition(".")[0]
_families = itertools.count(1)
#: the family of what may share memory with an array from outside
OUTSIDERS = -1


def freeze(machine: Machine, index: int, reason: str) -> None:
    """Forbid in-place writes to a storage from now on."""
    freeze_in(machine.state, index, reason)


def freeze_in(state: State, index: int, reason: str) -> None:
    """Forbid in-place writes to a storage of a state."""
    storage: Storage = state.at(index)
    storage.frozen = storage.frozen or reason


def may_share(machine: Machine, first: int, second: int) -> None:
    """Note that two storages may be the same memory: one family, whose members are written only when alone."""
    pair: list[Storage] = [machine.state.at(first), machine.state.at(second)]
    relatives = {storage.family for storage in pair if storage.family > 0}
    # nobody knows who refers to another's array, or to one that was frozen for another reason
    followed = min(first, second) >= 0 and all(storage.family > 0 or not storage.frozen for storage in pair)
    family = next(_families) if followed else OUTSIDERS
    for storage in machine.state.heap.values():
        if isinstance(storage, Storage) and storage.family in relatives:
            storage.family = family
    for index, storage in zip((first, second), pair, strict=True):
        freeze(machine, index, UNKNOWN_ALIAS)
        storage.family = family
        machine.doubts.setdefault(storage.version, machine.blamed())


def refusal(machine: Machine, index: int, construct: str, message: str) -> CaptureFailure:
    """Return the failure that leaves to Python what is done to an array, or what made another that may share with it.

    The latter where that one is from outside, and lies in memory as it does in eager.
    """
    storage: Storage = machine.state.at(index)
    failure = machine.unsupported("array.alias", construct, message)
    if storage.listed is not None and storage.listed.loop not in (None, *machine.hosts.loops):
        failure.instruction = storage.listed.loop
    made_by = machine.doubts.get(storage.version) if storage.family == OUTSIDERS else None
    if made_by is not None and made_by not in machine.hosts.instructions:
        failure.instruction = made_by
    return failure


def permit(merged: Storage, items: list[Storage]) -> None:
    """Permit writes to what may be each of some storages where each of them may be written."""
    merged.frozen = next((item.frozen for item in items if item.frozen), "")
    families = {item.family for item in items}
    merged.family = items[0].family if len(families) == 1 else OUTSIDERS if OUTSIDERS in families else 0
    merged.writeable = all(item.writeable for item in items)


def note_joined(machine: Machine, result: State, joined: Mapping[tuple[int, ...], int]) -> None:
    """Note which arrays behind a join are one array on some path, given those that were made there, by their sources.

    Such a pair stays noted: what it says of two storages holds wherever both are known. Neither is written any more.
    """
    if not joined:
        return
    paths = len(next(iter(joined)))
    made = {index: sources for sources, index in joined.items() if index in result.heap}
    kept = [index for index, item in result.heap.items() if isinstance(item, Storage) and index not in made]
    everything = made | {index: (index,) * paths for index in kept}
    for index, own in made.items():
        for other, its in everything.items():
            pairs = zip(own, its, strict=True)
            if other != index and any(a == b >= 0 or frozenset((a, b)) in machine.joined for a, b in pairs):
                machine.joined.add(frozenset((index, other)))
                freeze_in(result, index, _JOINED)
                freeze_in(result, other, _JOINED)
                machine.aliased.update((index, other))


def check_joined_objects(result: State, joined: Mapping[tuple[int, ...], AbstractValue]) -> None:
    """Refuse a join behind which what is one object on some path would be two: what is done to one would be lost.

    Raises
    ------
    Unmergeable
        If there is such an object among those that were made there.
    """
    made = {found.index: sources for sources, found in joined.items() if isinstance(found, Reference)}
    seen: set[tuple[int, int]] = set()  # in linear time: there may be thousands of objects
    for index, sources in made.items():
        known = set(enumerate(sources))
        kept = any(source in result.heap and source not in made for source in sources)
        if index in result.heap and (kept or not seen.isdisjoint(known)):
            raise Unmergeable("an object is one of several, and known by another name as well")
        seen |= known


def frozen_reason(machine: Machine, index: int) -> str:
    """Return why a storage must not be written in place; an empty string if it may be."""
    storage: Storage = machine.state.at(index)
    if index in machine.aliased:
        return storage.frozen or "another name may refer to it"
    if not storage.frozen or (storage.family > 0 and not _relatives_live(machine, index, storage.family)):
        return ""
    return storage.frozen


class Escaping:
    """The arrays that an exit makes: refuses those that share memory in eager as what is made for them cannot."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._members: dict[int, int] = {}
        self._seen: dict[int, set[int]] = {}
        self._alone: set[int] = set()
        self._made: set[int] = set()

    def alone(self, array: ArrayValue) -> bool:
        """Whether an array of a new storage is to have memory of its own, though eager has it as a view.

        It is a view of an array that eager has in another order of memory, and the only one of it that gets out.
        """
        storage: Storage = self._machine.state.at(array.storage)
        if any(frozenset((array.storage, other)) in self._machine.joined for other in self._made):
            raise self._refused("two arrays are returned that are one on some way to here")
        self._made.add(array.storage)
        if storage.frozen == UNKNOWN_ALIAS:
            if storage.family == OUTSIDERS:
                reason = "an array is returned, and whether it shares memory with one from outside is not known"
                raise refusal(self._machine, array.storage, "result", reason)
            if self._members.setdefault(storage.family, array.storage) != array.storage:
                raise self._refused(f"two arrays are returned, and {UNKNOWN_ALIAS}")
        if array.path and first_copy(storage.version.type.shape, array.path) is not None:
            self._alone.add(array.storage)
        seen = self._seen.setdefault(array.storage, set())
        seen.add(array.identity if array.path else 0)
        if array.storage not in self._alone:
            return False
        if len(seen) > 1:
            raise self._refused("a view is returned of an array that NumPy has in another order of memory")
        return True

    def _refused(self, message: str) -> Exception:
        return self._machine.unsupported("array.alias", "result", message)


def _relatives_live(machine: Machine, index: int, family: int) -> bool:
    """Whether what may be read later holds another storage of a family, or one whose family is not known."""
    frames = machine.state.frames
    roots: list[Any] = [machine.state.returned, [call.values for call in machine.state.effects]]
    for frame in frames:
        names = live_after(frame, at=frame is frames[-1])
        roots.extend(value for name, value in frame.locals.items() if names is None or name in names)
        roots.extend((frame.cells, frame.blocks, frame.instance))
    roots.extend(item for item in machine.state.heap.values() if not isinstance(item, Storage))
    for found in _arrays(roots):
        if found.storage == index:
            continue
        storage: Storage = machine.state.at(found.storage)
        if storage.frozen and storage.family in (0, family):
            return True
    return False


def _arrays(roots: list[Any]) -> Iterator[ArrayValue]:
    """Yield the arrays that abstract values, or what stands on the heap, hold."""
    pending, seen = list(roots), set[int]()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, ArrayValue):
            yield item
        elif isinstance(item, list | tuple | set | frozenset):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, types.FunctionType):
            pending.extend(cell.cell_contents for cell in item.__closure__ or () if _filled(cell))
        elif isinstance(item, Frame) or (dataclasses.is_dataclass(item) and type(item).__module__.startswith(_PACKAGE)):
            pending.extend(getattr(item, field.name, None) for field in dataclasses.fields(item))


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
