"""The vocabulary scalar rules are written in.

Owns `ScalarEmitter`, the protocol every backend implements, and `NumPyEmitter`, which runs a rule on NumPy arrays.
Invariant: a method's meaning is NumPy's for the operands' dtype, bit for bit, and no operand value is undefined
behaviour except where a method's docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.special

from janusjit.ir.types import DTYPES, dtype_name

Scalar = Any
"""What an emitter computes with: an LLVM value, a C expression, an ndarray. Opaque to the rules."""

#: name → number of operands of every function `ScalarEmitter.call` accepts (float operands of one dtype)
FUNCTIONS: dict[str, int] = {
    **dict.fromkeys(("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "cbrt"), 1),
    "erf": 1,
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan"), 1),
    **dict.fromkeys(("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"), 1),
    **dict.fromkeys(("arctan2", "hypot", "logaddexp", "pow", "fmod"), 2),
}


def c_power(a: Any, b: Any) -> Any:
    """Return C's ``pow`` of each pair of elements.

    Not ``np.power``, which takes the square root where one exponent 0.5 is broadcast: another result at -inf and -0.0.
    """
    a, b = np.broadcast_arrays(a, b)
    result = np.power(a.reshape(-1).copy(), b.reshape(-1).copy())
    return result.reshape(a.shape)[()]


_NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: {"pow": c_power, "erf": scipy.special.erf}.get(name) or getattr(np, name) for name in FUNCTIONS
}


class ScalarEmitter(Protocol):
    """Emits code for scalars of known dtype (a key of `janusjit.ir.types.DTYPES`).

    Unless said otherwise both operands have one numeric dtype, which is the result's too; integers wrap around.
    ``bool`` scalars go through ``logical_*``, ``select`` and ``cast`` only.
    """

    def dtype(self, x: Scalar) -> str:
        """Return the short name of the dtype of ``x``."""

    def constant(self, value: float, dtype: str) -> Scalar:
        """Return a constant (a Python number or bool) of a dtype."""

    def cast(self, x: Scalar, dtype: str) -> Scalar:
        """Convert as ``ndarray.astype`` does: to bool by ``x != 0``, float to int by truncation."""

    def add(self, a: Scalar, b: Scalar) -> Scalar: ...

    def sub(self, a: Scalar, b: Scalar) -> Scalar: ...

    def mul(self, a: Scalar, b: Scalar) -> Scalar: ...

    def div(self, a: Scalar, b: Scalar) -> Scalar:
        """IEEE division; floats only."""

    def neg(self, x: Scalar) -> Scalar:
        """Negate: flip the sign bit of a float, wrap around for an integer."""

    def abs(self, x: Scalar) -> Scalar:
        """Clear the sign bit; floats only."""

    def sqrt(self, x: Scalar) -> Scalar:
        """Correctly rounded; floats only, as the next five."""

    def floor(self, x: Scalar) -> Scalar: ...

    def ceil(self, x: Scalar) -> Scalar: ...

    def trunc(self, x: Scalar) -> Scalar: ...

    def rint(self, x: Scalar) -> Scalar:
        """Round to nearest, ties to even."""

    def copysign(self, magnitude: Scalar, sign: Scalar) -> Scalar: ...

    def eq(self, a: Scalar, b: Scalar) -> Scalar:
        """Compare to a bool; ordered (False for NaN), as are ``lt``, ``le``, ``gt``, ``ge``."""

    def ne(self, a: Scalar, b: Scalar) -> Scalar:
        """Compare to a bool; True for NaN."""

    def lt(self, a: Scalar, b: Scalar) -> Scalar: ...

    def le(self, a: Scalar, b: Scalar) -> Scalar: ...

    def gt(self, a: Scalar, b: Scalar) -> Scalar: ...

    def ge(self, a: Scalar, b: Scalar) -> Scalar: ...

    def isnan(self, x: Scalar) -> Scalar:
        """Whether a float is NaN, as a bool."""

    def logical_and(self, a: Scalar, b: Scalar) -> Scalar: ...

    def logical_or(self, a: Scalar, b: Scalar) -> Scalar: ...

    def logical_xor(self, a: Scalar, b: Scalar) -> Scalar: ...

    def logical_not(self, x: Scalar) -> Scalar: ...

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a`` where the bool ``condition`` holds, else ``b``; both are evaluated, any dtype."""

    def bit_and(self, a: Scalar, b: Scalar) -> Scalar: ...

    def bit_or(self, a: Scalar, b: Scalar) -> Scalar: ...

    def bit_xor(self, a: Scalar, b: Scalar) -> Scalar: ...

    def bit_not(self, x: Scalar) -> Scalar: ...

    def shift_left(self, x: Scalar, count: Scalar) -> Scalar:
        """Shift; ``count`` is below the width of the dtype (the rules see to that)."""

    def shift_right(self, x: Scalar, count: Scalar) -> Scalar:
        """Shift, arithmetically if signed; ``count`` is below the width of the dtype."""

    def int_floor_div(self, a: Scalar, b: Scalar) -> Scalar:
        """Divide integers rounding down; 0 for divisor 0, the minimum for the minimum over -1."""

    def int_remainder(self, a: Scalar, b: Scalar) -> Scalar:
        """Remainder of `int_floor_div`, with the divisor's sign; 0 for divisor 0."""

    def multiply_overflows(self, a: Scalar, b: Scalar) -> Scalar:
        """Whether the product of two i64 does not fit i64, as a bool."""

    def call(self, name: str, *operands: Scalar) -> Scalar:
        """Apply one of `FUNCTIONS`: within 2 ULP, special values as NumPy's ufunc; ``fmod`` is exact."""


class NumPyEmitter:
    """Runs scalar rules at once, elementwise on ndarrays and NumPy scalars: the oracle of the rules."""

    def dtype(self, x: Scalar) -> str:
        name = dtype_name(x.dtype)
        if name is None:
            raise TypeError(f"graphs hold no {x.dtype}")
        return name

    def constant(self, value: float, dtype: str) -> Scalar:
        return DTYPES[dtype].type(value)

    def cast(self, x: Scalar, dtype: str) -> Scalar:
        return x.astype(DTYPES[dtype])

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        return np.where(condition, a, b)

    def multiply_overflows(self, a: Scalar, b: Scalar) -> Scalar:
        exact = np.asarray(a).astype(object) * np.asarray(b).astype(object)
        return np.asarray((exact < -(2**63)) | (exact >= 2**63), bool)

    def call(self, name: str, *operands: Scalar) -> Scalar:
        return _NUMPY_FUNCTIONS[name](*operands)

    add = staticmethod(np.add)
    sub = staticmethod(np.subtract)
    mul = staticmethod(np.multiply)
    div = staticmethod(np.divide)
    neg = staticmethod(np.negative)
    abs = staticmethod(np.absolute)
    sqrt = staticmethod(np.sqrt)
    floor = staticmethod(np.floor)
    ceil = staticmethod(np.ceil)
    trunc = staticmethod(np.trunc)
    rint = staticmethod(np.rint)
    copysign = staticmethod(np.copysign)
    eq = staticmethod(np.equal)
    ne = staticmethod(np.not_equal)
    lt = staticmethod(np.less)
    le = staticmethod(np.less_equal)
    gt = staticmethod(np.greater)
    ge = staticmethod(np.greater_equal)
    isnan = staticmethod(np.isnan)
    logical_and = staticmethod(np.logical_and)
    logical_or = staticmethod(np.logical_or)
    logical_xor = staticmethod(np.logical_xor)
    logical_not = staticmethod(np.logical_not)
    bit_and = staticmethod(np.bitwise_and)
    bit_or = staticmethod(np.bitwise_or)
    bit_xor = staticmethod(np.bitwise_xor)
    bit_not = staticmethod(np.invert)
    shift_left = staticmethod(np.left_shift)
    shift_right = staticmethod(np.right_shift)
    int_floor_div = staticmethod(np.floor_divide)
    int_remainder = staticmethod(np.remainder)
