"""Calls wait for compilation as long as their own time earns them, and no longer."""

import math

import numpy as np
import pytest

import janusjit as jj
from janusjit import config
from janusjit.runtime.budget import Budget
from janusjit.runtime.events import STREAM


def long(x):
    for scale in (0.5, 0.25, 0.125, 0.75):
        for shift in (1.0, 2.0, 3.0, 4.0, 5.0):
            x = np.tanh(x * scale + shift) - x
    return x


def causes(function):
    return [event.cause.code for event in STREAM.events() if event.function == function._lifecycle.publisher.identity]


def test_the_limit_grows_with_the_logarithm_of_the_calls_own_time():
    budget = Budget(2.0)
    assert [budget.limit(earned) for earned in (0.0, 2.0, 6.0, 14.0)] == [2.0, 4.0, 6.0, 8.0]
    assert budget.request(0, None) == 2.0
    budget.took(2.5, 1.0, in_time=True)
    assert budget.request(1, 0.5) == 0.0 and budget.exhausted
    budget._again = 0.0
    assert budget.request(10, 0.5) == pytest.approx(2.0 + 2.0 * math.log2(3.5) - 3.5) and not budget.exhausted


def test_an_attempt_after_one_that_ran_out_of_time_is_granted_twice_as_much():
    budget = Budget(2.0)
    budget.took(1.5, 0.0, in_time=False)
    assert budget.request(0, None) == 0.0  # half a second is left, and would be wasted
    budget._again = 0.0
    assert budget.request(100, 1.0) > 3.0


def test_calls_do_not_wait_for_a_compilation_that_would_take_too_long():
    budget = Budget(2.0)
    assert budget.waits_for(0.1, 1.0) and not budget.waits_for(0.5, 1.0)
    budget.took(0.1, 1.0, in_time=True)
    assert not budget.waits_for(0.1, 1.0)


def test_without_an_allowance_nothing_is_compiled():
    with config.override(allowance=0.0):
        step = jj.jit(background=True)(long)
    for _ in range(6):
        np.testing.assert_array_equal(step(np.ones(3)), long(np.ones(3)))
    assert step.reason is None and step.stats.eager_calls == 6 and step.stats.compile_seconds == 0.0
    assert causes(step).count("cost.compile_time") == 1


def test_a_capture_that_runs_out_of_time_is_tried_again():
    with config.override(allowance=1e-4):
        step = jj.jit(background=True)(long)
    for _ in range(6):
        np.testing.assert_array_equal(step(np.ones(3)), long(np.ones(3)))
    assert step.reason is None and step.stats.graph_calls == 0
    assert causes(step).count("limit.capture_time") == 1
    step._lifecycle.budget.allowance, step._lifecycle.budget._again, step._lifecycle.skips = 1e6, 0.0, 0
    step(np.ones(3))
    assert step.wait(60)
    np.testing.assert_allclose(step(np.ones(3)), long(np.ones(3)), rtol=1e-14)
    assert step.stats.graph_calls == 1


def test_the_rest_of_a_call_is_plain_python_where_its_compilation_is_not_earned():
    total = eval("lambda array: float(array.sum())", {})

    def interrupted(x):
        y = x * 2.0
        z = y + total(y)
        return z * 3.0

    step = jj.jit(background=True)(interrupted)
    expected = interrupted(np.ones(3))
    for _ in range(3):
        np.testing.assert_array_equal(step(np.ones(3)), expected)
    assert step.wait(60)
    budget = step._lifecycle.budget
    budget.spent, spent = 1e6, budget.spent
    np.testing.assert_array_equal(step(np.ones(3)), expected)
    (rest,) = step._lifecycle.resumptions.continuations.values()
    assert step.stats.graph_calls == 1 and len(rest.cache) == 0 and causes(step).count("cost.compile_time") == 1
    budget.spent, budget._again = spent, 0.0
    np.testing.assert_array_equal(step(np.ones(3)), expected)
    assert step.stats.graph_calls == 2
    while len(rest.cache) == 0 and rest.pending is not None:
        rest.pending.result(60)
    assert len(rest.cache) == 1


@pytest.mark.parametrize("options", [{"background": False}, {"background": True, "policy": "raise"}])
def test_who_asks_to_wait_waits(options):
    with config.override(allowance=0.0):
        step = jj.jit(**options)(long)
    for _ in range(3):
        step(np.ones(3))
    assert step.wait(60)
    np.testing.assert_allclose(step(np.ones(3)), long(np.ones(3)), rtol=1e-14)
    assert step.stats.graph_calls >= 1
