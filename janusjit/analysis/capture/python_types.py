"""Which Python type an abstract value has, and which special methods that has.

Owns `python_type`, `of_type` and `special_method`. Invariant: a type that is named is the one ``type()`` gives; where
it is not known until run time, none is. Special methods are looked up on types alone.
"""

from __future__ import annotations

import types
from typing import Any

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
from janusjit.analysis.twin import is_user_code, is_wrapper
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING


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


def special_method(machine: Machine, value: AbstractValue, name: str) -> AbstractValue | None:
    """Return a special method looked up on the class of an instance, bound; None where the class has none."""
    if isinstance(value, TupleValue) and value.type_ is not tuple:
        own = machine.externals.on_type(value.type_, name)
        return None if own is find_on_type(tuple, name) else _special(machine, value, name, own)
    if isinstance(value, Known):
        return _special_of_known(machine, value, name)
    if not isinstance(value, Reference):
        return None
    item = machine.heap(value)
    if not isinstance(item, Instance):
        return None
    found = machine.externals.on_class(item, name)
    if found is MISSING or found is getattr(object, name, MISSING):
        return None
    return _special(machine, value, name, found)


def _special_of_known(machine: Machine, value: Known, name: str) -> AbstractValue | None:
    """Return a special method of the user's own, of a member of an enumeration or of a class that has a metaclass.

    What other constants do is theirs for ever: it is done at capture.
    """
    type_ = type(value.value)
    found = find_on_type(type_, name) if type_.__flags__ & (1 << 9) else None
    if not isinstance(found, types.FunctionType) or not is_user_code(found.__code__):
        return None
    machine.externals.on_type(type_, name)
    return MethodValue(value, Known(found))


def _special(machine: Machine, value: AbstractValue, name: str, found: Any) -> AbstractValue | None:
    """Return what a class holds under the name of a special method, bound to an instance; None says there is none."""
    if found is None:
        return None
    if isinstance(found, staticmethod | classmethod | property) or not (
        isinstance(found, types.FunctionType | types.WrapperDescriptorType | types.MethodDescriptorType)
        or is_wrapper(found)
    ):
        raise machine.unsupported("python.descriptor", f".{name}", "a special method that is no function")
    return MethodValue(value, Known(found))
