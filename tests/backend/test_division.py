"""Rows divided by one number: the bits and the flags of division, whatever the operands."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import division, engine

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 2.2250738585072014e-308, 1e-160, 1e160, 1.7976931348623157e308]
ONES = 1.9999999999999998  # all bits of the mantissa


def divided(x: Any, y: Any) -> Any:
    return x / y


def settled(function: Any, *arguments: Any) -> Any:
    step = jj.jit(function, background=False, warmup=1)
    for _ in range(4):
        step(*arguments)
    assert step.stats.graph_calls >= 3
    return step


def same_bits(found: Any, expected: Any) -> bool:
    """Whether elements are the same to the bit; any NaN is one."""
    return bool(np.all((found.view(np.int64) == expected.view(np.int64)) | (np.isnan(found) & np.isnan(expected))))


def hard_dividends(rng: np.random.Generator, divisor: float, count: int) -> np.ndarray[Any, Any]:
    """Return dividends whose quotients lie next to the middle between two floats, or next to a float."""
    quotients = rng.uniform(1.0, 2.0, count).astype(np.longdouble)
    middles = quotients.astype(np.float64).astype(np.longdouble) + np.longdouble(2.0) ** -53
    near = np.concatenate([middles * np.longdouble(divisor), quotients.astype(np.float64) * np.longdouble(divisor)])
    return near.astype(np.float64)


@pytest.mark.parametrize("size", [31, 32, 47, 200])
def test_quotients_are_those_of_division(size: int) -> None:
    rng = np.random.default_rng(size)
    step = settled(divided, np.ones(size), np.ones(1))
    before, calls = step.stats.graph_calls, 0
    divisors = [3.0, 1e-3, 0.1, ONES, 1.0 + 2.0**-52, -7.0, 2.0**251, 2.0**-251, 2.0**250, 2.0**-250]
    with np.errstate(all="ignore"):
        step = settled(divided, np.ones(size), np.ones(1))
        before = step.stats.graph_calls
        for divisor in [*divisors, *SPECIAL, *rng.uniform(1.0, 2.0, 60), *10.0 ** rng.uniform(-320, 308, 60)]:
            usual = rng.standard_normal(size) * divisor
            mixed = rng.integers(0, 2**64, size, np.uint64).view(np.float64)
            mixed[rng.integers(0, size, 5)] = rng.choice(SPECIAL, 5)
            hard = np.resize(rng.permutation(hard_dividends(rng, divisor, size)), size)
            zeros = rng.permutation(np.resize([0.0, -0.0, 1.0], size))
            for x in (usual, mixed, hard, np.zeros(size), -np.zeros(size), zeros):
                assert same_bits(step(x, np.array([divisor])), x / divisor), divisor
                calls += 1
    assert step.stats.graph_calls == before + calls


def test_many_quotients_near_the_middle_of_two_floats() -> None:
    rng = np.random.default_rng(7)
    step = settled(divided, np.ones(4096), np.ones(1))
    before = step.stats.graph_calls
    steps = 2.0**-52 * np.arange(1, 30)
    for divisor in [*rng.uniform(1.0, 2.0, 300), ONES, *(ONES - steps), *(1.0 + steps)]:
        x = hard_dividends(rng, divisor, 2048)
        assert same_bits(step(x, np.array([divisor])), x / divisor)
    assert step.stats.graph_calls == before + 359


def test_rows_with_divisors_of_their_own() -> None:
    def shares(x: Any) -> Any:
        return x / x.sum(axis=1, keepdims=True)

    x = np.random.default_rng(1).uniform(0.0, 1.0, (5, 70))
    x[2, ::3] = 0.0
    step = settled(shares, x)
    before = step.stats.graph_calls
    assert same_bits(step(x), shares(x)) and step.stats.graph_calls == before + 1


@pytest.mark.parametrize(
    ("x", "divisor", "message"),
    [
        (1.0, 0.0, "divide by zero"),
        (0.0, 0.0, "invalid"),
        (1e300, 1e-300, "overflow"),
        (np.inf, np.inf, "invalid"),
        (1.0, 3.0, ""),
    ],
)
def test_errors_are_those_of_division(x: float, divisor: float, message: str) -> None:
    ones = np.ones(40)
    step = settled(divided, ones, np.ones(1))
    array = ones.copy()
    array[17] = x
    with warnings.catch_warnings(record=True) as expected:
        warnings.simplefilter("always")
        divided(array, np.array([divisor]))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        step(array, np.array([divisor]))
    assert [str(one.message) for one in found] == [str(one.message) for one in expected]
    assert any(message in str(one.message) for one in found) or not message


@pytest.mark.skipif(not engine.has_masked_lanes(), reason="the machine cannot leave out lanes")
@pytest.mark.parametrize(("size", "times"), [(division.LEAST, True), (division.LEAST - 1, False)])
def test_long_rows_are_multiplied(size: int, times: bool) -> None:
    step = settled(divided, np.ones((4, size)), np.ones((4, 1)))
    assert ("llvm.fma" in step.specializations[0].llvm_ir) == times
