"""The remainder of a division, ``fmod``.

Owns its formula. Invariant: the result is exact, C's.
"""

from __future__ import annotations

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth


def is_plain_division(code: FloatCode, x: Real, y: Real) -> Truth:
    """Return whether `fmod` holds: for a quotient whose integral part is a float, of finite numbers."""
    mantissa, bias = code.precision.mantissa, code.precision.bias
    bits = y.magnitude.bits
    normal = ~(bits < 1 << mantissa) & (bits < (2 * bias + 1) << mantissa)
    return normal & (x.magnitude * 2.0 ** (2 - mantissa) < y.magnitude)


def fmod(code: FloatCode, x: Real, y: Real) -> Real:
    """Return what is left of ``x`` after subtracting ``y`` a whole number of times, with the sign of ``x``."""
    size, divisor = x.magnitude, y.magnitude
    # rounding may make the quotient a whole number that it is not quite, but never less than its integral part
    times = code.intrinsic("llvm.trunc", size / divisor)
    # no rounding: the difference is a multiple of the operands' last places, and less than the divisor
    rest = (-times).fused(divisor, size)
    return code.select(rest < 0.0, rest + divisor, rest).with_sign_of(x)
