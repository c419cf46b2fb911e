"""Gradients of elementwise ops.

Owns the partial derivatives, by op. Invariant: where an op has none, the convention is that of the package
``autograd``: `absolute` at 0 has derivative 0, `maximum` and its like share a tie in halves, `clip` is constant at its
bounds, ``x**0`` has derivative 0 everywhere, and ``0**y`` has derivative 0 in ``y``; `sqrt` at 0 has derivative inf. In
all other points the result is the derivative, of NaN and infinities what NumPy's arithmetic makes of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from janusjit.ops.gradient import Pointwise, Term, pointwise
from janusjit.ops.registry import ZERO, Gradient

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
LOG_2, LOG_10 = math.log(2), math.log(10)


def _same(g: Term, r: Term, x: Term, *others: Term) -> Term:
    return g


def _share(g: Term, x: Term, result: Term, other: Term) -> Term:
    """Return the cotangent of the operand ``x`` of an extremum: all, half at a tie, or nothing."""
    return x.equal(other).where(0.5 * g, x.equal(result).where(g, 0))


_EXTREMUM = pointwise(lambda g, r, a, b: _share(g, a, r, b), lambda g, r, a, b: _share(g, b, r, a))


def _clip_x(g: Term, r: Term, x: Term, low: Term, high: Term) -> Term:
    at_bound = g.emit("logical_or", r.equal(low), r.equal(high))
    return at_bound.where(0, g)


def _clip_low(g: Term, r: Term, x: Term, low: Term, high: Term) -> Term:
    return r.equal(high).where(0, r.equal(low).where(g, 0))


def _power_base(g: Term, r: Term, a: Term, b: Term) -> Term:
    node = b.value.node
    if node is not None and node.op == "constant":  # the usual x**2: one number less to compute with
        exponent: float = node.attributes["value"]
        if exponent == 0:
            return 0 * g
        if exponent == 1:
            return g
        return g * (exponent * (a if exponent == 2 else a.emit("power", a, exponent - 1)))
    zero = b.equal(0)
    return g * (b * a.emit("power", a, zero.where(1, b - 1)))


def _power_exponent(g: Term, r: Term, a: Term, b: Term) -> Term:
    return g * (a.emit("log", a.equal(0).where(1, a)) * r)


POWER = pointwise(_power_base, _power_exponent)
DIVIDE = pointwise(lambda g, r, a, b: g / b, lambda g, r, a, b: -(g / b * r))
REMAINDER = pointwise(_same, lambda g, r, a, b: -(g * g.emit("floor", a / b)))
FMOD = pointwise(_same, lambda g, r, a, b: -(g * g.emit("trunc", a / b)))


def _root(x: Term) -> Term:
    return x.emit("sqrt", x)


def _op(name: str) -> Callable[[Term], Term]:
    return lambda x: x.emit(name, x)


_sin, _cos, _sinh, _cosh, _sigmoid, _exp = map(_op, ("sin", "cos", "sinh", "cosh", "sigmoid", "exp"))

#: functions of one float
FUNCTIONS: dict[str, Pointwise] = {
    "exp": pointwise(lambda g, r, x: g * r),
    "expm1": pointwise(lambda g, r, x: g * (r + 1)),
    "exp2": pointwise(lambda g, r, x: g * (r * LOG_2)),
    "log": pointwise(lambda g, r, x: g / x),
    "log1p": pointwise(lambda g, r, x: g / (x + 1)),
    "log2": pointwise(lambda g, r, x: g / (x * LOG_2)),
    "log10": pointwise(lambda g, r, x: g / (x * LOG_10)),
    "sqrt": pointwise(lambda g, r, x: 0.5 * g / r),
    "cbrt": pointwise(lambda g, r, x: g / (3 * r.square())),
    "sin": pointwise(lambda g, r, x: g * _cos(x)),
    "cos": pointwise(lambda g, r, x: -(g * _sin(x))),
    "tan": pointwise(lambda g, r, x: g * (1 + r.square())),
    "arcsin": pointwise(lambda g, r, x: g / _root(1 - x.square())),
    "arccos": pointwise(lambda g, r, x: -(g / _root(1 - x.square()))),
    "arctan": pointwise(lambda g, r, x: g / (1 + x.square())),
    "sinh": pointwise(lambda g, r, x: g * _cosh(x)),
    "cosh": pointwise(lambda g, r, x: g * _sinh(x)),
    "tanh": pointwise(lambda g, r, x: g * (1 - r.square())),
    "erf": pointwise(lambda g, r, x: g * (TWO_OVER_ROOT_PI * _exp(-x.square()))),
    "arcsinh": pointwise(lambda g, r, x: g / _root(x.square() + 1)),
    "arccosh": pointwise(lambda g, r, x: g / _root(x.square() - 1)),
    "arctanh": pointwise(lambda g, r, x: g / (1 - x.square())),
    "deg2rad": pointwise(lambda g, r, x: g.emit("deg2rad", g)),
    "rad2deg": pointwise(lambda g, r, x: g.emit("rad2deg", g)),
    "sigmoid": pointwise(lambda g, r, x: g * (r * (1 - r))),
    "softplus": pointwise(lambda g, r, x: g * _sigmoid(x)),
}

#: functions of two floats
FUNCTIONS_OF_TWO: dict[str, Pointwise] = {
    "arctan2": pointwise(
        lambda g, r, a, b: g * (b / (a.square() + b.square())),
        lambda g, r, a, b: -(g * (a / (a.square() + b.square()))),
    ),
    "hypot": pointwise(lambda g, r, a, b: g * (a / r), lambda g, r, a, b: g * (b / r)),
    "logaddexp": pointwise(lambda g, r, a, b: g * _exp(a - r), lambda g, r, a, b: g * _exp(b - r)),
    "power": POWER,
    "scalar_power": POWER,
    "fmod": FMOD,
}

ARITHMETIC: dict[str, Gradient] = {
    "add": pointwise(_same, lambda g, r, a, b: g),
    "subtract": pointwise(_same, lambda g, r, a, b: -g),
    "multiply": pointwise(lambda g, r, a, b: g * b, lambda g, r, a, b: g * a),
    "divide": DIVIDE,
    "negative": pointwise(lambda g, r, x: -g),
    "positive": pointwise(_same),
    "square": pointwise(lambda g, r, x: g * (2 * x)),
    "absolute": pointwise(lambda g, r, x: g * g.emit("sign", x)),
    "reciprocal": pointwise(lambda g, r, x: -(g * r.square())),
    "remainder": REMAINDER,
    "maximum": _EXTREMUM,
    "minimum": _EXTREMUM,
    "fmax": _EXTREMUM,
    "fmin": _EXTREMUM,
    "clip": pointwise(_clip_x, _clip_low, lambda g, r, x, low, high: r.equal(high).where(g, 0)),
    "copysign": pointwise(lambda g, r, a, b: g * (g.emit("sign", a) * g.emit("copysign", g.constant(1), b)), None),
    "heaviside": pointwise(None, lambda g, r, x, at_zero: x.equal(0).where(g, 0)),
    **dict.fromkeys(("floor_divide", "sign", "floor", "ceil", "trunc", "rint"), ZERO),
}

COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGIC = ("logical_and", "logical_or", "logical_xor", "logical_not", "isnan", "isinf", "isfinite", "signbit")
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift", "integer_power")

SELECTION: dict[str, Gradient] = {
    "where": pointwise(
        None, lambda g, r, condition, a, b: condition.where(g, 0), lambda g, r, condition, a, b: condition.where(0, g)
    ),
    "cast": pointwise(_same),
}

#: the gradients of the ops that `ufunc_op` and its like declare, by name
ELEMENTWISE: dict[str, Gradient] = {
    **ARITHMETIC,
    **FUNCTIONS,
    **FUNCTIONS_OF_TWO,
    **SELECTION,
    **dict.fromkeys((*COMPARISONS, *LOGIC, *BITS), ZERO),
}

#: Python's numbers: floats as the ufuncs, integers have no derivative
NUMBERS: dict[str, Gradient] = {
    "float_divide": DIVIDE,
    "python_remainder": REMAINDER,
    "python_power": POWER,
    **dict.fromkeys(("python_floor_divide", "float_to_int", "exact_int_to_float", "int_to_float"), ZERO),
    **{
        f"checked_{name}": ZERO
        for name in (
            *("power", "add", "subtract", "multiply", "negative", "absolute", "floor_divide", "remainder"),
            *("left_shift", "right_shift", "int_divide"),
        )
    },
}
