"""Which Python type an abstract value has.

Owns `python_type` and `of_type`. Invariant: a type that is named is the one ``type()`` gives; where it is not known
until run time, none is.
"""

from __future__ import annotations

import numpy as np

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import (
    DictObject,
    GeneratorObject,
    GrownList,
    Instance,
    ListObject,
    SetObject,
)
from janusjit.analysis.capture.values import (
    AbstractValue,
    AddressValue,
    ArrayValue,
    BuiltinMethod,
    Deferred,
    FlatValue,
    FunctionValue,
    GeneratorValue,
    HostValue,
    Known,
    MethodValue,
    NumbersValue,
    ObjectsValue,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
)


def python_type(machine: Machine, value: AbstractValue) -> type | None:
    """Return ``type(value)``, or None where capture does not know it."""
    value = machine.resolve(value)
    if isinstance(value, Known):
        return type(value.value)
    if isinstance(value, Scalar):
        if value.is_python:
            return {"int": int, "float": float, "bool": bool}[value.kind]
        return value.value.type.numpy_dtype.type
    if isinstance(value, HostValue):
        return type(value.value)
    if isinstance(value, GeneratorValue):
        return value.type_
    if isinstance(value, TupleValue | ObjectsValue):
        return value.type_
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, DictObject | Instance | ListObject | GrownList):
            return item.type_
        return _HEAP_TYPES.get(type(item))
    return _FIXED_TYPES.get(type(value))


_GENERATOR = type(_ for _ in ())
_HEAP_TYPES: dict[type, type] = {SetObject: set, GeneratorObject: _GENERATOR}
_FIXED_TYPES: dict[type, type] = {
    ArrayValue: np.ndarray,
    Deferred: str,
    NumbersValue: list,
    AddressValue: int,
    FlatValue: np.flatiter,
    SliceValue: slice,
    RangeValue: range,
    FunctionValue: type(lambda: None),
    MethodValue: type(Machine.run.__get__(object())),
    BuiltinMethod: type([].append),
}


def of_type(machine: Machine, value: AbstractValue, type_: type, method: str) -> AbstractValue:
    """Return what a special method has given where it is of the type that Python demands of it.

    Raises
    ------
    CaptureFailure
        If it is not: Python refuses it, or converts it and warns.
    """
    value = machine.resolve(value)
    if python_type(machine, value) is not type_:
        raise machine.unsupported("python.operand", method, f"it does not return what is of type {type_.__name__}")
    return value
