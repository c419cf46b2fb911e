"""Which floating-point errors NumPy may find in an operation.

Owns `possible_errors`. Invariant: an error that the eager operation can meet is never missing; one that it cannot meet
may be there.
"""

from __future__ import annotations

from janusjit.ir.floating_point import ERRORS

_ALL = tuple(ERRORS)
_NONE: tuple[str, ...] = ()
_POSSIBLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "subtract", "sum", "cumsum"), ("over", "invalid")),
    **dict.fromkeys(("multiply", "prod", "cumprod"), ("over", "under", "invalid")),
    **dict.fromkeys(("square", "exp", "exp2", "expm1", "sinh", "cosh"), ("over", "under")),
    **dict.fromkeys(("log", "log2", "log10"), ("divide", "invalid")),
    **dict.fromkeys(("log1p",), ("divide", "under", "invalid")),
    **dict.fromkeys(("sqrt",), ("invalid",)),
    **dict.fromkeys(("cast",), ("over", "under", "invalid")),
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan"), ("under", "invalid")),
    # NumPy leaves or clears no flag in these, whatever it is given
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin", "max", "min", "argmax", "argmin"), _NONE),
    **dict.fromkeys(("floor", "ceil", "trunc", "rint", "clip", "heaviside", "any", "all", "count_nonzero"), _NONE),
}


def possible_errors(op: str) -> tuple[str, ...]:
    """Return NumPy's names of the errors that an operation may meet."""
    return _POSSIBLE.get(op, _ALL)
