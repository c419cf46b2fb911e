"""What the profiler's probes cost.

Owns `probe_seconds`, by which the duration of a profiled call is corrected to what plain Python would have taken.
Invariant: the cost of a probe is measured in this process, not assumed.
"""

from __future__ import annotations

import functools
import time

import numpy as np

from janusjit.profiler.recorder import Probe, Recorder, SiteCounters

_REPEATS = 200


def probe_seconds(recorder: Recorder) -> float:
    """Return about how many seconds the probes of a recorder have taken so far."""
    return _observations(recorder) * _seconds_per_observation()


def _observations(recorder: Recorder) -> int:
    total = 0
    for code in recorder.codes():
        counters = recorder.known(code)
        assert counters is not None
        total += counters.calls
        total += sum(sum(counts) for counts in counters.branches.values())
        total += sum(counts[2] for counts in counters.trips.values())
        total += sum(scalars.count for scalars in counters.scalars.values())
        total += sum(arrays.count for arrays in counters.arrays.values())
        total += sum(sum(kinds.values()) for kinds in counters.others.values())
        total += sum(entry[1] for callees in counters.callees.values() for entry in callees.values())
    return total


@functools.cache
def _seconds_per_observation() -> float:
    """Measure the mean of observing an array and observing a number."""
    probe = Probe(SiteCounters(), lambda callee: callee)
    array = np.ones(3)
    started = time.perf_counter()
    for _ in range(_REPEATS):
        probe.value(0, array)
        probe.value(1, 1.5)
    return (time.perf_counter() - started) / (2 * _REPEATS)
