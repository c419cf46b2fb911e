"""Filters of long signals become convolutions, with the sums NumPy takes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj


def check(function: Any, *arguments: Any) -> str:
    step = jj.jit(function, background=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            got = step(*arguments)
        wanted = function(*arguments)
    assert (type(got), got.dtype, got.shape) == (type(wanted), wanted.dtype, wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=200 * np.finfo(got.dtype).eps)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    return str(step.specializations[0].plan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize(("length", "taps"), [(300, 2), (301, 7), (1000, 12), (5000, 64), (64, 300)])
def test_filters_are_convolutions(length: int, taps: int, mode: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    signal, weights = (rng.standard_normal(size).astype(dtype) for size in (length, taps))
    assert "implicit windows" in check(lambda x, h: np.convolve(x, h, mode) * 1, signal, weights)
    if length > taps:
        assert "implicit windows" in check(lambda x, h: np.correlate(x, h, mode) * 1, signal, weights)


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
def test_what_is_not_there_meets_no_infinite_element(mode: Any) -> None:
    signal, weights = np.ones(300), np.ones(9)
    signal[40], weights[[0, 8]] = np.nan, np.inf
    signal[200] = 1e308
    step = jj.jit(lambda x, h: np.convolve(x, h, mode), background=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            np.testing.assert_array_equal(step(signal, weights), np.convolve(signal, weights, mode))
    assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


def test_others_are_numpys() -> None:
    rng = np.random.default_rng(0)
    for length, taps in ((50, 3), (300, 1), (300, 65), (100, 40)):
        plan = check(lambda x, h: np.convolve(x, h, "valid") * 1, rng.random(length), rng.random(taps))
        assert "implicit windows" not in plan


def test_the_gradient_goes_through() -> None:
    rng = np.random.default_rng(0)
    signal, weights = rng.standard_normal(300), rng.standard_normal(9)
    gradient = jj.grad(lambda h, x: (np.convolve(x, h, "same") ** 2).sum())
    step = jj.jit(lambda h, x: gradient(h, x), background=False)
    for _ in range(4):
        got = step(weights, signal)
    np.testing.assert_allclose(got, gradient(weights, signal), rtol=1e-10)
    assert step.stats.graph_calls == 2 and "implicit windows" in step.specializations[0].plan
