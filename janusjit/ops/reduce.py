"""Reductions and scans.

Owns the ops that combine elements along axes. Invariant: the result dtype is the input's (capture casts to NumPy's
accumulator type first), bool for ``any`` and ``all``, i64 for counts and positions. ``mean``, ``var``, ``std`` and
norms are composed of these by capture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim, product
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_reduce import REDUCTIONS
from janusjit.ops.registry import Attributes, Op, Reduce, Structured, declare, gradient_in
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import TypeRuleError, at_least, check_arity, check_axes, check_axis

NUMERIC = ("f64", "f32", "i64", "u64")
NARROW = ("i32", "u32", "i16", "u16", "i8", "u8")
ALL = ("bool", *NUMERIC, *NARROW)


def reduced_shape(shape: tuple[Dim, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[Dim, ...]:
    """Return ``shape`` without the axes reduced over, or with 1 in their place."""
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def _axes_of(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[int, ...]:
    if "axes" in attributes:
        return tuple(attributes["axes"])
    axis = attributes["axis"]
    return tuple(range(inputs[0].rank)) if axis is None else (axis,)


def _reduction_rule(name: str, dtypes: tuple[str, ...], result: str | None, has_identity: bool) -> Callable[..., Any]:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        (x,) = inputs
        if x.dtype not in dtypes:
            raise TypeRuleError(f"{name} of {x.dtype} wants a cast to one of {', '.join(dtypes)}")
        axes = _axes_of(inputs, attributes)
        check_axes(axes, x.rank)
        shape = reduced_shape(x.shape, axes, attributes["keepdims"])
        if not has_identity and product(x.shape[axis] for axis in axes) == 0 and product(shape) != 0:
            raise TypeRuleError(f"{name} of no elements: {x} over {axes}")
        return (TensorType(result or x.dtype, shape),)

    return infer


def _may_be_empty(inputs: tuple[TensorType, ...], attributes: Attributes) -> bool:
    """Whether a reduction without identity may meet no elements and raise."""
    return not all(at_least(inputs[0].shape[axis], 1) for axis in _axes_of(inputs, attributes))


def _samples(dtypes: tuple[str, ...], empty: bool) -> tuple[Sample, ...]:
    cases: list[tuple[tuple[int, ...], tuple[int, ...], bool]] = [
        ((2, 3, 4), (1,), False),
        ((2, 3, 4), (0, 2), True),
        ((5,), (0,), False),
        ((3, 1), (0, 1), False),
        ((2, 3), (), False),
        ((), (), True),
        ((0, 3), (1,), False),
    ]
    cases += [((0, 3), (0,), False), ((2, 0), (0, 1), True)] if empty else []
    return tuple(
        Sample((Draw(shape, dtype),), {"axes": axes, "keepdims": keepdims})
        for dtype in dtypes
        for shape, axes, keepdims in cases
    )


def _reduction(
    name: str,
    function: Callable[..., Any],
    dtypes: tuple[str, ...],
    result: str | None = None,
    has_identity: bool = True,
) -> None:
    sums = name in ("sum", "prod")

    def eager(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
        x = np.asarray(x)
        dtype = {"dtype": x.dtype} if sums else {}
        return function(x, axis=axes, keepdims=keepdims, **dtype)

    declare(
        Op(
            name=name,
            family="reduce",
            eager=eager,
            infer=_reduction_rule(name, dtypes, result, has_identity),
            lowering=Reduce(name),
            gradient=gradient_in(REDUCTIONS, name),
            sums=sums,
            fallible=False if has_identity else _may_be_empty,
            numpy=(function,),
            samples=_samples(dtypes[:4], has_identity),
        )
    )


def _count_nonzero(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    return np.sum(np.asarray(x) != 0, axis=axes, keepdims=keepdims, dtype=np.int64)


_reduction("sum", np.sum, (*NUMERIC, *NARROW))
_reduction("prod", np.prod, (*NUMERIC, *NARROW))
_reduction("min", np.min, ALL, has_identity=False)
_reduction("max", np.max, ALL, has_identity=False)
_reduction("any", np.any, ALL, result="bool")
_reduction("all", np.all, ALL, result="bool")
declare(
    Op(
        name="count_nonzero",
        family="reduce",
        eager=_count_nonzero,
        infer=_reduction_rule("count_nonzero", ALL, "i64", True),
        lowering=Reduce("count_nonzero"),
        gradient=REDUCTIONS["count_nonzero"],
        numpy=(np.count_nonzero,),
        samples=_samples(ALL[:3], True),
    )
)


def _position(name: str, function: Callable[..., Any]) -> None:
    """Declare argmax or argmin: the first position of the extremum, or of the first NaN."""

    def eager(x: Any, axis: int | None, keepdims: bool) -> Any:
        return function(np.asarray(x), axis=axis, keepdims=keepdims)

    cases: tuple[tuple[tuple[int, ...], int | None], ...] = (((2, 3, 4), 1), ((2, 3), None), ((5,), 0), ((0, 2), 1))
    declare(
        Op(
            name=name,
            family="reduce",
            eager=eager,
            infer=_reduction_rule(name, ALL, "i64", False),
            lowering=Reduce(name),
            gradient=gradient_in(REDUCTIONS, name),
            fallible=_may_be_empty,
            numpy=(function,),
            samples=tuple(
                Sample((Draw(shape, dtype),), {"axis": axis, "keepdims": keepdims})
                for dtype in ("f64", "f32", "i64", "bool")
                for shape, axis in cases
                for keepdims in (False, True)
            ),
        )
    )


_position("argmax", np.argmax)
_position("argmin", np.argmin)


def _scan(name: str, function: Callable[..., Any]) -> None:
    """Declare cumsum or cumprod along one axis."""

    def eager(x: Any, axis: int) -> Any:
        return function(x, axis=axis, dtype=x.dtype)

    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        check_axis(attributes["axis"], inputs[0].rank)
        if inputs[0].dtype == "bool":
            raise TypeRuleError(f"{name} of bool wants a cast to i64")
        return inputs

    declare(
        Op(
            name=name,
            family="reduce",
            eager=eager,
            infer=infer,
            lowering=Structured(),
            gradient=gradient_in(REDUCTIONS, name),
            sums=True,
            numpy=(function,),
            samples=tuple(
                Sample((Draw(shape, dtype),), {"axis": axis})
                for dtype in NUMERIC
                for shape, axis in (((2, 3, 4), 1), ((5,), 0), ((0, 2), 0), ((2, 3), 1))
            ),
        )
    )


_scan("cumsum", np.cumsum)
_scan("cumprod", np.cumprod)
