"""Gradients in plain Python of what programs do besides arithmetic: each also under `jit`, against differences."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest

import janusjit as jj
from tests.gradients.test_gradients import finite_differences

X = np.array([0.3, 1.2, -0.7])
KERNEL = np.array([0.25, 0.5, 0.25])


def item_by_item(x):
    out = np.zeros(3)
    for i in range(3):
        out[i] = x[i] ** 2 * (i + 1)
    return out.sum()


def into_a_matrix(x):
    table = np.empty((3, 3))
    for i, row in enumerate(table):
        row[:] = x * i
    table[1, ::2] += x[1:]
    return (table @ x).sum()


def through_a_view(x):
    buffer = 2.0 * np.ones(4)
    part = buffer[1:]
    part *= x
    return (buffer**2).sum()


def in_a_helper(x):
    def fill(target, values):
        target[: len(values)] = values * 2.0
        return target

    return (fill(np.zeros(5), x) * np.arange(5.0)).sum()


def histogram(x):
    counts = np.zeros(4)
    np.add.at(counts, [0, 1, 1], x)
    np.subtract.at(counts, [3], x[0])
    return (counts**2).sum()


def ufunc_methods(x):
    products = np.multiply.outer(x, x)
    return (
        np.add.reduce(x * x) + np.maximum.reduce(x) + np.add.accumulate(x)[1] + np.multiply.reduce(products, axis=1)[0]
    )


def into_an_out_argument(x):
    out = np.empty(3)
    np.multiply(x, x, out=out)
    np.exp(out, out=out)
    return out.sum()


def diagonal_of_what_is_written(x):
    table = np.outer(x, x)
    diagonal = np.diagonal(table)
    table[0, 0] = 5.0 * x[1]
    return (diagonal * x).sum()


def broadcast_of_what_is_written(x):
    row = x * 2.0
    rows = np.broadcast_to(row, (2, 3))
    row[1] = x[0] ** 2
    return (rows * np.array([[1.0], [3.0]])).sum()


def running_product_with_zeros(x):
    return (np.cumprod(x * np.array([1.0, 0.0, 2.0])) + np.cumprod(x * np.array([0.0, 1.0, 0.0]))[::-1] * x).sum()


def python_numbers(x):
    total = float(x.sum())
    return math.exp(total) * math.sin(float(x[0])) + max(float(x[1]), 0.5)


def arrays_of_numbers(x):
    return (np.array([x[0], x[1] * 2.0, 3.0]) @ np.array([[x[1], x[2], 1.0]]).T).sum()


def library_functions(x):
    pairs = np.stack([x, x**2])
    return np.median(x) + np.cov(pairs)[0, 1] + np.average(x, weights=x**2) + np.percentile(x, 30)


def more_library_functions(x):
    return np.trapezoid(x**2) + np.gradient(x)[0] + np.nanmean(x) + np.interp(0.4, np.arange(3.0), x) + np.ptp(x)


def along_an_axis(x):
    return np.apply_along_axis(lambda row: row**2 * row[0], 1, np.outer(x, x)).sum()


def convolved(x):
    return np.convolve(x, KERNEL, mode="same") @ np.polyval([1.0, 2.0, 0.5], x)


def asking_for_types(x):
    state = x if isinstance(x, np.ndarray) else np.zeros(3)
    scale = 2.0 if type(state) is np.ndarray and not isinstance(x[0], float | int) else 3.0
    return (state * scale).sum() * (1.0 if isinstance(x[0], np.floating) else 0.0)


FUNCTIONS = [
    item_by_item, into_a_matrix, through_a_view, in_a_helper, histogram, ufunc_methods, into_an_out_argument,
    diagonal_of_what_is_written, broadcast_of_what_is_written, running_product_with_zeros, python_numbers,
    arrays_of_numbers, library_functions, more_library_functions, along_an_axis, convolved,
    asking_for_types,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_gradient(function):
    expected = finite_differences(function, X)
    found = jj.grad(function)(X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)  # of the differences
    step = jj.jit(background=False, warmup=1)(lambda x: jj.grad(function)(x))
    for _ in range(3):
        np.testing.assert_allclose(step(X), found, rtol=1e-11, atol=1e-13)
    assert (step.stats.graph_calls, step.stats.host_calls) == (2, 0), step.reason


def test_second_order_through_zeros_of_a_running_product():
    x = np.array([0.5, 0.0, 2.0, 0.0])
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    gradient = jj.grad(lambda x: np.cumprod(x) @ weights)
    rows = [finite_differences(lambda x, i=i: gradient(x)[i], x) for i in range(4)]
    np.testing.assert_allclose(jj.hessian(lambda x: np.cumprod(x) @ weights)(x), rows, rtol=1e-7, atol=1e-8)


def test_what_is_not_differentiated_may_be_written():
    def loss(x, buffer):
        buffer[1:] = x
        return (buffer**2).sum()

    step = jj.jit(background=False, warmup=1)(lambda x, buffer: jj.grad(loss)(x, buffer))
    for function in (jj.grad(loss), step, step, step):
        buffer = np.full(4, 3.0)
        np.testing.assert_allclose(function(X, buffer), 2 * X, rtol=1e-14)
        np.testing.assert_array_equal(buffer, [3.0, *X])
    assert (step.stats.graph_calls, step.stats.host_calls) == (2, 0)


def test_arguments_that_overlap_are_not_written_apart():
    memory = np.ones(4)

    def loss(x, a, b):
        a[:] = x
        return (a * b).sum()

    with pytest.raises(jj.GradientError, match="another argument"):
        jj.grad(loss)(X, memory[:3], memory[1:])


class Layer:
    def __init__(self):
        self.scale = np.array([1.0, 2.0, 3.0])
        self.seen = []
        self.kept = {}

    def loss(self, x):
        self.hidden = np.tanh(x) * self.scale
        self.buffer = np.zeros(3)
        self.buffer[0] = self.hidden[0]
        self.seen.append((self.hidden, self.hidden.sum()))
        self.kept["last"] = x
        self.recent = collections.deque([x[0], 1.0])
        return (self.hidden**2).sum() + self.buffer[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_method_stores_is_plain(compiled):
    layer, plain = Layer(), Layer()
    gradient = jj.grad(layer.loss)
    if compiled:
        gradient = jj.jit(background=False, warmup=1)(gradient)
    for number in range(3):
        gradient(X + number)
        plain.loss(X + number)
        for name in ("hidden", "buffer"):
            assert type(getattr(layer, name)) is np.ndarray
            np.testing.assert_allclose(getattr(layer, name), getattr(plain, name), rtol=1e-14)
        hidden, total = layer.seen[-1]
        assert type(hidden) is np.ndarray and type(total) is np.float64 and type(layer.recent[0]) is np.float64
        np.testing.assert_array_equal(layer.kept["last"], X + number)
    assert len(layer.seen) == 3
    if compiled:
        assert gradient.stats.graph_calls == 2


def test_constants_keep_what_plain_numpy_does_with_them():
    def loss(x):
        window = np.ones(3)
        window.sort()
        spectrum = np.fft.fft(window).real
        np.place(window, window > 0, [2.0])
        order = np.array([2, 0, 1])
        order.sort()
        return (x * window).sum() + spectrum[0] * x[order][0] + float(np.ones(1)[0]) * x[1]

    np.testing.assert_allclose(jj.grad(loss)(X), [5.0, 3.0, 2.0], rtol=1e-14)


def test_a_containers_arrays_that_are_not_differentiated_are_passed_as_they_are():
    seen = []

    def loss(x, extra):
        seen.append(extra)
        extra["calls"] = extra.get("calls", 0) + 1
        return (x * extra["scale"]).sum()

    extra = {"scale": np.array([1.0, 2.0, 3.0])}
    np.testing.assert_array_equal(jj.grad(loss)(X, extra), extra["scale"])
    assert seen[0] is extra and extra["calls"] == 1


def test_an_unrolled_loop_may_be_long():
    def loss(x):
        for _ in range(5000):
            x = x * 0.9999
        return x.sum()

    np.testing.assert_allclose(jj.grad(loss)(X), np.full(3, 0.9999**5000), rtol=1e-10)


def masked_view(x):
    whole = x * 1.5
    part = whole[::-1]
    part[part > 0.2] *= x[0]
    part[np.abs(part) < 0.3] = x[:1]
    return (whole * np.array([1.0, 2.0, 3.0])).sum()


def masked_in_a_loop(x, turns=3):
    whole = np.sin(x)
    total = np.sum(x)
    for i in range(turns):
        whole[whole > 0.1 * i] *= 0.9 + x[1]
        total = total + np.sum(whole[whole < 0.8] ** 2)
    return total


def reductions_of_lists(x):
    return (np.maximum.reduce([x, x * x]) + np.add(x, [x[0], x[1], 2.0])).sum() + np.sum([x[0], x[2]]) * np.max([x, -x])


LATER = [masked_view, masked_in_a_loop, reductions_of_lists]


@pytest.mark.parametrize("function", LATER, ids=lambda function: function.__name__)
def test_what_random_programs_have_found(function):
    test_gradient(function)


def test_a_mask_in_a_loop_of_any_number_of_turns():
    step = jj.jit(background=False, warmup=2)(lambda x, turns: jj.grad(masked_in_a_loop)(x, turns))
    for turns in (3, 5, 3, 2, 4, 6, 3, 5):
        expected = finite_differences(lambda x, turns=turns: masked_in_a_loop(x, turns), X)
        np.testing.assert_allclose(step(X, turns), expected, rtol=1e-6, atol=1e-7)  # of the differences
    assert step.stats.graph_calls >= 4 and step.stats.host_calls == 0, step.reason
