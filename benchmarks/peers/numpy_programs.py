"""The programs of the comparison as people write them: NumPy, state updated in place.

Owns one function a program. Invariant: the leading arguments are the state, and a function changes it in place, so that
a caller makes the next step by calling again with the same arguments. What a function returns is its output.
"""

from __future__ import annotations

import numpy as np


def adam(parameters, first, second, gradients, step):
    """Update parameters in place, as Adam does."""
    step += 1.0
    for p, m, v, g in zip(parameters, first, second, gradients, strict=True):
        m *= 0.9
        m += 0.1 * g
        v *= 0.999
        v += 0.001 * g * g
        p -= 0.001 * (m / (1.0 - 0.9**step)) / (np.sqrt(v / (1.0 - 0.999**step)) + 1e-8)


def mlp_step(w1, b1, w2, b2, m1, c1, m2, c2, v1, d1, v2, d2, step, x, y):
    """Train a network of one hidden layer with ReLU on one batch: cross-entropy, gradients by hand, Adam."""
    hidden = np.maximum(x @ w1 + b1, 0.0)
    logits = hidden @ w2 + b2
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = -np.mean(np.sum(y * (shifted - np.log(totals)), axis=1))
    error = (exponentials / totals - y) / x.shape[0]
    back = (error @ w2.T) * (hidden > 0)
    gradients = (x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0))
    adam((w1, b1, w2, b2), (m1, c1, m2, c2), (v1, d1, v2, d2), gradients, step)
    return loss


def char_rnn_step(wx, wh, wy, bh, by, inputs, targets):
    """Train a character RNN on one sequence of one-hot rows: backpropagation through time by hand, SGD."""
    steps = inputs.shape[0]
    hidden = [np.zeros(wh.shape[0], wh.dtype)]
    probabilities = []
    loss = 0.0
    for t in range(steps):
        hidden.append(np.tanh(inputs[t] @ wx + hidden[t] @ wh + bh))
        exponentials = np.exp(hidden[t + 1] @ wy + by)
        p = exponentials / exponentials.sum()
        probabilities.append(p)
        loss = loss - np.log(np.sum(p * targets[t]))
    dwx, dwh, dwy = np.zeros_like(wx), np.zeros_like(wh), np.zeros_like(wy)
    dbh, dby, following = np.zeros_like(bh), np.zeros_like(by), np.zeros_like(bh)
    for t in reversed(range(steps)):
        dy = probabilities[t] - targets[t]
        dwy += np.outer(hidden[t + 1], dy)
        dby += dy
        raw = (1.0 - hidden[t + 1] * hidden[t + 1]) * (wy @ dy + following)
        dbh += raw
        dwx += np.outer(inputs[t], raw)
        dwh += np.outer(hidden[t], raw)
        following = wh @ raw
    for parameter, gradient in zip((wx, wh, wy, bh, by), (dwx, dwh, dwy, dbh, dby), strict=True):
        parameter -= 0.01 * np.clip(gradient, -5.0, 5.0)
    return loss


def lstm_step(w, u, b, wo, inputs, targets):
    """Train an LSTM on a batch of sequences, squared error of the last output: gradients by hand, SGD."""
    steps, batch = inputs.shape[0], inputs.shape[1]
    size = u.shape[0]
    h, c = np.zeros((batch, size), w.dtype), np.zeros((batch, size), w.dtype)
    kept = []
    for t in range(steps):
        gates = inputs[t] @ w + h @ u + b
        i = 1.0 / (1.0 + np.exp(-gates[:, :size]))
        f = 1.0 / (1.0 + np.exp(-gates[:, size : 2 * size]))
        o = 1.0 / (1.0 + np.exp(-gates[:, 2 * size : 3 * size]))
        g = np.tanh(gates[:, 3 * size :])
        following = f * c + i * g
        squashed = np.tanh(following)
        kept.append((i, f, o, g, c, squashed, h))
        h, c = o * squashed, following
    error = h @ wo - targets
    loss = np.mean(error * error)
    dout = error * (2.0 / (error.shape[0] * error.shape[1]))
    dwo, dh = h.T @ dout, dout @ wo.T
    dw, du, db, dc = np.zeros_like(w), np.zeros_like(u), np.zeros_like(b), np.zeros_like(c)
    for t in reversed(range(steps)):
        i, f, o, g, before, squashed, h = kept[t]
        dc = dc + dh * o * (1.0 - squashed * squashed)
        parts = (
            dc * g * i * (1.0 - i),
            dc * before * f * (1.0 - f),
            dh * squashed * o * (1.0 - o),
            dc * i * (1.0 - g * g),
        )
        dgates = np.concatenate(parts, axis=1)
        dw += inputs[t].T @ dgates
        du += h.T @ dgates
        db += dgates.sum(axis=0)
        dh = dgates @ u.T
        dc = dc * f
    for parameter, gradient in zip((w, u, b, wo), (dw, du, db, dwo), strict=True):
        parameter -= 0.01 * gradient
    return loss


def logistic_step(w, x, y):
    """Take one full-batch gradient step of logistic regression."""
    p = 1.0 / (1.0 + np.exp(-(x @ w)))
    loss = -np.mean(y * np.log(p + 1e-7) + (1.0 - y) * np.log(1.0 - p + 1e-7))
    w -= 0.1 * (x.T @ (p - y)) / x.shape[0]
    return loss


def kmeans_iteration(centers, points):
    """Assign points to the nearest centers, and move the centers to their means."""
    distances = np.sum(centers * centers, axis=1) - 2.0 * (points @ centers.T)
    nearest = np.argmin(distances, axis=1)
    chosen = (nearest[:, None] == np.arange(centers.shape[0])).astype(points.dtype)
    counts = chosen.sum(axis=0)
    centers[...] = (chosen.T @ points) / np.maximum(counts, 1.0)[:, None]


def als_cg(u, v, x, w):
    """Factorise a matrix with missing entries: 4 half steps of 8 conjugate-gradient steps."""
    for half in range(4):
        error = w * (u @ v - x)
        if half % 2 == 0:
            r = -(error @ v.T + u)
        else:
            r = -(u.T @ error + v)
        s = r
        norm = np.sum(r * r)
        for _ in range(8):
            if half % 2 == 0:
                hs = (w * (s @ v)) @ v.T + s
            else:
                hs = u.T @ (w * (u @ s)) + s
            alpha = norm / np.sum(s * hs)
            if half % 2 == 0:
                u = u + alpha * s
            else:
                v = v + alpha * s
            r = r - alpha * hs
            before = norm
            norm = np.sum(r * r)
            s = r + (norm / before) * s
    return u, v


def black_scholes(spot, strike, years):
    """Price call options; the normal distribution by the polynomial of Abramowitz and Stegun."""
    root = 0.2 * np.sqrt(years)
    d1 = (np.log(spot / strike) + (0.03 + 0.02) * years) / root
    d2 = d1 - root
    return spot * normal_cdf(d1) - strike * np.exp(-0.03 * years) * normal_cdf(d2)


def normal_cdf(x):
    """Evaluate the standard normal distribution function."""
    a = np.abs(x)
    k = 1.0 / (1.0 + 0.2316419 * a)
    series = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.3989422804014327 * np.exp(-0.5 * a * a) * series
    return np.where(x >= 0.0, 1.0 - tail, tail)


def softmax_cross_entropy(logits, y):
    """Return the mean cross-entropy of rows and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(totals[:, 0]) - np.sum(shifted * y, axis=1))
    return loss, (exponentials / totals - y) / logits.shape[0]


def layer_norm(x, gain, bias):
    """Normalise rows."""
    centered = x - x.mean(axis=1, keepdims=True)
    variance = np.mean(centered * centered, axis=1, keepdims=True)
    return centered / np.sqrt(variance + 1e-5) * gain + bias


def jacobi(u):
    """Make 20 sweeps of the five-point stencil."""
    for _ in range(20):
        u[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])


def nbody_step(position, velocity, mass):
    """Advance bodies by one step of the leapfrog's simpler cousin."""
    difference = position[None, :, :] - position[:, None, :]
    squared = np.sum(difference * difference, axis=2) + 0.01
    weight = mass / (squared * np.sqrt(squared))
    velocity += 0.01 * np.sum(weight[:, :, None] * difference, axis=1)
    position += 0.01 * velocity


def adam_step(w, m, v, step, g):
    """Update one big parameter."""
    adam((w,), (m,), (v,), (g,), step)


def matmul(a, b):
    """Multiply two matrices."""
    return a @ b


def chain(x, y):
    """Evaluate eight elementwise operations without a transcendental function."""
    return (x * 2.0 + y) * (x - y) / (x * x + 1.0) - 0.5
