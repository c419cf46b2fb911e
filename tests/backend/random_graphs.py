"""Random graphs for the tests of the lowering.

`random_program` draws a straight-line program of elementwise operations, views, reductions, updates and products from
small arrays of every layout; `random_control_flow` puts such pieces in the arms of branches and the bodies of loops.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from janusjit.ir.graph import Graph, Value
from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.indexing import NewAxis, PathStep, Pick, Range
from tests.backend.lowering import Program

BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "divide")
UNARY = ("negative", "absolute", "square", "sqrt", "floor", "sign")
SHAPES = ((), (1,), (4,), (3, 4), (3, 1), (1, 4), (2, 3, 4), (4, 4), (0, 4), (17, 33), (130,), (2, 300))


def random_array(rng: random.Random, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Draw an array, C- or Fortran-ordered, reversed or strided."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    kind = DTYPES[dtype].kind
    layout = rng.choice(("C", "C", "C", "F", "strided", "reversed"))
    wide = tuple(2 * n if layout == "strided" else n for n in shape)
    if kind == "f":
        values = numbers.normal(size=wide) * np.exp(numbers.normal(size=wide))
        values = np.asarray(values)
        values[numbers.random(wide) < 0.05] = rng.choice((0.0, -0.0, np.inf, np.nan, 1.0))
    elif kind == "b":
        values = numbers.random(wide) < 0.5
    else:
        values = numbers.integers(0 if kind == "u" else -9, 10, size=wide)
    array = np.asarray(values).astype(DTYPES[dtype], order="F" if layout == "F" else "C")
    if layout in ("strided", "reversed"):
        step = 2 if layout == "strided" else -1
        array = array[tuple(slice(None, None, step) for _ in shape)]
    return array


class RandomProgram:
    """A program under construction, with the values drawn so far."""

    def __init__(self, seed: int, inputs: int = 4) -> None:
        self.rng = random.Random(seed)
        self.program = Program(f"random{seed}")
        self.arguments: list[Any] = []
        self.values: list[Value] = []
        self.versions: dict[int, Value] = {}
        for _ in range(inputs):
            shape = self.rng.choice(SHAPES)
            dtype = self.rng.choice(("f64", "f64", "f32", "i64", "bool"))
            array = random_array(self.rng, shape, dtype)
            example: Any = array if shape or self.rng.random() < 0.3 else array[()]
            if not isinstance(example, np.ndarray):
                example = example.item() if dtype in ("f64", "i64", "bool") else example
            self.arguments.append(example)
            value = self.program.input(example, writeable=True)
            self.values.append(value)
            if isinstance(example, np.ndarray) and shape:
                self.versions[len(self.arguments) - 1] = value

    def pick(self, *, rank: int | None = None, dtypes: tuple[str, ...] = ()) -> Value | None:
        """Draw a value, the newer the likelier."""
        found = [
            v for v in self.values if (rank is None or v.type.rank >= rank) and (not dtypes or v.type.dtype in dtypes)
        ]
        if not found:
            return None
        return found[max(self.rng.randrange(len(found)) for _ in range(2))]

    def like(self, value: Value, dtype: str | None = None) -> Value:
        """Draw a value that can be combined with ``value``; a constant if there is none."""
        dtype = dtype or value.type.dtype
        found = [v for v in self.values if v.type.dtype == dtype and _broadcasts(v.type, value.type)]
        if found and self.rng.random() < 0.8:
            return self.rng.choice(found)
        constant: Any = self.rng.random() < 0.5 if dtype == "bool" else self.rng.choice((0, 1, 2, 3))
        return self.program.constant(float(constant) if dtype[0] == "f" else constant, dtype)

    def step(self) -> None:
        """Add one operation."""
        kinds = ("binary", "binary", "binary", "unary", "view", "reduce", "update", "where", "cast", "dot")
        kind = self.rng.choice(kinds)
        value = getattr(self, f"_{kind}")()
        if value is not None:
            self.values.append(value)

    def _binary(self) -> Value | None:
        x = self.pick()
        if x is None or x.type.dtype == "bool":
            return None
        op = self.rng.choice(BINARY if x.type.dtype[0] == "f" else BINARY[:-1])
        y = self.like(x)
        pair = (x, y) if self.rng.random() < 0.5 else (y, x)
        return self.program.emit(op, *pair)

    def _unary(self) -> Value | None:
        x = self.pick(dtypes=("f64", "f32"))
        return None if x is None else self.program.emit(self.rng.choice(UNARY), x)

    def _where(self) -> Value | None:
        x = self.pick(dtypes=("f64", "f32", "i64"))
        if x is None:
            return None
        y = self.like(x)
        return self.program.where(self.program.less(x, y), x, self.like(x))

    def _cast(self) -> Value | None:
        x = self.pick()
        if x is None or x.type.dtype[0] == "f":
            return None if x is None else self.program.cast(x, dtype=self.rng.choice(("f32", "f64")))
        return self.program.cast(x, dtype=self.rng.choice(("f64", "i64", "f32")))

    def _view(self) -> Value | None:
        x = self.pick(rank=1)
        if x is None:
            return None
        kind = self.rng.choice(("transpose", "reshape", "view", "view", "broadcast"))
        if kind == "transpose":
            axes = list(range(x.type.rank))
            self.rng.shuffle(axes)
            return self.program.transpose(x, axes=tuple(axes))
        if kind == "reshape":
            size = int(np.prod(x.type.shape))
            return self.program.reshape(x, shape=self.rng.choice(((size,), (size, 1), (1, *x.type.shape))))
        if kind == "broadcast":
            return self.program.broadcast(x, shape=(2, *x.type.shape))
        return self.program.view(x, index=self.index(x.type))

    def index(self, type_: TensorType) -> tuple[Any, ...]:
        """Draw a basic index."""
        items: list[Any] = []
        for dim in type_.shape:
            assert isinstance(dim, int)
            if self.rng.random() < 0.1:
                items.append(NewAxis())
            if dim == 0 or self.rng.random() < 0.4:
                items.append(Range(0, dim))
            elif self.rng.random() < 0.3:
                items.append(Pick(self.rng.randrange(dim)))
            else:
                step = self.rng.choice((1, 1, 2, -1, -2))
                length = self.rng.randint(1, (dim + abs(step) - 1) // abs(step))
                span = (length - 1) * abs(step)
                start = self.rng.randint(0, dim - 1 - span)
                items.append(Range(start if step > 0 else start + span, length, step))
        return tuple(items)

    def _reduce(self) -> Value | None:
        x = self.pick(rank=1)
        if x is None:
            return None
        axes = tuple(a for a in range(x.type.rank) if self.rng.random() < 0.6)
        empty = any(x.type.shape[a] == 0 for a in axes)
        if x.type.dtype == "bool":
            op = self.rng.choice(("any", "all", "count_nonzero"))
        else:
            kinds = ("sum", "sum", "any", "count_nonzero") if empty else ("sum", "sum", "max", "min", "prod")
            op = self.rng.choice(kinds)
        if op in ("max", "min") and x.type.dtype[0] == "f":
            x = self.program.add(x, 0.0)  # which zero is the greater one, NumPy does not say
        if self.rng.random() < 0.15 and not empty and x.type.shape and 0 not in x.type.shape:
            axis = self.rng.choice((None, *range(x.type.rank)))
            op = self.rng.choice(("argmax", "argmin"))
            return self.program.emit(op, x, axis=axis, keepdims=self.rng.random() < 0.3)
        return self.program.emit(op, x, axes=axes, keepdims=self.rng.random() < 0.3)

    def _update(self) -> Value | None:
        if not self.versions:
            return None
        number = self.rng.choice(sorted(self.versions))
        base = self.versions[number]
        if self.rng.random() < 0.4:
            value = self.like(base)
            result = self.program.update(base, value, path=())
        else:
            index = self.index(base.type)
            part = self.program.view(base, index=index)
            value = self.like(part)
            if self.rng.random() < 0.5 and base.type.dtype != "bool":
                value = self.program.add(part, value)
            result = self.program.update(base, value, path=(PathStep.of("view", index=index),))
        self.versions[number] = result
        return result

    def _dot(self) -> Value | None:
        x = self.pick(rank=2, dtypes=("i64",))
        if x is None or x.type.rank != 2:
            return None
        return self.program.matmul(x, self.program.transpose(x, axes=(1, 0)))

    def finish(self, outputs: int = 4) -> Graph:
        """Leave with some of the values and the last versions of the inputs."""
        count = min(outputs, len(self.values))
        writes = {n: v for n, v in self.versions.items() if v is not self.program.graph.inputs[n].value}
        return self.program.finish(*self.rng.sample(self.values, count), writes=writes)


def _broadcasts(type_: TensorType, target: TensorType) -> bool:
    """Return whether one type broadcasts to the other's shape."""
    if type_.rank > target.rank:
        return False
    return all(d in (1, t) for d, t in zip(reversed(type_.shape), reversed(target.shape), strict=False))


def random_program(seed: int, steps: int = 14) -> tuple[Graph, list[Any]]:
    """Return a straight-line graph and arguments for it."""
    drawn = RandomProgram(seed)
    for _ in range(steps):
        drawn.step()
    return drawn.finish(), drawn.arguments


class RandomControlFlow(RandomProgram):
    """A program with branches and loops around its operations."""

    def block(self, steps: int, depth: int) -> None:
        """Add operations, branches and loops."""
        for _ in range(steps):
            kind = self.rng.random()
            if depth and kind < 0.15:
                self._branch(depth)
            elif depth and kind < 0.3:
                self._loop(depth)
            elif kind < 0.35:
                self.program.guard(self._condition(always=self.rng.random() < 0.9))
            else:
                self.step()

    def _condition(self, always: bool = False) -> Value:
        if always:
            return self.program.constant(True, "bool")
        x = self.pick(rank=1, dtypes=("f64", "f32", "i64"))
        if x is None:
            return self.program.constant(self.rng.random() < 0.5, "bool")
        axes = tuple(range(x.type.rank))
        return self.program.greater(self.program.emit("sum", x, axes=axes, keepdims=False), 0)

    def _carried(self) -> list[Value]:
        """Draw values to be merged or carried: the versions of all inputs, and some others."""
        others = [v for v in self.values if v not in self.versions.values()]
        return [*self.versions.values(), *self.rng.sample(others, min(2, len(others)))]

    def _adopt(self, values: Any) -> None:
        for number, value in zip(self.versions, values, strict=False):
            self.versions[number] = value
        self.values.extend(values)

    def _results(self, wanted: list[Value]) -> list[Value]:
        """Return values of the wanted types: versions of the inputs, and whatever else there is now."""
        found = list(self.versions.values())
        for value in wanted[len(found) :]:
            found.append(self.rng.choice([v for v in self.values if v.type == value.type]))
        return found

    def _inside(self, depth: int, wanted: list[Value], end: str, *first: Value) -> None:
        values, versions = list(self.values), dict(self.versions)
        self.block(self.rng.randint(0, 4), depth - 1)
        self.program.end(end, *first, *self._results(wanted))
        self.values, self.versions = values, versions

    def _branch(self, depth: int) -> None:
        condition, wanted = self._condition(), self._carried()

        def arm() -> None:
            self._inside(depth, wanted, "yield")

        self._adopt(self.program.branch(condition, arm, arm))

    def _loop(self, depth: int) -> None:
        wanted = self._carried()
        count = self.rng.randint(0, 4)
        outer, versions = list(self.values), dict(self.versions)

        def body(turn: Value, *carried: Value) -> None:
            self._adopt(carried)
            program = self.program

            def leave() -> None:
                self._inside(depth, wanted, "break")

            def go_on() -> None:
                self._inside(depth, wanted, "continue", program.add(turn, 1))

            early = self._condition() if self.rng.random() < 0.3 else program.constant(False, "bool")
            stop = program.logical_or(program.greater_equal(turn, count), early)
            program.branch(stop, leave, go_on)
            program.end("unreachable")

        results = self.program.loop([self.program.constant(0, "i64"), *wanted], body, [v.type for v in wanted])
        self.values, self.versions = outer, versions
        self._adopt(results)


def random_control_flow(seed: int, steps: int = 8) -> tuple[Graph, list[Any]]:
    """Return a graph with branches and loops, and arguments for it."""
    drawn = RandomControlFlow(seed, 3)
    drawn.block(steps, 2)
    return drawn.finish(), drawn.arguments
