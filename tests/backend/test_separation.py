"""What is in one loop: operations told apart by the floating-point flags, and functions of short rows."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj

LARGE = 5000  # no backup is kept of so many


def settled(function: Any, *arguments: Any) -> Any:
    step = jj.jit(function, background=False, warmup=1)
    for _ in range(5):
        step(*copy.deepcopy(arguments))
    assert step.stats.graph_calls >= 4
    return step


def steps_of(step: Any) -> list[str]:
    return [line for line in step.specializations[0].plan.splitlines() if "fused" in line]


def before_the_write(w: Any, x: Any, b: Any) -> Any:
    hidden = np.maximum(x + b, 0.0)
    w -= 0.5 * hidden
    return hidden


def behind_the_write(w: Any, x: Any, b: Any) -> Any:
    w -= 0.5 * x
    return np.maximum(x * w + b, 0.0)


def beside_the_write(w: Any, x: Any, b: Any) -> Any:
    doubled = w * 2.0
    hidden = np.maximum(x[:700] + b[:700], 0.0)
    w -= doubled
    return hidden


def same_outcome(step: Any, *arguments: Any) -> None:
    outcomes = []
    for function in (step.__wrapped__, step):
        given = copy.deepcopy(arguments)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            result = function(*given)
        outcomes.append((result, given, sorted(str(one.message) for one in raised)))
    (plain, left, expected), (found, changed, messages) = outcomes
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(changed[0], left[0])
    assert messages == expected


def with_one(value: float) -> np.ndarray[Any, Any]:
    array = np.ones(LARGE)
    array[17] = value
    return array


@pytest.mark.parametrize("function", [before_the_write, behind_the_write, beside_the_write])
def test_errors_of_which_nobody_hears_seem_no_others(function: Any) -> None:
    step = settled(function, np.ones(LARGE), np.ones(LARGE), np.ones(LARGE))
    for w, x, b in ((np.nan, 1.0, 1.0), (1.0, np.nan, 1.0), (1.0, 1.7e308, 1.7e308), (1.0, np.inf, -np.inf)):
        same_outcome(step, with_one(w), with_one(x), with_one(b))
    before = step.stats.graph_calls
    step(np.ones(LARGE), np.ones(LARGE), np.ones(LARGE))
    assert step.stats.graph_calls == before + 1


def test_what_comes_before_the_first_write_is_in_one_loop() -> None:
    step = settled(before_the_write, np.ones(LARGE), np.ones(LARGE), np.ones(LARGE))
    together, written = steps_of(step)
    assert "add, maximum" in together and "update" in written


def test_what_may_come_behind_a_write_is_not() -> None:
    for function in (behind_the_write, beside_the_write):
        step = settled(function, np.ones(LARGE), np.ones(LARGE), np.ones(LARGE))
        assert sum("maximum" in line for line in steps_of(step)) == 1
        assert not any("maximum" in line and "add" in line for line in steps_of(step))


@pytest.mark.parametrize(("columns", "apart"), [(3, True), (8, False), (10, True), (12, False)])
def test_functions_of_rows_that_fill_vectors_badly_are_computed_as_one_long_row(columns: int, apart: bool) -> None:
    def layer(x: Any, b: Any) -> Any:
        return np.tanh(x + b)

    x, b = np.ones((32, columns)), np.arange(float(columns))
    step = settled(layer, x, b)
    before = step.stats.graph_calls
    np.testing.assert_array_almost_equal_nulp(step(x, b), layer(x, b), 4)
    assert step.stats.graph_calls == before + 1
    assert (len(steps_of(step)) == 2) == apart


@pytest.mark.parametrize(("columns", "apart"), [(10, True), (16, False), (3, False), (40, False)])
def test_functions_of_short_rows_are_computed_as_one_long_row(columns: int, apart: bool) -> None:
    def softmax(x: Any) -> Any:
        exponentials = np.exp(x - x.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    x = np.random.default_rng(0).standard_normal((32, columns))
    step = settled(softmax, x)
    before = step.stats.graph_calls
    np.testing.assert_array_almost_equal_nulp(step(x), softmax(x), 8)
    assert step.stats.graph_calls == before + 1
    (line,) = (line for line in steps_of(step) if "exp" in line)
    assert ("sum" not in line and "subtract" not in line) == apart
