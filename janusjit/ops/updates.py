"""Updates: new versions of an array in which a part is replaced.

Owns ``update`` (through a path of views), ``update_take`` (through integer arrays) and ``update_mask`` (through a
boolean array). Invariant: the result is a new value of the type of ``base``; the backend decides when it may share its
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_arrays import UPDATES as GRADIENTS
from janusjit.ops.indexing import NewAxis, Operand, PathStep, Pick, Range
from janusjit.ops.registry import OPS, Attributes, Op, Structured, declare
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import (
    TypeRuleError,
    broadcast_shapes,
    check_axes,
    check_broadcastable,
    check_dtype,
    check_equal_shapes,
    check_same_dtype,
)
from janusjit.ops.views import VIEW_STEPS


def part_type(base: TensorType, path: Sequence[PathStep], extras: Sequence[TensorType] = ()) -> TensorType:
    """Return the type of the part of ``base`` that ``path`` reaches.

    Raises
    ------
    TypeRuleError
        If a step is not a view operation, or is not defined, or extra inputs are left over.
    """
    left = list(extras)
    for step in path:
        if step.op not in VIEW_STEPS:
            raise TypeRuleError(f"{step.op} is not a step of a path")
        (base,) = OPS[step.op].infer((base, *left[: step.extras]), dict(step.attributes))
        del left[: step.extras]
    if left:
        raise TypeRuleError(f"{len(left)} inputs are left after the path")
    return base


def follow_path(x: Any, path: Sequence[PathStep], extras: Sequence[Any] = ()) -> Any:
    """Return the part of array ``x`` that ``path`` reaches (a copy where a reshape has to copy)."""
    left = list(extras)
    for step in path:
        x = VIEW_STEPS[step.op](x, *left[: step.extras], **dict(step.attributes))
        del left[: step.extras]
    return x


def _update_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    base, value, *extras = inputs
    check_same_dtype((base, value), "update")
    check_broadcastable(value.shape, part_type(base, attributes["path"], extras).shape)
    return (base,)


def _eager_update(base: Any, value: Any, *extras: Any, path: tuple[PathStep, ...]) -> Any:
    """Set the part by position, so that no memory layout of ``base`` can turn a reshape of the path into a copy."""
    result = np.array(base, order="C")
    positions = follow_path(np.arange(result.size).reshape(result.shape), path, extras)
    result.reshape(-1)[positions] = value
    return result


def gathered_shape(x: TensorType, indices: Sequence[TensorType], axes: tuple[int, ...]) -> tuple[Dim, ...]:
    """Return the shape of ``x`` indexed by integer arrays at ``axes``: their broadcast shape, then the other axes'."""
    check_axes(axes, x.rank)
    if len(indices) != len(axes) or not axes:
        raise TypeRuleError(f"{len(indices)} index arrays for axes {axes}")
    for index in indices:
        check_dtype(index, "i64", "an index array")
    picked = broadcast_shapes(*[index.shape for index in indices])
    return picked + tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)


def _update_take_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    base, value, *indices = inputs
    if isinstance(attributes["accumulate"], bool):  # others combine elements in the dtype of the values
        check_same_dtype((base, value), "update_take")
    check_broadcastable(value.shape, gathered_shape(base, indices, attributes["axes"]))
    return (base,)


def accumulation(accumulate: bool | str) -> str | None:
    """Return the operation by which ``update_take`` combines values with what is there; None if they replace it."""
    return ("add" if accumulate else None) if isinstance(accumulate, bool) else accumulate


def _eager_update_take(base: Any, value: Any, *indices: Any, axes: tuple[int, ...], accumulate: bool | str) -> Any:
    result = np.array(base)
    part = np.moveaxis(result, axes, range(len(axes)))
    operation = accumulation(accumulate)
    if operation is not None:
        getattr(np, operation).at(part, indices, value)
    else:
        part[indices] = value
    return result


def check_mask(x: TensorType, mask: TensorType) -> tuple[Dim, ...]:
    """Return the dimensions of ``x`` behind those that ``mask`` covers, or raise `TypeRuleError`."""
    check_dtype(mask, "bool", "a mask")
    if not mask.rank:
        raise TypeRuleError("a mask has dimensions")
    check_equal_shapes(mask.shape, x.shape[: mask.rank], "a mask and what it covers")
    return x.shape[mask.rank :]


def _update_mask_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    base, mask, value = inputs
    check_same_dtype((base, value), "update_mask")
    rest = check_mask(base, mask)
    if value.rank > len(rest):
        rest = (value.shape[0], *rest)  # the count: known, and compared, at run time
    check_broadcastable(value.shape, rest)
    return (base,)


def _mask_may_differ(inputs: tuple[TensorType, ...], attributes: Attributes) -> bool:
    """Whether the number of values can differ from the mask's count."""
    base, mask, value = inputs
    return value.rank > base.rank - mask.rank and value.shape[0] != 1


def _eager_update_mask(base: Any, mask: Any, value: Any) -> Any:
    result = np.array(base)
    result[mask] = value
    return result


_ROW = PathStep.of("view", index=(Pick(1), Range(0, 4)))
_REVERSED = PathStep.of("view", index=(Range(2, 3, -1), NewAxis(), Range(1, 2, 2)))
_RUN_TIME_ROW = PathStep.of("view", extras=1, index=(Pick(Operand(0)), Range(0, 4)))
_BASE = Draw((3, 4))

declare(
    Op(
        name="update",
        family="updates",
        eager=_eager_update,
        infer=_update_rule,
        lowering=Structured(),
        gradient=GRADIENTS["update"],
        samples=(
            Sample((_BASE, Draw((4,))), {"path": (_ROW,)}),
            Sample((_BASE, Draw()), {"path": (_ROW,)}),
            Sample((_BASE, Draw((3, 1, 2))), {"path": (_REVERSED,)}),
            Sample((_BASE, Draw((2, 6))), {"path": (PathStep.of("reshape", shape=(2, 6)),)}),
            Sample(
                (_BASE, Draw((3,))),
                {"path": (PathStep.of("transpose", axes=(1, 0)), PathStep.of("view", index=(Pick(0), Range(0, 3))))},
            ),
            Sample((_BASE, Draw((1,)), Exactly(np.int64(2))), {"path": (_RUN_TIME_ROW,)}),
            Sample((_BASE, Draw((3, 4))), {"path": ()}),
        ),
    )
)
declare(
    Op(
        name="update_take",
        family="updates",
        eager=_eager_update_take,
        infer=_update_take_rule,
        lowering=Structured(),
        gradient=GRADIENTS["update_take"],
        fallible=True,
        positions=lambda attributes: [(2 + at, axis) for at, axis in enumerate(attributes["axes"])],
        numpy=(np.add.at, np.maximum.at),
        samples=tuple(
            Sample(inputs, {"axes": axes, "accumulate": accumulate})
            for accumulate in (False, True)
            for inputs, axes in (
                ((_BASE, Draw((5, 4)), Draw((5,), "i64", -3, 3)), (0,)),
                ((_BASE, Draw(), Draw((2, 2), "i64", -4, 4)), (1,)),
                ((_BASE, Draw((2,)), Draw((2,), "i64", -3, 3), Draw((), "i64", 0, 4)), (0, 1)),
                ((_BASE, Draw((0, 4)), Draw((0,), "i64", 0, 3)), (0,)),
            )
        ),
    )
)
declare(
    Op(
        name="update_mask",
        family="updates",
        eager=_eager_update_mask,
        infer=_update_mask_rule,
        lowering=Structured(),
        gradient=GRADIENTS["update_mask"],
        fallible=_mask_may_differ,
        samples=(
            Sample((_BASE, Draw((3, 4), "bool"), Draw())),
            Sample((_BASE, Draw((3,), "bool"), Draw((4,)))),
            Sample((_BASE, Exactly(np.array([True, False, True])), Draw((2, 4)))),
            Sample((_BASE, Exactly(np.eye(3, 4, dtype=bool)), Draw((3,)))),
        ),
    )
)
