"""A character-level recurrent network in plain NumPy, with backpropagation through time by hand.

The classic vanilla RNN: one-hot characters, tanh units, gradients clipped in place with ``out=``, AdaGrad over
``zip(parameters, gradients, memories)``. The text is the description of the digits data set that ships with
scikit-learn. ``--eager`` runs it without janusjit.
"""

import argparse
import time
from importlib.resources import files

import numpy as np

HIDDEN_SIZE = 64
SEQUENCE_LENGTH = 25


def load_text():
    """Return the text, its characters in order, and the text as indices into them."""
    text = files("sklearn.datasets.descr").joinpath("digits.rst").read_text(encoding="utf-8")
    characters = sorted(set(text))
    position = {character: index for index, character in enumerate(characters)}
    return text, characters, np.array([position[character] for character in text])


def initialize(vocabulary_size, seed=0):
    """Return the parameters ``[Wxh, Whh, Why, bh, by]`` and AdaGrad's memories.

    The memories start at 0.1, which tames the first steps.
    """
    rng = np.random.default_rng(seed)
    parameters = [
        rng.standard_normal((HIDDEN_SIZE, vocabulary_size)) * 0.1,
        rng.standard_normal((HIDDEN_SIZE, HIDDEN_SIZE)) * 0.1,
        rng.standard_normal((vocabulary_size, HIDDEN_SIZE)) * 0.1,
        np.zeros((HIDDEN_SIZE, 1)),
        np.zeros((vocabulary_size, 1)),
    ]
    return parameters, [np.full_like(parameter, 0.1) for parameter in parameters]


def loss_and_gradients(parameters, inputs, targets, previous_hidden):
    """Run forward and backward through ``len(inputs)`` time steps.

    Returns the summed cross-entropy, the clipped gradients in the parameters' order, and the last hidden state.
    """
    Wxh, Whh, Why, bh, by = parameters
    xs, hs, ps = {}, {}, {}
    hs[-1] = np.copy(previous_hidden)
    loss = 0.0
    for t in range(len(inputs)):
        xs[t] = np.zeros((Wxh.shape[1], 1))
        xs[t][inputs[t]] = 1.0
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        ys = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys) / np.sum(np.exp(ys))
        loss += -np.log(ps[t][targets[t], 0])

    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dh_next = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1.0
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dh_next
        dh_raw = (1.0 - hs[t] * hs[t]) * dh
        dbh += dh_raw
        dWxh += np.dot(dh_raw, xs[t].T)
        dWhh += np.dot(dh_raw, hs[t - 1].T)
        dh_next = np.dot(Whh.T, dh_raw)
    gradients = [dWxh, dWhh, dWhy, dbh, dby]
    for gradient in gradients:
        np.clip(gradient, -5.0, 5.0, out=gradient)
    return loss, gradients, hs[len(inputs) - 1]


def train_step(parameters, memories, inputs, targets, hidden, learning_rate):
    """Take one AdaGrad step; the parameters and memories change in place. Returns the loss and the hidden state."""
    loss, gradients, hidden = loss_and_gradients(parameters, inputs, targets, hidden)
    for parameter, gradient, memory in zip(parameters, gradients, memories):  # noqa: B905
        memory += gradient * gradient
        parameter += -learning_rate * gradient / np.sqrt(memory + 1e-8)
    return loss, hidden


def run(jit=None, steps=120, seed=0, sequence_length=SEQUENCE_LENGTH):
    """Train, and return the trajectory.

    Parameters
    ----------
    jit : callable, optional
        Decorator for the training step; None leaves it plain Python.
    steps : int
        Training steps; the text starts over when it is used up.
    seed : int
        Seeds the initial parameters.
    sequence_length : int
        Characters a step.

    Returns
    -------
    list of dict
        One entry a step: ``loss``, ``hidden`` and ``parameters`` (copies).
    """
    step = train_step if jit is None else jit(train_step)
    _, characters, indices = load_text()
    parameters, memories = initialize(len(characters), seed)
    position, hidden = 0, np.zeros((HIDDEN_SIZE, 1))
    trajectory = []
    for _ in range(steps):
        if position + sequence_length + 1 >= len(indices):
            position, hidden = 0, np.zeros((HIDDEN_SIZE, 1))
        inputs = indices[position : position + sequence_length]
        targets = indices[position + 1 : position + sequence_length + 1]
        loss, hidden = step(parameters, memories, inputs, targets, hidden, 0.02)
        copies = [parameter.copy() for parameter in parameters]
        trajectory.append({"loss": loss, "hidden": hidden.copy(), "parameters": copies})
        position += sequence_length
    return trajectory


def sample(parameters, characters, count, rng):
    """Return ``count`` characters drawn from the model."""
    Wxh, Whh, Why, bh, by = parameters
    hidden, x = np.zeros((HIDDEN_SIZE, 1)), np.zeros((len(characters), 1))
    drawn = []
    for _ in range(count):
        hidden = np.tanh(Wxh @ x + Whh @ hidden + bh)
        logits = Why @ hidden + by
        probabilities = np.exp(logits) / np.sum(np.exp(logits))
        index = rng.choice(len(characters), p=probabilities.ravel())
        x = np.zeros((len(characters), 1))
        x[index] = 1.0
        drawn.append(characters[index])
    return "".join(drawn)


def main():
    """Train from the command line and print a sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    started = time.perf_counter()
    trajectory = run(jit, options.steps)
    seconds = time.perf_counter() - started
    print(
        f"{options.steps} steps in {seconds:.2f} s, "
        f"loss {trajectory[0]['loss'] / SEQUENCE_LENGTH:.3f} -> {trajectory[-1]['loss'] / SEQUENCE_LENGTH:.3f}"
    )
    print(sample(trajectory[-1]["parameters"], load_text()[1], 200, np.random.default_rng(0)))


if __name__ == "__main__":
    main()
