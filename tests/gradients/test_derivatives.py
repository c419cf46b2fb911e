"""Directional derivatives, Jacobians and Hessians: forward mode, and which mode is taken."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad as autograd_grad
from autograd import make_jvp

import janusjit as jj
from janusjit.analysis.capture import derivatives

W, X, V = np.array([[0.3, 0.7, -0.2], [0.1, -0.4, 0.5]]), np.array([0.4, 1.1, 0.7]), np.array([1.0, -2.0, 0.5])
STEP = 1e-6


def along(function, x, v):
    """Return a directional derivative by central differences."""
    return (function(x + STEP * v) - function(x - STEP * v)) / (2 * STEP)


def dense(x):
    return np.tanh(W @ np.sin(x)) * x[0]


def turns(x, n=30):
    for i in range(n):
        x = np.sin(x) * 1.1 if i % 2 else x + 0.1 * np.cos(x)
    return x


def while_left_early(x, n=30):
    total = np.zeros_like(x)
    i = 0
    while i < n:
        x = np.sin(x) + 0.3
        if x.sum() > 0.9 * len(x):
            x = x * x
            break
        total = total + x**2
        i += 1
    return total * x


def in_place(x):
    out = np.zeros(3)
    out[:2] = x[1:] ** 2
    out[2] += x[0] * out[0]
    return np.sort(out) + np.maximum(x, 0.5) + np.linalg.norm(x)


def branches(x):
    if x.sum() > 1.0:
        return np.exp(x) * x.max()
    return x


FUNCTIONS = (dense, turns, while_left_early, in_place, branches)


def compiled_too(function, *args):
    """Return what a function returns in plain Python and in a graph."""
    compiled = jj.jit(function, warmup=1, background=False)
    found = [function(*args)] + [compiled(*args) for _ in range(4)]
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_along_a_direction(function):
    for value, tangent in compiled_too(lambda x, v: jj.jvp(function, (x,), (v,)), X, V):
        np.testing.assert_allclose(value, function(X), rtol=1e-13)
        np.testing.assert_allclose(tangent, along(function, X, V), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
def test_jacobians(function, mode):
    wanted = np.stack([along(function, X, unit) for unit in np.eye(3)], axis=-1)
    for found in compiled_too(lambda x: jj.jacobian(function, mode=mode)(x), X):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_hessians_and_their_products(function):
    def scalar(x):
        return (function(x) ** 2).sum()

    gradient = jj.grad(scalar)
    wanted = np.stack([along(gradient, X, unit) for unit in np.eye(3)], axis=-1)
    for found in compiled_too(lambda x: jj.hessian(scalar)(x), X):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    for found in compiled_too(lambda x, v: jj.hvp(scalar)(x, v), X, V):
        np.testing.assert_allclose(found, wanted @ V, rtol=1e-6, atol=1e-6)
    for found in compiled_too(lambda x, v: jj.grad(lambda x: jj.jvp(scalar, (x,), (v,))[1])(x), X, V):
        np.testing.assert_allclose(found, wanted @ V, rtol=1e-6, atol=1e-6)


def test_forward_mode_over_itself():
    cube = lambda x: x**3
    twice = lambda x: jj.jvp(lambda x: jj.jvp(cube, (x,), (1.0,))[1], (x,), (1.0,))
    for first, second in compiled_too(twice, 2.0):
        assert (first, second) == (12.0, 12.0) and type(second) is float
    for found in compiled_too(lambda x: jj.jacobian(jj.jacobian(lambda x: x**3))(x), X):
        assert found.shape == (3, 3, 3)
        np.testing.assert_allclose(found[[0, 1, 2], [0, 1, 2], [0, 1, 2]], 6 * X, rtol=1e-13)


def test_structures():
    def function(p, factor):
        inner = np.sin(p["a"]) * factor
        return {"s": inner.sum(), "t": (inner * p["b"][0], 5, 1.5, "name")}

    def step(a, b):
        primals = ({"a": a, "b": [b]}, 2.0)
        value, tangent = jj.jvp(function, primals, ({"a": 3.0 * a, "b": [1.0]}, None))
        return value["s"], tangent["s"], tangent["t"]

    for value, of_sum, (of_product, *rest) in compiled_too(step, X, 0.5):
        np.testing.assert_allclose(value, 2 * np.sin(X).sum(), rtol=1e-14)
        np.testing.assert_allclose(of_sum, (6 * X * np.cos(X)).sum(), rtol=1e-14)
        np.testing.assert_allclose(of_product, 3 * X * np.cos(X) + 2 * np.sin(X), rtol=1e-14)
        assert rest == [None, 0.0, None]
    for found in compiled_too(lambda x, v: jj.hvp(lambda p: (p["x"] ** 3).sum())({"x": x}, {"x": v})["x"], X, V):
        np.testing.assert_allclose(found, 6 * X * V, rtol=1e-14)


def test_shapes_and_dtypes():
    for found in compiled_too(lambda x: jj.jacobian(lambda x: x * 2.0)(x), 3.0):
        assert found.shape == () and found == 2.0
    for first, second in compiled_too(lambda x, w: jj.jacobian(lambda x, w: w @ x, (0, 1))(x, w), X, W):
        np.testing.assert_array_equal(first, W)
        assert second.shape == (2, 2, 3)
        np.testing.assert_array_equal(second, np.einsum("ij,k->ijk", np.eye(2), X))
    single = X.astype(np.float32)
    for mode in (None, "reverse"):
        for found in compiled_too(lambda x, mode=mode: jj.jacobian(lambda x: x * x, mode=mode)(x), single):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, np.diag(2 * single))
    for found in compiled_too(lambda x: jj.jacobian(lambda x: np.array([1.0, 2.0]))(x), X):
        np.testing.assert_array_equal(found, np.zeros((2, 3)))
    for mode in (None, "forward", "reverse"):
        assert jj.jacobian(lambda x: x[:0], mode=mode)(X).shape == (0, 3)
        assert jj.jacobian(lambda x: np.exp(x).sum(), mode=mode)(X[:0]).shape == (0,)


@pytest.mark.parametrize(("function", "wanted"), [(lambda x: x[:2], "_rows"), (lambda x: x * x, "_columns")])
def test_the_mode_is_chosen_by_shape(function, wanted, monkeypatch):
    taken = []
    for name in ("_rows", "_columns"):
        make = getattr(derivatives, name)
        monkeypatch.setattr(derivatives, name, lambda *args, name=name, make=make: taken.append(name) or make(*args))
    jj.jacobian(function)(X)
    assert taken == [wanted]


def test_the_function_runs_once():
    runs = []
    jj.jacobian(lambda x: runs.append(1) or x * x)(X)
    jj.jvp(lambda x: runs.append(2) or x * x, (X,), (V,))
    assert runs == [1, 2]


def test_errors():
    with pytest.raises(ValueError, match="forward"):
        jj.jacobian(np.sin, mode="sideways")
    with pytest.raises(TypeError, match="a tangent for each"):
        jj.jvp(np.sin, (X,), (V, V))
    with pytest.raises(TypeError, match="shape"):
        jj.jvp(np.sin, (X,), (V[:2],))
    with pytest.raises(TypeError, match="not built like"):
        jj.jvp(lambda p: p["a"], ({"a": X},), ([V],))
    with pytest.raises(TypeError, match="arrays of floats"):
        jj.jacobian(lambda p: X * p["a"])({"a": 1})
    with pytest.raises(TypeError, match="has a Jacobian"):
        jj.jacobian(lambda x: "text")(X)
    with pytest.raises(TypeError, match="positional argument"):
        jj.jacobian(np.sin, 1)(X)


def of_dict(x):
    found = make_jvp(autograd_grad(lambda p: anp.sum(p["a"] ** 3) * p["b"]))({"a": x, "b": 2.0})({"a": x, "b": 1.0})[1]
    return found["a"] * found["b"]


def of_turns(x, n=30):
    def loss(x):
        for _ in range(n):
            x = anp.sin(x) * 1.1
        return anp.sum(x)

    return make_jvp(autograd_grad(loss))(x)(x)[1]


@pytest.mark.parametrize("function", [of_dict, of_turns])
def test_directions_of_gradients_of_autograd(function):
    compiled = jj.jit(function, warmup=1, background=False)
    for _ in range(4):
        np.testing.assert_allclose(compiled(X), function(X), rtol=1e-12)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def never_large(x):
    y = x * x
    scaled = y[::-1] if y.sum() > -1.0 else np.maximum(y, x + 0.05)
    y = scaled[:1] if y.sum() > 100.0 else y / (2.0 + scaled**2)
    return y.sum()


def pushed(x):
    return jj.jvp(never_large, (x,), (x,))[1]


def back(x):
    return jj.vjp(never_large, x)[1](2.0)[0]


def curved(x):
    return jj.hvp(never_large)(x, x)


@pytest.mark.parametrize("function", [pushed, back, curved])
def test_branches_of_the_function_are_profiled(function):
    compiled = jj.jit(function, warmup=1, background=False)
    x = np.array([0.1, 0.2, 0.3])
    for _ in range(3):
        np.testing.assert_allclose(compiled(x), function(x), rtol=1e-13)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls, compiled.stats.deopts) == (2, 0, 0)
