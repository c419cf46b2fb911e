"""Recursion over data of any shape is compiled once, not once for each shape."""

import random
import sys

import numpy as np
import pytest

import janusjit as jj


def total(tree, x):
    kind, children = tree
    states = [total(child, x) for child in children]
    result = x * kind
    for state in states:
        result = result + np.tanh(state) * 0.5
    return result


class Model:
    def __init__(self):
        self.weights = np.arange(6.0).reshape(2, 3) / 10
        self.visited = 0

    def encode(self, tree):
        self.visited += 1
        kind, children = tree
        if kind == 4:
            raise ValueError(f"no {kind}")
        h, c = np.zeros(3), np.ones(3)
        for child in children:
            try:
                child_h, child_c = self.encode(child)
            except ValueError:
                h = h - 1.0
                continue
            h = h + child_h * self.weights[kind % 2]
            c = c * np.tanh(child_c)
        return h + c, c


def encode(model, tree):
    h, _ = model.encode(tree)
    return h.sum()


def make(source, depth):
    return (source.randrange(4), [make(source, depth - 1) for _ in range(source.randrange(4))] if depth else [])


def chain(depth):
    return (1, [chain(depth - 1)] if depth else [])


def test_trees_of_any_shape_share_code():
    source, x = random.Random(0), np.arange(3.0)
    step = jj.jit(total, background=False)
    trees = [make(source, 4) for _ in range(90)]
    for tree in trees[:60]:
        np.testing.assert_allclose(step(tree, x), total(tree, x), rtol=1e-14)
    settled = step.stats
    for tree in trees[60:]:
        np.testing.assert_allclose(step(tree, x), total(tree, x), rtol=1e-14)
    stats = step.stats
    assert stats.graph_calls - settled.graph_calls == 30
    assert stats.deopts == settled.deopts
    assert stats.specializations == settled.specializations


def test_state_and_exceptions_in_recursive_methods():
    source = random.Random(1)
    plain, jitted = Model(), Model()
    step = jj.jit(encode, background=False)
    for number in range(60):
        tree = make(source, 3)
        if number % 7 == 6:
            tree = (1, [(4, []), *tree[1], (4, [])])
        np.testing.assert_allclose(step(jitted, tree), encode(plain, tree), rtol=1e-13)
        assert plain.visited == jitted.visited
    with pytest.raises(ValueError, match="no 4"):
        step(jitted, (4, []))
    assert step.stats.graph_calls >= 40


def test_deep_recursion_needs_no_more_stack_than_python_has():
    step = jj.jit(total, background=False)
    x = np.arange(3.0)
    for depth in (1, 2, 3, 4, 5, 6, 7, 100):
        np.testing.assert_allclose(step(chain(depth), x), total(chain(depth), x), rtol=1e-14)
    depth = sys.getrecursionlimit() // 3  # two frames a level
    np.testing.assert_allclose(step(chain(depth), x), total(chain(depth), x), rtol=1e-14)
    assert step.stats.graph_calls >= 6


def halved(x):
    if x.sum() < 1.0:
        return x
    return halved(x * 0.5) + 1.0


def test_recursion_that_values_end():
    step = jj.jit(halved, background=False)
    for size in [3.0, 100.0, 7.0, 5.0, 1000.0, 0.5, 12.0, 64.0, 2.0, 30.0, 1e6, 4.0]:
        x = np.full(3, size)
        np.testing.assert_array_equal(step(x), halved(x))
    assert step.stats.graph_calls >= 7


def test_a_loop_with_python_in_it_over_lists_of_several_lengths():
    """The iterator of a list that stands in a frame state ends where the list ends by now."""
    source = {}
    exec("def opaque(x):\n    return x * 2.0", source)
    opaque = source["opaque"]

    def step(items):
        return sum([opaque(item) for item in items])

    jitted = jj.jit(step, background=False)
    for length in [2, 2, 2, 3, 5, 1, 4, 2, 6, 7, 3, 0, 8, 9, 11]:
        items = [float(i) for i in range(length)]
        assert jitted(items) == step(items)
    assert jitted.stats.host_calls > 10
