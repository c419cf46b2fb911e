"""Views by ``reshape`` of arrays whose sizes are known at run time lie in the memory of what they are views of."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


def heads(x, weights, starts, length):
    y = np.stack([x[start : start + length] for start in starts]) @ weights
    queries, keys = (part.reshape(*y.shape[:2], 2, 6).transpose(0, 2, 1, 3) for part in np.split(y, 2, -1))
    return y, queries, keys, (queries @ keys.swapaxes(-1, -2)).sum()


def written(x, weights, starts, length):
    y = np.stack([x[start : start + length] for start in starts]) @ weights
    left = y[:, :, 2:14]
    parts = left.reshape(y.shape[0], y.shape[1], 3, 4)
    parts[:, :, 1] += 1.0
    return y, parts, left


def joined(x, weights, starts, length):
    y = np.stack([x[start : start + length] for start in starts]) @ weights
    rows = y.transpose(1, 0, 2).reshape(y.shape[1], 2, 2, 24)
    columns = y.transpose(0, 2, 1).reshape(4, 4, 6, -1)
    columns[0, 0] = 3.0
    return y, rows, columns


@pytest.mark.parametrize("function", [heads, written, joined])
def test_views_of_run_time_sizes_lie_in_their_base(function):
    step = jj.jit(background=False)(function)
    outcomes = []
    for number in range(8):
        rng = np.random.default_rng(number)
        length = 8 if number < 3 else 8 - number % 3
        arguments = (rng.normal(size=(8, 5)), rng.normal(size=(5, 24)), np.zeros(4, int), length)
        outcomes.append((function(*arguments), step(*arguments)))
    for wanted, found in outcomes:  # compared at the end: memory that was used again would show
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
            if isinstance(one, np.ndarray):
                assert one.strides == other.strides
                assert np.shares_memory(one, wanted[0]) == np.shares_memory(other, found[0])
    assert step.stats.graph_calls == 6
    assert step.stats.deopts == step.stats.host_calls == 0


def tiled(array, k):
    array[k:, k] += 3.0
    return np.tile(array, 2)


def flat(array, k):
    array[k:, k] += 3.0
    return array.reshape(-1)


@pytest.mark.parametrize("function", [tiled, flat])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_what_is_reshaped_may_be_laid_out_as_before_an_update_or_in_c_order(function, order):
    step = jj.jit(background=False)(function)
    for number in range(6):
        whole = np.arange(24.0).reshape(4, 6) + number
        array = whole[:, ::2] if order == "strided" else np.array(whole[:, :3], order=order)
        expected = array.copy(order="K")
        np.testing.assert_array_equal(step(array, 1), function(expected, 1))
        np.testing.assert_array_equal(array, expected)
    assert step.stats.graph_calls >= 3 and step.stats.deopts == 0
