"""Counting what happens at the sites of a function.

Owns the mutable counters and the probe, the object that generated code calls. Invariants: a probe returns its argument
itself, raises nothing, runs no code of the user's objects and keeps no object alive; the memory a site takes is
bounded, however long the loop. Only what capture asks for is counted, since each probe makes a profiled call longer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

CalleeSubstitute = Callable[[Any], Any]


class SiteCounters:
    """Everything counted in one code object."""

    __slots__ = ("branches", "callees", "calls", "trips")

    def __init__(self) -> None:
        self.calls = 0
        self.callees = 0
        self.branches: dict[int, list[int]] = {}
        self.trips: dict[int, list[int]] = {}


class Probe:
    """What the generated code of one function calls.

    Parameters
    ----------
    counters : SiteCounters
        Where to count.
    substitute : callable
        Gives the profiled twin of a callee, or the callee itself.
    """

    __slots__ = ("counters", "substitute")

    def __init__(self, counters: SiteCounters, substitute: CalleeSubstitute) -> None:
        self.counters = counters
        self.substitute = substitute

    def enter(self) -> None:
        """Count a call."""
        self.counters.calls += 1

    def branch(self, site: int, truth: bool) -> bool:
        """Count a branch; ``truth`` has been asked by the user's frame."""
        counts = self.counters.branches.get(site)
        if counts is None:
            counts = self.counters.branches[site] = [0, 0]
        counts[not truth] += 1
        return truth

    def trips(self, site: int, count: int) -> None:
        """Count one run of a loop that made ``count`` trips."""
        counts = self.counters.trips.get(site)
        if counts is None:
            self.counters.trips[site] = [count, count, 1, count]
            return
        if count < counts[0]:
            counts[0] = count
        elif count > counts[1]:
            counts[1] = count
        counts[2] += 1
        counts[3] += count

    def callee(self, function: Any) -> Any:
        """Return what to call in place of a callee."""
        self.counters.callees += 1
        return self.substitute(function)


class Recorder:
    """Counters by code object."""

    def __init__(self) -> None:
        self._counters: dict[int, tuple[CodeType, SiteCounters]] = {}

    def counters(self, code: CodeType) -> SiteCounters:
        """Return the counters of a code object, making them if they are new."""
        found = self._counters.get(id(code))
        if found is None:
            found = self._counters.setdefault(id(code), (code, SiteCounters()))
        return found[1]

    def known(self, code: Any) -> SiteCounters | None:
        """Return the counters of a code object, or None if it never ran."""
        found = self._counters.get(id(code))
        return None if found is None else found[1]

    def codes(self) -> list[CodeType]:
        """Return the code objects that ran."""
        return [code for code, _ in self._counters.values()]
