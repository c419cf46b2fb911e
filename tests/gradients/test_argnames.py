"""Arguments to differentiate by, chosen by name."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj

W, X = np.array([0.3, 0.7]), np.array([[1.0, 2.0], [3.0, 4.0]])


def loss(w, x, *, scale=2.0):
    return (scale * (x @ w) ** 2).sum()


def by_position(w, x):
    return jj.grad(loss, argnames="w")(w, x)


def by_keyword(w, x):
    return jj.grad(loss, argnames="w")(x=x, w=w)


def several(w, x):
    return jj.value_and_grad(loss, argnames=("scale", "w"))(w, x=x, scale=3.0)


def of_a_closure(w, x):
    return jj.grad(lambda v, y: loss(v, y), argnames="v")(v=w, y=x)


@pytest.mark.parametrize("function", [by_position, by_keyword, of_a_closure])
def test_one_name(function):
    compiled = jj.jit(function, warmup=1, background=False)
    wanted = 4 * X.T @ (X @ W)
    for _ in range(4):
        np.testing.assert_allclose(function(W, X), wanted, rtol=1e-13)
        np.testing.assert_allclose(compiled(W, X), wanted, rtol=1e-13)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def test_several_names_come_in_their_order():
    compiled = jj.jit(several, warmup=1, background=False)
    for _ in range(4):
        for value, (by_scale, by_w) in (several(W, X), compiled(W, X)):
            squares = ((X @ W) ** 2).sum()
            np.testing.assert_allclose([value, by_scale], [3 * squares, squares], rtol=1e-13)
            assert type(by_scale) is float
            np.testing.assert_allclose(by_w, 6 * X.T @ (X @ W), rtol=1e-13)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def test_what_is_not_there_is_an_error():
    with pytest.raises(TypeError, match="no argument 'v'"):
        jj.grad(loss, argnames="v")(W, X)
    with pytest.raises(TypeError, match="no argument 'scale'"):
        jj.grad(loss, argnames="scale")(W, X)
    with pytest.raises(TypeError, match="not by both"):
        jj.grad(loss, 0, argnames="w")
