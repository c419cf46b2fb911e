"""``np.vectorize``: its function is followed, element by element, in a loop of the graph."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison

LOG: list[float] = []


def soft(v):
    return v - 1.0 if v > 1.0 else 0.0


def collatz(n):
    count = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        count += 1
    return count


def noting(v):
    LOG.append(v)
    return v * 2


@np.vectorize
def folded(v):
    return v if v > 0.2 else -v


VECTORIZED, COUNTING, NOTING = np.vectorize(soft), np.vectorize(collatz), np.vectorize(noting)
FOLLOWED = {
    "made outside": lambda x: VECTORIZED(x * 2.0) + 1.0,
    "as a decorator": lambda x: folded(x.reshape(2, 3)),
    "made inside": lambda x: np.vectorize(lambda v: v * 2 if v > 0 else -v)(x) + x,
    "broadcast": lambda x: np.vectorize(lambda v, w: v * w + 1)(x[:, None], x[:2]),
    "of a number": lambda x: np.vectorize(soft)(float(x[0])),
    "of integers": lambda x: COUNTING(np.arange(1, 9)) + x[0],
    "to integers": lambda x: np.vectorize(lambda v: 1 if v > 0 else 0)(x) + x,
    "of float32": lambda x: np.vectorize(lambda v: v * 3)(x.astype(np.float32)),
    "of a ufunc": lambda x: np.vectorize(np.tanh)(x),
    "over a closure": lambda x: (lambda s: np.vectorize(lambda v: v * s)(x))(x.sum()),
    "to a type": lambda x: np.vectorize(lambda v: 1 if v > 0 else 0, otypes=[float])(x),
    "to float32": lambda x: np.vectorize(lambda v: v * 2, otypes="f")(x),
}
LEFT_TO_PYTHON = {
    "two results": lambda x: np.vectorize(lambda v: (v, v + 1))(x),
    "a list": lambda x: np.vectorize(lambda v: v + 1)([1, 2.5]) + x[0],
    "a keyword": lambda x: np.vectorize(lambda v, w=2: v * w)(x, w=3),
    "an excluded argument": lambda x: np.vectorize(lambda v, w: v * len(w), excluded=[1])(x, [1, 2]),
    "another kind": lambda x: np.vectorize(lambda v: v * 2, otypes=[int])(x),
}


def compare(function):
    step = jj.jit(function, background=False)
    for number in range(6):
        x = np.random.default_rng(number).normal(size=6)
        comparison = Comparison()
        comparison.compare(function(x.copy()), step(x.copy()), "result")
        assert not comparison.finish()
    assert step.reason is None and step.stats.graph_calls == 4
    return step.stats.host_calls


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed(name):
    assert compare(FOLLOWED[name]) == 0


@pytest.mark.parametrize("name", LEFT_TO_PYTHON)
def test_left_to_python(name):
    assert compare(LEFT_TO_PYTHON[name]) > 0


def test_the_first_elements_are_gone_through_twice():
    def noted(x):
        y = NOTING(x)
        return y, len(LOG)

    step = jj.jit(noted, background=False)
    for number in range(6):
        outcomes = []
        for function in (step, noted):
            LOG.clear()
            outcomes.append((*function(np.arange(3.0) + number), list(map(type, LOG)), list(LOG)))
        np.testing.assert_equal(*outcomes)
    assert step.stats.graph_calls >= 4 and step.stats.host_calls == 0


def test_no_elements_raise_what_numpy_raises():
    step = jj.jit(lambda x: VECTORIZED(x[x > 1.0]), background=False)
    for _ in range(4):
        np.testing.assert_array_equal(step(np.arange(4.0)), [1.0, 2.0])
    for _ in range(2):
        with pytest.raises(ValueError, match="size 0 inputs"):
            step(np.zeros(3))
    assert step.stats.graph_calls > 0
