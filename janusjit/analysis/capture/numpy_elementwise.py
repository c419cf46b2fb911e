"""Models of elementwise functions that are no ufuncs.

Owns ``clip``, ``round``, ``isclose``, ``diff`` and their kin. Invariant: each is composed of the operations NumPy
composes it of.
"""

from __future__ import annotations

import numpy as np

from janusjit.analysis.capture import numbers, ufuncs
from janusjit.analysis.capture.arrays import cast, constant, new_array, wrap
from janusjit.analysis.capture.elements import require_fits
from janusjit.analysis.capture.index_writing import element_value
from janusjit.analysis.capture.indexing import get_item
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    MISSING_ARGUMENT,
    array,
    array_method,
    axis_of,
    flag,
    given,
    integer,
    limits,
    numpy_function,
    refuse,
)
from janusjit.analysis.capture.numpy_dimensions import align
from janusjit.analysis.capture.numpy_join import model_concatenate
from janusjit.analysis.capture.numpy_select import promoted
from janusjit.analysis.capture.numpy_shape import as_array_value
from janusjit.analysis.capture.values import (
    FALSE,
    NONE,
    TRUE,
    AbstractValue,
    ArrayValue,
    Known,
    Scalar,
    SliceValue,
    TupleValue,
)
from janusjit.ir.graph import Value

# ---------------------------------------------------------------------- clip and rounding


@numpy_function(np.clip)
def _model_clip(
    machine: Machine,
    a: AbstractValue,
    a_min: AbstractValue = NONE,
    a_max: AbstractValue = NONE,
    out: AbstractValue = NONE,
    *,
    min: AbstractValue = NONE,  # noqa: A002 - NumPy's name
    max: AbstractValue = NONE,  # noqa: A002 - NumPy's name
) -> AbstractValue:
    low, high = (min if given(min) else a_min), (max if given(max) else a_max)
    low, high = _needed_bound(machine, a, low, 0), _needed_bound(machine, a, high, 1)
    if not given(low) and not given(high):
        return ufuncs.apply(machine, np.positive, (a,), out)
    if not given(low):
        return ufuncs.apply(machine, np.minimum, (a, high), out)
    if not given(high):
        return ufuncs.apply(machine, np.maximum, (a, low), out)
    for bound in (low, high):
        _require_bound_fits(machine, a, bound)
    value, *bounds = align(machine, promoted(machine, [a, low, high]))
    result = machine.emit("clip", value, *bounds)
    return wrap(machine, result) if not given(out) else ufuncs.store(machine, out, result)


def _needed_bound(machine: Machine, a: AbstractValue, bound: AbstractValue, side: int) -> AbstractValue:
    """Drop a Python int bound that an integer array cannot pass, as NumPy does."""
    if isinstance(bound, Known) and type(bound.value) is int:
        dtype = array(machine, a).type.dtype
        if dtype[0] in "iu":
            limit = limits(dtype)[side]
            return NONE if (bound.value >= limit if side else bound.value <= limit) else bound
    return bound


def _require_bound_fits(machine: Machine, a: AbstractValue, bound: AbstractValue) -> None:
    """Guard that a run-time Python int is a bound that an integer array can have: others are dropped, or refused."""
    bound = machine.resolve(bound)
    if isinstance(bound, Scalar) and bound.kind == "int":
        dtype = array(machine, a).type.dtype
        if dtype[0] in "iu":
            require_fits(machine, bound.value, dtype)


@array_method("clip")
def _method_clip(
    machine: Machine,
    a: AbstractValue,
    min: AbstractValue = NONE,  # noqa: A002 - NumPy's name
    max: AbstractValue = NONE,  # noqa: A002 - NumPy's name
    out: AbstractValue = NONE,
) -> AbstractValue:
    return _model_clip(machine, a, min, max, out)


@numpy_function(np.round, np.around, method="round")
def _model_round(
    machine: Machine, a: AbstractValue, decimals: AbstractValue = Known(0), out: AbstractValue = NONE
) -> AbstractValue:
    value, digits = array(machine, a), integer(machine, decimals, "decimals")
    if not value.type.is_float:
        if digits < 0 or value.type.dtype == "bool":
            raise machine.unsupported("numpy.argument", "decimals=", "integers are rounded to tens")
        result = machine.emit("copy", value)
    elif digits == 0:
        result = machine.emit("rint", value)
    else:
        scale = constant(machine, float(10 ** abs(digits)), value.type.dtype)
        before, after = ("multiply", "divide") if digits > 0 else ("divide", "multiply")
        result = machine.emit(after, machine.emit("rint", machine.emit(before, value, scale)), scale)
    return wrap(machine, result) if not given(out) else ufuncs.store(machine, out, result)


@numpy_function(np.fix)
def _model_fix(machine: Machine, x: AbstractValue, out: AbstractValue = NONE) -> AbstractValue:
    return ufuncs.apply(machine, np.trunc, (x,), out)


@numpy_function(np.real)
def _model_real(machine: Machine, val: AbstractValue) -> AbstractValue:
    value = machine.resolve(val)
    return value if isinstance(value, ArrayValue | Scalar) else as_array_value(machine, value)


@numpy_function(np.nan_to_num)
def _model_nan_to_num(
    machine: Machine,
    x: AbstractValue,
    copy: AbstractValue = TRUE,
    nan: AbstractValue = Known(0.0),
    posinf: AbstractValue = NONE,
    neginf: AbstractValue = NONE,
) -> AbstractValue:
    value = array(machine, x)
    if not value.type.is_float or not flag(machine, copy, "copy"):
        raise machine.unsupported("numpy.argument", "np.nan_to_num", "the array is not of floats, or changed in place")
    information = np.finfo(value.type.numpy_dtype)
    for bad, test, replacement in (
        (nan, machine.emit("isnan", value), 0.0),
        (posinf, machine.emit("equal", value, constant(machine, np.inf, value.type.dtype)), float(information.max)),
        (neginf, machine.emit("equal", value, constant(machine, -np.inf, value.type.dtype)), float(information.min)),
    ):
        number = machine.constant(bad, "np.nan_to_num") if given(bad) else replacement
        value = machine.emit("where", test, constant(machine, float(number), value.type.dtype), value)
    return wrap(machine, value)


@numpy_function(np.copyto)
def _model_copyto(
    machine: Machine,
    dst: AbstractValue,
    src: AbstractValue,
    casting: AbstractValue = Known("same_kind"),
    where: AbstractValue = TRUE,
) -> AbstractValue:
    target, value = machine.resolve(dst), machine.resolve(src)
    if not isinstance(target, ArrayValue):
        raise machine.python_error(TypeError, "copyto() argument 1 must be numpy.ndarray")
    number = type(value.value) is int if isinstance(value, Known) else isinstance(value, Scalar) and value.kind == "int"
    weak = number and target.type.dtype[0] in "iu"
    element = element_value(machine, target, value) if weak else array(machine, value, "np.copyto")
    ufuncs.store(machine, target, element, where, machine.constant(casting, "casting"))
    return NONE


# ---------------------------------------------------------------------- comparison


@numpy_function(np.isclose)
def _model_isclose(
    machine: Machine,
    a: AbstractValue,
    b: AbstractValue,
    rtol: AbstractValue = Known(1e-05),
    atol: AbstractValue = Known(1e-08),
    equal_nan: AbstractValue = FALSE,
) -> AbstractValue:
    return wrap(machine, _close(machine, a, b, rtol, atol, equal_nan))


def _inexact(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return a Python int as the float that NumPy compares with; anything else as it is."""
    value = machine.resolve(value)
    if isinstance(value, Known) and isinstance(value.value, int):
        return Known(numbers.fold(machine, float, value.value))
    return numbers.to_float(machine, value) if isinstance(value, Scalar) and value.kind in ("int", "bool") else value


def _close(
    machine: Machine,
    a: AbstractValue,
    b: AbstractValue,
    rtol: AbstractValue,
    atol: AbstractValue,
    equal_nan: AbstractValue,
) -> Value:
    first, second = align(machine, promoted(machine, [_inexact(machine, part) for part in (a, b)]))
    if not second.type.is_float:
        first, second = cast(machine, first, "f64"), cast(machine, second, "f64")
    dtype = second.type.dtype
    bounds = [cast(machine, array(machine, part), dtype) for part in (atol, rtol)]
    room = machine.emit("add", bounds[0], machine.emit("multiply", bounds[1], machine.emit("absolute", second)))
    near = machine.emit("less_equal", machine.emit("absolute", machine.emit("subtract", first, second)), room)
    result = machine.emit("logical_and", near, machine.emit("isfinite", second))
    result = machine.emit("logical_or", result, machine.emit("equal", first, second))
    if flag(machine, equal_nan, "equal_nan"):
        both = machine.emit("logical_and", machine.emit("isnan", first), machine.emit("isnan", second))
        result = machine.emit("logical_or", result, both)
    return result


def _all_true(machine: Machine, value: Value) -> AbstractValue:
    """Return ``bool(all(value))``."""
    answer = (
        machine.emit("all", value, axes=tuple(range(value.type.rank)), keepdims=False) if value.type.rank else value
    )
    return Scalar(answer, "bool")


@numpy_function(np.allclose)
def _model_allclose(
    machine: Machine,
    a: AbstractValue,
    b: AbstractValue,
    rtol: AbstractValue = Known(1e-05),
    atol: AbstractValue = Known(1e-08),
    equal_nan: AbstractValue = FALSE,
) -> AbstractValue:
    return _all_true(machine, _close(machine, a, b, rtol, atol, equal_nan))


@numpy_function(np.array_equal)
def _model_array_equal(
    machine: Machine, a1: AbstractValue, a2: AbstractValue, equal_nan: AbstractValue = FALSE
) -> AbstractValue:
    refuse(machine, "equal_nan=", equal_nan if flag(machine, equal_nan, "equal_nan") else NONE)
    first, second = array(machine, a1), array(machine, a2)
    if first.type.rank != second.type.rank:
        return FALSE
    pairs = list(zip(first.type.shape, second.type.shape, strict=True))
    if any(isinstance(x - y, int) and x != y for x, y in pairs):
        return FALSE
    if any(x != y for x, y in pairs):
        raise machine.unsupported(
            "numpy.function", "np.array_equal", "whether the shapes agree is known at run time only"
        )
    operands: list[AbstractValue] = [new_array(machine, part) for part in (first, second)]  # numbers do not give way
    return _all_true(machine, machine.emit("equal", *promoted(machine, operands)))


@numpy_function(np.diff)
def _model_diff(
    machine: Machine,
    a: AbstractValue,
    n: AbstractValue = Known(1),
    axis: AbstractValue = Known(-1),
    prepend: AbstractValue = MISSING_ARGUMENT,
    append: AbstractValue = MISSING_ARGUMENT,
) -> AbstractValue:
    source = as_array_value(machine, a)
    at = axis_of(machine, axis, source.type.rank)
    ends = [as_array_value(machine, end) if given(end) else None for end in (prepend, append)]
    if any(ends):
        parts = [part for part in (ends[0], source, ends[1]) if part is not None]
        if any(part.type.rank != source.type.rank for part in parts):
            raise machine.unsupported("numpy.argument", "np.diff", "a scalar is put before or behind")
        source = as_array_value(machine, model_concatenate(machine, TupleValue(tuple(parts)), Known(at)))
    ufunc = np.not_equal if source.type.dtype == "bool" else np.subtract
    order = integer(machine, n, "n")
    if order < 0:
        raise machine.python_error(ValueError, f"order must be non-negative but got {order}")
    before = [SliceValue(NONE, NONE, NONE) for _ in range(at)]
    for _ in range(order):
        cuts = SliceValue(Known(1), NONE, NONE), SliceValue(NONE, Known(-1), NONE)
        halves = [get_item(machine, source, TupleValue((*before, end))) for end in cuts]
        source = as_array_value(machine, ufuncs.apply(machine, ufunc, halves))
    return source


# ---------------------------------------------------------------------- assertions of tests


@numpy_function(np.testing.assert_allclose)
def _model_assert_allclose(
    machine: Machine,
    actual: AbstractValue,
    desired: AbstractValue,
    rtol: AbstractValue = Known(1e-07),
    atol: AbstractValue = Known(0),
    equal_nan: AbstractValue = TRUE,
    err_msg: AbstractValue = NONE,
    verbose: AbstractValue = TRUE,
) -> AbstractValue:
    if array(machine, actual).type.shape != array(machine, desired).type.shape:
        raise machine.unsupported("numpy.function", "np.testing.assert_allclose", "the shapes are not known to agree")
    close = _all_true(machine, _close(machine, actual, desired, rtol, atol, equal_nan))
    assert isinstance(close, Scalar)
    machine.require(close.value, machine.guard("assert", machine.span.text or "assert", "arrays that are close"))
    return NONE
