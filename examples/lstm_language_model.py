"""A character-level language model: an embedding, a long short-term memory and a linear layer, trained with Adam.

The text is this project's licence. The cell, the embedding and the loss are `janusjit.nn`'s. ``--eager`` leaves out
`@jit` only.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import janusjit
from janusjit import nn, optim

BATCH_SIZE = 8
EMBEDDING_SIZE = 16
HIDDEN_SIZE = 32
SEQUENCE_LENGTH = 6


def load():
    """Return the text as indices into its characters, and the number of characters."""
    text = Path(__file__).resolve().parents[1].joinpath("LICENSE").read_text(encoding="utf-8")
    characters = sorted(set(text))
    position = {character: index for index, character in enumerate(characters)}
    return np.array([position[character] for character in text]), len(characters)


def initialize(vocabulary_size, seed=0):
    """Return the parameters."""
    rng = np.random.default_rng(seed)
    return {
        "embedding": rng.standard_normal((vocabulary_size, EMBEDDING_SIZE)) * 0.1,
        "w_ih": rng.standard_normal((4 * HIDDEN_SIZE, EMBEDDING_SIZE)) * 0.2,
        "w_hh": rng.standard_normal((4 * HIDDEN_SIZE, HIDDEN_SIZE)) * 0.2,
        "bias": np.zeros(4 * HIDDEN_SIZE),
        "dense": rng.standard_normal((HIDDEN_SIZE, vocabulary_size)) * 0.2,
        "dense_bias": np.zeros(vocabulary_size),
    }


def loss(p, inputs, targets):
    """Return the cross-entropy of the next characters, an average; both arrays are ``(batch, time)``."""
    h = np.zeros((inputs.shape[0], HIDDEN_SIZE))
    c = np.zeros((inputs.shape[0], HIDDEN_SIZE))
    total = 0.0
    for time_step in range(inputs.shape[1]):
        x = nn.embedding(inputs[:, time_step], p["embedding"])
        h, c = nn.lstm_cell(x, (h, c), p["w_ih"], p["w_hh"], p["bias"])
        total = total + nn.cross_entropy(h @ p["dense"] + p["dense_bias"], targets[:, time_step])
    return total / inputs.shape[1]


def train_step(p, optimizer, inputs, targets):
    """Take one step in place; return the loss."""
    value, gradients = janusjit.value_and_grad(loss)(p, inputs, targets)
    optimizer.step(p, gradients)
    return value


def run(jit=None, steps=100, seed=0):
    """Train, and return the trajectory: the loss and copies of the parameters, one dict a step."""
    step = train_step if jit is None else jit(train_step)
    text, vocabulary_size = load()
    p = initialize(vocabulary_size, seed)
    optimizer = optim.Adam(p, lr=0.01)
    rng = np.random.default_rng(seed + 1)
    trajectory = []
    for _ in range(steps):
        starts = rng.integers(0, len(text) - SEQUENCE_LENGTH, BATCH_SIZE)
        windows = text[starts[:, None] + np.arange(SEQUENCE_LENGTH + 1)]
        value = step(p, optimizer, windows[:, :-1], windows[:, 1:])
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
