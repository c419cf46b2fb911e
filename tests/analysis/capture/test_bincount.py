"""Counts of numbers are added up in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj


def counted(numbers: Any, weights: Any) -> Any:
    return np.bincount(numbers), np.bincount(numbers, weights, 70), np.bincount(numbers, minlength=64) * 2


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
@pytest.mark.parametrize("weight", ["float64", "float32", "int64"])
def test_numbers_are_counted(dtype: str, weight: str) -> None:
    rng = np.random.default_rng(0)
    step = jj.jit(counted, background=False)
    for most in (50, 66, 1, 100, 50):
        numbers, weights = rng.integers(0, most, 1000).astype(dtype), (rng.random(1000) * 9).astype(weight)
        for got, wanted in zip(step(numbers, weights), counted(numbers, weights), strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    assert (step.stats.graph_calls, step.stats.deopts) == (3, 0)
    assert "bincount" not in step.specializations[-1].plan


def test_negative_numbers_are_refused_by_numpy() -> None:
    step = jj.jit(lambda numbers: np.bincount(numbers), background=False)
    for _ in range(4):
        step(np.arange(9))
    with pytest.raises(ValueError, match=r"must have no negative elements|must not be negative"):
        step(np.array([0, 1, 2, -1, 3, 4, 5, 6, 7]))
    assert step.stats.deopts == 1


def test_the_gradient_by_the_weights() -> None:
    numbers, weights = np.array([0, 2, 2, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    gradient = jj.grad(lambda w, n: (np.bincount(n, w, 5) ** 2).sum())
    step = jj.jit(lambda w, n: gradient(w, n), background=False)
    for _ in range(4):
        np.testing.assert_allclose(step(weights, numbers), [2.0, 10.0, 10.0, 8.0])
    assert step.stats.graph_calls == 2
