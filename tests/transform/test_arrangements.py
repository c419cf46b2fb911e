"""Elementwise work on convolutions that programs arrange as matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import janusjit as jj


def as_rows(x: Any, w: Any, b: Any) -> Any:
    """The convolution with its windows as rows."""
    windows = sliding_window_view(x, (3, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5).reshape(-1, 18)
    return windows @ w.reshape(4, -1).T + b


def activated(x: Any, w: Any, b: Any) -> Any:
    return np.maximum(as_rows(x, w, b).reshape(5, 9, 12, 4).transpose(0, 3, 1, 2), 0.0)


def by_channels(x: Any, w: Any, b: Any) -> Any:
    windows = sliding_window_view(x, (3, 2), axis=(2, 3)).transpose(1, 4, 5, 0, 2, 3).reshape(18, -1)
    product = np.tanh(w.reshape(4, -1) @ windows + b.reshape(-1, 1))
    return (product * product).reshape(4, 5, 9, 12).transpose(1, 0, 2, 3) * 2.0


def branching(x: Any, w: Any, b: Any) -> Any:
    out = as_rows(x, w, b).reshape(5, 9, 12, 4).transpose(0, 3, 1, 2)
    return np.where(out <= 0, 0.01 * out, out)


def with_all_of_a_row(x: Any, w: Any, b: Any) -> Any:
    """What is added along the windows, of which there are many, is small for each image."""
    rows = as_rows(x, w, b).reshape(5, 108, 4)
    return (rows + np.arange(108.0).reshape(-1, 1)).reshape(5, 9, 12, 4).transpose(0, 3, 1, 2) * 0.5


def run(function: Any) -> Any:
    rng = np.random.default_rng(0)
    arguments = rng.standard_normal((5, 3, 11, 13)), rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
    step = jj.jit(function, background=False)
    for _ in range(4):
        got = step(*arguments)
    wanted = function(*arguments)
    for one, other in zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]:
        assert (one.dtype, one.shape, one.strides) == (other.dtype, other.shape, other.strides)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    return step.specializations[0]


@pytest.mark.parametrize("program", [activated, by_channels, branching], ids=lambda one: one.__name__)
def test_nothing_is_moved_to_and_fro(program: Any) -> None:
    found = run(program)
    assert "[108" not in found.plan
    assert "copy" not in found.plan.replace("[5,4,9,12]", "")
    assert not any(shape in found.plan for shape in ("[540,4]", "[4,540]", "[5,9,12,4]"))


def test_operands_may_be_small_in_part() -> None:
    assert "[540,4]" not in run(with_all_of_a_row).plan


def test_what_is_wanted_as_a_matrix_is_one() -> None:
    """Its elements are moved once, and elementwise work of large operands stays where they are."""

    def both(x, w, b):  # type: ignore[no-untyped-def]
        rows = as_rows(x, w, b)
        return rows * 2.0, rows @ np.ones((4, 3)), np.tanh(rows) + np.arange(2160.0).reshape(540, 4)

    assert run(both).plan.count("convolution by") == 1


def test_results_that_returned_views_rely_on_stay() -> None:
    def step(x, w, b):  # type: ignore[no-untyped-def]
        rows = as_rows(x, w, b)
        return rows, rows.reshape(5, 9, 12, 4).transpose(0, 3, 1, 2)

    jitted = jj.jit(step, background=False)
    rng = np.random.default_rng(0)
    arguments = rng.standard_normal((5, 3, 11, 13)), rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
    for _ in range(4):
        rows, turned = jitted(*arguments)
    np.testing.assert_allclose(rows, step(*arguments)[0], rtol=0, atol=1e-12)
    assert np.shares_memory(rows, turned)
