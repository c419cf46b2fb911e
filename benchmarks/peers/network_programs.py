"""Steps of training networks in plain NumPy, gradients by hand.

Owns `BY_HAND`: the step for each of `benchmarks.peers.network_losses.NETWORKS`. Invariant: a step changes its state in
place and returns the loss, as the steps that find gradients themselves do.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf

from benchmarks.peers.numpy_programs import adam

RATE = 0.01


def _windows(x, rows, columns, padding):
    """Return the windows of images as a matrix: (channels * rows * columns, batch * places)."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))) if padding else x
    windows = sliding_window_view(padded, (rows, columns), axis=(2, 3)).transpose(1, 4, 5, 0, 2, 3)
    return windows.reshape(x.shape[1] * rows * columns, -1), windows.shape[3:]


def _convolve(x, kernel, padding):
    matrix, (batch, height, width) = _windows(x, *kernel.shape[2:], padding)
    product = kernel.reshape(kernel.shape[0], -1) @ matrix
    return product.reshape(-1, batch, height, width).transpose(1, 0, 2, 3), matrix


def _convolve_back(g, matrix, kernel, padding, wants_input=True):
    """Return the gradients by the input and by the kernel."""
    rows = g.transpose(1, 0, 2, 3).reshape(kernel.shape[0], -1)
    by_kernel = (rows @ matrix.T).reshape(kernel.shape)
    if not wants_input:
        return None, by_kernel
    turned = kernel[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return _convolve(g, turned, kernel.shape[2] - 1 - padding)[0], by_kernel


def _normalize(x, axes):
    centered = x - x.mean(axis=axes, keepdims=True)
    scale = 1.0 / np.sqrt(np.mean(centered * centered, axis=axes, keepdims=True) + 1e-5)
    return centered * scale, scale


def _normalize_back(g, normal, scale, axes):
    return scale * (g - g.mean(axis=axes, keepdims=True) - normal * np.mean(g * normal, axis=axes, keepdims=True))


def _cross_entropy(logits, y):
    """Return the mean cross-entropy and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = -np.mean(np.sum(y * (shifted - np.log(totals)), axis=1))
    return loss, (exponentials / totals - y) / logits.shape[0]


def _descend(parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter -= RATE * gradient


def residual_block_step(k1, g1, b1, k2, g2, b2, w, b, x, y):
    """Train a residual block of two convolutions with batch normalisation, and a classifier behind it: SGD."""
    channel = (slice(None), None, None)
    first, matrix1 = _convolve(x, k1, 1)
    normal1, scale1 = _normalize(first, (0, 2, 3))
    hidden = np.maximum(normal1 * g1[channel] + b1[channel], 0.0)
    second, matrix2 = _convolve(hidden, k2, 1)
    normal2, scale2 = _normalize(second, (0, 2, 3))
    out = np.maximum(normal2 * g2[channel] + b2[channel] + x, 0.0)
    pooled = out.mean(axis=(2, 3))
    loss, dlogits = _cross_entropy(pooled @ w + b, y)
    dpooled = dlogits @ w.T / (x.shape[2] * x.shape[3])
    dout = dpooled[:, :, None, None] * (out > 0)
    dg2, db2 = np.sum(dout * normal2, axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))
    dsecond = _normalize_back(dout * g2[channel], normal2, scale2, (0, 2, 3))
    dhidden, dk2 = _convolve_back(dsecond, matrix2, k2, 1)
    dhidden = dhidden * (hidden > 0)
    dg1, db1 = np.sum(dhidden * normal1, axis=(0, 2, 3)), dhidden.sum(axis=(0, 2, 3))
    dfirst = _normalize_back(dhidden * g1[channel], normal1, scale1, (0, 2, 3))
    _, dk1 = _convolve_back(dfirst, matrix1, k1, 1, False)
    gradients = (dk1, dg1, db1, dk2, dg2, db2, pooled.T @ dlogits, dlogits.sum(axis=0))
    _descend((k1, g1, b1, k2, g2, b2, w, b), gradients)
    return loss


def _heads(x):
    batch, length, width = x.shape
    return x.reshape(batch, length, 4, width // 4).swapaxes(1, 2)


def _joined(x):
    batch, heads, length, width = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * width)


def _by_weight(x, g):
    """Return the gradients by a weight and a bias."""
    rows = g.reshape(-1, g.shape[-1])
    return x.reshape(-1, x.shape[-1]).T @ rows, rows.sum(axis=0)


def transformer_block_step(*arguments):
    """Train a block of self-attention and a network with GELU, both behind layer normalisation: Adam."""
    state, (x, target) = arguments[:37], arguments[37:]
    g1, b1, w, b, wo, bo, g2, b2, w1, c1, w2, c2 = state[:12]
    normal1, _ = _normalize(x, -1)
    inputs = normal1 * g1 + b1
    q, k, v = (_heads(part) for part in np.split(inputs @ w + b, 3, axis=2))
    factor = 1.0 / q.shape[-1] ** 0.5
    scores = (q * factor) @ k.swapaxes(2, 3)
    exponentials = np.exp(scores - scores.max(axis=3, keepdims=True))
    weights = exponentials / exponentials.sum(axis=3, keepdims=True)
    mixed = _joined(weights @ v)
    between = x + mixed @ wo + bo
    normal2, scale2 = _normalize(between, -1)
    second = normal2 * g2 + b2
    before = second @ w1 + c1
    normal = 0.5 * (1.0 + erf(before * 0.5**0.5))
    hidden = before * normal
    error = between + hidden @ w2 + c2 - target
    loss = np.mean(error * error)
    dout = error * (2.0 / error.size)
    dw2, dc2 = _by_weight(hidden, dout)
    density = 0.3989422804014327 * np.exp(-0.5 * before * before)
    dbefore = (dout @ w2.T) * (normal + before * density)
    dw1, dc1 = _by_weight(second, dbefore)
    dsecond = dbefore @ w1.T
    dg2, db2 = np.sum(dsecond * normal2, axis=(0, 1)), dsecond.sum(axis=(0, 1))
    dbetween = dout + _normalize_back(dsecond * g2, normal2, scale2, -1)
    dwo, dbo = _by_weight(mixed, dbetween)
    dmixed = _heads(dbetween @ wo.T)
    dweights = dmixed @ v.swapaxes(2, 3)
    dscores = weights * (dweights - np.sum(dweights * weights, axis=3, keepdims=True)) * factor
    parts = (dscores @ k, dscores.swapaxes(2, 3) @ q, weights.swapaxes(2, 3) @ dmixed)
    dprojected = np.concatenate([_joined(part) for part in parts], axis=2)
    dw, db = _by_weight(inputs, dprojected)
    dinputs = dprojected @ w.T
    dg1, db1 = np.sum(dinputs * normal1, axis=(0, 1)), dinputs.sum(axis=(0, 1))
    gradients = (dg1, db1, dw, db, dwo, dbo, dg2, db2, dw1, dc1, dw2, dc2)
    adam(state[:12], state[12:24], state[24:36], gradients, state[36])
    return loss


def _pool(x):
    """Return the greatest of each two by two elements, and which it was, the first of equals."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // 2, 2, width // 2, 2).swapaxes(3, 4)
    parts = parts.reshape(batch, channels, height // 2, width // 2, 4)
    return parts.max(axis=4), parts.argmax(axis=4)


def _pool_back(g, chosen):
    batch, channels, height, width = g.shape
    parts = (chosen[..., None] == np.arange(4)) * g[..., None]
    parts = parts.reshape(batch, channels, height, width, 2, 2).swapaxes(3, 4)
    return parts.reshape(batch, channels, 2 * height, 2 * width)


def lenet_step(k1, b1, k2, b2, w1, c1, w2, c2, x, y):
    """Train two convolutions with pooling and two dense layers: SGD."""
    first, matrix1 = _convolve(x, k1, 2)
    first = np.maximum(first + b1[:, None, None], 0.0)
    pooled, chosen1 = _pool(first)
    second, matrix2 = _convolve(pooled, k2, 0)
    second = np.maximum(second + b2[:, None, None], 0.0)
    pooled2, chosen2 = _pool(second)
    flat = pooled2.reshape(x.shape[0], -1)
    hidden = np.maximum(flat @ w1 + c1, 0.0)
    loss, dlogits = _cross_entropy(hidden @ w2 + c2, y)
    dhidden = (dlogits @ w2.T) * (hidden > 0)
    dsecond = _pool_back((dhidden @ w1.T).reshape(pooled2.shape), chosen2) * (second > 0)
    dpooled, dk2 = _convolve_back(dsecond, matrix2, k2, 0)
    dfirst = _pool_back(dpooled, chosen1) * (first > 0)
    _, dk1 = _convolve_back(dfirst, matrix1, k1, 2, False)
    gradients = (
        *(dk1, dfirst.sum(axis=(0, 2, 3)), dk2, dsecond.sum(axis=(0, 2, 3))),
        *(flat.T @ dhidden, dhidden.sum(axis=0), hidden.T @ dlogits, dlogits.sum(axis=0)),
    )
    _descend((k1, b1, k2, b2, w1, c1, w2, c2), gradients)
    return loss


BY_HAND = {
    "residual_block_loss": residual_block_step,
    "transformer_block_loss": transformer_block_step,
    "lenet_loss": lenet_step,
}
