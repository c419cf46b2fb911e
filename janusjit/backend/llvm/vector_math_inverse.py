"""Inverse functions: ``arcsin``, ``arccos``, ``arcsinh``, ``arccosh``, ``arctanh``.

Owns their formulas, branch-free and with an error below 2 ULP; polynomials are minimax (found by Remez' exchange in
50-digit arithmetic). Invariant: NumPy's results and floating-point flags for zeros, infinities, NaN and arguments
outside the domain.
"""

from __future__ import annotations

import math

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_logarithm import finished_logarithm, log1p
from janusjit.backend.llvm.vector_math_logarithm_f32 import log_parts

#: q in ``arcsin s = s + s*z*q(z)`` with ``z = s*s``, for ``|s| <= 1/2``
_F64 = (
    *(0.16666666666665375, 0.07500000000344906, 0.044642856821923184, 0.03038195939670215, 0.02237175192503721),
    *(0.017359795647134843, 0.013884351798216668, 0.012174926549645849, 0.006503611979053216, 0.019594037038816816),
    *(-0.016326144573835563, 0.031981271489875764),
)
_F32 = (0.16666753590106964, 0.07495232671499252, 0.04547834396362305, 0.024140994995832443, 0.04223053157329559)
#: q in ``artanh r = r + r*z*q(z)`` with ``z = r*r``, for ``|r| <= 1/2``, in float32
_ARTANH_F32 = (
    *(0.33333301544189453, 0.2000245302915573, 0.1422378569841385, 0.11816386133432388, 0.05160436034202576),
    0.1763785034418106,
)
#: pi/2 in two parts, the first rounded to the precision
_HALF_PI_F64 = (1.5707963267948966, 6.123233995736766e-17)
_HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08)


def _half_pi(code: FloatCode) -> tuple[float, float]:
    return _HALF_PI_F64 if code.is_f64 else _HALF_PI_F32


def _near_zero(code: FloatCode, x: Real) -> tuple[Truth, Real, Real]:
    """Return whether ``|x|`` is above 1/2, and the arc sine of a number up to 1/2 in two parts.

    That number is ``|x|``, or, above, sqrt((1 - |x|) / 2), the sine of half the angle whose cosine is ``|x|``. The root
    of a negative number raises the flag for an invalid operation.
    """
    size = x.magnitude
    large = size > 0.5
    halved = 0.5 - 0.5 * size
    z = code.select(large, halved, size * size)
    s = code.select(large, code.intrinsic("llvm.sqrt", code.select(large, halved, 0.25)), size)
    return large, s, s * z * code.polynomial(z, _F64 if code.is_f64 else _F32)


def arcsin(code: FloatCode, x: Real) -> Real:
    """Return the arc sine."""
    large, s, rest = _near_zero(code, x)
    high, low = _half_pi(code)
    start = code.select(large, high - 2.0 * s, s)
    # what that subtraction lost
    lost = code.select(large, ((high - start) - 2.0 * s) + low, 0.0)
    return (start + code.select(large, -2.0 * rest, rest) + lost).with_sign_of(x)


def arccos(code: FloatCode, x: Real) -> Real:
    """Return the arc cosine."""
    large, s, rest = _near_zero(code, x)
    high, low = _half_pi(code)
    left = x < 0.0
    # the angle is arcsin s more or less than pi/2, or twice arcsin s away from 0 or pi
    base = code.select(large, code.select(left, 2.0 * high, 0.0), high)
    base_low = code.select(large, code.select(left, 2.0 * low, 0.0), low)
    away, away_rest = code.select(large, 2.0 * s, s), code.select(large, 2.0 * rest, rest)
    minus = left ^ large
    # to the right of 1/2 it is added, to the left of -1/2 it is subtracted; between, its sign is the opposite of x's
    away, away_rest = code.select(minus, away, -away), code.select(minus, away_rest, -away_rest)
    total = base + away
    return total + ((((base - total) + away) + base_low) + away_rest)


def _is_large(code: FloatCode, x: Real) -> Truth:
    """Return whether 1 is lost beside ``x``, and beside its square."""
    return x > 2.0 ** (code.precision.mantissa + 2)


def _with_log_2(code: FloatCode, large: Truth, logarithm: Real) -> Real:
    return logarithm + code.select(large, math.log(2), 0.0)


def arcsinh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic sine, ``log1p(y + y*y / (1 + sqrt(1 + y*y)))``, or ``log(2*y)``."""
    size = x.magnitude
    large = _is_large(code, size)
    y = code.select(large, 1.0, size)
    root = code.intrinsic("llvm.sqrt", y.times_plus(y, 1.0))
    argument = code.select(large, size, y + y * y / (1.0 + root))
    return _with_log_2(code, large, log1p(code, argument)).with_sign_of(x)


def arccosh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic cosine, ``log1p(t + sqrt(t*t + 2*t))`` with ``t = x - 1``, or ``log(2*x)``."""
    large = _is_large(code, x)
    t = code.select(large, 1.0, x) - 1.0
    root = code.intrinsic("llvm.sqrt", code.select(x < 1.0, -1.0, t.times_plus(t, t + t)))
    argument = t + root
    # what the sum lost counts where the logarithm is about its argument
    lost = code.select(argument < 0.25, (root - argument) + t, 0.0)
    return _with_log_2(code, large, log1p(code, code.select(large, x, argument)) + lost)


def arctanh(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic tangent, ``log1p(2*y / (1 - y)) / 2`` for the magnitude y."""
    if not code.is_f64:
        return _arctanh_f32(code, x)
    y = x.magnitude
    double = y + y
    quotient = code.select(y < 0.5, double * y, double) / (1.0 - y)
    argument = code.select(y < 0.5, double + quotient, quotient)
    # beyond 1 any argument of a logarithm without a value will do
    return (0.5 * log1p(code, code.select(y > 1.0, -2.0, argument))).with_sign_of(x)


def _arctanh_f32(code: FloatCode, x: Real) -> Real:
    """Return the inverse hyperbolic tangent, by a polynomial up to 1/2, then ``log((1 + y) / (1 - y)) / 2``."""
    y = x.magnitude
    small = y <= 0.5
    r = code.select(small, y, 0.0)
    z = r * r
    near = (r * z).times_plus(code.polynomial(z, _ARTANH_F32), r)
    total = 1.0 + y
    quotient = total / (1.0 - y)  # beyond 1 it is negative
    # what the sum lost, over the sum: as it is small, to a few bits
    lost = (y - (total - 1.0)) * (1.0 - 0.45 * y)
    far = 0.5 * finished_logarithm(code, quotient, *log_parts(code, code.select(small, 2.0, quotient), lost))
    return code.select(small, near, far).with_sign_of(x)
