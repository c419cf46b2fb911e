"""Products of windows and a vector are convolutions too, and no window is laid out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import janusjit as jj


def filtered(x, weights):
    return sliding_window_view(x, 21) @ weights


def filtered_from_the_left(x, weights):
    return weights @ sliding_window_view(x, 21).T


def by_positions(x, weights):
    return x[np.arange(len(x) - 20)[:, None] + np.arange(21)] @ weights


def shifted(x, weights):
    return x[3:] @ np.ones(len(x) - 3) + (sliding_window_view(x, 21)[::2] @ weights).sum()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("function", [filtered, filtered_from_the_left, by_positions, shifted])
def test_filters_are_convolutions(function, dtype: str) -> None:
    jitted, rng = jj.jit(function, background=False), np.random.default_rng(6)
    for _ in range(4):
        x, weights = rng.standard_normal(3000).astype(dtype), rng.standard_normal(21).astype(dtype)
        found, expected = jitted(x, weights), function(x, weights)
        assert found.dtype == expected.dtype and np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-9 if dtype == "f8" else 1e-3, atol=1e-3)
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0
    text = jitted.specializations[0].graph
    assert "convolution(" in text and "unfold" not in text
