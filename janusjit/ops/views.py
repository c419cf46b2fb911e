"""Views: ``view`` (basic indexing), ``transpose``, ``reshape``, ``broadcast``.

Owns the index maps. Invariant: the result holds elements of the input only, so a backend may address the input's memory
(``reshape`` where strides allow). Shapes and indices are resolved by capture: no ellipsis, no -1, no negative start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim, product
from janusjit.ir.types import TensorType
from janusjit.ops.gradients_arrays import VIEWS
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, Pick, Range, numpy_index
from janusjit.ops.registry import Attributes, Op, View, declare
from janusjit.ops.samples import Draw, Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_axes, check_broadcastable, check_dtype, show_shape


def indexed_shape(shape: tuple[Dim, ...], index: Sequence[IndexItem]) -> tuple[Dim, ...]:
    """Return the shape that ``index`` selects from an array of ``shape``.

    Raises
    ------
    TypeRuleError
        If the items do not cover every dimension, or known numbers lie out of bounds.
    """
    left = list(shape)
    result: list[Dim] = []
    for item in index:
        if isinstance(item, NewAxis):
            result.append(1)
            continue
        if not left:
            raise TypeRuleError(f"the index has more items than {show_shape(shape)} dimensions")
        _check_bounds(item, left.pop(0))
        if isinstance(item, Range):
            result.append(item.length)
    if left:
        raise TypeRuleError(f"the index covers {len(shape) - len(left)} of {show_shape(shape)}")
    return tuple(result)


def _check_bounds(item: Pick | Range, size: Dim) -> None:
    """Raise where ``item`` is known to leave the dimension."""
    length, step = (item.length, item.step) if isinstance(item, Range) else (1, 1)
    if step == 0:
        raise TypeRuleError("the step of a range is 0")
    if not (isinstance(item.start, int) and isinstance(length, int) and isinstance(size, int)) or length == 0:
        return
    last = item.start + (length - 1) * step
    if length < 0 or not (0 <= item.start < size and 0 <= last < size):
        raise TypeRuleError(f"{item} is out of bounds of a dimension of {size}")


def check_extras(index: Sequence[IndexItem], extras: Sequence[TensorType]) -> None:
    """Raise `TypeRuleError` unless the operands named by ``index`` are the extra inputs, each ``i64[]``."""
    numbers = {i.start.number for i in index if not isinstance(i, NewAxis) and isinstance(i.start, Operand)}
    if numbers != set(range(len(extras))):
        raise TypeRuleError(f"the index names operands {sorted(numbers)} of {len(extras)}")
    for type_ in extras:
        if type_ != TensorType("i64"):
            check_dtype(type_, "i64", "an index")
            raise TypeRuleError(f"an index is {type_}, not a scalar")


def _view_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    x, *extras = inputs
    check_extras(attributes["index"], extras)
    return (x.with_shape(indexed_shape(x.shape, attributes["index"])),)


def _transpose_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "transpose")
    axes = attributes["axes"]
    check_axes(axes, inputs[0].rank)
    if len(axes) != inputs[0].rank:
        raise TypeRuleError(f"transpose of {inputs[0]} by {axes}")
    return (inputs[0].with_shape(tuple(inputs[0].shape[axis] for axis in axes)),)


def _reshape_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "reshape")
    (x,) = inputs
    difference = x.size - product(attributes["shape"])
    if isinstance(difference, int) and difference != 0:
        raise TypeRuleError(f"reshape of {x} to {show_shape(attributes['shape'])}")
    return (x.with_shape(attributes["shape"]),)


def _broadcast_rule(inputs: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
    check_arity(inputs, 1, "broadcast")
    check_broadcastable(inputs[0].shape, attributes["shape"])
    return (inputs[0].with_shape(attributes["shape"]),)


def eager_view(x: Any, *extras: Any, index: tuple[IndexItem, ...]) -> Any:
    """Return the view of ``x`` that ``index`` selects; raises IndexError if it leaves ``x``."""
    result = np.asarray(x)[numpy_index(index, extras)]
    wanted = tuple(1 if isinstance(i, NewAxis) else i.length for i in index if not isinstance(i, Pick))
    if np.shape(result) != wanted:  # Python clips a slice silently
        raise IndexError(f"{index} leaves an array of shape {np.shape(x)}")
    return result


def eager_reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """Return ``x`` in C order as ``shape``."""
    return np.reshape(x, shape)


#: the operations a path consists of, and what they do to an array
VIEW_STEPS: dict[str, Callable[..., Any]] = {"view": eager_view, "transpose": np.transpose, "reshape": eager_reshape}

_X = Draw((3, 4, 5))
_VIEW_SAMPLES = (
    Sample((_X,), {"index": (Range(0, 3), Range(1, 2), Pick(4))}),
    Sample((_X,), {"index": (Range(2, 3, -1), NewAxis(), Range(0, 2, 3), Range(3, 2, -3))}),
    Sample((_X,), {"index": (Range(0, 0), Pick(0), Range(0, 5))}),
    Sample((_X,), {"index": (Pick(2), Pick(0), Pick(1))}),
    Sample((Draw(),), {"index": (NewAxis(), NewAxis())}),
    Sample(
        (_X, Exactly(np.int64(1)), Exactly(np.int64(3))),
        {"index": (Pick(Operand(0)), Range(Operand(1), 2, -2), Range(0, 5))},
    ),
)

declare(
    Op(
        name="view",
        family="views",
        eager=eager_view,
        infer=_view_rule,
        lowering=View(),
        gradient=VIEWS["view"],
        samples=_VIEW_SAMPLES,
    )
)
declare(
    Op(
        name="transpose",
        family="views",
        eager=np.transpose,
        infer=_transpose_rule,
        lowering=View(),
        gradient=VIEWS["transpose"],
        numpy=(np.transpose,),
        samples=tuple(
            Sample((Draw(shape),), {"axes": axes})
            for shape, axes in (((2, 3, 4), (2, 0, 1)), ((2, 3), (1, 0)), ((), ()), ((0, 3), (1, 0)))
        ),
    )
)
declare(
    Op(
        name="reshape",
        family="views",
        eager=eager_reshape,
        infer=_reshape_rule,
        lowering=View(),
        gradient=VIEWS["reshape"],
        numpy=(np.reshape,),
        samples=tuple(
            Sample((Draw(before),), {"shape": after})
            for before, after in (((2, 6), (3, 4)), ((), (1, 1)), ((1,), ()), ((0, 3), (0, 5)), ((2, 3), (6,)))
        ),
    )
)
declare(
    Op(
        name="broadcast",
        family="views",
        eager=np.broadcast_to,
        infer=_broadcast_rule,
        lowering=View(),
        gradient=VIEWS["broadcast"],
        numpy=(np.broadcast_to,),
        samples=tuple(
            Sample((Draw(before),), {"shape": after})
            for before, after in (((3,), (2, 3)), ((2, 1), (2, 5)), ((), (0, 2)), ((1,), (1,)))
        ),
    )
)
