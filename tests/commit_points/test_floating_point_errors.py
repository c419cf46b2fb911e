"""Under ``np.seterr(…='raise')`` a graph that meets a floating-point error leaves it to Python to raise."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


def step(w, x):
    w -= 0.1 * np.exp(x)
    return (1.0 / x).sum()


@pytest.mark.parametrize(
    ("modes", "bad"),
    [
        ({"over": "raise"}, [1000.0, 1.0]),
        ({"divide": "raise"}, [0.0, 1.0]),
        ({"over": "raise", "under": "raise"}, [-745.0, 1.0]),
        ({"divide": "raise", "over": "raise", "under": "raise", "invalid": "raise"}, [np.nan, 0.0]),
    ],
)
def test_an_error_is_raised_by_python_and_nothing_is_half_done(modes, bad):
    function = jj.jit(background=False)(step)
    mine, theirs = np.zeros(2), np.zeros(2)
    with np.errstate(**{"divide": "ignore", "over": "ignore", "invalid": "ignore", **modes}):
        for _ in range(5):
            assert function(mine, np.array([1.0, 2.0])) == step(theirs, np.array([1.0, 2.0]))
        assert function.stats.graph_calls == 3
        with pytest.raises(FloatingPointError) as wanted:
            step(theirs, np.array(bad))
        with pytest.raises(FloatingPointError) as found:
            function(mine, np.array(bad))
        assert str(found.value) == str(wanted.value)
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)
        assert function.stats.deopts == 1
        for _ in range(3):
            assert function(mine, np.array([1.0, 2.0])) == step(theirs, np.array([1.0, 2.0]))
    np.testing.assert_allclose(mine, theirs, rtol=1e-14)
    assert function.stats.graph_calls == 7


def test_another_error_state_is_another_specialization():
    function = jj.jit(background=False)(step)
    for _ in range(4):
        function(np.zeros(2), np.array([1.0, 2.0]))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        function(np.zeros(2), np.array([1000.0, 2.0]))
    function(np.zeros(2), np.array([1.0, 2.0]))
    assert function.stats.specializations == 2


def test_a_warning_is_pythons_to_give():
    function = jj.jit(background=False)(lambda x: np.exp(x) * 2.0)
    with np.errstate(over="warn"):
        for _ in range(4):
            function(np.array([1.0, 2.0]))
        with pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
            assert np.isinf(function(np.array([1.0, 1000.0]))[1])
        function(np.array([1.0, 2.0]))
    assert function.stats.deopts == 1 and function.stats.graph_calls == 4
