"""The example of four ways to a derivative: they agree, eager and under `@jit`, wholly in the graph."""

from __future__ import annotations

import numpy as np

import janusjit
from examples import derivatives

CALLS = 8
WARM_UP = 2


def test_the_ways_agree_and_run_in_the_graph():
    made = []

    def jit(function):
        made.append(janusjit.jit(function, warmup=WARM_UP, background=False))
        return made[0]

    eager, jitted = derivatives.run(calls=CALLS), derivatives.run(jit, calls=CALLS)
    for expected, actual in zip(eager, jitted, strict=True):
        assert list(expected) == list(actual)
        for name in expected:
            assert (type(actual[name]), actual[name].dtype) == (np.ndarray, expected[name].dtype)
            # no sums; log, sin and cos are within 2 ULP, and Horner's rule takes differences of numbers up to 4e4
            np.testing.assert_allclose(actual[name], expected[name], rtol=1e-14, atol=1e-10)
        for way in ("manual", "symbolic", "forward"):
            # the expanded polynomial has coefficients up to 4e4 of both signs, which cancel
            np.testing.assert_allclose(actual[way], actual["reverse"], rtol=1e-9, atol=1e-9)
        # the quotient's own error: the third derivative, up to 1e5, times the square of the step
        np.testing.assert_allclose(actual["numerical"], actual["reverse"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(actual["tangents"][-1], actual["gradient"][0], rtol=1e-14)
    np.testing.assert_allclose(jitted[0]["gradient"], [5.5, 2 - np.cos(5.0)], rtol=1e-14)
    assert made[0].stats.graph_calls == CALLS - WARM_UP
    assert made[0].stats.host_calls == 0
    # One speculation fails: the coefficients are longer each turn, and one length is taken for the only one at first.
    assert made[0].stats.deopts <= 1


def test_the_gradients_of_the_package_are_those_of_the_example():
    def both(x, x1, x2):
        polynomial = janusjit.grad(lambda x: derivatives.logistic(x, 3).sum())(x)
        return polynomial, janusjit.grad(lambda x1, x2: np.log(x1) + x1 * x2 - np.sin(x2), (0, 1))(x1, x2)

    compiled = janusjit.jit(both, warmup=WARM_UP, background=False)
    for call in range(CALLS):
        x, x1, x2 = np.linspace(0.0, 0.9, 9) - call / 100, 2.0 + call, 5.0 - call / 4
        for function in (both, compiled):
            polynomial, of_arguments = function(x, x1, x2)
            # adjoints are multiplied in another order: a few roundings of terms up to 64
            np.testing.assert_allclose(polynomial, derivatives.reverse(x, 3), rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(of_arguments, derivatives.reverse_trace(x1, x2)[1], rtol=1e-13)
    assert compiled.stats.graph_calls == CALLS - WARM_UP
    assert compiled.stats.host_calls == 0
