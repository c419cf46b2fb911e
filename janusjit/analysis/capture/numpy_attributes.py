"""Attributes and methods of arrays and NumPy scalars.

Owns the lookup of both. Invariant: a name NumPy does not know gives AttributeError, one that capture does not know
leaves the function in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import (
    cast,
    constant,
    dim_value,
    new_array,
    read,
    shape_value,
    whole_view,
    wrap,
    write,
)
from janusjit.analysis.capture.attributes import ARRAY_ATTRIBUTE
from janusjit.analysis.capture.containers import build
from janusjit.analysis.capture.index_writing import element_value, require_number
from janusjit.analysis.capture.indexing import get_item
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.methods import ARRAY_METHOD
from janusjit.analysis.capture.numpy_arguments import ARRAY_METHODS, array, array_method, dtype_of, given, rows
from janusjit.analysis.capture.numpy_memory import order_asked
from janusjit.analysis.capture.numpy_shape import reshape_to, transpose_to
from janusjit.analysis.capture.numpy_windows import exact_strides
from janusjit.analysis.capture.state import Storage
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    FlatValue,
    Known,
    ModelledCallable,
    Scalar,
    TupleValue,
)
from janusjit.ir.dims import product
from janusjit.ir.graph import Value
from janusjit.ir.types import TensorType

_PYTHON_TYPES = {"int": int, "float": float, "bool": bool}


def find_array_attribute(machine: Machine, owner: AbstractValue, name: str) -> AbstractValue | None:
    """Return an attribute of an array or number, or None where there is none."""
    if isinstance(owner, Scalar) and owner.is_python:
        return _python_attribute(machine, owner, name)
    type_ = owner.type if isinstance(owner, ArrayValue) else owner.value.type  # type: ignore[attr-defined]
    holder: type = np.ndarray if isinstance(owner, ArrayValue) else type_.numpy_dtype.type
    if not hasattr(holder, name):
        return None
    if name in ARRAY_METHODS:
        return BuiltinMethod(owner, name)
    rule = _ATTRIBUTES.get(name)
    if rule is None and name in _OPERATORS:
        symbol, reflected = _OPERATORS[name]

        def apply(inner: Machine, arguments: Sequence[AbstractValue], keywords: object) -> AbstractValue:
            operands = (arguments[0], owner) if reflected else (owner, arguments[0])
            return operators.binary(inner, symbol, *operands)

        return ModelledCallable(f"ndarray.{name}", apply)
    if name in _IN_MEMORY:
        raise order_asked(machine, owner, f".{name}")
    if rule is None:
        raise machine.unsupported("array.attribute", f".{name}", "the array attribute has no rule yet")
    return rule(machine, owner, type_)


ARRAY_ATTRIBUTE.append(find_array_attribute)


def _python_attribute(machine: Machine, owner: Scalar, name: str) -> AbstractValue | None:
    if not hasattr(_PYTHON_TYPES[owner.kind], name):
        return None
    if name in ("real", "numerator") and owner.kind != "bool":
        return owner
    if name == "imag":
        return Known(0.0 if owner.kind == "float" else 0)
    if name == "denominator":
        return Known(1)
    return BuiltinMethod(owner, name)


def _transposed(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    if not isinstance(owner, ArrayValue):
        return owner
    return transpose_to(machine, owner, tuple(reversed(range(type_.rank))))


def _matrix_transposed(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    if type_.rank < 2 or not isinstance(owner, ArrayValue):
        raise machine.python_error(ValueError, "matrix transpose with ndim < 2 is undefined")
    return transpose_to(machine, owner, (*range(type_.rank - 2), type_.rank - 1, type_.rank - 2))


def _flat(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    if isinstance(owner, ArrayValue):
        elements = reshape_to(machine, owner, (type_.size,))
        if elements.storage == owner.storage:
            return FlatValue(owner, elements)
    raise machine.unsupported("array.attribute", ".flat", "the elements do not lie one after the other")


def _base(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    if isinstance(owner, ArrayValue) and not owner.path and owner.storage >= 0:
        return NONE
    raise machine.unsupported("array.attribute", ".base", "the base of a view is asked for")


def _imaginary(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    zero = constant(machine, 0.0 if type_.is_float else False if type_.dtype == "bool" else 0, type_.dtype)
    if isinstance(owner, Scalar):
        return Scalar(zero, owner.kind)
    made = new_array(machine, machine.emit("full", zero, shape=type_.shape))
    storage: Storage = machine.state.at(made.storage)
    storage.writeable = False
    return made


#: the methods that arrays have for operators with numbers and arrays: the symbol, and whether the array is on the right
_OPERATORS = {
    f"__{'r' if reflected else ''}{name}__": (symbol, reflected)
    for name, symbol in (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("pow", "**"), ("matmul", "@"))
    for reflected in (False, True)
}
def _strides(machine: Machine, owner: AbstractValue, type_: TensorType) -> AbstractValue:
    if not isinstance(owner, ArrayValue):
        return TupleValue(())
    found = exact_strides(machine, owner)
    if found is None:
        raise order_asked(machine, owner, ".strides")
    return TupleValue(tuple(dim_value(machine, product((step, type_.numpy_dtype.itemsize))) for step in found))


#: attributes that show how an array lies in memory
_IN_MEMORY = frozenset({"__array_interface__", "__array_struct__", "ctypes", "data", "flags"})

_ATTRIBUTES: dict[str, Callable[[Machine, AbstractValue, TensorType], AbstractValue]] = {
    "T": _transposed,
    "mT": _matrix_transposed,
    "shape": lambda machine, owner, type_: shape_value(machine, type_.shape),
    "ndim": lambda machine, owner, type_: Known(type_.rank),
    "size": lambda machine, owner, type_: dim_value(machine, type_.size),
    "dtype": lambda machine, owner, type_: Known(type_.numpy_dtype),
    "itemsize": lambda machine, owner, type_: Known(type_.numpy_dtype.itemsize),
    "strides": _strides,
    "nbytes": lambda machine, owner, type_: dim_value(machine, type_.size * type_.numpy_dtype.itemsize),
    "real": lambda machine, owner, type_: owner,
    "imag": _imaginary,
    "flat": _flat,
    "base": _base,
    "device": lambda machine, owner, type_: Known("cpu"),
    "__class__": lambda machine, owner, type_: Known(
        np.ndarray if isinstance(owner, ArrayValue) else type_.numpy_dtype.type
    ),
    "__array_priority__": lambda machine, owner, type_: Known(0.0 if isinstance(owner, ArrayValue) else -1000000.0),
}


# ---------------------------------------------------------------------- methods


def call_array_method(
    machine: Machine,
    owner: AbstractValue,
    name: str,
    arguments: Sequence[AbstractValue],
    keywords: dict[str, AbstractValue],
) -> AbstractValue:
    """Call a method of an array or number."""
    if isinstance(owner, Scalar) and owner.is_python:
        return _call_python_method(machine, owner, name)
    rule = ARRAY_METHODS.get(name)
    if rule is None:
        raise machine.unsupported("array.method", f".{name}()", "the array method has no rule yet")
    found = rule(machine, [owner, *arguments], keywords)
    if isinstance(owner, Scalar) and isinstance(found, ArrayValue) and not found.type.shape:
        return wrap(machine, read(machine, found))  # methods of NumPy's scalars give scalars
    return found


ARRAY_METHOD.append(call_array_method)


def _call_python_method(machine: Machine, owner: Scalar, name: str) -> AbstractValue:
    if name == "conjugate":
        return owner
    if name == "is_integer" and owner.kind == "float":
        whole = machine.emit("equal", owner.value, machine.emit("floor", owner.value))
        return Scalar(machine.emit("logical_and", whole, machine.emit("isfinite", owner.value)), "bool")
    raise machine.unsupported("python.method", f".{name}()", "the method of a run-time number has no rule yet")


def python_number(machine: Machine, value: Value) -> Scalar:
    """Return a 0-d value as the Python number ``item()`` gives."""
    dtype = value.type.dtype
    if dtype == "bool":
        return Scalar(value, "bool")
    if dtype in ("f32", "f64"):
        return Scalar(cast(machine, value, "f64"), "float")
    made = numbers.to_int(machine, Scalar(value, f"numpy.{dtype}"))
    assert isinstance(made, Scalar)
    return made


@array_method("item")
def _method_item(machine: Machine, a: AbstractValue, *args: AbstractValue) -> AbstractValue:
    value = array(machine, a)
    if not args:
        if value.type.size != 1:
            raise machine.python_error(ValueError, "can only convert an array of size 1 to a Python scalar")
        shaped = machine.emit("reshape", value, shape=()) if value.type.shape else value
        return python_number(machine, shaped)
    if not isinstance(a, ArrayValue):
        raise machine.unsupported("numpy.argument", ".item()", "a scalar's item is asked for by position")
    if len(args) == 1 and a.type.rank != 1:
        a = new_array(machine, machine.emit("reshape", value, shape=(a.type.size,)))
    found = get_item(machine, a, TupleValue(args))
    assert isinstance(found, Scalar)
    return python_number(machine, found.value)


#: elements ``tolist`` may turn into Python numbers one by one
_LIST_LIMIT = 256


@array_method("tolist")
def _method_tolist(machine: Machine, a: AbstractValue) -> AbstractValue:
    value = array(machine, a)
    size = value.type.size
    if not isinstance(size, int) or size > _LIST_LIMIT:
        raise machine.unsupported(
            "array.method", ".tolist()", f"the array is not known to have {_LIST_LIMIT} elements or fewer"
        )
    return _nested(machine, value)


def _nested(machine: Machine, value: Value) -> AbstractValue:
    if not value.type.shape:
        return python_number(machine, value)
    return build(machine, "list", [_nested(machine, row) for row in rows(machine, value)])


@array_method("fill")
def _method_fill(machine: Machine, a: AbstractValue, value: AbstractValue) -> AbstractValue:
    if isinstance(a, ArrayValue):
        element = element_value(machine, a, value)
        require_number(machine, element)
        write(machine, a, element)
    return NONE


@array_method("conj", "conjugate")
def _method_conjugate(machine: Machine, a: AbstractValue) -> AbstractValue:
    return a


@array_method("view")
def _method_view(
    machine: Machine,
    a: AbstractValue,
    dtype: AbstractValue = NONE,
    type: AbstractValue = NONE,  # noqa: A002 - NumPy's name
) -> AbstractValue:
    wanted = machine.constant(dtype, "dtype") if given(dtype) else np.ndarray
    same = wanted is np.ndarray or (isinstance(a, ArrayValue) and dtype_of(machine, dtype) == a.type.dtype)
    if given(type) or not same or not isinstance(a, ArrayValue):
        raise order_asked(machine, a, ".view()")
    return whole_view(machine, a)


@array_method("__array__")
def _method_array(machine: Machine, a: AbstractValue) -> AbstractValue:
    return a if isinstance(a, ArrayValue) else new_array(machine, array(machine, a))
