"""Functions with gradients of their own, called with variables: by the rule, in plain Python and in the graph."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import scipy.linalg

import janusjit as jj
from tests.gradients.test_custom_vjp import WRONG, root, several, squares, squares_forward
from tests.gradients.test_jitted_variables import X, Y, compared, same, weights


@jj.custom_vjp
def softened(x, sharpness=2.0):
    return np.log1p(np.exp(sharpness * x)) / sharpness


def softened_forward(x, sharpness):
    e = np.exp(sharpness * x)
    return np.log1p(e) / sharpness, (e, x)


softened.defvjp(softened_forward, lambda kept, g: (g * kept[0] / (1.0 + kept[0]), None))


@jj.custom_vjp
def energy(x):
    return float((x * x).sum())


energy.defvjp(lambda x: (float((x * x).sum()), x), lambda x, g: (2.0 * g * x,))


@jj.custom_vjp
def clipped(x):
    return x


def clipped_backward(limit, g):
    out = np.zeros_like(g)
    for row in range(len(g)):
        out[row] = np.clip(g[row], -limit, limit)
    return (out,)


clipped.defvjp(lambda x: (x, 0.01), clipped_backward)


@jj.custom_vjp
def halves(x):
    return x[:2] * 2.0, {"rest": x[2:] * 1.0, "count": len(x)}


def halves_backward(_, g):
    assert g[1]["count"] is None
    return (np.concatenate([g[0] * 2.0, g[1]["rest"]]),)


halves.defvjp(lambda x: (halves(x), None), halves_backward)


@jj.custom_vjp
def solved(a, b):
    return np.linalg.solve(a, b)


def solved_forward(a, b):
    x = np.linalg.solve(a, b)
    return x, (a, x)


def solved_backward(kept, g):
    a, x = kept
    b = np.linalg.solve(a.T, g)
    return -np.outer(b, x), b


solved.defvjp(solved_forward, solved_backward)


@dataclasses.dataclass
class Affine:
    weight: jj.Variable
    bias: jj.Variable


@jj.custom_vjp
def affine(p, x):
    return x @ p.weight + p.bias


affine.defvjp(
    lambda p, x: (x @ p.weight + p.bias, (p, x)),
    lambda kept, g: (Affine(kept[1].T @ g, g.sum(axis=0)), g @ kept[0].weight.T),
)


class Scale:
    """A layer with a variable of its own, which the rule has for a constant, and a running mean."""

    def __init__(self):
        self.factor, self.mean = jj.Variable(np.full(6, 1.5)), jj.Variable(np.zeros(6), requires_grad=False)

    @jj.custom_vjp
    def scaled(self, h):
        return h * self.factor

    def _forward(self, h):
        self.mean *= 0.9
        self.mean += 0.1 * h.mean(axis=0)
        return h * self.factor, self.factor

    scaled.defvjp(_forward, lambda factor, g: (None, g * factor))


def hidden(w, x):
    return x @ w[0] + w[1]


def updated(w, loss):
    loss.backward()
    with jj.no_grad():
        for part in w:
            if part.grad is not None:
                part -= 0.05 * part.grad
                part.zero_grad()
    return loss.item()


def plain_step(w, x, y):
    return updated(w, ((softened(hidden(w, x)) @ w[2] - y) ** 2).mean())


def keyword_step(w, x, y):
    return updated(w, ((softened(hidden(w, x), sharpness=3.0) @ w[2] - y) ** 2).mean())


def float_step(w, x, y):
    return updated(w, energy(hidden(w, x) @ w[2] - y) * 0.01)


def clipped_step(w, x, y):
    loss = (clipped(hidden(w, x)) ** 2).sum()
    return updated(w, loss), w[0].grad


def structures_step(w, x, y):
    first, rest = halves(hidden(w, x))
    return updated(w, (first**2).mean() + (rest["rest"] ** 2).mean() * rest["count"])


def dict_step(w, x, y):
    found = several({"a": w[1] * 1.0, "b": [w[2][0, 0]]}, w[1], times=3)
    loss = found["s"].sum() + found["t"][0] * found["t"][1]
    loss.backward()
    return found["t"][2], w[1].grad.copy(), w[2].grad.copy()


def dataclass_step(w, x, y):
    return updated(w, ((affine(Affine(w[0], w[1]), x) @ w[2] - y) ** 2).mean())


def solved_step(w, x, y):
    a = np.eye(6) * 3.0 + np.tanh(w[0].T @ w[0])
    return updated(w, (solved(a, w[1]) ** 2).sum())


def branching_step(w, x, y):
    h = hidden(w, x)
    loss = softened(h).mean() if x.sum() > 0 else (squares(h) * 0.1).mean()
    return updated(w, loss)


def loop_step(w, x, y):
    total = 0.0
    for row in x:
        total = total + softened(row @ w[0]).sum()
    return updated(w, total * 0.01)


def long_loop_step(w, x, y):
    a = (w[1] ** 2).sum() + 2.0
    for _ in range(60):
        a = root(a) + 0.5
    return updated(w, a)


def taped_step(w, x, y):
    with jj.GradientTape() as tape:
        loss = ((softened(hidden(w, x)) @ w[2] - y) ** 2).mean()
    return loss.item(), tape.gradient(loss, w)


def watched_step(w, x, y):
    with jj.GradientTape() as tape:
        at = tape.watch(x)
        loss = softened(at).sum()
    return tape.gradient(loss, at)


def second_order(w, x, y):
    with jj.GradientTape() as outer:
        with jj.GradientTape() as inner:
            loss = (softened(hidden(w, x)) ** 2).mean()
        slopes = inner.gradient(loss, w[0])
        size = (slopes**2).sum()
    return slopes.data, outer.gradient(size, w[:2])


def itself(w, x, y):
    with jj.GradientTape(persistent=True) as tape:
        loss = (softened(w[1]) ** 3).sum()
        size = (tape.gradient(loss, w[1]) ** 2).sum()
    return tape.gradient(size, w[1])


def nothing_recorded(w, x, y):
    with jj.no_grad():
        out = softened(hidden(w, x))
    return out, softened(jj.Variable(x, requires_grad=False)), softened(hidden(w, x).detach())


def alone(w, x, y):
    out = softened(w[1])
    out.backward(np.arange(6.0), retain_graph=True)
    out.backward(np.ones(6))
    return w[1].grad.copy(), out.requires_grad, out.is_leaf


STEPS = [
    plain_step, keyword_step, float_step, clipped_step, structures_step, dict_step, dataclass_step, solved_step,
    branching_step, loop_step, long_loop_step, taped_step, watched_step, second_order, itself, nothing_recorded, alone,
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_is_wholly_in_the_graph(step):
    compiled = compared(step, lambda: (weights(), X.copy(), Y.copy()))
    assert compiled.stats.deopts == 0


LOSSES = {
    "elementwise": lambda w: (np.tanh(softened(X @ w[0] + w[1]) @ w[2]) ** 2).mean(),
    "of one float": lambda w: energy(np.sin(w[0])) * w[1].sum(),
    "a loop": lambda w: root(root((w[1] ** 2).sum() + 1.0) + (w[2] ** 2).sum()),
    "a library": lambda w: (solved(np.eye(6) * 3.0 + w[0].T @ w[0], w[1]) ** 2).sum(),
    "a dataclass": lambda w: (affine(Affine(w[0], w[1]), np.tanh(X)) ** 3).mean() + w[2].sum(),
    "branches": lambda w: (halves(w[0])[1]["rest"] * halves(w[0] ** 2)[0]).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_grad_and_of_differences(name):
    loss = LOSSES[name]

    def gradients(w):
        value = loss(w)
        value.backward()
        return value.item(), [part.grad for part in w]

    compiled = jj.jit(gradients, warmup=1, background=False)
    plain = [np.array(part.data) for part in weights()]
    direction = [np.random.default_rng(3).normal(size=part.shape) for part in plain]
    ahead, behind = (loss([p + s * d for p, d in zip(plain, direction, strict=True)]) for s in (1e-5, -1e-5))
    value, expected = jj.value_and_grad(loss)(plain)
    for function in (gradients, compiled, compiled, compiled):
        w = weights()
        found, parts = function(w)
        assert found == pytest.approx(float(value), rel=1e-12)
        parts = [np.zeros(v.shape) if part is None else part for part, v in zip(parts, w, strict=True)]
        same(parts, expected)
        slope = sum((part * d).sum() for part, d in zip(parts, direction, strict=True))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-6, abs=1e-9)  # central differences
    assert (compiled.stats.graph_calls, compiled.stats.host_calls, compiled.reason) == (2, 0, None)


def test_the_rule_is_used_and_not_what_the_function_does():
    def gradient(x):
        v = jj.Variable(x)
        squares(v).sum().backward()  # its rule says 3 x on purpose
        return v.grad

    compiled = jj.jit(gradient, warmup=1, background=False)
    for function in (gradient, compiled, compiled):
        np.testing.assert_allclose(function(X), 3 * X, rtol=1e-14)
    assert (compiled.stats.graph_calls, compiled.stats.host_calls) == (1, 0)


def test_what_else_a_rule_uses_is_constant_and_may_be_written():
    def step(layer, w, x):
        loss = (layer.scaled(hidden(w, x)) ** 2).mean() + layer.factor.sum()
        loss.backward()
        return loss.item(), layer.factor.grad, layer.mean.requires_grad

    compiled = compared(step, lambda: (Scale(), weights(), X.copy()))
    layer, w = Scale(), weights()
    assert compiled(layer, w, X)[1].tolist() == [1.0] * 6  # not by the rule
    np.testing.assert_allclose(layer.mean.data, 0.1 * (X @ w[0].data + w[1].data).mean(axis=0), rtol=1e-12)


def test_the_functions_run_once_and_in_order():
    said = []
    f = jj.custom_vjp(lambda x: said.append("function") or x)

    def forward(x):
        said.append(f"forward {type(x).__name__}")
        return x * 1.0, None

    def backward(_, g):
        said.append(f"backward {type(g).__name__}")
        return (g,)

    f.defvjp(forward, backward)
    v = jj.Variable(X)
    loss = (f(v) * 2.0).sum()
    loss.backward()
    with jj.no_grad():
        f(v)
    assert said == ["forward ndarray", "backward ndarray", "function"]


def test_code_without_source():
    solve = jj.custom_vjp(lambda a, b: scipy.linalg.solve(a, b))
    backward = lambda kept, g: (None, scipy.linalg.solve(kept.T, g))
    solve.defvjp(lambda a, b: (scipy.linalg.solve(a, b), a), backward)
    matrix = np.diag([1.0, 2.0, 3.0]) + 1.0

    def step(v):
        solve(matrix, np.sin(v)).sum().backward()
        gradient = v.grad
        v.zero_grad()
        return gradient

    with jj.GradientTape() as tape:
        v = jj.Variable([1.0, 2.0, 3.0])
        loss = solve(matrix, np.sin(v)).sum()
    wanted = np.cos(v.data) * np.linalg.solve(matrix, np.ones(3))
    np.testing.assert_allclose(tape.gradient(loss, v), wanted, rtol=1e-13)
    compiled = jj.jit(step, warmup=1, background=False)
    for function in (step, compiled, compiled, compiled):
        np.testing.assert_allclose(function(v), wanted, rtol=1e-13)
    assert compiled.stats.graph_calls == 0 and compiled.reason is not None


@pytest.mark.parametrize("message", WRONG)
def test_wrong_cotangents(message):
    f = jj.custom_vjp(lambda x: x * x)
    f.defvjp(squares_forward, WRONG[message])

    def step(x):
        f(jj.Variable(x)).sum().backward()

    compiled = jj.jit(step, warmup=1, background=False)
    for _ in range(3):
        for function in (step, compiled):
            with pytest.raises(TypeError, match=message):
                function(np.array([1.0, 2.0, 3.0]))
    assert compiled.stats.graph_calls == 0


def test_exceptions_of_the_rule_leave_the_mode_as_it_was():
    f = jj.custom_vjp(lambda x: x * x)

    def forward(x):
        if x.sum() > 0:
            raise ValueError("too much")
        return x * x, x

    f.defvjp(forward, lambda x, g: (2.0 * x * g,))

    def step(w):
        try:
            f(w)
        except ValueError:
            loss = (w * 2.0).sum()
        else:
            loss = (w * 3.0).sum()
        loss.backward()
        return loss.requires_grad, w.grad

    compiled = jj.jit(step, warmup=1, background=False)
    for sign in (1.0, 1.0, -1.0, 1.0, -1.0):
        same(compiled(jj.Variable(X * 0 + sign)), step(jj.Variable(X * 0 + sign)))


def test_what_is_recorded_is_freed_with_its_results():
    kept = []
    f = jj.custom_vjp(lambda x: x * x)

    def forward(x):
        kept.append(weakref.ref(x))
        return x * x, x

    f.defvjp(forward, lambda x, g: (2.0 * x * g,))
    v = jj.Variable(np.ones(1000))
    gc.disable()
    try:
        y = f(v)
        record = weakref.ref(y._history.records[0])
        y.backward(np.ones(1000))
        assert record() is None or record().released
        y = f(v)
        record = weakref.ref(y._history.records[0])
        del y
        assert record() is None
    finally:
        gc.enable()
    np.testing.assert_array_equal(v.grad, np.full(1000, 2.0))
