"""Gradients for users: outside compiled code and inside, against finite differences and against each other."""

from __future__ import annotations

import doctest
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import janusjit as jj
from janusjit import gradients
from janusjit.analysis import differentiated

X = np.array([0.3, 1.2, -0.7])
OUTSIDE = np.zeros(3)
M = np.array([[0.5, -1.0, 2.0], [1.5, 0.2, -0.4]])


def finite_differences(function, x, step=1e-6):
    """Return central differences; their error is some 1e-10 of the second derivative's size, and rounding 1e-10."""
    x = np.asarray(x, float)
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        found[index] = (function(up) - function(down)) / (2 * step)
    return found


def branching(x):
    total = 0.0
    for value in x:
        total = total + (value**2 if value > 0 else -3.0 * value)
    return total


def looping(x):
    y = x
    while (y**2).sum() < 50.0:
        y = y * 1.5 + 0.1
    return y.sum()


def written_in_place(x):
    y = x * 2.0
    y[1:] *= x[:-1]
    y[0] = y[2] ** 2
    return (y * x).sum()


def masked(x):
    y = x**2
    y[x < 0] = 0.0
    return np.where(x > 1.0, y * 3.0, y).sum() + x[x > 0].sum()


def normalized(x):
    e = np.exp(x - x.max())
    return -np.log((e / e.sum())[1])


def by_rows(x):
    return np.stack([x, x * 2.0]).mean(axis=0).std() + np.concatenate([x, x[:1]]).prod()


def of_matrices(x):
    w = np.outer(x, x) + 2.0 * np.eye(3)
    return np.linalg.det(w) + np.linalg.solve(w, x).sum() + np.trace(np.linalg.inv(w))


def of_elementary(x):
    return (np.tanh(x) * np.log1p(x**2) + np.sqrt(np.abs(x)) + np.arctan(x) - np.sin(x) * np.cos(x)).sum()


def with_methods(x):
    return x.reshape(3, 1).T.dot(x).sum() + x.max() * x.min() + x.mean() + x.var()


def gathered(x):
    return (x[[0, 2, 2, 1]] * np.arange(4.0)).sum() + np.take(x, [1, 1]).sum() + np.cumsum(x)[1]


def helper_and_closure(x):
    scale = x[0]

    def scaled(y, power=2):
        return scale * y**power

    return sum(scaled(part) for part in (x[1], x[2])) + scaled(x, power=3).sum()


FUNCTIONS = [
    branching, looping, written_in_place, masked, normalized, by_rows, of_matrices, of_elementary, with_methods,
    gathered, helper_and_closure,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_gradient(function):
    expected = finite_differences(function, X)
    found = jj.grad(function)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)  # of the differences, see above
    value, again = jj.value_and_grad(function)(X)
    assert value == pytest.approx(function(X), rel=1e-14)
    np.testing.assert_array_equal(again, found)
    step = jj.jit(background=False)(lambda x: jj.value_and_grad(function)(x))
    for number in range(5):
        value, compiled = step(X + 0.01 * number)
    np.testing.assert_allclose(compiled, jj.grad(function)(X + 0.04), rtol=1e-11, atol=1e-13)
    assert value == pytest.approx(function(X + 0.04), rel=1e-13)
    assert step.stats.graph_calls >= 3 - step.stats.deopts and step.stats.host_calls == 0, (step.stats, step.reason)
    assert step.reason is None


@dataclass
class Layer:
    weight: np.ndarray
    bias: float
    name: str = "layer"


class Pair(NamedTuple):
    a: np.ndarray
    b: float


@pytest.mark.parametrize(
    ("parameters", "function"),
    [
        (2.0, lambda p: p**3),
        (np.float64(2.0), lambda p: p * np.exp(p)),
        (X.astype(np.float32), lambda p: (p**2).sum()),
        ([X, 2.0], lambda p: (p[0] * p[1]).sum()),
        ((X, (M, 1.5)), lambda p: (p[0] @ p[1][0].T).sum() * p[1][1]),
        ({"w": X, "b": 0.5, "steps": 3}, lambda p: (p["w"] * p["steps"]).sum() * p["b"]),
        (Layer(X, 0.5), lambda p: (p.weight**2).sum() * p.bias),
        (Pair(X, 2.0), lambda p: (p.a * p.b).sum()),
        ({"layers": [Layer(X, 1.0), Layer(X * 2.0, 3.0)]}, lambda p: sum(q.weight.sum() * q.bias for q in p["layers"])),
    ],
)
def test_structures(parameters, function):
    found = jj.grad(function)(parameters)
    assert type(found) is type(parameters)
    step = jj.jit(background=False)(lambda p: jj.grad(function)(p))
    for _ in range(4):
        compiled = step(parameters)
    assert step.stats.graph_calls == 2 and step.stats.host_calls == 0, step.reason
    flat, expected = [], []
    _leaves(parameters, found, compiled, function, lambda value: value, flat, expected)
    assert flat
    for (mine, graph), wanted in zip(flat, expected, strict=True):
        assert type(mine) is type(graph) is type(wanted)
        tolerance = 1e-2 if getattr(wanted, "dtype", None) == np.float32 else 1e-5  # differences of float32 values
        np.testing.assert_allclose(mine, wanted, rtol=tolerance)
        np.testing.assert_allclose(graph, mine, rtol=1e-6)


def _leaves(given, found, compiled, function, rebuild, flat, expected):
    """Collect each float's gradient, twice, and what differences say."""
    if isinstance(given, np.ndarray | float | np.floating):
        step = 1e-2 if getattr(given, "dtype", None) == np.float32 else 1e-6

        def at(x):
            return float(function(rebuild(np.asarray(x).astype(given.dtype) if hasattr(given, "dtype") else float(x))))

        wanted = finite_differences(at, np.asarray(given, float), step)
        wanted = wanted.astype(given.dtype) if isinstance(given, np.ndarray) else type(given)(wanted)
        flat.append((found, compiled))
        expected.append(wanted)
    elif isinstance(given, list | tuple):
        make = given._make if hasattr(given, "_make") else type(given)
        for number, part in enumerate(given):
            changed = lambda new, n=number: rebuild(make([new if i == n else q for i, q in enumerate(given)]))
            _leaves(part, found[number], compiled[number], function, changed, flat, expected)
    elif isinstance(given, dict):
        for key, part in given.items():
            changed = lambda new, k=key: rebuild({**given, k: new})
            _leaves(part, found[key], compiled[key], function, changed, flat, expected)
    elif isinstance(given, Layer):
        for name in ("weight", "bias"):
            changed = lambda new, n=name: rebuild(Layer(**{**vars(given), n: new}))
            parts = (getattr(value, name) for value in (given, found, compiled))
            _leaves(*parts, function, changed, flat, expected)


def test_argnums_and_aux():
    def function(a, b, scale=1.0):
        return (a * b).sum() * scale, {"size": a.size}

    (da, db), aux = jj.grad(function, (0, 1), has_aux=True)(X, X * 2.0, scale=3.0)
    np.testing.assert_array_equal(da, X * 6.0)
    np.testing.assert_array_equal(db, X * 3.0)
    assert aux == {"size": 3}
    (value, aux), gradient = jj.value_and_grad(function, 1, has_aux=True)(X, X)
    assert value == (X * X).sum() and aux == {"size": 3}
    np.testing.assert_array_equal(gradient, X)


def test_nesting():
    cube = lambda x: x**3
    assert jj.grad(jj.grad(cube))(2.0) == 12.0
    assert jj.grad(jj.grad(jj.grad(cube)))(2.0) == 6.0
    hessian = jj.hessian(of_elementary)(X[:2] + 1)
    np.testing.assert_array_equal(hessian, np.diag(np.diag(hessian)))
    inner = jj.grad(lambda x: jj.grad(lambda y: (x * y**2).sum())(x).sum())(X)
    np.testing.assert_allclose(inner, 4.0 * X, rtol=1e-14)
    step = jj.jit(background=False)(lambda x: jj.grad(jj.grad(cube))(x))
    for _ in range(4):
        assert step(2.0) == 12.0
    assert step.stats.graph_calls == 2


def test_jacobians_products_and_directions():
    function = lambda x: np.sin(x) * x[0]
    jacobian = jj.jacobian(function)(X)
    expected = np.stack([finite_differences(lambda x, i=i: function(x)[i], X) for i in range(3)])
    np.testing.assert_allclose(jacobian, expected, rtol=1e-7, atol=1e-9)
    value, along = jj.jvp(function, (X,), (np.ones(3),))
    np.testing.assert_array_equal(value, function(X))
    np.testing.assert_allclose(along, jacobian.sum(axis=1), rtol=1e-13)
    _, pullback = jj.vjp(function, X)
    np.testing.assert_allclose(pullback(np.ones(3))[0], jacobian.sum(axis=0), rtol=1e-13)
    product = jj.hvp(normalized)(X, np.ones(3))
    np.testing.assert_allclose(product, jj.hessian(normalized)(X) @ np.ones(3), rtol=1e-12, atol=1e-15)


def test_a_training_step_is_wholly_in_the_graph():
    def loss(parameters, x, y):
        hidden = np.tanh(x @ parameters["W"] + parameters["b"])
        return ((hidden @ parameters["V"] - y) ** 2).mean()

    gradient = jj.value_and_grad(loss)

    def step(parameters, x, y, rate):
        value, found = gradient(parameters, x, y)
        for name in parameters:
            parameters[name] -= rate * found[name]
        return value

    rng = np.random.default_rng(0)
    mine = {"W": rng.normal(size=(3, 5)), "b": np.zeros(5), "V": rng.normal(size=(5, 2))}
    theirs = {name: value.copy() for name, value in mine.items()}
    compiled = jj.jit(background=False)(step)
    for number in range(20):
        x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
        rate = 0.1 / (1 + number)
        assert compiled(mine, x, y, rate) == pytest.approx(step(theirs, x, y, rate), rel=1e-11)
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-10, atol=1e-13)
    assert compiled.stats.graph_calls == 18 and compiled.stats.host_calls == 0


def test_a_jitted_function_is_differentiated_as_the_function_it_was():
    square = jj.jit(background=False)(lambda x: (x**2).sum())
    np.testing.assert_array_equal(jj.grad(square)(X), 2.0 * X)


def test_methods():
    class Model:
        def __init__(self):
            self.scale = 3.0

        def loss(self, x):
            return (x**2).sum() * self.scale

    np.testing.assert_array_equal(jj.grad(Model().loss)(X), 6.0 * X)


def test_what_would_lose_the_gradient_is_an_error():
    def into_a_global(x):
        OUTSIDE[:] = x
        return OUTSIDE.sum()

    def by_a_ufunc(x):
        np.add.at(OUTSIDE, [0, 1, 1], x)
        return OUTSIDE.sum()

    for function in (into_a_global, by_a_ufunc):
        with pytest.raises(TypeError):
            jj.grad(function)(X)
    np.testing.assert_array_equal(OUTSIDE, np.zeros(3))
    with pytest.raises(TypeError, match="returns an array"):
        jj.grad(lambda x: x)(X)
    with pytest.raises(TypeError, match="no positional argument"):
        jj.grad(lambda x: x.sum(), 3)(X)
    with pytest.raises(jj.GradientError):
        jj.grad(lambda x: np.fft.fft(x).real.sum())(X)


def test_the_deviation_of_one_element_is_constant():
    def chosen(x, limit):
        return np.std(x[x > limit]) + np.std(x[:, :1], axis=1).sum() + (x - x.mean(axis=1, keepdims=True)).std()

    def step(x, limit):
        return jj.grad(chosen)(x, limit)

    x = np.array([[1.0, 2.0, 5.0]])
    compiled = jj.jit(step, warmup=1, background=False)
    for limit in (0.0, 1.5, 3.0, 4.0):  # of one element: zero, as the package autograd has it
        found = step(x, limit)
        wanted = finite_differences(lambda x, limit=limit: chosen(x, limit), x)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(compiled(x, limit), found, rtol=1e-12)
    assert compiled.stats.graph_calls == 3 and compiled.stats.host_calls == 0


def test_an_exception_of_the_function_is_raised():
    def function(x):
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        jj.grad(function)(X)
    with pytest.raises(IndexError):
        jj.grad(lambda x: x[7])(X)


@pytest.mark.parametrize("module", [differentiated, gradients])
def test_examples(module):
    assert doctest.testmod(module).attempted >= 3
    assert doctest.testmod(module).failed == 0


# ---------------------------------------------------------------------- random programs

UNARY = ["np.tanh({})", "np.sin({})", "({} ** 2)", "np.exp(-np.abs({}))", "-{}", "np.log1p({} ** 2)", "{}[::-1]"]
BINARY = ["({} + {})", "({} * {})", "({} - {})", "np.maximum({}, {} + 0.05)", "({} / (2.0 + {} ** 2))"]


@st.composite
def programs(draw):
    """Return the source of a differentiable program with branches, loops, in-place updates and broadcasting."""
    names, lines = ["x"], []
    for number in range(draw(st.integers(2, 6))):
        name = f"v{number}"
        kind = draw(st.sampled_from(["unary", "binary", "branch", "loop", "in place", "broadcast"]))
        a, b = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        first, second = draw(st.sampled_from(UNARY)).format(a), draw(st.sampled_from(BINARY)).format(a, b)
        if kind == "unary":
            lines.append(f"{name} = {first}")
        elif kind == "binary":
            lines.append(f"{name} = {second}")
        elif kind == "branch":
            lines += [f"if {a}.sum() > {draw(st.sampled_from([-0.31, 0.17, 0.93]))}:", f"    {name} = {first}"]
            lines += ["else:", f"    {name} = {second}"]
        elif kind == "loop":
            lines += [f"{name} = {a} * 1.0", f"for i in range({draw(st.integers(1, 3))}):"]
            lines += [f"    {name} = np.sin({name}) + 0.3 * {b} * i"]
        elif kind == "in place":
            lines += [f"{name} = {first} + 0.0", f"{name}[1:] += 0.5 * {b}[:-1]", f"{name}[0] = {a}[2] * 2.0"]
        else:
            lines.append(f"{name} = ({a}[:, None] * {b}[None, :]).mean(axis={draw(st.integers(0, 1))})")
        names.append(name)
    body = "\n    ".join([*lines, f"return ({names[-1]} * np.array([0.7, -1.1, 0.4])).sum()"])
    return f"def program(x):\n    {body}\n"


@settings(max_examples=40)
@given(programs(), st.integers(0, 10_000))
def test_random_programs(tmp_path_factory, source, seed):
    path = tmp_path_factory.mktemp("programs") / "program.py"
    path.write_text(source)
    space = {"np": np, "__name__": "program"}
    exec(compile(source, path, "exec"), space)
    program = space["program"]
    x = np.random.default_rng(seed).normal(size=3)
    expected, rough = finite_differences(program, x), finite_differences(program, x, 1e-4)
    if not np.allclose(expected, rough, rtol=1e-3, atol=1e-4):
        return  # a kink, or a branch, within the step
    found = jj.grad(program)(x)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    step = jj.jit(background=False)(lambda at: jj.grad(program)(at))
    for _ in range(3):
        compiled = step(x)
    np.testing.assert_allclose(compiled, found, rtol=1e-9, atol=1e-12)
    assert step.stats.graph_calls == 1 and step.stats.host_calls == 0, step.reason
