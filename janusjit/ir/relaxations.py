"""What a function may no longer be assumed to do.

Owns `Relaxations`, the memory of failed assumptions that capture consults. Invariant: it is immutable and only ever
grows by making a new one, so that assumptions move up the lattice and never back down.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass

#: the key under which a recursion is no longer unfolded for the data at hand
OUTLINED = ("recursion", "unfolded")


@dataclass(frozen=True, slots=True)
class Relaxations(Collection[Hashable]):
    """The keys of assumptions that failed, and what the user promised.

    Attributes
    ----------
    keys : frozenset
        ``Guard.relaxation`` keys of the assumptions that are not made again.
    static : frozenset of str
        Names of parameters whose values are constants of a specialization.
    """

    keys: frozenset[Hashable] = frozenset()
    static: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def extended(self, keys: Iterable[Hashable]) -> Relaxations:
        """Return these relaxations and ``keys``."""
        return Relaxations(self.keys | frozenset(keys), self.static)
