"""Updates whose elements lie elsewhere in the array than where the loop over them is: reversed, transposed."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj

X = np.random.default_rng(0).normal(size=(3, 3))


def reversed_rows(x):
    v = np.sin(x) + 0.0
    v[::-1] = np.logaddexp(v, 0.2)
    return v, v.sum()


def reversed_columns_of_itself(x):
    v = x * 2.0
    v[:, ::-1] += v
    v[::-1, ::-1] = v * v
    return v


def transposed(x):
    v = x * 2.0
    v.T[:] = v + np.cos(v)
    return v


def of_a_vector(x):
    v = np.exp(x[0])
    v[::-1] *= v
    w = v - 1.0
    w[::-1] = w
    return v, w


def in_order(x):
    v = x * 2.0
    v[:] = v * v
    v[...] += 1.0
    return v


@pytest.mark.parametrize(
    "function", [reversed_rows, reversed_columns_of_itself, transposed, of_a_vector, in_order], ids=lambda f: f.__name__
)
def test_the_right_side_is_computed_before_anything_is_set(function):
    step = jj.jit(function, warmup=1, background=False)
    for _ in range(3):
        for found, wanted in zip(_parts(step(X)), _parts(function(X)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert (step.stats.graph_calls, step.stats.host_calls) == (2, 0)


def test_an_update_in_order_is_still_fused():
    step = jj.jit(in_order, warmup=1, background=False)
    for _ in range(3):
        step(X)
    assert "multiply, multiply, update" in str(step.specializations[0].plan)


def _parts(value):
    return value if isinstance(value, tuple) else (value,)
