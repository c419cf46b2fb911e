"""The arena: one block of memory for all intermediate arrays.

Owns the planning of offsets. Invariant: two storages that are in use at one time do not overlap; sizes known at compile
time share memory at fixed offsets, symbolic ones share slots of the same size, which lie behind at offsets that are
computed at entry. As a rule a storage takes memory that was in use last, which is in the cache; of large arenas, the
largest storages are placed first where that makes them smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from janusjit.backend.storage import Storage
from janusjit.ir.dims import Dim, product

ALIGNMENT = 64
#: arenas of so many bytes and so few storages are planned by size too, which has to save one part in so many
LARGE, FEW, WORTH_SAVING = 1 << 20, 100, 16


@dataclass
class Arena:
    """Offsets of storages.

    Attributes
    ----------
    offsets : dict
        Where storages of a known size begin.
    slots : dict
        The slot of each storage of a symbolic size.
    sizes : list of Dim
        The size of each slot in bytes.
    known_bytes : int
        The size of the part with fixed offsets.
    """

    offsets: dict[Storage, int] = field(default_factory=dict)
    slots: dict[Storage, int] = field(default_factory=dict)
    sizes: list[Dim] = field(default_factory=list)
    known_bytes: int = 0

    def takes_over(self, later: Storage, earlier: Storage) -> bool:
        """Return whether ``later`` begins with what ``earlier`` has ended with: nothing has been there in between."""
        offset = self.offsets.get(earlier)
        if offset is None or self.offsets.get(later) != offset or not earlier.death < later.birth:
            return False
        end = offset + _known_size(earlier)
        return _known_size(earlier) == _known_size(later) and not any(
            earlier.death < other.birth < later.birth and start < end and offset < start + _known_size(other)
            for other, start in self.offsets.items()
        )


def byte_size(storage: Storage) -> Dim:
    """Return how many bytes a storage takes."""
    shape = storage.layout.shape
    if storage.kept_rows is not None:
        shape = (storage.kept_rows, *shape[1:])
    return product(shape) * storage.layout.type.numpy_dtype.itemsize


def plan_arena(storages: list[Storage]) -> Arena:
    """Return offsets for all storages of kind ``"arena"``."""
    arena = Arena()
    free = _FreeList()
    vacant: dict[Dim, list[int]] = {}
    in_use: list[Storage] = []
    for storage in sorted((s for s in storages if s.kind == "arena"), key=lambda s: s.birth):
        for dead in [s for s in in_use if s.death < storage.birth]:
            in_use.remove(dead)
            if dead in arena.slots:
                vacant.setdefault(byte_size(dead), []).append(arena.slots[dead])
            else:
                free.release(arena.offsets[dead], _known_size(dead))
        size = byte_size(storage)
        if isinstance(size, int):
            arena.offsets[storage] = free.take(_known_size(storage))
        elif vacant.get(size):
            arena.slots[storage] = vacant[size].pop()
        else:
            arena.slots[storage] = len(arena.sizes)
            arena.sizes.append(size)
        in_use.append(storage)
    arena.known_bytes = free.end
    return _by_size(arena) if arena.known_bytes >= LARGE and len(arena.offsets) <= FEW else arena


def _by_size(arena: Arena) -> Arena:
    """Return an arena with the largest storages placed first, if it is smaller, else the arena as it is.

    What has taken over the memory of another storage at once still does: an update then need not copy.
    """
    placed: dict[Storage, int] = {}
    end = 0
    for storage in sorted(arena.offsets, key=_known_size, reverse=True):
        size, start = _known_size(storage), 0
        for other, offset in sorted(placed.items(), key=lambda item: item[1]):
            if other.death < storage.birth or storage.death < other.birth or offset >= start + size:
                continue
            start = max(start, offset + _known_size(other))
        placed[storage] = start
        end = max(end, start + size)
    smaller = replace(arena, offsets=placed, known_bytes=end)
    saves = end <= arena.known_bytes - arena.known_bytes // WORTH_SAVING
    return smaller if saves and _hand_overs(arena) <= _hand_overs(smaller) else arena


def _hand_overs(arena: Arena) -> set[tuple[Storage, Storage]]:
    """Return which storages take over another one's memory within a step or two."""
    return {
        (earlier, later)
        for earlier in arena.offsets
        for later in arena.offsets
        if 0 < later.birth - earlier.death <= 2 and arena.takes_over(later, earlier)
    }


def _known_size(storage: Storage) -> int:
    size = byte_size(storage)
    assert isinstance(size, int)
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


class _FreeList:
    """Free ranges below ``end``, in order of address, none adjacent to another; best fit."""

    def __init__(self) -> None:
        self.end = 0
        self._ranges: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        fitting = [(length, start) for start, length in self._ranges if length >= size]
        if fitting:
            length, start = min(fitting)
            self._ranges.remove((start, length))
            if length > size:
                self.release(start + size, length - size)
            return start
        if self._ranges and sum(self._ranges[-1]) == self.end:
            start, _ = self._ranges.pop()
        else:
            start = self.end
        self.end = start + size
        return start

    def release(self, start: int, length: int) -> None:
        ranges = []
        for other_start, other_length in self._ranges:
            if other_start + other_length == start:
                start, length = other_start, length + other_length
            elif start + length == other_start:
                length += other_length
            else:
                ranges.append((other_start, other_length))
        self._ranges = sorted([*ranges, (start, length)])
