"""Arithmetic of Python numbers: ``int`` as i64 and ``float`` as f64, 0-d, with Python's results and Python's failures.

Owns the fallible number ops. Invariant: a `Checked` rule says valid only where Python raises nothing and the result
fits; it may say invalid where Python succeeds (an integer beyond 64 bits, a quotient of integers beyond 2**53): the
call is then done by Python. Where Python cannot fail, the elementwise ops are used (``float + float``, ``int & int``,
comparisons).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.types import TensorType
from janusjit.ops.elementwise import E, floor_division, like
from janusjit.ops.emitter import NumPyEmitter, Scalar
from janusjit.ops.gradients_elementwise import ELEMENTWISE, NUMBERS
from janusjit.ops.logic import right_shift
from janusjit.ops.registry import OPS, ZERO, Attributes, Checked, Elementwise, Gradient, Op, declare, gradient_in
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError

I64_MINIMUM = -(2**63)
EXACT_IN_FLOAT = 2**53
"""Integers up to this magnitude are floats."""

Pair = tuple[Scalar, Scalar]


def _number_rule(name: str, inputs: tuple[str, ...], result: str) -> Callable[..., tuple[TensorType, ...]]:
    expected = tuple(TensorType(dtype) for dtype in inputs)

    def infer(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if types != expected:
            raise TypeRuleError(f"{name} takes {', '.join(map(str, expected))}, not {', '.join(map(str, types))}")
        return (TensorType(result),)

    return infer


def _eager(function: Callable[..., Any], result: str) -> Callable[..., Any]:
    """Return ``function`` of Python numbers as a function of NumPy values; results that do not fit raise."""

    def eager(*inputs: Any) -> Any:
        value = function(*[np.asarray(x).item() for x in inputs])
        if isinstance(value, complex):
            raise ArithmeticError("the result is complex")
        return np.float64(value) if result == "f64" else np.int64(value)

    return eager


def _number_op(
    name: str,
    function: Callable[..., Any],
    scalar: Callable[..., Pair],
    inputs: tuple[str, ...],
    result: str,
    *,
    domain: tuple[float, float] = (1, 5),
    commutative: bool = False,
    ulp: int = 0,
    implements: tuple[Callable[..., Any], ...] = (),
    gradient: Gradient | None = None,
) -> None:
    declare(
        Op(
            name=name,
            family="numbers",
            eager=_eager(function, result),
            infer=_number_rule(name, inputs, result),
            lowering=Checked(scalar),
            fallible=True,
            commutative=commutative,
            ulp=ulp,
            gradient=gradient if gradient is not None else gradient_in(NUMBERS, name),
            numpy=implements,
            samples=(Sample(tuple(Draw((), dtype, *domain) for dtype in inputs)),),
        )
    )


# ---- integers


def _is_negative(e: E, x: Scalar) -> Scalar:
    return e.lt(x, like(e, x, 0))


def _add(e: E, a: Scalar, b: Scalar) -> Pair:
    total = e.add(a, b)  # overflows if both operands have the sign that the sum has not
    return total, e.logical_not(_is_negative(e, e.bit_and(e.bit_xor(a, total), e.bit_xor(b, total))))


def _subtract(e: E, a: Scalar, b: Scalar) -> Pair:
    difference = e.sub(a, b)
    return difference, e.logical_not(_is_negative(e, e.bit_and(e.bit_xor(a, b), e.bit_xor(a, difference))))


def _multiply(e: E, a: Scalar, b: Scalar) -> Pair:
    return e.mul(a, b), e.logical_not(e.multiply_overflows(a, b))


def _negative(e: E, x: Scalar) -> Pair:
    return e.neg(x), e.ne(x, like(e, x, I64_MINIMUM))


def _absolute(e: E, x: Scalar) -> Pair:
    return e.select(_is_negative(e, x), e.neg(x), x), e.ne(x, like(e, x, I64_MINIMUM))


def _floor_divide(e: E, a: Scalar, b: Scalar) -> Pair:
    overflows = e.logical_and(e.eq(a, like(e, a, I64_MINIMUM)), e.eq(b, like(e, b, -1)))
    return e.int_floor_div(a, b), e.logical_and(e.ne(b, like(e, b, 0)), e.logical_not(overflows))


def _remainder(e: E, a: Scalar, b: Scalar) -> Pair:
    return e.int_remainder(a, b), e.ne(b, like(e, b, 0))


def _power(e: E, base: Scalar, exponent: Scalar) -> Pair:
    """Square and multiply over six bits: only -1, 0 and 1 have powers above the 63rd that fit."""
    zero, one = like(e, base, 0), like(e, base, 1)
    result, square = one, base
    overflows = square_overflows = e.constant(False, "bool")
    for bit in range(6):
        taken = e.ne(e.bit_and(exponent, like(e, exponent, 1 << bit)), zero)
        too_big = e.logical_or(square_overflows, e.multiply_overflows(result, square))
        overflows = e.logical_or(overflows, e.logical_and(taken, too_big))
        result = e.select(taken, e.mul(result, square), result)
        square_overflows = e.logical_or(square_overflows, e.multiply_overflows(square, square))
        square = e.mul(square, square)
    result = e.select(e.logical_and(e.eq(base, zero), e.ne(exponent, zero)), zero, result)
    stays_small = e.logical_and(e.ge(base, like(e, base, -1)), e.le(base, one))
    fits = e.logical_and(e.lt(exponent, like(e, exponent, 64)), e.logical_not(overflows))
    return result, e.logical_and(e.ge(exponent, zero), e.logical_or(stays_small, fits))


def _left_shift(e: E, x: Scalar, count: Scalar) -> Pair:
    zero, width = like(e, x, 0), like(e, x, 64)
    masked = e.bit_and(count, like(e, x, 63))
    shifted = e.shift_left(x, masked)
    fits = e.logical_and(e.lt(count, width), e.eq(e.shift_right(shifted, masked), x))
    valid = e.logical_and(e.ge(count, zero), e.logical_or(fits, e.eq(x, zero)))
    return shifted, valid


def _right_shift(e: E, x: Scalar, count: Scalar) -> Pair:
    return right_shift(e, x, count), e.ge(count, like(e, x, 0))


def _is_exact(e: E, x: Scalar) -> Scalar:
    return e.logical_and(e.ge(x, like(e, x, -EXACT_IN_FLOAT)), e.le(x, like(e, x, EXACT_IN_FLOAT)))


def _int_divide(e: E, a: Scalar, b: Scalar) -> Pair:
    """Divide as floats; Python rounds the exact quotient once, which is the same for operands that are floats."""
    exact = e.logical_and(_is_exact(e, a), _is_exact(e, b))
    return e.div(e.cast(a, "f64"), e.cast(b, "f64")), e.logical_and(exact, e.ne(b, like(e, b, 0)))


def _int_power(base: int, exponent: int) -> int:
    if exponent < 0:
        raise ArithmeticError("the power is a float")
    if exponent > 63 and abs(base) > 1:
        raise OverflowError("the power does not fit 64 bits")
    return int(base**exponent)


def _int_left_shift(x: int, count: int) -> int:
    if count > 63 and x:
        raise OverflowError("the shifted integer does not fit 64 bits")
    return x << min(count, 63)


_II = ("i64", "i64")
_number_op("checked_power", _int_power, _power, _II, "i64")
_number_op("checked_add", operator.add, _add, _II, "i64", commutative=True)
_number_op("checked_subtract", operator.sub, _subtract, _II, "i64")
_number_op("checked_multiply", operator.mul, _multiply, _II, "i64", commutative=True)
_number_op("checked_negative", operator.neg, _negative, ("i64",), "i64")
_number_op("checked_absolute", operator.abs, _absolute, ("i64",), "i64")
_number_op("checked_floor_divide", operator.floordiv, _floor_divide, _II, "i64")
_number_op("checked_remainder", operator.mod, _remainder, _II, "i64")
_number_op("checked_left_shift", _int_left_shift, _left_shift, _II, "i64")
_number_op("checked_right_shift", operator.rshift, _right_shift, _II, "i64")
_number_op("checked_int_divide", operator.truediv, _int_divide, _II, "f64")


# ---- floats


def _float_divide(e: E, a: Scalar, b: Scalar) -> Pair:
    return e.div(a, b), e.ne(b, like(e, b, 0))


def _float_floor_divide(e: E, a: Scalar, b: Scalar) -> Pair:
    return floor_division(e, a, b)[0], e.ne(b, like(e, b, 0))


def _float_remainder(e: E, a: Scalar, b: Scalar) -> Pair:
    return floor_division(e, a, b)[1], e.ne(b, like(e, b, 0))


def _is_finite(e: E, x: Scalar) -> Scalar:
    return e.lt(e.abs(x), like(e, x, math.inf))


def _no_error(e: E, value: Scalar, *operands: Scalar) -> Scalar:
    """Whether C's ``errno`` stays clear: no NaN from numbers, no infinity from finite numbers."""
    has_nan, all_finite = e.isnan(operands[0]), _is_finite(e, operands[0])
    for operand in operands[1:]:
        has_nan = e.logical_or(has_nan, e.isnan(operand))
        all_finite = e.logical_and(all_finite, _is_finite(e, operand))
    domain_error = e.logical_and(e.isnan(value), e.logical_not(has_nan))
    infinite = e.eq(e.abs(value), like(e, value, math.inf))
    return e.logical_not(e.logical_or(domain_error, e.logical_and(infinite, all_finite)))


def _float_power(e: E, base: Scalar, exponent: Scalar) -> Pair:
    """Python's ``**`` fails where C's ``pow`` reports an error: 0 to a negative power, a complex result, overflow."""
    value = e.call("pow", base, exponent)
    return value, _no_error(e, value, base, exponent)


def _float_to_int(e: E, x: Scalar) -> Pair:
    fits = e.logical_and(e.ge(x, like(e, x, I64_MINIMUM)), e.lt(x, like(e, x, -I64_MINIMUM)))
    return e.cast(e.select(fits, x, like(e, x, 0)), "i64"), fits


def _exact_int_to_float(e: E, x: Scalar) -> Pair:
    return e.cast(x, "f64"), _is_exact(e, x)


_FF = ("f64", "f64")
_number_op("float_divide", operator.truediv, _float_divide, _FF, "f64")
_number_op("python_floor_divide", operator.floordiv, _float_floor_divide, _FF, "f64")
_number_op("python_remainder", operator.mod, _float_remainder, _FF, "f64")
_number_op("python_power", operator.pow, _float_power, _FF, "f64", ulp=2)
_number_op("float_to_int", int, _float_to_int, ("f64",), "i64")
_number_op("exact_int_to_float", float, _exact_int_to_float, ("i64",), "f64")

declare(
    Op(
        name="int_to_float",
        family="numbers",
        eager=_eager(float, "f64"),
        infer=_number_rule("int_to_float", ("i64",), "f64"),
        lowering=Elementwise(lambda e, x: e.cast(x, "f64")),
        gradient=NUMBERS["int_to_float"],
        samples=(Sample((Draw((), "i64", -100, 100),)),),
    )
)

# ---- the math module


def _math_rule(name: str) -> Callable[..., Pair]:
    def scalar(e: E, *xs: Scalar) -> Pair:
        value = e.sqrt(*xs) if name == "sqrt" else e.call(name, *xs)
        return value, _no_error(e, value, *xs)

    return scalar


#: function of `math` → the emitter's function
MATH: dict[str, str] = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan")},
    **{name: name for name in ("sinh", "cosh", "tanh", "fmod", "pow")},
    **{name: f"arc{name[1:]}" for name in ("asin", "acos", "atan", "atan2", "asinh", "acosh", "atanh")},
}

for _name, _function in MATH.items():
    _arity = 2 if _name in ("fmod", "pow", "atan2") else 1
    _number_op(
        f"math.{_name}",
        getattr(math, _name),
        _math_rule(_function),
        ("f64",) * _arity,
        "f64",
        domain=(1, 1.5) if _name == "acosh" else (0.1, 0.9),
        ulp=0 if _name in ("sqrt", "fmod") else 2,
        implements=(getattr(math, _name),),
        gradient=ELEMENTWISE["power" if _function == "pow" else _function],
    )

# ---- whether an op can be done


def _is_defined(e: E, *inputs: Scalar, of: str) -> Scalar:
    lowering = OPS[of].lowering
    assert isinstance(lowering, Checked)
    return lowering.scalar(e, *inputs)[1]


def _is_defined_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    OPS[attributes["of"]].infer(inputs, {})
    return (TensorType("bool"),)


def _eager_is_defined(*inputs: Any, of: str) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(_is_defined(NumPyEmitter(), *map(np.asarray, inputs), of=of))[()]


declare(
    Op(
        name="is_defined",  # of a checked op: whether its guard would hold
        family="numbers",
        eager=_eager_is_defined,
        infer=_is_defined_rule,
        lowering=Elementwise(_is_defined),
        gradient=ZERO,
        samples=(
            Sample((Exactly(np.int64(2**63 - 1)), Draw((), "i64", 0, 3)), {"of": "checked_add"}),
            Sample((Draw(()), Exactly(np.float64(0.0))), {"of": "float_divide"}),
            Sample((Draw((), "i64", 1, 5), Draw((), "i64", 1, 5)), {"of": "checked_multiply"}),
        ),
    )
)
