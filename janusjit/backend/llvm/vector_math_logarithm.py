"""Logarithms: ``log``, ``log2``, ``log10``, ``log1p``.

Owns their formulas, branch-free and with an error below 2 ULP. All split the argument into ``2**k * m`` with ``m``
around 1 and use ``log m = 2 artanh((m-1)/(m+1))`` with a minimax polynomial (found by Remez' exchange in 60-digit
arithmetic). Invariant: NumPy's results and floating-point flags for zeros, negative numbers, infinities and NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_exponential import exp


@dataclass(frozen=True, slots=True)
class _Constants:
    """What the logarithms need in one precision.

    ``series`` is q in ``2 artanh s = 2 s + s * (z*q(z))`` with ``z = s*s``. Each pair is a number in two parts, the
    high part so short that its product with an exponent, or with a `_truncated` number, is exact.
    """

    series: tuple[float, ...]
    log_2: tuple[float, float]
    log10_2: tuple[float, float]
    per_log_2: tuple[float, float]
    per_log_10: tuple[float, float]
    low_bits: int


_F64 = _Constants(
    series=(
        *(0.6666666666666735, 0.39999999999407493, 0.2857142874414077, 0.22222198378512822),
        *(0.18183575164415838, 0.15313755770878376, 0.14799066158301727),
    ),
    log_2=(0.6931471803691238, 1.9082149292705877e-10),
    log10_2=(0.3010299955494702, 1.1451100898021838e-10),
    per_log_2=(1.4426946640014648, 3.768874985636099e-07),
    per_log_10=(0.4342944622039795, 1.9699272335463627e-08),
    low_bits=32,
)
_F32 = _Constants(
    series=(0.6666677594184875, 0.3997744917869568, 0.2987443804740906),
    log_2=(0.693115234375, 3.194618329871446e-05),
    log10_2=(0.301025390625, 4.605039066518657e-06),
    per_log_2=(1.4423828125, 0.00031222839606925845),
    per_log_10=(0.4342041015625, 9.038033749675378e-05),
    low_bits=12,
)


#: a polynomial for ``0.5 / (1 + f)`` between the square roots of 1/2 and 2, less one, to 6 bits
_HALF_RECIPROCAL = (0.5025, -0.540305, 0.45712)


def _constants(code: FloatCode) -> _Constants:
    return _F64 if code.is_f64 else _F32


def _split(code: FloatCode, x: Real) -> tuple[Real, Real]:
    """Return ``k`` and ``m`` with ``x == 2**k * m`` and ``m`` between the square roots of 1/2 and 2.

    For a finite positive normal ``x``.
    """
    mantissa, bias = code.precision.mantissa, code.precision.bias
    root_half = bits_of_root_half(code)
    # the exponent field, moved so that it steps at the square root of 1/2
    moved = x.bits - root_half + (bias << mantissa)
    exponent = moved >> mantissa
    m = (x.bits - (exponent << mantissa) + (bias << mantissa)).as_real
    shift = 1.5 * 2.0**mantissa
    k = (exponent + code.real(shift).bits).as_real - (shift + bias)
    return k, m


def bits_of_root_half(code: FloatCode) -> int:
    """Return the representation of the square root of 1/2."""
    mantissa = code.precision.mantissa
    return ((code.precision.bias - 1) << mantissa) + int((math.sqrt(0.5) * 2 - 1) * 2**mantissa)


def _artanh_terms(code: FloatCode, f: Real, divide_by_zero: Truth) -> tuple[Real, Real]:
    """Return ``h = f*f/2`` and ``t`` such that ``log(1 + f) == f - h + t``.

    Where ``divide_by_zero``, ``t`` is minus infinity, and the flag for division by zero is raised.
    """
    s = code.select(divide_by_zero, -1.0, f) / code.select(divide_by_zero, 0.0, f + 2.0)
    z = s * s
    half_square = 0.5 * f * f
    series = z * code.polynomial(z, _constants(code).series)
    return half_square, s * (half_square + series)


def _normalised(code: FloatCode, x: Real) -> tuple[Real, Real]:
    """Return ``x``, made normal if it is subnormal, and the exponent to add for that."""
    power = code.precision.mantissa + 2
    subnormal = x < code.precision.tiny
    return x * code.select(subnormal, 2.0**power, 1.0), code.select(subnormal, -float(power), 0.0)


def finished_logarithm(code: FloatCode, x: Real, main: Real, rest: Real) -> Real:
    """Return ``main + rest`` where ``x`` is positive and finite, else what a logarithm of ``x`` is.

    Below zero infinities of both signs are added: that gives NaN and raises the flag for an invalid operation.
    """
    main = code.select(x < 0.0, math.inf, main)
    rest = code.select(x.bits < 0, -math.inf, rest)
    return code.select(x < math.inf, main + rest, x)


def exponent_and_mantissa(code: FloatCode, x: Real) -> tuple[Real, Real]:
    """Return ``k`` and ``m`` with ``x == 2**k * m``, ``m`` around 1, for a positive finite ``x``."""
    normal, extra = _normalised(code, x)
    k, m = _split(code, normal)
    return k + extra, m


def log(code: FloatCode, x: Real) -> Real:
    """Return the natural logarithm."""
    high, low = _constants(code).log_2
    k, m = exponent_and_mantissa(code, x)
    f = m - 1.0
    half_square, tail = _artanh_terms(code, f, x.equals(0.0))
    return finished_logarithm(code, x, k * high, f - (half_square - k.times_plus(low, tail)))


def _truncated(code: FloatCode, x: Real) -> Real:
    """Return ``x`` without its low mantissa bits."""
    return (x.bits & -(1 << _constants(code).low_bits)).as_real


def _log_in_base(
    code: FloatCode, x: Real, per_log: tuple[float, float], of_two: tuple[float, float]
) -> Real:
    """Return ``log(x) * per_log``; ``of_two`` is the logarithm of two in the base."""
    k, m = exponent_and_mantissa(code, x)
    f = m - 1.0
    half_square, tail = _artanh_terms(code, f, x.equals(0.0))
    high = _truncated(code, f - half_square)
    low = ((f - high) - half_square) + tail
    scaled_high = high * per_log[0]
    scaled_low = (low + high).times_plus(per_log[1], low * per_log[0])
    exponent = k * of_two[0]
    total = exponent + scaled_high
    lost = (exponent - total) + scaled_high
    return finished_logarithm(code, x, total, lost + k.times_plus(of_two[1], scaled_low))


def log2(code: FloatCode, x: Real) -> Real:
    """Return the logarithm to base 2."""
    return _log_in_base(code, x, _constants(code).per_log_2, (1.0, 0.0))


def log10(code: FloatCode, x: Real) -> Real:
    """Return the logarithm to base 10."""
    return _log_in_base(code, x, _constants(code).per_log_10, _constants(code).log10_2)


def log1p(code: FloatCode, x: Real) -> Real:
    """Return ``log(1 + x)``, accurate near zero."""
    high, low = _constants(code).log_2
    y = x + 1.0
    k, m = _split(code, y)
    near = k.equals(0.0)
    f = code.select(near, x, m - 1.0)
    # what the sum 1 + x lost, by the order of its operands' sizes
    lost = code.select(x < 1.0, x - (y - 1.0), 1.0 - (y - x))
    at_pole = x.equals(-1.0)
    # over y, to the few bits that count; twice the power of two is representable for the largest y too
    divisor = code.select(at_pole, 1.0, y)
    twice = (m.bits - divisor.bits + ((code.precision.bias + 1) << code.precision.mantissa)).as_real
    correction = code.select(near | at_pole, 0.0, lost) * (twice * code.polynomial(f, _HALF_RECIPROCAL))
    half_square, tail = _artanh_terms(code, f, at_pole)
    rest = f - (half_square - (k.times_plus(low, correction) + tail))
    main = code.select(x < -1.0, math.inf, k * high)
    result = main + code.select(x <= -1.0, -math.inf, rest)
    result = code.select(x < math.inf, result, x)
    return code.select(x.magnitude < code.precision.half_ulp, x, result)


def logaddexp(code: FloatCode, x: Real, y: Real) -> Real:
    """Return ``log(exp x + exp y)``, by NumPy's formula."""
    difference = x - y
    tail = log1p(code, exp(code, -difference.magnitude))
    larger = code.select(difference > 0.0, x, y)
    # equal infinities have no difference
    return code.select(x.equals(y), x + math.log(2), larger + tail)
