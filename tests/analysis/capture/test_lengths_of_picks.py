"""What masks pick: one mask picks as many elements of each array, also of arrays that are not known to fit."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj

SIZES = (10, 11, 12, 13, 20, 20)


def halves(x, y, threshold):
    below = x[:, 0] < threshold
    left, right = x[below], x[~below]
    return left.T @ y[below], (right.sum(axis=1) * y[~below]).sum(), np.column_stack([left, y[below]])


def written(x, y, threshold):
    below = x[:, 0] < threshold
    y[below] = x[below, 1] * x[below].sum(axis=1)
    return y


def apart(x, y, threshold):
    return y[x[:, 0] < threshold] * x[x[:, 0] < threshold].sum(axis=1)


@pytest.mark.parametrize("function", [halves, written, apart])
def test_one_mask_picks_as_many_of_each_array(function):
    rng = np.random.default_rng(0)
    compiled = jj.jit(background=False)(function)
    for size in SIZES:
        x, y = rng.normal(size=(size, 3)), rng.normal(size=size)
        expected, result = function(x, y.copy(), 0.1), compiled(x, y, 0.1)
        for one, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    assert compiled.stats.graph_calls == len(SIZES) - 2 and compiled.stats.host_calls == 0
    assert "array.shape" not in compiled.specializations[0].graph.partition("exit")[0]
    assert compiled.specializations[0].graph.count("bind_dim") == (2 if function is halves else 1)


def tree(x, y, depth):
    if depth == 0 or len(y) < 4:
        return y.sum()
    below = x[:, 0] < x[:, 0].mean()
    left = tree(x[below], y[below], depth - 1)
    return left - 0.5 * tree(x[~below], y[~below], depth - 1)


def test_a_mask_of_one_array_picks_from_another_of_a_size_that_is_not_known_to_be_the_same():
    def pick(values, keys):
        return values[keys > 0.0].sum(), keys[keys > 0.0].size

    compiled = jj.jit(background=False)(pick)
    rng = np.random.default_rng(0)
    sizes = [(10, 10), (10, 10), (10, 10), (11, 11), (12, 12), (13, 13)]
    for first, second in sizes:
        values, keys = rng.normal(size=first), rng.normal(size=second)
        assert compiled(values, keys) == pytest.approx(pick(values, keys))
    assert compiled.stats.graph_calls == len(sizes) - 2 and compiled.stats.host_calls == 0
    with pytest.raises(IndexError, match="boolean index did not match"):
        compiled(rng.normal(size=12), rng.normal(size=13))


def test_a_recursion_over_picked_parts_has_few_specializations():
    rng = np.random.default_rng(0)
    compiled = jj.jit(background=False)(tree)
    for size in (40, 40, 40, 41, 50, 60):
        x, y = rng.normal(size=(size, 2)), rng.normal(size=size)
        assert compiled(x, y, 3) == pytest.approx(tree(x, y, 3))
    assert compiled.stats.host_calls == 0
