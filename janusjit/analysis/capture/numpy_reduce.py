"""Models of reductions and scans.

Owns ``sum``, ``mean``, ``max`` and their kin. Invariant: accumulators and results have NumPy's dtypes, and a result is
composed of the same steps as NumPy's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture import ufuncs
from janusjit.analysis.capture.arrays import cast, constant, wrap
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.elements import stored
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    MISSING_ARGUMENT,
    array,
    dtype_of,
    finish,
    flag,
    given,
    limits,
    numpy_function,
    operate,
    reduced_axes,
    refuse,
    refuse_where,
    strict_axis_of,
)
from janusjit.analysis.capture.numpy_dimensions import align, count_as, require_nonempty
from janusjit.analysis.capture.numpy_shape import flattened
from janusjit.analysis.capture.operators import MODEL_ANY
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, Known, Scalar
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Value


def accumulator(dtype: str) -> str:
    """Return the dtype in which NumPy adds up elements of a dtype."""
    if dtype in ("bool", "i8", "i16", "i32"):
        return "i64"
    return "u64" if dtype in ("u8", "u16", "u32") else dtype


def size_over(value: Value, axes: tuple[int, ...]) -> Dim:
    """Return how many elements a reduction over ``axes`` combines."""
    return product(value.type.shape[axis] for axis in axes)


def reduce_to(machine: Machine, op: str, value: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """Emit a reduction; the value itself where there is no axis to reduce over."""
    if not axes and op == "sum" and value.type.is_float:
        return machine.emit("add", value, constant(machine, 0.0, value.type.dtype))  # a sum begins with 0.0: not -0.0
    if not axes and op not in ("any", "all", "count_nonzero"):
        return value
    if op in ("max", "min") and size_over(value, axes) == 0 and product(value.type.shape) == 0:
        name = {"max": "maximum", "min": "minimum"}[op]
        raise machine.python_error(ValueError, f"zero-size array to reduction operation {name} which has no identity")
    return operate(machine, op, value, axes=axes, keepdims=keepdims)


def total(machine: Machine, value: Value, axes: tuple[int, ...], keepdims: bool = False, op: str = "sum") -> Value:
    """Return the sum (or product) over axes in NumPy's accumulator dtype."""
    return reduce_to(machine, op, cast(machine, value, accumulator(value.type.dtype)), axes, keepdims)


def masked(machine: Machine, value: Value, where: AbstractValue, neutral: Any) -> Value:
    """Replace what a ``where=`` mask leaves out by the element that changes nothing."""
    if not given(where) or (isinstance(where, Known) and where.value is True):
        return value
    mask = cast(machine, array(machine, where, "where="), "bool")
    first, second = align(machine, (mask, value))
    return machine.emit("where", first, second, constant(machine, neutral, value.type.dtype))


# ---------------------------------------------------------------------- sums and extrema


def _initial(machine: Machine, initial: AbstractValue, dtype: str) -> Value:
    """Return what a reduction begins with, stored as an element of what it computes."""
    found = stored(machine, initial, dtype)
    if found is None:
        raise machine.unsupported("numpy.operand", "initial=", "it is no number")
    return found


def _adding(op: str, neutral: int, ufunc: np.ufunc) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        dtype: AbstractValue = NONE,
        out: AbstractValue = NONE,
        keepdims: AbstractValue = FALSE,
        initial: AbstractValue = MISSING_ARGUMENT,
        where: AbstractValue = TRUE,
    ) -> AbstractValue:
        value = array(machine, a)
        value = cast(machine, value, dtype_of(machine, dtype) or accumulator(value.type.dtype))
        if value.type.dtype == "bool":
            raise machine.unsupported("array.dtype", f"np.{op}", "it is done on bool")
        value = masked(machine, value, where, neutral)
        axes = reduced_axes(machine, axis, value.type.rank)
        result = reduce_to(machine, op, value, axes, flag(machine, keepdims, "keepdims"))
        if given(initial):
            if isinstance(initial, Known) and str(initial.value) == "-0.0":
                raise machine.unsupported("numpy.argument", "initial=", "a sum that begins with -0.0 has no rule")
            result = machine.emit(ufunc.__name__, result, _initial(machine, initial, value.type.dtype))
        return finish(machine, result, out)

    return rule


model_sum = numpy_function(np.sum, method="sum")(_adding("sum", 0, np.add))
model_prod = numpy_function(np.prod, method="prod")(_adding("prod", 1, np.multiply))


def _extremum(op: str, ufunc: np.ufunc) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        out: AbstractValue = NONE,
        keepdims: AbstractValue = FALSE,
        initial: AbstractValue = MISSING_ARGUMENT,
        where: AbstractValue = TRUE,
    ) -> AbstractValue:
        value = array(machine, a)
        axes = reduced_axes(machine, axis, value.type.rank)
        if given(initial):
            neutral = limits(value.type.dtype)[op == "min"]
            value = masked(machine, value, where, neutral)
            result = reduce_to(machine, op, value, axes, flag(machine, keepdims, "keepdims"))
            first = _initial(machine, initial, value.type.dtype)
            return finish(machine, machine.emit(ufunc.__name__, result, first), out)
        refuse_where(machine, where)
        return finish(machine, reduce_to(machine, op, value, axes, flag(machine, keepdims, "keepdims")), out)

    return rule


model_max = numpy_function(np.max, np.amax, method="max")(_extremum("max", np.maximum))
model_min = numpy_function(np.min, np.amin, method="min")(_extremum("min", np.minimum))


@numpy_function(np.ptp)
def _model_ptp(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = NONE,
    out: AbstractValue = NONE,
    keepdims: AbstractValue = FALSE,
) -> AbstractValue:
    parts = (model_max(machine, a, axis, NONE, keepdims), model_min(machine, a, axis, NONE, keepdims))
    return ufuncs.apply(machine, np.subtract, parts, out)


def _truth(op: str, neutral: bool) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        out: AbstractValue = NONE,
        keepdims: AbstractValue = FALSE,
        *,
        where: AbstractValue = TRUE,
    ) -> AbstractValue:
        value = masked(machine, cast(machine, array(machine, a), "bool"), where, neutral)
        axes = reduced_axes(machine, axis, value.type.rank)
        return finish(machine, reduce_to(machine, op, value, axes, flag(machine, keepdims, "keepdims")), out)

    return rule


numpy_function(np.any, method="any")(_truth("any", False))
MODEL_ANY.append(MODELS[np.any])
numpy_function(np.all, method="all")(_truth("all", True))

#: ``np.count_nonzero(a)`` is a Python int before NumPy 2.4
_COUNT_IS_PYTHON = not isinstance(np.count_nonzero(np.zeros(1)), np.integer)


@numpy_function(np.count_nonzero)
def _model_count_nonzero(
    machine: Machine, a: AbstractValue, axis: AbstractValue = NONE, *, keepdims: AbstractValue = FALSE
) -> AbstractValue:
    value = array(machine, a)
    keep = flag(machine, keepdims, "keepdims")
    axes = reduced_axes(machine, axis, value.type.rank)
    result = machine.emit("count_nonzero", value, axes=axes, keepdims=keep)
    python = _COUNT_IS_PYTHON and not given(axis) and not keep
    return Scalar(result, "int") if python else wrap(machine, result)


def _position(op: str) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        out: AbstractValue = NONE,
        *,
        keepdims: AbstractValue = FALSE,
    ) -> AbstractValue:
        value = array(machine, a)
        if product(value.type.shape) == 0:
            raise machine.python_error(ValueError, f"attempt to get {op} of an empty sequence")
        keep = flag(machine, keepdims, "keepdims")
        if not value.type.shape:
            strict_axis_of(machine, axis, 1) if given(axis) else None
            return finish(machine, constant(machine, 0, "i64"), out)
        at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else None
        if at is None and value.type.rank == 1:
            at = 0
        return finish(machine, operate(machine, op, value, axis=at, keepdims=keep), out)

    return rule


numpy_function(np.argmax, method="argmax")(_position("argmax"))
numpy_function(np.argmin, method="argmin")(_position("argmin"))


# ---------------------------------------------------------------------- means


def _mean_dtype(machine: Machine, value: Value, dtype: AbstractValue) -> str:
    found = dtype_of(machine, dtype)
    if found is None:
        return value.type.dtype if value.type.is_float else "f64"
    if found not in ("f32", "f64"):
        raise machine.unsupported("array.dtype", "dtype", "a mean of integers that is an integer")
    return found


def mean_over(machine: Machine, value: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """Return the mean of floats: their sum over their number."""
    size = size_over(value, axes)
    require_nonempty(machine, size, "mean")
    summed = reduce_to(machine, "sum", value, axes, keepdims)
    return machine.emit("divide", summed, count_as(machine, size, value.type.dtype))


@numpy_function(np.mean, method="mean")
def _model_mean(
    machine: Machine,
    a: AbstractValue,
    axis: AbstractValue = NONE,
    dtype: AbstractValue = NONE,
    out: AbstractValue = NONE,
    keepdims: AbstractValue = FALSE,
    *,
    where: AbstractValue = TRUE,
) -> AbstractValue:
    refuse_where(machine, where)
    value = array(machine, a)
    value = cast(machine, value, _mean_dtype(machine, value, dtype))
    axes = reduced_axes(machine, axis, value.type.rank)
    return finish(machine, mean_over(machine, value, axes, flag(machine, keepdims, "keepdims")), out)


def _spread(root: bool) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        dtype: AbstractValue = NONE,
        out: AbstractValue = NONE,
        ddof: AbstractValue = Known(0),
        keepdims: AbstractValue = FALSE,
        *,
        where: AbstractValue = TRUE,
        mean: AbstractValue = MISSING_ARGUMENT,
        correction: AbstractValue = MISSING_ARGUMENT,
    ) -> AbstractValue:
        refuse_where(machine, where)
        refuse(machine, "mean=", mean)
        value = array(machine, a)
        value = cast(machine, value, _mean_dtype(machine, value, dtype))
        axes = reduced_axes(machine, axis, value.type.rank)
        freedom = machine.constant(correction if given(correction) else ddof, "ddof")
        result = _variance(machine, value, axes, freedom, flag(machine, keepdims, "keepdims"))
        if root:
            result = machine.emit("sqrt", _constant_of_one(machine, result, size_over(value, axes)))
        return finish(machine, result, out)

    return rule


def _constant_of_one(machine: Machine, variance: Value, size: Dim) -> Value:
    """Return a variance; that of a single element is a constant, so that its root has the gradient 0."""
    least = size if isinstance(size, int) else size.lower_bound()
    if least is not None and least > 1:
        return variance
    alone = machine.emit("stop_gradient", variance)
    if isinstance(size, int):
        return alone
    several = machine.emit("greater", count_as(machine, size, "f64"), constant(machine, 1.0, "f64"))
    return machine.emit("where", several, variance, alone)


def _variance(machine: Machine, value: Value, axes: tuple[int, ...], freedom: Any, keepdims: bool) -> Value:
    difference = machine.emit("subtract", value, mean_over(machine, value, axes, True))
    summed = reduce_to(machine, "sum", machine.emit("multiply", difference, difference), axes, keepdims)
    size = size_over(value, axes)
    if isinstance(size, int) and size - freedom <= 0:
        raise machine.unsupported("array.empty", "var", "there are no degrees of freedom, of which NumPy warns")
    count = count_as(machine, size, value.type.dtype)
    if freedom:
        if not isinstance(size, int):
            require_nonempty(machine, size - int(np.ceil(freedom)), "var")
        count = machine.emit("subtract", count, constant(machine, float(freedom), value.type.dtype))
    return machine.emit("divide", summed, count)


model_var = numpy_function(np.var, method="var")(_spread(False))
model_std = numpy_function(np.std, method="std")(_spread(True))


# ---------------------------------------------------------------------- scans


def _scan(op: str) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        axis: AbstractValue = NONE,
        dtype: AbstractValue = NONE,
        out: AbstractValue = NONE,
    ) -> AbstractValue:
        value = array(machine, a)
        value = cast(machine, value, dtype_of(machine, dtype) or accumulator(value.type.dtype))
        if not given(axis):
            value = flattened(machine, value)
        at = strict_axis_of(machine, axis, value.type.rank) if given(axis) else 0
        return finish(machine, machine.emit(op, value, axis=at), out)

    return rule


model_cumsum = numpy_function(np.cumsum, method="cumsum")(_scan("cumsum"))
model_cumprod = numpy_function(np.cumprod, method="cumprod")(_scan("cumprod"))
