"""What profiling costs.

Owns `observations` and `seconds_per_observation`, by which the duration of a profiled call is corrected to what plain
Python would have taken. Invariant: the cost is measured in this process, on probes, and only when it is asked for.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.analysis.overloads import Overloads
from janusjit.analysis.twin import Twins
from janusjit.profiler.profile import Profile
from janusjit.profiler.recorder import Probe

_REPEATS = 20


def observations(twins: Twins) -> int:
    """Return how many times twins have called their probes, and asked whether operators are the user's."""
    recorder, total = twins.profile.recorder, twins.overloads.asked
    for code in recorder.codes():
        counters = recorder.known(code)
        assert counters is not None
        total += sum(sum(counts) for counts in counters.branches.values())
        total += sum(counts[2] for counts in counters.trips.values())
        total += counters.calls + counters.callees
    return total


@functools.cache
def seconds_per_observation() -> float:
    """Return by how many seconds an observation makes a twin slower: its probe, and its share of the plainer code.

    The probes are called here as a twin calls them, which takes as long as a twin's code does in the mean. To make a
    twin takes twenty times as long as that.
    """
    twins = Twins(Profile())
    probe = Probe(twins.profile.recorder.counters(_observe.__code__), twins.substitute)
    array = np.ones((4, 4))
    fastest = min(_timed(probe, twins.overloads, array) for _ in range(_REPEATS))
    return fastest * _REPEATS / observations(twins)


def _timed(probe: Probe, overloads: Overloads, array: np.ndarray) -> float:
    started = time.perf_counter()
    _observe(probe, overloads, array, array.mean, 3)
    return time.perf_counter() - started


def _observe(
    probe: Probe, overloads: Overloads, array: np.ndarray, method: Callable[..., Any], turns: int
) -> None:
    """Observe a little of everything that training steps do."""
    for number in range(turns):
        for _ in range(4):
            overloads.overloaded(array, array)
        overloads.overloaded(array, 0.1)
        overloads.overloaded(number, 2)
        overloads.has_item(array, number)
        overloads.has_property(array, "T")
        probe.branch(10, True)
        probe.callee(np.maximum)
        probe.callee(method)
        probe.callee(float)
