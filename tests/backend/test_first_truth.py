"""Positions in arrays of truth values, which are searched up to the first that decides."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


@pytest.mark.parametrize("function", [np.argmax, np.argmin])
def test_first_truth(function: np.ufunc) -> None:
    def position(x):
        return function(x)

    compiled = jj.jit(background=False)(position)
    for count in (1, 9, 63, 64, 65, 200):
        for place in (0, count // 2, count - 1, None):
            for value in (True, False):
                x = np.full(count, not value)
                if place is not None:
                    x[place:] = value
                for _ in range(3):
                    result = compiled(x)
                    assert result == position(x)
                    assert type(result) is np.int64
    assert compiled.stats.graph_calls > 50


def test_rows_of_truth_values() -> None:
    def positions(x):
        return np.argmax(x, axis=1), np.argmin(x, axis=1)

    compiled = jj.jit(background=False)(positions)
    x = np.random.default_rng(4).random((50, 130)) < 0.02
    for _ in range(5):
        np.testing.assert_equal(compiled(x), positions(x))
    assert compiled.stats.graph_calls >= 3
