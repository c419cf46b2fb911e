"""Counters count right, change nothing and stay small."""

import gc
import sys
import weakref

import numpy as np
import pytest

from janusjit.profiler.profile import BranchCounts, Profile, TripCounts
from janusjit.profiler.recorder import Probe, Recorder


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


def test_callees(probe, recorder):
    assert probe.callee(len) is len and probe.callee(function) is function
    assert recorder.counters(CODE).callees == 2
    probe.enter()
    assert Profile(recorder).calls(CODE) == 1


def test_arrays_are_not_kept(probe):
    array = np.ones(3)
    reference = weakref.ref(array)
    probe.callee(array.sum)
    del array
    gc.collect()
    assert reference() is None


def test_memory_is_bounded(probe, recorder):
    for number in range(3000):
        probe.callee(lambda: 0)
        probe.trips(5, number)
        probe.branch(6, number > 3)
    counters = recorder.counters(CODE)
    assert counters.callees == 3000
    assert sys.getsizeof(counters.trips) < 500 and sys.getsizeof(counters.branches) < 500


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
    assert probe.callee(touchy) is touchy
