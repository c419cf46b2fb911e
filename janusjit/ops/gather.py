"""Gathers: elements picked by integer arrays, boolean arrays, or their values.

Owns ``take``, ``gather``, ``compress``, ``nonzero`` and the ops that depend on the order of values. Invariant: indices
may be negative, as NumPy's, and one out of bounds makes the op fail. A result whose length depends on data has the
attribute ``symbol`` (a `Symbol`): from the node on, the symbol is that length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import DimExpr, Symbol
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_arrays import GATHERS
from janusjit.ops.registry import (
    Attributes,
    FallibleRule,
    Library,
    Lowering,
    Op,
    PositionsRule,
    Structured,
    TypeRule,
    declare,
    gradient_in,
    implementation,
)
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_axis, check_dtype, check_rank, check_same_dtype
from janusjit.ops.updates import check_mask, gathered_shape


def _gather_op(
    name: str,
    eager: Callable[..., Any],
    infer: TypeRule,
    lowering: Lowering,
    samples: tuple[Sample, ...],
    numpy: tuple[Callable[..., Any], ...] = (),
    fallible: bool | FallibleRule = False,
    positions: PositionsRule | None = None,
) -> None:
    declare(
        Op(
            name=name,
            family="gather",
            eager=eager,
            infer=infer,
            lowering=lowering,
            gradient=gradient_in(GATHERS, name),
            fallible=fallible,
            numpy=numpy,
            positions=positions,
            samples=samples,
        )
    )


def count_dim(symbol: Symbol) -> DimExpr:
    """Return the dimension that a data-dependent ``symbol`` stands for."""
    return DimExpr((((symbol,), 1),))


# ---- by integers


def _take_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "take")
    (x, index), axis = inputs, attributes["axis"]
    check_axis(axis, x.rank)
    check_dtype(index, "i64", "an index array")
    return (x.with_shape(x.shape[:axis] + index.shape + x.shape[axis + 1 :]),)


def _gather_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    x, *indices = inputs
    return (x.with_shape(gathered_shape(x, indices, attributes["axes"])),)


def _eager_gather(x: Any, *indices: Any, axes: tuple[int, ...]) -> Any:
    return np.moveaxis(np.asarray(x), axes, range(len(axes)))[indices]


_INDEX = Draw((5,), "i64", -3, 3)
_gather_op(
    "take",
    lambda x, index, axis: np.take(x, index, axis=axis),
    _take_rule,
    Structured(),
    (
        Sample((Draw((3, 4)), _INDEX), {"axis": 0}),
        Sample((Draw((2, 3, 4), "i64"), Draw((2, 2), "i64", -3, 3)), {"axis": 1}),
        Sample((Draw((3,)), Draw((), "i64", 0, 3)), {"axis": 0}),
        Sample((Draw((0, 2)), Draw((0,), "i64")), {"axis": 0}),
    ),
    (np.take,),
    fallible=True,
    positions=lambda attributes: [(1, attributes["axis"])],
)
_gather_op(
    "gather",
    _eager_gather,
    _gather_rule,
    Structured(),
    (
        Sample((Draw((3, 4)), _INDEX), {"axes": (0,)}),
        Sample((Draw((3, 4)), _INDEX, _INDEX), {"axes": (0, 1)}),
        Sample((Draw((2, 3, 4)), Draw((5, 1), "i64", -3, 3), Draw((2,), "i64", 0, 4)), {"axes": (1, 2)}),
        Sample((Draw((3, 4)), Draw((0,), "i64")), {"axes": (0,)}),
    ),
    fallible=True,
    positions=lambda attributes: [(1 + at, axis) for at, axis in enumerate(attributes["axes"])],
)

# ---- by truth


def _compress_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "compress")
    return (inputs[0].with_shape((count_dim(attributes["symbol"]), *check_mask(*inputs))),)


def _nonzero_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "nonzero")
    if not inputs[0].rank:
        raise TypeRuleError("nonzero of a scalar")
    return (TensorType("i64", (count_dim(attributes["symbol"]),)),) * inputs[0].rank


_COUNT = Symbol("count", 0)
_gather_op(
    "compress",
    lambda x, mask, symbol: np.asarray(x)[mask],
    _compress_rule,
    Structured(),
    (
        Sample((Draw((3, 4)), Draw((3, 4), "bool")), {"symbol": _COUNT}),
        Sample((Draw((3, 4)), Draw((3,), "bool")), {"symbol": _COUNT}),
        Sample((Draw((0, 4), "i64"), Draw((0,), "bool")), {"symbol": _COUNT}),
    ),
)
_gather_op(
    "nonzero",
    lambda x, symbol: np.nonzero(x),
    _nonzero_rule,
    Structured(),
    (
        Sample((Draw((3, 4), "bool"),), {"symbol": _COUNT}),
        Sample((Draw((5,), "i64", 0, 2),), {"symbol": _COUNT}),
    ),
    (np.nonzero,),
)

# ---- by order


_unique, _bincount = implementation(np.unique), implementation(np.bincount)


def _sort_rule(name: str, result: str | None) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        check_axis(attributes["axis"], inputs[0].rank)
        return (TensorType(result or inputs[0].dtype, inputs[0].shape),)

    return infer


def _searchsorted_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 2, "searchsorted")
    check_same_dtype(inputs, "searchsorted")
    check_rank(inputs[0], 1, "searchsorted")
    return (TensorType("i64", inputs[1].shape),)


def _count_rule(name: str, dtypes: tuple[str, ...] | None, result: str | None) -> TypeRule:
    """The rule of ops from an array to a vector of a length only the data tell."""

    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        if dtypes is not None:
            check_dtype(inputs[0], dtypes, f"the input of {name}")
            check_rank(inputs[0], 1, name)
        return (TensorType(result or inputs[0].dtype, (count_dim(attributes["symbol"]),)),)

    return infer



def _sort(x: np.ndarray, axis: int, kind: Any = None) -> np.ndarray:
    made = x.copy()
    made.sort(axis, kind)
    return made


# The eager functions are what NumPy's functions end up in for an ndarray.
_gather_op(
    "sort",
    _sort,
    _sort_rule("sort", None),
    Library(),
    tuple(Sample((Draw((3, 4), dtype),), {"axis": axis}) for dtype in ("f64", "i64") for axis in (0, 1)),
    (np.sort,),
)
_gather_op(
    "argsort",
    np.ndarray.argsort,
    _sort_rule("argsort", "i64"),
    Library(),
    tuple(Sample((Draw((3, 4)),), {"axis": axis, "kind": kind}) for axis in (0, 1) for kind in (None, "stable")),
    (np.argsort,),
)
_gather_op(
    "searchsorted",
    np.ndarray.searchsorted,
    _searchsorted_rule,
    Library(),
    tuple(
        Sample((Exactly(np.array([0.0, 1.0, 1.0, 2.0])), Draw(shape)), {"side": side})
        for shape in ((5,), (2, 2), ())
        for side in ("left", "right")
    ),
    (np.searchsorted,),
)
_gather_op(
    "unique",
    lambda x, symbol=None: _unique(x),
    _count_rule("unique", None, None),
    Library(),
    (Sample((Draw((7,), "i64"),), {"symbol": _COUNT}), Sample((Draw((2, 3)),), {"symbol": _COUNT})),
    (np.unique,),
)
_gather_op(
    "bincount",
    lambda x, minlength, symbol=None: _bincount(x, None, minlength),
    _count_rule("bincount", ("i64",), "i64"),
    Library(),
    tuple(Sample((Draw((7,), "i64", 0, 5),), {"minlength": n, "symbol": _COUNT}) for n in (0, 9)),
    (np.bincount,),
    fallible=True,
)
