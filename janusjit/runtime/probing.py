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

from janusjit.analysis.twin import Twins
from janusjit.profiler.profile import Profile
from janusjit.profiler.recorder import Probe, Recorder

_REPEATS = 20


def observations(recorder: Recorder) -> int:
    """Return how many times the probes of a recorder have been called."""
    total = 0
    for code in recorder.codes():
        counters = recorder.known(code)
        assert counters is not None
        total += sum(sum(counts) for counts in counters.branches.values())
        total += sum(counts[2] for counts in counters.trips.values())
        total += sum(scalars.count for scalars in counters.scalars.values())
        total += sum(arrays.count for arrays in counters.arrays.values())
        total += sum(sum(kinds.values()) for kinds in counters.others.values())
        total += sum(entry[1] for callees in counters.callees.values() for entry in callees.values())
    return total


@functools.cache
def seconds_per_observation() -> float:
    """Return by how many seconds an observation makes a twin slower: its probe, and its share of the plainer code.

    The probes are called here as a twin calls them, which takes as long as a twin's code does in the mean. To make a
    twin takes twenty times as long as that.
    """
    profile = Profile()
    probe = Probe(profile.recorder.counters(_observe.__code__), Twins(profile).substitute)
    array = np.ones((4, 4))
    fastest = min(_timed(probe, array) for _ in range(_REPEATS))
    return fastest * _REPEATS / observations(profile.recorder)


def _timed(probe: Probe, array: np.ndarray) -> float:
    started = time.perf_counter()
    _observe(probe, array, array.mean, 3)
    return time.perf_counter() - started


def _observe(probe: Probe, array: np.ndarray, method: Callable[..., Any], turns: int) -> None:
    """Observe a little of everything that training steps do."""
    for number in range(turns):
        for site in range(5):
            probe.value(site, array)
        probe.value(6, 0.1)
        probe.value(7, number + 0.5)
        probe.value(8, number)
        probe.value(9, number % 2)
        probe.branch(10, True)
        probe.callee(11, np.maximum)
        probe.callee(12, method)
        probe.callee(13, float)
