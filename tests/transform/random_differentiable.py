"""Random differentiable graphs: arithmetic, views, updates, gathers, branches and loops of all shapes.

Every array is ``f64[3,2]`` and of moderate size, so that difference quotients mean something. A graph has the
parameters ``x, y: f64[3,2]`` and ``n: int``, and returns one number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from janusjit.ir.graph import Graph, Value
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import FrozenArray, PathStep, Pick, Range
from tests.backend.lowering import Program

SHAPE = (3, 2)
ARRAY = TensorType("f64", SHAPE)


class Generator:
    """Draws nodes into a program."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.program = Program(f"random{seed}")

    def build(self) -> tuple[Program, list[Value], Value]:
        """Return a program without an exit, its array parameters, and the number it computes."""
        p = self.program
        inputs = [p.input(np.zeros(SHAPE)), p.input(np.zeros(SHAPE))]
        self.n = p.input(3)
        arrays = self.nodes(inputs, int(self.random.integers(3, 9)), 2)
        total = p.reduce("sum", p.multiply(arrays[-1], arrays[-2]))
        return p, inputs, p.add(total, p.reduce("max", self.one(arrays)))

    def graph(self) -> Graph:
        program, _, result = self.build()
        return program.finish(result)

    def one(self, arrays: list[Value]) -> Value:
        recent = arrays[-4:] if self.random.random() < 0.7 else arrays
        return recent[self.random.integers(len(recent))]

    def nodes(self, arrays: list[Value], count: int, depth: int) -> list[Value]:
        arrays = list(arrays)
        kinds = [self.unary, self.binary, self.binary, self.view, self.update, self.gather, self.contraction, self.wide]
        structured = [self.branch, self.loop, self.loop] if depth else []
        for _ in range(count):
            choices = structured if structured and self.random.random() < 0.35 else kinds
            make: Callable[[list[Value], int], Value] = choices[self.random.integers(len(choices))]
            arrays.append(make(arrays, depth))
        return arrays

    def bounded(self, x: Value) -> Value:
        return self.program.tanh(x)

    # -- straight-line nodes

    def unary(self, arrays: list[Value], depth: int) -> Value:
        op = self.random.choice(["sin", "cos", "tanh", "sigmoid", "softplus", "negative", "square", "copy", "arctan"])
        found = self.program.emit(str(op), self.one(arrays))
        return self.bounded(found) if op == "square" else found

    def binary(self, arrays: list[Value], depth: int) -> Value:
        p, a, b = self.program, self.one(arrays), self.one(arrays)
        op = self.random.choice(["add", "subtract", "multiply", "divide", "maximum", "minimum", "hypot", "scaled"])
        if op == "divide":
            return p.divide(a, p.add(p.square(b), 1.0))
        if op == "scaled":
            return p.multiply(a, float(self.random.uniform(-1.5, 1.5)))
        if op == "hypot":
            return p.hypot(a, p.add(p.square(b), 0.5))
        return self.bounded(p.emit(str(op), a, b))

    def view(self, arrays: list[Value], depth: int) -> Value:
        p, x = self.program, self.one(arrays)
        kind = self.random.integers(4)
        if kind == 0:
            return p.emit("view", x, index=(Range(2, 3, -1), Range(0, 2)))
        if kind == 1:
            return p.emit("broadcast", p.emit("view", x, index=(Pick(1), Range(0, 2))), shape=SHAPE)
        if kind == 2:
            flat = p.emit("reshape", p.emit("transpose", x, axes=(1, 0)), shape=(6,))
            return p.emit("reshape", flat, shape=SHAPE)
        column = p.emit("view", x, index=(Range(0, 3), Range(1, 1)))
        return p.add(x, column)

    def update(self, arrays: list[Value], depth: int) -> Value:
        p, base, value = self.program, self.one(arrays), self.one(arrays)
        kind = self.random.integers(4)
        if kind == 0:
            row = p.emit("view", value, index=(Pick(0), Range(0, 2)))
            return p.emit("update", base, row, path=(PathStep.of("view", index=(Pick(2), Range(0, 2))),))
        if kind == 1:
            mask = p.emit("greater", value, 0.1)
            return p.emit("update_mask", base, mask, p.reduce("sum", value))
        index = self.indices()
        accumulate = bool(self.random.random() < 0.5)
        return self.bounded(p.emit("update_take", base, value, index, axes=(0,), accumulate=accumulate))

    def indices(self) -> Value:
        return self.program.emit("constant_array", value=FrozenArray(self.random.integers(-3, 3, 3)))

    def gather(self, arrays: list[Value], depth: int) -> Value:
        p, x = self.program, self.one(arrays)
        if self.random.random() < 0.5:
            return p.emit("take", x, self.indices(), axis=0)
        return p.where(p.greater(x, 0.2), x, self.one(arrays))

    def contraction(self, arrays: list[Value], depth: int) -> Value:
        p = self.program
        square = p.matmul(p.emit("transpose", self.one(arrays), axes=(1, 0)), self.one(arrays))
        return self.bounded(p.matmul(self.one(arrays), square))

    def wide(self, arrays: list[Value], depth: int) -> Value:
        p, x = self.program, self.one(arrays)
        if self.random.random() < 0.5:
            return p.emit("cumsum", x, axis=int(self.random.integers(2)))
        return p.subtract(x, p.reduce("sum", x, 1, keepdims=True))

    # -- control flow

    def condition(self, arrays: list[Value]) -> Value:
        p = self.program
        return p.greater(p.reduce("sum", self.one(arrays)), float(self.random.uniform(-1, 1)))

    def branch(self, arrays: list[Value], depth: int) -> Value:
        p = self.program

        def arm() -> None:
            found = self.nodes(arrays, int(self.random.integers(0, 4)), depth - 1)
            p.end("yield", self.one(found), self.one(found))

        first, second = p.branch(self.condition(arrays), arm, arm)
        return p.multiply(first, p.cos(second))

    def loop(self, arrays: list[Value], depth: int) -> Value:
        """A loop of at most ``n`` turns, which may be left early or cut a turn short."""
        p = self.program
        early, short, nested = self.random.random(3) < (0.4, 0.4, 0.2)

        def body(count: Value, a: Value, b: Value) -> None:
            p.branch(p.greater_equal(count, self.n), lambda: p.end("break", a, b), lambda: p.end("yield"))
            found = self.nodes([*arrays, a, b], int(self.random.integers(1, 4)), 0)
            following = p.add(count, p.constant(1, "i64"))
            if early:
                leave = self.condition(found)
                p.branch(leave, lambda: p.end("break", self.one(found), a), lambda: p.end("yield"))
            if short:
                results = p.branch(
                    self.condition(found),
                    lambda: p.end("continue", following, self.bounded(self.one(found)), self.one(found)),
                    lambda: p.end("yield", p.sin(self.one(found))),
                )
                found += results
            found = self.nodes(found, int(self.random.integers(0, 4)), depth - 1 if nested else 0)
            p.end("continue", following, self.bounded(found[-1]), self.bounded(self.one(found)))

        first, second = p.loop([p.constant(0, "i64"), self.one(arrays), self.one(arrays)], body, [ARRAY, ARRAY])
        return p.add(first, p.sin(second))
