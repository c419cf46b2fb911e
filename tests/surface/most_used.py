"""What real programs call most, in the forms they call it in."""

import builtins
import math

import numpy as np

from tests.surface.harness import Programs

PROGRAMS = Programs()
graph, host, python = PROGRAMS.graph, PROGRAMS.host, PROGRAMS.python


@graph
def sums(x, i, b):
    return np.sum(x), np.sum(x, axis=0, keepdims=True), x.sum(1), np.sum(i), np.sum(b), np.sum([1.0, 2.0]), sum(x[0])


@graph
def exponentials(x, p):
    return np.exp(-x), np.log(p), np.tanh(x), np.sqrt(p), np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)


@graph
def products(x, y, m, v, w):
    return (
        np.dot(x.T, y),
        x.dot(y.T),
        np.matmul(m, x),
        m @ m,
        np.dot(v, w),
        np.outer(v, w),
        np.inner(v, w),
        np.dot(x, 2),
    )


@graph
def new_arrays(x):
    made = (
        np.zeros((3, 4)),
        np.ones(3),
        np.zeros_like(x),
        np.ones_like(x),
        np.full((2, 2), 7.0),
        np.eye(3),
        np.arange(5),
    )
    return (
        *made,
        np.empty_like(x).shape,
        np.empty((2, 3)).shape,
        np.arange(1, 2, 0.25),
        np.array([1, 2, 3]),
        np.zeros(3, int),
    )


@graph
def extremes(x, v):
    return (
        np.max(x),
        np.maximum(0, x),
        np.minimum(x, 1),
        x.max(axis=1),
        np.argmax(x, axis=1),
        np.argmin(v),
        np.min(x),
        v.argmax(),
    )


@graph
def statistics(x):
    return (
        np.mean(x, axis=0),
        x.mean(),
        np.std(x),
        np.var(x, axis=0, ddof=1),
        np.prod(x[0]),
        x.std(axis=0, keepdims=True),
    )


@graph
def shapes(x, v):
    return (
        np.reshape(x, (2, -1)),
        x.reshape(20),
        np.expand_dims(v, axis=1),
        v[:, np.newaxis] - v[None, :],
        np.atleast_2d(v),
        np.hstack((v, v)),
        np.vstack([v, v]),
        np.dstack([v, v]),
        np.concatenate([x, x], axis=1),
        np.swapaxes(x, 0, 1),
        np.broadcast_to(v, (2, 6)) * 2,
    )


@graph
def conditions(x):
    return (
        np.where(x > 0, x, 0.01 * x),
        np.clip(x, 1e-7, 1 - 1e-7),
        np.all(x > -9),
        np.any(x > 9),
        np.abs(x),
        np.sign(x),
    )


@graph
def one_hot(j):
    hot = np.zeros((6, 5))
    hot[np.arange(6), j] = 1
    return hot, np.eye(5)[j]


@graph
def indexing(x, j):
    return x[np.arange(4), j[:4]], x[j[:4] > 1], x[:, ::-1], x[1:3, 2:], x[-1], np.roll(x, 1, axis=0), np.triu(x)


@graph
def cross_entropy(x, j):
    shifted = x - x.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(4), j[:4]].mean()


@graph
def scattering(x, j, v):
    table = np.zeros((4, 5))
    np.add.at(table, j[:4], x)
    counts = np.zeros(6)
    np.add.at(counts, (j,), v)
    return table, counts


@graph
def draws_of_the_global_state(x):
    return (
        np.random.randn(2, 3),
        np.random.rand(4),
        np.random.uniform(-1, 1, (2, 2)),
        np.random.binomial(1, 0.5, size=x.shape),
        np.random.randint(0, 4, 3),
        np.random.standard_normal(2),
        np.random.permutation(4),
        np.random.gamma(2.0),
        np.random.choice(5, 2, replace=False),
        np.random.normal(0, 0.1, (2,)),
    )


@graph
def dropout(x):
    kept = (np.random.rand(*x.shape) < 0.8) / 0.8
    return x * kept


@graph
def adam(x, y, t):
    state = {"m": np.zeros_like(x), "v": np.zeros_like(x), "t": 0}
    for _ in range(2):
        state["t"] += 1
        state["m"] = 0.9 * state["m"] + 0.1 * y
        state["v"] = 0.999 * state["v"] + 0.001 * np.square(y)
        first = state["m"] / (1 - 0.9 ** state["t"])
        second = state["v"] / (1 - math.pow(0.999, state["t"]))
        x -= 0.01 * first / (np.sqrt(second) + 1e-8)
    return x, state


@graph
def arithmetic(x, y, i):
    return (
        np.multiply(x, y),
        np.mod(i, 3),
        np.divide(x, 2),
        np.power(np.abs(x), 1.5),
        np.hypot(x, y),
        np.logaddexp(x, y),
        np.cos(x),
    )


@graph
def conversions(x, i, f):
    return (
        np.asarray(x),
        np.array(x),
        np.copy(x),
        x.astype(np.float32),
        np.uint8(i % 200),
        np.float32(3) * f,
        i.astype(float),
    )


@graph
def grids(x):
    return (
        np.indices((2, 3)),
        np.meshgrid(np.arange(3), np.arange(2)),
        np.repeat(x, 2, axis=0),
        np.pad(x, ((0, 0), (1, 1))),
    )


@graph
def sorting(v):
    return (
        np.argsort(v)[::-1],
        np.sort(v),
        v[np.argsort(-v)[:3]],
        np.count_nonzero(v > 0),
        np.nanargmax(v),
        np.bincount([0, 1, 1]),
    )


@graph
def questions(x, v):
    return (
        np.isscalar(v),
        np.size(x),
        np.shape(x),
        x.ndim,
        x.size,
        len(x),
        x.dtype,
        np.finfo(np.float32).eps,
        np.isscalar(2.0),
    )


@graph
def linear_algebra(m, x):
    return (
        np.linalg.norm(x),
        np.linalg.inv(m),
        np.linalg.pinv(x),
        np.linalg.det(m),
        np.linalg.solve(m, x),
        np.diag(m) * 2,
    )


@graph
def einsum_and_tensordot(x, y, cube):
    return np.einsum("ij,kj->ik", x, y), np.tensordot(x, y, axes=([1], [1])), np.tensordot(cube, cube, 3)


@graph
def checked_by_assertion(x):
    np.testing.assert_allclose(x, x + 1e-12)
    assert x.shape == (4, 5)
    return x * 2


@python
def evaluated(v):
    return eval("v * 2 + 1")


@host
def evaluated_inside(v):
    def inner(y):
        z = y * 2  # noqa: F841
        return eval("z + 1")

    return inner(v) * 2


@host
def evaluated_in_a_namespace(v):
    return eval("a + 1", {"a": 2}) * v


@python
def own_variables(v):
    first, second = v[0], 2
    return sorted(locals()), sorted(vars()), sorted(dir())


@graph
def loops(x, v):
    total, rows = 0.0, []
    for at, row in enumerate(x):
        rows.append(row * (at + 1))
        for first, second in zip(row, v):
            total += first * second
    for row in reversed(rows):
        total += row.sum()
    return total, list(map(np.sum, rows)), [row.max() for row in rows if True], max(1, 2), sorted([3, 1])


@host
def number_of_an_array_of_one(x):
    return float(x[:1, 0]) * 2, int(np.array([3.0]))


@graph
def builtins_by_module(v):
    return builtins.len(v), builtins.sum([1, 2]), builtins.max(3, 4)


@graph
def printed_numbers(v, t):
    print("loss: %.4f" % v.sum(), f"{t:.3f}", "step {}".format(3), v.shape)
    return v * 2
