"""Skip-gram with negative sampling: choices by probability, scattered updates."""

import numpy as np


class SkipGram:
    def __init__(self, words, size, rng):
        self.center = rng.normal(size=(words, size)) * 0.1
        self.context = np.zeros((words, size))
        self.counts = rng.integers(1, 50, words).astype(float)
        self.noise = self.counts**0.75 / (self.counts**0.75).sum()


def train_pairs(model, centers, contexts, negatives=5, rate=0.05):
    loss = 0.0
    for center, context in zip(centers, contexts):
        noise = np.random.choice(len(model.noise), size=negatives, p=model.noise)
        targets = np.concatenate(([context], noise))
        labels = np.zeros(negatives + 1)
        labels[0] = 1.0
        hidden = model.center[center]
        scores = 1.0 / (1.0 + np.exp(-(model.context[targets] @ hidden)))
        loss -= np.log(scores[0] + 1e-9) + np.log(1.0 - scores[1:] + 1e-9).sum()
        error = scores - labels
        hidden_gradient = error @ model.context[targets]
        np.add.at(model.context, targets, -rate * np.outer(error, hidden))
        model.center[center] -= rate * hidden_gradient
    return loss / len(centers)


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    np.random.seed(7)
    data = np.random.default_rng(1)
    model = SkipGram(40, 10, np.random.default_rng(0))
    step = jit(train_pairs)

    def run(number):
        return step(model, data.integers(0, 40, 12), data.integers(0, 40, 12))

    return run, lambda: (model, np.random.get_state()[1].tolist()), step


STEPS = 30
