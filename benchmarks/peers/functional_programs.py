"""The same programs without updates in place, over a namespace: for JAX, PyTorch and PyTensor.

Owns one function a program, ``f(xp, *arguments)``, which returns the new state, then the output. Invariant: the
operations are those of `benchmarks.peers.numpy_programs`; ``xp`` (`benchmarks.peers.namespaces`) spells them.
"""

from __future__ import annotations


def adam(xp, parameters, first, second, gradients, step):
    step = step + 1.0
    new_first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
    new_second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
    new = [
        p - 0.001 * (m / (1.0 - 0.9**step)) / (xp.sqrt(v / (1.0 - 0.999**step)) + 1e-8)
        for p, m, v in zip(parameters, new_first, new_second, strict=True)
    ]
    return [*new, *new_first, *new_second, step]


def mlp_step(xp, w1, b1, w2, b2, m1, c1, m2, c2, v1, d1, v2, d2, step, x, y):
    z = x @ w1 + b1
    hidden = xp.relu(z)
    logits = hidden @ w2 + b2
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    totals = xp.sum(exponentials, axis=1, keepdims=True)
    loss = -xp.mean(xp.sum(y * (shifted - xp.log(totals)), axis=1))
    error = (exponentials / totals - y) / x.shape[0]
    back = xp.where(hidden > 0, error @ w2.T, xp.zeros_like(hidden))
    gradients = (x.T @ back, xp.sum(back, axis=0), hidden.T @ error, xp.sum(error, axis=0))
    return [*adam(xp, (w1, b1, w2, b2), (m1, c1, m2, c2), (v1, d1, v2, d2), gradients, step), loss]


def char_rnn_step(xp, wx, wh, wy, bh, by, inputs, targets):
    hidden, probabilities, loss = [xp.zeros_like(bh)], [], 0.0
    steps = xp.length(inputs)
    for t in range(steps):
        hidden.append(xp.tanh(inputs[t] @ wx + hidden[t] @ wh + bh))
        exponentials = xp.exp(hidden[t + 1] @ wy + by)
        p = exponentials / xp.sum(exponentials)
        probabilities.append(p)
        loss = loss - xp.log(xp.sum(p * targets[t]))
    dwx, dwh, dwy, dbh, dby = (xp.zeros_like(one) for one in (wx, wh, wy, bh, by))
    following = xp.zeros_like(bh)
    for t in reversed(range(steps)):
        dy = probabilities[t] - targets[t]
        dwy = dwy + xp.outer(hidden[t + 1], dy)
        dby = dby + dy
        raw = (1.0 - hidden[t + 1] * hidden[t + 1]) * (wy @ dy + following)
        dbh = dbh + raw
        dwx = dwx + xp.outer(inputs[t], raw)
        dwh = dwh + xp.outer(hidden[t], raw)
        following = wh @ raw
    pairs = zip((wx, wh, wy, bh, by), (dwx, dwh, dwy, dbh, dby), strict=True)
    return [*(p - 0.01 * xp.clip(g, -5.0, 5.0) for p, g in pairs), loss]


def lstm_step(xp, w, u, b, wo, inputs, targets):
    size = xp.length(u)
    h = xp.zeros_like(inputs[0] @ w)[:, :size]
    c, kept = h, []
    steps = xp.length(inputs)
    for t in range(steps):
        gates = inputs[t] @ w + h @ u + b
        i, f, o = (xp.sigmoid(gates[:, n * size : (n + 1) * size]) for n in range(3))
        g = xp.tanh(gates[:, 3 * size :])
        following = f * c + i * g
        squashed = xp.tanh(following)
        kept.append((i, f, o, g, c, squashed, h))
        h, c = o * squashed, following
    error = h @ wo - targets
    loss = xp.mean(error * error)
    dout = error * (2.0 / (error.shape[0] * error.shape[1]))
    dwo, dh = h.T @ dout, dout @ wo.T
    dw, du, db, dc = xp.zeros_like(w), xp.zeros_like(u), xp.zeros_like(b), xp.zeros_like(c)
    for t in reversed(range(steps)):
        i, f, o, g, before, squashed, h = kept[t]
        dc = dc + dh * o * (1.0 - squashed * squashed)
        parts = [
            dc * g * i * (1.0 - i),
            dc * before * f * (1.0 - f),
            dh * squashed * o * (1.0 - o),
            dc * i * (1.0 - g * g),
        ]
        dgates = xp.concatenate(parts, 1)
        dw = dw + inputs[t].T @ dgates
        du = du + h.T @ dgates
        db = db + xp.sum(dgates, axis=0)
        dh = dgates @ u.T
        dc = dc * f
    return [*(p - 0.01 * g for p, g in zip((w, u, b, wo), (dw, du, db, dwo), strict=True)), loss]


def logistic_step(xp, w, x, y):
    p = xp.sigmoid(x @ w)
    loss = -xp.mean(y * xp.log(p + 1e-7) + (1.0 - y) * xp.log(1.0 - p + 1e-7))
    return [w - 0.1 * (x.T @ (p - y)) / x.shape[0], loss]


def kmeans_iteration(xp, centers, points):
    distances = xp.sum(centers * centers, axis=1) - 2.0 * (points @ centers.T)
    chosen = xp.one_hot(xp.argmin(distances, 1), xp.length(centers), points)
    counts = xp.sum(chosen, axis=0)
    return [(chosen.T @ points) / xp.clip(counts, 1.0, 1e30)[:, None]]


def als_cg(xp, u, v, x, w):
    for half in range(4):
        even = half % 2 == 0
        error = w * (u @ v - x)
        r = -(error @ v.T + u) if even else -(u.T @ error + v)
        s, norm = r, xp.sum(r * r)
        for _ in range(8):
            hs = (w * (s @ v)) @ v.T + s if even else u.T @ (w * (u @ s)) + s
            alpha = norm / xp.sum(s * hs)
            if even:
                u = u + alpha * s
            else:
                v = v + alpha * s
            r = r - alpha * hs
            before, norm = norm, xp.sum(r * r)
            s = r + (norm / before) * s
    return [u, v]


def black_scholes(xp, spot, strike, years):
    root = 0.2 * xp.sqrt(years)
    d1 = (xp.log(spot / strike) + (0.03 + 0.02) * years) / root
    return [spot * _normal_cdf(xp, d1) - strike * xp.exp(-0.03 * years) * _normal_cdf(xp, d1 - root)]


def _normal_cdf(xp, x):
    a = xp.abs(x)
    k = 1.0 / (1.0 + 0.2316419 * a)
    series = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.3989422804014327 * xp.exp(-0.5 * a * a) * series
    return xp.where(x >= 0.0, 1.0 - tail, tail)


def softmax_cross_entropy(xp, logits, y):
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    totals = xp.sum(exponentials, axis=1, keepdims=True)
    loss = xp.mean(xp.log(totals[:, 0]) - xp.sum(shifted * y, axis=1))
    return [loss, (exponentials / totals - y) / logits.shape[0]]


def layer_norm(xp, x, gain, bias):
    centered = x - xp.mean(x, axis=1, keepdims=True)
    variance = xp.mean(centered * centered, axis=1, keepdims=True)
    return [centered / xp.sqrt(variance + 1e-5) * gain + bias]


def jacobi(xp, u):
    def sweep(u):
        return xp.set_interior(u, 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]))

    return [xp.repeat(20, sweep, u)]


def nbody_step(xp, position, velocity, mass):
    difference = position[None, :, :] - position[:, None, :]
    squared = xp.sum(difference * difference, axis=2) + 0.01
    weight = mass / (squared * xp.sqrt(squared))
    velocity = velocity + 0.01 * xp.sum(weight[:, :, None] * difference, axis=1)
    return [position + 0.01 * velocity, velocity]


def adam_step(xp, w, m, v, step, g):
    return adam(xp, (w,), (m,), (v,), (g,), step)


def matmul(xp, a, b):
    return [a @ b]


def chain(xp, x, y):
    return [(x * 2.0 + y) * (x - y) / (x * x + 1.0) - 0.5]
