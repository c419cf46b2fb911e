"""Powers and roots: ``pow``, ``cbrt``.

Owns their formulas, branch-free. Invariant: error below 2 ULP; `power` holds where `is_plain_power`.

A power is ``exp(y * log x)``, with the logarithm in two parts. Both functions start from a table that a register or two
hold: of reciprocals and logarithms of 16 (float32: 32) parts of an octave, and of as many roots of two. What is left to
polynomials (minimax, found by Remez' exchange in 60-digit arithmetic) is so near 1 that they are short, and that only
their first terms need the second part.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth

#: cbrt t of the ratio: a polynomial p with ``cbrt(1/r) == p(r)`` to 23 bits, for the error r of the first estimate
_ROOT_CORRECTION = (
    *(1.87595182427177009643, -1.88497979543377169875, 1.621429720105354466140),
    *(-0.758397934778766047437, 0.145996192886612446982),
)
#: high word of the float64 that the first estimate of a cube root is when the exponent field is divided by three
_ROOT_BIAS = 715094163
#: the same of float32, and how many low bits its estimate does without
_ROOT_BIAS_F32, _DROPPED_BITS = 709958130, 10


def cbrt(code: FloatCode, x: Real) -> Real:
    """Return the cube root."""
    return _cbrt_f64(code, x) if code.is_f64 else _cbrt_f32(code, x)


def _cbrt_f32(code: FloatCode, x: Real) -> Real:
    """Return the cube root as `_cbrt_f64` does, but that it divides once."""
    regular = (x.magnitude < math.inf) & (x.magnitude > 0.0)
    size = code.select(regular, x.magnitude, 1.0)
    subnormal = size < code.precision.tiny
    normal = size * code.select(subnormal, 2.0**24, 1.0)
    # a third of the bits that a float holds exactly
    _, third = code.nearest((normal.bits >> _DROPPED_BITS).to_real(), 1 / 3)
    estimate = ((third + (_ROOT_BIAS_F32 >> _DROPPED_BITS)) << _DROPPED_BITS).as_real
    per_number = estimate / normal
    refined = estimate * code.polynomial((estimate * estimate) * per_number, _ROOT_CORRECTION)
    square = refined * refined
    missing = (-square).fused(refined, normal) - refined.fused(refined, -square) * refined
    # nearly divided by three times the square
    root = missing.times_plus(per_number * (1 / 3), refined)
    root = code.select(subnormal, root * 2.0**-8, root)
    return code.select(regular, root.with_sign_of(x), x + x)


def _cbrt_f64(code: FloatCode, x: Real) -> Real:
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


@dataclass(frozen=True, slots=True)
class _Constants:
    """What powers need in one precision.

    ``reciprocals`` has for each part of the octave that begins at ``start`` (a fraction of the octave from 1/2) a
    number c, so short that for the mantissas m of that part ``m*c - 1`` is exact, and less than 0.034 (0.02).
    ``logarithm`` is q in ``log(1 + r) = r - r*r/2 + r*r*r*q(r)``, ``exponential`` is q in
    ``exp r = 1 + r + r*r*q(r)``. The product of an exponent and a multiple of ``grid`` below 1 is exact. Where the
    magnitude of ``y`` is below ``largest``, ``y * log x`` is finite. Beyond ``overflow`` (below ``underflow``) ``exp``
    is infinite (zero), by a margin.
    """

    start: float
    reciprocals: tuple[float, ...]
    logarithm: tuple[float, ...]
    exponential: tuple[float, ...]
    grid: float
    largest: float
    overflow: float
    underflow: float

    @property
    def index_bits(self) -> int:
        """The bits of a part's number."""
        return len(self.reciprocals).bit_length() - 1


F64 = _Constants(
    start=3.515625 / 16,
    reciprocals=(
        *(1.59375, 1.53125, 1.4375, 1.375, 1.34375, 1.28125, 1.21875, 1.1875),
        *(1.15625, 1.09375, 1.0625, 1.03125, 1.0, 0.9375, 0.890625, 0.84375),
    ),
    logarithm=(
        *(0.3333333333333333, -0.24999999999998537, 0.1999999999999465, -0.16666666677190622, 0.14285714306758202),
        *(-0.1249997491356549, 0.11111075585365902, -0.10024385241614975, 0.0911802154877603),
    ),
    exponential=(
        *(0.5000000000000006, 0.16666666664408836, 0.04166666665963427, 0.008333472201204327),
        0.0013889129388368671,
    ),
    grid=2.0**-42,
    largest=2.0**64,
    overflow=709.9,
    underflow=-745.2,
)
_F32 = _Constants(
    start=6.515625 / 32,
    reciprocals=(
        *(1.640625, 1.59375, 1.5625, 1.53125, 1.484375, 1.453125, 1.421875, 1.390625, 1.359375, 1.328125, 1.3125),
        *(1.28125, 1.25, 1.234375, 1.203125, 1.1875, 1.15625, 1.140625, 1.125, 1.109375, 1.078125, 1.0625, 1.046875),
        *(1.03125, 1.015625, 1.0, 0.96875, 0.9375, 0.9140625, 0.890625, 0.859375, 0.84375),
    ),
    logarithm=(0.3333333134651184, -0.2500719726085663, 0.20008176565170288),
    exponential=(0.5000040531158447, 0.166667640209198),
    grid=2.0**-16,
    largest=2.0**64,
    overflow=88.8,
    underflow=-104.0,
)


def _constants(code: FloatCode) -> _Constants:
    return F64 if code.is_f64 else _F32


_Pair = tuple[float, float]


@functools.cache
def _tables(is_f64: bool) -> tuple[tuple[_Pair, ...], tuple[_Pair, ...], _Pair]:
    """Return, each in two parts, minus the logarithms of the reciprocals, the roots of two, and the logarithm of two.

    The first parts of logarithms are multiples of the grid; those of roots are rounded to the precision.
    """
    known = F64 if is_f64 else _F32
    rounded = np.float64 if is_f64 else np.float32
    count = len(known.reciprocals)

    def in_grid(value: Decimal) -> _Pair:
        high = round(value / Decimal(known.grid)) * Decimal(known.grid)
        return float(high), float(value - high)

    def to_precision(value: Decimal) -> _Pair:
        high = float(rounded(float(value)))
        return high, float(value - Decimal(high))

    with localcontext() as context:
        context.prec = 50
        log_2 = Decimal(2).ln()
        logarithms = tuple(in_grid(-Decimal(c).ln()) for c in known.reciprocals)
        roots = tuple(to_precision((log_2 * number / count).exp()) for number in range(count))
        return logarithms, roots, in_grid(log_2)


def _precise_log(code: FloatCode, x: Real) -> tuple[Real, Real]:
    """Return the logarithm of what `prepared` gives, in two parts to some 64 (32) bits."""
    known = _constants(code)
    logarithms, _, log_2 = _tables(code.is_f64)
    mantissa, bias = code.precision.mantissa, code.precision.bias
    moved = x.bits - (((bias - 1) << mantissa) + int(known.start * 2**mantissa))
    part = moved >> (mantissa - known.index_bits)
    m = (x.bits - (moved & -(1 << mantissa))).as_real
    k = moved.shifted_right_signed(mantissa).to_real()
    r = m.fused(code.looked_up(known.reciprocals, part), -1.0)
    above = k.times_plus(log_2[0], code.looked_up([high for high, _ in logarithms], part))
    below = k.times_plus(log_2[1], code.looked_up([low for _, low in logarithms], part))
    square, half = r * r, -0.5 * r
    cubic = r * square
    if not code.is_f64:
        total = above + r
        lost = ((above - total) + r) + below
        return _added(total, half.times_plus(r, cubic.times_plus(code.polynomial(r, known.logarithm), lost)))
    # half the square has to be precise in two parts
    start = half.fused(r, r)
    start_low = half.fused(r, r - start)
    total = above + start
    lost = ((above - total) + start) + (start_low + below)
    return _added(total, cubic.times_plus(code.polynomial(r, known.logarithm), lost))


def _added(a: Real, b: Real) -> tuple[Real, Real]:
    """Return the sum and what it lost to rounding, where ``a`` is the larger one."""
    total = a + b
    return total, (a - total) + b


def _exp_of_sum(code: FloatCode, high: Real, low: Real) -> Real:
    """Return the exponential of a sum, the second part of which is no more than the rounding error of the first."""
    known = _constants(code)
    _, roots, _ = _tables(code.is_f64)
    count = len(roots)
    clamped = code.maximum(known.underflow, code.minimum(known.overflow, high))
    # a number whose last place is one part of an octave, so that adding it rounds to parts
    shift = 1.5 * 2.0**code.precision.mantissa / count
    shifted = clamped.times_plus(1 / math.log(2), shift)
    n = shifted - shift
    first, second = _log_2_to_precision(code)
    r = (-n).fused(second, (-n).fused(first, high)) + low
    # it is more than half a part of an octave only where the sum was clamped: above, that makes the result infinite
    r = code.maximum(-1 / count, r)
    power = (r * r).times_plus(code.polynomial(r, known.exponential), r)
    root = code.looked_up([high for high, _ in roots], shifted.bits)
    root_low = code.looked_up([low for _, low in roots], shifted.bits)
    return code.scaled_by_floor(root + root.times_plus(power, root_low), n)


def _log_2_to_precision(code: FloatCode) -> _Pair:
    if code.is_f64:
        return math.log(2), 2.3190468138462996e-17
    first = float(np.float32(math.log(2)))
    return first, math.log(2) - first


def power(code: FloatCode, x: Real, y: Real) -> Real:
    """Return ``x`` to the power ``y``, for what `prepared` gives."""
    total, rest = _precise_log(code, x)
    high = y * total
    return _exp_of_sum(code, high, y.times_plus(rest, y.fused(total, -high)))


def is_common_power(code: FloatCode, x: Real, y: Real) -> Truth:
    """Return whether `power` holds for the operands as they are: for a positive normal base."""
    mantissa, bias = code.precision.mantissa, code.precision.bias
    normal = x.bits.is_between(1 << mantissa, (2 * bias + 1) << mantissa)
    return normal & (y.magnitude < _constants(code).largest)


def prepared(code: FloatCode, x: Real, y: Real) -> tuple[Real, ...]:
    """Return the operands of `power`: the base's magnitude, or, if that is zero, 1.

    A subnormal number is given as if it was normal, its exponent's field a negative number that takes up the sign.
    """
    size = code.select(x.equals(0.0), 1.0, x.magnitude)
    # its bits are a multiple of the smallest number; multiplying it would make the processor take a detour
    mantissa = code.precision.mantissa
    moved = (size.bits.to_real().bits - ((code.precision.bias + mantissa - 1) << mantissa)).as_real
    return code.select(size < code.precision.tiny, moved, size), y


def finished(code: FloatCode, result: Real, x: Real, y: Real) -> Real:
    """Return the power of ``x``, given that of its magnitude: negative for odd ``y``; zero, if ``x`` is."""
    half = y * 0.5
    odd = _is_whole(code, y) & ~_is_whole(code, half) & (y.magnitude < 2.0 ** (code.precision.mantissa + 1))
    result = code.select(x.equals(0.0), 0.0, result)
    return code.select((x.bits < 0) & odd, -result, result)


def _is_whole(code: FloatCode, x: Real) -> Truth:
    return x.equals(code.intrinsic("llvm.rint", x))


def is_plain_power(code: FloatCode, x: Real, y: Real) -> Truth:
    """Return whether the power is computed here.

    It is for finite operands, but for zero to powers that are not positive, and negative numbers to fractional ones.
    """
    finite = (x.magnitude < math.inf) & (y.magnitude < _constants(code).largest)
    return finite & ((x > 0.0) | (x.equals(0.0) & (y > 0.0)) | ((x < 0.0) & _is_whole(code, y)))
