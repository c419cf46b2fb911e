"""Elementwise arithmetic, extrema and rounding.

Owns one declaration an op, whose scalar rule is NumPy's inner loop as a branch-free expression. Invariant: for every
dtype the op's loops have, the rule gives eager's bits on every operand (transcendental functions: within ``ulp``),
NaN, signed zeros and division by zero included. Exceptions: which zero ``fmax`` and ``fmin`` return for two zeros of
different signs (NumPy's own answer depends on the element's position), and ``reciprocal`` of integer 0 (undefined in C,
and so in NumPy).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy._core import umath

from janusjit.ir.types import TensorType
from janusjit.ops.emitter import Scalar, ScalarEmitter
from janusjit.ops.gradients_elementwise import ELEMENTWISE
from janusjit.ops.registry import Attributes, Elementwise, Gradient, Op, declare, gradient_in
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, ufunc_rule

E = ScalarEmitter


def like(e: E, x: Scalar, value: float) -> Scalar:
    """Return a constant of the dtype of ``x``."""
    return e.constant(value, e.dtype(x))


def is_float(e: E, x: Scalar) -> bool:
    """Whether ``x`` is a float."""
    return e.dtype(x) in ("f32", "f64")


def is_signed(e: E, x: Scalar) -> bool:
    """Whether ``x`` is a signed integer."""
    return e.dtype(x).startswith("i")


def truth(e: E, x: Scalar) -> Scalar:
    """Return ``x != 0`` as a bool; NaN is true."""
    return x if e.dtype(x) == "bool" else e.ne(x, like(e, x, 0))


def ufunc_samples(ufunc: np.ufunc, dtypes: tuple[str, ...], low: float, high: float) -> tuple[Sample, ...]:
    """Return samples of a ufunc of one or two inputs: full, empty and 0-d, broadcasting, with values in a range."""
    shapes = (
        [((2, 3),), ((0,),), ((),)] if ufunc.nin == 1 else [((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 1), (4,)), ((), ())]
    )
    return tuple(Sample(tuple(Draw(s, dtype, low, high) for s in shape)) for dtype in dtypes for shape in shapes)


def ufunc_op(
    ufunc: np.ufunc,
    scalar: Callable[..., Scalar],
    *,
    family: str = "elementwise",
    ulp: int = 0,
    commutative: bool = False,
    domain: tuple[float, float] = (-3.0, 3.0),
    dtypes: tuple[str, ...] = ("f64", "f32"),
    gradient: Gradient | None = None,
) -> Op:
    """Declare the op that is a NumPy ufunc: eager function and type rule are the ufunc's.

    The gradient is the one of that name in the table of its family, unless it is given.
    """
    return declare(
        Op(
            name=ufunc.__name__,
            family=family,
            eager=ufunc,
            infer=ufunc_rule(ufunc),
            lowering=Elementwise(scalar),
            ulp=ulp,
            commutative=commutative,
            gradient=gradient or gradient_in(ELEMENTWISE, ufunc.__name__),
            numpy=(ufunc,),
            samples=ufunc_samples(ufunc, dtypes, *domain),
        )
    )


def by_kind(boolean: str, number: str) -> Callable[..., Scalar]:
    """Return the rule that is one emitter method for bools, another for numbers."""

    def scalar(e: E, *xs: Scalar) -> Scalar:
        return getattr(e, boolean if e.dtype(xs[0]) == "bool" else number)(*xs)

    return scalar


NUMERIC = ("f64", "f32", "i64", "u8")
INTEGERS = ("i64", "i8", "u64", "u8")
ALL = ("bool", *NUMERIC)

# ---- arithmetic

ufunc_op(np.add, by_kind("logical_or", "add"), commutative=True, dtypes=ALL)
ufunc_op(np.subtract, lambda e, a, b: e.sub(a, b), dtypes=NUMERIC)
ufunc_op(np.multiply, by_kind("logical_and", "mul"), commutative=True, dtypes=ALL)
ufunc_op(np.divide, lambda e, a, b: e.div(a, b))
ufunc_op(np.negative, lambda e, x: e.neg(x), dtypes=NUMERIC)
ufunc_op(np.positive, lambda e, x: x, dtypes=NUMERIC)
ufunc_op(np.square, lambda e, x: e.mul(x, x), dtypes=NUMERIC)
ufunc_op(np.sqrt, lambda e, x: e.sqrt(x), domain=(0.1, 3))


def floor_division(e: E, a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """Return quotient and remainder of floats: ``npy_divmod``, which is Python's ``float.__divmod__``."""
    zero, one = like(e, a, 0), like(e, a, 1)
    exact = e.call("fmod", a, b)
    ratio = e.div(e.sub(a, exact), b)
    has_rest = e.ne(exact, zero)
    wrong_side = e.logical_and(has_rest, e.logical_xor(e.lt(b, zero), e.lt(exact, zero)))
    rest = e.select(has_rest, e.select(wrong_side, e.add(exact, b), exact), e.copysign(zero, b))
    ratio = e.select(wrong_side, e.sub(ratio, one), ratio)
    down = e.floor(ratio)
    snapped = e.select(e.gt(e.sub(ratio, down), like(e, a, 0.5)), e.add(down, one), down)
    quotient = e.select(e.ne(ratio, zero), snapped, e.copysign(zero, e.div(a, b)))
    by_zero = e.eq(b, zero)
    return e.select(by_zero, e.div(a, b), quotient), e.select(by_zero, exact, rest)


def _floor_divide(e: E, a: Scalar, b: Scalar) -> Scalar:
    return floor_division(e, a, b)[0] if is_float(e, a) else e.int_floor_div(a, b)


def _remainder(e: E, a: Scalar, b: Scalar) -> Scalar:
    return floor_division(e, a, b)[1] if is_float(e, a) else e.int_remainder(a, b)


def _fmod(e: E, a: Scalar, b: Scalar) -> Scalar:
    if is_float(e, a):
        return e.call("fmod", a, b)
    rest = e.int_remainder(a, b)
    if not is_signed(e, a):
        return rest
    zero = like(e, a, 0)
    # the remainder has the divisor's sign, fmod the dividend's
    differs = e.logical_and(e.ne(rest, zero), e.logical_xor(e.lt(a, zero), e.lt(b, zero)))
    return e.select(differs, e.sub(rest, b), rest)


def _absolute(e: E, x: Scalar) -> Scalar:
    if is_float(e, x):
        return e.abs(x)
    return e.select(e.lt(x, like(e, x, 0)), e.neg(x), x) if is_signed(e, x) else x


def _sign(e: E, x: Scalar) -> Scalar:
    zero, one = like(e, x, 0), like(e, x, 1)
    negative = e.select(e.lt(x, zero), e.neg(one), zero) if is_signed(e, x) or is_float(e, x) else zero
    result = e.select(e.gt(x, zero), one, negative)
    return e.select(e.isnan(x), x, result) if is_float(e, x) else result


def _reciprocal(e: E, x: Scalar) -> Scalar:
    if is_float(e, x):
        return e.div(like(e, x, 1), x)
    return e.cast(e.div(e.constant(1, "f64"), e.cast(x, "f64")), e.dtype(x))


ufunc_op(np.floor_divide, _floor_divide, dtypes=NUMERIC)
ufunc_op(np.remainder, _remainder, dtypes=NUMERIC)
ufunc_op(np.fmod, _fmod, dtypes=NUMERIC)
ufunc_op(np.absolute, _absolute, dtypes=ALL)
ufunc_op(np.sign, _sign, dtypes=NUMERIC)
ufunc_op(np.reciprocal, _reciprocal, domain=(1, 3), dtypes=NUMERIC)

# ---- extrema


def _extremum(boolean: str, better: str) -> Callable[..., Scalar]:
    """Return maximum or minimum: the first operand if it is better or NaN, else the second (zeros are equal)."""

    def scalar(e: E, a: Scalar, b: Scalar) -> Scalar:
        if e.dtype(a) == "bool":
            return getattr(e, boolean)(a, b)
        first = getattr(e, better)(a, b)
        return e.select(e.logical_or(first, e.isnan(a)) if is_float(e, a) else first, a, b)

    return scalar


def _number_extremum(boolean: str, better: str) -> Callable[..., Scalar]:
    """Return fmax or fmin: the first operand if it is better, equal, or the second is NaN, else the second."""

    def scalar(e: E, a: Scalar, b: Scalar) -> Scalar:
        if e.dtype(a) == "bool":
            return getattr(e, boolean)(a, b)
        first = getattr(e, better)(a, b)
        return e.select(e.logical_or(first, e.isnan(b)) if is_float(e, a) else first, a, b)

    return scalar


ufunc_op(np.maximum, _extremum("logical_or", "gt"), dtypes=ALL)
ufunc_op(np.minimum, _extremum("logical_and", "lt"), dtypes=ALL)
ufunc_op(np.fmax, _number_extremum("logical_or", "ge"), dtypes=ALL)
ufunc_op(np.fmin, _number_extremum("logical_and", "le"), dtypes=ALL)

# NumPy's own ufunc behind np.clip; the public function adds Python-level argument handling only
_clip_ufunc: np.ufunc = umath.clip  # type: ignore[attr-defined]


# between zeros of different signs some versions of NumPy keep x, others take the bound
_KEEPS_ZERO = bool(np.signbit(_clip_ufunc(np.array([-0.0]), 0.0, 1.0)[0]))


def _clip(e: E, x: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """NumPy's loop for bounds that do not vary; NaN if anything is."""
    below, above = (e.lt, e.gt) if _KEEPS_ZERO else (e.le, e.ge)
    if not is_float(e, x):
        raised = e.select(below(x, low), low, x)
        return e.select(above(raised, high), high, raised)
    raised = e.select(e.logical_or(below(x, low), e.isnan(low)), low, x)
    return e.select(e.logical_or(above(raised, high), e.isnan(high)), high, raised)


def _clip_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    (result,) = ufunc_rule(_clip_ufunc)(inputs, attributes)
    for bound in inputs[1:]:
        if any(dim != 1 for dim in bound.shape):
            raise TypeRuleError("clip wants bounds of one element (arrays of bounds: minimum of maximum)")
    return (result,)


declare(
    Op(
        name="clip",
        family="elementwise",
        eager=_clip_ufunc,
        infer=_clip_rule,
        lowering=Elementwise(_clip),
        gradient=ELEMENTWISE["clip"],
        numpy=(np.clip,),
        samples=tuple(
            Sample((Draw(shape, dtype), Draw((), dtype, 0, 1), Draw((), dtype, 1, 2)))
            for dtype in NUMERIC
            for shape in ((2, 3), (0,), ())
        ),
    )
)

# ---- rounding and sign


def _rounding(name: str) -> Callable[..., Scalar]:
    return lambda e, x: getattr(e, name)(x) if is_float(e, x) else x


def _heaviside(e: E, x: Scalar, at_zero: Scalar) -> Scalar:
    zero = like(e, x, 0)
    step = e.select(e.lt(x, zero), zero, like(e, x, 1))
    return e.select(e.isnan(x), x, e.select(e.eq(x, zero), at_zero, step))


for _name in ("floor", "ceil", "trunc"):
    ufunc_op(getattr(np, _name), _rounding(_name))
ufunc_op(np.rint, lambda e, x: e.rint(x))
ufunc_op(np.copysign, lambda e, a, b: e.copysign(a, b))
ufunc_op(np.heaviside, _heaviside)
