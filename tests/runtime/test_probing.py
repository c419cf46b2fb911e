"""What profiling costs is measured without making a twin."""

import numpy as np

import janusjit as jj
from janusjit.analysis import source
from janusjit.analysis.twin import Twins
from janusjit.profiler.profile import Profile
from janusjit.runtime import probing
from janusjit.runtime.statistics import Tally


def _count(turns):
    total = 0.0
    for number in range(turns):
        total += number * 0.5
    return total


def _mixed(x):
    y = np.tanh(x) * 2.0
    return y.sum() + 1.0


def test_the_cost_of_an_observation_is_measured_on_probes_alone():
    sources = len(source._CACHE)
    seconds = probing.seconds_per_observation.__wrapped__()
    assert seconds > 0.0
    assert len(source._CACHE) == sources


def test_what_is_observed_is_what_a_twin_observes():
    twins = Twins(Profile())
    twins.twin(_count)(3)
    assert probing.observations(twins) == 9  # a call, a callee, a loop's trips, two operators in each turn


def test_values_are_not_observed_since_capture_looks_at_none():
    twins = Twins(Profile())
    assert twins.twin(_mixed)(np.ones(3)) == _mixed(np.ones(3))
    assert probing.observations(twins) == 5  # a call, two callees, two operators


def test_short_profiled_calls_are_not_corrected(monkeypatch):
    asked = []
    monkeypatch.setattr("janusjit.runtime.statistics.seconds_per_observation", lambda: asked.append(1) or 1e-6)
    assert Tally(profiled=[(0.1, 5)], plain_timings=[]).clear_eager_seconds is None and not asked
    assert Tally(profiled=[(0.6, 5)], plain_timings=[]).clear_eager_seconds is not None and asked


def test_the_first_compiled_call_says_what_it_has_saved():
    step = jj.jit(background=False)(_count)
    assert [step(100) for _ in range(3)] == [_count(100)] * 3
    assert step.stats.graph_calls == 1 and step.stats.saved_seconds != 0.0
