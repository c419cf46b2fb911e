"""Loops of a few turns: no flag is raised by lanes of a vector that are not elements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import janusjit as jj


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_divisions_in_short_rows_are_not_given_up(dtype: str) -> None:
    """A quotient of zeros in a lane that is masked, or fills a vector up, would seem an error of the program's."""

    def shares(x):  # type: ignore[no-untyped-def]
        return x / x.sum(axis=1, keepdims=True), np.log(x) / (x - 1.0)

    for shape in (*itertools.product((2, 6, 7, 9), (9, 17, 33)), (13, 33), (11, 9), (15, 5), (63, 1), (1, 15)):
        x = np.random.default_rng(2).uniform(2, 3, shape).astype(dtype)
        step = jj.jit(shares, background=False)
        for _ in range(4):
            got = step(x)
        for one, eager in zip(got, shares(x), strict=True):
            np.testing.assert_allclose(one, eager, rtol=1e-6)
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0), shape


@pytest.mark.parametrize("columns", [21, 28, 30, 31, 45])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_short_rows_are_read_backwards(columns: int, dtype: str) -> None:
    """LLVM's estimates of such loops may contradict each other, which ends the process."""

    def turned(x):  # type: ignore[no-untyped-def]
        return x[:, ::-1].copy(), x[::-1, ::-1] * 2.0

    jitted = jj.jit(turned, background=False)
    for number in range(4):
        x = np.random.default_rng(number).normal(size=(5, columns)).astype(dtype)
        for one, other in zip(jitted(x), turned(x), strict=True):
            np.testing.assert_array_equal(one, other)
    assert jitted.stats.graph_calls == 2
