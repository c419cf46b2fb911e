"""The tangent from tables that registers hold, where AVX-512 picks numbers from two of them.

Owns its formula. The argument is reduced by multiples of pi/16 (float32: pi/32), for which the tables have numbers in
the ratio of sine and cosine; what is left is so small that few terms of a series give its tangent, and the addition
theorem does the rest. Invariant: an error below 2 ULP for arguments that `trigonometry.is_reducible`.
"""

from __future__ import annotations

import functools
import math
from decimal import Decimal, localcontext

from janusjit.backend.llvm.vector_math_code import FloatCode, Real
from janusjit.backend.llvm.vector_math_trigonometry import reduced_by

#: the series of ``tan r = r + r*z*q(z)`` with ``z = r*r``
_SERIES = (1 / 3, 2 / 15, 17 / 315, 62 / 2835, 1382 / 155925, 21844 / 6081075)
#: so many of its terms count in float32
_TERMS_F32 = 2
#: bits of the ratios beyond the mantissa
_MORE_BITS = 11


@functools.cache
def _tables(mantissa: int, count: int) -> tuple[list[float], list[float]]:
    """Return for each multiple of ``pi/count`` two numbers of so many bits with its tangent as their ratio, nearly."""
    rows = [(0.0, 1.0)]
    with localcontext() as context:
        context.prec = 50
        tangent = Decimal(1)
        for _ in range((count // 4).bit_length() - 1):  # half the angle each time, from pi/4
            tangent = ((1 + tangent * tangent).sqrt() - 1) / tangent
        cosine = 1 / (1 + tangent * tangent).sqrt()
        sine = tangent * cosine
        s, c = sine, cosine
        for number in range(1, count):
            if number == count // 2:
                rows.append((1.0, 0.0))
            else:
                rows.append(_in_ratio(s, c, mantissa))
            s, c = s * cosine + c * sine, c * cosine - s * sine
    return [row[0] for row in rows], [row[1] for row in rows]


def _in_ratio(s: Decimal, c: Decimal, mantissa: int) -> tuple[float, float]:
    """Return numbers near ``s`` and ``c`` whose ratio is theirs to more bits than they have."""
    ratio = int(abs(s / c) * 2**128)
    number = int(abs(c) * 2**mantissa)
    while True:
        exact = number * ratio  # times 2**(mantissa + 128)
        dropped = exact.bit_length() - mantissa
        rounded = (exact + (1 << (dropped - 1))) >> dropped
        if abs(exact - (rounded << dropped)) << _MORE_BITS < 1 << dropped:
            break
        number += 1
    return math.ldexp(rounded, dropped - 128 - mantissa), math.copysign(math.ldexp(number, -mantissa), c)


def tan(code: FloatCode, x: Real) -> Real:
    """Return the tangent: the quotient of two sums, corrected for what the sums lost."""
    count = 16 if code.is_f64 else 32
    sines, cosines = _tables(code.precision.mantissa + 1, count)
    r, tail, n_bits = reduced_by(code, x, count)
    z = r * r
    rest = (r * z).times_plus(code.polynomial(z, _SERIES if code.is_f64 else _SERIES[:_TERMS_F32]), tail)
    t = r + rest
    sine, cosine = code.looked_up(sines, n_bits), code.looked_up(cosines, n_bits)
    above, below = cosine.fused(t, sine), (-sine).fused(t, cosine)
    above_lost, below_lost = cosine.fused(t, sine - above), (-sine).fused(t, cosine - below)
    reciprocal = 1.0 / below
    quotient = above * reciprocal
    missing = (-quotient).fused(below, above) + (-quotient).times_plus(below_lost, above_lost)
    # the reduction loses the sign of a zero
    return code.select(x.equals(0.0), x, missing.times_plus(reciprocal, quotient))
