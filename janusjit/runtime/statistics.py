"""A function's counters.

Owns `Statistics`, what users see, and `Tally`, which adds up one function's events. Invariant: ``calls == graph_calls +
eager_calls``; all of it follows from events, the native hit counters and the count of calls that made no event because
they went straight to plain Python.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from janusjit.runtime.cache import SpecializationCache
from janusjit.runtime.events import Event, Evicted, GuardFailed, Profiled, Specialized
from janusjit.runtime.probing import seconds_per_observation

_KEPT_TIMINGS = 64
#: a profiled call that has taken less may have waited for other programs, or for what is made in a first call, for most
#: of its time
_TELLING_SECONDS = 0.5
#: the part of a profiled call that its probes may take if it is to tell what the call takes without them
_PROBES_HIDE = 0.25


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of one jitted function.

    Attributes
    ----------
    calls : int
        All calls: ``graph_calls + eager_calls``.
    profiled_calls : int
        Warm-up calls, which ran in Python under the profiler.
    graph_calls : int
        Calls that entered a graph, those that deoptimized included.
    eager_calls : int
        Calls whose work ran in Python, ``profiled_calls`` included; those that deoptimized are not.
    deopts : int
        Calls that broke a guard of every specialization they tried, or one inside a graph.
    host_calls : int
        Calls from inside graphs to functions that stayed in Python: none while functions are compiled as a whole.
        Effects that wait for the exit, as ``print``, are not among them.
    loop_entries : int
        How many times a loop that ran in Python was taken over by compiled code (on-stack replacement).
    specializations : int
        Specializations alive now.
    compile_seconds : float
        Spent in capture, transforms and compilation.
    saved_seconds : float
        Estimate: graph calls that ran to their end, times the difference between the typical eager call and the
        typical graph call. The eager call is taken from plain runs where there were any, and else from profiled ones,
        less what profiling costs: a rough figure, from two cold calls. `janusjit.compare` measures. Negative where
        the graph is slower.
    """

    calls: int
    profiled_calls: int
    graph_calls: int
    eager_calls: int
    deopts: int
    host_calls: int
    loop_entries: int
    specializations: int
    compile_seconds: float
    saved_seconds: float


@dataclass(slots=True)
class Tally:
    """Sums over the events of one function; fed by its lifecycle in the order of the stream."""

    profiled_calls: int = 0
    deopts: int = 0
    resumed_in_python: int = 0
    host_calls: int = 0
    compiled: int = 0
    evicted: int = 0
    compile_seconds: float = 0.0
    plain_calls: int = 0
    rerun_seconds: float = 0.0
    plain_timings: list[float] = field(default_factory=list)
    profiled: list[tuple[float, int]] = field(default_factory=list)
    _last_deopt: int = -1

    def observe(self, event: Event) -> None:
        """Add an event."""
        self.compile_seconds += event.cost.capture + event.cost.compile
        if isinstance(event, Profiled):
            self.profiled_calls += 1
            if not event.taken_over:
                self.profiled.append((event.cost.profile, event.observations))
        elif isinstance(event, GuardFailed):
            self.deopts += event.call != self._last_deopt
            self._last_deopt = event.call
            self.resumed_in_python += event.resumed == "python"
            self.rerun_seconds += event.cost.eager
            served = event.stage == "entry"  # the others are calls like no other, as those that raise: they say little
            if served and event.resumed == "python" and event.action == "none" and event.cost.eager:
                keep(self.plain_timings, event.cost.eager)
        elif isinstance(event, Specialized):
            self.compiled += 1
        elif isinstance(event, Evicted):
            self.evicted += 1

    @property
    def eager_seconds(self) -> float | None:
        """The typical duration of a call in Python, or None before any."""
        if self.plain_timings:
            return statistics.median(self.plain_timings)
        if not self.profiled:
            return None
        each = seconds_per_observation()
        return min(max(seconds - observations * each, 0.0) for seconds, observations in self.profiled)

    def eager_seconds_of(self, calls: int, is_little: Callable[[float], bool]) -> float | None:
        """Return `eager_seconds`; without measuring what profiling costs if all calls together take little anyhow."""
        if not self.plain_timings and self.profiled:
            shortest = min(seconds for seconds, _ in self.profiled)
            if is_little(calls * shortest):
                return shortest
        return self.eager_seconds

    def about_eager_seconds(self) -> float | None:
        """Return `eager_seconds`, with what profiling costs; at once."""
        return self.eager_seconds_of(1, lambda _: True)

    @property
    def clear_eager_seconds(self) -> float | None:
        """`eager_seconds`, or None where only profiled calls tell, which are short or hidden by probes."""
        if self.plain_timings or not self.profiled:
            return self.eager_seconds
        if min(seconds for seconds, _ in self.profiled) < _TELLING_SECONDS:
            return None
        each = seconds_per_observation()
        hidden = any(count * each > _PROBES_HIDE * seconds for seconds, count in self.profiled)
        found = self.eager_seconds
        return None if hidden or found is None or found < _TELLING_SECONDS else found

    def calls(self, cache: SpecializationCache) -> int:
        """Return how many calls have ended."""
        return self.profiled_calls + self.plain_calls + self.resumed_in_python + cache.hits

    def statistics(self, cache: SpecializationCache) -> Statistics:
        """Return the counters now."""
        eager = self.profiled_calls + self.plain_calls
        graph = cache.hits + self.resumed_in_python
        return Statistics(
            calls=graph + eager,
            profiled_calls=self.profiled_calls,
            graph_calls=graph,
            eager_calls=eager,
            deopts=self.deopts,
            host_calls=self.host_calls,
            loop_entries=0,
            specializations=len(cache),
            compile_seconds=self.compile_seconds,
            saved_seconds=self._saved(cache),
        )

    def _saved(self, cache: SpecializationCache) -> float:
        eager = self.eager_seconds if len(cache) else None
        if eager is None:
            return 0.0
        return sum((eager - (s.graph_seconds or eager)) * s.hits for s in cache)


def keep(timings: list[float], seconds: float) -> None:
    """Append a timing to a bounded list."""
    if len(timings) < _KEPT_TIMINGS:
        timings.append(seconds)
