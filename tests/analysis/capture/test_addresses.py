"""``id`` of objects: as keys and in comparisons, in the graph."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


class Node:
    def __init__(self, value, parents=()):
        self.value, self.parents, self.gradient = value, parents, 0.0


def backward(root):
    """A topological sort that remembers what it has seen by ``id``, as engines of one's own have it."""
    seen, order = set(), []

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(root)
    root.gradient = 1.0
    for node in reversed(order):
        for parent in node.parents:
            parent.gradient = parent.gradient + node.gradient * 2.0
    return len(order)


def engine(v):
    leaf = Node(v)
    both = Node(v * 2, (leaf, leaf))
    root = Node(both.value + v, (both, leaf))
    return backward(root), leaf.gradient * root.value


def table_by_address(v):
    first, second = Node(v), Node(v * 2)
    state = {id(first): v * 3}
    state[id(second)] = v
    same = id(first) == id(first), id(first) != id(second), id([]) == 3
    return state[id(first)], id(first) in state, same, len(state)


def addresses_that_leave(v):
    first = Node(v)
    return id(first) == id(first), {id(first): first}, [id(first)], first


def given(nodes, v):
    seen = set()
    total = 0.0
    for node in nodes:
        if id(node) in seen:
            continue
        seen.add(id(node))
        total = total + node.value * v
    return total, isinstance(id(nodes), int)


@pytest.mark.parametrize("function", [engine, table_by_address])
def test_objects_made_inside(function):
    step = jj.jit(function, background=False)
    for count in range(8):
        v = np.arange(3.0) + count
        assert not differences(function(v), step(v))
    assert step.stats.graph_calls == 6
    assert step.stats.host_calls == 0


def test_addresses_are_those_of_the_objects():
    step = jj.jit(addresses_that_leave, background=False)
    for _ in range(6):
        same, table, numbers, node = step(np.ones(2))
        assert same
        assert table == {id(node): node}
        assert numbers == [id(node)]
    assert step.stats.graph_calls == 4


def test_objects_from_outside():
    step = jj.jit(given, background=False)
    for count in range(9):
        one, other = Node(1.0), Node(2.0)
        nodes = [one, other, one] if count < 6 else [one, other, Node(3.0)]
        v = np.ones(2) * count
        assert not differences(given(nodes, v), step(nodes, v))
    assert step.stats.graph_calls >= 4


def test_an_address_chosen_at_run_time():
    def chosen(v):
        first, second = Node(v), Node(v)
        address = id(first) if v.sum() > 5 else id(second)
        seen = [id(first) == address for _ in range(3)]
        return seen, v * 2

    step = jj.jit(chosen, background=False)
    for count in range(12):
        v = np.ones(3) * (count % 4)
        assert not differences(chosen(v), step(v))
    assert step.stats.calls == 12
