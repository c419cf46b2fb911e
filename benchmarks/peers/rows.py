"""The rows of the comparison: a program and the sizes it runs at.

Owns `Row` and `ROWS`. Invariant: `Row.arguments` gives every contestant equal arrays of one dtype, the state first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name, program : str
        What the table calls it, and the function it runs in each contestant's modules.
    state : int
        How many leading arguments a step replaces.
    make : callable
        Returns the arguments, given a random generator; they are cast to the dtype.
    dtypes : tuple of str
        What it is run in.
    """

    name: str
    program: str
    state: int
    make: Callable[[np.random.Generator], tuple[np.ndarray[Any, Any], ...]]
    dtypes: tuple[str, ...] = ("float64", "float32")

    def arguments(self, dtype: str) -> list[np.ndarray[Any, Any]]:
        """Return fresh arguments, the same at each call."""
        return [np.array(array, dtype, order="C") for array in self.make(np.random.default_rng(0))]


def _one_hot(rng: np.random.Generator, count: int, classes: int) -> np.ndarray[Any, Any]:
    return np.eye(classes)[rng.integers(0, classes, count)]


def _mlp(inputs: int, hidden: int, outputs: int, batch: int) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    def make(rng: np.random.Generator) -> tuple[Any, ...]:
        shapes = ((inputs, hidden), (hidden,), (hidden, outputs), (outputs,))
        weights = [rng.standard_normal(shape) / np.sqrt(inputs) for shape in shapes]
        zeros = [np.zeros(shape) for shape in shapes * 2]
        x, y = rng.standard_normal((batch, inputs)), _one_hot(rng, batch, outputs)
        return (*weights, *zeros, np.zeros(1), x, y)

    return make


def _char_rnn(rng: np.random.Generator) -> tuple[Any, ...]:
    words, hidden, steps = 60, 64, 25
    shapes = ((words, hidden), (hidden, hidden), (hidden, words), (hidden,), (words,))
    weights = [rng.standard_normal(shape) * 0.1 for shape in shapes]
    return (*weights, _one_hot(rng, steps, words), _one_hot(rng, steps, words))


def _lstm(rng: np.random.Generator) -> tuple[Any, ...]:
    inputs, hidden, outputs, batch, steps = 32, 64, 8, 32, 35
    shapes = ((inputs, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,), (hidden, outputs))
    weights = [rng.standard_normal(shape) * 0.1 for shape in shapes]
    return (*weights, rng.standard_normal((steps, batch, inputs)), rng.standard_normal((batch, outputs)))


def _normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def _logistic(rng: np.random.Generator) -> tuple[Any, ...]:
    return np.zeros(50), rng.standard_normal((10_000, 50)), rng.integers(0, 2, 10_000)


def _kmeans(rng: np.random.Generator) -> tuple[Any, ...]:
    points = rng.standard_normal((5000, 16))
    return points[:10].copy(), points


def _als(rng: np.random.Generator) -> tuple[Any, ...]:
    x, w = rng.uniform(1.0, 5.0, (400, 64)), rng.uniform(size=(400, 64)) < 0.5
    return rng.uniform(-1, 1, (400, 8)), rng.uniform(-1, 1, (8, 64)), x * w, w


def _black_scholes(rng: np.random.Generator) -> tuple[Any, ...]:
    return tuple(rng.uniform(low, high, 1_000_000) for low, high in ((50, 150), (50, 150), (0.2, 2.0)))


def _cross_entropy(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.standard_normal((128, 10_000)), _one_hot(rng, 128, 10_000)


def _nbody(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.standard_normal((256, 3)), np.zeros((256, 3)), rng.uniform(0.5, 1.5, 256)


def _adam(rng: np.random.Generator) -> tuple[Any, ...]:
    n = 1_000_000
    return rng.standard_normal(n), np.zeros(n), np.zeros(n), np.zeros(1), rng.standard_normal(n)


def _mlp_loss(rng: np.random.Generator) -> tuple[Any, ...]:
    weights = [rng.standard_normal(shape) * 0.1 for shape in ((64, 32), (32,), (32, 10), (10,))]
    return (*weights, rng.standard_normal((32, 64)), _one_hot(rng, 32, 10))


def _vae(rng: np.random.Generator) -> tuple[Any, ...]:
    shapes = ((144, 64), (64,), (64, 8), (64, 8), (8, 64), (64,), (64, 144), (144,))
    weights = [rng.standard_normal(shape) * 0.1 for shape in shapes]
    return (*weights, rng.integers(0, 2, (32, 144)), rng.standard_normal((32, 8)))


def _gaussian_process(rng: np.random.Generator) -> tuple[Any, ...]:
    x = np.linspace(0.0, 1.0, 40)
    return np.ones(1), np.full(1, 0.3), np.full(1, 0.2), x, np.sin(6 * x) + 0.1 * rng.standard_normal(40), np.eye(40)


def _residual_block(rng: np.random.Generator) -> tuple[Any, ...]:
    channels, batch, size, classes = 16, 16, 16, 10
    kernels = [rng.standard_normal((channels, channels, 3, 3)) / 12 for _ in range(2)]
    gains, zeros = np.ones(channels), np.zeros(channels)
    head = (rng.standard_normal((channels, classes)) * 0.1, np.zeros(classes))
    images = rng.standard_normal((batch, channels, size, size))
    return (kernels[0], gains, zeros, kernels[1], gains, zeros, *head, images, _one_hot(rng, batch, classes))


def _transformer_block(rng: np.random.Generator) -> tuple[Any, ...]:
    batch, length, width, inner = 8, 32, 64, 256
    weights = [
        *(np.ones(width), np.zeros(width), rng.standard_normal((width, 3 * width)) / 8, np.zeros(3 * width)),
        *(rng.standard_normal((width, width)) / 8, np.zeros(width), np.ones(width), np.zeros(width)),
        *(rng.standard_normal((width, inner)) / 8, np.zeros(inner), rng.standard_normal((inner, width)) / 16),
        np.zeros(width),
    ]
    moments = [np.zeros_like(weight) for weight in weights * 2]
    x, target = (rng.standard_normal((batch, length, width)) for _ in range(2))
    return (*weights, *moments, np.zeros(1), x, target)


def _lenet(rng: np.random.Generator) -> tuple[Any, ...]:
    shapes = ((6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (400, 84), (84,), (84, 10), (10,))
    weights = [rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) + 1) for shape in shapes[:4]]
    weights += [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in shapes[4:]]
    return (*weights, rng.standard_normal((32, 1, 28, 28)), _one_hot(rng, 32, 10))


def _rows() -> Iterator[Row]:
    yield Row("gradient of an MLP, 64-32-10, batch 32", "mlp_loss", 4, _mlp_loss)
    yield Row("gradient of an RNN, 25 steps", "rnn_loss", 5, _char_rnn)
    yield Row("gradient of an LSTM, 35 steps", "lstm_loss", 4, _lstm)
    yield Row("gradient of a VAE, 144-64-8, batch 32", "vae_loss", 8, _vae)
    yield Row("gradient of a Gaussian process, 40 points", "gaussian_process_loss", 3, _gaussian_process, ("float64",))
    yield Row("residual block, 16×16×16×16, SGD", "residual_block_loss", 8, _residual_block)
    yield Row("transformer block, 8×32×64, Adam", "transformer_block_loss", 37, _transformer_block)
    yield Row("LeNet, batch 32, SGD", "lenet_loss", 8, _lenet)
    yield Row("MLP 64-32-10, batch 32, Adam", "mlp_step", 13, _mlp(64, 32, 10, 32))
    yield Row("MLP 256-256-10, batch 64, Adam", "mlp_step", 13, _mlp(256, 256, 10, 64))
    yield Row("MLP 784-1024-10, batch 128, Adam", "mlp_step", 13, _mlp(784, 1024, 10, 128))
    yield Row("character RNN, 25 steps", "char_rnn_step", 5, _char_rnn)
    yield Row("LSTM, 35 steps", "lstm_step", 4, _lstm)
    yield Row("logistic regression, full batch", "logistic_step", 1, _logistic)
    yield Row("k-means iteration", "kmeans_iteration", 1, _kmeans)
    yield Row("ALS-CG, whole loop", "als_cg", 0, _als)
    yield Row("Black–Scholes, 1M options", "black_scholes", 0, _black_scholes)
    yield Row("softmax cross-entropy 128×10000", "softmax_cross_entropy", 0, _cross_entropy)
    yield Row("layer norm 4096×1024", "layer_norm", 0, _normal((4096, 1024), (1024,), (1024,)))
    yield Row("Jacobi 512×512, 20 sweeps", "jacobi", 1, _normal((512, 512)))
    yield Row("N-body, 256 bodies", "nbody_step", 2, _nbody)
    yield Row("Adam, 1M parameters", "adam_step", 4, _adam)
    for n in (16, 32, 64, 128, 256, 512, 1024, 2048):
        yield Row(f"product {n}×{n}×{n}", "matmul", 0, _normal((n, n), (n, n)))
    for m, k, n in ((1, 512, 512), (512, 512, 1), (32, 784, 64), (2048, 64, 8), (8, 2048, 8)):
        yield Row(f"product {m}×{k}×{n}", "matmul", 0, _normal((m, k), (k, n)))
    for n in (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000):
        yield Row(f"chain of 8, {n}", "chain", 0, _normal((n,), (n,)))


ROWS = list(_rows())
