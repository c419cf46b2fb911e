"""The built-in ``sum`` of NumPy arrays."""

import numpy as np
import pytest

import janusjit as jj


def summed(x):
    return sum(x), sum(x, 0)


def summed_where(x):
    return sum(x[x > 1.0]) * 2


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?"])
@pytest.mark.parametrize("shape", [(500,), (9,), (30, 4), (3,)])
def test_sums_are_pythons_to_the_bit(dtype, shape):
    step = jj.jit(summed, background=False)
    rng = np.random.default_rng(0)
    for number in range(7):
        x = (rng.normal(size=shape) * (10 if number < 6 else -0.0)).astype(dtype)
        for expected, found in zip(summed(x), step(x), strict=True):
            assert type(found) is type(expected)
            assert np.asarray(found).dtype == np.asarray(expected).dtype
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
    assert (step.stats.graph_calls, step.stats.host_calls, step.stats.deopts) == (5, 0, 0)


def test_a_sum_of_as_many_as_there_are():
    step = jj.jit(summed_where, background=False)
    rng = np.random.default_rng(0)
    for number in range(20):
        x = rng.normal(size=40) - 100 * (number % 7 == 6)
        expected, found = summed_where(x), step(x)
        assert found == expected and type(found) is type(expected)
    assert step.stats.host_calls == 0
    assert step.stats.graph_calls == 18  # of no items the sum is an int: Python's


def test_a_sum_that_overflows_warns():
    step = jj.jit(summed, background=False)
    x = np.full(20, 2**61)
    for _ in range(4):
        step(np.arange(20))
    with pytest.warns(RuntimeWarning, match="overflow encountered in scalar add"):
        found = step(x)
    with pytest.warns(RuntimeWarning):
        assert summed(x) == found
    assert step.stats.deopts == 1
