"""Gradients of graphs with branches, loops and updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.reference import interpret
from janusjit.ir.graph import Graph
from janusjit.transform.autodiff import gradients
from janusjit.transform.passes import optimize
from janusjit.transform.typed import verify_graph
from tests.transform.random_differentiable import SHAPE, Generator

STEP = 1e-6


def gradient_graph(seed: int) -> Graph:
    """The graph that returns a random graph's number and its gradients by both arrays."""
    program, inputs, result = Generator(seed).build()
    found = gradients(program.builder, [result], [program.constant(1.0)], inputs)
    zeros = [program.multiply(x, 0.0) for x in inputs]
    graph = program.finish(result, *[g if g is not None else z for g, z in zip(found, zeros, strict=True)])
    verify_graph(graph)
    return graph


def difference_quotients(graph: Graph, x: np.ndarray, y: np.ndarray, n: int, directions: Any) -> list[float]:
    """Central differences along a direction, with two step sizes; they differ where the graph is not smooth."""
    dx, dy = directions
    return [
        float(interpret(graph, (x + h * dx, y + h * dy, n))[0] - interpret(graph, (x - h * dx, y - h * dy, n))[0])
        / (2 * h)
        for h in (STEP, STEP / 2)
    ]


def check(seed: int) -> bool:
    """Compare the gradients of a random graph with difference quotients; False if it is not smooth there."""
    random = np.random.default_rng(seed)
    x, y, dx, dy = random.uniform(-1, 1, (4, *SHAPE))
    n = int(random.integers(0, 5))
    graph = gradient_graph(seed)
    value, of_x, of_y = interpret(graph, (x, y, n))
    plain = Generator(seed).graph()
    assert interpret(plain, (x, y, n))[0] == value
    found = float((of_x * dx).sum() + (of_y * dy).sum())
    wide, narrow = difference_quotients(plain, x, y, n, (dx, dy))
    if abs(wide - narrow) > 1e-6 * max(1, abs(wide)):
        return False
    np.testing.assert_allclose(found, narrow, rtol=1e-5, atol=1e-6)
    optimized = optimize(graph).graph
    for got, wanted in zip(interpret(optimized, (x, y, n)), (value, of_x, of_y), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
    for got, wanted in zip(compile_graph(optimized).entry(x, y, n), (value, of_x, of_y), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-11)  # 2 ULP an operation, sums in another order
    return True


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_have_the_derivative(seed: int) -> None:
    check(seed)
