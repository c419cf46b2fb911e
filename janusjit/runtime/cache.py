"""The polymorphic inline cache of one function.

Owns `SpecializationCache` and `Backoff`. Invariants: specializations stand in most-recently-hit order; there are never
more than the limit; the number of compilations grows at most with the logarithm of the number of misses once the limit
has been passed, so that no program can make a function spend its time compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from janusjit.runtime.specialization import Specialization

#: specializations that are not hit, at most, before further ones are put off
USELESS_LIMIT = 4
#: hits that are timed before a specialization is put on the fast path
SETTLED = 8


class SpecializationCache:
    """The live specializations of a function, the most recently hit first.

    Parameters
    ----------
    limit : int
        How many are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._live: tuple[Specialization, ...] = ()
        self.retired_hits = 0

    def __iter__(self) -> Iterator[Specialization]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    @property
    def hits(self) -> int:
        """Calls served by the specializations alive and by those retired."""
        return self.retired_hits + sum(s.hits for s in self._live)

    def add(self, specialization: Specialization) -> tuple[Specialization, ...]:
        """Put a specialization in front; return those that had to leave."""
        kept = (specialization, *self._live)[: self.limit]
        evicted = self._live[self.limit - 1 :]
        self._live = kept
        self.retired_hits += sum(s.hits for s in evicted)
        return evicted

    def touch(self, entry: Callable[..., Any]) -> None:
        """Move the specialization with this entry, which was hit, to the front."""
        live = self._live
        if live and live[0].entry is not entry:
            self._live = (*(s for s in live if s.entry is entry), *(s for s in live if s.entry is not entry))

    def retire(self, specialization: Specialization) -> None:
        """Drop a specialization."""
        if specialization in self._live:
            self._live = tuple(s for s in self._live if s is not specialization)
            self.retired_hits += specialization.hits

    @property
    def useless(self) -> int:
        """How many of the specializations no call has hit but the one that they were made for."""
        return sum(s.hits <= 1 for s in self._live)

    def entries(self) -> tuple[Callable[..., Any], ...]:
        """Return the native entries of the settled specializations, in order."""
        return tuple(s.entry for s in self._live if len(s.timings) >= SETTLED)


class Backoff:
    """Decides whether a miss may compile.

    The first ``free`` requests are granted, unless what was compiled before is not hit; each later one, and each failed
    one, doubles the number of misses that have to go by before the next.
    """

    def __init__(self, free: int) -> None:
        self._free = free
        self._delay = 1
        self._waiting = 0

    def granted(self) -> bool:
        """Whether this miss may compile; a refusal counts as a miss gone by."""
        if self._waiting:
            self._waiting -= 1
            return False
        return True

    def compiled(self, useless: int = 0) -> None:
        """Note a compilation, and how many specializations there are that no call but their first has hit."""
        if self._free and useless <= USELESS_LIMIT:
            self._free -= 1
        else:
            self._postpone()

    def failed(self) -> None:
        """Note a compilation that came to nothing."""
        self._postpone()

    def waited(self) -> None:
        """Note that enough misses have gone by unseen."""
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many more misses go by before the next attempt."""
        return self._waiting

    def _postpone(self) -> None:
        self._delay *= 2
        self._waiting = self._delay
