"""Functions of float32 by one polynomial for each of 32 pieces: logarithms, ``tanh``.

Owns their formulas, which want the instruction by which AVX-512 picks numbers from two registers: a coefficient takes
one of them, and so short polynomials are enough that nothing has to be divided. Invariant: an error below 2 ULP for
operands that are common; what others need is in `Precautions`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from janusjit.backend.llvm import vector_math_logarithm as logarithm
from janusjit.backend.llvm.vector_math_code import FloatCode, Real, Truth, Whole

#: how many pieces there are: two registers of float32
PIECES = 32

# ---- polynomials


def _interpolated(
    function: Callable[[float], float], start: float, stop: float, origin: float, count: int
) -> list[float]:
    """Return the coefficients, lowest first, of the polynomial in ``x - origin`` through Chebyshev's points."""
    middle, half = (start + stop) / 2, (stop - start) / 2
    points = [middle + half * math.cos(math.pi * (k + 0.5) / count) for k in range(count)]
    matrix = np.array([[(x - origin) ** power for power in range(count)] for x in points])
    scale = np.abs(matrix).max(axis=0)
    return [float(c) for c in np.linalg.solve(matrix / scale, [function(x) for x in points]) / scale]


def _columns(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def evaluated(code: FloatCode, tables: Sequence[Sequence[float]], piece: Whole, x: Real) -> Real:
    """Return the value of the polynomial that belongs to a piece, by Horner's scheme."""
    total = code.looked_up(tables[-1], piece)
    for table in reversed(tables[:-1]):
        total = total.times_plus(x, code.looked_up(table, piece))
    return total


# ---- logarithms

#: the representation of 3/4: mantissas are taken from there to twice that, so that numbers around 1 have exponent 0
_LEAST_BITS = 0x3F400000
#: by base: the logarithm of two in two parts, the first's products with exponents exact, and the derivative
#: at 1 in two, the first of few bits
_OF_TWO = {
    math.e: (0.693115234375, 3.194618329871446e-05),
    2.0: (1.0, 0.0),
    10.0: (0.301025390625, 4.605039066518657e-06),
}
_SLOPE = {
    math.e: (1.0, 0.0),
    2.0: (1.0, 1 / math.log(2) - 1.0),
    10.0: (0.5, 1 / math.log(10) - 0.5),
}


def interpolated_pieces(function: Callable[[float], float], count: int) -> list[list[float]]:
    """Return so many coefficients for each piece of mantissas, by the high bits of what `split` moves.

    The polynomials are in the mantissa less 1.
    """
    bits = np.arange(PIECES + 1, dtype=np.uint32) * np.uint32(1 << 18) + np.uint32(_LEAST_BITS)
    edges = [float(edge) - 1 for edge in bits.view(np.float32)]
    return _columns([_interpolated(function, a, b, 0.0, count) for a, b in itertools.pairwise(edges)])


@functools.cache
def _log_tables(base: float) -> list[list[float]]:
    """Return the coefficients of q in ``log(1 + f) = f*slope + f*f*q(f)``, by the high bits of what `split` moves."""

    def remainder(f: float) -> float:
        near = -1 / 2 + f / 3 - f * f / 4 + f**3 / 5
        return (near if abs(f) < 1e-3 else (math.log1p(f) - f) / (f * f)) / math.log(base)

    return interpolated_pieces(remainder, 3)


def split(x: Real) -> tuple[Real, Real, Whole]:
    """Return ``k`` and ``m`` with ``x == 2**k * m``, and which piece ``m`` lies in."""
    mantissa = x.code.precision.mantissa
    moved = x.bits - _LEAST_BITS
    k = moved.shifted_right_signed(mantissa).to_real()
    return k, (x.bits - (moved & -(1 << mantissa))).as_real, moved >> (mantissa - 5)


def _logarithm(code: FloatCode, base: float, k: Real, f: Real, piece: Whole) -> Real:
    """Return the logarithm of ``2**k * (1 + f)``."""
    (two, two_low), (slope, slope_low) = _OF_TWO[base], _SLOPE[base]
    q = evaluated(code, _log_tables(base), piece, f)
    rest = f * q.times_plus(f, slope_low) if slope_low else (f * f) * q
    rest = k.times_plus(two_low, rest) if two_low else rest
    return f.times_plus(slope, k * two if two != 1.0 else k) + rest


def _log_to(base: float) -> Callable[[FloatCode, Real], Real]:
    def formula(code: FloatCode, x: Real) -> Real:
        k, m, piece = split(x)
        return _logarithm(code, base, k, m - 1.0, piece)

    return formula


log, log2, log10 = map(_log_to, (math.e, 2.0, 10.0))


def log1p(code: FloatCode, x: Real, more: Real | None = None) -> Real:
    """Return ``log(1 + x + more)``, for what `is_common_for_log1p`; ``more`` is less than what ``x`` is rounded by."""
    y = x + 1.0
    k, m, piece = split(y)
    near, beside = m - 1.0, lost_by_adding_one(code, x, y, m, more)
    f = near + beside
    if more is None:
        return _logarithm(code, math.e, k, f, piece).with_sign_of(x)
    two, two_low = _OF_TWO[math.e]
    start = k * two
    total = start + f
    lost = ((start - total) + f) + ((near - f) + beside)  # worth its time where ``x`` is good to less than an ULP
    q = evaluated(code, _log_tables(math.e), piece, f)
    return (total + (f * f).times_plus(q, k.times_plus(two_low, lost))).with_sign_of(x)


def lost_by_adding_one(code: FloatCode, x: Real, y: Real, m: Real, more: Real | None) -> Real:
    """Return what the sum ``y`` of 1 and ``x`` lost to rounding, over the power of two that ``m`` is ``y`` without.

    What is to be added to ``x``, if anything, counts as lost, too.

    Added to ``m - 1``, it gives back ``x`` where that power is 1.
    """
    lost = code.select(x < 1.0, x - (y - 1.0), 1.0 - (y - x))  # by the order of the operands' sizes
    lost = lost if more is None else lost + more
    return lost * (m.bits - y.bits + (code.precision.bias << code.precision.mantissa)).as_real


def is_common_for_log1p(code: FloatCode, x: Real) -> Truth:
    """Return whether `log1p` holds for ``x`` as it is: above -1, and not so large that its reciprocal is subnormal."""
    return (x > -1.0) & (x < 2.0**64)


def prepared_for_log1p(code: FloatCode, x: Real) -> tuple[Real, ...]:
    """Return ``x``, or 1 where `log1p` does not hold for it."""
    return (code.select(is_common_for_log1p(code, x), x, 1.0),)


def finished_log1p(code: FloatCode, result: Real, x: Real) -> Real:
    """Return what `log1p` is of any ``x``."""
    return code.select(is_common_for_log1p(code, x), result, logarithm.log1p(code, x))


# ---- the hyperbolic tangent

#: pieces are quarters of octaves from the second on, which begins here
_FIRST = 2.0**-4


@functools.cache
def _tanh_tables() -> tuple[list[float], list[list[float]]]:
    """Return where pieces begin, and the coefficients in what is above that."""
    bits = np.arange(PIECES + 1, dtype=np.uint32) * np.uint32(1 << 21) + np.float32(_FIRST).view(np.uint32)
    edges = [0.0, *(float(edge) for edge in bits.view(np.float32)[1:])]
    rows = [_interpolated(math.tanh, a, b, a, 6) for a, b in itertools.pairwise(edges)]
    rows[0][:2] = 0.0, 1.0
    rows[-1] = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    return edges[:-1], _columns(rows)


def tanh(code: FloatCode, x: Real) -> Real:
    """Return the hyperbolic tangent."""
    starts, tables = _tanh_tables()
    size = code.minimum(15.0, x.magnitude)
    piece = code.maximum(_FIRST, size).bits - int(np.float32(_FIRST).view(np.uint32)) >> 21
    return evaluated(code, tables, piece, size - code.looked_up(starts, piece)).with_sign_of(x)
