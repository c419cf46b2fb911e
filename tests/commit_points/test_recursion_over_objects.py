"""Recursions over Python objects walk through them in compiled code, whatever their shape."""

import random

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


class Node:
    def __init__(self, left=None, right=None, value=None):
        self.left, self.right, self.value = left, right, value


class Split:
    __slots__ = ("above", "below", "column", "label", "threshold")

    def __init__(self, column=None, threshold=None, below=None, above=None, label=None):
        self.column, self.threshold, self.below, self.above, self.label = column, threshold, below, above, label


class Leaf:
    is_leaf = True

    def __init__(self, number):
        self.number = number

    def evaluate(self, x):
        return self.number * x

    def size(self):
        return 1


class Operation:
    is_leaf = False
    weight = 0.5

    def __init__(self, name, one, other):
        self.name, self.one, self.other = name, one, other

    def evaluate(self, x):
        a, b = self.one.evaluate(x), self.other.evaluate(x)
        if self.name == "+":
            return a + b
        if self.name == "-":
            return a - b
        return np.tanh(a * b) * self.weight

    def size(self):
        return 1 + self.one.size() + self.other.size()


def encode(tree, weights, bias):
    if tree.left is None:
        return np.tanh(tree.value)
    left = encode(tree.left, weights, bias)
    right = encode(tree.right, weights, bias)
    return np.tanh(weights @ np.concatenate([left, right]) + bias)


def depth(tree):
    return 0 if tree is None else 1 + max(depth(tree.left), depth(tree.right))


def predict(tree, row):
    if tree.label is not None:
        return tree.label
    return predict(tree.below if row[tree.column] <= tree.threshold else tree.above, row)


def predict_all(tree, rows):
    found = np.zeros(len(rows))
    for i in range(len(rows)):
        found[i] = predict(tree, rows[i])
    return found


def evaluate(tree, x):
    return tree.evaluate(x)


def count_leaves(tree):
    return 1 if isinstance(tree, Leaf) else count_leaves(tree.one) + count_leaves(tree.other)


def size_and_leaves(tree):
    if tree.is_leaf:
        return 1, 1
    size, leaves = size_and_leaves(tree.one)
    more, others = size_and_leaves(tree.other)
    return size + more + 1, leaves + others


def find(tree, wanted):
    """Return the node whose sum of values is the one wanted, or None."""
    if tree is None or (tree.left is None and tree.value[0] > wanted):
        return tree
    if tree.left is None:
        return None
    found = find(tree.left, wanted)
    return found if found is not None else find(tree.right, wanted)


class Branch:
    def __init__(self, weight, children, state):
        self.weight, self.children, self.state = weight, children, state


def weigh(branch):
    total = branch.weight
    for child in branch.children:
        total += weigh(child) * 0.5
    return total


def last_leaf(branch):
    return branch.weight if not branch.children else last_leaf(branch.children[-1]) + len(branch.children)


def deepest(branch):
    """Return the array of the deepest leaf on the way of the heaviest children; None below a light one."""
    if branch.weight < 0.1:
        return None
    best, found = -1.0, branch.state * 2
    for child in branch.children:
        if child.weight > best:
            below = deepest(child)
            if below is not None:
                best, found = child.weight, below
    return found


def make_branch(source, levels):
    children = [make_branch(source, levels - 1) for _ in range(source.randrange(4))] if levels else []
    return Branch(source.random(), children, np.array([source.random() for _ in range(3)]))


def make_tree(source, levels):
    if levels == 0 or source.random() < 0.2:
        return Node(value=np.array([source.gauss(0, 1) for _ in range(3)]))
    return Node(make_tree(source, levels - 1), make_tree(source, levels - 1))


def make_split(source, levels):
    if levels == 0 or source.random() < 0.2:
        return Split(label=float(source.randrange(3)))
    return Split(source.randrange(4), source.random(), make_split(source, levels - 1), make_split(source, levels - 1))


def make_expression(source, levels):
    if levels == 0 or source.random() < 0.2:
        return Leaf(source.random())
    parts = make_expression(source, levels - 1), make_expression(source, levels - 1)
    return Operation(source.choice("+-*"), *parts)


def make_operation(source, levels):
    return Operation("+", make_expression(source, levels), make_expression(source, levels))


RNG = np.random.default_rng(3)
WEIGHTS, BIAS, ROWS, X = RNG.standard_normal((3, 6)), RNG.standard_normal(3), RNG.random((9, 4)), RNG.random(5)
CASES = {
    "encode": (encode, make_tree, (WEIGHTS, BIAS)),
    "depth": (depth, make_tree, ()),
    "predict": (predict, make_split, (ROWS[0],)),
    "predict_all": (predict_all, make_split, (ROWS,)),
    "evaluate": (evaluate, make_expression, (X,)),
    "size": (Operation.size, make_operation, ()),
    "count_leaves": (count_leaves, make_expression, ()),
    "size_and_leaves": (size_and_leaves, make_expression, ()),
    "weigh": (weigh, make_branch, ()),
    "last_leaf": (last_leaf, make_branch, ()),
    "deepest": (deepest, make_branch, ()),
    "find": (find, make_tree, (1.5,)),
}


@pytest.mark.parametrize("name", CASES)
def test_recursion_over_objects_is_a_loop_in_the_graph(name):
    function, make, others = CASES[name]
    source = random.Random(7)
    step = jj.jit(function, background=False)
    settled = None
    for number in range(40):
        tree = make(source, 5)
        if number == 34:
            settled = step.stats
        expected, found = function(tree, *others), step(tree, *others)
        assert not differences(expected, found, tolerance=1e-13)
        assert not isinstance(expected, Node) or found is expected
    stats = step.stats
    assert stats.graph_calls - settled.graph_calls == 6, stats
    assert (stats.deopts, stats.host_calls) == (settled.deopts, 0)
    assert any("object.attribute" in one.graph for one in step.specializations)


def settled_step(function, make, *others):
    source = random.Random(5)
    step = jj.jit(function, background=False)
    for _ in range(24):
        tree = make(source, 4)
        assert not differences(function(tree, *others), step(tree, *others), tolerance=1e-13)
    assert any("object.attribute" in one.graph for one in step.specializations)
    return step


def test_an_attribute_that_hides_a_method_is_found():
    step = settled_step(Operation.size, make_operation)
    tree = make_operation(random.Random(1), 4)
    tree.one.size = lambda: 100
    assert step(tree) == 101 + tree.other.size()
    in_graph = step.stats.graph_calls
    for seed in range(4):
        assert step(make_operation(random.Random(seed), 4)) == make_operation(random.Random(seed), 4).size()
    assert step.stats.graph_calls == in_graph + 4


def test_a_class_that_changes_is_found():
    step = settled_step(evaluate, make_expression, X)
    tree, kept = make_expression(random.Random(2), 4), Leaf.evaluate
    try:
        Leaf.evaluate = lambda self, x: self.number + x
        np.testing.assert_allclose(step(tree, X), evaluate(tree, X))
    finally:
        Leaf.evaluate = kept
    np.testing.assert_allclose(step(tree, X), evaluate(tree, X))


def test_what_has_not_been_seen_is_python_s():
    step = settled_step(encode, make_tree, WEIGHTS, BIAS)
    tree, before = make_tree(random.Random(3), 4), step.stats
    inner = tree
    while inner.left is not None:
        inner = inner.left
    inner.value = None
    with pytest.raises(TypeError):
        step(tree, WEIGHTS, BIAS)
    inner.value = np.arange(6.0)[::2]  # not in one piece
    np.testing.assert_allclose(step(tree, WEIGHTS, BIAS), encode(tree, WEIGHTS, BIAS))
    inner.left, inner.right = inner, inner  # without end
    with pytest.raises(RecursionError):
        step(tree, WEIGHTS, BIAS)
    assert step.stats.deopts == before.deopts + 3
    for seed in range(4):
        tree = make_tree(random.Random(seed), 4)
        np.testing.assert_allclose(step(tree, WEIGHTS, BIAS), encode(tree, WEIGHTS, BIAS))
    assert (step.stats.deopts, step.stats.host_calls) == (before.deopts + 3, 0)


def test_what_is_gone_through_may_be_written_by_the_function():
    def scaled(tree, factor):
        """Multiply the values by a factor, in place; return their sum."""
        if tree.left is None:
            tree.value *= factor
            return tree.value.sum()
        return scaled(tree.left, factor) + scaled(tree.right, factor)

    def numbered(tree, start):
        tree.number = start
        return start + 1 if tree.left is None else numbered(tree.right, numbered(tree.left, start + 1))

    for function, argument in ((scaled, 0.5), (numbered, 1)):
        step = jj.jit(function, background=False)
        for seed in range(24):
            plain, jitted = make_tree(random.Random(seed), 4), make_tree(random.Random(seed), 4)
            for _ in range(2):
                assert not differences(function(plain, argument), step(jitted, argument), tolerance=1e-13)
                assert not differences(plain, jitted, tolerance=1e-13)


def test_draws_and_exceptions_are_in_the_order_of_the_calls():
    def drawn(branch, generator):
        total = branch.weight * generator.random()
        for child in branch.children:
            total += drawn(child, generator)
        return total

    def handled(branch):
        try:
            if branch.weight > 0.9:
                raise ValueError(branch.weight)
            total = branch.weight
            for child in branch.children:
                total += handled(child)
            return total
        except ValueError:
            return -1.0

    for function, others in ((drawn, lambda: (np.random.default_rng(3),)), (handled, tuple)):
        source, step = random.Random(2), jj.jit(function, background=False)
        for _ in range(30):
            branch, plain, jitted = make_branch(source, 4), others(), others()
            assert not differences(function(branch, *plain), step(branch, *jitted), tolerance=1e-13)
            assert [one.random() for one in plain] == [one.random() for one in jitted]
        assert any("object.attribute" in one.graph for one in step.specializations)
        assert step.stats.graph_calls > 20 and step.stats.host_calls == 0
