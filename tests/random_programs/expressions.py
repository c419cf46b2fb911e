"""Random expressions of a small typed grammar, as source text.

Owns `Expressions`. Invariant: an expression whose value may be rounded otherwise by another order of summation, or by
another implementation of a transcendental function, stands between the marks ``⟦`` and ``⟧``; one that may be either
zero (the greatest of 0.0 and -0.0 depends on the order too, and so does what a BLAS starts its sums from) between ``⟨``
and ``⟩``; all others follow exactly from their operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

OPEN, CLOSE = "⟦", "⟧"
ZERO_OPEN, ZERO_CLOSE = "⟨", "⟩"

#: What the marks become in a plain program.
UNMARKED = str.maketrans(dict.fromkeys((OPEN, CLOSE, ZERO_OPEN, ZERO_CLOSE), ""))

Draw = Callable[[st.SearchStrategy[Any]], Any]
Rule = Callable[[int], str]


class Expressions:
    """Draws expressions over the names in scope: vectors of one length, a square matrix, numbers, integers, a state."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.vectors = ["x", "y"]
        self.numbers = ["r"]
        self.integers = ["k"]

    def choose(self, options: Sequence[Any]) -> Any:
        """Draw one of ``options``; earlier ones are simpler, which is where shrinking goes."""
        return options[self._draw(st.integers(0, len(options) - 1))]

    def vector(self, depth: int) -> str:
        """Draw a one-dimensional array."""
        if depth <= 0:
            return self.choose([*self.vectors, *self.vectors, "m[0]", "m[:, -1]", "state.array"])
        return self.choose(self._vector_rules)(depth - 1)

    def number(self, depth: int) -> str:
        """Draw a Python or NumPy number."""
        if depth <= 0:
            return self.choose([*self.numbers, "2.0", "0.5", "-1.0", "GAIN", "state.scale", *self.integers])
        return self.choose(self._number_rules)(depth - 1)

    def integer(self, depth: int) -> str:
        """Draw an integer."""
        if depth <= 0:
            return self.choose([*self.integers, "1", "2", "len(x)", "state.count", "-1"])
        return self.choose(self._integer_rules)(depth - 1)

    def condition(self, depth: int) -> str:
        """Draw something with a truth value."""
        if depth <= 0:
            return self.choose(["state.flag", "k > 1", "x is y", "r > 0", "k % 2 == 0", "isinstance(r, float)"])
        return self.choose(self._condition_rules)(depth - 1)

    def index(self) -> str:
        """Draw a position, most often inside the array."""
        return self.choose(["0", "-1", "k", "1", "k - 1", "x.argmax()", "len(x) // 2", "-k"])

    def slice(self) -> str:
        """Draw a basic index."""
        return self.choose([":", "1:", ":-1", "::2", "::-1", "k:", ":k", "1:-1", "...", "-2:"])

    @property
    def _vector_rules(self) -> list[Rule]:
        vector, number = self.vector, self.number
        arithmetic = ["+", "-", "*", "*", "/"]
        return [
            lambda d: vector(0),
            lambda d: f"({vector(d)} {self.choose(arithmetic)} {vector(d)})",
            lambda d: f"({vector(d)} {self.choose(arithmetic)} {number(d)})",
            lambda d: f"({number(d)} {self.choose(['-', '*', '+'])} {vector(d)})",
            lambda d: f"({vector(d)} {self.choose(['//', '%', '**'])} {self.choose(['2', '3', '2.0', 'k'])})",
            lambda d: f"np.{self.choose(['abs', 'negative', 'square', 'sign', 'floor'])}({vector(d)})",
            lambda d: f"{OPEN}np.{self.choose(['tanh', 'exp', 'sin', 'log1p'])}({vector(d)}){CLOSE}",
            lambda d: f"np.sqrt(np.abs({vector(d)}))",
            lambda d: f"np.{self.choose(['maximum', 'minimum'])}({vector(d)}, {self.choose([vector, number])(d)})",
            lambda d: f"np.where({vector(d)} > {number(d)}, {vector(d)}, {self.choose([vector, number])(d)})",
            lambda d: f"({vector(d)} {self.choose(['>', '<=', '==', '!='])} {number(d)})",
            lambda d: f"{vector(d)}.astype({self.choose(['np.float32', 'np.float64', 'np.int64', 'bool', 'np.int8'])})",
            lambda d: f"{vector(d)}[::-1]",
            lambda d: f"{vector(d)}.copy()",
            lambda d: f"-{vector(d)}",
            lambda d: f"{OPEN}m.sum(axis={self.choose(['0', '1'])}){CLOSE}",
            lambda d: f"{ZERO_OPEN}{OPEN}(m @ {vector(d)}){CLOSE}{ZERO_CLOSE}",
            lambda d: f"{ZERO_OPEN}{OPEN}np.dot({vector(d)}, m){CLOSE}{ZERO_CLOSE}",
            lambda d: f"{OPEN}np.cumsum({vector(d)}){CLOSE}",
            lambda d: f"np.concatenate([{vector(d)}[1:], {vector(d)}[:1]])",
            lambda d: f"np.roll({vector(d)}, {self.integer(0)})",
            lambda d: f"np.clip({vector(d)}, -2, {number(0)})",
            lambda d: f"{ZERO_OPEN}(m + {vector(d)}).max(axis=0){ZERO_CLOSE}",
            lambda d: f"(m * {vector(d)}[:, None])[{self.index()}]",
            lambda d: f"np.{self.choose(['zeros_like', 'ones_like'])}({vector(d)})",
            lambda d: f"np.full(len(x), {number(d)})",
            lambda d: f"(np.arange(len(x)) * {number(d)})",
            lambda d: f"{vector(d)}[np.argsort(x)]",
            lambda d: f"helper({vector(d)}, {number(d)})",
        ]

    @property
    def _number_rules(self) -> list[Rule]:
        vector, number = self.vector, self.number
        return [
            lambda d: number(0),
            lambda d: f"({number(d)} {self.choose(['+', '-', '*', '/'])} {number(d)})",
            lambda d: f"({number(d)} {self.choose(['//', '%', '**'])} {self.choose(['2', '3', 'k'])})",
            lambda d: f"{OPEN}{vector(d)}.{self.choose(['sum', 'mean', 'std'])}(){CLOSE}",
            lambda d: f"{ZERO_OPEN}np.{self.choose(['max', 'min'])}({vector(d)}){ZERO_CLOSE}",
            lambda d: f"{vector(d)}[{self.index()}]",
            lambda d: f"m[{self.index()}, {self.index()}]",
            lambda d: f"float({vector(d)}[{self.index()}])",
            lambda d: f"{ZERO_OPEN}{OPEN}({vector(d)} @ {vector(d)}){CLOSE}{ZERO_CLOSE}",
            lambda d: f"{OPEN}np.linalg.norm({vector(d)}){CLOSE}",
            lambda d: f"abs({number(d)})",
            lambda d: f"-{number(d)}",
            lambda d: f"{self.choose(['max', 'min'])}({number(d)}, {number(d)})",
            lambda d: f"({number(d)} if {self.condition(d)} else {number(d)})",
            lambda d: f"np.float32({number(d)})",
            lambda d: f"np.sqrt(np.abs({number(d)}))",
            self.integer,
        ]

    @property
    def _integer_rules(self) -> list[Rule]:
        integer = self.integer
        return [
            lambda d: integer(0),
            lambda d: f"({integer(d)} {self.choose(['+', '-', '*'])} {integer(d)})",
            lambda d: f"({integer(d)} {self.choose(['//', '%'])} {self.choose(['2', '3', 'k'])})",
            lambda d: f"int({self.vector(d)}.{self.choose(['argmax', 'argmin'])}())",
            lambda d: f"int(np.count_nonzero({self.vector(d)} > {self.number(0)}))",
            lambda d: f"{self.vector(d)}.size",
            lambda d: "m.shape[1]",
            lambda d: "len(state.items)",
        ]

    @property
    def _condition_rules(self) -> list[Rule]:
        condition, number = self.condition, self.number
        return [
            lambda d: condition(0),
            lambda d: f"{number(d)} {self.choose(['<', '>', '<=', '==', '!='])} {number(d)}",
            lambda d: f"{self.integer(d)} {self.choose(['<', '==', '>='])} {self.integer(d)}",
            lambda d: f"({self.vector(d)} > {number(0)}).{self.choose(['any', 'all'])}()",
            lambda d: f"({condition(d)} and {condition(d)})",
            lambda d: f"({condition(d)} or {condition(d)})",
            lambda d: f"not {condition(d)}",
            lambda d: f"x.dtype == {self.choose(['np.float64', 'np.float32'])}",
            lambda d: "'last' in state.table",
        ]
