"""Joins and rearrangements: elements of the inputs in other places.

Owns the ops that copy; those that need not are in `janusjit.ops.views`. Invariant: the element rule of a `Structured`
op loads in bounds only, whatever it selects afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import TensorType
from janusjit.ops.elementwise import E, like
from janusjit.ops.emitter import Scalar
from janusjit.ops.gradients_arrays import JOINS
from janusjit.ops.registry import (
    Attributes,
    Elementwise,
    Library,
    Lowering,
    Op,
    Source,
    Structured,
    TypeRule,
    declare,
    gradient_in,
    implementation,
)
from janusjit.ops.samples import Draw, Sample
from janusjit.ops.type_rules import (
    TypeRuleError,
    at_least,
    check_arity,
    check_axes,
    check_axis,
    check_equal_shapes,
    check_same_dtype,
)

Index = tuple[Scalar, ...]


def _join_op(
    name: str,
    eager: Callable[..., Any],
    infer: TypeRule,
    lowering: Lowering,
    samples: tuple[Sample, ...],
    numpy: tuple[Callable[..., Any], ...] = (),
) -> None:
    declare(
        Op(
            name=name,
            family="join",
            eager=eager,
            infer=infer,
            lowering=lowering,
            gradient=gradient_in(JOINS, name),
            numpy=numpy,
            samples=samples,
        )
    )


def _shifted(e: E, i: Scalar, amount: int) -> Scalar:
    return e.add(i, like(e, i, amount))


def _clamped(e: E, i: Scalar, size: Scalar) -> Scalar:
    """Return ``i`` moved into ``[0, size)``."""
    zero, last = like(e, i, 0), _shifted(e, size, -1)
    i = e.select(e.lt(i, zero), zero, i)
    return e.select(e.gt(i, last), last, i)


def _replaced(index: Index, axis: int, value: Scalar) -> Index:
    return (*index[:axis], value, *index[axis + 1 :])


def _check_not_empty(x: TensorType, what: str) -> None:
    """Raise where ``x`` may have no element that could be loaded in place of those out of bounds."""
    if not all(at_least(dim, 1) for dim in x.shape):
        raise TypeRuleError(f"{what} of {x}, which may be empty")


# ---- joining


def _concatenate_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    axis = attributes["axis"]
    dtype = check_same_dtype(inputs, "concatenate")
    first = inputs[0].shape
    check_axis(axis, len(first))
    total: Dim = 0
    for type_ in inputs:
        check_axis(axis, type_.rank)
        check_equal_shapes(_replaced(type_.shape, axis, 0), _replaced(first, axis, 0), "concatenate")
        total = total + type_.shape[axis]
    return (TensorType(dtype, _replaced(first, axis, total)),)


_join_op(
    "concatenate",
    lambda *inputs, axis: np.concatenate(inputs, axis=axis),
    _concatenate_rule,
    Structured(),
    (
        Sample((Draw((2, 3)), Draw((2, 1)), Draw((2, 0))), {"axis": 1}),
        Sample((Draw((2,), "i64"), Draw((3,), "i64")), {"axis": 0}),
        Sample((Draw((2, 3), "bool"),), {"axis": 0}),
    ),
    (np.concatenate,),
)

# ---- moving and repeating


def _same_type(name: str) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        if "axis" in attributes:
            check_axis(attributes["axis"], inputs[0].rank)
        return inputs

    return infer


def _roll_element(e: E, index: Index, x: Source, shift: int, axis: int) -> Scalar:
    source = e.int_remainder(_shifted(e, index[axis], -shift), x.shape[axis])
    return x(*_replaced(index, axis, source))


def _pad_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    x = inputs[0]
    widths = attributes["widths"]
    if len(widths) != x.rank or any(width < 0 for pair in widths for width in pair):
        raise TypeRuleError(f"pad of {x} by {widths}")
    _check_not_empty(x, "pad")
    if "mode" not in attributes:
        check_arity(inputs, 2, "pad")
        check_same_dtype(inputs, "pad")
        check_equal_shapes(inputs[1].shape, (), "the value pad fills with")
    return (x.with_shape(tuple(dim + before + after for dim, (before, after) in zip(x.shape, widths, strict=True))),)


def _pad_element(e: E, index: Index, x: Source, value: Source, widths: tuple[tuple[int, int], ...]) -> Scalar:
    inside = e.constant(True, "bool")
    source = []
    for i, size, (before, _) in zip(index, x.shape, widths, strict=True):
        i = _shifted(e, i, -before)
        inside = e.logical_and(inside, e.logical_and(e.ge(i, like(e, i, 0)), e.lt(i, size)))
        source.append(_clamped(e, i, size))
    return e.select(inside, x(*source), value())


_pad = implementation(np.pad)


def _eager_pad(x: Any, value: Any, widths: tuple[tuple[int, int], ...]) -> Any:
    return np.pad(x, widths, constant_values=value) if widths else np.array(x)


def _repeat_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "repeat")
    (x,), axis = inputs, attributes["axis"]
    check_axis(axis, x.rank)
    return (x.with_shape(_replaced(x.shape, axis, x.shape[axis] * attributes["repeats"])),)


def _repeat_element(e: E, index: Index, x: Source, repeats: int, axis: int) -> Scalar:
    return x(*_replaced(index, axis, e.int_floor_div(index[axis], like(e, index[axis], repeats))))


def _tile_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "tile")
    if len(attributes["reps"]) != inputs[0].rank:
        raise TypeRuleError(f"tile of {inputs[0]} by {attributes['reps']}: one number a dimension")
    return (inputs[0].with_shape(tuple(n * r for n, r in zip(inputs[0].shape, attributes["reps"], strict=True))),)


def _tile_element(e: E, index: Index, x: Source, reps: tuple[int, ...]) -> Scalar:
    return x(*[e.int_remainder(i, size) for i, size in zip(index, x.shape, strict=True)])


_join_op("copy", np.array, _same_type("copy"), Elementwise(lambda e, x: x), (Sample((Draw((2, 3)),)),), (np.copy,))
_join_op(
    "roll",
    np.roll,
    _same_type("roll"),
    Structured(_roll_element),
    tuple(Sample((Draw((3, 4)),), {"shift": shift, "axis": axis}) for shift, axis in ((1, 0), (-1, 1), (9, 1), (0, 0))),
    (np.roll,),
)
_join_op(
    "pad",
    _eager_pad,
    _pad_rule,
    Structured(_pad_element),
    tuple(
        Sample((Draw(shape), Draw()), {"widths": widths})
        for shape, widths in (((2, 3), ((1, 2), (0, 1))), ((3,), ((2, 0),)), ((2,), ((0, 0),)), ((), ()))
    ),
    (np.pad,),
)
_join_op(
    "pad_mode",
    lambda x, widths, mode: _pad(x, widths, mode),
    _pad_rule,
    Library(),
    tuple(
        Sample((Draw((3, 4)),), {"widths": ((1, 2), (0, 1)), "mode": mode})
        for mode in ("edge", "reflect", "symmetric", "wrap")
    ),
)
_join_op(
    "repeat",
    np.repeat,
    _repeat_rule,
    Structured(_repeat_element),
    tuple(Sample((Draw((2, 3)),), {"repeats": n, "axis": axis}) for n, axis in ((2, 0), (3, 1), (1, 1), (0, 0))),
    (np.repeat,),
)
_join_op(
    "tile",
    np.tile,
    _tile_rule,
    Structured(_tile_element),
    tuple(Sample((Draw((2, 3)),), {"reps": reps}) for reps in ((2, 1), (1, 3), (0, 2))),
    (np.tile,),
)

# ---- triangles and diagonals


def _matrix_rule(name: str) -> TypeRule:
    def infer(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_arity(inputs, 1, name)
        if inputs[0].rank < 2:
            raise TypeRuleError(f"{name} of {inputs[0]}, which is no matrix")
        return inputs

    return infer


def _triangle(method: str) -> Callable[..., Scalar]:
    def element(e: E, index: Index, x: Source, k: int) -> Scalar:
        value = x(*index)
        kept = getattr(e, method)(index[-1], _shifted(e, index[-2], k))
        return e.select(kept, value, like(e, value, 0))

    return element


def _diag_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "diag")
    if inputs[0].rank != 1:
        raise TypeRuleError(f"diag of {inputs[0]}: the diagonal of a matrix is the op diagonal")
    _check_not_empty(inputs[0], "diag")
    size = inputs[0].shape[0] + abs(attributes["k"])
    return (inputs[0].with_shape((size, size)),)


def _diag_element(e: E, index: Index, x: Source, k: int) -> Scalar:
    row, column = index
    value = x(_clamped(e, _shifted(e, row, min(k, 0)), x.shape[0]))
    return e.select(e.eq(_shifted(e, row, k), column), value, like(e, value, 0))


def _diagonal_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "diagonal")
    (x,), offset = inputs, attributes["offset"]
    pair = (attributes["axis1"], attributes["axis2"])
    check_axes(pair, x.rank)
    rows, columns = (x.shape[axis] for axis in pair)
    if isinstance(rows, int) and isinstance(columns, int):
        length: Dim = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    elif rows == columns and offset == 0:
        length = rows
    else:
        raise TypeRuleError(f"the diagonal of {x} at {offset} has no known length")
    return (x.with_shape((*[dim for axis, dim in enumerate(x.shape) if axis not in pair], length)),)


def _diagonal_element(e: E, index: Index, x: Source, offset: int, axis1: int, axis2: int) -> Scalar:
    *rest, i = index
    at = {axis1: _shifted(e, i, max(-offset, 0)), axis2: _shifted(e, i, max(offset, 0))}
    left = iter(rest)
    return x(*[at[axis] if axis in at else next(left) for axis in range(len(x.shape))])


for _name, _method in (("tril", "le"), ("triu", "ge")):
    _join_op(
        _name,
        getattr(np, _name),
        _matrix_rule(_name),
        Structured(_triangle(_method)),
        tuple(Sample((Draw(shape),), {"k": k}) for shape in ((3, 4), (2, 2, 2)) for k in (-1, 0, 1)),
        (getattr(np, _name),),
    )
_join_op(
    "diag",
    np.diag,
    _diag_rule,
    Structured(_diag_element),
    tuple(Sample((Draw((size,)),), {"k": k}) for size, k in ((3, 0), (3, 1), (2, -2), (1, 1))),
    (np.diag,),
)
_join_op(
    "diagonal",
    np.diagonal,
    _diagonal_rule,
    Structured(_diagonal_element),
    tuple(
        Sample((Draw(shape),), {"offset": offset, "axis1": axis1, "axis2": axis2})
        for shape, offset, axis1, axis2 in (
            ((3, 4), 0, 0, 1),
            ((3, 4), 2, 0, 1),
            ((2, 3, 4), -1, 2, 0),
            ((3, 4), -1, 0, 1),
        )
    ),
    (np.diagonal,),
)
