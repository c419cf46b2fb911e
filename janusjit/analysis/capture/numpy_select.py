"""Models of the functions that choose, search and order elements.

Owns ``where``, ``take``, ``sort``, ``unique`` and their kin. Invariant: positions out of bounds fail a guard, and a
result whose length depends on data has a symbol for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant, new_array, read, wrap, write
from janusjit.analysis.capture.elements import python_constant
from janusjit.analysis.capture.index_writing import element_value, scatter
from janusjit.analysis.capture.indexing import mask_count, nonzero
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_method,
    axis_of,
    finish,
    flag,
    given,
    numpy_function,
    operate,
    rank_of,
    refuse,
    strict_axis_of,
    with_common_dtype,
)
from janusjit.analysis.capture.numpy_dimensions import align, with_shape
from janusjit.analysis.capture.numpy_shape import as_array_value, flattened
from janusjit.analysis.capture.values import FALSE, NONE, AbstractValue, ArrayValue, Known, Scalar, TupleValue
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name

_WEAK = {int: 0, float: 0.0, bool: False}


def promoted(machine: Machine, operands: list[AbstractValue]) -> list[Value]:
    """Return operands as graph values of the dtype that NEP 50 promotes them to."""
    operands = [machine.resolve(operand) for operand in operands]
    values = [None if _is_weak(operand) else array(machine, operand) for operand in operands]
    kinds = [
        operand.value if value is None else value.type.numpy_dtype  # type: ignore[attr-defined]
        for operand, value in zip(operands, values, strict=True)
    ]
    kinds = [
        _WEAK[type(kind)] if isinstance(kind, int | float) else _weak_kind(operand, kind)
        for operand, kind in zip(operands, kinds, strict=True)
    ]
    name = dtype_name(np.result_type(*kinds))
    if name is None:
        raise machine.unsupported("array.dtype", "promotion", f"the result has dtype {np.result_type(*kinds)}")
    return [
        python_constant(machine, operand.value, name) if value is None else cast(machine, value, name)  # type: ignore[attr-defined]
        for operand, value in zip(operands, values, strict=True)
    ]


def _is_weak(operand: AbstractValue) -> bool:
    return isinstance(operand, Known) and type(operand.value) in (int, float)


def _weak_kind(operand: AbstractValue, dtype: Any) -> Any:
    """Return a Python number's place holder for a run-time int or float, whose dtype gives way to an array's."""
    if isinstance(operand, Scalar) and operand.kind in ("int", "float"):
        return _WEAK[{"int": int, "float": float}[operand.kind]]
    return dtype


# ---------------------------------------------------------------------- by truth


@numpy_function(np.where)
def _model_where(
    machine: Machine, condition: AbstractValue, x: AbstractValue = NONE, y: AbstractValue = NONE
) -> AbstractValue:
    mask = cast(machine, array(machine, condition), "bool")
    if not given(x) and not given(y):
        return _positions(machine, mask)
    first, second = promoted(machine, [x, y])
    return new_array(machine, machine.emit("where", *align(machine, (mask, first, second))))


def _positions(machine: Machine, mask: Value) -> AbstractValue:
    if not mask.type.shape:
        raise machine.python_error(ValueError, "Calling nonzero on 0d arrays is not allowed")
    return TupleValue(tuple(new_array(machine, found) for found in nonzero(machine, mask)))


@numpy_function(np.nonzero, method="nonzero")
def _model_nonzero(machine: Machine, a: AbstractValue) -> AbstractValue:
    return _positions(machine, cast(machine, array(machine, a), "bool"))


@numpy_function(np.flatnonzero)
def _model_flatnonzero(machine: Machine, a: AbstractValue) -> AbstractValue:
    mask = cast(machine, flattened(machine, array(machine, a)), "bool")
    return new_array(machine, nonzero(machine, mask)[0])


@numpy_function(np.argwhere)
def _model_argwhere(machine: Machine, a: AbstractValue) -> AbstractValue:
    mask = cast(machine, array(machine, a), "bool")
    columns = [machine.emit("reshape", c, shape=(c.type.shape[0], 1)) for c in nonzero(machine, mask)]
    return new_array(machine, machine.emit("concatenate", *columns, axis=1))


# ---------------------------------------------------------------------- by position


@numpy_function(np.take, method="take")
def _model_take(
    machine: Machine,
    a: AbstractValue,
    indices: AbstractValue,
    axis: AbstractValue = NONE,
    out: AbstractValue = NONE,
    mode: AbstractValue = Known("raise"),
) -> AbstractValue:
    value, index = array(machine, a), array(machine, indices)
    if machine.constant(mode, "mode") != "raise":
        raise machine.unsupported("numpy.argument", "mode=", "positions out of bounds are moved")
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    return finish(machine, operate(machine, "take", value, _index(machine, index), axis=at), out)


def _index(machine: Machine, index: Value) -> Value:
    if index.type.dtype[0] not in "iu":
        raise machine.python_error(TypeError, "Cannot cast array data to an index")
    return cast(machine, index, "i64")


@numpy_function(np.take_along_axis)
def _model_take_along_axis(
    machine: Machine, arr: AbstractValue, indices: AbstractValue, axis: AbstractValue = Known(-1)
) -> AbstractValue:
    value, index = array(machine, arr), _index(machine, array(machine, indices))
    if not given(axis):
        value, at = flattened(machine, value), 0
    else:
        at = axis_of(machine, axis, value.type.rank)
    return new_array(machine, operate(machine, "gather", value, *_along(machine, value, index, at), axes=_all(value)))


def _all(value: Value) -> tuple[int, ...]:
    return tuple(range(value.type.rank))


def _along(machine: Machine, value: Value, index: Value, axis: int) -> list[Value]:
    """Return the index arrays of ``take_along_axis``: positions everywhere but at the axis."""
    shape, rank = value.type.shape, value.type.rank
    if index.type.rank != rank:
        raise machine.python_error(ValueError, "`indices` and `arr` must have the same number of dimensions")
    lines = []
    for at, size in enumerate(shape):
        if at == axis:
            lines.append(index)
            continue
        line = machine.emit("arange", constant(machine, 0, "i64"), constant(machine, 1, "i64"), length=size)
        lines.append(with_shape(machine, line, tuple(size if other == at else 1 for other in range(rank))))
    return align(machine, lines)


@array_method("put")
def _method_put(
    machine: Machine, a: AbstractValue, indices: AbstractValue, values: AbstractValue, mode: AbstractValue = NONE
) -> AbstractValue:
    refuse(machine, "mode=", mode)
    if not isinstance(a, ArrayValue) or a.type.rank != 1:
        raise machine.unsupported("array.method", ".put()", "only an array of one dimension has a rule")
    scatter(machine, a, [0], [_index(machine, array(machine, indices))], element_value(machine, a, values), False)
    return NONE


@numpy_function(np.fill_diagonal)
def _model_fill_diagonal(
    machine: Machine, a: AbstractValue, val: AbstractValue, wrap: AbstractValue = FALSE
) -> AbstractValue:
    target = machine.resolve(a)
    square = isinstance(target, ArrayValue) and target.type.rank == 2 and target.type.shape[0] == target.type.shape[1]
    if not square or flag(machine, wrap, "wrap"):
        raise machine.unsupported("numpy.function", "np.fill_diagonal", "only a square matrix has a rule")
    assert isinstance(target, ArrayValue)
    element = element_value(machine, target, val)
    size = target.type.shape[0]
    mask = machine.emit("eye", n=size, m=size, k=0, dtype="bool")
    if element.type.rank == 1:
        element = with_shape(machine, element, (*element.type.shape, 1))
    write(machine, target, machine.emit("where", *align(machine, (mask, element, read(machine, target)))))
    return NONE


# ---------------------------------------------------------------------- by order


@numpy_function(np.sort)
def _model_sort(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = Known(-1),
    kind: AbstractValue = NONE,
    order: AbstractValue = NONE,
    *,
    stable: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "order=", order)
    value = array(machine, a)
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    return new_array(machine, machine.emit("sort", value, axis=at))


@array_method("sort")
def _method_sort(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = Known(-1),
    kind: AbstractValue = NONE,
    order: AbstractValue = NONE,
    *,
    stable: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "order=", order)
    at = strict_axis_of(machine, axis, rank_of(machine, a))
    if isinstance(a, ArrayValue):
        write(machine, a, machine.emit("sort", read(machine, a), axis=at))
    return NONE


@numpy_function(np.argsort, method="argsort")
def _model_argsort(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = Known(-1),
    kind: AbstractValue = NONE,
    order: AbstractValue = NONE,
    *,
    stable: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "order=", order)
    value = array(machine, a)
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    name = "stable" if flag(machine, stable, "stable") else machine.constant(kind, "kind")
    return new_array(machine, machine.emit("argsort", value, axis=at, kind=name))


@numpy_function(np.searchsorted)
def _model_searchsorted(
    machine: Machine,
    a: AbstractValue,
    v: AbstractValue,
    side: AbstractValue = Known("left"),
    sorter: AbstractValue = NONE,
) -> AbstractValue:
    refuse(machine, "sorter=", sorter)
    pair = promoted(machine, [as_array_value(machine, a), as_array_value(machine, v)])  # numbers do not give way
    return wrap(machine, operate(machine, "searchsorted", *pair, side=machine.constant(side, "side")))


array_method("searchsorted")(_model_searchsorted)


@numpy_function(np.isin)
def _model_isin(
    machine: Machine,
    element: AbstractValue,
    test_elements: AbstractValue,
    assume_unique: AbstractValue = FALSE,
    invert: AbstractValue = FALSE,
) -> AbstractValue:
    values, tests = with_common_dtype(machine, [array(machine, element), array(machine, test_elements)])
    tests = flattened(machine, tests)
    grown = with_shape(machine, values, (*values.type.shape, 1))
    same = machine.emit("equal", grown, tests)
    found = machine.emit("any", same, axes=(values.type.rank,), keepdims=False)
    if flag(machine, invert, "invert"):
        found = machine.emit("logical_not", found)
    return new_array(machine, found)


@numpy_function(np.compress)
def model_compress(
    machine: Machine, condition: AbstractValue, a: AbstractValue, axis: AbstractValue = NONE
) -> AbstractValue:
    """Return ``np.compress(condition, a, axis)``."""
    mask, value = cast(machine, array(machine, condition), "bool"), array(machine, a)
    if not given(axis):
        value = flattened(machine, value)
    at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
    if mask.type.shape != value.type.shape[at : at + 1]:
        raise machine.unsupported("numpy.function", "np.compress", "the condition is not as long as the axis")
    (symbol,) = mask_count(machine, mask).symbols()
    positions = machine.emit("nonzero", mask, symbol=symbol)
    return new_array(machine, operate(machine, "take", value, positions, axis=at))
