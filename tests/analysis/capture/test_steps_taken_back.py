"""Steps that need the kind of a value are taken back and taken for each kind: only what they changed is copied."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.capture.state import State


class Node:
    def __init__(self, data, parents=()):
        self.data, self.grad, self.parents = data, 0, parents
        self.pull = lambda: None

    def __add__(self, other):
        out = Node(self.data + other.data, (self, other))

        def pull():
            self.grad += out.grad
            other.grad += out.grad

        out.pull = pull
        return out

    def __mul__(self, other):
        out = Node(self.data * other.data, (self, other))

        def pull():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out.pull = pull
        return out

    def relu(self):
        out = Node(0 if self.data < 0 else self.data, (self,))

        def pull():
            self.grad += (out.data > 0) * out.grad

        out.pull = pull
        return out


def ordered(node, seen, order):
    if node not in seen:
        seen.add(node)
        for parent in node.parents:
            ordered(parent, seen, order)
        order.append(node)
    return order


def step(weights, inputs):
    total = Node(0.0)
    for row in inputs:
        hidden = [(Node(row[0]) * a + Node(row[1]) * b).relu() for a, b in weights]
        for unit in hidden:
            total = total + unit * unit
    for pair in weights:
        for weight in pair:
            weight.grad = 0
    order = ordered(total, set(), [])
    total.grad = 1
    for node in reversed(order):
        node.pull()
    for pair in weights:
        for weight in pair:
            weight.data -= 0.01 * weight.grad
    return total.data


def test_a_step_by_kind_copies_no_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = 0
    fork = State.fork

    def counting(self: State) -> State:
        nonlocal forks
        forks += 1
        return fork(self)

    monkeypatch.setattr(State, "fork", counting)
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(2, 2))
    plain, ours = ([(Node(float(a)), Node(float(b))) for a, b in starts] for _ in range(2))
    compiled = jj.jit(step, background=False)
    for _ in range(6):
        inputs = [(float(a), float(b)) for a, b in rng.normal(size=(3, 2))]
        assert compiled(ours, inputs) == pytest.approx(step(plain, inputs), rel=1e-12)
    for expected, found in zip(plain, ours, strict=True):
        assert [node.data for node in found] == pytest.approx([node.data for node in expected], rel=1e-12)
    assert compiled.stats.graph_calls == 4
    assert forks < 400  # some for each of the 6 branches, and none for the thousands of instructions
