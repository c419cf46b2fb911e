"""Powers and roots: ``pow``, ``cbrt``.

Owns their formulas, branch-free, in float64 only: float32 operands are widened, and results rounded. Invariant: error
below 2 ULP, NumPy's results for zeros, infinities, NaN and negative bases.
"""

from __future__ import annotations

from janusjit.backend.llvm.vector_math_code import FloatCode, Real

#: cbrt t of the ratio: a polynomial p with ``cbrt(1/r) == p(r)`` to 23 bits, for the error r of the first estimate
_ROOT_CORRECTION = (
    *(1.87595182427177009643, -1.88497979543377169875, 1.621429720105354466140),
    *(-0.758397934778766047437, 0.145996192886612446982),
)
#: high word of the float64 that the first estimate of a cube root is when the exponent field is divided by three
_ROOT_BIAS = 715094163


def cbrt(code: FloatCode, x: Real) -> Real:
    """Return the cube root: an estimate from the exponent, a polynomial to 23 bits, one Newton step (FreeBSD's way)."""
    size = x.magnitude
    subnormal = size < code.precision.tiny
    normal = code.select(subnormal, size * 2.0**54, size)
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
    regular = (size < float("inf")) & (size > 0.0)
    return code.select(regular, root.with_sign_of(x), x + x)
