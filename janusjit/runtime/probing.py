"""What profiling costs.

Owns `observations` and `seconds_per_observation`, by which the duration of a profiled call is corrected to what plain
Python would have taken. Invariant: the cost is measured in this process, on a twin, and only when it is asked for.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.analysis.twin import make_twin
from janusjit.profiler.profile import Profile
from janusjit.profiler.recorder import Recorder

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
    """Return by how many seconds an observation makes a twin slower: its probe, and its share of the plainer code."""
    profile = Profile()
    twin = make_twin(_typical, profile)
    parameters = {"W": np.ones((4, 4)), "b": np.ones(4)}
    plain = _fastest(lambda: _typical(parameters, 0.1, 3))
    before = observations(profile.recorder)
    profiled = _fastest(lambda: twin(parameters, 0.1, 3))
    return max(profiled - plain, 0.0) * _REPEATS / (observations(profile.recorder) - before)


def _fastest(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def _typical(parameters: dict[str, np.ndarray], rate: float, count: int) -> float:
    """Do a little of everything that training steps do."""
    total = 0.0
    for index in range(count):
        hidden = parameters["W"] * rate + parameters["b"]
        if index % 2 == 0:
            hidden = np.maximum(hidden, 0.0)
        total += float(hidden.sum()) * (1.0 - rate)
        parameters["b"] = hidden.mean(axis=0)
    return total
