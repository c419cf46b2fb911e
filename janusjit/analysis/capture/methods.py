"""Calls of methods of built-in types.

Owns `call_method`, which finds the rule of a method by the kind of its owner. Invariant: a method without a rule
leaves the function to Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.containers import METHODS
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import GeneratorObject, GrownList, Instance, SetObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    DictView,
    GeneratorValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.ir.places import MISSING


def call_method(
    machine: Machine, function: BuiltinMethod, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """Call a method of a container, array, string or number."""
    owner = machine.resolve(function.owner)
    if isinstance(owner, ArrayValue | Scalar):
        return ARRAY_METHOD[0](machine, owner, function.name, arguments, keywords)  # type: ignore[no-any-return]
    if isinstance(owner, GeneratorValue):
        return RANDOM_METHOD[0](machine, owner, function.name, arguments, keywords)  # type: ignore[no-any-return]
    if isinstance(owner, DictView):
        raise machine.unsupported("python.method", f".{function.name}()", "the method is not modelled yet")
    type_: type | None = tuple if isinstance(owner, TupleValue) else None
    if isinstance(owner, Reference):
        item = machine.heap(owner)
        type_ = set if isinstance(item, SetObject) else getattr(item, "type_", None)
        if isinstance(item, GrownList) and function.name != "append":
            raise machine.unsupported("python.method", f".{function.name}()", "the list has grown in a loop")
        if isinstance(item, GeneratorObject):
            return GENERATOR_METHOD[0](machine, owner, function.name, arguments)  # type: ignore[no-any-return]
        if isinstance(item, Instance):
            return _object_method(machine, owner, function.name, arguments)
    rule = METHODS.get((type_, function.name)) if type_ is not None else None
    if rule is None and type_ is not None and issubclass(type_, dict):
        rule = METHODS.get((dict, function.name))
    if rule is not None:
        return rule(machine, owner, arguments, keywords)  # type: ignore[arg-type]
    if isinstance(owner, Known) and isinstance(owner.value, str | bytes | int | float | bool | np.generic | type(None)):
        return STRING_METHOD[0](machine, owner.value, function.name, arguments, keywords)  # type: ignore[no-any-return]
    if isinstance(owner, Known) and isinstance(owner.value, np.ufunc):
        return UFUNC_METHOD[0](machine, owner.value, function.name, arguments, keywords)  # type: ignore[no-any-return]
    raise machine.unsupported("python.method", f".{function.name}()", "the method is not modelled yet")


operators.CALL_METHOD.append(call_method)
#: set by the modules that own these rules
ARRAY_METHOD: list[Any] = []
GENERATOR_METHOD: list[Any] = []
STRING_METHOD: list[Any] = []
UFUNC_METHOD: list[Any] = []
RANDOM_METHOD: list[Any] = []


def _object_method(machine: Machine, owner: Reference, name: str, arguments: Sequence[AbstractValue]) -> AbstractValue:
    """A slot wrapper of ``object``, called on an instance."""
    from_object = getattr(object, name, MISSING)
    if name == "__setattr__" and from_object is not MISSING:
        OBJECT_SETATTR[0](machine, owner, machine.constant(arguments[0], "a name"), arguments[1])
        return NONE
    if name == "__init__":
        return NONE
    raise machine.unsupported("python.method", f".{name}()", "the method is not modelled yet")


#: set by `janusjit.analysis.capture.object_functions`
OBJECT_SETATTR: list[Any] = []
