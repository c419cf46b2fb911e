"""Every program gives, does and raises what plain Python does, and goes on in a graph after Python was needed."""

from __future__ import annotations

import copy
import traceback

import numpy as np
import pytest

import janusjit as jj
from janusjit.runtime import replacement
from tests.commit_points import programs
from tests.commit_points.programs import PROGRAMS, Host

#: programs that raise at their first host call: nothing of them is ever left to go on with
_ENDS_AT_ONCE = {"host_raises"}


def inputs(number: int):
    rng = np.random.default_rng(number)
    return rng.integers(-3, 5, (2, 3)) / 2.0, rng.integers(-3, 5, (3, 3)) / 2.0


def run(function, host, number):
    """Return everything there is to see of one call."""
    x, w = inputs(number)
    try:
        result = function(host, x, w)
        outcome = ("returned", copy.deepcopy(result))
    except (ArithmeticError, NameError) as error:
        frames = [
            (frame.name, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == programs.__file__
        ]
        outcome = ("raised", type(error), str(error), frames)
    state = {name: value for name, value in vars(host).items() if not callable(value)}
    return outcome, x, w, copy.deepcopy(state)


def same(found, wanted):
    assert type(found) is type(wanted), (found, wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), (found, wanted)
        for left, right in zip(found, wanted, strict=True):
            same(left, right)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    else:
        assert found == wanted


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_program(function):
    step = jj.jit(function, background=False)
    mine, theirs = Host(), Host()
    for number in range(12):
        same(run(step, mine, number), run(function, theirs, number))
    stats = step.stats
    assert step.reason is None, step.reason
    if function.__name__ not in _ENDS_AT_ONCE:
        assert stats.graph_calls >= 9, stats
    assert stats.calls == 12, stats


LOOPS = [function for function in PROGRAMS if "loop" in function.__name__ or "while" in function.__name__]


@pytest.fixture
def eager_replacement(monkeypatch):
    """Take over every loop at its first back edge."""
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)


@pytest.mark.usefixtures("eager_replacement")
@pytest.mark.parametrize("function", LOOPS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("warmup", [2, 12])
def test_loops_are_taken_over(function, warmup):
    step = jj.jit(function, background=False, warmup=warmup)
    mine, theirs = Host(), Host()
    for number in range(8):
        same(run(step, mine, number), run(function, theirs, number))
    assert step.stats.loop_entries >= 2, step.stats
    assert step.stats.calls == 8
