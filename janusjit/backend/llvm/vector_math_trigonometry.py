"""Trigonometric functions: ``sin``, ``cos``, ``tan``, ``arctan``, ``arctan2``.

Owns their formulas, branch-free and with an error below 2 ULP; the first three need arguments that `is_reducible`.
Polynomials are minimax (found by Remez' exchange in 60-digit arithmetic). Invariant: NumPy's results for zeros,
infinities and NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth, Whole


@dataclass(frozen=True, slots=True)
class _Constants:
    """What the functions need in one precision.

    ``sine`` is q in ``sin r = r + r*z*q(z)``, ``cosine`` is q in ``cos r = 1 - z/2 + z*z*q(z)``, ``arctangent`` is q in
    ``arctan r = r + r*z*q(z)`` for ``|r| <= tan(pi/8)``, with ``z = r*r``. ``half_pi`` is pi/2 in parts, the first
    rounded to the precision. Up to ``largest`` the parts are enough to reduce an argument.
    """

    sine: tuple[float, ...]
    cosine: tuple[float, ...]
    arctangent: tuple[float, ...]
    half_pi: tuple[float, float, float]
    largest: float


_F64 = _Constants(
    sine=(
        *(-0.16666666666666632, 0.008333333333322316, -0.00019841269829725438, 2.7557313662122315e-06),
        *(-2.505075327303652e-08, 1.5896505373298765e-10),
    ),
    cosine=(
        *(0.0416666666666666, -0.0013888888888873992, 2.4801587289395573e-05, -2.755731432618067e-07),
        *(2.0875719575191816e-09, -1.135944937573465e-11),
    ),
    arctangent=(
        *(-0.333333333333332, 0.19999999999953247, -0.14285714280159623, 0.11111110781491547, -0.0909089769768534),
        *(0.07692059086163973, -0.06663090531177593, 0.05847785971531595, -0.05038817029629405, 0.03805162313911062),
        -0.01789245970342234,
    ),
    half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    largest=2.0**40,
)
_F32 = _Constants(
    sine=(-0.16666655242443085, 0.008332173340022564, -0.00019516656175255775),
    cosine=(0.04166664555668831, -0.001388736185617745, 2.443773155391682e-05),
    arctangent=(
        *(-0.33333316445350647, 0.19998478889465332, -0.14243628084659576, 0.10594271868467331, -0.06078845262527466),
    ),
    half_pi=(1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    largest=2.0**17,
)
#: q in ``tan r = r + r*z*q(z)`` with ``z = r*r``, for ``|r|`` up to pi/4, in float32
_TANGENT = (
    *(0.33333349227905273, 0.1333267241716385, 0.054059430956840515, 0.02128293365240097, 0.010837065055966377),
    *(8.491668268106878e-05, 0.004379736725240946),
)


def _constants(code: FloatCode) -> _Constants:
    return _F64 if code.is_f64 else _F32


def is_reducible(code: FloatCode, x: Real) -> Truth:
    """Return whether ``sin``, ``cos`` and ``tan`` are computed here: not for huge arguments, infinities and NaN."""
    return x.magnitude < _constants(code).largest


def _reduced(code: FloatCode, x: Real) -> tuple[Real, Real, Whole]:
    """Return ``x`` less the nearest multiple of pi/2, in two parts, and that multiple's number in the low bits."""
    total, tail, n_bits = reduced_by(code, x, 2)
    r = total + tail
    return r, (total - r) + tail, n_bits


def reduced_by(code: FloatCode, x: Real, count: int) -> tuple[Real, Real, Whole]:
    """Return ``x`` less the nearest multiple of ``pi/count``, a power of two, as `_reduced` does.

    Where the first part is very small, the second need not be small beside it.
    """
    first, second, third = (part * 2 / count for part in _constants(code).half_pi)
    n, n_bits = code.nearest(x, count / math.pi)
    # exact: the difference has no more bits than x, and is no finer than a unit in the last place of the divisor
    rough = (-n).fused(first, x)
    high = n * second
    low = n.fused(second, -high) + n * third
    total = rough - high
    # the error of the subtraction, whichever operand is larger
    moved = total - rough
    lost = (rough - (total - moved)) - (high + moved)
    return total, lost - low, n_bits


def _sine(code: FloatCode, r: Real, tail: Real) -> tuple[Real, Real]:
    """Return two parts whose sum is ``sin(r + tail)``, for ``|r|`` up to pi/4."""
    z = r * r
    first, *rest = _constants(code).sine
    cubic = z * r
    series = code.polynomial(z, tuple(rest))
    return r, cubic.times_plus(first, (z * cubic).times_plus(series, tail - 0.5 * z * tail))


def _cosine(code: FloatCode, r: Real, tail: Real) -> tuple[Real, Real]:
    """Return two parts whose sum is ``cos(r + tail)``, for ``|r|`` up to pi/4."""
    z = r * r
    half = 0.5 * z
    start = 1.0 - half
    lost = (1.0 - start) - half
    return start, (z * z).times_plus(code.polynomial(z, _constants(code).cosine), lost - r * tail)


def _with_bit_as_sign(code: FloatCode, x: Real, number: Whole, bit: int) -> Real:
    """Return ``x``, negated where a bit of ``number`` is set."""
    sign = (number >> bit) << (code.precision.width - 1)
    return (x.bits ^ sign).as_real


def _sine_and_cosine(code: FloatCode, x: Real) -> tuple[Truth, Whole, tuple[Real, Real], tuple[Real, Real]]:
    """Return whether the quadrant's number is even, that number in the low bits, and sine and cosine of the rest."""
    r, tail, quadrant = _reduced(code, x)
    return (quadrant & 1).equals(0), quadrant, _sine(code, r, tail), _cosine(code, r, tail)


def _brief_sine_and_cosine(code: FloatCode, x: Real) -> tuple[Truth, Whole, tuple[Real, Real], tuple[Real, Real]]:
    """Return what `_sine_and_cosine` does, in fewer instructions, the results good to 2 ULP only when added up."""
    if code.is_f64:
        return _sine_and_cosine(code, x)
    first, second, third = _F32.half_pi
    n, quadrant = code.nearest(x, 2 / math.pi)
    rough = (-n).fused(first, x)  # exact, as in `_reduced`
    high = n * second
    r = rough - high  # exact where that cancels
    tail = (-n).times_plus(third, (-n).fused(second, high))
    z = r * r
    sine = (r, (r * z).times_plus(code.polynomial(z, _F32.sine), tail))
    cosine = (1.0 - 0.5 * z, (z * z) * code.polynomial(z, _F32.cosine))
    return (quadrant & 1).equals(0), quadrant, sine, cosine


def sin(code: FloatCode, x: Real) -> Real:
    """Return the sine."""
    even, quadrant, sine, cosine = _brief_sine_and_cosine(code, x)
    result = code.select(even, sine[0], cosine[0]) + code.select(even, sine[1], cosine[1])
    # the reduction loses the sign of a zero
    return code.select(x.equals(0.0), x, _with_bit_as_sign(code, result, quadrant, 1))


def cos(code: FloatCode, x: Real) -> Real:
    """Return the cosine."""
    even, quadrant, sine, cosine = _brief_sine_and_cosine(code, x)
    result = code.select(even, cosine[0], sine[0]) + code.select(even, cosine[1], sine[1])
    return _with_bit_as_sign(code, result, quadrant + 1, 1)


def tan(code: FloatCode, x: Real) -> Real:
    """Return the tangent: the quotient of two sums, corrected for what the sums lost."""
    if not code.is_f64:
        return _tan_f32(code, x)
    even, quadrant, sine, cosine = _sine_and_cosine(code, x)
    above = [code.select(even, a, b) for a, b in zip(sine, cosine, strict=True)]
    below = [code.select(even, b, a) for a, b in zip(sine, cosine, strict=True)]
    numerator, denominator = above[0] + above[1], below[0] + below[1]
    numerator_lost = (above[0] - numerator) + above[1]
    denominator_lost = (below[0] - denominator) + below[1]
    reciprocal = 1.0 / denominator
    quotient = numerator * reciprocal
    rest = (-quotient).times_plus(denominator, numerator) + (numerator_lost - quotient * denominator_lost)
    result = rest.times_plus(reciprocal, quotient)
    return code.select(x.equals(0.0), x, _with_bit_as_sign(code, result, quadrant, 0))


def _tan_f32(code: FloatCode, x: Real) -> Real:
    """Return the tangent: of the rest by a polynomial, or minus its reciprocal, corrected for what sums lost."""
    r, tail, quadrant = _reduced(code, x)
    odd = ~(quadrant & 1).equals(0)
    z = r * r
    # the derivative of the tangent is about 1 + z, as far as the tail can tell
    low = (r * z).times_plus(code.polynomial(z, _TANGENT), tail.times_plus(z, tail))
    total = r + low
    reciprocal = -1.0 / code.select(x.magnitude < 0.5, 2.0 + x, total)  # small ones stay as they are
    lost = (r - total) + low
    turned = (reciprocal * reciprocal).times_plus(lost, reciprocal)
    return code.select(x.equals(0.0), x, code.select(odd, turned, total))


def _arctangent(code: FloatCode, y: Real, x: Real) -> tuple[Real, Real]:
    """Return two parts whose sum is the angle of the point ``(x, y)`` in the first quadrant."""
    first, second, _ = _constants(code).half_pi
    eighth = math.tan(math.pi / 8)
    steep, middle = y * eighth > x, y > x * eighth
    # arctan t = pi/2 - arctan 1/t = pi/4 + arctan (t-1)/(t+1)
    numerator = code.select(steep, -x, code.select(middle, y - x, y))
    denominator = code.select(steep, y, code.select(middle, y + x, x))
    base = code.select(steep, first, code.select(middle, first / 2, 0.0))
    base_low = code.select(steep, second, code.select(middle, second / 2, 0.0))
    r = numerator / denominator
    z = r * r
    tail = (r * z).times_plus(code.polynomial(z, _constants(code).arctangent), base_low)
    total = base + r
    # the base is the larger part, where it is not zero
    return total, ((base - total) + r) + tail


def arctan(code: FloatCode, x: Real) -> Real:
    """Return the arc tangent."""
    size = code.minimum(2.0 ** (code.precision.mantissa + 8), x.magnitude)
    high, low = _arctangent(code, size, code.real(1.0))
    result = (high + low).with_sign_of(x)
    return code.select(x.magnitude < math.sqrt(code.precision.half_ulp), x, result)


def is_common_point(code: FloatCode, y: Real, x: Real) -> Truth:
    """Return whether `arctan2` holds for coordinates as they are: normal numbers, and not near the limits."""
    return _is_moderate(code, y) & _is_moderate(code, x)


def is_plain_point(code: FloatCode, y: Real, x: Real) -> Truth:
    """Return whether the angle is computed here: of points whose coordinates are common ones or zero."""
    return (_is_moderate(code, y) | y.equals(0.0)) & (_is_moderate(code, x) | x.equals(0.0))


def _is_moderate(code: FloatCode, x: Real) -> Truth:
    # the thresholds in `_arctangent` are neither subnormal nor infinite, and neither are sums of coordinates
    mantissa, bias = code.precision.mantissa, code.precision.bias
    bits = x.magnitude.bits
    return bits.is_between(4 << mantissa, (2 * bias - 1) << mantissa)


def without_origin(code: FloatCode, y: Real, x: Real) -> tuple[Real, ...]:
    """Return the coordinates, the origin's moved to the side: NumPy's angle there is that of ``x``, 0 or pi."""
    origin = y.equals(0.0) & x.equals(0.0)
    return y, code.select(origin, code.real(1.0).with_sign_of(x), x)


def arctan2(code: FloatCode, y: Real, x: Real) -> Real:
    """Return the angle of the point ``(x, y)``."""
    first, second, _ = _constants(code).half_pi
    high, low = _arctangent(code, y.magnitude, x.magnitude)
    left = x.bits < 0
    # to the left the angle is pi less that of the mirrored point
    base, base_low = code.select(left, 2 * first, 0.0), code.select(left, 2 * second, 0.0)
    mirrored, mirrored_low = code.select(left, -high, high), code.select(left, -low, low)
    total = base + mirrored
    lost = (base - total) + mirrored
    return (total + (lost + (mirrored_low + base_low))).with_sign_of(y)
