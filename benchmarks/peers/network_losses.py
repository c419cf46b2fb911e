"""Losses of networks whose layers every library has.

Owns `NETWORKS`, functions ``loss(xp, nn, *arguments)`` of the parameters first. Invariant: ``xp`` has what NumPy,
autograd and JAX spell alike, ``nn`` the layers, named and called as in PyTorch's functional interface
(`benchmarks.peers.layers`).
"""

from __future__ import annotations


def residual_block_loss(xp, nn, k1, g1, b1, k2, g2, b2, w, b, x, y):
    hidden = nn.relu(nn.batch_norm(nn.conv2d(x, k1, None, 1, 1), None, None, g1, b1, True))
    hidden = nn.batch_norm(nn.conv2d(hidden, k2, None, 1, 1), None, None, g2, b2, True)
    pooled = xp.mean(nn.relu(hidden + x), axis=(2, 3))
    return -xp.mean(xp.sum(y * nn.log_softmax(xp.dot(pooled, w) + b, 1), axis=1))


def transformer_block_loss(xp, nn, g1, b1, w, b, wo, bo, g2, b2, w1, c1, w2, c2, x, target):
    batch, length, width = x.shape
    projected = nn.layer_norm(x, (width,), g1, b1) @ w + b
    parts = [projected[:, :, width * n : width * (n + 1)].reshape((batch, length, 4, width // 4)) for n in range(3)]
    q, k, v = [xp.swapaxes(part, 1, 2) for part in parts]
    mixed = xp.swapaxes(nn.scaled_dot_product_attention(q, k, v), 1, 2).reshape((batch, length, width))
    between = x + mixed @ wo + bo
    hidden = nn.gelu(nn.layer_norm(between, (width,), g2, b2) @ w1 + c1)
    error = between + hidden @ w2 + c2 - target
    return xp.mean(error * error)


def lenet_loss(xp, nn, k1, b1, k2, b2, w1, c1, w2, c2, x, y):
    hidden = nn.max_pool2d(nn.relu(nn.conv2d(x, k1, b1, 1, 2)), 2)
    hidden = nn.max_pool2d(nn.relu(nn.conv2d(hidden, k2, b2)), 2)
    hidden = nn.relu(xp.dot(hidden.reshape((hidden.shape[0], -1)), w1) + c1)
    return -xp.mean(xp.sum(y * nn.log_softmax(xp.dot(hidden, w2) + c2, 1), axis=1))


NETWORKS = {function.__name__: function for function in (residual_block_loss, transformer_block_loss, lenet_loss)}
