"""Programs of the package `autograd` under `@jit`: autograd's values and types, wholly in the graph."""

from __future__ import annotations

import copy

import autograd.numpy as np
import pytest
from autograd import checkpoint, deriv, elementwise_grad, grad, grad_and_aux, hessian, make_jvp, make_vjp
from autograd.extend import defvjp, primitive
from autograd.scipy.special import expit, logsumexp
from autograd.scipy.stats import norm
from autograd.tracer import getval

import janusjit
from tests.differential import Comparison
from tests.programs.autograd_programs import PAIR, PROGRAMS, rosenbrock

CALLS = 20
#: 12 steps of an optimiser divide by roots of sums of gradients, which are summed in another order than autograd's
TOLERANCE = 1e-11


def scaled(value, factor):
    """Return a value with each float in it multiplied."""
    if isinstance(value, dict):
        return {key: scaled(part, factor) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([scaled(part, factor) for part in value])
    return value * factor


def check(function, arguments, host_calls=0):
    """Compare calls with ever new numbers, and more of them than it takes until dispatch has settled."""
    jitted = janusjit.jit(function, warmup=1, background=False)
    for number in range(CALLS):
        given = (scaled(arguments[0], 1.0 + number / 64), *arguments[1:])
        expected = function(*copy.deepcopy(given))
        comparison = Comparison(TOLERANCE)
        comparison.compare(expected, jitted(*copy.deepcopy(given)), "result")
        assert comparison.finish() == []
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (CALLS - 1, host_calls)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_same_trajectory_in_the_graph(name):
    check(*PROGRAMS[name])


recomputed = checkpoint(lambda x: np.sin(x) ** 2)
MATRIX = np.array([[1.0, 1.0, -3.0], [0.0, -40.0, -50.0]])
CASES = {
    "a wrapped function": (grad(np.tanh), 2.0),
    "nothing but the argument": (lambda x: grad(lambda y: y)(x), 2.0),
    "elementwise": (lambda x: elementwise_grad(np.exp)(x), PAIR),
    "made inside": (lambda x: grad(lambda y: np.sum(np.sin(y) * y))(x), PAIR),
    "several arguments": (lambda x: grad(lambda a, b: np.sum(a * b**2), (0, 1))(x, x + 1), PAIR),
    "an array of parts": (lambda x: grad(lambda y: np.sum(np.array([y[0] * y[1], y[1] ** 2])))(x), PAIR),
    "stack": (lambda x: grad(lambda y: np.sum(np.stack([y, y**2], axis=1) * np.arange(2.0)))(x), PAIR),
    "pullback": (lambda x: make_vjp(lambda y: y**2)(x)[0](np.ones(2)), PAIR),
    "tangent": (lambda x: make_jvp(lambda y: np.sin(y) * y)(x)(np.ones(2)), PAIR),
    "tangent of a gradient": (
        lambda p: make_jvp(grad(lambda q: q["a"] * np.sum(q["b"] ** 3)))(p)(p),
        {"a": 2.0, "b": PAIR},
    ),
    "gradient of a tangent": (lambda x: grad(lambda y: np.sum(make_jvp(np.sin)(y)(y)[1]))(x), PAIR),
    "derivative": (lambda x: deriv(np.sin)(x), 0.3),
    "auxiliary result": (lambda x: grad_and_aux(lambda y: (np.sum(y**2), y * 2))(x), PAIR),
    "checkpoint": (lambda x: grad(lambda y: np.sum(recomputed(y) * y))(x), PAIR),
    "value of a box": (lambda x: grad(lambda y: np.sum(getval(y) * y))(x), PAIR),
    "dict": (lambda p: grad(lambda q: q["a"] * np.sum(q["b"]))(p), {"a": 2.0, "b": PAIR}),
    "hessian": (lambda x: hessian(rosenbrock)(x), PAIR),
    "logsumexp": (lambda x: (logsumexp(x), logsumexp(x, axis=0), logsumexp(x, keepdims=True)), MATRIX),
    "gradient of logsumexp": (lambda x: grad(lambda y: np.sum(logsumexp(y, axis=1) ** 2))(x), MATRIX),
    "hessian of logsumexp at a tie": (lambda x: hessian(lambda y: logsumexp(y))(x), MATRIX[0]),
    "normal distribution": (lambda x: (norm.logpdf(x, 1.0, 2.0), norm.pdf(x)), PAIR),
    "gradient of densities": (lambda x: grad(lambda y: np.sum(norm.logpdf(y, 0.5, np.exp(y)) * norm.pdf(y)))(x), PAIR),
    "logistic function at 0": (lambda x: (expit(x), grad(expit)(x), grad(grad(expit))(x)), 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_the_values_and_types_of_autograd(name):
    function, argument = CASES[name]
    check(function, (argument,))


@primitive
def seven(x):
    return x * 1.0


defvjp(seven, lambda ans, x: lambda g: g * 7.0)


@primitive
def softened(x, width, scale=1.0):
    return np.sqrt(x * x + width * width) * scale


defvjp(
    softened,
    lambda ans, x, width, scale=1.0: lambda g: g * x * scale / np.sqrt(x * x + width * width),
    None,
)


@primitive
def joined(first, second):
    return np.concatenate([first, second])


defvjp(
    joined,
    lambda ans, first, second: lambda g: g[: len(first)],
    lambda ans, first, second: lambda g: g[len(first) :],
)


@primitive
def partly(x, y):
    return x * y


defvjp(partly, lambda ans, x, y: lambda g: g * y)

DECLARED = {
    "a wrong derivative, on purpose": lambda x: grad(lambda y: np.sum(seven(y) * y))(x),
    "outside a gradient": lambda x: np.sum(seven(x)) + np.sum(softened(x, 2.0)),
    "the result is used": lambda x: grad(lambda y: np.sum(softened(y, 0.5, scale=3.0) ** 2))(x),
    "two arguments": lambda x: grad(lambda y: np.sum(joined(y * 2.0, y**2) ** 3))(x),
    "by one of two": lambda x: grad(lambda y: np.sum(partly(y, x)))(x),
    "a derivative of a derivative": lambda x: grad(lambda y: np.sum(grad(lambda z: np.sum(softened(z, 1.0)))(y)))(x),
    "in a loop": lambda x: grad(lambda y: sum(np.sum(softened(y, i + 1.0)) for i in range(3)))(x),
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_derivative_that_the_program_declares(name):
    check(DECLARED[name], (PAIR,))


def test_an_argument_without_a_declared_derivative_is_left_to_autograd_which_raises():
    function = lambda x: grad(lambda y: np.sum(partly(x, y)))(x)
    step = janusjit.jit(function, background=False)
    for _ in range(5):
        with pytest.raises(NotImplementedError, match="VJP of partly"):
            step(PAIR)


def test_a_result_that_does_not_depend_on_the_argument_is_left_to_autograd_which_warns():
    with pytest.warns(UserWarning, match="independent of input"):
        check(lambda x: grad(lambda y: 1.0)(x), (PAIR,), host_calls=CALLS - 1)
