"""The error function.

Owns its formulas, branch-free and with an error below 2 ULP: near zero ``x + x*q(x*x)``, further out ``1 - exp(p(x))``,
with minimax polynomials (f64: by Lawson's algorithm in 70-digit arithmetic; f32: those of N. Juffa's ``erff``).
Invariant: zeros keep their sign, infinities give one, NaN stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.backend.llvm.vector_math_code import FloatCode, Real
from janusjit.backend.llvm.vector_math_exponential import exp


@dataclass(frozen=True, slots=True)
class _Constants:
    """What the error function needs in one precision.

    ``small`` is q, up to ``limit``. ``large`` is p without its term ``-x`` and divided by ``x``. From ``one`` on the
    function is one.
    """

    small: tuple[float, ...]
    large: tuple[float, ...]
    limit: float
    one: float


_F64 = _Constants(
    small=(
        *(0.1283791670955126, -0.37612638903183726, 0.11283791670953705, -0.026866170644806894, 0.005223977621605851),
        *(-0.000854832675507555, 0.00012055321047927092, -1.492529987438485e-05, 1.6455215965404883e-06),
        *(-1.6275495110154836e-07, 1.4046147419781597e-08, -8.482077538214938e-10),
    ),
    large=(
        *(-0.12837916721497025, -0.636619724260507, -0.10277312575078044, 0.01913112465240716, 0.00020064942811035043),
        *(-0.0016772017954373337, 0.0005588639169078596, 1.350686795540924e-05, -0.00010327626539872077),
        *(5.98531755164119e-05, -2.1822985994410768e-05, 5.829935065236798e-06, -1.182093466722731e-06),
        *(1.8143509665891197e-07, -2.0515835642196158e-08, 1.6154227155594783e-09, -7.91568172289297e-11),
        1.8172177339443398e-12,
    ),
    limit=0.9,
    one=5.95,
)
_F32 = _Constants(
    small=(1.28379166e-1, -3.76125336e-1, 1.12819925e-1, -2.67681349e-2, 4.99119423e-3, -5.96761703e-4),
    large=(
        *(-1.28717512e-1, -6.34846687e-1, -1.06777877e-1, 2.42546219e-2, -3.88396438e-3, 3.83197126e-4),
        -1.72853470e-5,
    ),
    limit=0.927734375,
    one=4.0,
)


def erf(code: FloatCode, x: Real) -> Real:
    """Return the error function."""
    known = _F64 if code.is_f64 else _F32
    size = code.minimum(known.one, x.magnitude)
    small = size.times_plus(code.polynomial(size * size, known.small), size)
    exponent = size.times_plus(code.polynomial(size, known.large), -size)
    large = 1.0 - exp(code, exponent)
    return code.select(size > known.limit, large, small).with_sign_of(x)
