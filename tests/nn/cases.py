"""Calls of the functions of `janusjit.nn`, each as one would call the function of torch of that name.

Owns `CASES`. Invariant: a case's arrays are drawn from a seed, floats as float64; ``settings`` are keyword arguments of
both functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from janusjit import nn


@dataclass
class Case:
    """One call: of `janusjit.nn` by name, with arrays (some of them integers or masks)."""

    name: str
    arrays: list[np.ndarray]
    settings: dict[str, Any] = field(default_factory=dict)
    #: how many of the arrays the function takes as a tuple, from the second on: ``hx`` of the LSTM
    packed: int = 0
    #: where a module of torch has it, if not in torch.nn.functional
    torch_name: str = ""

    @property
    def label(self) -> str:
        """Return the name in test output."""
        shapes = ",".join("x".join(map(str, array.shape)) for array in self.arrays)
        return f"{self.name}-{shapes}-{'-'.join(f'{k}={v}' for k, v in self.settings.items())}"

    def call(self, function: Callable[..., Any], arrays: list[Any]) -> Any:
        """Call a function of this form."""
        if self.packed:
            first, rest = arrays[0], arrays[1:]
            return function(first, tuple(rest[: self.packed]), *rest[self.packed :], **self.settings)
        return function(*arrays, **self.settings)

    def total(self, function: Callable[..., Any], arrays: list[Any], weights: list[Any]) -> Any:
        """Return the weighted sum of what a function returns: a number to differentiate."""
        found = self.call(function, arrays)
        results = found if isinstance(found, tuple) else (found,)
        return sum((result * weight).sum() for result, weight in zip(results, weights, strict=True))

    @property
    def function(self) -> Callable[..., Any]:
        """Return the function of `janusjit.nn`."""
        return getattr(nn, self.name)

    @property
    def floats(self) -> tuple[int, ...]:
        """Return the positions of the arrays to differentiate by."""
        running = (1, 2) if self.name == "batch_norm" else ()  # torch has no gradients by them
        return tuple(i for i, array in enumerate(self.arrays) if array.dtype.kind == "f" and i not in running)

    def weights(self) -> list[np.ndarray]:
        """Return weights for the results."""
        found = self.call(self.function, self.arrays)
        generator = np.random.default_rng(1)
        return [generator.uniform(0.5, 1.5, np.shape(r)) for r in (found if isinstance(found, tuple) else (found,))]


def _draw(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.uniform(-2, 2, shape) for shape in shapes]


def _integers(high: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, high, shape)


def _probabilities(*shape: int) -> np.ndarray:
    values = np.random.default_rng(4).uniform(0.1, 1, shape)
    return values / values.sum(axis=1, keepdims=True)


_EDGES = np.array([[-800.0, -30.0, -1.0, -0.1], [1e-3, 1.0, 30.0, 800.0]])
_ACTIVATIONS = [
    Case(name, [values], settings)
    for values in (*_draw((3, 4)), _EDGES)
    for name, settings in (
        ("relu", {}),
        ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": 0.2}),
        ("elu", {}),
        ("elu", {"alpha": 0.5}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
        ("silu", {}),
        ("sigmoid", {}),
        ("softplus", {}),
        ("softplus", {"beta": 2.0, "threshold": 5.0}),
        ("softmax", {"dim": 0}),
        ("softmax", {"dim": -1}),
        ("log_softmax", {"dim": 0}),
        ("log_softmax", {"dim": 1}),
    )
]
_CONVOLUTIONS = [
    Case("conv1d", _draw((2, 3, 7), (4, 3, 2), (4,)), {}),
    Case("conv1d", _draw((2, 4, 9), (6, 2, 3)), {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}),
    Case("conv1d", _draw((3, 7), (4, 3, 3)), {"padding": "same"}),
    Case("conv2d", _draw((2, 3, 6, 5), (4, 3, 3, 2), (4,)), {}),
    Case("conv2d", _draw((2, 4, 7, 6), (6, 2, 3, 3), (6,)), {"stride": (2, 1), "padding": (1, 2), "groups": 2}),
    Case("conv2d", _draw((1, 2, 9, 8), (3, 2, 2, 3)), {"dilation": (3, 2), "stride": 2, "padding": 1}),
    Case("conv2d", _draw((2, 3, 5, 5), (3, 1, 3, 3)), {"groups": 3, "padding": "same"}),
    Case("conv2d", _draw((2, 3, 5, 5), (3, 3, 2, 4)), {"padding": "same"}),
    Case("conv2d", _draw((3, 5, 5), (2, 3, 3, 3)), {"padding": "valid"}),
    Case("conv2d", _draw((2, 3, 4, 4), (5, 3, 1, 1)), {}),
    Case("conv_transpose1d", _draw((2, 3, 5), (3, 4, 3), (4,)), {}),
    Case("conv_transpose1d", _draw((4, 5), (4, 3, 2)), {"stride": 3, "output_padding": 1, "groups": 2}),
    Case("conv_transpose2d", _draw((2, 3, 4, 3), (3, 2, 3, 2), (2,)), {}),
    Case(
        "conv_transpose2d",
        _draw((2, 4, 4, 3), (4, 3, 3, 2), (6,)),
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2, "dilation": (1, 2)},
    ),
]
_POOLING = [
    Case(f"{kind}_pool{len(shape) - 2}d", _draw(shape), settings)
    for kind in ("max", "avg")
    for shape, settings in (
        ((2, 3, 8), {"kernel_size": 2}),
        ((2, 3, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
        ((2, 3, 8, 6), {"kernel_size": 2}),
        ((2, 3, 7, 5), {"kernel_size": (3, 2)}),
        ((2, 3, 7, 8), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
        ((2, 3, 7, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
        ((2, 3, 7, 8), {"kernel_size": 2, "padding": 1, "ceil_mode": True}),
    )
]
_POOLING += [
    Case("max_pool2d", _draw((2, 2, 7, 8)), {"kernel_size": 2, "stride": 1, "dilation": (2, 3)}),
    Case("max_pool2d", [np.zeros((1, 1, 4, 4))], {"kernel_size": 2}),
    Case("max_pool2d", _draw((3, 6, 6)), {"kernel_size": 3}),
    Case("avg_pool1d", _draw((3, 6)), {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    Case("avg_pool2d", _draw((2, 3, 6, 6)), {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    Case("avg_pool2d", _draw((2, 3, 6, 6)), {"kernel_size": 3, "stride": 2, "padding": 1, "divisor_override": 5}),
]
_NORMALIZATION = [
    Case("batch_norm", [*_draw((4, 3)), np.zeros(3), np.ones(3)], {"training": False}),
    Case("batch_norm", [*_draw((4, 3, 2, 2), (3,)), np.full(3, 1.5), *_draw((3,), (3,))], {"eps": 0.1}),
    Case("layer_norm", _draw((2, 3, 4)), {"normalized_shape": (4,)}),
    Case("layer_norm", _draw((2, 3, 4)), {"normalized_shape": (3, 4), "eps": 0.1}),
    Case("group_norm", _draw((2, 6, 3)), {"num_groups": 3}),
    Case("group_norm", _draw((2, 6, 3, 2)), {"num_groups": 2}),
]
_LOSSES = [Case("mse_loss", _draw((3, 4), (3, 4)), {"reduction": reduction}) for reduction in ("mean", "sum", "none")]
_LOSSES += [
    Case("cross_entropy", [*_draw((4, 5)), _integers(5, (4,))], {"reduction": reduction, "label_smoothing": smoothing})
    for reduction in ("mean", "sum", "none")
    for smoothing in (0.0, 0.1)
]
_LOSSES += [
    Case("cross_entropy", [*_draw((4, 5)), _probabilities(4, 5)], {"reduction": reduction, "label_smoothing": 0.1})
    for reduction in ("mean", "sum", "none")
]
_LOSSES += [
    Case("cross_entropy", [np.array([[1e3, -1e3], [-1e3, 1e3]]), np.array([1, 1])]),
    Case("cross_entropy", [*_draw((5,)), np.array(3)]),
    Case("cross_entropy", [*_draw((2, 5, 3)), _integers(5, (2, 3))], {"ignore_index": 1}),
    Case("cross_entropy", [*_draw((2, 5, 3)), _probabilities(2, 5, 3)]),
    Case("binary_cross_entropy_with_logits", [*_draw((3, 4)), np.random.default_rng(5).uniform(0, 1, (3, 4))]),
    Case("binary_cross_entropy_with_logits", [_EDGES, np.full((2, 4), 0.25)], {"reduction": "sum"}),
]
_NETWORKS = [
    Case("embedding", [_integers(5, (2, 3)), *_draw((5, 4))]),
    Case("embedding", [_integers(5, (2, 3)), *_draw((5, 4))], {"padding_idx": 1}),
    Case("scaled_dot_product_attention", _draw((2, 3, 4), (2, 5, 4), (2, 5, 6))),
    Case("scaled_dot_product_attention", _draw((2, 3, 4), (2, 3, 4), (2, 3, 4)), {"is_causal": True, "scale": 0.3}),
    Case("scaled_dot_product_attention", [*_draw((2, 3, 4), (2, 5, 4), (2, 5, 6)), np.tri(3, 5, 1, bool)]),
    Case("scaled_dot_product_attention", _draw((2, 3, 4), (2, 5, 4), (2, 5, 6), (3, 5))),
    Case("lstm_cell", _draw((2, 3), (2, 4), (2, 4), (16, 3), (16, 4), (16,), (16,)), packed=2, torch_name="torch"),
    Case("gru_cell", _draw((2, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)), torch_name="torch"),
]
CASES = [*_ACTIVATIONS, *_CONVOLUTIONS, *_POOLING, *_NORMALIZATION, *_LOSSES, *_NETWORKS]
