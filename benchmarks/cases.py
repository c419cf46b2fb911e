"""What is timed: steps of the five example programs, and elementwise, reduction and matrix-product micro cases.

Owns `Case` and `CASES`. Invariant: both sides of a case call the same Python function with arguments made by the same
`arguments`, fresh before each timed block, so that no side profits from where the other has left the state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples import als_cg, char_rnn, digits_mlp, kmeans, softmax_regression


@dataclass(frozen=True)
class Case:
    """One function to time.

    Attributes
    ----------
    name, group : str
        What the tables call it, and the table it belongs to.
    function : callable
        The function, in plain Python.
    arguments : callable
        Returns fresh arguments; not timed.
    """

    name: str
    group: str
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]


def _digits() -> tuple[Any, ...]:
    images, labels, _, _ = digits_mlp.load_data()
    return (*digits_mlp.initialize(), images[:64], labels[:64])


def _char_rnn() -> tuple[Any, ...]:
    _, characters, indices = char_rnn.load_text()
    inputs, targets = indices[: char_rnn.SEQUENCE_LENGTH], indices[1 : char_rnn.SEQUENCE_LENGTH + 1]
    return (*char_rnn.initialize(len(characters)), inputs, targets, np.zeros((char_rnn.HIDDEN_SIZE, 1)), 0.02)


def kmeans_start(points, start):
    """Cluster from a start that stays as it is."""
    return kmeans.fit(points, start.copy(), np.zeros(20))


def _kmeans() -> tuple[Any, ...]:
    points = kmeans.load_points()
    return points, points[: kmeans.CLUSTERS]


def _als() -> tuple[Any, ...]:
    ratings, rng = als_cg.load_ratings(), np.random.default_rng(0)
    U = rng.uniform(-1.0, 1.0, (ratings.shape[0], als_cg.RANK))
    V = rng.uniform(-1.0, 1.0, (als_cg.RANK, ratings.shape[1]))
    return ratings, U, V, 1.0, 4, np.zeros(4)


def _softmax() -> tuple[Any, ...]:
    x, y = softmax_regression.load_data()
    return softmax_regression.initialize(x.shape[1]), x, y


def _once(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    """Load the data once; hand out copies."""
    kept: list[tuple[Any, ...]] = []

    def arguments() -> tuple[Any, ...]:
        if not kept:
            kept.append(make())
        return copy.deepcopy(kept[0])

    return arguments


def chain(x, y):
    """Evaluate eight elementwise operations without a transcendental function."""
    return (x * 2.0 + y) * (x - y) / (x * x + 1.0) - 0.5


def gelu(x):
    """Evaluate the tanh form of GELU."""
    return 0.5 * x * (1.0 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))


def adam_update(w, g, m, v):
    """Update one parameter in place, as Adam does."""
    m *= 0.9
    m += 0.1 * g
    v *= 0.999
    v += 0.001 * g * g
    w -= 0.001 * m / (np.sqrt(v) + 1e-8)


def total(x):
    """Sum all."""
    return x.sum()


def row_sums(x):
    """Sum along rows."""
    return x.sum(axis=1)


def standardize(x):
    """Subtract each column's mean, divide by its deviation."""
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)


def softmax(x):
    """Evaluate the softmax of each row."""
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def product(a, b):
    """Multiply two matrices."""
    return a @ b


def dense_relu(x, w, b):
    """Apply a dense layer with ReLU."""
    return np.maximum(x @ w + b, 0.0)


def pass_through(a, b, c, d, e, f, g, h, i, j, k, l):  # noqa: E741 - twelve arrays
    """Return the first of twelve arrays: nothing but the call."""
    return a


def _arrays(*shapes: tuple[int, ...], dtype: str = "float64") -> Callable[[], tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    made = tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return lambda: tuple(array.copy() for array in made)


def _micro_cases() -> list[Case]:
    cases = []
    for size, words in ((100, "100"), (10_000, "10k"), (1_000_000, "1M")):
        for dtype in ("float64", "float32"):
            pair = _arrays((size,), (size,), dtype=dtype)
            cases.append(Case(f"chain of 8, {words} {dtype}", "elementwise", chain, pair))
        one, four = _arrays((size,)), _arrays((size,), (size,), (size,), (size,))
        cases.append(Case(f"gelu, {words} float64", "elementwise", gelu, one))
        cases.append(Case(f"adam in place, {words} float64", "elementwise", adam_update, _positive(four)))
    for rows, columns in ((32, 10), (256, 256), (1000, 1000)):
        matrix = _arrays((rows, columns))
        for function in (total, row_sums, standardize, softmax):
            cases.append(Case(f"{function.__name__}, {rows}×{columns} float64", "reduction", function, matrix))
    for n in (16, 64, 256, 512):
        for dtype in ("float64", "float32"):
            pair = _arrays((n, n), (n, n), dtype=dtype)
            cases.append(Case(f"{n}×{n} @ {n}×{n} {dtype}", "matrix product", product, pair))
    dense = _arrays((64, 64), (64, 64), (64,))
    cases.append(Case("dense + bias + relu, 64 float64", "matrix product", dense_relu, dense))
    return cases


def _positive(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(np.abs(array) for array in make())


PROGRAMS = [
    Case("digits_mlp, one Adam step of 64 images", "programs", digits_mlp.train_step, _once(_digits)),
    Case("char_rnn, 25 time steps and AdaGrad", "programs", char_rnn.train_step, _once(_char_rnn)),
    Case("kmeans, one start of up to 20 iterations", "programs", kmeans_start, _once(_kmeans)),
    Case("als_cg, 4 half steps", "programs", als_cg.factorize, _once(_als)),
    Case("softmax_regression, one step", "programs", softmax_regression.train, _once(_softmax)),
]
OVERHEAD = Case("12 arrays in, one out", "call overhead", pass_through, _arrays(*[(4, 4)] * 12))
CASES = [*PROGRAMS, *_micro_cases(), OVERHEAD]
