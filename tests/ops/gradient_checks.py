"""Gradients of single ops against finite differences, for the tests of the rules.

An op with float inputs x and float results y is turned into the graph of its gradients by x of sum(c*y), c random; the
derivative along a random direction d is compared with central differences of the eager function, all in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.backend.reference import interpret
from janusjit.ir.graph import Graph, Value
from janusjit.ops import Op
from janusjit.ops.samples import Sample
from janusjit.transform.autodiff import gradients
from janusjit.transform.autodiff_forward import tangents
from janusjit.transform.typed import verify_graph
from tests.backend.lowering import Program

STEP = 1e-6


def is_float(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "f"


def arguments_of(sample: Sample, seed: int = 0) -> list[np.ndarray]:
    """The inputs of a sample, floats as float64."""
    drawn = [np.asarray(x) for x in sample.arguments(np.random.default_rng(seed))]
    return [x.astype(np.float64) if is_float(x) else x for x in drawn]


def results_of(op: Op, arguments: list[Any], attributes: dict[str, Any]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        found = op.eager(*arguments, **attributes)
    return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]


def attributes_in_float64(attributes: dict[str, Any]) -> dict[str, Any]:
    return {**attributes, "dtype": "f64"} if attributes.get("dtype") == "f32" else attributes


def gradient_graph(op: str, arguments: list[Any], attributes: dict[str, Any], weights: list[Any]) -> Graph:
    """The graph that returns, for each float argument, its gradient of the weighted sum of results.

    Its parameters are the arguments, then the weights of float results.
    """
    program = Program(op)
    inputs = [program.input(scalar(x)) for x in arguments]
    results = program.emit(op, *inputs, **attributes)
    results = results if isinstance(results, tuple) else (results,)
    floats = [y for y in results if y.type.is_float]
    cotangents = [program.input(scalar(w)) for w in weights]
    cotangents = [_typed(program, c, y) for c, y in zip(cotangents, floats, strict=True)]
    wrt = [x for x in inputs if x.type.is_float]
    found = gradients(program.builder, floats, cotangents, wrt)
    graph = program.finish(*[_or_zero(program, g, x) for g, x in zip(found, wrt, strict=True)])
    verify_graph(graph)
    return graph


def _typed(program: Program, cotangent: Value, result: Value) -> Value:
    """The weights have a known shape, the results perhaps a symbol."""
    if cotangent.type == result.type:
        return cotangent
    return program.emit("reshape", cotangent, shape=result.type.shape)


def _or_zero(program: Program, gradient: Value | None, x: Value) -> Value:
    if gradient is not None:
        return gradient
    zero = program.constant(0.0, x.type.dtype)
    return program.emit("full", zero, shape=x.type.shape) if x.type.rank else zero


def weights_of(results: list[np.ndarray], seed: int = 1) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.asarray(generator.uniform(0.5, 1.5, y.shape)) for y in results if is_float(y)]


def weighted(results: list[np.ndarray], weights: list[np.ndarray]) -> float:
    floats = [y for y in results if is_float(y)]
    return float(sum((y * w).sum() for y, w in zip(floats, weights, strict=True)))


def directions_of(arguments: list[np.ndarray], seed: int = 2) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.asarray(generator.uniform(-1, 1, x.shape)) if is_float(x) else np.zeros_like(x) for x in arguments]


def moved(arguments: list[np.ndarray], directions: list[np.ndarray], by: float) -> list[np.ndarray]:
    return [x + by * d if is_float(x) else x for x, d in zip(arguments, directions, strict=True)]


def scalars(arguments: list[Any]) -> list[Any]:
    """0-d arrays as NumPy scalars, which is what a graph takes."""
    return [scalar(x) for x in arguments]


def scalar(x: Any) -> Any:
    return x if x.ndim else bool(x) if x.dtype.kind == "b" else x[()]


def check_first_order(op: Op, arguments: list[np.ndarray], attributes: dict[str, Any], rtol: float = 1e-5) -> Graph:
    """Assert that the gradient along a random direction is the difference quotient."""
    weights = weights_of(results_of(op, arguments, attributes))
    graph = gradient_graph(op.name, arguments, attributes, weights)
    found = interpret(graph, scalars([*arguments, *weights]))
    floats = [x for x in arguments if is_float(x)]
    for gradient, x in zip(found, floats, strict=True):
        assert (np.asarray(gradient).dtype, np.shape(gradient)) == (x.dtype, x.shape)
    directions = directions_of(arguments)
    if op.name == "linalg.cholesky":  # it reads one triangle; the gradient is that among symmetric matrices
        directions = [d + d.swapaxes(-1, -2) for d in directions]
    along = sum(float((g * d).sum()) for g, d in zip(found, [d for d in directions if is_float(d)], strict=True))
    after, before = (
        weighted(results_of(op, moved(arguments, directions, step), attributes), weights) for step in (STEP, -STEP)
    )
    np.testing.assert_allclose(along, (after - before) / (2 * STEP), rtol=rtol, atol=1e-7)
    return graph


class Twice:
    """The graph of an op's gradient of its weighted results, open for more.

    Parameters are the arguments, the weights, and one direction for each float argument.
    """

    def __init__(self, op: Op, arguments: list[np.ndarray], attributes: dict[str, Any]) -> None:
        self.arguments = arguments
        self.weights = weights_of(results_of(op, arguments, attributes))
        self.program = program = Program(op.name)
        inputs = [program.input(scalar(x)) for x in arguments]
        weights = [program.input(scalar(w)) for w in self.weights]
        self.floats = [x for x in arguments if is_float(x)]
        self.directions = [d for d in directions_of(arguments) if is_float(d)]
        if op.name == "linalg.cholesky":
            self.directions = [d + d.swapaxes(-1, -2) for d in self.directions]
        self.given = [program.input(scalar(d)) for d in self.directions]
        results = program.emit(op.name, *inputs, **attributes)
        self.results = [y for y in (results if isinstance(results, tuple) else (results,)) if y.type.is_float]
        self.cotangents = [_typed(program, c, y) for c, y in zip(weights, self.results, strict=True)]
        self.wrt = [x for x in inputs if x.type.is_float]

    def gradients(self) -> list[Value]:
        found = gradients(self.program.builder, self.results, self.cotangents, self.wrt)
        return [_or_zero(self.program, g, x) for g, x in zip(found, self.wrt, strict=True)]

    def along(self, values: list[Value]) -> Value:
        """The sum of products with the directions."""
        p = self.program
        return self.total([p.multiply(g, d) for g, d in zip(values, self.given, strict=True)])

    def total(self, values: list[Value]) -> Value:
        p = self.program
        sums = [p.reduce("sum", v) if v.type.rank else v for v in values]
        found = sums[0]
        for one in sums[1:]:
            found = p.add(found, one)
        return found

    def run(self, *values: Value) -> tuple[Any, ...]:
        graph = self.program.finish(*values)
        verify_graph(graph)
        return interpret(graph, scalars([*self.arguments, *self.weights, *self.directions]))


def check_second_order(op: Op, arguments: list[np.ndarray], attributes: dict[str, Any]) -> None:
    """Assert that the gradient of the derivative along a direction is the difference of gradients."""
    twice = Twice(op, arguments, attributes)
    along = twice.along(twice.gradients())
    found = gradients(twice.program.builder, [along], [twice.program.constant(1.0)], twice.wrt)
    seconds = twice.run(*[_or_zero(twice.program, g, x) for g, x in zip(found, twice.wrt, strict=True)])
    graph = gradient_graph(op.name, arguments, attributes, twice.weights)
    directions = iter(twice.directions)
    every = [next(directions) if is_float(x) else np.zeros_like(x) for x in arguments]

    def first(step: float) -> Any:
        return interpret(graph, scalars([*moved(arguments, every, step), *twice.weights]))

    for second, after, before in zip(seconds, first(STEP), first(-STEP), strict=True):
        np.testing.assert_allclose(second, (after - before) / (2 * STEP), rtol=1e-4, atol=1e-5)


def check_forward(op: Op, arguments: list[np.ndarray], attributes: dict[str, Any]) -> None:
    """Assert that forward and reverse mode give one derivative."""
    twice = Twice(op, arguments, attributes)
    p = twice.program
    found = tangents(p.builder, twice.results, twice.wrt, twice.given)
    parts = [p.multiply(_or_zero(p, t, y), c) for t, y, c in zip(found, twice.results, twice.cotangents, strict=True)]
    reverse = twice.along(twice.gradients())
    forward, backward = twice.run(twice.total(parts), reverse)
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-10)
