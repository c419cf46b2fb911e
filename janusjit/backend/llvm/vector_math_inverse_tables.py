"""Inverse hyperbolic functions by logarithms from tables in registers: ``arcsinh``, ``arccosh``, ``arctanh``.

Owns their formulas. Invariant: an error below 2 ULP for operands that are common; what others need is in `PRECAUTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from janusjit.backend.llvm import vector_math_inverse as inverse
from janusjit.backend.llvm import vector_math_pieces as pieces
from janusjit.backend.llvm import vector_math_tables as tables
from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_library import Precautions

#: the square of a number below is no more than half of the largest number, and `log1p` holds for twice the number
_LARGEST = 2.0**60


def _log1p(code: FloatCode, high: Real, low: Real) -> Real:
    """Return ``log(1 + high + low)``, where ``high`` is not the smaller one."""
    total = high + low
    formula = tables.log1p if code.is_f64 else pieces.log1p
    return formula(code, total, (high - total) + low)


def arcsinh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic sine, ``log1p(y + y*y / (1 + sqrt(1 + y*y)))`` for the magnitude y."""
    y = x.magnitude
    root = code.intrinsic("llvm.sqrt", y.times_plus(y, 1.0))
    return _log1p(code, y, y * y / (1.0 + root)).with_sign_of(x)


def arccosh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic cosine, ``log1p(t + sqrt(t*t + 2*t))`` with ``t = x - 1``."""
    t = x - 1.0
    return _log1p(code, code.intrinsic("llvm.sqrt", t.times_plus(t, t + t)), t)


def arctanh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic tangent, ``log1p(2*y + 2*y*y / (1 - y)) / 2`` for the magnitude y."""
    y = x.magnitude
    double = y + y
    return (0.5 * _log1p(code, double, double * y / (1.0 - y))).with_sign_of(x)


def _is_moderate(code: FloatCode, x: Real) -> Truth:
    return x.magnitude < _LARGEST


def _is_moderate_above_one(code: FloatCode, x: Real) -> Truth:
    return (x > 1.0) & (x < _LARGEST)


def _is_below_one(code: FloatCode, x: Real) -> Truth:
    return x.magnitude < 1.0


def _precautions(
    is_common: Callable[[FloatCode, Real], Truth], usual: float, in_general: Callable[[FloatCode, Real], Real]
) -> Precautions:
    """Return what has other operands computed by the formula for all."""

    def prepared(code: FloatCode, x: Real) -> tuple[Real, ...]:
        return (code.select(is_common(code, x), x, usual),)

    def finished(code: FloatCode, result: Real, x: Real) -> Real:
        return code.select(is_common(code, x), result, in_general(code, x))

    return Precautions(is_common, prepared, finished)


PRECAUTIONS = {
    "arcsinh": _precautions(_is_moderate, 1.0, inverse.arcsinh),
    "arccosh": _precautions(_is_moderate_above_one, 2.0, inverse.arccosh),
    "arctanh": _precautions(_is_below_one, 0.5, inverse.arctanh),
}
