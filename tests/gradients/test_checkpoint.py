"""Functions whose intermediate values are computed again."""

from __future__ import annotations

import dataclasses
import re
import tracemalloc

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture import checkpoints

W, X = np.array([[0.3, 0.7], [0.1, -0.4]]), np.array([[1.0, 2.0], [3.0, 4.0]])


def layer(x, parameters, scale=1.0):
    return np.sin(np.tanh(x @ parameters["w"])) * scale


def in_place(x, parameters, scale=1.0):
    x = x.copy()
    x += np.exp(x @ parameters["w"])
    x *= scale
    return x


def loss_of(function):
    def loss(parameters, x):
        for _ in range(2):
            x = function(x, parameters, scale=1.5)
        return (x**2).sum()

    return loss


def changing(x, w):
    x *= w
    return x


@pytest.mark.parametrize("function", [layer, in_place])
def test_the_gradient_is_that_without(function, monkeypatch):
    numbers = []
    mark = checkpoints.leave
    monkeypatch.setattr(checkpoints, "leave", lambda m, v, number, p: numbers.append(number) or mark(m, v, number, p))
    plain, marked = (jj.value_and_grad(loss_of(f)) for f in (function, jj.checkpoint(function)))
    compiled = jj.jit(lambda p, x: marked(p, x), warmup=1, background=False)
    value, wanted = plain({"w": W}, X)
    for _ in range(4):
        for found, gradient in (marked({"w": W}, X), compiled({"w": W}, X)):
            np.testing.assert_allclose(found, value, rtol=1e-13)
            np.testing.assert_allclose(gradient["w"], wanted["w"], rtol=1e-12)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)
    assert len(set(numbers)) >= 2  # each call has marks of its own


@dataclasses.dataclass
class Model:
    w: np.ndarray
    shift: float


class Network:
    def __init__(self, w):
        self.w = w

    @jj.checkpoint
    def forward(self, x):
        return np.tanh(x @ self.w)


def closures(w, x):
    marked = jj.checkpoint(lambda: np.sin(x @ w))
    return jj.grad(lambda w: jj.checkpoint(lambda: np.sin(x @ w))().sum())(w) + marked()


def unused_argument(w, x):
    marked = jj.checkpoint(lambda _, b: np.tanh(b * b))
    return jj.grad(lambda w: marked(x @ w, 2.0 * w).sum())(w)


def turns(w, x, n=40):
    marked = jj.checkpoint(layer)

    def loss(w, x):
        for _ in range(n):
            x = marked(x, {"w": w}, scale=1.1)
        return (x**2).sum()

    return jj.grad(loss)(w, x)


def while_with_loops_inside(w, x, n=40):
    @jj.checkpoint
    def repeated(x, w):
        y = np.tanh(x @ w)
        for _ in range(n):
            y = np.sin(y) + 0.1 * x
        return y

    def loss(w, x):
        i = 0
        while i < n and np.abs(x).sum() > 1e-3:
            x = repeated(x, w)
            i += 1
        return (x**2).sum()

    return jj.grad(loss)(w, x)


def branches(w, x):
    @jj.checkpoint
    def either(x, w):
        if x.sum() > 5:
            return np.sin(x @ w)
        return np.cos(x @ w) * 2

    return jj.grad(lambda w: either(either(x, w), w).sum())(w)


def containers(w, x):
    @jj.checkpoint
    def several(p, k):
        a = np.sin(p["a"] * k[0])
        return {"u": a * 2, "v": (a.sum(), [a + p["b"], 3.0 * p["b"]])}

    def loss(p):
        r = several(p, [2.0, 1])
        return (r["u"] * r["v"][1][0]).sum() * r["v"][0] * r["v"][1][1]

    found = jj.grad(loss)({"a": w, "b": x[0, 0]})
    return found["a"] * found["b"]


def dataclass(w, x):
    marked = jj.checkpoint(lambda m, x: np.tanh(x @ m.w) + m.shift)
    found = jj.grad(lambda m: marked(m, marked(m, x)).sum())(Model(w, 0.5))
    return found.w * found.shift


def method(w, x):
    def loss(w):
        network = Network(w)
        return network.forward(network.forward(x)).sum()

    return jj.grad(loss)(w)


def written_in_place(w, x):
    @jj.checkpoint
    def change(x, w):
        x += np.sin(x @ w)

    def loss(w):
        y = x.copy()
        change(y, w)
        change(y, w)
        return y.sum()

    return jj.grad(loss)(w)


def one_in_another(w, x):
    inner = jj.checkpoint(lambda x, w: np.tanh(x @ w))
    outer = jj.checkpoint(lambda x, w: inner(inner(x, w), w) * 2)
    return jj.grad(lambda w: outer(outer(x, w), w).sum())(w)


def random_numbers(w, x):
    generator = np.random.RandomState(0)
    marked = jj.checkpoint(lambda x: np.tanh(x) * (generator.random_sample(x.shape) > 0.5))
    return jj.grad(lambda w: marked(marked(x @ w)).sum())(w)


def second_derivatives(w, x):
    marked = jj.checkpoint(lambda w, *, k=1.0: np.sin(np.exp(k * w * w)))
    product = jj.hvp(lambda w: marked(w, k=0.5).sum())(w, x)
    return product + jj.jvp(marked, (w,), (x,))[1] + jj.hessian(lambda v: marked(v).prod())(w[0])


def of_a_gradient(w, x):
    marked = jj.checkpoint(jj.grad(lambda x: np.sin(x**3)))
    return jj.grad(marked)(w[0, 0])


def of_numpy(w, x):
    return jj.grad(lambda w: jj.checkpoint(np.sin)(w).sum())(w)


PROGRAMS = (closures, unused_argument, turns, while_with_loops_inside, branches, containers, dataclass, method)
PROGRAMS += (written_in_place, one_in_another, random_numbers, second_derivatives, of_a_gradient, of_numpy)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program, monkeypatch):
    compiled = jj.jit(program, warmup=1, background=False)
    with_marks = [program(W, X)] + [compiled(W, X) for _ in range(4)]
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)
    monkeypatch.setattr(jj, "checkpoint", lambda function: function)
    if program is method:
        monkeypatch.setattr(Network, "forward", vars(Network)["forward"].__wrapped__)
    wanted = program(W, X)
    for found in with_marks:
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def repeated_by(function):
    def loss(w, x, n):
        for _ in range(n):
            x = function(x, {"w": w})
        return x.sum()

    return lambda w, x, n: jj.grad(loss)(w, x, n)


def test_a_turn_keeps_what_it_begins_with():
    kept, wanted = [], None
    for function in (layer, jj.checkpoint(layer)):
        compiled = jj.jit(repeated_by(function), warmup=1, background=False)
        found = [compiled(W, X, n) for n in (300, 301, 302, 302)]
        wanted = wanted or found
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert compiled.stats.graph_calls >= 2 and compiled.stats.host_calls == 0
        pushes = re.findall(r"tape_push\((.*?)\)", compiled.specializations[-1].graph)
        kept.append({push.count("%") - 1 for push in pushes})
    assert kept == [{2}, {1}]


def test_arguments_written_to_stay_the_same_objects():
    marked = jj.checkpoint(changing)

    def step(x, w):
        found = marked(x, w)
        return found is x, found.sum()

    compiled = jj.jit(step, warmup=1, background=False)
    x, y = X.copy(), X.copy()
    for _ in range(4):
        assert step(x, W) == compiled(y, W)
        np.testing.assert_array_equal(x, y)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (3, 0)


# ---------------------------------------------------------------------- in plain Python


def long_layer(x, w):
    for _ in range(6):
        x = np.tanh(x * w) + x * 0.1
    return x


def peak(function, size=20_000):
    """Return how many arrays a gradient in plain Python has at once, and the gradient."""

    def loss(w, x):
        for _ in range(12):
            x = function(x, w)
        return (x**2).sum()

    x = np.linspace(-1.0, 1.0, size)
    tracemalloc.start()
    try:
        found = jj.grad(loss)(np.full(size, 0.9), x)
        return tracemalloc.get_traced_memory()[1] / x.nbytes, found
    finally:
        tracemalloc.stop()


def test_memory_in_plain_python():
    without, wanted = peak(long_layer)
    marked, found = peak(jj.checkpoint(long_layer))
    np.testing.assert_allclose(found, wanted, rtol=1e-13)  # cotangents are added in another order
    assert without > 250  # of each of 72 steps, four arrays
    assert marked < 50  # of twelve layers the results, and the steps of one


def test_a_backward_pass_in_plain_python_keeps_what_it_still_needs():
    size = 20_000

    def loss(x):
        for _ in range(50):
            x = np.sin(x)
        return x.sum()

    tracemalloc.start()
    try:
        jj.grad(loss)(np.ones(size))
        assert tracemalloc.get_traced_memory()[1] < 60 * 8 * size  # and neither the cosines nor the cotangents
    finally:
        tracemalloc.stop()


def test_what_a_checkpoint_lets_out_is_computed_again_when_it_is_asked_for():
    seen = []

    def leaking(x, held):
        y = np.exp(x)
        seen.append(y * 2.0)
        held[0] = y
        return {"a": y * x, "b": [y.sum(), (x.sum(),)]}

    marked = jj.checkpoint(leaking)

    def loss(x, function):
        held = np.zeros((2, 3))
        found = function(x, held)
        return found["a"].sum() * found["b"][0] * found["b"][1][0] + (held**2).sum() + seen[-1].sum()

    x = np.array([0.1, 0.2, 0.3])
    for gradient in (jj.grad, lambda f: jj.grad(lambda x, g: (jj.grad(f)(x, g) ** 2).sum()), jj.hessian):
        np.testing.assert_allclose(gradient(loss)(x, marked), gradient(loss)(x, leaking), rtol=1e-13)
    assert all(type(part) is np.ndarray for part in seen)


def test_forward_mode_and_numbers():
    marked = jj.checkpoint(lambda x, k: (np.sin(x) * k, k**3))

    def loss(x, function=marked):
        y, k = function(x, x.sum())
        return (y * k).sum() + function(y, 2.0)[0].sum()

    plain = marked.function
    np.testing.assert_allclose(jj.grad(loss)(X), jj.grad(lambda x: loss(x, plain))(X), rtol=1e-13)
    for one, other in zip(jj.jvp(loss, (X,), (W,)), jj.jvp(lambda x: loss(x, plain), (X,), (W,)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def peak_of_variables(function, size=20_000):
    """Return how many arrays going back from a variable has at once, and the gradient."""

    def step():
        w = jj.Variable(np.full(size, 0.9))
        x = np.linspace(-1.0, 1.0, size)
        for _ in range(12):
            x = function(x, w)
        (x**2).sum().backward()
        return w.grad

    tracemalloc.start()
    try:
        found = step()
        return tracemalloc.get_traced_memory()[1] / found.nbytes, found
    finally:
        tracemalloc.stop()


def test_memory_of_variables():
    without, wanted = peak_of_variables(long_layer)
    marked, found = peak_of_variables(jj.checkpoint(long_layer))
    np.testing.assert_array_equal(found, wanted)
    assert marked < 0.5 * without  # each of 72 products takes a copy of the weights


def test_variables_computed_again():
    w, x = jj.Variable(W), jj.Variable(X)

    def steps(function):
        found = []
        y = function(function(x * 1.0))
        held = function(y)
        held.sum().backward(retain_graph=True)
        (held * y).sum().backward()
        found += [w.grad, x.grad, held.data]
        w.zero_grad()
        x.zero_grad()
        with jj.GradientTape(persistent=True) as outer:
            with jj.GradientTape() as inner:
                y = (function(function(x)) ** 2).sum()
            slope = inner.gradient(y, x)
            again = (function(slope) * slope).sum()
        return [*found, slope.data, outer.gradient(again, w), outer.gradient(again, x)]

    def through(h):
        y = np.tanh(h @ w)
        y[0] = y[1] * 2.0
        return {"y": y * np.exp(-y)}["y"]

    for found, wanted in zip(steps(jj.checkpoint(through)), steps(through), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
