"""The rewrite rules.

Owns `RULES`, one row a rule, and the functions its conditions use. Invariant: an ``exact`` row gives the bits of
eager's left side for every operand of its dtypes, NaN payloads aside; an ``accurate`` row stays within the tolerance
that the replaced op declares, with the same special values; every other row is ``relaxed`` and needs ``exact=False``. A
row that is not exact says why in ``reason``. One test runs both sides of every row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from janusjit.ir.graph import Value
from janusjit.ops.indexing import IndexItem, Range
from janusjit.transform.patterns import Apply, Operation, Pattern, names_in, parse_rule

Exactness = Literal["exact", "accurate", "relaxed"]

FLOATS = ("f64", "f32")
SIGNED = ("i64", "i32", "i8")
UNSIGNED = ("u64", "u8")
INTEGERS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTEGERS
ALL = (*NUMBERS, "bool")
MANTISSA_BITS = {"f32": 24, "f64": 53}


@dataclass(frozen=True, eq=False)
class Rule:
    """A row: what it rewrites, how exactly, and for which dtypes of ``x``.

    Attributes
    ----------
    name : str
        Unique, for dumps and tests.
    text : str
        The rule, as `janusjit.transform.patterns` reads it.
    exactness : {"exact", "accurate", "relaxed"}
        What it keeps.
    dtypes : tuple of str
        Element types of the value ``x`` it applies to.
    reason : str
        Why it is not exact, and what bounds the difference.
    samples : tuple of mapping
        Values of its attributes and numbers, and shapes of its values, to test it with.
    drops_guard : bool
        The operation on the left may carry a guard: where the rule applies, it cannot fail.
    """

    name: str
    text: str
    exactness: Exactness
    dtypes: tuple[str, ...]
    reason: str = ""
    samples: tuple[Mapping[str, Any], ...] = ({},)
    drops_guard: bool = False
    left: Operation = field(init=False)
    right: Pattern = field(init=False)
    conditions: tuple[Apply, ...] = field(init=False)

    def __post_init__(self) -> None:
        left, right, conditions = parse_rule(self.text)
        unknown = {name for part in (right, *conditions) for name in names_in(part)} - set(names_in(left))
        if unknown or (not self.reason) != (self.exactness == "exact"):
            raise ValueError(f"rule {self.name!r}: {f'{unknown} is not bound' if unknown else 'a reason is due'}")
        for name, part in (("left", left), ("right", right), ("conditions", conditions)):
            object.__setattr__(self, name, part)


def _exact(name: str, text: str, dtypes: tuple[str, ...] = FLOATS, *samples: Mapping[str, Any], **more: Any) -> Rule:
    return Rule(name, text, "exact", dtypes, samples=samples or ({},), **more)


def _accurate(name: str, text: str, reason: str) -> Rule:
    return Rule(name, text, "accurate", FLOATS, reason)


def _relaxed(name: str, text: str, reason: str, *samples: Mapping[str, Any]) -> Rule:
    return Rule(name, text, "relaxed", FLOATS, reason, samples or ({},))


_SQUARE = {"a": (1, 0), "b": (1, 0), "x": (2, 3)}
_CUBE = {"a": (1, 2, 0), "b": (2, 1, 0), "x": (2, 3, 4)}
_CASTS = tuple(
    {"a": a, "b": b} for a in ("f64", "f32", "i64", "i32", "u64", "u8", "bool") for b in ("f64", "f32", "i64", "i32")
)
_DIVISORS = ({"C": 2.0}, {"C": -0.25}, {"C": 1024.0}, {"C": 2.0**-60})
_FACTORS = ({"C": 3.0, "D": 0.1}, {"C": -7.5, "D": 2.0})
_SQUARES = (
    "the product is the correctly rounded square, NumPy's own fast path; the C library's pow may be off by one unit"
)
_CUBES = (
    "two roundings: within 1.5 units in the last place of the cube, where the op promises 2; x*x overflows or "
    "underflows only where the cube does"
)
_ROUNDS_ONCE_MORE = "one rounding more or less; the difference is one unit in the last place or two"
_INVERSE_FUNCTIONS = (
    "eager's result carries the rounding of both functions, and is NaN or infinite where one of them is"
)

RULES: tuple[Rule, ...] = (
    # ---- identities of arithmetic
    _exact("multiply by one", "multiply(x, 1) -> x", ALL),
    _exact("divide by one", "divide(x, 1) -> x"),
    _exact("add minus zero", "add(x, -0.0) -> x"),  # not +0.0: -0.0 + 0.0 is 0.0
    _exact("add integer zero", "add(x, 0) -> x", (*INTEGERS, "bool")),
    _exact("subtract zero", "subtract(x, 0) -> x", NUMBERS),  # not -0.0: -0.0 - -0.0 is 0.0
    _exact("positive", "positive(x) -> x", NUMBERS),
    _exact("double negation", "negative(negative(x)) -> x", NUMBERS),
    _exact("absolute of absolute", "absolute(absolute(x)) -> absolute(x)", NUMBERS),
    _exact("absolute of negative", "absolute(negative(x)) -> absolute(x)", FLOATS + SIGNED),
    _exact("square of negative", "square(negative(x)) -> square(x)", NUMBERS),
    _exact("square of absolute", "square(absolute(x)) -> square(x)", NUMBERS),
    _exact("subtract negative", "subtract(x, negative(y)) -> add(x, y)", NUMBERS),
    _exact("add negative", "add(x, negative(y)) -> subtract(x, y)", NUMBERS),
    _exact("product of negatives", "multiply(negative(x), negative(y)) -> multiply(x, y)", NUMBERS),
    _exact("quotient of negatives", "divide(negative(x), negative(y)) -> divide(x, y)"),
    _exact("minimum of one", "minimum(x, x) -> x", ALL),
    _exact("maximum of one", "maximum(x, x) -> x", ALL),
    _exact(
        "divide by a power of two",
        "divide(x, C) -> multiply(x, inverse(C)) if is_power_of_two(C, x)",
        FLOATS,
        *_DIVISORS,
    ),
    # ---- powers (`scalar_power`: NumPy's loop for one exponent, which takes roots; `integer_power`: cannot fail here)
    _exact("power one", "power(x, 1) -> x"),
    _exact("scalar power one", "scalar_power(x, 1) -> x"),
    _exact("scalar power one half", "scalar_power(x, 0.5) -> sqrt(x)"),
    _exact("integer power one", "integer_power(x, 1) -> x", INTEGERS, drops_guard=True),
    _exact("integer power two", "integer_power(x, 2) -> multiply(x, x)", INTEGERS, drops_guard=True),
    _exact("integer power three", "integer_power(x, 3) -> multiply(multiply(x, x), x)", INTEGERS, drops_guard=True),
    _accurate("power two", "power(x, 2) -> multiply(x, x)", _SQUARES),
    _accurate("scalar power two", "scalar_power(x, 2) -> multiply(x, x)", _SQUARES),
    _accurate("power three", "power(x, 3) -> multiply(multiply(x, x), x)", _CUBES),
    _accurate("scalar power three", "scalar_power(x, 3) -> multiply(multiply(x, x), x)", _CUBES),
    # ---- logic and selection
    _exact("double logical not", "logical_not(logical_not(x)) -> x", ("bool",)),
    _exact("double invert", "invert(invert(x)) -> x", (*INTEGERS, "bool")),
    _exact("and with true", "logical_and(x, 1) -> x", ("bool",)),
    _exact("or with false", "logical_or(x, 0) -> x", ("bool",)),
    _exact("and of one", "logical_and(x, x) -> x", ("bool",)),
    _exact("or of one", "logical_or(x, x) -> x", ("bool",)),
    _exact("not equal", "logical_not(equal(x, y)) -> not_equal(x, y)", ALL),
    _exact("not unequal", "logical_not(not_equal(x, y)) -> equal(x, y)", ALL),
    _exact("not less", "logical_not(less(x, y)) -> greater_equal(x, y)", INTEGERS),  # floats: false for NaN
    _exact("not greater", "logical_not(greater(x, y)) -> less_equal(x, y)", INTEGERS),
    _exact("where of one", "where(c, x, x) -> x", ALL, {"c": "bool"}),
    _exact("where true", "where(1, x, y) -> x", ALL),
    _exact("where false", "where(0, y, x) -> x", ALL),
    _exact("where not", "where(logical_not(c), x, y) -> where(c, y, x) if is_bool(c)", ALL, {"c": "bool"}),
    # ---- types and shapes (a rule applies only where both sides have one type)
    _exact("cast to the same", "cast(x, dtype=a) -> x", ALL, *({"a": dtype} for dtype in ALL)),
    _exact("cast of cast", "cast(cast(x, dtype=a), dtype=b) -> cast(x, dtype=b) if passes(x, a, b)", ALL, *_CASTS),
    _exact("transpose to the same", "transpose(x, axes=a) -> x if is_identity(a)", ALL, {"a": (0, 1), "x": (2, 3)}),
    _exact(
        "transpose of transpose",
        "transpose(transpose(x, axes=a), axes=b) -> transpose(x, axes=compose(a, b))",
        ALL,
        _SQUARE,
        _CUBE,
    ),
    _exact("reshape to the same", "reshape(x, shape=a) -> x", ALL, {"a": (2, 3), "x": (2, 3)}),
    _exact(
        "reshape of reshape",
        "reshape(reshape(x, shape=a), shape=b) -> reshape(x, shape=b)",
        ALL,
        {"a": (6,), "b": (3, 2), "x": (2, 3)},
    ),
    _exact("broadcast to the same", "broadcast(x, shape=a) -> x", ALL, {"a": (2, 3), "x": (2, 3)}),
    _exact(
        "broadcast of broadcast",
        "broadcast(broadcast(x, shape=a), shape=b) -> broadcast(x, shape=b)",
        ALL,
        {"a": (2, 3), "b": (4, 2, 3), "x": (3,)},
    ),
    _exact(  # a cotangent that is one number all over
        "product with a broadcast",
        "multiply(broadcast(x, shape=a), y) -> multiply(x, y)",
        FLOATS,
        {"a": (2, 3), "x": (), "y": (2, 3)},
    ),
    _exact(
        "view of the whole",
        "view(x, index=a) -> x if is_whole(a)",
        ALL,
        {"a": (Range(0, 2, 1), Range(0, 3, 1)), "x": (2, 3)},
    ),
    # ---- relaxed: other results than eager's, by more than rounding or in special values
    _relaxed(
        "softplus",
        "log(add(1, exp(x))) -> softplus(x)",
        "stable: eager overflows to infinity (and warns) where exp(x) does, and loses exp(x) below the unit roundoff",
    ),
    _relaxed("softplus by log1p", "log1p(exp(x)) -> softplus(x)", "stable: eager overflows to infinity, and warns"),
    _relaxed("log of one plus", "log(add(1, x)) -> log1p(x)", "keeps what eager's 1 + x rounds away"),
    _relaxed("exp minus one", "subtract(exp(x), 1) -> expm1(x)", "keeps what eager's subtraction cancels"),
    _relaxed("exp of log", "exp(log(x)) -> x", _INVERSE_FUNCTIONS),
    _relaxed("log of exp", "log(exp(x)) -> x", _INVERSE_FUNCTIONS),
    _relaxed("root of square", "sqrt(square(x)) -> absolute(x)", "eager's square overflows and underflows"),
    _relaxed("root of product", "sqrt(multiply(x, x)) -> absolute(x)", "eager's product overflows and underflows"),
    _relaxed("square of root", "square(sqrt(x)) -> x", _INVERSE_FUNCTIONS),
    _relaxed(
        "product of exps", "multiply(exp(x), exp(y)) -> exp(add(x, y))", "eager overflows earlier, and rounds twice"
    ),
    _relaxed("power four", "scalar_power(x, 4) -> square(multiply(x, x))", _ROUNDS_ONCE_MORE),
    _relaxed("power minus one half", "scalar_power(x, -0.5) -> reciprocal(sqrt(x))", _ROUNDS_ONCE_MORE),
    _relaxed(
        "divide by a number",
        "divide(x, C) -> multiply(x, inverse(C)) if has_inverse(C, x)",
        _ROUNDS_ONCE_MORE,
        *_FACTORS,
    ),
    _relaxed("scale twice", "multiply(multiply(x, C), D) -> multiply(x, product(C, D))", _ROUNDS_ONCE_MORE, *_FACTORS),
)


def _is_identity(axes: tuple[int, ...]) -> bool:
    return axes == tuple(range(len(axes)))


def _compose(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(first[axis] for axis in second)


def _is_whole(index: tuple[IndexItem, ...]) -> bool:
    """Whether every item takes its dimension from the start, one by one: of equal shape, it takes all."""
    return all(isinstance(item, Range) and item.start == 0 and item.step == 1 for item in index)


def _is_power_of_two(number: float, x: Value) -> bool:
    """Whether ``number`` and its inverse are powers of two and normal, so that scaling by either rounds alike."""
    if not math.isfinite(number) or abs(math.frexp(number)[0]) != 0.5:
        return False
    return abs(math.log2(abs(number))) <= {"f32": 126, "f64": 1022}[x.type.dtype]


def _has_inverse(number: float, x: Value) -> bool:
    smallest = float(np.finfo(x.type.numpy_dtype).smallest_normal)
    return math.isfinite(number) and smallest <= abs(number) <= 1 / smallest


def _passes(x: Value, middle: str, target: str) -> bool:
    """Whether a cast to ``target`` gives the same with a cast to ``middle`` in between.

    It does if ``middle`` holds every value of ``x``, and ``target`` is then reached by the same conversion: to a float
    or bool, between integers (wrapping), or back.
    """
    source = x.type.dtype
    if not _holds(middle, source):
        return False
    integral = middle not in FLOATS and target not in FLOATS
    return integral or target in (*FLOATS, "bool", source)


def _holds(dtype: str, source: str) -> bool:
    if source == dtype or source == "bool":
        return True
    if dtype == "bool" or source in FLOATS:
        return source == "f32" and dtype == "f64"
    bits = int(source[1:])
    if dtype in FLOATS:
        return bits - (source[0] == "i") <= MANTISSA_BITS[dtype]
    return int(dtype[1:]) > bits and dtype[0] in ("i", source[0])


#: what rules may call, by name
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "compose": _compose,
    "is_identity": _is_identity,
    "is_whole": _is_whole,
    "is_bool": lambda x: x.type.dtype == "bool",
    "inverse": lambda number: 1 / number,
    "product": lambda first, second: first * second,
    "is_power_of_two": _is_power_of_two,
    "has_inverse": _has_inverse,
    "passes": _passes,
}
