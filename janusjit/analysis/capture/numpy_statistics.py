"""Models of functions that count, rank and leave out NaN.

Owns ``unique``, ``bincount``, ``average``, ``median``, the ``nan…`` functions and ``unravel_index``. Invariant: where
NumPy would warn (all NaN), a guard fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    bind_dim,
    broadcast_to,
    cast,
    constant,
    new_array,
    sequence_items,
    shape_of,
    wrap,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    axes_of,
    common_dtype,
    finish,
    flag,
    given,
    integer,
    numpy_function,
    operate,
    reduced_axes,
    refuse,
    strict_axis_of,
)
from janusjit.analysis.capture.numpy_dimensions import align, count_as, require_nonempty, size_value, with_shape
from janusjit.analysis.capture.numpy_reduce import mean_over, model_cumsum, model_prod, model_sum, reduce_to, size_over
from janusjit.analysis.capture.numpy_shape import flattened
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, Known, TupleValue
from janusjit.ir.dims import Dim, Symbol, product
from janusjit.ir.graph import Value
from janusjit.ir.types import DTYPES, dtype_name
from janusjit.ops.indexing import Pick, Range

# ---------------------------------------------------------------------- counting


def _counted(machine: Machine, op: str, *values: Value, **attributes: Any) -> Value:
    """Emit an operation whose result's length only the data tell."""
    size = machine.new_symbol(0)
    (symbol,) = size.symbols()
    assert isinstance(symbol, Symbol)
    return operate(machine, op, *values, symbol=symbol, **attributes)


#: numbers that are counted are below this
MOST_BINS = 1 << 40


@numpy_function(np.unique)
def _model_unique(
    machine: Machine,
    ar: AbstractValue,
    return_index: AbstractValue = FALSE,
    return_inverse: AbstractValue = FALSE,
    return_counts: AbstractValue = FALSE,
    axis: AbstractValue = NONE,
    *,
    equal_nan: AbstractValue = TRUE,
    sorted: AbstractValue = TRUE,  # noqa: A002 - NumPy's name
) -> AbstractValue:
    value = array(machine, ar)
    if value.type.is_float and not flag(machine, equal_nan, "equal_nan"):
        raise machine.unsupported("numpy.argument", "equal_nan=", "each NaN is an element of its own")
    if given(axis) and value.type.rank != 1:
        raise machine.unsupported("numpy.argument", "axis=", "rows are compared")
    flat = flattened(machine, value)
    found = _counted(machine, "unique", flat)
    results = [new_array(machine, found)]
    if flag(machine, return_index, "return_index"):
        order = machine.emit("argsort", flat, axis=0, kind="stable")
        ordered = operate(machine, "take", flat, order, axis=0)
        first = machine.emit("searchsorted", ordered, found, side="left")
        results.append(new_array(machine, operate(machine, "take", order, first, axis=0)))
    inverse = machine.emit("searchsorted", found, flat, side="left")
    if flag(machine, return_inverse, "return_inverse"):
        results.append(new_array(machine, with_shape(machine, inverse, value.type.shape)))
    if flag(machine, return_counts, "return_counts"):
        none = machine.emit("full", constant(machine, 0, "i64"), shape=found.type.shape)
        one = constant(machine, 1, "i64")
        counts = operate(machine, "update_take", none, one, inverse, axes=(0,), accumulate=True)
        results.append(new_array(machine, counts))
    return results[0] if len(results) == 1 else TupleValue(tuple(results))


@numpy_function(np.bincount)
def _model_bincount(
    machine: Machine, x: AbstractValue, /, weights: AbstractValue = NONE, minlength: AbstractValue = Known(0)
) -> AbstractValue:
    value = array(machine, x)
    if value.type.dtype == "u64" or value.type.dtype[0] not in "iub":
        raise machine.python_error(TypeError, "Cannot cast array data to int64")
    least = integer(machine, minlength, "minlength")
    numbers = cast(machine, value, "i64")
    amounts = cast(machine, array(machine, weights), "f64") if given(weights) else None
    if amounts is not None and amounts.type.shape != numbers.type.shape:
        raise machine.unsupported("numpy.argument", "weights=", "whether they are as many is not known")
    size = numbers.type.size
    if numbers.type.rank == 1 and isinstance(size, int) and size > 0 and isinstance(least, int) and least >= 0:
        return new_array(machine, _added_at(machine, numbers, amounts, least))
    if amounts is None:
        return new_array(machine, _counted(machine, "bincount", numbers, minlength=least))
    return new_array(machine, _counted(machine, "bincount_weighted", numbers, amounts, minlength=least))


def _added_at(machine: Machine, numbers: Value, amounts: Value | None, least: int) -> Value:
    """Return what ``bincount`` of a vector that is not empty gives: what is added up for each number."""
    first, last = (machine.emit(op, numbers, axes=(0,), keepdims=False) for op in ("min", "max"))
    inside = machine.emit(
        "logical_and",
        machine.emit("greater_equal", first, constant(machine, 0, "i64")),
        machine.emit("less", last, constant(machine, MOST_BINS, "i64")),  # an array that can be asked for
    )
    machine.require(inside, machine.guard("numpy.exception", machine.span.text or "np.bincount", "no NumPy error"))
    length = machine.emit("add", last, constant(machine, 1, "i64"))
    if least > 1:
        length = machine.emit("maximum", length, constant(machine, least, "i64"))
    dtype = "i64" if amounts is None else "f64"
    zeros = machine.emit("full", constant(machine, 0, dtype), shape=(bind_dim(machine, length, "np.bincount"),))
    added = constant(machine, 1, "i64") if amounts is None else amounts
    return operate(machine, "update_take", zeros, added, numbers, axes=(0,), accumulate=True)


@numpy_function(np.unravel_index)
def _model_unravel_index(machine: Machine, indices: AbstractValue, shape: AbstractValue) -> AbstractValue:
    found = array(machine, indices)
    if found.type.is_float:
        raise machine.python_error(TypeError, "only int indices permitted")
    index = cast(machine, found, "i64")
    dims = shape_of(machine, machine.resolve(shape))
    zero, size = constant(machine, 0, "i64"), size_value(machine, product(dims))
    inside = machine.emit("logical_and", machine.emit("greater_equal", index, zero), machine.emit("less", index, size))
    require_all(machine, inside, "positions within the shape")
    parts: list[Value] = []
    for dim in reversed(dims[1:]):
        length = size_value(machine, dim)
        parts.insert(0, machine.emit("remainder", index, length))
        index = machine.emit("floor_divide", index, length)
    return TupleValue(tuple(wrap(machine, part) for part in [index, *parts][: len(dims)]))


def require_all(machine: Machine, condition: Value, expected: str) -> None:
    """Guard that a condition holds for every element."""
    if condition.type.shape:
        condition = machine.emit("all", condition, axes=tuple(range(condition.type.rank)), keepdims=False)
    machine.require(condition, machine.guard("numpy.exception", machine.span.text or "NumPy", expected))


# ---------------------------------------------------------------------- averages and ranks


@numpy_function(np.average)
def _model_average(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = NONE,
    weights: AbstractValue = NONE,
    returned: AbstractValue = FALSE,
    *,
    keepdims: AbstractValue = FALSE,
) -> AbstractValue:
    keep = flag(machine, keepdims, "keepdims")
    value = array(machine, a)
    axes = axes_of(machine, axis, value.type.rank)
    if given(weights):
        result, scale = _weighted(machine, value, array(machine, weights, "weights="), axes, keep)
    else:
        value = value if value.type.is_float else cast(machine, value, "f64")
        result = mean_over(machine, value, axes, keep)
        scale = count_as(machine, size_over(value, axes), value.type.dtype)
    if not flag(machine, returned, "returned"):
        return wrap(machine, result)
    return TupleValue((wrap(machine, result), wrap(machine, broadcast_to(machine, scale, result.type.shape))))


def _weighted(
    machine: Machine, value: Value, weight: Value, axes: tuple[int, ...], keepdims: bool
) -> tuple[Value, Value]:
    """Return the weighted mean and the sum of the weights, guarded not to be zero."""
    if value.type.shape != weight.type.shape:
        if weight.type.rank != 1 or len(axes) != 1:
            raise machine.unsupported("numpy.argument", "weights=", "they have another shape")
        (size,) = weight.type.shape
        weight = with_shape(machine, weight, tuple(size if at in axes else 1 for at in range(value.type.rank)))
    name = common_dtype(machine, [value, weight])
    if not value.type.is_float:
        name = str(dtype_name(np.result_type(DTYPES[name], DTYPES["f64"])))
    value, weight = align(machine, [cast(machine, part, name) for part in (value, weight)])
    scale = reduce_to(machine, "sum", weight, axes, keepdims)
    nonzero = machine.emit("not_equal", scale, constant(machine, 0.0, name))
    require_all(machine, nonzero, "weights that do not sum to zero")
    summed = reduce_to(machine, "sum", machine.emit("multiply", value, weight), axes, keepdims)
    return machine.emit("divide", summed, scale), scale


@numpy_function(np.median)
def _model_median(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = NONE,
    out: AbstractValue = NONE,
    overwrite_input: AbstractValue = FALSE,
    keepdims: AbstractValue = FALSE,
) -> AbstractValue:
    value = array(machine, a)
    if flag(machine, overwrite_input, "overwrite_input"):
        raise machine.unsupported("numpy.argument", "overwrite_input=", "the input is changed")
    value = value if value.type.is_float else cast(machine, value, "f64")
    value, at, kept = _along_one_axis(machine, value, axis)
    size = value.type.shape[at]
    require_nonempty(machine, size, "np.median")
    if not isinstance(size, int):
        raise machine.unsupported("numpy.function", "np.median", "the number of elements is known at run time only")
    ordered = machine.emit("sort", value, axis=at)
    whole = [Range(0, dim) for dim in value.type.shape]
    middle = Range((size - 1) // 2, 2 - size % 2)
    centre = machine.emit("view", ordered, index=(*whole[:at], middle, *whole[at + 1 :]))
    last = machine.emit("view", ordered, index=(*whole[:at], Pick(size - 1), *whole[at + 1 :]))
    result = mean_over(machine, centre, (at,), False)
    result = machine.emit("where", machine.emit("isnan", last), last, result)
    if flag(machine, keepdims, "keepdims"):
        result = with_shape(machine, result, kept)
    return finish(machine, result, out)


def _along_one_axis(machine: Machine, value: Value, axis: AbstractValue) -> tuple[Value, int, tuple[Dim, ...]]:
    """Return an array with the axes to reduce as one, which axis that is, and the shape that ``keepdims`` asks for."""
    shape = value.type.shape
    axes = axes_of(machine, axis, len(shape))
    if not axes and given(axis):
        raise machine.unsupported("numpy.argument", "axis=", "no axis is given")
    kept = tuple(1 if place in axes else dim for place, dim in enumerate(shape))
    if len(axes) == 1:
        return value, axes[0], kept
    rest = tuple(place for place in range(len(shape)) if place not in axes)
    if rest:
        value = machine.emit("transpose", value, axes=(*rest, *axes))
    dims = (*(shape[place] for place in rest), product(shape[place] for place in axes))
    return with_shape(machine, value, dims), len(rest), kept


def _quantile(scale: float) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        q: AbstractValue,
        axis: AbstractValue = NONE,
        out: AbstractValue = NONE,
        overwrite_input: AbstractValue = FALSE,
        method: AbstractValue = Known("linear"),
        keepdims: AbstractValue = FALSE,
    ) -> AbstractValue:
        value = array(machine, a)
        several = sequence_items(machine, machine.resolve(q))
        fractions = [machine.constant(item, "q") for item in ([q] if several is None else several)]
        known_size = all(isinstance(dim, int) and dim > 0 for dim in value.type.shape)
        if several is not None and (value.type.dtype == "f32" or not fractions):
            raise machine.unsupported("numpy.argument", "q=", "several quantiles of float32 are float64")
        plain = all(type(fraction) in (int, float) for fraction in fractions)
        if not plain or machine.constant(method, "method") != "linear" or not known_size:
            raise machine.unsupported("numpy.argument", "q=", "only one linear quantile of a known size has a rule")
        if value.type.dtype == "bool":
            raise machine.unsupported("numpy.function", "np.quantile", "there is no difference of truth values")
        refuse(machine, "overwrite_input=", overwrite_input if flag(machine, overwrite_input, "it") else NONE)
        value, at, kept = _along_one_axis(machine, value, axis)
        found = [_interpolated(machine, value, at, fraction / scale) for fraction in fractions]
        if flag(machine, keepdims, "keepdims"):
            found = [with_shape(machine, row, kept) for row in found]
        if several is not None:
            rows = [with_shape(machine, row, (1, *row.type.shape)) for row in found]
            return finish(machine, machine.emit("concatenate", *rows, axis=0), out)
        return finish(machine, found[0], out)

    return rule


def _interpolated(machine: Machine, value: Value, axis: int, fraction: float) -> Value:
    """Return a quantile along an axis, as NumPy interpolates linearly."""
    if not 0 <= fraction <= 1:
        raise machine.python_error(ValueError, "Quantiles must be in the range [0, 1]")
    size = value.type.shape[axis]
    assert isinstance(size, int)
    ordered = machine.emit("sort", value, axis=axis)
    whole = [Range(0, dim) for dim in value.type.shape]

    def at(position: int) -> Value:
        return machine.emit("view", ordered, index=(*whole[:axis], Pick(position), *whole[axis + 1 :]))

    place = fraction * (size - 1)
    below = min(int(place), size - 1)
    weight = place - below
    low, high, last = at(below), at(min(below + 1, size - 1)), at(size - 1)
    dtype = value.type.dtype if value.type.is_float else "f64"
    span = cast(machine, machine.emit("subtract", high, low), dtype)  # of integers it wraps, as NumPy's does
    if weight < 0.5:
        scaled = machine.emit("multiply", span, constant(machine, weight, dtype))
        result = machine.emit("add", cast(machine, low, dtype), scaled)
    else:
        scaled = machine.emit("multiply", span, constant(machine, 1 - weight, dtype))
        result = machine.emit("subtract", cast(machine, high, dtype), scaled)
    if not value.type.is_float:
        return result
    return machine.emit("where", machine.emit("isnan", last), last, result)


numpy_function(np.percentile)(_quantile(100.0))
numpy_function(np.quantile)(_quantile(1.0))


# ---------------------------------------------------------------------- NaN


def _without_nan(rule: Any, neutral: float) -> Any:
    def without_nan(machine: Machine, a: AbstractValue, *rest: AbstractValue, **named: AbstractValue) -> AbstractValue:
        value = array(machine, a)
        if value.type.is_float:
            unset = constant(machine, neutral, value.type.dtype)
            value = machine.emit("where", machine.emit("isnan", value), unset, value)
        return rule(machine, wrap(machine, value), *rest, **named)  # type: ignore[no-any-return]

    return without_nan


numpy_function(np.nansum)(_without_nan(model_sum, 0.0))
numpy_function(np.nanprod)(_without_nan(model_prod, 1.0))
numpy_function(np.nancumsum)(_without_nan(model_cumsum, 0.0))


def _present(machine: Machine, value: Value, axes: tuple[int, ...], neutral: float) -> tuple[Value, Value]:
    """Return a value with NaN replaced, and how many elements are no NaN, guarded not to be none."""
    missing = machine.emit("isnan", value)
    count = machine.emit("count_nonzero", machine.emit("logical_not", missing), axes=axes, keepdims=True)
    some = machine.emit("greater", count, constant(machine, 0, "i64"))
    require_all(machine, some, "a number that is not NaN")
    return machine.emit("where", missing, constant(machine, neutral, value.type.dtype), value), count


def _replaced(machine: Machine, value: Value, axes: tuple[int, ...], neutral: float) -> Value:
    """Return a value with NaN replaced, guarded not to be everything."""
    missing = machine.emit("isnan", value)
    some = machine.emit("any", machine.emit("logical_not", missing), axes=axes, keepdims=True)
    require_all(machine, some, "a number that is not NaN")
    return machine.emit("where", missing, constant(machine, neutral, value.type.dtype), value)


def _nan_extremum(op: str, neutral: float) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        out: AbstractValue = NONE,
        keepdims: AbstractValue = FALSE,
    ) -> AbstractValue:
        value = array(machine, a)
        axes = reduced_axes(machine, axis, value.type.rank)
        if value.type.is_float:
            value = _replaced(machine, value, axes, neutral)
        return finish(machine, reduce_to(machine, op, value, axes, flag(machine, keepdims, "keepdims")), out)

    return rule


numpy_function(np.nanmax)(_nan_extremum("max", -np.inf))
numpy_function(np.nanmin)(_nan_extremum("min", np.inf))


def _nan_position(op: str, neutral: float) -> Any:
    def rule(
        machine: Machine, a: AbstractValue, axis: AbstractValue = NONE, out: AbstractValue = NONE
    ) -> AbstractValue:
        value = array(machine, a)
        if not given(axis):
            value = flattened(machine, value)
        at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
        if value.type.is_float:
            value = _replaced(machine, value, (at,), neutral)
        return finish(machine, operate(machine, op, value, axis=at, keepdims=False), out)

    return rule


numpy_function(np.nanargmax)(_nan_position("argmax", -np.inf))
numpy_function(np.nanargmin)(_nan_position("argmin", np.inf))


@numpy_function(np.nanmean)
def _model_nanmean(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = NONE,
    dtype: AbstractValue = NONE,
    out: AbstractValue = NONE,
    keepdims: AbstractValue = FALSE,
) -> AbstractValue:
    refuse(machine, "dtype=", dtype)
    value = array(machine, a)
    value = value if value.type.is_float else cast(machine, value, "f64")
    axes = reduced_axes(machine, axis, value.type.rank)
    value, count = _present(machine, value, axes, 0.0)
    summed = reduce_to(machine, "sum", value, axes, True)
    result = machine.emit("divide", summed, cast(machine, count, value.type.dtype))
    if not flag(machine, keepdims, "keepdims"):
        kept = tuple(dim for at, dim in enumerate(value.type.shape) if at not in axes)
        result = with_shape(machine, result, kept)
    return finish(machine, result, out)
