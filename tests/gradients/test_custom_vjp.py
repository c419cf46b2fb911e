"""Functions with gradients of their own. Where a rule is wrong on purpose, it shows that it was asked."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.linalg

import janusjit as jj

X = np.array([1.0, 2.0, 3.0])


@jj.custom_vjp
def squares(x):
    return x * x


def squares_forward(x):
    return x * x, x


def squares_backward(x, g):
    return (g * 3.0 * x,)


squares.defvjp(squares_forward, squares_backward)


@jj.custom_vjp
def exponential(x):
    return np.exp(x)


def exponential_forward(x):
    y = exponential(x)
    return y, y


exponential.defvjp(exponential_forward, lambda y, g: (2.0 * g * y,))


@jj.custom_vjp
def rounded(x):
    return np.rint(x)


rounded.defvjp(lambda x: (rounded(x), None), lambda _, g: (g,))


@jj.custom_vjp
def several(p, x, times=1):
    return {"s": p["a"] * x * times, "t": (p["b"][0] + 1.0, 7, "name")}


def several_backward(kept, g):
    _, x, times = kept["all"]
    assert g["t"][1] is None and g["t"][2] is None
    return {"b": [g["t"][0] * 10.0], "a": g["s"] * x * times}, None, None


several.defvjp(lambda p, x, times: (several(p, x, times), {"all": [p, x, times]}), several_backward)


@jj.custom_vjp
def with_branches(x):
    return np.abs(x)


def branches_backward(sign, g):
    if g.sum() > 0:
        return (g * sign,)
    out = np.zeros_like(sign)
    for i in range(3):
        out[i] = g[i] * -100
    return (out,)


with_branches.defvjp(lambda x: (np.abs(x), np.sign(x)), branches_backward)


@jj.custom_vjp
def filled(x):
    return x * 1.0


def filled_backward(_, g):
    out = np.zeros(3)
    for i in range(3):
        out[i] = g[i] * 3.0
    return (out,)


filled.defvjp(lambda x: (x * 1.0, None), filled_backward)


@jj.custom_vjp
def root(a):
    y = a
    while abs(y * y - a) > 1e-14:
        y = 0.5 * (y + a / y)
    return y


def root_forward(a):
    y = root(a)
    return y, y


root.defvjp(root_forward, lambda y, g: (g / (2 * y),))


class Layer:
    def __init__(self, w):
        self.w = w

    @jj.custom_vjp
    def forward(self, x):
        return x * self.w

    forward.defvjp(lambda self, x: (x * self.w, (x, self.w)), lambda kept, g: (None, g * kept[1] * 2))


LAYER = Layer(np.array([1.0, 2.0, 3.0]))
JITTED = jj.custom_vjp(jj.jit(lambda x: x * x))
JITTED.defvjp(jj.jit(squares_forward), jj.jit(squares_backward))
FIRST, SECOND = jj.grad(exponential), jj.grad(jj.grad(exponential))


def made_inside(x):
    k = 5.0

    @jj.custom_vjp
    def product(a, b=2.0):
        return a * b

    product.defvjp(lambda a, b: (a * b, {"a": a, "b": [b, k]}), lambda kept, g: (g * kept["b"][1], None))
    return jj.grad(lambda x: product(x).sum())(x) + jj.grad(lambda x: product(x, b=3.0).sum())(x)


def closure(x):
    def gradient(w, x):
        f = jj.custom_vjp(lambda x: x * w)
        f.defvjp(lambda x: (x * w, w), lambda w, g: (g * w,))
        return jj.grad(lambda x: f(x).sum())(x).sum()

    return jj.grad(gradient)(4.0, x)


def structures(x):
    def loss(p):
        found = several(p, x, times=3)
        return found["s"].sum() + 3 * found["t"][0]

    gradient = jj.grad(loss)({"a": x * 2, "b": [1.5]})
    return np.append(gradient["a"], gradient["b"][0])


def turns(x, n=50):
    def loss(a):
        for _ in range(n):
            a = root(a) if a > 1.5 else a + root(a) * 0.1
        return a

    return jj.value_and_grad(loss)(x[1])


def turns_by_hand():
    value, slope = 2.0, 1.0
    for _ in range(50):
        s = np.sqrt(value)
        value, factor = (s, 1 / (2 * s)) if value > 1.5 else (value + 0.1 * s, 1 + 0.1 / (2 * s))
        slope *= factor
    return value, slope


Y = 1.3 * X
PROGRAMS = {
    "no gradient": (lambda x: squares(x) + rounded(x), X * X + X),
    "sum": (lambda x: jj.grad(lambda x: squares(x).sum())(x), 3 * X),
    "itself": (lambda x: jj.grad(squares)(x[1]), 6.0),
    "by keyword": (lambda x: jj.grad(lambda x: squares(x=x).sum())(x), 3 * X),
    "other argument": (lambda x: jj.grad(lambda y: (squares(x) * y).sum())(x), X * X),
    "vjp": (lambda x: jj.vjp(squares, x)[1](x)[0], 3 * X * X),
    "jvp": (lambda x: jj.jvp(squares, (x,), (x,))[1], 3 * X * X),
    "jacobian": (lambda x: jj.jacobian(squares)(x), np.diag(3 * X)),
    "grad of grad": (lambda x: jj.grad(jj.grad(squares))(x[1]), 3.0),
    "hvp": (lambda x: jj.hvp(lambda x: (squares(x) * x).sum())(x, x), 9 * X * X),
    "calls itself": (lambda x: FIRST(x[0]), 2 * np.exp(1.0)),
    "calls itself, twice": (lambda x: SECOND(x[0]), 4 * np.exp(1.0)),
    "calls itself, thrice": (lambda x: jj.grad(jj.grad(jj.grad(exponential)))(x[0]), 8 * np.exp(1.0)),
    "straight through": (lambda x: jj.grad(lambda x: (rounded(1.3 * x) ** 2).sum())(x), 2.6 * np.rint(Y)),
    "hessian": (lambda x: jj.hessian(lambda x: (rounded(1.3 * x) ** 3).sum())(x), np.diag(6 * 1.69 * np.rint(Y))),
    "branches": (lambda x: jj.grad(lambda x: with_branches(x).sum())(x), np.ones(3)),
    "other branch": (lambda x: jj.grad(lambda x: (-with_branches(x)).sum())(x), np.full(3, 100.0)),
    "checkpoint": (lambda x: jj.hvp(jj.checkpoint(lambda x: filled(x).sum() ** 2))(x, X), np.full(3, 108.0)),
    "jvp by hand": (lambda x: jj.jvp(filled, (x,), (x,))[1], 3 * X),
    "method": (lambda x: jj.grad(lambda x: LAYER.forward(x).sum())(x), 2 * LAYER.w),
    "jitted": (lambda x: jj.grad(lambda x: JITTED(x).sum())(x), 3 * X),
    "inside": (made_inside, np.full(3, 10.0)),
    "closure": (closure, 3.0),
    "structures": (structures, np.append(3 * X, 30.0)),
    "turns": (turns, turns_by_hand()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    function, wanted = PROGRAMS[name]
    compiled = jj.jit(function, warmup=1, background=False)
    np.testing.assert_allclose(function(X), wanted, rtol=1e-13)
    for _ in range(4):
        np.testing.assert_allclose(compiled(X), wanted, rtol=1e-13)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


def test_the_rule_runs_only_for_gradients_and_in_order():
    said = []
    f = jj.custom_vjp(lambda x: said.append("function") or x)

    def forward(x):
        said.append("forward")
        return x, None

    def backward(_, g):
        said.append("backward")
        return (g,)

    f.defvjp(forward, backward)
    assert f(2.0) == 2.0
    assert jj.grad(lambda x: said.append("before") or f(x) * f(2.0))(3.0) == 2.0
    assert said == ["function", "before", "forward", "function", "backward"]


def test_code_without_source():
    solve = jj.custom_vjp(lambda a, b: scipy.linalg.solve(a, b))
    backward = lambda kept, g: (None, scipy.linalg.solve(kept.T, g))
    solve.defvjp(lambda a, b: (scipy.linalg.solve(a, b), a), backward)
    matrix = np.diag(X) + 1.0

    def gradient(x):
        return jj.grad(lambda x: solve(matrix, np.sin(x)).sum())(x)

    np.testing.assert_allclose(gradient(X), np.cos(X) * np.linalg.solve(matrix, np.ones(3)), rtol=1e-13)
    with pytest.raises(TypeError, match="being differentiated"):
        jj.hvp(lambda x: solve(matrix, np.sin(x)).sum())(X, X)


def test_what_is_kept_is_as_it_was():
    def changing(x):
        y = x * 1.0
        z = squares(y)
        y *= 0.0
        return z.sum()

    compiled = jj.jit(lambda x: jj.grad(changing)(x), warmup=1, background=False)
    for _ in range(4):
        np.testing.assert_allclose(jj.grad(changing)(X), 3 * X)
        np.testing.assert_allclose(compiled(X), 3 * X)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


WRONG = {
    "has to return a tuple": lambda x, g: g,
    "2 cotangents for 1 arguments": lambda x, g: (g, g),
    r"shape \(2,\), and the argument \(3,\)": lambda x, g: (np.ones(2),),
    "neither an array nor a number nor None": lambda x, g: ("a",),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_cotangents(message):
    f = jj.custom_vjp(lambda x: x * x)
    f.defvjp(squares_forward, WRONG[message])

    def gradient(x):
        return jj.grad(lambda x: f(x).sum())(x)

    compiled = jj.jit(gradient, warmup=1, background=False)
    for _ in range(3):
        for function in (gradient, compiled):
            with pytest.raises(TypeError, match=message):
                function(X)


def test_wrong_structures():
    f = jj.custom_vjp(lambda p: p["a"] * p["b"])
    for found in ({"a": 1.0}, [1.0, 2.0], 1.0):
        f.defvjp(lambda p: (p["a"] * p["b"], None), lambda _, g, found=found: (found,))
        with pytest.raises(TypeError, match="not built like"):
            jj.grad(f)({"a": 1.0, "b": 2.0})
    f.defvjp(lambda p: p["a"], lambda _, g: (g,))
    with pytest.raises(TypeError, match="has to return a pair"):
        jj.grad(f)({"a": 1.0, "b": 2.0})


def test_errors_of_the_interface():
    with pytest.raises(TypeError, match="before defvjp"):
        jj.custom_vjp(lambda x: x)(1.0)
    named = jj.custom_vjp(lambda x, *, y: x * y)
    named.defvjp(squares_forward, squares_backward)
    with pytest.raises(TypeError, match="by keyword only"):
        named(1.0, y=2.0)
    with pytest.raises(TypeError, match="argument"):
        squares(1.0, 2.0)


def test_name_and_signature():
    assert squares.__name__ == "squares"
    assert list(inspect.signature(squares).parameters) == ["x"]


def test_an_array_from_outside_is_kept_as_it_was():
    array = np.ones(3)

    def changing(x):
        y = x * array
        array[...] = 0.0
        return y.sum()

    np.testing.assert_array_equal(jj.grad(changing)(X), np.ones(3))
    np.testing.assert_array_equal(array, np.zeros(3))
