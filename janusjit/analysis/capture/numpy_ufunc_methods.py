"""Models of the methods of ufuncs.

Owns ``reduce``, ``accumulate``, ``outer`` and ``at``. Invariant: a reduction over the default axis 0 is the function's
own model with that axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import ufuncs
from janusjit.analysis.capture.arrays import cast, wrap
from janusjit.analysis.capture.calls import MODELS, Model
from janusjit.analysis.capture.index_parsing import Advanced
from janusjit.analysis.capture.index_writing import combine_with_item, scatter, set_item
from janusjit.analysis.capture.indexing import fitting_mask, get_item, nonzero
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.methods import UFUNC_METHOD
from janusjit.analysis.capture.numpy_arguments import (
    MISSING_ARGUMENT,
    array,
    by_signature,
    finish,
    given,
    refuse,
    refuse_where,
    strict_axis_of,
)
from janusjit.analysis.capture.numpy_reduce import model_cumprod, model_cumsum
from janusjit.analysis.capture.numpy_shape import as_array_value, reshape_to
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, ArrayValue, Known, SliceValue, TupleValue
from janusjit.ir.graph import Value

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]

#: the function that is a ufunc's reduction, and whether it takes ``dtype``
_REDUCTIONS: dict[np.ufunc, tuple[Any, bool]] = {
    np.add: (np.sum, True),
    np.multiply: (np.prod, True),
    np.maximum: (np.max, False),
    np.minimum: (np.min, False),
    np.logical_and: (np.all, False),
    np.logical_or: (np.any, False),
}


#: those that ``at`` has a rule for
_IN_PLACE = frozenset(
    {np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin}
    | {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.logical_and, np.logical_or}
)


def _reduction(ufunc: np.ufunc) -> Model:
    def rule(
        machine: Machine,
        array: AbstractValue,
        axis: AbstractValue = Known(0),
        dtype: AbstractValue = NONE,
        out: AbstractValue = NONE,
        keepdims: AbstractValue = FALSE,
        initial: AbstractValue = MISSING_ARGUMENT,
        where: AbstractValue = TRUE,
    ) -> AbstractValue:
        function, takes_dtype = _REDUCTIONS[ufunc]
        named: Named = {"axis": axis, "out": out, "keepdims": keepdims}
        if takes_dtype:
            named["dtype"] = dtype
        else:
            refuse(machine, "dtype=", dtype)
        if given(initial):
            named["initial"] = initial
        refuse_where(machine, where)
        return MODELS[function](machine, (array,), named)

    return by_signature(rule, f"np.{ufunc.__name__}.reduce")


def _running(op: str) -> Callable[..., AbstractValue]:
    def rule(
        machine: Machine, values: AbstractValue, axis: AbstractValue, dtype: AbstractValue, out: AbstractValue
    ) -> AbstractValue:
        refuse(machine, "dtype=", dtype)
        value = array(machine, values)
        return finish(machine, machine.emit(op, value, axis=strict_axis_of(machine, axis, value.type.rank)), out)

    return rule


_ACCUMULATIONS: dict[np.ufunc, Callable[..., AbstractValue]] = {
    np.add: model_cumsum,
    np.multiply: model_cumprod,
    np.maximum: _running("maximum_accumulate"),
    np.minimum: _running("minimum_accumulate"),
}


def _accumulation(ufunc: np.ufunc) -> Model:
    def rule(
        machine: Machine,
        array: AbstractValue,
        axis: AbstractValue = Known(0),
        dtype: AbstractValue = NONE,
        out: AbstractValue = NONE,
    ) -> AbstractValue:
        if not given(axis):
            raise machine.unsupported("numpy.argument", "axis=", "ufuncs accumulate along one axis only")
        return _ACCUMULATIONS[ufunc](machine, array, axis, dtype, out)

    return by_signature(rule, f"np.{ufunc.__name__}.accumulate")


def _outer(ufunc: np.ufunc) -> Model:
    def rule(machine: Machine, A: AbstractValue, B: AbstractValue, /, **named: AbstractValue) -> AbstractValue:
        left, right = as_array_value(machine, A), machine.resolve(B)
        spread = reshape_to(machine, left, (*left.type.shape, *(1 for _ in array(machine, right).type.shape)))
        return ufuncs.call(machine, ufunc, (spread, right), named)

    return by_signature(rule, f"np.{ufunc.__name__}.outer")


def _at(ufunc: np.ufunc) -> Model:
    def rule(machine: Machine, a: AbstractValue, indices: AbstractValue, b: AbstractValue, /) -> AbstractValue:
        target = machine.resolve(a)
        if not isinstance(target, ArrayValue) or ufunc not in _IN_PLACE:
            raise machine.unsupported("numpy.function", f"np.{ufunc.__name__}.at", "the method has no rule yet")
        _combine_at(machine, ufunc, target, machine.resolve(indices), machine.resolve(b))
        return NONE

    return by_signature(rule, f"np.{ufunc.__name__}.at")


def _combine_at(
    machine: Machine, ufunc: np.ufunc, target: ArrayValue, indices: AbstractValue, b: AbstractValue
) -> None:
    name = f"np.{ufunc.__name__}.at"
    element = array(machine, b, name)  # no number is weak here
    loop = ufuncs.loop_of(machine, ufunc, [target.type.numpy_dtype, element.type.numpy_dtype])
    element = cast(machine, element, loop)
    combining = np.add if ufunc is np.subtract else ufunc
    if ufunc is np.subtract:
        element = machine.emit("negative", element)
    accumulate = True if combining is np.add and loop == target.type.dtype else combining.__name__
    parts = indices.items if isinstance(indices, TupleValue) else (indices,)
    arrays = [_position_array(machine, machine.resolve(part)) for part in parts]
    if any(part is None for part in arrays):
        if any(part is not None and part.type.rank for part in arrays):
            combine_with_item(machine, target, indices, element, accumulate)
            return
        # no position occurs twice in a basic index
        current = get_item(machine, target, indices)
        set_item(machine, target, indices, ufuncs.apply(machine, combining, (current, wrap(machine, element))))
        return
    values: list[Value] = []
    for part in arrays:
        assert part is not None
        if part.type.dtype == "bool":
            if len(values) + part.type.rank > target.type.rank:
                raise machine.python_error(IndexError, "too many indices for array")
            mask = fitting_mask(machine, target.type, len(values), Advanced(part, part.type.rank))
            values.extend(nonzero(machine, mask.value))
        else:
            values.append(cast(machine, part, "i64"))
    scatter(machine, target, list(range(len(values))), values, element, accumulate)


def _position_array(machine: Machine, part: AbstractValue) -> Value | None:
    """Return an index array; None for a slice, ellipsis or None."""
    if isinstance(part, SliceValue) or (isinstance(part, Known) and (part.value is None or part.value is Ellipsis)):
        return None
    value = array(machine, part, "an index")
    if value.type.dtype != "bool" and value.type.dtype[0] not in "iu":
        raise machine.python_error(IndexError, "arrays used as indices must be of integer (or boolean) type")
    return value


def call_ufunc_method(
    machine: Machine, ufunc: np.ufunc, name: str, arguments: Arguments, keywords: Named
) -> AbstractValue:
    """Call ``ufunc.name(*arguments, **keywords)``."""
    made: Model | None = None
    if name == "reduce" and ufunc in _REDUCTIONS:
        made = _reduction(ufunc)
    elif name == "accumulate" and ufunc in _ACCUMULATIONS:
        made = _accumulation(ufunc)
    elif name == "outer":
        made = _outer(ufunc)
    elif name == "at":
        made = _at(ufunc)
    if made is None:
        raise machine.unsupported("numpy.function", f"np.{ufunc.__name__}.{name}", "the method has no rule yet")
    return made(machine, arguments, keywords)


UFUNC_METHOD.append(call_ufunc_method)
