"""Powers and roots: ``pow``, ``cbrt``.

Owns their formulas, branch-free, in float64 only: float32 operands are widened, and results rounded. Invariant: error
below 2 ULP; `pow` holds where `is_plain_power`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_exponential import exp, exp_of_sum
from janusjit.backend.llvm.vector_math_logarithm import exponent_and_mantissa, log

#: cbrt t of the ratio: a polynomial p with ``cbrt(1/r) == p(r)`` to 23 bits, for the error r of the first estimate
_ROOT_CORRECTION = (
    *(1.87595182427177009643, -1.88497979543377169875, 1.621429720105354466140),
    *(-0.758397934778766047437, 0.145996192886612446982),
)
#: high word of the float64 that the first estimate of a cube root is when the exponent field is divided by three
_ROOT_BIAS = 715094163


def cbrt(code: FloatCode, x: Real) -> Real:
    """Return the cube root: an estimate from the exponent, a polynomial to 23 bits, one Newton step (FreeBSD's way)."""
    regular = (x.magnitude < math.inf) & (x.magnitude > 0.0)
    size = code.select(regular, x.magnitude, 1.0)
    subnormal = size < code.precision.tiny
    normal = size * code.select(subnormal, 2.0**54, 1.0)
    # a third of the high word, computed as a float, which is exact enough
    shift = 2.0**52
    high_word = ((normal.bits >> 32) | code.real(shift).bits).as_real - shift
    _, third = code.nearest(high_word, 1 / 3)
    estimate = ((third + _ROOT_BIAS) << 32).as_real
    ratio = (estimate * estimate) * (estimate / normal)
    refined = estimate * code.polynomial(ratio, _ROOT_CORRECTION)
    # 23 bits, so that its square is exact
    root = ((refined.bits + 0x80000000) & -0x40000000).as_real
    quotient = normal / (root * root)
    root = root.times_plus((quotient - root) / (root + root + quotient), root)
    root = code.select(subnormal, root * 2.0**-18, root)
    return code.select(regular, root.with_sign_of(x), x + x)


#: the coefficients of ``2 artanh s = 2 s + s**3 * (2/3 + z*q(z))`` with ``z = s*s``, and 2/3 and log 2 in two parts
_TAIL = (
    *(0.39999999999999974, 0.2857142857144534, 0.22222222217481563, 0.18181818877057324, 0.15384556410590836),
    *(0.13336335147583064, 0.11674458311629053, 0.1199201565721073),
)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
_LOG_2 = (0.6931471803691238, 1.9082149292705877e-10)


@dataclass(frozen=True, slots=True)
class _Double:
    """A number in two parts, the second no larger than the rounding error of the first."""

    high: Real
    low: Real


def _product(a: _Double, b: _Double) -> _Double:
    high = a.high * b.high
    return _Double(high, a.high.fused(b.high, -high) + (a.high * b.low + a.low * b.high))


def _sum(a: Real, b: Real) -> _Double:
    """Return ``a + b`` where ``a`` is zero or the larger one."""
    total = a + b
    return _Double(total, (a - total) + b)


def _precise_log(code: FloatCode, x: Real) -> _Double:
    """Return the logarithm of a positive finite number to some 66 bits."""
    k, m = exponent_and_mantissa(code, x)
    f, divisor = m - 1.0, m + 1.0
    divisor_low = m - (divisor - 1.0)
    reciprocal = 1.0 / divisor
    quotient = f * reciprocal
    s = _Double(quotient, ((-quotient).fused(divisor, f) - quotient * divisor_low) * reciprocal)
    z = _product(s, s)
    series = _sum(code.real(_TWO_THIRDS[0]), z.high * code.polynomial(z.high, _TAIL))
    cubic = _product(_product(s, z), _Double(series.high, series.low + _TWO_THIRDS[1]))
    first = _sum(k * _LOG_2[0], 2.0 * s.high)
    second = _sum(first.high, cubic.high)
    low = k.times_plus(_LOG_2[1], 2.0 * s.low + cubic.low) + (first.low + second.low)
    return _sum(second.high, low)


def pow_f64(code: FloatCode, x: Real, y: Real) -> Real:
    """Return ``x`` to the power ``y``."""
    logarithm = _precise_log(code, _without_zero(code, x))
    high = y * logarithm.high
    low = y.fused(logarithm.high, -high) + y * logarithm.low
    return _with_sign(code, exp_of_sum(code, high, low), x, y)


def pow_f32(code: FloatCode, x: Real, y: Real) -> Real:
    """Return ``x`` to the power ``y``, good to float32."""
    return _with_sign(code, exp(code, y * log(code, _without_zero(code, x))), x, y)


def _without_zero(code: FloatCode, x: Real) -> Real:
    """Return the magnitude, and 1 for zero, whose logarithm would raise a flag."""
    return code.select(x.equals(0.0), 1.0, x.magnitude)


def _with_sign(code: FloatCode, power: Real, x: Real, y: Real) -> Real:
    """Return the power of ``x``, given that of its magnitude: negative for odd ``y``; ``x`` itself, if zero, to 1."""
    half = y * 0.5
    odd = ~half.equals(code.intrinsic("llvm.rint", half)) & (y.magnitude < 2.0**53)
    power = code.select(x.equals(0.0), 0.0, power)
    return code.select((x.bits < 0) & odd, -power, power)


def is_plain_power(code: FloatCode, x: Real, y: Real) -> Truth:
    """Return whether `pow_f64` and `pow_f32` hold.

    They do for finite operands, but for zero to powers that are not positive, and negative numbers to fractional ones.
    """
    finite = (x.magnitude < math.inf) & (y.magnitude < 2.0**64)
    whole = y.equals(code.intrinsic("llvm.rint", y))
    return finite & ((x > 0.0) | (whole & ((x < 0.0) | (y > 0.0))))
