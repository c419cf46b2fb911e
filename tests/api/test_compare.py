"""`compare` tells the truth about answers and times, in both directions."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.compare import Comparison, Timing, _number_differences


@jj.jit
def chained(x, y):
    return (x * y + 1.0) / (y - x) * 2.0 - y


@jj.jit
def generate(x):
    yield x


class Counter:
    def __init__(self):
        self.total = np.zeros(3)

    @jj.jit
    def add(self, x):
        self.total += x
        return self.total * 1.0


def test_the_same_answer_from_the_graph():
    x, y = np.linspace(0, 1, 50), np.linspace(2, 3, 50)
    comparison = jj.compare(chained, x, y)
    assert comparison.in_graph
    assert comparison.identical
    assert comparison.cold > 0
    assert 0 < comparison.guards <= comparison.graph.median * 2
    assert "same answer   to the last bit" in str(comparison)
    assert chained.stats.calls == 0  # it looks, and leaves no trace


def test_the_caller_s_objects_stay_as_they_are():
    counter = Counter()
    comparison = jj.compare(counter.add, np.ones(3))
    assert comparison.in_graph
    np.testing.assert_array_equal(counter.total, np.zeros(3))


def test_what_stays_in_python_is_said():
    comparison = jj.compare(generate, 1)
    assert not comparison.in_graph
    assert comparison.speedup is None
    assert "runs in plain Python" in str(comparison)


def test_only_jitted_functions():
    with pytest.raises(TypeError, match="jitted"):
        jj.compare(len, [])


def timing(median):
    return Timing(median, median, median, 10)


def test_eager_wins_and_break_even():
    slower = Comparison("f", True, "", (), timing(1e-6), timing(2e-6), 0.1, 1e-7)
    assert slower.break_even is None
    assert "eager wins    by 2.00×" in str(slower)
    faster = Comparison("f", True, "", (), timing(3e-6), timing(1e-6), 0.1, 1e-7)
    assert faster.break_even == 50_000
    assert "graph wins    by 3.00×, has paid for itself after 50000 calls" in str(faster)


def test_differences_in_bits_then_ulp_then_distance():
    eager = np.array([1.0, 2.0, np.nan])
    assert list(_number_differences(eager, eager.copy(), None, "result")) == []
    graph = np.array([np.nextafter(1.0, 2.0), 2.0, np.nan])
    reference = np.array([1.0, 2.0, np.nan], np.longdouble)
    (difference,) = _number_differences(eager, graph, reference, "result")
    assert (difference.ulp, difference.eager_error) == (1.0, 0.0)
    assert difference.graph_error == np.spacing(1.0)
    assert difference.rounding
    (far,) = _number_differences(eager, eager + 1.0, reference, "result")
    assert not far.rounding
    (signed,) = _number_differences(np.array([0.0]), np.array([-0.0]), None, "result")
    assert "other bits" in signed.what
    (typed,) = _number_differences(np.ones(2), np.ones(2, "f4"), None, "result")
    assert "float64[2] eagerly, float32[2]" in typed.what
