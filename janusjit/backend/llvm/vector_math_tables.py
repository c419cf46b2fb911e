"""Logarithms of float64, and cube roots, from tables that registers hold, where AVX-512 picks numbers from two of them.

Owns their formulas, which divide nothing: the mantissa is multiplied by the tabulated reciprocal of its part of the
octave, and a polynomial takes what is left. Invariant: an error below 2 ULP for operands that are common; what others
need is in `Precautions`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext

from janusjit.backend.llvm import vector_math_pieces as pieces
from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth, Whole
from janusjit.backend.llvm.vector_math_pieces import evaluated, interpolated_pieces
from janusjit.backend.llvm.vector_math_power import F64 as PARTS

_Pair = tuple[float, float]


def _split(code: FloatCode, x: Real) -> tuple[Real, Real, Whole]:
    """Return ``k`` and ``m`` with ``x == 2**k * m``, and which part of the octave around 1 ``m`` lies in."""
    mantissa = code.precision.mantissa
    moved = x.bits - (((code.precision.bias - 1) << mantissa) + int(PARTS.start * 2**mantissa))
    k = moved.shifted_right_signed(mantissa).to_real()
    return k, (x.bits - (moved & -(1 << mantissa))).as_real, moved >> (mantissa - PARTS.index_bits)


# ---- logarithms


@functools.cache
def _log_tables(base: int | None) -> tuple[list[float], list[float], _Pair, _Pair]:
    """Return the logarithms of the reciprocals' reciprocals in two parts, the logarithm of two, and the slope at 1.

    The first parts of logarithms are multiples of a grid, so that adding them and multiples of them is exact.
    """
    with localcontext() as context:
        context.prec = 50
        slope = Decimal(1) if base is None else 1 / Decimal(base).ln()

        def in_grid(value: Decimal) -> _Pair:
            high = round(value / Decimal(PARTS.grid)) * Decimal(PARTS.grid)
            return float(high), float(value - high)

        logarithms = [in_grid(-Decimal(c).ln() * slope) for c in PARTS.reciprocals]
        two = in_grid(Decimal(2).ln() * slope)
        rounded = float(slope)
        return (
            [high for high, _ in logarithms],
            [low for _, low in logarithms],
            two,
            (rounded, float(slope - Decimal(rounded))),
        )


def _logarithm(code: FloatCode, base: int | None, k: Real, r: Real, part: Whole) -> Real:
    """Return the logarithm of ``2**k * (1 + r) / c``, ``c`` the reciprocal of the part."""
    highs, lows, two, slope = _log_tables(base)
    above = k.times_plus(two[0], code.looked_up(highs, part))
    total = r.fused(slope[0], above) if base else above + r
    lost = r.fused(slope[0], above - total) if base else (above - total) + r
    below = k.times_plus(two[1], code.looked_up(lows, part))
    if base:
        below = r.times_plus(slope[1], below)
    series = [coefficient * slope[0] for coefficient in (-0.5, *PARTS.logarithm)]
    return total + (r * r).times_plus(code.polynomial(r, series), lost + below)


def _log_to(base: int | None) -> Callable[[FloatCode, Real], Real]:
    def formula(code: FloatCode, x: Real) -> Real:
        k, m, part = _split(code, x)
        return _logarithm(code, base, k, m.fused(code.looked_up(PARTS.reciprocals, part), -1.0), part)

    return formula


log, log2, log10 = map(_log_to, (None, 2, 10))


def log1p(code: FloatCode, x: Real, more: Real | None = None) -> Real:
    """Return ``log(1 + x + more)``, for what `pieces.is_common_for_log1p`; see `pieces.log1p`."""
    y = x + 1.0
    k, m, part = _split(code, y)
    lost = pieces.lost_by_adding_one(code, x, y, m, more)
    c = code.looked_up(PARTS.reciprocals, part)
    return _logarithm(code, None, k, lost.times_plus(c, m.fused(c, -1.0)), part).with_sign_of(x)


# ---- cube roots


@functools.cache
def _root_tables() -> tuple[list[float], list[float], list[float]]:
    """Return the cube roots of the reciprocals' reciprocals in two parts, and the series of ``cbrt(1 + r)`` less 1."""
    with localcontext() as context:
        context.prec = 50
        roots = [(-Decimal(c).ln() / 3).exp() for c in PARTS.reciprocals]
        highs = [float(root) for root in roots]
        lows = [float(root - Decimal(high)) for root, high in zip(roots, highs, strict=True)]
        series, term = [], Decimal(1)
        for n in range(1, 11):
            term *= (Decimal(1) / 3 - (n - 1)) / n
            series.append(float(term))
        return highs, lows, series


@functools.cache
def _root_pieces() -> list[list[float]]:
    """Return for each piece the coefficients of ``(cbrt(1 + f) - 1) / f``, in float32."""

    def quotient(f: float) -> float:
        return math.expm1(math.log1p(f) / 3) / f if f else 1 / 3

    return interpolated_pieces(quotient, 3)


def cbrt(code: FloatCode, x: Real) -> Real:
    """Return the cube root of a normal number."""
    k, m, part = _split(code, x.magnitude) if code.is_f64 else pieces.split(x.magnitude)
    n, n_bits = code.nearest(k, 1 / 3)
    left = k - n * 3.0
    factor = code.select(left < 0.0, 0.5 ** (1 / 3), code.select(left > 0.0, 2 ** (1 / 3), 1.0))
    if code.is_f64:
        highs, lows, series = _root_tables()
        r = m.fused(code.looked_up(PARTS.reciprocals, part), -1.0)
        high, low = code.looked_up(highs, part), code.looked_up(lows, part)
        root = high + (high * r).times_plus(code.polynomial(r, series), low)
    else:
        f = m - 1.0
        root = evaluated(code, _root_pieces(), part, f).times_plus(f, 1.0)
    return ((root * factor).bits + (n_bits << code.precision.mantissa)).as_real.with_sign_of(x)


def is_common_for_cbrt(code: FloatCode, x: Real) -> Truth:
    """Return whether `cbrt` holds for ``x`` as it is: a normal number."""
    mantissa, bias = code.precision.mantissa, code.precision.bias
    return x.magnitude.bits.is_between(1 << mantissa, (2 * bias + 1) << mantissa)


def _third(code: FloatCode) -> int:
    """Return by what power of two cube roots of subnormal numbers are scaled."""
    return 18 if code.is_f64 else 8


def prepared_for_cbrt(code: FloatCode, x: Real) -> tuple[Real, ...]:
    """Return ``x``, or a multiple of it if it is subnormal, or 1 if it is infinite, zero or no number."""
    regular = (x.magnitude < math.inf) & (x.magnitude > 0.0)
    size = code.select(regular, x, 1.0)
    return (code.select(size.magnitude < code.precision.tiny, size * 2.0 ** (3 * _third(code)), size),)


def finished_cbrt(code: FloatCode, result: Real, x: Real) -> Real:
    """Return the cube root of any ``x``, given that of what `prepared_for_cbrt` gives."""
    regular = (x.magnitude < math.inf) & (x.magnitude > 0.0)
    scaled = code.select(x.magnitude < code.precision.tiny, result * 2.0 ** -_third(code), result)
    return code.select(regular, scaled, x + x)
