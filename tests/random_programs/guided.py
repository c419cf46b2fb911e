"""Random programs that are guided by values: each statement is run while the program is drawn.

Owns `Guided`, the expressions. Invariant: a statement is kept if it runs on the values at hand (or, now and then,
though it does not), so operands fit each other in shape, kind and place in containers without a grammar of types; every
loop is bounded by its text. Marks are those of `tests.random_programs.expressions`.
"""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.random_programs.environment import CallInputs, State, make_arguments
from tests.random_programs.expressions import CLOSE, OPEN, UNMARKED, ZERO_CLOSE, ZERO_OPEN

HEADER = '''\
import time


class Pair:
    __slots__ = ("left", "right")

    def __init__(self, left, right):
        self.left = left
        self.right = right

    @property
    def both(self):
        return self.left + self.right


class Log:
    def __init__(self, seen):
        self.seen = seen

    def __enter__(self):
        self.seen.append("in")

    def __exit__(self, *raised):
        self.seen.append(raised[0].__name__ if raised[0] else "out")
        return raised[0] is KeyError


def helper(v, s=2, *, key=None):
    return v * s if key is None else v + key


def other_helper(v, s=2, *, key=None):
    return v + s


def items_of(a, n):
    for i in range(n):
        yield a[i % len(a)] * i


'''

#: what programs begin with: the state has some items
PROLOGUE = """\
if len(state.items) < 2:
    state.items = [1.0, 2]
for name in "an":
    state.table.setdefault(name, x * 2 if name == "a" else 2)
"""
PARAMETERS = ["x", "y", "m", "k", "r", "state"]
DTYPES = ["np.float32", "np.float64", "np.int64", "bool", "np.int8", "np.uint8", "int", "float"]
#: attempts at an operand or statement before the place goes without, and how often one that fails is kept
ATTEMPTS, KEPT_FAILURES = 12, 0.02
LARGEST = 400
_OPEN, _CLOSE = ZERO_OPEN + OPEN, CLOSE + ZERO_CLOSE


class NothingFits(Exception):
    """No value at hand fits a place."""


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)


def is_small(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size <= LARGEST and value.dtype.kind in "biuf"
    return not isinstance(value, int) or abs(value) < 2**60


class Guided:
    """Draws one program from ``rng``, running it on the way."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.number = 0
        self.values: dict[str, Any] = {"np": np, "GAIN": 1.5}
        exec(HEADER, self.values)
        state = State()
        state.array = np.arange(4.0)
        self.values.update(zip(PARAMETERS, (*make_arguments(CallInputs()), state), strict=True))
        self.names = list(PARAMETERS)
        exec(PROLOGUE, self.values)

    # ------------------------------------------------------------------ values at hand

    def choose(self, *options: Any) -> Any:
        return options[self.rng.randrange(len(options))]

    def happens(self, probability: float) -> bool:
        return self.rng.random() < probability

    def fresh(self, prefix: str = "t") -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield

    def value(self, source: str) -> Any:
        with self.quietly():
            return eval(source.translate(UNMARKED), self.values)

    def places(self) -> list[tuple[str, Any]]:
        """Return what can be read by a name, with items and attributes, and what it is."""
        found = [(name, self.values[name]) for name in self.names if name in self.values]
        for source, value in list(found):
            if isinstance(value, State):
                parts = [(f"{source}.{name}", part) for name, part in vars(value).items()]
                found += parts + [place for part in parts for place in self._items(*part)]
            elif type(value).__name__ == "Pair":
                found += [(f"{source}.{name}", getattr(value, name)) for name in ("left", "right")]
            found += self._items(source, value)
        return found

    @staticmethod
    def _items(source: str, value: Any) -> list[tuple[str, Any]]:
        if isinstance(value, list | tuple):
            return [(f"{source}[{at}]", item) for at, item in enumerate(value[:3])]
        if isinstance(value, dict):
            return [(f"{source}[{key!r}]", item) for key, item in list(value.items())[:3]]
        return []

    def place(self, fits: Callable[[Any], bool]) -> str:
        found = [source for source, value in self.places() if fits(value)]
        if not found:
            raise NothingFits
        return self.choose(*found)

    def attempt(self, draw: Callable[[], str]) -> str:
        """Draw an expression that has a value of moderate size."""
        for _ in range(ATTEMPTS):
            try:
                source = draw()
                if is_small(self.value(source)):
                    return source
            except NothingFits:
                continue
            except Exception:  # noqa: BLE001 - what an expression raises is what the program raises
                if self.happens(KEPT_FAILURES / 4):
                    return source
        raise NothingFits

    # ------------------------------------------------------------------ expressions

    def number_(self, depth: int) -> str:
        if depth <= 0:
            constants = ["2", "0.5", "-1.0", "0", "3", "np.float32(0.5)", "np.int8(3)", "True", "GAIN", "len(x)"]
            return self.place(is_number) if self.happens(0.6) else self.choose(*constants)
        return self.attempt(lambda: self.choose(*self.number_rules)(depth - 1))

    @property
    def number_rules(self) -> list[Callable[[int], str]]:
        number, array = self.number_, self.array
        return [
            lambda d: f"({number(d)} {self.choose(*'+-*/')} {number(d)})",
            lambda d: f"({number(d)} {self.choose('//', '%')} {number(d)})",
            lambda d: f"{_OPEN}{array(d)}.{self.choose('sum', 'mean', 'prod', 'max', 'min')}(){_CLOSE}",
            lambda d: f"{self.choose('float', 'int', 'bool', 'abs', 'np.float32', 'np.int8', 'np.sign')}({number(d)})",
            lambda d: self.element(array(d)),
            lambda d: f"({number(d)} if {self.condition(d)} else {number(d)})",
            lambda d: f"{self.choose('max', 'min', 'np.maximum', 'np.hypot', 'helper')}({number(d)}, {number(d)})",
            lambda d: f"{_OPEN}sum({self.generator()}){_CLOSE}",
            lambda d: f"({self.choose('np.argmax', 'np.count_nonzero', 'np.size')}({array(d)}))",
            lambda d: f"({self.fresh('z')} := {number(d)})",
            lambda d: f"(lambda u, v={number(0)}: u * v)({number(d)})",
        ]

    def element(self, source: str) -> str:
        rank = np.ndim(self.value(source))
        return f"{source}[{', '.join(self.choose('0', '-1', 'k', 'k - 1', '1') for _ in range(rank)) or '()'}]"

    def generator(self) -> str:
        items = self.choose("x", "range(k)", "reversed(x)", "items_of(x, 3)", "x.tolist()", "state.items")
        item = self.fresh("q")
        body = self.choose("{0}", "{0} * 2", "abs({0})", "x[0] + {0}").format(item)
        return f"({body} for {item} in {items}{self.choose('', f' if {item} > 0', f' if {item} != 1')})"

    def condition(self, depth: int) -> str:
        return self.choose(
            lambda: f"{self.number_(depth - 1)} {self.choose('<', '>', '<=', '==', '!=')} {self.number_(depth - 1)}",
            lambda: f"({self.array(depth - 1)} > {self.number_(0)}).{self.choose('any', 'all')}()",
            lambda: f"isinstance({self.place(lambda value: True)}, {self.choose('float', 'np.ndarray', 'list')})",
            lambda: f"{self.place(is_array)} is {self.choose('x', 'None', 'state.array')}",
            lambda: f"{self.number_(0)} in {self.choose('state.items', '(1, 2.0)', 'range(3)')}",
            lambda: "state.flag",
        )()

    def array(self, depth: int) -> str:
        if depth <= 0:
            return self.place(is_array)
        return self.attempt(lambda: self.choose(*self.array_rules)(depth - 1))

    def fitting(self, source: str, depth: int) -> str:
        """Draw an operand that can be broadcast together with an array."""
        shape = np.shape(self.value(source))
        for _ in range(ATTEMPTS):
            other = self.choose(self.array, self.number_)(depth)
            with contextlib.suppress(ValueError):
                np.broadcast_shapes(shape, np.shape(self.value(other)))
                return other
        return self.number_(0)

    def index(self, source: str) -> str:
        rank = np.ndim(self.value(source))
        slices = [":", "1:", ":-1", "::2", "::-1", "k:", ":k", "1:-1", "-2:"]
        parts = [self.choose(*slices, "0", "-1", "k", "None", "[0, 1]", "[0, -1, 0]") for _ in range(max(rank, 1))]
        return self.choose(", ".join(parts), parts[0], "...", f"..., {parts[0]}", f"{source} > {self.number_(0)}")

    @property
    def array_rules(self) -> list[Callable[[int], str]]:
        array = self.array
        pairs = ["maximum", "subtract", "floor_divide", "copysign", "logical_and", "hypot", "equal", "multiply"]
        moves = ["T", "reshape(-1)", "copy()", "ravel()", "squeeze()", "reshape(-1, 1)", "swapaxes(0, -1)"]
        shapes = ["np.flip", "np.sort", "np.cumsum", "np.atleast_2d", "np.zeros_like", "np.diff", "np.unique"]
        return [
            lambda d: self.pair(array(d), f"{{}} {self.choose(*'+-*/', '//', '%', '>', '==')} {{}}", d),
            lambda d: self.pair(array(d), f"np.{self.choose(*pairs)}({{}}, {{}})", d),
            lambda d: self.pair(array(d), f"np.where({{0}} > {self.number_(0)}, {{0}}, {{1}})", d),
            lambda d: f"np.{self.choose('abs', 'negative', 'square', 'floor', 'isfinite', 'rint')}({array(d)})",
            lambda d: f"{OPEN}np.{self.choose('exp', 'tanh', 'sin', 'sqrt', 'log1p')}({array(d)}){CLOSE}",
            lambda d: f"{array(d)}.astype({self.choose(*DTYPES)})",
            lambda d: (lambda source: f"{source}[{self.index(source)}]")(array(d)),
            lambda d: f"{_OPEN}{array(d)}.{self.choose('sum', 'mean', 'max')}({self.choose('0', '-1', '()')}){_CLOSE}",
            lambda d: f"{array(d)}.{self.choose(*moves)}",
            lambda d: f"{OPEN}{self.choose(*shapes)}({array(d)}){CLOSE}",
            lambda d: f"{_OPEN}np.{self.choose('dot', 'outer', 'matmul')}({array(d)}, {array(d)}){_CLOSE}",
            lambda d: (lambda one: f"np.{self.choose('concatenate', 'stack')}([{one}, {self.alike(one)}])")(array(d)),
            lambda d: f"np.{self.choose('roll', 'repeat', 'tile')}({array(d)}, {self.choose('1', '2', 'k')})",
            lambda d: f"np.full({self.choose('len(x)', 'x.shape', '(2, 3)')}, {self.number_(d)})",
            lambda d: f"np.array([{self.number_(d)}, {self.number_(0)}])",
            lambda d: f"np.array([{self.generator()[1:-1]}])",
            lambda d: f"helper({array(d)}, {self.number_(d)})",
        ]

    def pair(self, first: str, form: str, depth: int) -> str:
        return f"({form.format(first, self.fitting(first, depth))})"

    def alike(self, source: str) -> str:
        shape = np.shape(self.value(source))
        return self.place(lambda value: is_array(value) and value.shape == shape)
