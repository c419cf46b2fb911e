"""Regression with a Gaussian process: the log marginal likelihood by Cholesky, its hyperparameters by Adam.

Rasmussen, Williams: "Gaussian Processes for Machine Learning", 2006, algorithm 2.1. The gradient goes through
`numpy.linalg.cholesky` and `numpy.linalg.solve`. ``--eager`` leaves out `@jit` only.
"""

import argparse
import time

import numpy as np

import janusjit
from janusjit import optim


def load(count=40, seed=0):
    """Return noisy samples of a sine: positions and values, both ``(count,)``."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-3.0, 3.0, count))
    return x, np.sin(2.0 * x) + 0.2 * rng.standard_normal(count)


def initialize():
    """Return the logarithms of length scale, amplitude and noise."""
    return {"length": np.zeros(1), "amplitude": np.zeros(1), "noise": np.full(1, -1.0)}


def covariance(p, x, z):
    """Return the squared exponential covariance of the positions ``x`` and ``z``."""
    distance = (x[:, None] - z[None, :]) / np.exp(p["length"])
    return np.exp(2.0 * p["amplitude"]) * np.exp(-0.5 * distance**2)


def loss(p, x, y):
    """Return the negative log marginal likelihood."""
    k = covariance(p, x, x) + np.exp(2.0 * p["noise"]) * np.eye(len(x))
    lower = np.linalg.cholesky(k)
    white = np.linalg.solve(lower, y)
    return 0.5 * np.sum(white * white) + np.sum(np.log(np.diagonal(lower))) + 0.5 * len(x) * np.log(2.0 * np.pi)


def train_step(p, optimizer, x, y):
    """Take one step in place; return the loss."""
    value, gradients = janusjit.value_and_grad(loss)(p, x, y)
    optimizer.step(p, gradients)
    return value


def run(jit=None, steps=100):
    """Train, and return the trajectory: the loss and copies of the parameters, one dict a step."""
    step = train_step if jit is None else jit(train_step)
    x, y = load()
    p = initialize()
    optimizer = optim.Adam(p, lr=0.05)
    trajectory = []
    for _ in range(steps):
        value = step(p, optimizer, x, y)
        trajectory.append({"loss": value, **{name: array.copy() for name, array in p.items()}})
    return trajectory


def main():
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without @jit")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    started = time.perf_counter()
    trajectory = run(None if options.eager else janusjit.jit, options.steps)
    seconds = time.perf_counter() - started
    print(f"{options.steps} steps in {seconds:.2f} s, loss {trajectory[0]['loss']:.3f} -> {trajectory[-1]['loss']:.3f}")


if __name__ == "__main__":
    main()
