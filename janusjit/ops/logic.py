"""Elementwise logic: comparisons, boolean and bitwise operations, classification, ``where`` and ``cast``.

Invariant: as in `janusjit.ops.elementwise`; comparisons of mixed signed and unsigned 64-bit integers are exact, as
NumPy's. Casts of floats out of the integer's range are undefined, in NumPy too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.elementwise import ALL, INTEGERS, E, by_kind, is_float, is_signed, like, truth, ufunc_op
from janusjit.ops.emitter import Scalar
from janusjit.ops.gradients_elementwise import ELEMENTWISE
from janusjit.ops.registry import Attributes, Elementwise, Op, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import (
    TypeRuleError,
    broadcast_shapes,
    check_arity,
    check_dtype,
    check_same_dtype,
)

logic_op = partial(ufunc_op, family="logic")

# ---- comparisons


def _compare(method: str) -> Callable[..., Scalar]:
    """Return the rule of a comparison; ``method`` is the emitter's."""

    def scalar(e: E, a: Scalar, b: Scalar) -> Scalar:
        if e.dtype(a) == "bool":
            a, b = e.cast(a, "u8"), e.cast(b, "u8")
        same = e.dtype(a) == e.dtype(b)
        return getattr(e, method)(a, b) if same else _compare_mixed(e, method, a, b)

    return scalar


def _compare_mixed(e: E, method: str, a: Scalar, b: Scalar) -> Scalar:
    """Compare i64 with u64: by value, so a negative operand decides alone."""
    signed = a if is_signed(e, a) else b
    negative = e.lt(signed, like(e, signed, 0))
    if_negative = method == "ne" or method in (("lt", "le") if signed is a else ("gt", "ge"))
    unsigned = getattr(e, method)(e.cast(a, "u64"), e.cast(b, "u64"))
    return e.select(negative, e.constant(if_negative, "bool"), unsigned)


for _ufunc, _method in (
    (np.equal, "eq"),
    (np.not_equal, "ne"),
    (np.less, "lt"),
    (np.less_equal, "le"),
    (np.greater, "gt"),
    (np.greater_equal, "ge"),
):
    logic_op(_ufunc, _compare(_method), commutative=_method in ("eq", "ne"), dtypes=ALL)

# ---- boolean and bitwise operations


def _logical(method: str) -> Callable[..., Scalar]:
    return lambda e, *xs: getattr(e, method)(*[truth(e, x) for x in xs])


logic_op(np.logical_and, _logical("logical_and"), commutative=True, dtypes=ALL)
logic_op(np.logical_or, _logical("logical_or"), commutative=True, dtypes=ALL)
logic_op(np.logical_xor, _logical("logical_xor"), commutative=True, dtypes=ALL)
logic_op(np.logical_not, _logical("logical_not"), dtypes=ALL)

BITS = ("bool", *INTEGERS)
logic_op(np.bitwise_and, by_kind("logical_and", "bit_and"), commutative=True, dtypes=BITS)
logic_op(np.bitwise_or, by_kind("logical_or", "bit_or"), commutative=True, dtypes=BITS)
logic_op(np.bitwise_xor, by_kind("logical_xor", "bit_xor"), commutative=True, dtypes=BITS)
logic_op(np.invert, by_kind("logical_not", "bit_not"), dtypes=BITS)


def shift_count(e: E, x: Scalar, count: Scalar) -> tuple[Scalar, Scalar]:
    """Return whether ``count`` is within the width of ``x``, and ``count`` made so."""
    width = 8 * DTYPES[e.dtype(x)].itemsize
    within = e.lt(count, like(e, x, width))
    if is_signed(e, x):
        within = e.logical_and(within, e.ge(count, like(e, x, 0)))
    return within, e.bit_and(count, like(e, x, width - 1))


def _left_shift(e: E, x: Scalar, count: Scalar) -> Scalar:
    within, masked = shift_count(e, x, count)
    return e.select(within, e.shift_left(x, masked), like(e, x, 0))


def right_shift(e: E, x: Scalar, count: Scalar) -> Scalar:
    """Shift right; too wide a count (and a negative one) leaves the sign only."""
    within, masked = shift_count(e, x, count)
    last = like(e, x, 8 * DTYPES[e.dtype(x)].itemsize - 1)
    beyond = e.shift_right(x, last) if is_signed(e, x) else like(e, x, 0)
    return e.select(within, e.shift_right(x, masked), beyond)


logic_op(np.left_shift, _left_shift, dtypes=INTEGERS)
logic_op(np.right_shift, right_shift, dtypes=INTEGERS)

# ---- classification


def _isinf(e: E, x: Scalar) -> Scalar:
    return e.eq(e.abs(x), like(e, x, float("inf"))) if is_float(e, x) else e.constant(False, "bool")


def _isfinite(e: E, x: Scalar) -> Scalar:
    return e.lt(e.abs(x), like(e, x, float("inf"))) if is_float(e, x) else e.constant(True, "bool")


logic_op(np.isnan, lambda e, x: e.isnan(x) if is_float(e, x) else e.constant(False, "bool"), dtypes=ALL)
logic_op(np.isinf, _isinf, dtypes=ALL)
logic_op(np.isfinite, _isfinite, dtypes=ALL)
logic_op(np.signbit, lambda e, x: e.lt(e.copysign(like(e, x, 1), x), like(e, x, 0)))

# ---- selection and conversion


def _where_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 3, "where")
    check_dtype(inputs[0], "bool", "the condition of where")
    dtype = check_same_dtype(inputs[1:], "where")
    return (TensorType(dtype, broadcast_shapes(*[type_.shape for type_ in inputs])),)


def _cast_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "cast")
    if attributes["dtype"] not in DTYPES:
        raise TypeRuleError(f"cast to {attributes['dtype']!r}")
    return (TensorType(attributes["dtype"], inputs[0].shape),)


def _eager_cast(x: Any, dtype: str) -> Any:
    return np.asarray(x).astype(DTYPES[dtype])[()]


declare(
    Op(
        name="where",
        family="logic",
        eager=np.where,
        infer=_where_rule,
        lowering=Elementwise(lambda e, condition, a, b: e.select(condition, a, b)),
        gradient=ELEMENTWISE["where"],
        numpy=(np.where,),
        samples=tuple(
            Sample((Draw(shape, "bool"), Draw((2, 3), dtype), Draw((), dtype)))
            for dtype in ALL
            for shape in ((3,), (2, 1), ())
        ),
    )
)
declare(
    Op(
        name="cast",
        family="logic",
        eager=_eager_cast,
        infer=_cast_rule,
        lowering=Elementwise(lambda e, x, dtype: e.cast(x, dtype)),
        gradient=ELEMENTWISE["cast"],
        samples=tuple(
            Sample((Draw(shape, source, 0, 100),), {"dtype": target})
            for source in ALL
            for target in DTYPES
            for shape in ((2, 3), ())
        ),
    )
)
