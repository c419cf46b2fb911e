"""NumPy functions that compiled code calls: ufuncs without a kernel, interpolation, convolution, partial orders.

Owns their ops. Invariant: the eager function is NumPy's own, so results have its bits; what a rule cannot tell of a
result (the rank of a matrix) makes the op fail where it is otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy._core import _multiarray_umath as umath  # type: ignore[attr-defined]
from numpy._core.multiarray import _monotonicity, correlate  # what `np.digitize` and `np.convolve` call

from janusjit.ir.dims import Dim, Symbol
from janusjit.ir.types import TensorType
from janusjit.ops.gather import count_dim
from janusjit.ops.gradients_library import LIBRARY
from janusjit.ops.registry import Attributes, Library, Op, TypeRule, declare, gradient_in, implementation
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import (
    TypeRuleError,
    check_arity,
    check_axis,
    check_dtype,
    check_equal_shapes,
    check_rank,
    check_same_dtype,
    ufunc_rule,
)


def _library_op(
    name: str,
    eager: Callable[..., Any],
    infer: TypeRule,
    samples: tuple[Sample, ...],
    numpy: tuple[Callable[..., Any], ...] = (),
    fallible: bool = False,
    sums: bool = False,
) -> None:
    declare(
        Op(
            name=name,
            family="library_functions",
            eager=eager,
            infer=infer,
            lowering=Library(),
            gradient=gradient_in(LIBRARY, name),
            fallible=fallible,
            sums=sums,
            numpy=numpy,
            samples=samples,
        )
    )


# ---- ufuncs


def _ufunc_op(ufunc: np.ufunc, *samples: Sample) -> None:
    _library_op(ufunc.__name__, ufunc, ufunc_rule(ufunc), samples, (ufunc,))


_FLOATS = tuple(Sample((Draw(shape, dtype),)) for dtype in ("f64", "f32") for shape in ((2, 3), ()))
_PAIRS = tuple(Sample((Draw(shape, dtype),) * 2) for dtype in ("f64", "f32") for shape in ((2, 3), ()))
_INTEGERS = tuple(Sample((Draw((2, 3), dtype, 1, 9),) * 2) for dtype in ("i64", "u8"))
_ufunc_op(np.modf, *_FLOATS)
_ufunc_op(np.frexp, *_FLOATS)
_ufunc_op(np.spacing, *_FLOATS)
_ufunc_op(np.ldexp, Sample((Draw((2, 3)), Draw((3,), "i64"))), Sample((Draw((2, 3), "f32"), Draw((2, 3), "i32"))))
_ufunc_op(np.logaddexp2, *_PAIRS)
_ufunc_op(np.nextafter, *_PAIRS)
_ufunc_op(np.gcd, *_INTEGERS)
_ufunc_op(np.lcm, *_INTEGERS)
_ufunc_op(np.bitwise_count, Sample((Draw((2, 3), "i64"),)), Sample((Draw((4,), "u8"),)))


def _same(name: str, dtype: str | None = None) -> TypeRule:
    """The rule of functions along an axis whose result has the shape of the input."""

    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        check_axis(attributes["axis"], inputs[0].rank)
        return (TensorType(dtype or inputs[0].dtype, inputs[0].shape),)

    return infer


for _extreme in (np.maximum, np.minimum):
    _library_op(
        f"{_extreme.__name__}_accumulate",
        _extreme.accumulate,
        _same(_extreme.__name__),
        tuple(Sample((Draw((3, 4), dtype),), {"axis": axis}) for dtype in ("f64", "i64") for axis in (0, 1)),
        (_extreme.accumulate,),
    )

# ---- linear recurrences


def _linear_recurrence(factors: Any, terms: Any, axis: int) -> Any:
    """Return ``s[i] = terms[i] + factors[i] * s[i - 1]`` along an axis, beginning at 0 (Kogge and Stone 1973)."""
    a, b = (np.moveaxis(array, axis, 0).copy() for array in (factors, terms))
    distance = 1
    while distance < len(b):
        b[distance:] += a[distance:] * b[:-distance].copy()
        a[distance:] *= a[:-distance].copy()
        distance *= 2
    if not np.isfinite(b).all():  # products of factors that none of the terms comes to may overflow
        a, b = (np.moveaxis(array, axis, 0).copy() for array in (factors, terms))
        for i in range(1, len(b)):
            b[i] += a[i] * b[i - 1]
    return np.moveaxis(b, 0, axis) if axis else b


def _recurrence_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "linear_recurrence")
    check_same_dtype(inputs, "linear_recurrence")
    check_equal_shapes(inputs[0].shape, inputs[1].shape, "the inputs of linear_recurrence")
    check_axis(attributes["axis"], inputs[0].rank)
    return (inputs[0],)


_library_op(
    "linear_recurrence",
    _linear_recurrence,
    _recurrence_rule,
    tuple(
        Sample((Draw(shape, dtype), Draw(shape, dtype)), {"axis": axis})
        for dtype in ("f64", "f32")
        for shape, axis in (((5,), 0), ((2, 3, 4), 1), ((0, 2), 0), ((1,), 0))
    ),
    sums=True,
)

# ---- interpolation and convolution


def _interp_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 3, "interp")
    for type_ in inputs:
        check_dtype(type_, "f64", "an input of interp")
    check_rank(inputs[1], 1, "interp")
    check_equal_shapes(inputs[1].shape, inputs[2].shape, "the points of interp")
    return (inputs[0],)


#: what `np.interp` calls for real numbers
_compiled_interp: Callable[..., Any] = umath.interp
_KNOTS = Exactly(np.array([-2.0, -0.5, 0.25, 2.0]))
_ENDS = {"left": None, "right": None}
_library_op(
    "interp",
    _compiled_interp,
    _interp_rule,
    (
        Sample((Draw((5,)), _KNOTS, Draw((4,))), _ENDS),
        Sample((Draw((2, 3)), _KNOTS, Draw((4,))), {"left": -1.0, "right": None}),
        Sample((Draw(()), _KNOTS, Draw((4,))), {"left": None, "right": 5.0}),
    ),
    (np.interp,),
    fallible=True,
)


def _convolved_length(n: Dim, m: Dim, mode: str) -> Dim:
    if mode == "full":
        return n + m - 1
    if not (isinstance(n, int) and isinstance(m, int)):
        raise TypeRuleError(f"which of {n} and {m} is longer is not known")
    return max(n, m) if mode == "same" else max(n, m) - min(n, m) + 1


def _convolve_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "convolve")
    check_same_dtype(inputs, "convolve")
    for type_ in inputs:
        check_rank(type_, 1, "convolve")
        if type_.shape[0] == 0:
            raise TypeRuleError("convolve of an empty array")
    (n,), (m,) = inputs[0].shape, inputs[1].shape
    return (inputs[0].with_shape((_convolved_length(n, m, attributes["mode"]),)),)


def _convolve(a: np.ndarray, v: np.ndarray, mode: Any) -> np.ndarray:
    return correlate(v, a[::-1], mode) if len(v) > len(a) else correlate(a, v[::-1], mode)


_library_op(
    "convolve",
    _convolve,
    _convolve_rule,
    (
        *(Sample((Draw((6,)), Draw((3,))), {"mode": mode}) for mode in ("full", "same", "valid")),
        *(Sample((Draw((3,)), Draw((4,))), {"mode": mode}) for mode in ("full", "same", "valid")),
        Sample((Draw((4,), "f32"), Draw((3,), "f32")), {"mode": "full"}),
        Sample((Draw((4,), "i64"), Draw((3,), "i64")), {"mode": "full"}),
    ),
    (np.convolve,),
    fallible=True,
    sums=True,
)

# ---- orders and counts


def _lexsort_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    if not inputs:
        raise TypeRuleError("lexsort of no keys")
    for type_ in inputs:
        check_equal_shapes(type_.shape, inputs[0].shape, "the keys of lexsort")
    check_axis(attributes["axis"], inputs[0].rank)
    return (TensorType("i64", inputs[0].shape),)


_library_op(
    "lexsort",
    lambda *keys, axis: np.lexsort(keys, axis=axis),
    _lexsort_rule,
    (
        Sample((Draw((6,)), Draw((6,), "i64", 0, 3)), {"axis": 0}),
        Sample((Draw((2, 4)),), {"axis": 1}),
    ),
    (np.lexsort,),
)
_PARTS = tuple(
    Sample((Draw((3, 6), dtype),), {"kth": kth, "axis": axis})
    for dtype in ("f64", "i64")
    for kth, axis in (((2,), 1), ((0, 4), 1), ((1,), 0))
)


def _partition(x: np.ndarray, kth: tuple[int, ...], axis: int) -> np.ndarray:
    made = x.copy()
    made.partition(kth[0] if len(kth) == 1 else kth, axis)  # NumPy makes an array of a tuple
    return made


def _argpartition(x: np.ndarray, kth: tuple[int, ...], axis: int) -> np.ndarray:
    return x.argpartition(kth[0] if len(kth) == 1 else kth, axis)


_library_op(
    "partition",
    _partition,
    _same("partition"),
    _PARTS,
    (np.partition,),
    fallible=True,
)
_library_op(
    "argpartition",
    _argpartition,
    _same("argpartition", "i64"),
    _PARTS,
    (np.argpartition,),
    fallible=True,
)


def _digitize_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "digitize")
    check_rank(inputs[1], 1, "digitize")
    return (TensorType("i64", inputs[0].shape),)


def _digitize(x: Any, bins: np.ndarray, right: bool) -> Any:
    """Do what `np.digitize` does of real numbers."""
    direction: Any = _monotonicity(bins)
    if direction == 0:
        raise ValueError("bins must be monotonically increasing or decreasing")
    side: Literal["left", "right"] = "left" if right else "right"
    return bins.searchsorted(x, side) if direction > 0 else len(bins) - bins[::-1].searchsorted(x, side)


_library_op(
    "digitize",
    _digitize,
    _digitize_rule,
    tuple(
        Sample((Draw(shape), Exactly(np.array(bins))), {"right": right})
        for shape in ((5,), (2, 2), ())
        for bins in ([-1.0, 0.0, 2.0], [2.0, 0.5])
        for right in (False, True)
    ),
    (np.digitize,),
    fallible=True,
)


_bincount = implementation(np.bincount)


def _weighted_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "bincount_weighted")
    check_dtype(inputs[0], "i64", "what is counted")
    check_dtype(inputs[1], "f64", "the weights")
    check_rank(inputs[0], 1, "bincount_weighted")
    check_equal_shapes(inputs[0].shape, inputs[1].shape, "the weights of bincount")
    return (TensorType("f64", (count_dim(attributes["symbol"]),)),)


_library_op(
    "bincount_weighted",
    lambda x, weights, minlength, symbol=None: _bincount(x, weights, minlength),
    _weighted_rule,
    tuple(
        Sample((Draw((7,), "i64", 0, 5), Draw((7,))), {"minlength": n, "symbol": Symbol("count", 0)}) for n in (0, 9)
    ),
    fallible=True,
    sums=True,
)

# ---- least squares, and numbers


def _lstsq_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    """The matrix is taken to be of full rank, on which the number of residuals depends."""
    a, b, *bound = inputs
    if len(bound) > 1 or any(type_.rank for type_ in bound):
        raise TypeRuleError(f"lstsq of {len(inputs)} inputs")
    check_same_dtype(inputs, "lstsq")
    check_dtype(a, ("f32", "f64"), "an input of lstsq")
    check_rank(a, 2, "lstsq")
    (m, n), right = a.shape, b.shape[1:]
    if b.rank not in (1, 2) or b.shape[0] != m or not (isinstance(m, int) and isinstance(n, int)):
        raise TypeRuleError(f"lstsq of {a} and {b}")
    residuals = (right[0] if right else 1) if m > n else 0
    return (
        b.with_shape((n, *right)),
        TensorType(a.dtype, (residuals,)),
        TensorType("i32", ()),
        TensorType(a.dtype, (min(m, n),)),
    )


_library_op(
    "linalg.lstsq",
    lambda a, b, *bound: np.linalg.lstsq(a, b, rcond=bound[0] if bound else None),
    _lstsq_rule,
    (
        Sample((Draw((5, 3)), Draw((5,)))),
        Sample((Draw((5, 3)), Draw((5, 2)))),
        Sample((Draw((3, 4)), Draw((3,)), Exactly(np.float64(1e-9)))),
        Sample((Draw((5, 3), "f32"), Draw((5,), "f32"))),
    ),
    (np.linalg.lstsq,),
    fallible=True,
    sums=True,
)


def _round_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "python_round")
    check_dtype(inputs[0], "f64", "what is rounded")
    check_rank(inputs[0], 0, "python_round")
    return inputs


_library_op(
    "python_round",
    lambda x, digits: np.float64(round(float(x), digits)),
    _round_rule,
    tuple(Sample((Draw(()),), {"digits": digits}) for digits in (2, 0, -1)),
    fallible=True,
)
