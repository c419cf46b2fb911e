"""Sums of small windows are sums of slices, in NumPy's order, however the windows are written."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import janusjit as jj


def moving_mean(x):
    return sliding_window_view(x, 16).mean(axis=1)


def by_positions(x):
    return x[np.arange(len(x) - 10)[:, None] + np.arange(11)].sum(axis=1)


def every_third(x):
    return sliding_window_view(x, 5)[::3].sum(axis=-1)


def dilated(x):
    return x[2 * np.arange(100)[:, None] + 3 * np.arange(29)].sum(axis=1)


def of_rows(x):
    rows = x[:900].reshape(30, 30)
    return sliding_window_view(rows, 9, axis=1).sum(axis=-1)


def of_columns(x):
    rows = x[:900].reshape(30, 30)
    return sliding_window_view(rows, 4, axis=0).sum(axis=-1)


def deviations(x):
    windows = sliding_window_view(x, 8)
    return windows.sum(axis=1) / 8.0 - x[4:-3]


SMALL = [moving_mean, by_positions, every_third, dilated, of_rows, of_columns, deviations]


def large(x):
    return sliding_window_view(x, 200).sum(axis=1)


def of_windows_and_along_them(x):
    return sliding_window_view(x, 8).sum(axis=0)


def of_all(x):
    return sliding_window_view(x, 8).sum()


OTHERS = [large, of_windows_and_along_them, of_all]


def settled(function, dtype: str):
    jitted, rng = jj.jit(function, background=False), np.random.default_rng(4)
    for _ in range(4):
        x = (rng.standard_normal(1000) * 10.0 ** rng.integers(-3, 4, 1000)).astype(dtype)
        found, expected = jitted(x), function(x)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype == "f8" else 1e-4, atol=1e-2)
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0
    return jitted


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("function", SMALL)
def test_no_window_is_laid_out(function, dtype: str) -> None:
    text = settled(function, dtype).specializations[0].graph
    assert "unfold" not in text and "take" not in text and " sum(" not in text


@pytest.mark.parametrize("function", OTHERS)
def test_other_sums_stay_sums(function) -> None:
    assert " sum(" in settled(function, "f8").specializations[0].graph


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 15, 16, 17, 31, 32])
def test_bits_are_those_of_rows_laid_out(size: int) -> None:
    def total(x):
        return x[np.arange(400)[:, None] + np.arange(size)].sum(axis=1)

    jitted, rng = jj.jit(total, background=False), np.random.default_rng(5)
    for _ in range(4):
        x = rng.standard_normal(450) * 10.0 ** rng.integers(-8, 9, 450)
        x[:40] = -0.0
        found, expected = jitted(x), total(x)
        assert found.tobytes() == expected.tobytes()
    assert jitted.stats.graph_calls >= 2


def test_an_overflow_is_told_of_as_numpy_does() -> None:
    jitted = jj.jit(moving_mean, background=False)
    for _ in range(4):
        jitted(np.ones(200))
    x = np.ones(200)
    x[50:60] = 1e308
    with pytest.warns(RuntimeWarning, match="overflow encountered in reduce"):
        found = jitted(x)
    assert np.isinf(found).any() and jitted.stats.deopts == 1
