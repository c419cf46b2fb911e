"""A child-sum TreeLSTM over the parse trees of Python source, by recursion."""

import ast

import numpy as np

SOURCES = [
    "x = a + b * c",
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
    "for i in range(10):\n    print(i, end=' ')",
    "y = [v ** 2 for v in values if v > 0]",
]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


class TreeLSTM:
    def __init__(self, size, kinds, rng):
        self.embedding = rng.normal(size=(kinds, size)) * 0.3
        self.Wi, self.Wo, self.Wu, self.Wf = (rng.normal(size=(2 * size, size)) * 0.3 for _ in range(4))
        self.size = size

    def node(self, tree):
        kind, children = tree
        states = [self.node(child) for child in children]
        h_sum = np.zeros(self.size)
        for h, _ in states:
            h_sum = h_sum + h
        x = self.embedding[kind]
        xh = np.concatenate([x, h_sum])
        i, o, u = sigmoid(xh @ self.Wi), sigmoid(xh @ self.Wo), np.tanh(xh @ self.Wu)
        c = i * u
        for h, child_c in states:
            c = c + sigmoid(np.concatenate([x, h]) @ self.Wf) * child_c
        return o * np.tanh(c), c


def score(model, tree, w):
    h, _ = model.node(tree)
    loss = (h @ w - 1.0) ** 2
    w -= 0.05 * 2 * (h @ w - 1.0) * h
    return loss


def convert(node, kinds):
    kind = kinds.setdefault(type(node).__name__, len(kinds))
    return kind, [convert(child, kinds) for child in ast.iter_child_nodes(node)]


def build(jit):
    """Return the step to call with a number, and the state it leaves."""
    kinds = {}
    trees = [convert(ast.parse(source), kinds) for source in SOURCES]
    rng = np.random.default_rng(0)
    model, w = TreeLSTM(6, len(kinds), rng), rng.normal(size=6)
    step = jit(score)
    return lambda number: step(model, trees[number % len(trees)], w), lambda: (model, w), step


STEPS = 32
