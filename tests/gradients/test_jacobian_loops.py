"""Jacobians of many rows or columns, or of as many as is known at run time: a loop in the graph."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.gradients.test_derivatives import branches, while_left_early

GENERATOR = np.random.default_rng(7)
W = GENERATOR.normal(size=(40, 40)) / 6


def points(*sizes):
    return [GENERATOR.uniform(0.1, 1.0, size=size) for size in sizes]


def dense(x):
    return np.tanh(W[: len(x), : len(x)] @ np.sin(x)) * x[0]


def elementwise(x):
    return np.tanh(np.sin(x) * x)


def turns(x):
    for i in range(30):
        x = np.sin(x) * 1.1 if i % 2 else x + 0.1 * np.cos(x)
    return x


def library(x):
    return np.cumsum(np.sort(x)) * np.linalg.norm(x)


FUNCTIONS = (dense, elementwise, turns, while_left_early, branches, library)


def squares(function):
    return lambda x: (function(x) ** 2).sum()


def agrees(function, calls, rtol=1e-10):
    """Compare a function in plain Python and in the graph; return the compiled one."""
    compiled = jj.jit(function, warmup=1, background=False)
    for args in calls:
        wanted, found = function(*args), compiled(*args)
        for one, other in zip(leaves(wanted), leaves(found), strict=True):
            assert type(one) is type(other)
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            np.testing.assert_allclose(other, one, rtol=rtol, atol=1e-12)
    assert compiled.stats.host_calls == 0
    return compiled


def leaves(value):
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]



KINDS = {
    "rows": lambda function: jj.jacobian(function, mode="reverse"),
    "columns": lambda function: jj.jacobian(function, mode="forward"),
    "by shape": jj.jacobian,
    "hessian": lambda function: jj.hessian(squares(function)),
    "rows of a gradient": lambda function: jj.jacobian(jj.grad(squares(function)), mode="reverse"),
    "gradient of rows": lambda function: jj.grad(squares(jj.jacobian(function, mode="reverse"))),
    "gradient of columns": lambda function: jj.grad(squares(jj.jacobian(function, mode="forward"))),
    "along a direction, of rows": lambda f: lambda x: jj.jvp(jj.jacobian(f, mode="reverse"), (x,), (x,))[1],
    "along a direction, of columns": lambda f: lambda x: jj.jvp(jj.jacobian(f, mode="forward"), (x,), (x,))[1],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_sizes_known_at_run_time(function, kind):
    derivative = KINDS[kind](function)
    compiled = agrees(lambda x: derivative(x), [(x,) for x in points(12, 12, 12, 15, 15, 11, 13, 14, 12)])
    assert len(compiled.specializations) == 2
    assert compiled.stats.graph_calls == 8


@pytest.mark.parametrize("kind", KINDS)
def test_turns_and_sizes_known_at_run_time(kind):
    """What one row's pass leaves on a tape is not what a later row's pass pushes there."""

    def derivative(x, turns):
        def function(y):
            for i in range(turns):
                y = np.sin(y) * 1.1 if i % 2 else y * y
            return y

        return KINDS[kind](function)(x)

    calls = [(x, count) for x, count in zip(points(9, 9, 9, 12, 12, 11), (3, 3, 4, 2, 5, 3), strict=True)]
    compiled = agrees(derivative, calls)
    assert compiled.stats.graph_calls == 5


@pytest.mark.parametrize("function", [dense, elementwise, library, branches])
def test_a_gradient_of_a_hessian(function):
    derivative = jj.grad(squares(jj.hessian(squares(function))))
    compiled = agrees(lambda x: derivative(x), [(x,) for x in points(12, 12, 12, 15, 15, 11)], rtol=1e-9)
    assert compiled.stats.graph_calls == 5


@pytest.mark.parametrize("size", [3, 12])
def test_third_derivatives_through_a_loop_left_early(size):
    """Several passes go back through one loop, and there is a pass through all of them."""
    function = squares(while_left_early)
    for second in (jj.hessian(function), jj.jacobian(jj.grad(function), mode="reverse")):
        derivative = jj.grad(squares(second))
        calls = [(x,) for x in np.random.default_rng(0).uniform(0.1, 1.0, size=(5, size))]
        compiled = agrees(lambda x, derivative=derivative: derivative(x), calls, rtol=1e-9)
        assert (compiled.stats.graph_calls, compiled.stats.deopts) == (4, 0)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_the_graph_does_not_grow_with_the_size(mode):
    sizes = {}
    for size in (12, 40):
        derivative = jj.jacobian(lambda x: np.tanh(W[:, :10].T @ W[:, :10] @ x[:10]).sum() * elementwise(x), mode=mode)
        compiled = agrees(lambda x, derivative=derivative: derivative(x), [(x,) for x in points(size, size, size)])
        assert compiled.stats.graph_calls == 2
        sizes[size] = len(compiled.specializations[0].graph.splitlines())
    assert sizes[12] == sizes[40]


def test_several_arguments_and_shapes():
    def function(x, w, s):
        return np.sin(w @ x) * s

    x, w = points(3, (4, 3))
    for mode in (None, "forward", "reverse"):
        derivative = jj.jacobian(function, (0, 1, 2), mode)
        compiled = agrees(lambda x, w, s, derivative=derivative: derivative(x, w, s), [(x, w, 0.5)] * 4)
        assert compiled.stats.graph_calls == 3
    for mode in ("forward", "reverse"):
        derivative = jj.jacobian(lambda x: np.outer(x, x[:4]) * 2.0, mode=mode)
        single = points(10)[0].astype(np.float32)
        compiled = agrees(lambda x, derivative=derivative: derivative(x), [(single,)] * 4, rtol=1e-6)
        assert compiled.stats.graph_calls == 3


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
def test_no_rows_or_columns(mode):
    derivative = jj.jacobian(lambda x: np.exp(x[x > 0.5]), mode=mode)
    calls = [(np.linspace(start, 1.0, 12),) for start in (0.2, 0.2, 0.0, -1.0)]
    calls.append((np.zeros(12),))
    compiled = agrees(lambda x: derivative(x), calls)
    assert compiled.stats.graph_calls == 4


def test_rules_of_the_user():
    @jj.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (g * jj.grad(lambda y: (y**3).sum())(x),))
    for mode in ("forward", "reverse"):
        derivative = jj.jacobian(lambda x: np.sin(cube(x)), mode=mode)
        compiled = agrees(lambda x, derivative=derivative: derivative(x), [(points(12)[0],)] * 4)
        assert compiled.stats.graph_calls == 3
        derivative = jj.jacobian(lambda x: jj.checkpoint(turns)(x) * x, mode=mode)
        compiled = agrees(lambda x, derivative=derivative: derivative(x), [(points(12)[0],)] * 4)
        assert compiled.stats.graph_calls == 3


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_draws_in_a_loop_are_not_repeated(mode):
    def function(x, generator):
        for _ in range(30):
            x = np.sin(x) + generator.normal()
        return x

    derivative = jj.jacobian(function, mode=mode)
    compiled = jj.jit(lambda x, generator: derivative(x, generator), warmup=1, background=False)
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    for x in points(12, 12, 12, 12):
        np.testing.assert_allclose(compiled(x, ours), derivative(x, theirs), rtol=1e-10, atol=1e-12)
        assert ours.bit_generator.state == theirs.bit_generator.state
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def test_in_a_loop_and_in_a_branch():
    def function(x, n):
        total = np.zeros((len(x), len(x)))
        for i in range(n):
            if x[0] * i > 3.0:
                total = total + jj.jacobian(turns, mode="reverse")(x * 0.1 * i)
            total = total + jj.jacobian(dense)(x)
        return total

    compiled = agrees(function, [(x, 40) for x in points(12, 12, 12, 12)])
    assert compiled.stats.graph_calls == 3


def energy(p, q):
    return np.sin(p["a"]).sum() * p["b"] ** 2 * (q[0] @ p["a"]) + (q[0] ** 3).sum() * np.exp(q[1])


@pytest.mark.parametrize("size", [3, 12])
def test_hessians_by_structures(size):
    a, v = points(size, size)
    p, q = {"b": 0.7, "n": 3, "a": a}, [v, 0.3]
    agrees(lambda p, q: jj.hessian(energy)(p, q), [(p, q)] * 4)
    compiled = agrees(lambda p, q: jj.hessian(energy, (0, 1))(p, q), [(p, q)] * 4)
    assert compiled.stats.graph_calls == 3
    by_p, by_q = compiled(p, q)  # rows by what the first gradient is built like, columns by both arguments
    (aa, aq), (ba, _), (qa, qq) = by_p["a"], by_p["b"], by_q[0]
    assert by_p["n"] is None and aa["n"] is None
    assert (aa["a"].shape, aa["b"].shape, ba["a"].shape) == ((size, size), (size,), (size,))
    np.testing.assert_allclose(aq[0], qa["a"].T, rtol=1e-12)
    np.testing.assert_allclose(aa["b"], ba["a"], rtol=1e-12)
    np.testing.assert_allclose(qq[0], 6 * np.diag(v) * np.exp(0.3), rtol=1e-12, atol=1e-12)
    both = jj.hessian(lambda z: energy({"a": z[:size], "b": 0.7}, [z[size:], 0.3]))(np.concatenate([a, v]))
    np.testing.assert_allclose(aq[0], both[:size, size:], rtol=1e-12)
    np.testing.assert_allclose(aa["a"], both[:size, :size], rtol=1e-12)


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
def test_jacobians_of_structures(mode):
    def function(p):
        return {"s": np.sin(p["x"]) * p["y"], "t": (p["y"] ** 2, "text")}

    derivative = jj.jacobian(function, mode=mode)
    (x,) = points(12)
    compiled = agrees(lambda x: derivative({"x": x, "y": 2.0}), [(x,)] * 4)
    found = compiled(x)
    np.testing.assert_allclose(found["s"]["x"], np.diag(2 * np.cos(x)), rtol=1e-12)
    np.testing.assert_allclose(found["s"]["y"], np.sin(x), rtol=1e-12)
    assert found["t"][0]["y"] == 4.0 and found["t"][1] is None and not found["t"][0]["x"].any()
    assert compiled.stats.graph_calls == 4
