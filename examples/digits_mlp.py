"""A neural network on scikit-learn's handwritten digits, in plain NumPy.

Two hidden layers, gradients by hand, Adam with a step counter and a decaying learning rate, shuffled minibatches whose
last batch is short. Run it with ``python examples/digits_mlp.py`` (under `@jit`) or with ``--eager`` (plain Python, no
janusjit needed).
"""

import argparse
import itertools
import time

import numpy as np
from sklearn.datasets import load_digits

BATCH_SIZE = 64
HIDDEN = (64, 32)


def load_data(seed=0):
    """Return shuffled training and test images (float64, 64 features in [0, 1]) and their labels."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = digits.data[order] / 16.0, digits.target[order]
    return images[:1500], labels[:1500], images[1500:], labels[1500:]


def initialize(seed=0):
    """Return the parameters, and Adam's state for them."""
    rng = np.random.default_rng(seed)
    sizes = (64, *HIDDEN, 10)
    parameters = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
        parameters[f"W{layer}"] = rng.normal(0.0, 1.0 / np.sqrt(inputs), (inputs, outputs))
        parameters[f"b{layer}"] = np.zeros(outputs)
    state = {
        "step": 0,
        "mean": {name: np.zeros_like(value) for name, value in parameters.items()},
        "variance": {name: np.zeros_like(value) for name, value in parameters.items()},
    }
    return parameters, state


def forward(parameters, images):
    """Return the two hidden activations and the class probabilities."""
    hidden1 = np.tanh(images @ parameters["W1"] + parameters["b1"])
    hidden2 = np.maximum(hidden1 @ parameters["W2"] + parameters["b2"], 0.0)
    logits = hidden2 @ parameters["W3"] + parameters["b3"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden1, hidden2, exponentials / exponentials.sum(axis=1, keepdims=True)


def loss_and_gradients(parameters, images, labels):
    """Return the mean cross-entropy, the accuracy and the gradient of the loss for each parameter."""
    count = len(labels)
    rows = np.arange(count)
    hidden1, hidden2, probabilities = forward(parameters, images)
    loss = -np.log(probabilities[rows, labels]).mean()
    accuracy = (probabilities.argmax(axis=1) == labels).mean()

    d_logits = probabilities.copy()
    d_logits[rows, labels] -= 1.0
    d_logits /= count
    gradients = {"W3": hidden2.T @ d_logits, "b3": d_logits.sum(axis=0)}
    d_hidden2 = d_logits @ parameters["W3"].T
    d_hidden2[hidden2 <= 0.0] = 0.0
    gradients["W2"] = hidden1.T @ d_hidden2
    gradients["b2"] = d_hidden2.sum(axis=0)
    d_hidden1 = (d_hidden2 @ parameters["W2"].T) * (1.0 - hidden1**2)
    gradients["W1"] = images.T @ d_hidden1
    gradients["b1"] = d_hidden1.sum(axis=0)
    return loss, accuracy, gradients


def adam(parameters, gradients, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Update ``parameters`` and ``state`` in place."""
    state["step"] += 1
    correction1 = 1.0 - beta1 ** state["step"]
    correction2 = 1.0 - beta2 ** state["step"]
    for name, gradient in gradients.items():
        mean, variance = state["mean"][name], state["variance"][name]
        mean *= beta1
        mean += (1.0 - beta1) * gradient
        variance *= beta2
        variance += (1.0 - beta2) * gradient**2
        parameters[name] -= learning_rate * (mean / correction1) / (np.sqrt(variance / correction2) + epsilon)


def train_step(parameters, state, images, labels, base_rate=0.005, decay=0.01):
    """Take one Adam step on one minibatch; return its loss and accuracy."""
    loss, accuracy, gradients = loss_and_gradients(parameters, images, labels)
    learning_rate = base_rate / (1.0 + decay * state["step"])
    adam(parameters, gradients, state, learning_rate)
    return loss, accuracy


def minibatches(images, labels, rng):
    """Yield shuffled minibatches; the last one is short."""
    order = rng.permutation(len(labels))
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        yield images[chosen], labels[chosen]


def run(jit=None, epochs=3, seed=0):
    """Train, and return the trajectory.

    Parameters
    ----------
    jit : callable, optional
        Decorator for the training step; None leaves it plain Python.
    epochs : int
        Passes over the 1500 training images (24 steps each, the last of 28 images).
    seed : int
        Seeds the split, the initial parameters and the shuffling.

    Returns
    -------
    list of dict
        One entry a step: ``loss``, ``accuracy`` and a copy of each parameter.
    """
    step = train_step if jit is None else jit(train_step)
    images, labels, _, _ = load_data(seed)
    parameters, state = initialize(seed)
    rng = np.random.default_rng(seed + 1)
    trajectory = []
    for _ in range(epochs):
        for batch_images, batch_labels in minibatches(images, labels, rng):
            loss, accuracy = step(parameters, state, batch_images, batch_labels)
            copies = {name: value.copy() for name, value in parameters.items()}
            trajectory.append({"loss": loss, "accuracy": accuracy, **copies})
    return trajectory


def main():
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    started = time.perf_counter()
    trajectory = run(jit, options.epochs)
    seconds = time.perf_counter() - started
    _, _, images, labels = load_data()
    probabilities = forward(trajectory[-1], images)[-1]
    print(
        f"{len(trajectory)} steps in {seconds:.2f} s, last loss {trajectory[-1]['loss']:.4f}, "
        f"test accuracy {(probabilities.argmax(axis=1) == labels).mean():.3f}"
    )


if __name__ == "__main__":
    main()
