"""Variables and tapes in functions that `janusjit.grad` and its like differentiate, in Python and in the graph."""

from __future__ import annotations

import math

import numpy as np
import pytest

import janusjit as jj
from tests.gradients.test_gradients import finite_differences
from tests.gradients.test_jitted_variables import compared, same

X = np.array([0.5, 1.2, 2.0])
M = np.array([[0.3, 0.2, 0.1], [0.5, -0.4, 0.3]])
RECORDED = jj.Variable([1.0, 2.0, 3.0])
PLAIN = jj.Variable([1.0, 2.0, 3.0], requires_grad=False)


# ---------------------------------------------------------------------- what is differentiated


def gradient_penalty(x):
    v = jj.Variable(x)
    np.tanh(M @ v).sum().backward()
    return (v.grad**2).sum()


def accumulated(x):
    v = jj.Variable(x)
    for power in (2, 3, 4):
        (v**power).sum().backward()
    return (v.grad * x).sum()


def steps_of_descent(x):
    v = jj.Variable(np.zeros(3))
    for _ in range(4):
        loss = ((v - x) ** 2 * x).sum()
        loss.backward()
        with jj.no_grad():
            v -= 0.1 * v.grad
        v.zero_grad()
    return (v.data**2).sum()


def steps_on_data(x):
    v = jj.Variable(x * 0.0)
    for _ in range(4):
        ((v - x) ** 2 * x).sum().backward()
        v.data = v.data - 0.1 * v.grad
        v.grad = None
    return (v.data**2).sum()


def branch(x):
    v = jj.Variable(x)
    y = (v * v).sum()
    z = y * v.sum() if y > 1.0 else y + 1.0
    z.backward()
    return (v.grad * x).sum() + z.item()


def numbers(x):
    v = jj.Variable(x)
    y = np.exp(v * 0.1).sum()
    return y.item() * float(y) + y.numpy() * math.sqrt(y) + x.sum()


def data_of_a_result(x):
    v = jj.Variable(x)
    y = v**3
    y.sum().backward()
    return (y.data * v.grad).sum()


def detached_inside(x):
    v = jj.Variable(x)
    y = v * v
    (v * y.detach() + v * y.data).sum().backward()  # a variable's gradient does not go through them: that of x does
    return (v.grad * np.array([1.0, 2.0, 3.0])).sum()


def tape_on_tape(x):
    v = jj.Variable(x)
    with jj.GradientTape() as outer:
        with jj.GradientTape() as inner:
            y = (v**4).sum()
        slope = inner.gradient(y, v)
        total = (slope * slope).sum()
    return (outer.gradient(total, v) * x).sum()


def gradient_in_gradient(x):
    def inner(at):
        v = jj.Variable(at)
        (v**3).sum().backward()
        return (v.grad * at).sum()

    slope = jj.grad(inner)(x)
    return (slope * slope).sum()


def variable_of_a_gradient(x):
    v = jj.Variable(jj.grad(lambda at: (at**3).sum())(x))
    (v * v * x).sum().backward()
    return (v.grad * v.data).sum()


def variable_from_outside(x):
    np.tanh(RECORDED * x).sum().backward()
    gradient = RECORDED.grad
    RECORDED.zero_grad()
    return (gradient**2).sum()


def numbers_of_no_argument(x):
    y = (RECORDED * RECORDED).sum()
    y.backward()
    total = float(RECORDED.grad.sum())
    RECORDED.zero_grad()
    return y.item() * total * x.sum()


def loop(x):
    v = jj.Variable(x)
    h, n = v * 1.0, 0
    while n < 5:
        h = np.tanh(h * v + 0.1)
        n += 1
    h.sum().backward()
    return (v.grad**2).sum()


def rows_written(x):
    v = jj.Variable(x)
    rows = jj.Variable(np.zeros((2, 3)), requires_grad=False)
    rows[0] = v * 2
    rows[1] = v * v
    rows[0] *= rows[1]
    rows.sum().backward()
    return (v.grad * x).sum()


def cotangents(x):
    v, w = jj.Variable(x), jj.Variable(x)
    (v * v).backward(x)
    w.backward(x * x)
    return v.grad.sum() + w.grad.sum()


def data_of_its_own(x):
    v = jj.Variable(x)
    v.data[0] = 5.0
    return (x * x).sum() + v.data.sum()


def not_recorded(x):
    v = jj.Variable(x)
    with jj.no_grad():
        v *= 2.0
        v += x
        return (v * v * v).sum()


def retained(x):
    v = jj.Variable(x)
    y = (v**3).sum()
    y.backward(retain_graph=True)
    y.backward()
    return (v.grad * x).sum()


PROGRAMS = [
    gradient_penalty, accumulated, steps_of_descent, steps_on_data, branch, numbers, data_of_a_result, tape_on_tape,
    gradient_in_gradient, variable_of_a_gradient, variable_from_outside, numbers_of_no_argument, loop, rows_written,
    cotangents, data_of_its_own, not_recorded, retained, detached_inside,
]  # fmt: skip


def value(program, x):
    found = program(x)
    return float(found.data if isinstance(found, jj.Variable) else found)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients(program):
    def step(x):
        number, gradient = jj.value_and_grad(program)(x)
        return float(number), gradient, jj.jvp(program, (x,), (np.ones(3),))[1] * 1.0

    number, gradient, along = step(X.copy())
    assert number == pytest.approx(value(program, X), rel=1e-14)
    np.testing.assert_allclose(gradient, finite_differences(lambda x: value(program, x), X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(float(along), gradient.sum(), rtol=1e-12)
    compared(step, lambda: (X.copy(),), calls=3)
    assert RECORDED.grad is None


def hessian(x):
    return jj.hessian(gradient_penalty)(x)


def jacobians(x):
    def slopes(at):
        v = jj.Variable(at)
        (v**4 * at[0]).sum().backward()
        return v.grad

    return [jj.jacobian(slopes, mode=mode)(x) for mode in (None, "forward", "reverse")]


def test_second_derivatives():
    wanted = finite_differences(lambda x: jj.grad(gradient_penalty)(x)[0], X)
    np.testing.assert_allclose(hessian(X)[0], wanted, rtol=1e-6, atol=1e-8)
    compared(hessian, lambda: (X.copy(),), calls=3)
    compared(jacobians, lambda: (X.copy(),), calls=3)


def outside_of_a_gradient(x):
    v = jj.Variable(x)
    slope = jj.grad(lambda at: (at**2 * v).sum().item())(x)
    rows = jj.jacobian(lambda at: (at**2 * v).data)(x)
    (v * slope + rows @ v).sum().backward()  # what janusjit.grad gives is plain
    return v.grad


def test_a_gradient_is_no_recorded_operation():
    np.testing.assert_allclose(outside_of_a_gradient(X), 4 * X**2, rtol=1e-14)
    compared(outside_of_a_gradient, lambda: (X.copy(),), calls=3)


def test_what_a_gradient_stores_is_plain():
    def stored(x):
        (RECORDED * x).sum().backward()
        return (RECORDED.grad * x).sum()

    def step(x):
        gradient = jj.grad(stored)(x)
        held = RECORDED.grad
        RECORDED.zero_grad()
        return gradient, held

    gradient, held = step(X)
    np.testing.assert_allclose(gradient, 2 * X, rtol=1e-14)
    same(held, X)
    compared(step, lambda: (X.copy(),), calls=3)


# ---------------------------------------------------------------------- arguments and results


def by_untracked(x):
    return jj.grad(lambda v: (v * v * x).sum())(jj.Variable(x, requires_grad=False))


def by_a_dict(x):
    return jj.grad(lambda p: (p["a"] * p["b"]).sum())({"a": PLAIN, "b": x})


def untracked_results(x):
    plain, aux = jj.grad(lambda at: ((at * at).sum(), [PLAIN, PLAIN * 2.0]), has_aux=True)(x)
    return plain, aux, jj.value_and_grad(lambda at: (PLAIN * at).sum())(x), jj.jacobian(lambda at: PLAIN * at)(x)


def not_differentiated_by(x):
    return jj.grad(lambda at, v, k: (at * v * k).sum().item())(x, RECORDED, k=RECORDED)


def under_no_grad(x):
    with jj.no_grad():
        return jj.grad(lambda v: (v * x).sum())(RECORDED)


@pytest.mark.parametrize(
    "function", [by_untracked, by_a_dict, untracked_results, not_differentiated_by, under_no_grad]
)
def test_arguments_and_results(function):
    compared(function, lambda: (X.copy(),), calls=3)


def by_recorded(x):
    return jj.grad(lambda v: (v.data * x).sum())(RECORDED)


def by_a_list(x):
    return jj.grad(lambda p: (p[0] * x).sum())([RECORDED, x])


def recorded_result(x):
    return jj.grad(lambda at: (RECORDED * at).sum())(x)


def recorded_aux(x):
    return jj.value_and_grad(lambda at: ((at * at).sum(), {"aux": RECORDED}), has_aux=True)(x)


def recorded_rows(x):
    return jj.jacobian(lambda at: RECORDED * at)(x)


def recorded_primal(x):
    return jj.jvp(lambda at: at * 2.0, (RECORDED,), (x,))


@pytest.mark.parametrize(
    "function", [by_recorded, by_a_list, recorded_result, recorded_aux, recorded_rows, recorded_primal]
)
def test_recorded_variables_are_refused(function):
    compiled = jj.jit(function, warmup=1, background=False)
    for call in (function, compiled, compiled, compiled):
        with pytest.raises(TypeError, match="gradient function: pass its data"):
            call(X)
    assert compiled.stats.graph_calls == 0


def test_a_variable_of_differentiated_values_has_data_of_its_own():
    def cast(x):
        v = jj.Variable(x, dtype=np.float32)
        assert v.dtype == np.float32
        v.data[0] = 7.0
        return (v.data.astype(np.float64) * x).sum() + jj.Variable(x[1]).data * 2.0

    compared(lambda x: jj.grad(cast)(x), lambda: (X.copy(),), calls=3)
    np.testing.assert_allclose(jj.grad(cast)(X), np.float32([7.0, 4.4, 4.0]), rtol=1e-7)  # float32 inside


@jj.custom_vjp
def tripled(x):
    return x * 1.0


tripled.defvjp(lambda x: (x * 1.0, None), lambda residuals, g: (3.0 * g,))


def rule_of_untracked(x):
    v = jj.Variable(x, requires_grad=False)
    return (tripled(v) * x).sum()


def rule_under_no_grad(x):
    v = jj.Variable(x)
    y = v * v
    with jj.no_grad():
        return (tripled(v) * 2.0 + tripled(y)).sum()


def rule_of_recorded(x):
    v = jj.Variable(x)
    tripled(v * x).sum().backward()
    return (v.grad * x).sum()


@pytest.mark.parametrize(
    ("function", "wanted"),
    [(rule_of_untracked, 4 * X), (rule_under_no_grad, 6.0 + 6 * X), (rule_of_recorded, 6 * X)],
)
def test_rules_of_users(function, wanted):
    def step(x):
        return jj.grad(function)(x)

    np.testing.assert_allclose(step(X.copy()), wanted, rtol=1e-14)
    compared(step, lambda: (X.copy(),), calls=3)
