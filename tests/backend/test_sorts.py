"""Sorting from compiled code: NumPy's own, without a frame of Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj


def program(x: Any, y: Any) -> Any:
    y.sort()
    return np.sort(x), np.sort(x, axis=0), np.sort(x.T), np.sort(x[::2, ::-1], axis=1), np.sort(x, axis=None), y


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16", "uint8", "bool"])
def test_sorted_copies(dtype: str) -> None:
    rng = np.random.default_rng(0)
    step = jj.jit(program, background=False)
    for shape in [(7, 9)] * 4 + [(1, 5), (40, 30), (0, 3)]:
        x = rng.integers(0, 50, shape).astype(dtype)
        if dtype.startswith("float") and x.size:
            x[0, 0] = np.nan
        y = rng.integers(0, 50, 33).astype(dtype)
        kept = x.copy()
        for got, expected in zip(step(x, y.copy()), program(x, y.copy()), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(x, kept)
    assert step.stats.graph_calls == step.stats.calls - 2 and step.stats.host_calls == 0
    assert "PyArray_Sort" in step.specializations[0].llvm_ir


def test_comparisons_with_nan_leave_no_flag() -> None:
    step = jj.jit(lambda x: np.sort(x) * 2.0, background=False)
    x = np.array([3.0, np.nan, 1.0, -np.inf] * 9)
    for _ in range(4):
        np.testing.assert_array_equal(step(x), np.sort(x) * 2.0)
    assert step.stats.graph_calls == 2 and step.stats.deopts == 0
