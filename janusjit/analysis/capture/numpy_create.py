"""Models of the functions that make arrays.

Owns ``zeros``, ``array``, ``arange`` and their kin, and NumPy scalar types as functions. Invariant: every array made is a
storage of its own, except where NumPy returns its argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import (
    as_dim,
    bind_dim,
    broadcast_to,
    cast,
    constant,
    is_number,
    is_python_number,
    new_array,
    read,
    sequence_items,
    shape_of,
)
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_method,
    dtype_of,
    flag,
    given,
    integer,
    numpy_function,
    operate,
    refuse,
)
from janusjit.analysis.capture.numpy_dimensions import broadcast_shape, with_shape
from janusjit.analysis.capture.numpy_shape import require_c_order
from janusjit.analysis.capture.ufuncs import python_constant
from janusjit.analysis.capture.values import FALSE, NONE, TRUE, AbstractValue, ArrayValue, Known, Scalar, TupleValue, known
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.types import DTYPES, dtype_name
from janusjit.ops.indexing import FrozenArray

FLOAT64 = Known(np.float64)
C_ORDER = Known("C")


def full(machine: Machine, shape: tuple[Dim, ...], value: Any, dtype: str) -> AbstractValue:
    """Return a new array of one known number."""
    _check_shape(machine, shape)
    return new_array(machine, machine.emit("full", constant(machine, value, dtype), shape=shape))


def _check_shape(machine: Machine, shape: tuple[Dim, ...]) -> None:
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise machine.python_error(ValueError, "negative dimensions are not allowed")


def filled_with(machine: Machine, value: AbstractValue, dtype: str | None) -> Value:
    """Return a fill value cast to a dtype, or in its own."""
    value = machine.resolve(value)
    if dtype is not None and isinstance(value, Known) and type(value.value) in (int, float, bool):
        if type(value.value) is not float or dtype[0] == "f":
            return python_constant(machine, value.value, dtype)
    found = array(machine, value, "fill_value")
    return found if dtype is None else cast(machine, found, dtype)


def _filler(number: int) -> Any:
    def rule(
        machine: Machine,
        shape: AbstractValue,
        dtype: AbstractValue = FLOAT64,
        order: AbstractValue = C_ORDER,
        *,
        device: AbstractValue = NONE,
        like: AbstractValue = NONE,
    ) -> AbstractValue:
        require_c_order(machine, order, "order=")
        refuse(machine, "like=", like)
        name = dtype_of(machine, dtype, "f64")
        assert name is not None
        return full(machine, shape_of(machine, machine.resolve(shape)), _number(number, name), name)

    return rule


def _number(number: int, dtype: str) -> Any:
    return bool(number) if dtype == "bool" else float(number) if dtype[0] == "f" else number


numpy_function(np.zeros, np.empty)(_filler(0))
numpy_function(np.ones)(_filler(1))


def _filler_like(number: int) -> Any:
    def rule(
        machine: Machine,
        a: AbstractValue,
        dtype: AbstractValue = NONE,
        order: AbstractValue = Known("K"),
        subok: AbstractValue = TRUE,
        shape: AbstractValue = NONE,
        *,
        device: AbstractValue = NONE,
    ) -> AbstractValue:
        require_c_order(machine, order, "order=", "CKA")
        type_ = array(machine, a).type
        name = dtype_of(machine, dtype, type_.dtype)
        assert name is not None
        dims = shape_of(machine, machine.resolve(shape)) if given(shape) else type_.shape
        return full(machine, dims, _number(number, name), name)

    return rule


for _number_made, _functions in ((0, (np.zeros_like, np.empty_like)), (1, (np.ones_like,))):
    for _function in _functions:
        numpy_function(_function)(_filler_like(_number_made))


@numpy_function(np.full)
def model_full(
    machine: Machine,
    shape: AbstractValue,
    fill_value: AbstractValue,
    dtype: AbstractValue = NONE,
    order: AbstractValue = C_ORDER,
    *,
    device: AbstractValue = NONE,
) -> AbstractValue:
    require_c_order(machine, order, "order=")
    dims = shape_of(machine, machine.resolve(shape))
    _check_shape(machine, dims)
    return _spread(machine, filled_with(machine, fill_value, dtype_of(machine, dtype)), dims)


def _spread(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> AbstractValue:
    if not value.type.shape:
        return new_array(machine, machine.emit("full", value, shape=shape))
    if broadcast_shape(machine, (value.type.shape, shape)) != shape:
        raise machine.python_error(ValueError, "could not broadcast input array")
    return new_array(machine, machine.emit("copy", broadcast_to(machine, value, shape)))


@numpy_function(np.full_like)
def model_full_like(
    machine: Machine,
    a: AbstractValue,
    fill_value: AbstractValue,
    dtype: AbstractValue = NONE,
    order: AbstractValue = Known("K"),
    subok: AbstractValue = TRUE,
    shape: AbstractValue = NONE,
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    type_ = array(machine, a).type
    dims = shape_of(machine, machine.resolve(shape)) if given(shape) else type_.shape
    return _spread(machine, filled_with(machine, fill_value, dtype_of(machine, dtype, type_.dtype)), dims)


# ---------------------------------------------------------------------- from values


@numpy_function(np.array)
def model_array(
    machine: Machine,
    object: AbstractValue,  # noqa: A002 - NumPy's name
    dtype: AbstractValue = NONE,
    *,
    copy: AbstractValue = TRUE,
    order: AbstractValue = Known("K"),
    subok: AbstractValue = FALSE,
    ndmin: AbstractValue = Known(0),
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    value = machine.resolve(object)
    if isinstance(value, ArrayValue) and not flag(machine, copy, "copy") and integer(machine, ndmin, "ndmin") == 0:
        return model_asarray(machine, value, dtype)
    made = converted(machine, value, dtype)
    if isinstance(value, ArrayValue) and made.type == value.type:
        made = machine.emit("copy", made)
    missing = max(0, integer(machine, ndmin, "ndmin") - made.type.rank)
    return new_array(machine, with_shape(machine, made, (*(1 for _ in range(missing)), *made.type.shape)))


def converted(machine: Machine, value: AbstractValue, dtype: AbstractValue) -> Value:
    """Return the graph value of ``np.array(value, dtype)``."""
    name = dtype_of(machine, dtype)
    if isinstance(value, Known) or (isinstance(value, Scalar) and value.is_python):
        return filled_with(machine, value, name)
    if not sequence_items(machine, value) and sequence_items(machine, value) is not None:
        return machine.emit("constant_array", value=FrozenArray(np.zeros(0, DTYPES[name or "f64"])))
    found = array(machine, value, "np.array")
    return found if name is None else cast(machine, found, name)


@numpy_function(np.asarray, np.asanyarray, np.ascontiguousarray)
def model_asarray(
    machine: Machine,
    a: AbstractValue,
    dtype: AbstractValue = NONE,
    order: AbstractValue = NONE,
    *,
    device: AbstractValue = NONE,
    copy: AbstractValue = NONE,
    like: AbstractValue = NONE,
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    refuse(machine, "like=", like)
    refuse(machine, "copy=", copy)
    value = machine.resolve(a)
    name = dtype_of(machine, dtype)
    if isinstance(value, ArrayValue) and name in (None, value.type.dtype):
        return value
    return new_array(machine, converted(machine, value, dtype))


@numpy_function(np.copy)
def model_copy(
    machine: Machine, a: AbstractValue, order: AbstractValue = Known("K"), subok: AbstractValue = FALSE
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    return new_array(machine, machine.emit("copy", array(machine, a)))


@array_method("copy")
def method_copy(machine: Machine, a: AbstractValue, order: AbstractValue = C_ORDER) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    return a if isinstance(a, Scalar) else model_copy(machine, a)


@array_method("astype")
def method_astype(
    machine: Machine,
    a: AbstractValue,
    dtype: AbstractValue,
    order: AbstractValue = Known("K"),
    casting: AbstractValue = Known("unsafe"),
    subok: AbstractValue = TRUE,
    copy: AbstractValue = TRUE,
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    value, name = array(machine, a), dtype_of(machine, dtype, "f64")
    assert name is not None
    rule = machine.constant(casting, "casting")
    if not np.can_cast(value.type.numpy_dtype, DTYPES[name], rule):
        raise machine.python_error(TypeError, f"Cannot cast array data according to the rule {rule!r}")
    if isinstance(a, Scalar):
        return Scalar(cast(machine, value, name), f"numpy.{name}")
    if name == value.type.dtype and not flag(machine, copy, "copy"):
        return a
    return new_array(machine, machine.emit("copy", value) if name == value.type.dtype else cast(machine, value, name))


@numpy_function(np.astype)
def model_astype(
    machine: Machine,
    x: AbstractValue,
    dtype: AbstractValue,
    /,
    *,
    copy: AbstractValue = TRUE,
) -> AbstractValue:
    return method_astype(machine, x, dtype, copy=copy)


def _scalar_type(dtype: str) -> Any:
    """Return the model of a NumPy scalar type called as a function."""

    def model(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        if keywords or len(arguments) > 1:
            raise machine.unsupported("numpy.argument", f"np.{dtype}", "the arguments have no rule")
        value = machine.resolve(arguments[0]) if arguments else Known(0)
        if known(value) and isinstance(value, Known):
            return Known(numbers.fold(machine, DTYPES[dtype].type, value.value))
        found = filled_with(machine, value, dtype)
        return new_array(machine, found) if found.type.shape else Scalar(found, f"numpy.{dtype}")

    return model


for _name, _dtype in DTYPES.items():
    MODELS[_dtype.type] = _scalar_type(_name)


# ---------------------------------------------------------------------- ranges and matrices


@numpy_function(np.arange)
def model_arange(
    machine: Machine,
    start: AbstractValue = NONE,
    stop: AbstractValue = NONE,
    step: AbstractValue = NONE,
    dtype: AbstractValue = NONE,
    *,
    device: AbstractValue = NONE,
) -> AbstractValue:
    if not given(stop):
        start, stop = Known(0), start
    parts = [machine.resolve(part) for part in (start if given(start) else Known(0), stop, step if given(step) else Known(1))]
    if all(map(known, parts)):
        values = [machine.constant(part, "a bound") for part in parts]
        name = dtype_of(machine, dtype)
        made = numbers.fold(machine, lambda: np.arange(*values, dtype=None if name is None else DTYPES[name]))
        return new_array(machine, _range(machine, made))
    if not all(is_number(part) and array(machine, part).type.dtype[0] in "iu" for part in parts):
        raise machine.unsupported("numpy.function", "np.arange", "a bound is a run-time float")
    if not isinstance(parts[2], Known) or parts[2].value != 1:
        parts[2] = Known(integer(machine, parts[2], "step"))
    name = dtype_of(machine, dtype, "i64")
    length = _range_length(machine, parts[0], parts[1], integer(machine, parts[2], "step"))
    first = cast(machine, array(machine, parts[0]), "i64")
    second = machine.emit("add", first, constant(machine, integer(machine, parts[2], "step"), "i64"))
    assert name is not None
    return new_array(machine, machine.emit("arange", cast(machine, first, name), cast(machine, second, name), length=length))


def _range(machine: Machine, made: np.ndarray) -> Value:
    """Return a range known at capture, computed at run time where it is long."""
    name = dtype_name(made.dtype)
    if name is None:
        raise machine.unsupported("array.dtype", "np.arange", f"graphs do not hold {made.dtype}")
    if len(made) < 3 or made.dtype == bool:
        return machine.emit("constant_array", value=FrozenArray(made))
    first, second = (constant(machine, number.item(), name) for number in made[:2])
    return machine.emit("arange", first, second, length=len(made))


def _range_length(machine: Machine, start: AbstractValue, stop: AbstractValue, step: int) -> Dim:
    if step == 0:
        raise machine.python_error(ValueError, "Maximum allowed size exceeded")
    low, high = (start, stop) if step > 0 else (stop, start)
    span = operators.binary(machine, "-", _python_int(machine, high), _python_int(machine, low))
    if abs(step) != 1:
        span = operators.binary(
            machine, "//", operators.binary(machine, "+", span, Known(abs(step) - 1)), Known(abs(step))
        )
    if isinstance(span, Known):
        return int(max(0, span.value))
    assert isinstance(span, Scalar)
    dim = machine.dims.get(span.value)
    if dim is not None and (dim.lower_bound() or -1) >= 0:
        return dim
    if machine.may_specialize(span):
        return max(0, int(machine.specialize(span)))
    return bind_dim(machine, machine.emit("maximum", span.value, constant(machine, 0, "i64")), "a range's length")


def _python_int(machine: Machine, value: AbstractValue) -> AbstractValue:
    return numbers.to_int(machine, value) if isinstance(value, Scalar) else value


@numpy_function(np.linspace)
def model_linspace(
    machine: Machine,
    start: AbstractValue,
    stop: AbstractValue,
    num: AbstractValue = Known(50),
    endpoint: AbstractValue = TRUE,
    retstep: AbstractValue = FALSE,
    dtype: AbstractValue = NONE,
    axis: AbstractValue = Known(0),
) -> AbstractValue:
    parts = [machine.constant(part, "np.linspace") for part in (start, stop, num, endpoint, retstep)]
    name = dtype_of(machine, dtype)
    made = numbers.fold(machine, lambda: np.linspace(*parts, dtype=None if name is None else DTYPES[name]))
    result = made[0] if parts[4] else made
    if dtype_name(result.dtype) is None or result.ndim != 1:
        raise machine.unsupported("numpy.function", "np.linspace", "the bounds are arrays or complex")
    value = new_array(machine, machine.emit("constant_array", value=FrozenArray(result)))
    return TupleValue((value, Known(made[1]))) if parts[4] else value


@numpy_function(np.eye)
def model_eye(
    machine: Machine,
    N: AbstractValue,  # noqa: N803 - NumPy's name
    M: AbstractValue = NONE,  # noqa: N803 - NumPy's name
    k: AbstractValue = Known(0),
    dtype: AbstractValue = FLOAT64,
    order: AbstractValue = C_ORDER,
) -> AbstractValue:
    require_c_order(machine, order, "order=")
    rows = as_dim(machine, N, "np.eye")
    columns = as_dim(machine, M, "np.eye") if given(M) else rows
    _check_shape(machine, (rows, columns))
    name = dtype_of(machine, dtype, "f64")
    return new_array(machine, operate(machine, "eye", n=rows, m=columns, k=integer(machine, k, "k"), dtype=name))


@numpy_function(np.identity)
def model_identity(machine: Machine, n: AbstractValue, dtype: AbstractValue = NONE) -> AbstractValue:
    return model_eye(machine, n, NONE, Known(0), dtype)


@numpy_function(np.tri)
def model_tri(
    machine: Machine,
    N: AbstractValue,  # noqa: N803 - NumPy's name
    M: AbstractValue = NONE,  # noqa: N803 - NumPy's name
    k: AbstractValue = Known(0),
    dtype: AbstractValue = FLOAT64,
) -> AbstractValue:
    rows = as_dim(machine, N, "np.tri")
    name = dtype_of(machine, dtype, "f64")
    assert name is not None
    ones = full(machine, (rows, as_dim(machine, M, "np.tri") if given(M) else rows), _number(1, name), name)
    assert isinstance(ones, ArrayValue)
    return new_array(machine, machine.emit("tril", read(machine, ones), k=integer(machine, k, "k")))

