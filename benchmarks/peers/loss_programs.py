"""Losses whose gradients the contestants find themselves.

Owns `LOSSES`, functions ``loss(xp, *arguments)`` of the parameters first. Invariant: they use what NumPy, autograd and
JAX spell alike; `benchmarks.peers.namespaces.torch_losses` spells the same for PyTorch.
"""

from __future__ import annotations


def _log_softmax(xp, z):
    shifted = z - xp.max(z, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def mlp_loss(xp, w1, b1, w2, b2, x, y):
    hidden = xp.tanh(xp.dot(x, w1) + b1)
    return -xp.mean(xp.sum(y * _log_softmax(xp, xp.dot(hidden, w2) + b2), axis=1))


def rnn_loss(xp, wx, wh, wy, bh, by, inputs, targets):
    hidden, loss = xp.zeros_like(bh), 0.0
    for t in range(25):
        hidden = xp.tanh(xp.dot(inputs[t], wx) + xp.dot(hidden, wh) + bh)
        scores = xp.dot(hidden, wy) + by
        loss = loss + xp.log(xp.sum(xp.exp(scores))) - xp.sum(scores * targets[t])
    return loss


def lstm_loss(xp, w, u, b, wo, inputs, targets):
    h = xp.zeros_like(xp.dot(inputs[0], w)[:, :64])
    c = h
    for t in range(35):
        gates = xp.dot(inputs[t], w) + xp.dot(h, u) + b
        i, f, o = (1.0 / (1.0 + xp.exp(-gates[:, 64 * n : 64 * (n + 1)])) for n in range(3))
        c = f * c + i * xp.tanh(gates[:, 192:])
        h = o * xp.tanh(c)
    error = xp.dot(h, wo) - targets
    return xp.mean(error * error)


def vae_loss(xp, we, be, wm, ws, wd, bd, wx, bx, x, noise):
    hidden = xp.tanh(xp.dot(x, we) + be)
    mean, spread = xp.dot(hidden, wm), xp.dot(hidden, ws)
    code = mean + xp.exp(0.5 * spread) * noise
    logits = xp.dot(xp.tanh(xp.dot(code, wd) + bd), wx) + bx
    likelihood = xp.sum(x * logits - xp.log(1.0 + xp.exp(logits)))
    divergence = 0.5 * xp.sum(xp.exp(spread) + mean * mean - 1.0 - spread)
    return (divergence - likelihood) / 32.0


def gaussian_process_loss(xp, scale, width, jitter, x, y, eye):
    distance = (x[:, None] - x[None, :]) / width
    covariance = scale * xp.exp(-0.5 * distance * distance) + (0.1 + jitter * jitter) * eye
    _, determinant = xp.linalg.slogdet(covariance)
    return 0.5 * (xp.dot(y, xp.linalg.solve(covariance, y)) + determinant)


LOSSES = {
    function.__name__: function for function in (mlp_loss, rnn_loss, lstm_loss, vae_loss, gaussian_process_loss)
}
