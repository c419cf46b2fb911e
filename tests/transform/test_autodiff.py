"""Gradients of graphs with branches, loops and updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.reference import interpret
from janusjit.ir.boxes import ArrayBox, ExitRecipe, ScalarBox, SequenceBox
from janusjit.ir.dims import Symbol
from janusjit.ir.graph import Graph, Value
from janusjit.transform.autodiff import AutodiffError, gradients
from janusjit.transform.autodiff_forward import tangents
from janusjit.transform.passes import optimize
from janusjit.transform.typed import verify_graph
from tests.backend.lowering import Program
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


class SecondOrder:
    """A random graph with directions ``u, v`` as further parameters: its gradient along them, differentiated again."""

    def __init__(self, seed: int) -> None:
        generator = Generator(seed)
        self.directions = [generator.program.input(np.zeros(SHAPE)) for _ in range(2)]
        self.program, self.inputs, self.result = generator.build()

    def or_zero(self, found: Value | None, like: Value) -> Value:
        return self.program.multiply(like, 0.0) if found is None else found

    def gradients(self) -> list[Value]:
        p = self.program
        found = gradients(p.builder, [self.result], [p.constant(1.0)], self.inputs)
        return [self.or_zero(g, x) for g, x in zip(found, self.inputs, strict=True)]

    def reverse_over_reverse(self) -> Graph:
        p = self.program
        parts = [p.multiply(g, d) for g, d in zip(self.gradients(), self.directions, strict=True)]
        along = p.reduce("sum", p.add(*parts))
        found = gradients(p.builder, [along], [p.constant(1.0)], self.inputs)
        return p.finish(*[self.or_zero(g, x) for g, x in zip(found, self.inputs, strict=True)])

    def forward_over_reverse(self) -> Graph:
        found = tangents(self.program.builder, outputs := self.gradients(), self.inputs, self.directions)
        return self.program.finish(*[self.or_zero(t, g) for t, g in zip(found, outputs, strict=True)])

    def forward(self) -> Graph:
        (found,) = tangents(self.program.builder, [self.result], self.inputs, self.directions)
        return self.program.finish(self.or_zero(found, self.result))


def arguments_of(seed: int) -> tuple[Any, ...]:
    """Two directions, two arrays and a number of turns."""
    random = np.random.default_rng(seed)
    return *random.uniform(-1, 1, (4, *SHAPE)), int(random.integers(0, 5))


def compiled_and_interpreted(graph: Graph, arguments: tuple[Any, ...]) -> list[np.ndarray]:
    verify_graph(graph)
    found: list[np.ndarray] = list(interpret(graph, arguments))
    for got, wanted in zip(compile_graph(optimize(graph).graph).entry(*arguments), found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-10)  # 2 ULP an operation, sums in another order
    return found


@pytest.mark.parametrize("seed", range(12))
def test_forward_mode_agrees_with_reverse_mode(seed: int) -> None:
    arguments = arguments_of(seed)
    (found,) = compiled_and_interpreted(SecondOrder(seed).forward(), arguments)
    u, v, x, y, n = arguments
    _, of_x, of_y = interpret(gradient_graph(seed), (x, y, n))
    np.testing.assert_allclose(found, (of_x * u).sum() + (of_y * v).sum(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("seed", range(12))
def test_second_order_by_both_ways_and_by_differences(seed: int) -> None:
    arguments = arguments_of(seed)
    reverse = compiled_and_interpreted(SecondOrder(seed).reverse_over_reverse(), arguments)
    forward = compiled_and_interpreted(SecondOrder(seed).forward_over_reverse(), arguments)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-10)
    u, v, x, y, n = arguments
    graph = gradient_graph(seed)

    def gradient(h: float) -> np.ndarray:
        return np.array(interpret(graph, (x + h * u, y + h * v, n))[1:])

    wide, narrow = ((gradient(h) - gradient(-h)) / (2 * h) for h in (1e-5, 5e-6))
    if np.abs(wide - narrow).max() < 1e-6 * max(1, np.abs(wide).max()):  # else it is not smooth there
        np.testing.assert_allclose(reverse, narrow, rtol=1e-4, atol=1e-5)


def masked_sum(program: Program, x: Value) -> Value:
    """The sum of cubes of what is positive: an array of a length that only the data tell."""
    count = Symbol("count", 0)
    picked = program.emit("compress", x, program.emit("greater", x, 0.0), symbol=count)
    return program.reduce("sum", program.multiply(program.emit("sin", picked), program.square(picked)))


@pytest.mark.parametrize("place", ["straight", "branch", "loop", "loop in loop"])
def test_lengths_known_at_run_time_only(place: str) -> None:
    program = Program()
    x = program.input(np.zeros(5))

    def turns(count: int, body: Any) -> Value:
        def turn(i: Value, h: Value) -> None:
            program.branch(program.equal(i, 0), lambda: program.end("break", h), lambda: program.end("yield"))
            program.end("continue", program.subtract(i, 1), body(h))

        (result,) = program.loop([program.constant(count, "i64"), x], turn, [x.type])
        return result

    def step(h: Value) -> Value:
        return program.add(program.multiply(h, 0.9), program.multiply(program.tanh(masked_sum(program, h)), 0.1))

    if place == "straight":
        result = step(x)
    elif place == "branch":
        condition = program.emit("greater", program.reduce("sum", x), 0.0)
        (result,) = program.branch(
            condition, lambda: program.end("yield", step(x)), lambda: program.end("yield", program.sin(step(x)))
        )
    elif place == "loop":
        result = turns(3, step)
    else:
        result = turns(2, lambda h: program.multiply(turns(2, step), h))
    total = program.reduce("sum", program.square(result))
    (found,) = gradients(program.builder, [total], [program.constant(1.0)], [x])
    assert found is not None
    graph = program.finish(total, found)
    given = np.array([0.5, -0.3, 1.2, -2.0, 0.1])
    value, gradient = compiled_and_interpreted(graph, (given,))
    for axis in range(5):
        after, before = (float(interpret(graph, (given + h * np.eye(5)[axis],))[0]) for h in (STEP, -STEP))
        np.testing.assert_allclose(gradient[axis], (after - before) / (2 * STEP), rtol=1e-6, atol=1e-8)
    assert np.isfinite(value)


@pytest.mark.parametrize("leaves", [False, True])
def test_ways_out_of_the_graph_have_no_gradient(leaves: bool) -> None:
    """An arm that returns is not gone back through: what comes behind it runs only if it was not taken."""
    program = Program()
    x, limit = program.input(np.zeros(3)), program.input(np.float64(0))

    def leave(value: Value) -> None:
        box = SequenceBox(tuple, (ScalarBox(0, "numpy.f64"), ArrayBox(1, 1)))
        program.builder.exit((program.reduce("sum", value), value), ExitRecipe(box))

    def turn(i: Value, h: Value) -> None:
        program.branch(program.equal(i, 0), lambda: program.end("break", h), lambda: program.end("yield"))
        large = program.emit("greater", program.reduce("sum", h), limit)
        (following,) = program.branch(large, lambda: leave(h), lambda: program.end("yield", program.sin(h)))
        program.end("continue", program.subtract(i, 1), program.multiply(following, h))

    (result,) = program.loop([program.constant(2, "i64"), x], turn, [x.type])
    small = program.emit("less", program.reduce("sum", result), limit)
    (after,) = program.branch(small, lambda: program.end("yield", program.exp(result)), lambda: leave(result))
    total = program.reduce("sum", after)
    (found,) = gradients(program.builder, [total], [program.constant(1.0)], [x])
    assert found is not None
    graph = program.finish(total, found)
    given = np.array([0.5, -0.3, 1.2])
    value, gradient = compiled_and_interpreted(graph, (given, np.float64(0.0 if leaves else 9.0)))
    if leaves:
        np.testing.assert_array_equal(gradient, given)
        return
    u = np.sin(given) * given
    du = np.cos(given) * given + np.sin(given)
    v = np.sin(u) * u
    np.testing.assert_allclose(value, np.exp(v).sum())
    np.testing.assert_allclose(gradient, np.exp(v) * (np.cos(u) * u + np.sin(u)) * du, rtol=1e-12)


def test_zeros_stay_symbolic() -> None:
    program = Program()
    x = program.input(np.zeros(3))
    y = program.exp(x)
    (found,) = gradients(program.builder, [program.reduce("sum", y)], [program.constant(1.0)], [x])
    assert found is not None and gradients(program.builder, [y], [None], [x]) == [None]
    assert gradients(program.builder, [program.emit("floor", y)], [y], [x]) == [None]


def test_what_has_no_gradient_says_so() -> None:
    program = Program()
    x = program.input(np.zeros(3))
    unique = program.emit("unique", x, symbol=Symbol("n", 0))
    with pytest.raises(AutodiffError, match="unique has no gradient: which elements are left") as raised:
        gradients(program.builder, [program.reduce("sum", unique)], [program.constant(1.0)], [x])
    assert raised.value.code == "autodiff.not_differentiable"


def test_a_gradient_across_an_open_loop_is_refused() -> None:
    program = Program()
    x = program.input(np.zeros(3))
    with program.builder.nested((x.type,)) as body:
        y = program.sin(body.parameters[0])
        with pytest.raises(AutodiffError, match="outside the loop"):
            gradients(program.builder, [y], [y], [x])
        program.end("break", y)
