"""The layers of networks, in each library.

Owns one maker of a namespace for each library that has none of its own. Invariant: names and arguments are those of
PyTorch's functional interface, as far as `benchmarks.peers.network_losses` uses them.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any


def jax_layers() -> SimpleNamespace:
    """Return JAX's layers."""
    jax, jnp = importlib.import_module("jax"), importlib.import_module("jax.numpy")

    def conv2d(x, weight, bias=None, stride=1, padding=0):
        edges = [(padding, padding)] * 2
        result = jax.lax.conv_general_dilated(x, weight, (stride, stride), edges)
        return result if bias is None else result + bias[:, None, None]

    def max_pool2d(x, size):
        window = (1, 1, size, size)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def attention(query, key, value):
        scores = query @ jnp.swapaxes(key, -1, -2) / query.shape[-1] ** 0.5
        return jax.nn.softmax(scores, axis=-1) @ value

    return SimpleNamespace(
        conv2d=conv2d,
        max_pool2d=max_pool2d,
        relu=jax.nn.relu,
        gelu=lambda x: jax.nn.gelu(x, approximate=False),
        log_softmax=lambda x, axis: jax.nn.log_softmax(x, axis=axis),
        scaled_dot_product_attention=attention,
        **_normalizations(jnp),
    )


def torch_layers() -> Any:
    """Return PyTorch's own."""
    return importlib.import_module("torch.nn.functional")


def autograd_layers() -> SimpleNamespace:
    """Return the layers in terms of the package `autograd`."""
    return _composed(importlib.import_module("autograd.numpy"), importlib.import_module("autograd.scipy.special").erf)


def pytensor_layers() -> SimpleNamespace:
    """Return the layers in terms of PyTensor; it has no convolutions."""
    pt = importlib.import_module("pytensor.tensor")
    return _composed(pt, pt.erf)


def _normalizations(xp: Any) -> dict[str, Any]:
    def normalized(x, axes):
        centered = x - xp.mean(x, axis=axes, keepdims=True)
        variance = xp.mean(centered * centered, axis=axes, keepdims=True)
        return centered / xp.sqrt(variance + 1e-5)

    def batch_norm(x, mean, variance, weight, bias, training):
        return normalized(x, (0, 2, 3)) * weight[:, None, None] + bias[:, None, None]

    def layer_norm(x, shape, weight, bias):
        return normalized(x, (-1,)) * weight + bias

    return {"batch_norm": batch_norm, "layer_norm": layer_norm}


def _composed(xp: Any, erf: Any) -> SimpleNamespace:
    def conv2d(x, weight, bias=None, stride=1, padding=0):
        out_channels, channels, rows, columns = weight.shape
        padded = xp.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), "constant") if padding else x
        height, width = padded.shape[2] - rows + 1, padded.shape[3] - columns + 1
        places = [(i, j) for i in range(rows) for j in range(columns)]
        windows = xp.stack([padded[:, :, i : i + height, j : j + width] for i, j in places], 2)
        matrix = windows.reshape((x.shape[0], channels * len(places), height * width))
        product = weight.reshape((1, out_channels, channels * len(places))) @ matrix
        result = product.reshape((x.shape[0], out_channels, height, width))
        return result if bias is None else result + bias[:, None, None]

    def max_pool2d(x, size):
        batch, channels, height, width = x.shape
        return xp.max(x.reshape((batch, channels, height // size, size, width // size, size)), axis=(3, 5))

    def exponentials(x, axis):
        shifted = x - xp.max(x, axis=axis, keepdims=True)
        powers = xp.exp(shifted)
        return shifted, powers, xp.sum(powers, axis=axis, keepdims=True)

    def log_softmax(x, axis):
        shifted, _, totals = exponentials(x, axis)
        return shifted - xp.log(totals)

    def attention(query, key, value):
        _, powers, totals = exponentials(query @ xp.swapaxes(key, -1, -2) / query.shape[-1] ** 0.5, -1)
        return (powers / totals) @ value

    return SimpleNamespace(
        conv2d=conv2d,
        max_pool2d=max_pool2d,
        relu=lambda x: xp.where(x > 0, x, 0.0 * x),
        gelu=lambda x: 0.5 * x * (1.0 + erf(x * 0.5**0.5)),
        log_softmax=log_softmax,
        scaled_dot_product_attention=attention,
        **_normalizations(xp),
    )
