"""The programs as one writes them for Numba: loops over elements, state in place.

Owns `LOOPS`: plain functions by program name, to be compiled by `numba.njit`. Programs that are little but matrix
products stay in array form, which Numba hands to BLAS. Invariant: signatures and results are those of
`benchmarks.peers.numpy_programs`.
"""

from __future__ import annotations

import math

import numpy as np

#: Numba's range of a loop whose turns may run side by side
prange = range


def adam_step(w, m, v, step, g):
    step[0] += 1.0
    first, second = 1.0 - 0.9 ** step[0], 1.0 - 0.999 ** step[0]
    for i in prange(w.size):
        m[i] = 0.9 * m[i] + 0.1 * g[i]
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i]
        w[i] -= 0.001 * (m[i] / first) / (math.sqrt(v[i] / second) + 1e-8)


def chain(x, y):
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = (x[i] * 2.0 + y[i]) * (x[i] - y[i]) / (x[i] * x[i] + 1.0) - 0.5
    return out


def matmul(a, b):
    return a @ b


def jacobi(u):
    v = u.copy()
    for _ in range(10):
        for i in prange(1, u.shape[0] - 1):
            for j in range(1, u.shape[1] - 1):
                v[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1])
        for i in prange(1, u.shape[0] - 1):
            for j in range(1, u.shape[1] - 1):
                u[i, j] = 0.25 * (v[i - 1, j] + v[i + 1, j] + v[i, j - 1] + v[i, j + 1])


def nbody_step(position, velocity, mass):
    n = position.shape[0]
    for i in prange(n):
        ax = ay = az = 0.0
        for j in range(n):
            dx, dy = position[j, 0] - position[i, 0], position[j, 1] - position[i, 1]
            dz = position[j, 2] - position[i, 2]
            squared = dx * dx + dy * dy + dz * dz + 0.01
            weight = mass[j] / (squared * math.sqrt(squared))
            ax += weight * dx
            ay += weight * dy
            az += weight * dz
        velocity[i, 0] += 0.01 * ax
        velocity[i, 1] += 0.01 * ay
        velocity[i, 2] += 0.01 * az
    for i in range(n):
        for k in range(3):
            position[i, k] += 0.01 * velocity[i, k]


def layer_norm(x, gain, bias):
    out = np.empty_like(x)
    columns = x.shape[1]
    for i in prange(x.shape[0]):
        total = 0.0
        for j in range(columns):
            total += x[i, j]
        mean = total / columns
        variance = 0.0
        for j in range(columns):
            variance += (x[i, j] - mean) ** 2
        scale = 1.0 / math.sqrt(variance / columns + 1e-5)
        for j in range(columns):
            out[i, j] = (x[i, j] - mean) * scale * gain[j] + bias[j]
    return out


def softmax_cross_entropy(logits, y):
    rows, columns = logits.shape
    out = np.empty_like(logits)
    loss = 0.0
    for i in prange(rows):
        top = logits[i, 0]
        for j in range(columns):
            top = max(top, logits[i, j])
        total = picked = 0.0
        for j in range(columns):
            shifted = logits[i, j] - top
            picked += shifted * y[i, j]
            out[i, j] = math.exp(shifted)
            total += out[i, j]
        loss += math.log(total) - picked
        for j in range(columns):
            out[i, j] = (out[i, j] / total - y[i, j]) / rows
    return loss / rows, out


def black_scholes(spot, strike, years):
    out = np.empty_like(spot)
    for i in prange(spot.size):
        root = 0.2 * math.sqrt(years[i])
        d1 = (math.log(spot[i] / strike[i]) + 0.05 * years[i]) / root
        d2 = d1 - root
        n1 = 0.5 * math.erfc(-d1 * 0.7071067811865476)
        n2 = 0.5 * math.erfc(-d2 * 0.7071067811865476)
        out[i] = spot[i] * n1 - strike[i] * math.exp(-0.03 * years[i]) * n2
    return out


def kmeans_iteration(centers, points):
    count, width = centers.shape
    sums, counts = np.zeros_like(centers), np.zeros(count)
    for i in range(points.shape[0]):
        best, nearest = np.inf, 0
        for k in range(count):
            distance = 0.0
            for j in range(width):
                difference = points[i, j] - centers[k, j]
                distance += difference * difference
            if distance < best:
                best, nearest = distance, k
        counts[nearest] += 1.0
        for j in range(width):
            sums[nearest, j] += points[i, j]
    for k in range(count):
        for j in range(width):
            centers[k, j] = sums[k, j] / max(counts[k], 1.0)


def logistic_step(w, x, y):
    rows, columns = x.shape
    gradient = np.zeros_like(w)
    loss = 0.0
    for i in range(rows):
        z = 0.0
        for j in range(columns):
            z += x[i, j] * w[j]
        p = 1.0 / (1.0 + math.exp(-z))
        loss -= y[i] * math.log(p + 1e-7) + (1.0 - y[i]) * math.log(1.0 - p + 1e-7)
        for j in range(columns):
            gradient[j] += (p - y[i]) * x[i, j]
    for j in range(columns):
        w[j] -= 0.1 * gradient[j] / rows
    return loss / rows


def als_cg(u, v, x, w):
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


LOOPS = {
    function.__name__: function
    for function in (
        *(adam_step, chain, matmul, jacobi, nbody_step, layer_norm, softmax_cross_entropy, black_scholes),
        *(kmeans_iteration, logistic_step, als_cg),
    )
}

#: reassociation and contraction are allowed, as the compilers of the other peers take them
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}

#: programs whose outer loop is a `prange`
PARALLEL = {"adam_step", "chain", "jacobi", "nbody_step", "layer_norm", "softmax_cross_entropy", "black_scholes"}
