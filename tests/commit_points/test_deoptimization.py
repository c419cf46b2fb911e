"""Guards that fail, wherever they are: nothing a user can see is different."""

from __future__ import annotations

import io

import numpy as np
import pytest

import janusjit as jj
from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.runtime import replacement
from janusjit.runtime.resumption import CONTINUATION_LIMIT
from janusjit.transform.forced_failure import count_guards
from tests.commit_points.programs import PROGRAMS, Host
from tests.commit_points.test_programs import LOOPS, run, same


def compare(function, calls=7, **options):
    step = jj.jit(background=False, **options)(function)
    mine, theirs = Host(), Host()
    for number in range(calls):
        same(run(step, mine, number), run(function, theirs, number))
    return step


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_every_guard_forced_to_fail(function):
    step = compare(function)
    most = max((count_guards(found.captured) for found in step.specializations), default=0)
    deoptimized = 0
    for number in range(most):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            deoptimized += compare(function).stats.deopts
    assert deoptimized >= most


@pytest.fixture
def eager_replacement(monkeypatch):
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)


@pytest.mark.usefixtures("eager_replacement")
@pytest.mark.parametrize("function", LOOPS, ids=lambda function: function.__name__)
def test_every_guard_forced_to_fail_in_loops_that_were_taken_over(function):
    for number in range(3):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            assert compare(function, calls=4, warmup=9).stats.loop_entries > 0


def train(x, w, epochs, odd):
    """A whole training loop in one call, whose branch goes the other way late."""
    count = 0
    for epoch in range(epochs):
        gradient = x.T @ np.tanh(x @ w)
        if epoch == odd:
            w *= 0.5
            count += 1
        w -= 0.001 * gradient
    return count


@pytest.mark.usefixtures("eager_replacement")
def test_a_late_failure_costs_one_turn():
    step = jj.jit(background=False)(train)
    rng = np.random.default_rng(0)
    x, mine = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    theirs = mine.copy()
    turns = []
    jj_on = jj.on_event(lambda event: turns.append(event) if event.kind == "guard_failed" else None)
    try:
        assert step(x, mine, 2000, 1990) == train(x, theirs, 2000, 1990) == 1
    finally:
        jj_on()
    np.testing.assert_allclose(mine, theirs, rtol=1e-11)
    stats = step.stats
    assert stats.loop_entries == 1 and stats.deopts == 1
    (event,) = turns
    assert event.resumed == "graph" and event.cause.code == "branch"  # not a turn more in Python
    assert step(x, mine, 50, 7) == train(x, theirs, 50, 7) == 1
    np.testing.assert_allclose(mine, theirs, rtol=1e-11)
    assert step.stats.deopts == 1


def test_a_policy_that_refuses_python_discards_the_whole_loop():
    step = jj.jit(policy="raise")(train)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    for _ in range(4):
        step(x, w, 100, -1)
    before = w.copy()
    with pytest.raises(jj.GuardError):
        step(x, w, 100, 90)
    np.testing.assert_array_equal(w, before)


def test_the_report_names_what_python_runs():
    host = Host()

    def interrupted(x):
        y = x * 2.0
        noted = host.total(y)
        return y + noted

    step = jj.jit(background=False)(interrupted)
    for _ in range(10):
        step(np.ones(3))
    (function,) = step.report().functions
    (row,) = (row for row in function.rows if row.reason)
    assert row.code == "python.source" and "host.total(y)" in row.text
    assert row.where.line == interrupted.__code__.co_firstlineno + 2
    assert function.plain is None and function.counted.host_calls == 8
    printed = io.StringIO()
    step.report().print(printed, width=200)
    assert "8 host calls" in printed.getvalue()


def test_a_function_with_very_many_places_to_go_on_from_is_not_compiled_at_each():
    host = Host()

    def scattered(x):
        total = 0.0
        for i in range(10):
            for j in range(10):
                total += host.total(x * i) * j
        return total

    step = jj.jit(background=False)(scattered)
    for _ in range(4):
        assert step(np.ones(3)) == scattered(np.ones(3))
    assert step.stats.specializations <= 1 + CONTINUATION_LIMIT
    (function,) = step.report().functions
    assert "limit.continuations" in {row.code for row in function.rows}


space = {}
exec("def positive(number):\n    return number > 0", space)
positive = space["positive"]


def asks_in_its_test(x, k, kept):
    """The turns are regions of their own, and Python is needed in the test before each."""
    count = 0
    while (positive(k) and k > 1) and count < 4:
        count += 1
        for _ in np.clip(x, -2.0, -1.0):
            if len(kept) == 2:
                raise ValueError("no")
            kept["last"] = x.copy()
    return count


@pytest.mark.parametrize("number", range(3))
def test_a_guard_forced_to_fail_in_the_test_of_a_loop(number):
    _PIPELINE._forced.clear()
    with config.override(fail_guard=number):
        step = jj.jit(background=False)(asks_in_its_test)
        for call in range(12):
            x, k = np.arange(2.0 + call % 3), (3, 2.5, 0, 4)[call % 4]
            mine, theirs = ({"first": 0} if call % 3 else {"first": 0, "second": 0} for _ in range(2))
            outcomes = []
            for function, kept in ((step, mine), (asks_in_its_test, theirs)):
                try:
                    outcomes.append(function(x, k, kept))
                except ValueError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
            assert list(mine) == list(theirs)
            np.testing.assert_array_equal(mine.get("last"), theirs.get("last"))
    assert step.stats.deopts > 0
