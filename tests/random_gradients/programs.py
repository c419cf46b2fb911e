"""Random differentiable programs, as source text.

Owns `random_program`. Invariant: a program follows from its seed; it is a function ``program(x, m, s, k)`` of a vector,
a matrix, a float and a number of turns that returns one float, and which is smooth in the first three but for kinks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.random_gradients.expressions import Expressions, Shape

#: functions that give an array of the shape of their first argument
_HELPERS = {
    "helper": """def helper(z, p=0.4):
    return np.tanh(z * p) + z
""",
    "early": """def early(z, p=0.2):
    if np.sum(z) > 0.317:
        return np.sin(z) * p
    return z * z * 0.3 - p
""",
    "deep": """def deep(z, p=0.6, level=0):
    if level == 3:
        return z * p
    return deep(np.sin(z), p, level + 1)
""",
    "summed": """def summed(z, p=0.1):
    parts = [z, z * p]
    parts.append(np.cos(z))
    return sum(parts)
""",
    "slope": """def inner(z, p=0.3):
    return np.sum(np.sin(z) * z * p)

def slope(z, p=0.3):
    return grad(lambda y: inner(y, p) + np.sum(y ** 3) * 0.1)(z)
""",
}


@dataclass(frozen=True)
class Program:
    """A program, and what it is called with.

    ``foreign`` says that it is no program of the package `autograd`: it writes in place, or calls what that has not.
    """

    seed: int
    source: str
    length: int
    shape: Shape
    foreign: bool

    def in_float32(self) -> str:
        """Return the source with float32 where it makes arrays or turns to Python floats."""
        text = re.sub(
            r"np\.(zeros|ones|empty|eye|arange)\(((?:[^()]|\([^()]*\))*)\)", r"np.\1(\2, dtype=single)", self.source
        )
        text = re.sub(r"np\.full\((\([^()]*\)), 0\.7\)", r"np.full(\1, 0.7, dtype=single)", text)
        text = re.sub(r"np\.array\((\[\[?[\d., \[\]-]*\])\)", _array_in_float32, text)
        return re.sub(r"\b(float|math\.tanh)\(", "single(", text).replace("astype(float)", "astype(single)")


def _array_in_float32(found: re.Match[str]) -> str:
    return f"np.array({found[1]}, dtype=single)" if "." in found[1] else found[0]


def random_program(seed: int) -> Program:
    """Return the program of a seed."""
    rng = random.Random(seed)
    length, shape = rng.choice([1, 2, 3, 3, 4]), (rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 4]))
    statements = Statements(rng, length, shape, in_place=rng.random() < 0.7)
    return Program(seed, statements.program(), length, shape, statements.expressions.foreign)


class Statements:
    """Draws the statements of one program."""

    def __init__(self, rng: random.Random, length: int, shape: Shape, in_place: bool) -> None:
        self.rng = rng
        self.expressions = Expressions(rng)
        self.expressions.names = {"x": (length,), "m": shape, "s": ()}
        self.in_place = in_place
        self.lines: list[str] = []
        self.indent = 1
        self.count = 0
        self.fresh: list[str] = []

    def program(self) -> str:
        """Return the source of a program."""
        rng = self.rng
        helpers = self._helpers()
        for _ in range(rng.randint(2, 6)):
            self.statement(2)
        total = " + ".join(
            f"{number + 1.3:.1f} * np.sum(np.sin({name} + {number}.2))"
            for number, name in enumerate(self.expressions.names)
        )
        return "\n".join([*helpers, "def program(x, m, s, k):", *self.lines, f"    return {total}", ""])

    def _helpers(self) -> list[str]:
        rng = self.rng
        made = list(_HELPERS.values())
        names = list(_HELPERS)
        chosen = rng.sample(range(len(made)), rng.randint(1, 3))
        self.expressions.functions = [names[i] for i in chosen]
        return [made[i] for i in chosen]

    # ------------------------------------------------------------------ drawing

    def emit(self, line: str) -> None:
        """Add a line."""
        self.lines.append("    " * self.indent + line)

    def name(self) -> str:
        """Return a new name."""
        self.count += 1
        return f"v{self.count}"

    def shape(self) -> Shape:
        """Draw a shape: most often one that some array has."""
        rng = self.rng
        if rng.random() < 0.7:
            return rng.choice(list(self.expressions.names.values()))
        return rng.choice([(), (1,), (2,), (3,), (2, 2), (1, 3), (3, 1), (2, 3)])

    def draw(self, shape: Shape, depth: int | None = None) -> str:
        """Draw an expression."""
        return self.expressions.expression(shape, self.rng.choice([1, 2, 2, 3]) if depth is None else depth)

    def condition(self) -> str:
        """Draw a number's comparison."""
        return self.expressions.condition((), self.rng.choice([1, 2]))

    def bind(self, text: str, shape: Shape, fresh: bool = False) -> str:
        """Assign to a new name."""
        name = self.name()
        self.emit(f"{name} = {text}")
        self.expressions.names[name] = shape
        if fresh:
            self.fresh.append(name)
        return name

    def block(self, write: Callable[[], None]) -> None:
        """Write an indented block, whose names end with it."""
        names, fresh = dict(self.expressions.names), list(self.fresh)
        self.indent += 1
        write()
        self.indent -= 1
        self.expressions.names, self.fresh = names, fresh

    # ------------------------------------------------------------------ statements

    def statement(self, depth: int) -> None:
        """Write a statement, or a few that belong together."""
        kinds: list[Callable[[int], None]] = [self._assign, self._assign, self._closure, self._lists]
        if depth > 0:
            kinds += [self._branch, self._branch, self._counted, self._counted, self._while, self._breaking]
        if self.in_place:
            kinds += [self._filled, self._written, self._written, self._view, self._scattered, self._alias]
        self.rng.choice(kinds)(depth)

    def _assign(self, depth: int) -> None:
        shape = self.shape()
        self.bind(self.draw(shape), shape)

    def _branch(self, depth: int) -> None:
        shape = self.shape()
        name = self.bind(f"{self.draw(shape, 1)} * 1.0", shape, self.in_place)
        self.emit(f"if {self.condition()}:")
        self.block(lambda: self._update(name, shape, depth))
        if self.rng.random() < 0.5:
            self.emit("else:" if self.rng.random() < 0.7 else f"elif {self.condition()}:")
            self.block(lambda: self._update(name, shape, depth))

    def _update(self, name: str, shape: Shape, depth: int) -> None:
        """Write statements that end with another value of a name."""
        if depth > 1 and self.rng.random() < 0.4:
            self.statement(depth - 1)
        if self.in_place and shape and self.rng.random() < 0.4:
            self._write(name)
        else:
            tame = self.rng.choice(["np.tanh({})", "0.5 * np.sin({})", "{} * 0.3"])
            self.emit(f"{name} = {tame.format(self.draw(shape))}")

    def _counted(self, depth: int) -> None:
        shape = self.shape()
        name = self.bind(f"{self.draw(shape, 1)} + 0.1", shape, self.in_place)
        turns = self.rng.choice(["range(k)", "range(3)", "range(1, k + 1)", "range(2, 0, -1)"])
        self.emit(f"for i in {turns}:")

        def body() -> None:
            self._update(name, shape, depth)
            self.emit(f"{name} = {name} + 0.05 * i * {self.draw(shape, 0)}")

        self.block(body)

    def _while(self, depth: int) -> None:
        shape = self.shape()
        name = self.bind(f"{self.draw(shape, 1)} + 0.1", shape, self.in_place)
        self.emit("turns = 0")
        self.emit(f"while np.sum({name} * {name}) < 4.137 and turns < {self.rng.choice([4, 9])}:")

        def body() -> None:
            self.emit(f"{name} = {name} * 1.3 + 0.2 * np.cos({self.draw(shape, 1)})")
            if self.in_place and shape and self.rng.random() < 0.5:
                self._write(name)
            self.emit("turns += 1")

        self.block(body)

    def _breaking(self, depth: int) -> None:
        shape = self.shape()
        name = self.bind(f"{self.draw(shape, 1)} * 1.0", shape)
        self.emit(f"for i in range({self.rng.choice([4, 6])}):")

        def body() -> None:
            if self.rng.random() < 0.5:
                self.emit(f"if {self.expressions.condition((), 0)}:")
                self.emit(f"    {name} = {name} * 0.9 - 0.03 * i")
                self.emit("    continue")
            self.emit(f"{name} = np.sin({self.draw(shape, 1)}) + {name} * 1.2")
            unused_on_leaving = self.rng.random() < 0.5
            if unused_on_leaving:
                self.emit(f"if np.sum(np.sin({name})) > {self.expressions.constant()}:")
                self.emit(f"    part = np.exp(0.1 * np.cos({name}).sum()) * {self.draw(shape, 1)}")
                self.emit("else:")
                self.emit(f"    part = np.tanh({name}) * {name}")
            self.emit(f"if np.sum({name}) {self.rng.choice(['>', '<'])} {self.expressions.constant()}:")
            self.emit("    break")
            if unused_on_leaving:
                self.emit(f"{name} = 0.8 * {name} + 0.1 * part")

        self.block(body)

    def _closure(self, depth: int) -> None:
        name = f"closure{self.name()}"
        shape = self.shape()
        self.emit(f"def {name}(z, p={self.expressions.constant()}):")
        self.emit(f"    return np.tanh(z * {self.draw((), 1)}) + p * z")
        self.expressions.functions.append(name) if self.indent == 1 else None
        self.bind(f"{name}({self.draw(shape, 1)})", shape)

    def _lists(self, depth: int) -> None:
        shape = self.shape()
        items = f"items{self.name()}"
        self.emit(f"{items} = [{self.draw(shape, 1)}, {self.draw(shape, 1)}]")
        for _ in range(self.rng.randint(0, 2)):
            self.emit(f"{items}.append({items}[-1] * 0.5 + {self.draw(shape, 1)})")
        self.bind(
            self.rng.choice([
                "sum({})", "np.stack({}).sum(axis=0)", "{0}[0] * {0}[1]", "{}.pop() + 0.1",
                "np.mean(np.array({}), axis=0)", "sum([item * item for item in {}])", "np.max(np.stack({}), axis=0)",
            ]).format(items),
            shape,
        )  # fmt: skip

    # ------------------------------------------------------------------ in place

    def _target(self) -> str | None:
        arrays = [name for name in self.fresh if self.expressions.names.get(name)]
        return self.rng.choice(arrays) if arrays else None

    def _filled(self, depth: int) -> None:
        """Make an array from nothing and write what is differentiated into it."""
        self.expressions.foreign = True
        shape = self.rng.choice([(2,), (3,), (2, 3), (3, 2)])
        made = self.rng.choice(["np.zeros({})", "np.ones({})", "np.empty({})", "np.full({}, 0.7)"]).format(shape)
        name = self.name()
        self.emit(f"{name} = {made}")
        loop = self.rng.random() < 0.5 or "empty" in made
        if loop:
            self.emit(f"for j in range({shape[0]}):")
            self.emit(f"    {name}[j] = {self.draw(shape[1:], 1)} * (j + 1)")
        else:
            self.emit(f"{name}[{self.rng.randrange(shape[0])}] = {self.draw(shape[1:], 1)}")
        self.expressions.names[name] = shape
        self.fresh.append(name)

    def _written(self, depth: int) -> None:
        name = self._target()
        if name is None:
            shape = self.rng.choice([(2,), (3,), (2, 3)])
            name = self.bind(
                self.rng.choice(["{} + 0.0", "({}) * 1.0", "np.copy({})"]).format(self.draw(shape)), shape, True
            )
        for _ in range(self.rng.randint(1, 3)):
            self._write(name)

    def _write(self, name: str) -> None:
        """Write into an array."""
        self.expressions.foreign = True
        rng, shape = self.rng, self.expressions.names[name]
        sign = rng.choice(["=", "+=", "*=", "-="])
        size, rest = shape[0], shape[1:]
        row = rng.randrange(-size, size)
        part = rng.randint(0, size - 1)
        halved = (len(range(0, size, 2)), *rest)
        options = [
            f"{name}[{row}] {sign} {self.draw(rest, 1)}", f"{name} {rng.choice(['+=', '*='])} {self.draw(shape, 1)}",
            f"{name}[{part}:] {sign} {self.draw(rng.choice([(size - part, *rest), rest, ()]), 1)}",
            f"{name}[::2] {sign} {self.draw(rng.choice([halved, rest]), 1)}", f"{name}[:] = {self.draw(shape, 1)}",
            f"{name}[::-1] {sign} {self.draw(shape, 1)}",
            f"{name}[{name} > {self.expressions.constant()}] *= {self.draw((), 1)}",
            f"{name}[{self.draw(shape, 1)} > {self.expressions.constant()}] = {self.draw((), 1)}",
            f"{name}[{self._distinct(size, 1)}] {sign} {self.draw((1, *rest), 1)}",
        ]  # fmt: skip
        if rest:
            options += [f"{name}[:, {rng.randrange(shape[1])}] {sign} {self.draw((size,), 1)}"] * 2
            options += [f"{name}[{row}, {rng.randrange(shape[1])}] {sign} {self.draw((), 1)}"]
        self.emit(rng.choice(options))

    def _distinct(self, size: int, count: int) -> str:
        return str(self.rng.sample(range(size), count))

    def _view(self, depth: int) -> None:
        """Write through a view."""
        name = self._target()
        if name is None:
            return self._written(depth)
        self.expressions.foreign = True
        shape = self.expressions.names[name]
        view, own = self.rng.choice([
            (f"{name}[::-1]", shape), (f"{name}[0:]", shape), (f"{name}.T", shape[::-1]),
            (f"{name}[:1]", (1, *shape[1:])),
            (f"{name}[None]", (1, *shape)), (f"np.reshape({name}, {(*shape, 1)})", (*shape, 1)),
        ])  # fmt: skip
        if len(own) > 2:
            view, own = f"{name}[::-1]", shape
        made = self.bind(view, own)
        self._write(made)
        if self.rng.random() < 0.5:
            self._write(name)
        return None

    def _scattered(self, depth: int) -> None:
        self.expressions.foreign = True
        rng = self.rng
        name, shape = self._target(), (3,)
        if name is None:
            name = self.bind(f"np.zeros({rng.choice([3, 4])})", shape, True)
            self.expressions.names[name] = (int(self.lines[-1][-2]),)
        shape = self.expressions.names[name]
        count = rng.choice([1, 2, 3])
        where = self.expressions.positions(count, shape[0])
        ufunc = rng.choice(["add", "add", "subtract"])
        self.emit(f"np.{ufunc}.at({name}, {where}, {self.draw((count, *shape[1:]), 1)})")

    def _alias(self, depth: int) -> None:
        name = self._target()
        if name is None:
            return self._written(depth)
        other = self.bind(name, self.expressions.names[name])
        self._write(other)
        return None
