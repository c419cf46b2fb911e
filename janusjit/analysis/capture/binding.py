"""Binding arguments to parameters.

Owns `bind`, `bind_namedtuple` and `only_binds`. Invariant: what binds, and what is a TypeError, is what Python says of
the same call.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DictObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    FunctionValue,
    Known,
    MethodValue,
    Reference,
    TupleValue,
    lift,
)
from janusjit.analysis.core import FunctionCore
from janusjit.analysis.twin import is_user_code

Keywords = Sequence[tuple[str, AbstractValue]]


def bind(
    machine: Machine,
    core: FunctionCore,
    arguments: Sequence[AbstractValue],
    keywords: Keywords,
    defaults: Sequence[AbstractValue],
    keyword_defaults: dict[str, AbstractValue],
) -> dict[str, AbstractValue]:
    """Bind arguments to parameters as Python does; a TypeError where Python raises one."""
    parameters = core.parameters
    positional = (*parameters.positional_only, *parameters.positional)
    bound: dict[str, AbstractValue] = dict(zip(positional, arguments, strict=False))
    extra = list(arguments[len(positional) :])
    if parameters.variadic is not None:
        bound[parameters.variadic] = TupleValue(tuple(extra))
    elif extra:
        raise machine.python_error(
            TypeError, f"{core.name}() takes {len(positional)} positional arguments but {len(arguments)} were given"
        )
    rest: dict[str, AbstractValue] = {}
    accepted = {*parameters.positional, *parameters.keyword_only}
    for name, value in keywords:
        if name in accepted and name not in bound:
            bound[name] = value
        elif parameters.variadic_keyword is not None and name not in bound:
            rest[name] = value
        else:
            word = "multiple values for" if name in bound else "an unexpected keyword"
            raise machine.python_error(TypeError, f"{core.name}() got {word} argument '{name}'")
    if parameters.variadic_keyword is not None:
        bound[parameters.variadic_keyword] = machine.state.allocate(DictObject(items=dict(rest)))
    for name, value in zip(reversed(positional), reversed(defaults), strict=False):
        bound.setdefault(name, value)
    for name in parameters.keyword_only:
        if name not in bound and name in keyword_defaults:
            bound[name] = keyword_defaults[name]
    missing = [name for name in (*positional, *parameters.keyword_only) if name not in bound]
    if missing:
        raise machine.python_error(TypeError, f"{core.name}() missing required arguments: {missing}")
    return bound


def bind_namedtuple(
    machine: Machine, type_: Any, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> TupleValue:
    """Return the named tuple of these fields."""
    fields: tuple[str, ...] = type_._fields
    defaults: dict[str, Any] = type_._field_defaults
    bound = dict(zip(fields, arguments, strict=False)) | keywords
    missing = [name for name in fields if name not in bound and name not in defaults]
    if missing or len(arguments) > len(fields) or set(bound) - set(fields):
        raise machine.python_error(TypeError, f"wrong arguments for {type_.__name__}")
    return TupleValue(tuple(bound[name] if name in bound else lift(defaults[name]) for name in fields), type_)


def unpacked_keywords(machine: Machine, value: AbstractValue) -> list[tuple[str, AbstractValue]]:
    """Return the keywords that ``**value`` gives."""
    if isinstance(value, Reference) and isinstance(machine.heap(value), DictObject):
        view = machine.heap(value)
        if view.place is not None:
            machine.externals.guard_keys(view.place, tuple(view.original))
        return [(key, machine.resolve(item)) for key, item in view.items.items()]
    raise machine.unsupported("python.call", "**", "keywords are unpacked from something that is not a plain dict")


def only_binds(function: AbstractValue) -> bool:
    """Whether a call of a function binds the arguments to variables, without looking into them."""
    if isinstance(function, MethodValue):
        return only_binds(function.function)
    if isinstance(function, Known):
        value = function.value
        return value is print or (isinstance(value, types.FunctionType) and is_user_code(value.__code__))
    return isinstance(function, FunctionValue)
