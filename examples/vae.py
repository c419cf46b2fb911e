"""A variational autoencoder on scikit-learn's digits: one hidden layer each way, two latent variables, Adam.

Kingma, Welling: "Auto-Encoding Variational Bayes", 2014. The noise of the reparameterisation comes from an explicit
`numpy.random.Generator`. ``--eager`` leaves out `@jit` only.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

import janusjit
from janusjit import nn, optim

BATCH_SIZE = 64
HIDDEN_SIZE = 32
LATENT_SIZE = 2


def load():
    """Return the images, ``(count, 64)`` between 0 and 1."""
    return load_digits().data / 16.0


def initialize(seed=0):
    """Return the parameters."""
    rng = np.random.default_rng(seed)

    def weights(inputs, outputs):
        return rng.standard_normal((inputs, outputs)) * np.sqrt(1.0 / inputs)

    return {
        "encode": weights(64, HIDDEN_SIZE),
        "bias1": np.zeros(HIDDEN_SIZE),
        "mean": weights(HIDDEN_SIZE, LATENT_SIZE),
        "bias2": np.zeros(LATENT_SIZE),
        "log_variance": weights(HIDDEN_SIZE, LATENT_SIZE),
        "bias3": np.zeros(LATENT_SIZE),
        "decode": weights(LATENT_SIZE, HIDDEN_SIZE),
        "bias4": np.zeros(HIDDEN_SIZE),
        "pixels": weights(HIDDEN_SIZE, 64),
        "bias5": np.zeros(64),
    }


def loss(p, images, rng):
    """Return the negative evidence lower bound, an average over the images."""
    hidden = np.tanh(images @ p["encode"] + p["bias1"])
    mean = hidden @ p["mean"] + p["bias2"]
    log_variance = hidden @ p["log_variance"] + p["bias3"]
    latent = mean + np.exp(0.5 * log_variance) * rng.standard_normal(mean.shape)
    logits = np.tanh(latent @ p["decode"] + p["bias4"]) @ p["pixels"] + p["bias5"]
    reconstruction = nn.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    divergence = -0.5 * np.sum(1.0 + log_variance - mean**2 - np.exp(log_variance))
    return (reconstruction + divergence) / len(images)


def train_step(p, optimizer, images, rng):
    """Take one step in place; return the loss."""
    value, gradients = janusjit.value_and_grad(loss)(p, images, rng)
    optimizer.step(p, gradients)
    return value


def run(jit=None, steps=100, seed=0):
    """Train, and return the trajectory: the loss and copies of the parameters, one dict a step."""
    step = train_step if jit is None else jit(train_step)
    images = load()
    p = initialize(seed)
    optimizer = optim.Adam(p, lr=0.005)
    rng = np.random.default_rng(seed + 1)
    trajectory = []
    for number in range(steps):
        start = number * BATCH_SIZE % (len(images) - BATCH_SIZE)
        value = step(p, optimizer, images[start : start + BATCH_SIZE], rng)
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
