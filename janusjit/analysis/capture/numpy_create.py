"""Models of the functions that make arrays.

Owns ``zeros``, ``array``, ``arange`` and their kin, and NumPy scalar types as functions. Invariant: every array made
is a storage of its own, except where NumPy returns its argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import (
    cast,
    constant,
    is_python_number,
    new_array,
    sequence_items,
    shape_of,
)
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.elements import element, python_constant, require_fits, stored
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import (
    array,
    array_method,
    dtype_of,
    flag,
    given,
    integer,
    numpy_function,
    refuse,
)
from janusjit.analysis.capture.numpy_dimensions import fitted, with_shape
from janusjit.analysis.capture.numpy_memory import laid_out
from janusjit.analysis.capture.numpy_shape import in_order, require_c_order, reshape_to
from janusjit.analysis.capture.packed import packed
from janusjit.analysis.capture.values import (
    FALSE,
    NONE,
    TRUE,
    AbstractValue,
    ArrayValue,
    Known,
    Scalar,
    known,
)
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.ir.types import DTYPES
from janusjit.ops.indexing import FrozenArray

FLOAT64 = Known(np.float64)
C_ORDER = Known("C")


def full(machine: Machine, shape: tuple[Dim, ...], value: Any, dtype: str) -> AbstractValue:
    """Return a new array of one known number."""
    check_shape(machine, shape)
    return new_array(machine, machine.emit("full", constant(machine, value, dtype), shape=shape))


def check_shape(machine: Machine, shape: tuple[Dim, ...]) -> None:
    """Raise as NumPy does for a negative size."""
    if any(isinstance(dim, int) and dim < 0 for dim in shape):
        raise machine.python_error(ValueError, "negative dimensions are not allowed")


def filled_with(machine: Machine, value: AbstractValue, dtype: str | None) -> Value:
    """Return a fill value cast to a dtype, or in its own."""
    value = machine.resolve(value)
    weak = isinstance(value, Known) and type(value.value) in (int, float, bool)
    if dtype is not None and weak and (type(value.value) is not float or dtype[0] == "f"):  # type: ignore[attr-defined]
        return python_constant(machine, value.value, dtype)  # type: ignore[attr-defined]
    found = array(machine, value, "fill_value")
    if dtype is not None and dtype[0] in "iu" and isinstance(value, Scalar) and value.kind == "int":
        require_fits(machine, found, dtype)
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
        return full(machine, shape_of(machine, machine.resolve(shape)), number_of(number, name), name)

    return rule


def number_of(number: int, dtype: str) -> Any:
    """Return an int as a Python number of a dtype's kind."""
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
        source = array(machine, a)
        name = dtype_of(machine, dtype, source.type.dtype)
        assert name is not None
        dims = shape_of(machine, machine.resolve(shape)) if given(shape) else source.type.shape
        return laid_out(machine, full(machine, dims, number_of(number, name), name), order, source)

    return rule


for _number_made, _functions in ((0, (np.zeros_like, np.empty_like)), (1, (np.ones_like,))):
    for _function in _functions:
        numpy_function(_function)(_filler_like(_number_made))


@numpy_function(np.full)
def _model_full(
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
    check_shape(machine, dims)
    return _spread(machine, filled_with(machine, fill_value, dtype_of(machine, dtype)), dims)


def _spread(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> AbstractValue:
    if not value.type.shape:
        return new_array(machine, machine.emit("full", value, shape=shape))
    return laid_out(machine, new_array(machine, machine.emit("copy", fitted(machine, value, shape))), C_ORDER)


@numpy_function(np.full_like)
def _model_full_like(
    machine: Machine,
    a: AbstractValue,
    fill_value: AbstractValue,
    dtype: AbstractValue = NONE,
    order: AbstractValue = Known("K"),
    subok: AbstractValue = TRUE,
    shape: AbstractValue = NONE,
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    source = array(machine, a)
    dims = shape_of(machine, machine.resolve(shape)) if given(shape) else source.type.shape
    filled = filled_with(machine, fill_value, dtype_of(machine, dtype, source.type.dtype))
    return laid_out(machine, _spread(machine, filled, dims), order, source)


# ---------------------------------------------------------------------- from values


@numpy_function(np.array)
def _model_array(
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
    wanted = _copies(machine, copy)
    if wanted is False and machine.constant(order, "order") == "C":
        raise machine.unsupported("numpy.argument", "copy=False", "whether C order takes a copy is not followed")
    if isinstance(value, ArrayValue) and not wanted and integer(machine, ndmin, "ndmin") == 0:
        found = _model_asarray(machine, value, dtype, order)
        if wanted is False and found is not value:
            raise machine.python_error(ValueError, "Unable to avoid copy while creating an array as requested.")
        return found
    if wanted is False:
        raise machine.unsupported("numpy.argument", "copy=False", "an array is made of something else")
    made = converted(machine, value, dtype)
    if isinstance(value, ArrayValue) and made.type == value.type:
        made = machine.emit("copy", made)
    missing = max(0, integer(machine, ndmin, "ndmin") - made.type.rank)
    shape = (*(1 for _ in range(missing)), *made.type.shape)
    return laid_out(machine, new_array(machine, with_shape(machine, made, shape)), order)


def _copies(machine: Machine, copy: AbstractValue) -> bool | None:
    """Return whether an array is to be copied, always or never; None says: if there is need to."""
    found = machine.constant(copy, "copy")
    if isinstance(found, np._CopyMode):
        found = {np._CopyMode.ALWAYS: True, np._CopyMode.NEVER: False}.get(found)
    return None if found is None else bool(found)


def converted(machine: Machine, value: AbstractValue, dtype: AbstractValue) -> Value:
    """Return the graph value of ``np.array(value, dtype)``."""
    name = dtype_of(machine, dtype)
    if name is not None and _is_python_number(value):
        return element(machine, value, name)
    if isinstance(value, Known | Scalar):
        return filled_with(machine, value, name)
    if packed(machine, value) is None and sequence_items(machine, value) == []:
        return machine.emit("constant_array", value=FrozenArray(np.zeros(0, DTYPES[name or "f64"])))
    found = None if name is None else stored(machine, value, name)
    return array(machine, value, "np.array") if found is None else found


def _is_python_number(value: AbstractValue) -> bool:
    return value.is_python if isinstance(value, Scalar) else is_python_number(value)


@numpy_function(np.asarray, np.asanyarray)
def _model_asarray(
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
        return in_order(machine, value, order)
    return new_array(machine, converted(machine, value, dtype))


@numpy_function(np.ascontiguousarray)
def _model_ascontiguousarray(
    machine: Machine, a: AbstractValue, dtype: AbstractValue = NONE, *, like: AbstractValue = NONE
) -> AbstractValue:
    made = _model_asarray(machine, a, dtype, C_ORDER, like=like)
    assert isinstance(made, ArrayValue)
    return made if made.type.shape else reshape_to(machine, made, (1,))


@numpy_function(np.copy)
def _model_copy(
    machine: Machine, a: AbstractValue, order: AbstractValue = Known("K"), subok: AbstractValue = FALSE
) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    made = new_array(machine, machine.emit("copy", array(machine, a)))
    return laid_out(machine, made, order)


@array_method("copy")
def _method_copy(machine: Machine, a: AbstractValue, order: AbstractValue = C_ORDER) -> AbstractValue:
    require_c_order(machine, order, "order=", "CKA")
    return a if isinstance(a, Scalar) else _model_copy(machine, a, order)


@array_method("astype")
def _method_astype(
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
        return in_order(machine, a, order) if isinstance(a, ArrayValue) else a
    made = machine.emit("copy", value) if name == value.type.dtype else cast(machine, value, name)
    return laid_out(machine, new_array(machine, made), order)


@numpy_function(np.astype)
def _model_astype(
    machine: Machine,
    x: AbstractValue,
    dtype: AbstractValue,
    /,
    *,
    copy: AbstractValue = TRUE,
) -> AbstractValue:
    return _method_astype(machine, x, dtype, copy=copy)


def _scalar_type(dtype: str) -> Any:
    """Return the model of a NumPy scalar type called as a function."""

    def model(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        if keywords or len(arguments) > 1:
            raise machine.unsupported("numpy.argument", f"np.{dtype}", "the arguments have no rule")
        value = machine.resolve(arguments[0]) if arguments else Known(0)
        if isinstance(value, ArrayValue) and value.type.dtype == dtype and value.type.shape:
            return value
        if known(value) and isinstance(value, Known):
            return Known(numbers.fold(machine, DTYPES[dtype].type, value.value))
        found = converted(machine, value, Known(DTYPES[dtype]))
        return new_array(machine, found) if found.type.shape else Scalar(found, f"numpy.{dtype}")

    return model


for _name, _dtype in DTYPES.items():
    MODELS[_dtype.type] = _scalar_type(_name)
