"""Variables outside compiled code: what they compute, their gradients, and how long what is recorded lives."""

from __future__ import annotations

import copy
import doctest
import gc
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis import variables

X = np.array([0.3, 1.2, -0.7])
M = np.array([[0.5, -1.0, 2.0], [1.5, 0.2, -0.4]])


def written_in_place(x):
    y = x * 2.0
    y[1:] *= x[:-1]
    y[0] = y[2] ** 2
    return (y * x).sum()


def through_views(x):
    y = x * 3.0
    part = y[1:]
    part += x[:2]
    y.reshape(3, 1)[2, 0] = x[0]
    return (part * part).sum() + y.sum()


def masked(x):
    y = x**2
    y[x < 0] = 0.0
    return np.where(x > 1.0, y * 3.0, y).sum() + x[x > 0].sum()


def joined(x):
    rows = np.stack([x, x * 2.0])
    left, right = np.split(np.concatenate([x, x * x]), 2)
    return (rows.mean(axis=0) * left).sum() + (right @ x) / (1.0 + abs(x).max())


def branching(x):
    total = 0.0
    for value in x:
        total += value**2 if value > 0 else -3.0 * value
    return total


def broadcast(x):
    wide = np.broadcast_to(x, (2, 3))
    return (wide * M).sum() + (x[:, None] - x[None, :]).var() + np.exp(-x).T.dot(x)


def of_matrices(x):
    w = np.outer(x, x) + 2.0 * np.eye(3)
    return np.linalg.det(w) + np.linalg.solve(w, x).sum() + np.trace(np.linalg.inv(w))


def gathered(x):
    return (x[[0, 2, 2, 1]] * np.arange(4.0)).sum() + np.take(x, [1, 1]).sum() + np.cumsum(x)[1]


def reflected(x):
    return (2.0**x + 1.0 / (3.0 - x) - (5.0 - x) * 2.0 + np.arange(3.0) @ x - x // 1.0).sum()


FUNCTIONS = [
    written_in_place, through_views, masked, joined, branching, broadcast, of_matrices, gathered, reflected,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_gradients_are_those_of_grad_and_of_differences(function):
    x = jj.Variable(X)
    value = function(x)
    assert type(value) is jj.Variable and value.shape == () and value.requires_grad and not value.is_leaf
    value.backward()
    expected, at = np.zeros(3), X.copy()
    for number in range(3):
        at[number] = X[number] + 1e-6
        expected[number] = function(at)
        at[number] = X[number] - 1e-6
        expected[number] -= function(at)
        at[number] = X[number]
    assert value.item() == pytest.approx(float(function(X.copy())), rel=1e-14)
    np.testing.assert_allclose(x.grad, expected / 2e-6, rtol=1e-6, atol=1e-8)  # the error of central differences
    np.testing.assert_allclose(x.grad, jj.grad(function)(X), rtol=1e-13, atol=1e-15)
    assert type(x.grad) is np.ndarray and x.grad.dtype == np.float64


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_values_are_plain_numpys_whether_recorded_or_not(function):
    wanted = function(X.copy())
    with jj.no_grad():
        unrecorded = function(jj.Variable(X))
    assert not unrecorded.requires_grad and unrecorded.is_leaf
    assert unrecorded.item() == function(jj.Variable(X)).item() == pytest.approx(float(wanted), rel=1e-14)


def test_gradients_add_up_until_they_are_forgotten():
    x, y = jj.Variable(X), jj.Variable(2.0)
    for times in (1, 2):
        (x * y).sum().backward()
        np.testing.assert_allclose(x.grad, 2.0 * times)
        np.testing.assert_allclose(y.grad, X.sum() * times, rtol=1e-15)
        assert y.grad.shape == () and type(y.grad) is np.ndarray
    x.zero_grad()
    assert x.grad is None and y.grad is not None


def test_a_cotangent_is_needed_for_more_than_one_element():
    x = jj.Variable(X)
    (x * x).backward(np.array([1.0, 10.0, 0.0]))
    np.testing.assert_allclose(x.grad, 2 * X * [1, 10, 0])
    with pytest.raises(RuntimeError, match="needs the cotangent"):
        (x * x).backward()
    with pytest.raises(RuntimeError, match="shape"):
        (x * x).backward(np.ones(2))
    x.zero_grad()
    x.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.ones(3))


def test_what_was_recorded_is_gone_back_through_once():
    x = jj.Variable(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad == 12.0
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        (y * 2.0).backward()
    with pytest.raises(RuntimeError, match="requires no gradients"):
        jj.Variable(1.0, requires_grad=False).backward()


def test_leaves_are_written_under_no_grad_only_and_gradients_are_by_what_they_were():
    x = jj.Variable(X)
    with pytest.raises(RuntimeError, match="written in place"):
        x += 1.0
    with pytest.raises(RuntimeError, match="written in place"):
        x[0] = 1.0
    loss = (x**2).sum()
    with jj.no_grad():
        x *= 10.0
        x[0] = 7.0
    x.data += 1.0
    loss.backward()
    np.testing.assert_allclose(x.grad, 2 * X)
    np.testing.assert_allclose(x.data, [8.0, 13.0, -6.0])
    with pytest.raises(ValueError, match="read-only"):
        loss.data[...] = 0.0
    x.data = np.zeros(2)
    assert x.shape == (2,) and x.is_leaf


def test_a_buffer_takes_recorded_values():
    x = jj.Variable(X)
    rows = jj.Variable(np.zeros((2, 3)), requires_grad=False)
    rows[1] = x * 2.0
    assert rows.requires_grad and not rows.is_leaf
    np.testing.assert_allclose(rows.data, [[0, 0, 0], 2 * X])
    rows.sum().backward()
    np.testing.assert_allclose(x.grad, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        np.copyto(jj.Variable(np.zeros(3), requires_grad=False), x * 2.0)
    with pytest.raises(TypeError, match="would lose"):
        np.zeros(3)[...] = x


def test_detached_values_are_constants():
    x = jj.Variable(X)
    (x * x.detach()).sum().backward()
    np.testing.assert_allclose(x.grad, X)
    shared = x.detach()
    shared += 1.0
    np.testing.assert_allclose(x.data, X + 1.0)
    copied = (x * 2.0).detach()
    copied[0] = 0.0
    assert not copied.requires_grad


def test_results_are_variables_where_they_are_floats():
    x = jj.Variable(M)
    assert (x > 0).dtype == bool and type(x > 0) is np.ndarray
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float64, 2)
    assert type(np.argmax(x)) is np.int64 and x.argmax() == 2 and isinstance(x.tolist(), list)
    assert type(x.sum(axis=0)) is type(np.float32(1) * x[0]) is type(x.T) is type(-x) is jj.Variable
    assert float(x.sum()) == M.sum() and f"{x.sum():.2f}" == f"{M.sum():.2f}" and bool(x[0, 0])
    assert [row.shape for row in x] == [(3,), (3,)]
    assert repr(jj.Variable([1.0])) == "Variable([1.], requires_grad=True)"
    assert jj.Variable([1, 2]).dtype == np.float64 and jj.Variable(1.0, dtype=np.float32).dtype == np.float32
    for wrong in ("text", [1j], None):
        with pytest.raises((TypeError, ValueError)):
            jj.Variable(wrong)
    with pytest.raises(AttributeError):
        _ = x.no_such_thing
    half = (jj.Variable(M, dtype=np.float32) * 2.0).sum()
    assert half.dtype == np.float32


def test_copies_of_leaves():
    x = jj.Variable(X)
    x.grad = np.ones(3)
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        np.testing.assert_array_equal(made.data, X)
        np.testing.assert_array_equal(made.grad, 1.0)
        assert made.requires_grad and made.data is not x.data
    with pytest.raises(TypeError, match="leaf"):
        copy.deepcopy(x * 2.0)


def test_no_grad_is_the_threads_own_and_ends_with_its_block():
    x, seen = jj.Variable(X), []
    with jj.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2.0).requires_grad))
        thread.start()
        thread.join()
        with pytest.raises(KeyError), jj.no_grad():
            raise KeyError
        assert not (x * 2.0).requires_grad
    assert seen == [True] and (x * 2.0).requires_grad

    @jj.no_grad()
    def evaluate(value, *, scale):
        """Evaluate."""
        return value * scale

    assert not evaluate(x, scale=2.0).requires_grad and evaluate.__doc__ == "Evaluate."


def test_inside_a_gradient():
    def cubed(x):
        v = jj.Variable(x)
        (v**3).sum().backward()
        return (v.grad * x).sum()

    np.testing.assert_allclose(jj.grad(cubed)(X), 9 * X**2, rtol=1e-14)
    with pytest.raises(TypeError, match="gradient function: pass its data"):
        jj.grad(lambda x, v: (x * v).sum())(X, jj.Variable(X))


def test_what_no_result_needs_is_freed_at_once():
    x = jj.Variable(np.ones(1000))
    y = x * 2.0
    z = y.sum()
    record = weakref.ref(y._history.records[0])
    gc.disable()
    try:
        del y
        assert record() is not None
        del z
        assert record() is None
    finally:
        gc.enable()
    long = jj.Variable(1.0)
    total = long
    for _ in range(5_000):
        total = total * 1.0
    total.backward()
    assert long.grad == 1.0


def training_step(weights, x, y):
    loss = ((np.tanh(x @ weights[0]) @ weights[1] - y) ** 2).mean()
    loss.backward()
    with jj.no_grad():
        for weight in weights:
            weight -= 0.1 * weight.grad
            weight.zero_grad()
    return loss


def test_a_training_loop_does_not_grow():
    rng = np.random.default_rng(0)
    weights = [jj.Variable(rng.normal(size=shape)) for shape in ((4, 8), (8, 2))]
    x, y = rng.normal(size=(64, 4)), rng.normal(size=(64, 2))
    losses = [training_step(weights, x, y).item() for _ in range(200)]
    assert losses[-1] < 0.5 * losses[0]

    def used(steps):
        for _ in range(steps):
            training_step(weights, x, y)
            ((x @ weights[0]) ** 2).mean()  # recorded, and never gone back through
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = used(100)
        assert used(300) - before < 30_000  # less than one array a step
    finally:
        tracemalloc.stop()


def test_as_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    data = [rng.normal(size=shape) for shape in ((3, 4), (4,), (4, 2))]
    mine = [jj.Variable(part) for part in data]
    theirs = [torch.tensor(part, requires_grad=True) for part in data]
    x = rng.normal(size=(5, 3))

    def forward(parameters, inputs, tanh, exp):
        hidden = tanh(inputs @ parameters[0] + parameters[1])
        hidden[:, 0] = hidden[:, 1] * 2.0
        return (exp(-(hidden @ parameters[2])) ** 2).mean()

    for _ in range(3):
        loss, other = forward(mine, x, np.tanh, np.exp), forward(theirs, torch.tensor(x), torch.tanh, torch.exp)
        loss.backward()
        other.backward()
        assert loss.item() == pytest.approx(other.item(), rel=1e-12)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-10, atol=1e-14)
    with jj.no_grad(), torch.no_grad():
        mine[0] -= 0.1 * mine[0].grad
        theirs[0] -= 0.1 * theirs[0].grad
    np.testing.assert_allclose(mine[0].data, theirs[0].detach().numpy(), rtol=1e-12)


def test_examples():
    found = doctest.testmod(variables)
    assert found.attempted > 20 and found.failed == 0
