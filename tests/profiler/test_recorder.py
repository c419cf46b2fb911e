"""Counters count right, change nothing and stay small."""

import gc
import math
import sys
import weakref

import numpy as np
import pytest

from janusjit.profiler.profile import ArrayObservations, BranchCounts, Profile, TripCounts
from janusjit.profiler.recorder import (
    DISTINCT_CALLEES,
    DISTINCT_LAYOUTS,
    DISTINCT_VALUES,
    Probe,
    Recorder,
    callee_identity,
)


def function():
    return None


CODE = function.__code__


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def probe(recorder):
    return Probe(recorder.counters(CODE), lambda callee: callee)


def test_nothing_seen():
    profile = Profile()
    assert profile.branch(CODE, 0) == BranchCounts(0, 0)
    assert profile.branch(CODE, 0).evidence == "never reached"
    assert profile.trips(CODE, 0) == TripCounts(0, 0, 0, 0)
    assert profile.trips(CODE, 0).evidence == "never run"
    assert profile.scalar(CODE, 0) is None
    assert profile.array(CODE, 0) is None
    assert profile.callees(CODE, 0) == ()
    assert profile.types(CODE, 0) == {}
    assert profile.calls(CODE) == 0


def test_branches(probe, recorder):
    profile = Profile(recorder)
    for _ in range(3):
        assert probe.branch(7, True) is True
    assert profile.branch(CODE, 7).evidence == "always true, 3 of 3"
    before = profile.branch(CODE, 7)
    assert probe.branch(7, False) is False
    assert before == BranchCounts(3, 0)
    assert profile.branch(CODE, 7).evidence == "true 3 of 4"
    probe.branch(8, False)
    assert profile.branch(CODE, 8).evidence == "always false, 1 of 1"


def test_trips(probe, recorder):
    profile = Profile(recorder)
    probe.trips(1, 5)
    assert profile.trips(CODE, 1).constant == 5
    for count in (3, 9, 5):
        probe.trips(1, count)
    assert profile.trips(CODE, 1) == TripCounts(3, 9, 4, 22)
    assert profile.trips(CODE, 1).constant is None
    assert profile.trips(CODE, 1).evidence == "3 to 9 trips, 4 loops"


def test_scalars(probe, recorder):
    profile = Profile(recorder)
    for value in (0.1, 0.1, 0.1):
        assert probe.value(2, value) is value
    seen = profile.scalar(CODE, 2)
    assert seen.is_constant and seen.constant == 0.1 and seen.kinds == {float: 3}
    assert seen.evidence == "always float 0.1, 3 of 3"
    probe.value(2, 1)
    assert not profile.scalar(CODE, 2).is_constant
    assert profile.scalar(CODE, 2).distinct == (0.1, 1)
    assert seen.distinct == (0.1,)


@pytest.mark.parametrize(
    ("first", "second"), [(1, True), (1, 1.0), (0.0, -0.0), (np.float32(1), np.float64(1)), (1.0, np.float64(1))]
)
def test_equal_values_of_different_kind_are_different(probe, recorder, first, second):
    probe.value(0, first)
    probe.value(0, second)
    assert len(Profile(recorder).scalar(CODE, 0).distinct) == 2


def test_nan_is_one_value(probe, recorder):
    probe.value(0, math.nan)
    probe.value(0, float("nan"))
    assert Profile(recorder).scalar(CODE, 0).is_constant


def test_huge_integers(probe, recorder):
    assert probe.value(0, 10**5000) == 10**5000
    assert Profile(recorder).scalar(CODE, 0).maximum == 10**5000


def test_arrays(probe, recorder):
    array = np.ones((2, 3), np.float32)
    for seen in (array, array, array.T, np.ones(4)):
        assert probe.value(3, seen) is seen
    found = Profile(recorder).array(CODE, 3)
    assert found == ArrayObservations(
        4, {("<f4", (2, 3), True): 2, ("<f4", (3, 2), False): 1, ("<f8", (4,), True): 1}, False
    )
    assert found.dtypes == ("<f4", "<f8")
    assert found.shapes == ((2, 3), (3, 2), (4,))


def test_arrays_are_not_kept(probe):
    array = np.ones(3)
    reference = weakref.ref(array)
    probe.value(0, array)
    probe.callee(1, array.sum)
    del array
    gc.collect()
    assert reference() is None


def test_memory_is_bounded(probe, recorder):
    def maker():
        return lambda: 0

    for number in range(3000):
        probe.value(0, number)
        probe.value(1, np.empty(number))
        probe.value(2, type(f"T{number}", (), {})())
        probe.callee(3, maker())
        probe.callee(4, type(f"T{number}", (), {}))
        probe.trips(5, number)
        probe.branch(6, number > 3)
    counters = recorder.counters(CODE)
    assert len(counters.scalars[0].distinct) == DISTINCT_VALUES and counters.scalars[0].overflow
    assert len(counters.arrays[1].layouts) == DISTINCT_LAYOUTS and counters.arrays[1].overflow
    assert len(counters.others[2]) == DISTINCT_VALUES
    assert len(counters.callees[3]) == 1
    assert len(counters.callees[4]) == DISTINCT_CALLEES
    assert Profile(recorder).scalar(CODE, 0).count == 3000
    assert Profile(recorder).scalar(CODE, 0).maximum == 2999
    assert sys.getsizeof(counters.trips) < 500


def test_probes_run_no_code_of_the_users_objects(probe):
    class Touchy:
        def __getattribute__(self, name):
            raise AssertionError(name)

        def __eq__(self, other):
            raise AssertionError

        __hash__ = None

        def __repr__(self):
            raise AssertionError

    touchy = Touchy()
    assert probe.value(0, touchy) is touchy
    assert probe.callee(0, touchy) is touchy


@pytest.mark.parametrize(
    ("callee", "identity"),
    [
        (function, CODE),
        (len, len),
        (np.add, np.add),
        (dict, dict),
        ([].append, list),
        (np.ones(1).sum, np.ndarray),
        (math.exp, math.exp),
        (Recorder().known, Recorder.known.__code__),
        (slice(1), slice),
    ],
)
def test_callee_identity(callee, identity):
    assert callee_identity(callee) is identity
