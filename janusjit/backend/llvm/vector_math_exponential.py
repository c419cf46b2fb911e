"""Exponential functions: ``exp``, ``exp2``, ``expm1``, ``sinh``, ``cosh``, ``tanh``.

Owns their formulas, branch-free and with an error below 2 ULP. All reduce the argument by a multiple of log 2, evaluate
a minimax polynomial (found by Remez' exchange in 60-digit arithmetic) and scale by powers of two in two steps where one
would leave the range of normal numbers. Invariant: NumPy's results for infinities, NaN, zeros and subnormal numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Whole


@dataclass(frozen=True, slots=True)
class _Constants:
    """What the exponential functions need in one precision.

    ``exponential`` is q in ``exp r = 1 + r + r*r*q(r)``, ``binary`` is q in ``2**r = 1 + r*q(r)``. The product of
    ``log2_high`` with every exponent is exact. Beyond ``overflow`` (below ``underflow``) ``exp`` is infinite (zero).
    """

    exponential: tuple[float, ...]
    binary: tuple[float, ...]
    log2_high: float
    log2_low: float
    overflow: float
    underflow: float


_F64 = _Constants(
    exponential=(
        *(0.5000000000000013, 0.166666666666667, 0.041666666666514335, 0.00833333333330702, 0.0013888888947328018),
        *(0.0001984126991779261, 2.4801489593443842e-05, 2.7557215930189143e-06, 2.763141289060293e-07),
        2.511797984217491e-08,
    ),
    binary=(
        *(0.6931471805599453, 0.24022650695910072, 0.0555041086648217, 0.009618129107628496, 0.0013333558146390175),
        *(0.00015403530393340816, 1.5252733856508077e-05, 1.3215486833293684e-06, 1.0178051089057266e-07),
        *(7.054888162232214e-09, 4.456692885248324e-10, 2.5741931300847343e-11),
    ),
    log2_high=0.6931471803691238,
    log2_low=1.9082149292705877e-10,
    overflow=709.8,
    underflow=-745.2,
)
_F32 = _Constants(
    exponential=(0.5, 0.166665181517601, 0.04166620597243309, 0.008368953131139278, 0.0013950576540082693),
    binary=(
        *(0.6931471824645996, 0.24022650718688965, 0.055503275245428085, 0.009618003852665424),
        *(0.001340040354989469, 0.00015476443513762206),
    ),
    log2_high=0.693115234375,
    log2_low=3.194618329871446e-05,
    overflow=88.8,
    underflow=-104.0,
)
#: q in ``expm1 r = r + r*r*q(r)`` from 0 to log 2, in float32
_POSITIVE_EXPM1 = (0.50000092, 0.16664738, 0.041795992, 0.0079608342, 0.0018613453)


def _constants(code: FloatCode) -> _Constants:
    return _F64 if code.is_f64 else _F32


@dataclass(frozen=True, slots=True)
class _Reduced:
    """``exp x`` as ``2**n * (1 + r + tail)``: ``n`` as a float and in the low bits of an integer."""

    n: Real
    n_bits: Whole
    r: Real
    tail: Real


def _reduced(code: FloatCode, x: Real) -> _Reduced:
    known = _constants(code)
    n, n_bits = code.nearest(x, 1 / math.log(2))
    high, low = n.times_plus(-known.log2_high, x), n * known.log2_low
    r = high - low
    lost = (high - r) - low
    return _Reduced(n, n_bits, r, (r * r).times_plus(code.polynomial(r, known.exponential), lost))


def exp(code: FloatCode, x: Real) -> Real:
    """Return the exponential."""
    known = _constants(code)
    clamped = code.maximum(known.underflow, code.minimum(known.overflow, x))
    n, n_bits = code.nearest(clamped, 1 / math.log(2))
    r = n.times_plus(-known.log2_low, n.times_plus(-known.log2_high, clamped))
    power = (r * r).times_plus(code.polynomial(r, known.exponential), r) + 1.0
    return code.scaled(power, n, n_bits)


def exp2(code: FloatCode, x: Real) -> Real:
    """Return two to the power ``x``."""
    bias, mantissa = code.precision.bias, code.precision.mantissa
    clamped = code.maximum(-float(bias + mantissa + 2), code.minimum(float(bias + 2), x))
    n, n_bits = code.nearest(clamped)
    r = clamped - n
    return code.scaled(r.times_plus(code.polynomial(r, _constants(code).binary), 1.0), n, n_bits)


def _expm1_scaled(code: FloatCode, x: Real, down: int) -> tuple[Real, Real]:
    """Return ``expm1(x) * 2**-down`` in two parts, the second what the first lost to rounding."""
    parts = _reduced(code, x)
    scale = code.power_of_two(parts.n_bits - down)
    start = scale - 2.0**-down
    first = scale.times_plus(parts.r, start)
    total = scale.times_plus(parts.tail, first)
    return total, scale.times_plus(parts.tail, first - total) + scale.times_plus(parts.r, start - first)


def expm1(code: FloatCode, x: Real) -> Real:
    """Return ``exp(x) - 1``, accurate near zero."""
    # below -40 nothing but -1 is left; the scale is halved lest its largest value overflow
    half, _ = _expm1_scaled(code, code.maximum(-40.0, code.minimum(_constants(code).overflow, x)), 1)
    return code.select(x.magnitude < code.precision.half_ulp, x, half * 2.0)


def tanh(code: FloatCode, x: Real) -> Real:
    """Return the hyperbolic tangent."""
    return _tanh_f64(code, x) if code.is_f64 else _tanh_f32(code, x)


def _tanh_f32(code: FloatCode, x: Real) -> Real:
    """Return ``e / (e + 2)`` with ``e = expm1(2 |x|)``; none of the sums on the way has terms of both signs."""
    size = code.minimum(10.0, x.magnitude)
    n, n_bits = code.nearest(size.times_plus(2 / math.log(2), -0.5))
    r = n.times_plus(-_F32.log2_low, n.times_plus(-_F32.log2_high, size + size))
    power = (r * r).times_plus(code.polynomial(r, _POSITIVE_EXPM1), r)
    scale = code.power_of_two(n_bits)
    e = scale.times_plus(power, scale - 1.0)
    divisor = e + 2.0
    lost = e - (divisor - 2.0)
    reciprocal = 1.0 / divisor
    quotient = e * reciprocal
    rest = (-quotient).times_plus(lost, (-quotient).times_plus(divisor, e))
    return rest.times_plus(reciprocal, quotient).with_sign_of(x)


def _tanh_f64(code: FloatCode, x: Real) -> Real:
    size = code.minimum(22.0, x.magnitude)
    half, half_lost = _expm1_scaled(code, size + size, 1)
    divisor = half + 1.0
    divisor_lost = ((1.0 - divisor) + half) + half_lost
    reciprocal = 1.0 / divisor
    quotient = half * reciprocal
    rest = (-quotient).times_plus(divisor, half) + (half_lost - quotient * divisor_lost)
    result = rest.times_plus(reciprocal, quotient).with_sign_of(x)
    return code.select(x.magnitude < math.sqrt(code.precision.half_ulp), x, result)


def sinh(code: FloatCode, x: Real) -> Real:
    """Return the hyperbolic sine, ``(e + e/(e + 1)) / 2`` with ``e = expm1 |x|``."""
    quarter, lost = _expm1_scaled(code, code.minimum(_hyperbolic_overflow(code), x.magnitude), 2)
    weight = 0.25 / (quarter + 0.25)
    # the derivative of quarter * weight by quarter is the square of weight
    correction = lost * weight.times_plus(weight, 1.0)
    result = ((quarter + quarter.times_plus(weight, correction)) * 2.0).with_sign_of(x)
    return code.select(x.magnitude < math.sqrt(code.precision.half_ulp), x, result)


def _hyperbolic_overflow(code: FloatCode) -> float:
    """Return a number a little above the one from which the hyperbolic sine and cosine are infinite."""
    return _constants(code).overflow + 0.7


def cosh(code: FloatCode, x: Real) -> Real:
    """Return the hyperbolic cosine."""
    size = code.minimum(_hyperbolic_overflow(code), x.magnitude)
    parts = _reduced(code, size)
    scale = code.power_of_two(parts.n_bits - 2)
    quarter = scale * (1.0 + (parts.r + parts.tail))
    return (quarter + 0.0625 / quarter) * 2.0
