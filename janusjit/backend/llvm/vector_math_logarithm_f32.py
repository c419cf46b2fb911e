"""Logarithms in float32, without the division that takes most of the time of those in other formats.

Owns their formulas and their precautions. Invariant: an error below 2 ULP; NumPy's results and floating-point flags for
zeros, negative numbers, infinities and NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth
from janusjit.backend.llvm.vector_math_logarithm import bits_of_root_half, finished_logarithm


@dataclass(frozen=True, slots=True)
class _Constants:
    """What a base needs: logarithm of two, derivative at 1, and q in ``log(1 + f) = f*slope + f*f*q(f)``.

    The first part of ``of_two`` is so short that its product with every exponent is exact.
    """

    of_two: tuple[float, float]
    slope: tuple[float, float]
    series: tuple[float, ...]


_BASE_2 = _Constants(
    of_two=(1.0, 0.0),
    slope=(1.4426950216293335, 1.9259629911266175e-08),
    series=(
        *(-0.7213473916053772, 0.48089799284935, -0.3606957197189331, 0.28858253359794617, -0.23964829742908478),
        *(0.20433558523654938, -0.19056203961372375, 0.18762043118476868, -0.11286944895982742),
    ),
)
_BASE_10 = _Constants(
    of_two=(0.301025390625, 4.605039066518657e-06),
    slope=(0.4342944920063019, -1.0103050052231683e-08),
    series=(
        *(-0.21714720129966736, 0.1447647213935852, -0.10858023166656494, 0.08687199652194977, -0.07214132696390152),
        *(0.06151114031672478, -0.05736489221453667, 0.056479379534721375, -0.03397709131240845),
    ),
)
_NATURAL = _Constants(
    of_two=(0.693115234375, 3.194618329871446e-05),
    slope=(1.0, 0.0),
    series=(
        *(-0.49999988079071045, 0.33333325386047363, -0.2500160038471222, 0.20002001523971558, -0.16608764231204987),
        *(0.1418117731809616, -0.1324462741613388, 0.12908786535263062, -0.07623397558927536),
    ),
)


def log_parts(code: FloatCode, x: Real, more: Real) -> tuple[Real, Real]:
    """Return two parts whose sum is the natural logarithm of a positive normal ``x``, and ``more``, which is small."""
    k, f = _split(code, x)
    low = (f * f).times_plus(code.polynomial(f, _NATURAL.series), k.times_plus(_NATURAL.of_two[1], more))
    return k * _NATURAL.of_two[0], f + low


def _split(code: FloatCode, x: Real) -> tuple[Real, Real]:
    """Return ``k`` and ``f`` with ``x == 2**k * (1 + f)``, and ``1 + f`` between the square roots of 1/2 and 2."""
    mantissa = code.precision.mantissa
    moved = x.bits - bits_of_root_half(code)
    k = moved.shifted_right_signed(mantissa).to_real()
    return k, (x.bits - (moved & -(1 << mantissa))).as_real - 1.0


def _logarithm(code: FloatCode, x: Real, base: _Constants) -> Real:
    k, f = _split(code, x)
    rest = f * f.times_plus(code.polynomial(f, base.series), base.slope[1])
    return k.times_plus(base.of_two[0], f.times_plus(base.slope[0], k.times_plus(base.of_two[1], rest)))


def log2(code: FloatCode, x: Real) -> Real:
    """Return the logarithm to base 2, for what `prepared` gives."""
    return _logarithm(code, x, _BASE_2)


def log10(code: FloatCode, x: Real) -> Real:
    """Return the logarithm to base 10, for what `prepared` gives."""
    return _logarithm(code, x, _BASE_10)


def is_common(code: FloatCode, x: Real) -> Truth:
    """Return whether the formulas hold for ``x`` as it is: a positive normal number."""
    mantissa, bias = code.precision.mantissa, code.precision.bias
    return x.bits.is_between(1 << mantissa, (2 * bias + 1) << mantissa)


def prepared(code: FloatCode, x: Real) -> tuple[Real, ...]:
    """Return ``x``, and 1 for what has no finite logarithm.

    A subnormal number is given as if it was normal, its exponent's field a negative number that takes up the sign.
    """
    mantissa, bias = code.precision.mantissa, code.precision.bias
    size = code.select((x > 0.0) & (x < math.inf), x, 1.0)
    moved = (size.bits.to_real().bits - ((bias + mantissa - 1) << mantissa)).as_real
    return (code.select(size < code.precision.tiny, moved, size),)


def finished(code: FloatCode, result: Real, x: Real) -> Real:
    """Return what a logarithm of ``x`` is, given that of what `prepared` gives."""
    zero = x.equals(0.0)
    # minus infinity at zero, and zero elsewhere, by a division that LLVM cannot do itself: it raises the flag
    pole = code.select(zero, -1.0, 0.0) / x.magnitude
    return finished_logarithm(code, x, code.select(zero, 0.0, result) + pole, code.real(0.0))
