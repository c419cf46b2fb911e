"""Steps of gradient descent over all data at once, as people write them."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np


def logistic_step(w, x, y):
    p = 1.0 / (1.0 + np.exp(-(x @ w)))
    loss = -np.mean(y * np.log(p + 1e-7) + (1.0 - y) * np.log(1.0 - p + 1e-7))
    w -= 0.1 * (x.T @ (p - y)) / x.shape[0]
    return loss


def linear_step(w, x, y):
    error = x @ w - y
    loss = np.mean(error**2)
    w -= 0.1 * (2.0 / len(y) * x.T @ error)
    return loss


def svm_step(w, x, y):
    sign = 2 * y - 1
    margin = sign * np.dot(x, w)
    loss = 0.5 * np.dot(w, w) + np.maximum(0, 1 - margin).mean()
    w -= 0.1 * (w - ((margin < 1) * sign) @ x / len(y))
    return loss


def softmax_step(w, b, x, labels):
    scores = x @ w + b
    scores = scores - scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    p = powers / powers.sum(axis=1, keepdims=True)
    loss = -np.mean(np.sum(labels * np.log(p + 1e-9), axis=1))
    difference = (p - labels) / len(x)
    w -= 0.1 * (x.T @ difference)
    b -= 0.1 * difference.sum(axis=0)
    return loss


def column_step(w, x, y):
    p = 1 / (1 + np.exp(-(x @ w)))
    w -= 0.1 * x.T @ (p - y) / len(x)
    return np.mean((p - y) ** 2)


def network_step(layers, x, targets):
    hidden = np.tanh(x @ layers["W"] + layers["b"])
    difference = (hidden @ layers["V"] + layers["c"] - targets) / len(x)
    slope = difference @ layers["V"].T * (1 - hidden**2)
    layers["V"] -= 0.1 * hidden.T @ difference
    layers["c"] -= 0.1 * difference.sum(axis=0)
    layers["W"] -= 0.1 * x.T @ slope
    layers["b"] -= 0.1 * slope.sum(axis=0)
    return (difference**2).sum()


def covariance(x):
    centred = x - x.mean(axis=0)
    return centred.T @ centred / (len(x) - 1)


def newton_step(w, x, y):
    p = 1 / (1 + np.exp(-x @ w))
    gradient = x.T @ (p - y)
    hessian = (x.T * (p * (1 - p))) @ x + 1e-3 * np.eye(len(w))
    w -= np.linalg.solve(hessian, gradient)
    return np.abs(gradient).max()


def training(w, x, y):
    losses = []
    for _ in range(5):
        error = x @ w - y
        w -= 0.1 * (x.T @ error) / len(y)
        losses.append(float(np.mean(error**2)))
    return losses


def overwritten_step(w, x, y):
    error = x @ w - y
    x *= 0.5
    w -= 0.1 * (x.T @ error) / len(y)
    x += 1.0
    return (error**2).sum()


def fitted(w, x, y):
    gradient, turns = np.ones_like(w), 0
    while np.abs(gradient).max() > 1e-4 and turns < 50:
        gradient = x.T @ (x @ w - y) / len(y)
        w -= 0.3 * gradient
        turns += 1
    return turns


def diverging_step(w, x, y, rate):
    error = x @ w - y
    w -= rate * (x.T @ (error**3))
    return float(np.abs(error).max())


def diverging_loop(w, x, y, rate):
    largest, turns = 1.0, 0
    while largest > 0 and turns < 30:
        error = x @ w - y
        w -= rate * (x.T @ (error**3))
        largest = np.abs(w).max()
        turns += 1
    return float(largest)


def scaled_covariance(x):
    return 0.1 * x.T @ x
