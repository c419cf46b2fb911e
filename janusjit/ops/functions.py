"""Elementwise functions: transcendental ufuncs, powers, angles, ``sigmoid`` and ``softplus``.

Invariant: a result is within ``ulp`` of the true value, and special values are eager's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.special

from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.elementwise import E, like, ufunc_op, ufunc_samples
from janusjit.ops.emitter import Scalar, c_power
from janusjit.ops.gradients_elementwise import ELEMENTWISE
from janusjit.ops.registry import Attributes, Elementwise, Library, Op, declare
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import check_dtype, ufunc_rule

function_op = partial(ufunc_op, family="functions")

# ---- transcendental functions, each one call of the emitter


def _function(ufunc: np.ufunc, low: float = -3.0, high: float = 3.0, commutative: bool = False) -> None:
    name = ufunc.__name__
    function_op(ufunc, lambda e, *xs: e.call(name, *xs), ulp=2, commutative=commutative, domain=(low, high))


_ufunc: np.ufunc
for _ufunc in (np.exp, np.expm1, np.exp2, np.sin, np.cos, np.tan, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh):
    _function(_ufunc)
for _ufunc in (np.log, np.log1p, np.log2, np.log10, np.cbrt):
    _function(_ufunc, 0.1)
for _ufunc in (np.arcsin, np.arccos, np.arctanh):
    _function(_ufunc, -0.9, 0.9)
_function(np.arccosh, 1.1)
_function(scipy.special.erf)
_function(np.arctan2)
_function(np.hypot, commutative=True)
_function(np.logaddexp, commutative=True)


def _float_power_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    for type_ in inputs:
        check_dtype(type_, ("f32", "f64"), "power: an operand (integers: integer_power)")
    return ufunc_rule(np.power)(inputs, attributes)


def _scalar_power(e: E, a: Scalar, b: Scalar) -> Scalar:
    return e.select(e.eq(b, like(e, b, 0.5)), e.sqrt(a), e.call("pow", a, b))


def _eager_scalar_power(a: Any, b: Any) -> Any:
    return np.where(np.equal(b, 0.5), np.sqrt(a), c_power(a, b))


def _two_powers() -> None:
    """Declare pow, and what NumPy does where one exponent is broadcast to an array: sqrt if it is 0.5.

    They differ at -inf and -0.0. The second is also what the ufunc does with scalars; the operator ``**`` of NumPy
    scalars is the first.
    """
    powers: tuple[tuple[str, Callable[..., Any], Callable[..., Scalar]], ...] = (
        ("power", c_power, lambda e, a, b: e.call("pow", a, b)),
        ("scalar_power", _eager_scalar_power, _scalar_power),
    )
    for name, eager, scalar in powers:
        declare(
            Op(
                name=name,
                family="functions",
                eager=eager,
                infer=_float_power_rule,
                lowering=Elementwise(scalar),
                ulp=2,
                gradient=ELEMENTWISE[name],
                numpy=(np.power,) if name == "power" else (),
                samples=ufunc_samples(np.power, ("f64", "f32"), 0.1, 3),
            )
        )


_two_powers()


def _integer_power_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    for type_ in inputs:
        check_dtype(type_, tuple(d for d in DTYPES if d[0] in "iu"), "integer_power: an operand")
    return ufunc_rule(np.power)(inputs, attributes)


declare(
    Op(
        name="integer_power",
        family="functions",
        eager=np.power,
        infer=_integer_power_rule,
        lowering=Library(),
        gradient=ELEMENTWISE["integer_power"],
        fallible=lambda inputs, attributes: inputs[1].dtype[0] == "i",  # a negative exponent raises
        samples=tuple(
            Sample((Draw((2, 3), dtype), Draw(shape, dtype, 0, 4))) for dtype in ("i64", "u8") for shape in ((3,), ())
        ),
    )
)

_PI = {"f64": math.pi, "f32": float(np.float32(math.pi))}


def _deg2rad(e: E, x: Scalar) -> Scalar:
    return e.mul(x, e.div(like(e, x, _PI[e.dtype(x)]), like(e, x, 180)))


def _rad2deg(e: E, x: Scalar) -> Scalar:
    return e.mul(x, e.div(like(e, x, 180), like(e, x, _PI[e.dtype(x)])))


function_op(np.deg2rad, _deg2rad)
function_op(np.rad2deg, _rad2deg)

# ---- what rewrites make of NumPy expressions


def _sigmoid(e: E, x: Scalar) -> Scalar:
    one = like(e, x, 1)
    return e.div(one, e.add(one, e.call("exp", e.neg(x))))


def _softplus(e: E, x: Scalar) -> Scalar:
    tail = e.call("log1p", e.call("exp", e.neg(e.abs(x))))
    return e.add(e.select(e.logical_or(e.gt(x, like(e, x, 0)), e.isnan(x)), x, like(e, x, 0)), tail)


def _eager_sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _eager_softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _composed(name: str, eager: Callable[..., Any], scalar: Callable[..., Scalar]) -> None:
    declare(
        Op(
            name=name,
            family="functions",
            eager=eager,
            infer=ufunc_rule(np.exp),
            lowering=Elementwise(scalar),
            ulp=4,
            gradient=ELEMENTWISE[name],
            samples=ufunc_samples(np.exp, ("f64", "f32"), -3, 3),
        )
    )


_composed("sigmoid", _eager_sigmoid, _sigmoid)
_composed("softplus", _eager_softplus, _softplus)
