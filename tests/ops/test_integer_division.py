"""Divisions of integers by zero are told of as NumPy tells of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj


def warned(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return the result of a call, and what was warned of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    return result, [str(one.message) for one in found]


def floor(x: Any, y: Any) -> Any:
    return x // y


def rest(x: Any, y: Any) -> Any:
    return x % y


def fmod(x: Any, y: Any) -> Any:
    return np.fmod(x, y)


def both(x: Any, y: Any) -> Any:
    quotient, remainder = np.divmod(x, y)
    return quotient + remainder


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "int8", "uint64"])
@pytest.mark.parametrize("function", [floor, rest, fmod, both])
def test_zero_divisors(function: Callable[..., Any], dtype: str) -> None:
    for count in (1, 5, 16, 67):
        x, y = np.arange(count, dtype=dtype), np.arange(1, count + 1, dtype=dtype)
        step = jj.jit(function, background=False, warmup=1)
        for _ in range(4):
            result, said = warned(lambda: step(x, y))  # noqa: B023 - called at once
        assert said == [] and (step.stats.graph_calls, step.stats.deopts) == (3, 0)
        np.testing.assert_array_equal(result, function(x, y))
        y[-1] = 0
        expected, told = warned(lambda: function(x, y))  # noqa: B023
        result, said = warned(lambda: step(x, y))  # noqa: B023
        np.testing.assert_array_equal(result, expected)
        assert set(said) == set(told) and told


def test_scalars_of_numpy_and_errors_that_are_ignored() -> None:
    step = jj.jit(floor, background=False, warmup=1)
    x, y = np.arange(1, 9), np.arange(8)
    with np.errstate(divide="ignore"):
        for _ in range(4):
            result, said = warned(lambda: step(x, y))
    assert said == [] and step.stats.graph_calls == 3 and result[0] == 0
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        step(x, y)
