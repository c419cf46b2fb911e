"""A few numbers known at run time are sorted in the graph as Python sorts them."""

import numpy as np
import pytest

import janusjit as jj


def two_of_many(rng, x):
    i, j = sorted(rng.choice(len(x), 2, replace=False))
    x[i : j + 1] = x[i : j + 1][::-1].copy()
    return i, j, type(i)


def ends(rng, x):
    values = [int(value) for value in rng.integers(0, 4, size=5)]
    values.sort(reverse=True)
    return values, sorted(values), sorted(rng.integers(0, 9, size=7), reverse=True)


def floats(rng, x):
    first, second = float(x[0]), float(x[1])
    low, high = sorted([first, second])
    return low, high, sorted((x[1], x[0]), reverse=True), sorted({3, 1, 2})


@pytest.mark.parametrize("function", [two_of_many, ends, floats])
@pytest.mark.parametrize("start", [None, np.nan, -0.0])
def test_numbers_are_sorted(function, start):
    step = jj.jit(function, background=False)
    own, other = np.random.default_rng(0), np.random.default_rng(0)
    for number in range(12):
        x = np.random.default_rng(number).normal(size=8)
        if start is not None:
            x[number % 2 :: 2] = start
            x[1] = 0.0 if start == 0 else x[1]
        y = x.copy()
        assert repr(step(own, x)) == repr(function(other, y))
        np.testing.assert_array_equal(x, y)
    assert own.bit_generator.state == other.bit_generator.state
    assert step.stats.graph_calls == 10
    assert not step.stats.host_calls
    assert not step.stats.deopts
