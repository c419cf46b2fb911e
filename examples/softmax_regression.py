"""Regression to class probabilities: the program that introduced Theano, as imperative NumPy.

Theano's tutorial (Bergstra et al., SciPy 2010) builds a graph of symbolic expressions and compiles it; here the same
expressions are ordinary statements. Two classes, so the softmax is the logistic function. The data are scikit-learn's
breast-cancer measurements (569 rows, 30 features). ``--eager`` runs it without janusjit.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_breast_cancer


def load_data():
    """Return standardised features, float64 of shape (569, 30), and the classes 0 and 1."""
    data = load_breast_cancer()
    return (data.data - data.data.mean(axis=0)) / data.data.std(axis=0), data.target


def initialize(features, seed=0):
    """Return the shared variables: weights, and a 0-d bias."""
    return {"w": np.random.default_rng(seed).standard_normal(features) * 0.1, "b": np.zeros(())}


def train(shared, x, y):
    """Take one gradient step on all data, changing ``shared`` in place; return prediction, cross-entropies and cost."""
    w, b = shared["w"], shared["b"]
    p_1 = 1 / (1 + np.exp(-np.dot(x, w) - b))
    xent = -y * np.log(p_1) - (1 - y) * np.log(1 - p_1)
    cost = xent.mean() + 0.01 * (w**2).sum()
    prediction = p_1 > 0.5
    gw = np.dot(x.T, p_1 - y) / len(y) + 0.02 * w
    gb = (p_1 - y).mean()
    shared["w"] -= 0.1 * gw
    shared["b"] -= 0.1 * gb
    return prediction, xent, cost


def predict(shared, x):
    """Return whether each row belongs to class 1."""
    return 1 / (1 + np.exp(-np.dot(x, shared["w"]) - shared["b"])) > 0.5


def run(jit=None, steps=100, seed=0):
    """Train, and return the trajectory.

    Parameters
    ----------
    jit : callable, optional
        Decorator for `train`; None leaves it plain Python.
    steps : int
        Gradient steps.
    seed : int
        Seeds the initial weights.

    Returns
    -------
    list of dict
        One entry a step: ``cost``, ``xent``, ``prediction``, and copies of ``w`` and ``b``.
    """
    step = train if jit is None else jit(train)
    x, y = load_data()
    shared = initialize(x.shape[1], seed)
    trajectory = []
    for _ in range(steps):
        prediction, xent, cost = step(shared, x, y)
        copies = {name: value.copy() for name, value in shared.items()}
        trajectory.append({"cost": cost, "xent": xent, "prediction": prediction, **copies})
    return trajectory


def main():
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eager", action="store_true", help="plain Python, without janusjit")
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    jit = None
    if not options.eager:
        from janusjit import jit  # noqa: PLC0415 - the program runs without it
    started = time.perf_counter()
    trajectory = run(jit, options.steps)
    seconds = time.perf_counter() - started
    x, y = load_data()
    accuracy = (predict(trajectory[-1], x) == y).mean()
    print(
        f"{options.steps} steps in {seconds:.2f} s, cost {trajectory[0]['cost']:.4f} -> "
        f"{trajectory[-1]['cost']:.4f}, accuracy {accuracy:.3f}"
    )


if __name__ == "__main__":
    main()
