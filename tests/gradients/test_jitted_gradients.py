"""`jit` of what `grad` returns: the gradient is the whole graph."""

from __future__ import annotations

import numpy as np

import janusjit as jj

X = np.array([0.3, 0.7, 1.2])


def loss(w, x, power=2):
    return ((x @ w) ** power).sum()


def test_the_gradient_of_a_function_is_compiled():
    x = np.arange(6.0).reshape(2, 3) / 5
    wanted = 2 * x.T @ (x @ X)
    for function in (loss, jj.jit(loss, warmup=1, background=False)):
        compiled = jj.jit(jj.grad(function), warmup=1, background=False)
        for _ in range(4):
            np.testing.assert_allclose(compiled(X, x), wanted, rtol=1e-13)
        assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def test_it_takes_keywords_and_options_and_nests():
    compiled = jj.jit(warmup=1, background=False)(jj.value_and_grad(loss))
    for _ in range(4):
        value, gradient = compiled(X, np.eye(3), power=3)
        np.testing.assert_allclose(value, (X**3).sum(), rtol=1e-13)
        np.testing.assert_allclose(gradient, 3 * X**2, rtol=1e-13)
    assert compiled.stats.graph_calls > 0
    first = jj.jit(jj.grad(lambda x: x**4), warmup=1, background=False)
    second = jj.jit(jj.grad(first), warmup=1, background=False)
    for _ in range(4):
        np.testing.assert_allclose(second(2.0), 48.0, rtol=1e-14)
    assert (second.stats.graph_calls, second.stats.host_calls) == (3, 0)
