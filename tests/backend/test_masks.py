"""Elements chosen by masks: in order, from rows of all lengths, with and without vectors, and nothing beyond them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import engine

LENGTHS = (0, 1, 7, 8, 15, 16, 17, 40, 64, 129, 1000)
PROBABILITIES = (0.0, 0.1, 0.5, 0.9, 1.0)


def chosen(x, mask):
    return x[mask]


def numbers(x, mask):
    return np.nonzero(mask)


def numbers_of_values(x, mask):
    return np.nonzero(x)


def put(x, mask):
    x[mask] = x[mask] + x[mask]
    return x


def check(function: Callable[..., Any], cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    compiled = jj.jit(background=False)(function)
    for x, mask in cases:
        before = compiled.stats.graph_calls
        expected, own = function(x.copy(), mask), x.copy()
        for _ in range(5):
            own = x.copy()
            result = compiled(own, mask)
        for a, b in zip(np.atleast_2d(expected), np.atleast_2d(result), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        if function is not put:
            np.testing.assert_array_equal(own, x)
        assert compiled.stats.graph_calls >= before + 3


@pytest.fixture(params=["vectors", "scalars"])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "scalars":
        monkeypatch.setattr(engine, "vector_bytes", lambda: 32)


def draws(dtype: str, shapes: list[tuple[int, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    cases = []
    for shape in shapes:
        for probability in PROBABILITIES:
            mask = rng.random(shape) < probability
            cases.append(((rng.integers(0, 3, shape) * 7).astype(dtype), mask))
    return cases


@pytest.mark.usefixtures("width")
@pytest.mark.parametrize("function", [chosen, numbers, numbers_of_values, put])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8"])
def test_rows(function: Callable[..., Any], dtype: str) -> None:
    check(function, draws(dtype, [(length,) for length in LENGTHS]))


@pytest.mark.usefixtures("width")
@pytest.mark.parametrize("function", [chosen, numbers, numbers_of_values, put])
def test_matrices(function: Callable[..., Any]) -> None:
    for shape in ((5, 3), (3, 40), (1, 100), (40, 17), (2, 3, 30), (4, 0)):
        check(function, draws("float64", [shape]))


@pytest.mark.usefixtures("width")
@pytest.mark.parametrize("function", [chosen, numbers, numbers_of_values, put])
def test_arrays_with_gaps(function: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    x, mask = rng.integers(0, 3, (30, 50)).astype("float32"), rng.random((30, 50)) < 0.4
    check(function, [(x[:, ::2][::2], mask[:, ::2][::2])])
    check(function, [(x[:, :40], mask[:, 5:45])])
    check(function, [(x.T, mask.T)])
    check(function, [(x[:, 3], mask[:, 7])])


def test_nan_is_true() -> None:
    x = np.tile([0.0, np.nan, -0.0, np.inf, 5e-324], 10)
    check(numbers_of_values, [(x, x > 0), (x.astype("float32")[:9], x[:9] > 0)])
