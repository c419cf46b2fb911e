"""A LeNet on scikit-learn's digits: two convolutions with pooling, three layers, Adam.

Written with `janusjit.nn`, `janusjit.optim` and `janusjit.value_and_grad`, which run in plain Python too: ``--eager``
leaves out `@jit` only.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

import janusjit
from janusjit import nn, optim

BATCH_SIZE = 64


def load():
    """Return the images, ``(count, 1, 8, 8)`` between 0 and 1, and their labels."""
    images, labels = load_digits(return_X_y=True)
    return (images / 16.0).reshape(-1, 1, 8, 8), labels


def initialize(seed=0):
    """Return the parameters."""
    rng = np.random.default_rng(seed)

    def weights(*shape, inputs):
        return rng.standard_normal(shape) * np.sqrt(2.0 / inputs)

    return {
        "conv1": weights(6, 1, 3, 3, inputs=9),
        "bias1": np.zeros(6),
        "conv2": weights(16, 6, 3, 3, inputs=54),
        "bias2": np.zeros(16),
        "dense3": weights(64, 120, inputs=64),
        "bias3": np.zeros(120),
        "dense4": weights(120, 84, inputs=120),
        "bias4": np.zeros(84),
        "dense5": weights(84, 10, inputs=84),
        "bias5": np.zeros(10),
    }


def logits(p, images):
    """Return the scores of the ten digits."""
    x = nn.max_pool2d(nn.relu(nn.conv2d(images, p["conv1"], p["bias1"], padding=1)), 2)
    x = nn.max_pool2d(nn.relu(nn.conv2d(x, p["conv2"], p["bias2"], padding=1)), 2)
    x = x.reshape(len(x), 64)
    x = nn.relu(x @ p["dense3"] + p["bias3"])
    x = nn.relu(x @ p["dense4"] + p["bias4"])
    return x @ p["dense5"] + p["bias5"]


def loss(p, images, labels):
    """Return the cross-entropy."""
    return nn.cross_entropy(logits(p, images), labels)


def train_step(p, optimizer, images, labels):
    """Take one step in place; return the loss."""
    value, gradients = janusjit.value_and_grad(loss)(p, images, labels)
    optimizer.step(p, gradients)
    return value


def run(jit=None, steps=100, seed=0):
    """Train, and return the trajectory: the loss and copies of the parameters, one dict a step."""
    step = train_step if jit is None else jit(train_step)
    images, labels = load()
    p = initialize(seed)
    optimizer = optim.Adam(p)
    trajectory = []
    for number in range(steps):
        start = number * BATCH_SIZE % (len(images) - BATCH_SIZE)
        batch = slice(start, start + BATCH_SIZE)
        value = step(p, optimizer, images[batch], labels[batch])
        trajectory.append({"loss": value, **{name: array.copy() for name, array in p.items()}})
    return trajectory


def main():
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without @jit")
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    started = time.perf_counter()
    trajectory = run(None if options.eager else janusjit.jit, options.steps)
    seconds = time.perf_counter() - started
    print(f"{options.steps} steps in {seconds:.2f} s, loss {trajectory[0]['loss']:.3f} -> {trajectory[-1]['loss']:.3f}")


if __name__ == "__main__":
    main()
