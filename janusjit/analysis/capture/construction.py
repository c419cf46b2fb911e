"""Calling classes.

Owns `instantiate`. Invariant: an instance is made as ``type.__call__`` makes it: by the class's ``__new__``, where that
is ``object``'s or one that capture knows, then by its ``__init__``.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import weakref
from typing import Any

from janusjit.analysis.capture.attributes import get_attribute, set_attribute, write_instance
from janusjit.analysis.capture.binding import Keywords, bind_namedtuple
from janusjit.analysis.capture.calls import INSTANTIATE, call, constant_object, invoke, unknown_callee
from janusjit.analysis.capture.descriptors import is_method
from janusjit.analysis.capture.dropped import REFERRED, lifetime_seen
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.values import AbstractValue, Known, Reference, TupleValue
from janusjit.analysis.plain_types import is_followed_tuple
from janusjit.ir.places import MISSING


def instantiate(
    machine: Machine, type_: type, arguments: list[AbstractValue], keywords: Keywords, target: str | None
) -> AbstractValue | None:
    """Call a class."""
    if issubclass(type_, weakref.ReferenceType):
        raise lifetime_seen(machine, type_.__qualname__, REFERRED)
    if issubclass(type_, BaseException):
        return _make_exception(machine, type_, arguments)
    if issubclass(type_, enum.Enum) and type(type_) is enum.EnumMeta and list(type_) and not keywords:
        return Known(fold(machine, type_, *(machine.constant(part, "a member") for part in arguments)))
    if issubclass(type_, tuple) and hasattr(type_, "_fields"):
        return _make_namedtuple(machine, type_, arguments, dict(keywords))
    plain = type_.__flags__ & (1 << 9) and machine.externals.on_type(type(type_), "__call__") is type.__call__
    if not plain or machine.externals.on_type(type_, "__new__") is not object.__dict__["__new__"]:
        raise unknown_callee(machine, type_.__qualname__)
    if any(base is not object and not base.__flags__ & (1 << 9) for base in type_.__mro__):
        raise machine.unsupported(
            "python.class", type_.__qualname__, "the class derives from a built-in type, so its instances are special"
        )
    machine.externals.on_type(type_, "__getattribute__")
    if machine.externals.on_type(type_, "__del__") is not MISSING:
        raise lifetime_seen(machine, type_.__qualname__, "its instances run code when they are dropped")
    if type_.__flags__ & (1 << 20):  # Py_TPFLAGS_IS_ABSTRACT
        raise machine.python_error(TypeError, f"Can't instantiate abstract class {type_.__name__}")
    made = machine.state.allocate(Instance(type_=type_))
    initializer = machine.externals.on_type(type_, "__init__")
    if initializer is object.__dict__["__init__"]:
        if arguments or keywords:
            raise machine.python_error(TypeError, f"{type_.__name__}() takes no arguments")
        return made
    owner = next(base for base in type_.__mro__ if "__init__" in vars(base))
    if _generated_initializer(owner, initializer):
        return _initialize_dataclass(machine, owner, made, arguments, keywords)
    if not is_method(initializer):
        raise unknown_callee(machine, type_.__qualname__)
    pushed = call(machine, Known(initializer), [made, *arguments], keywords, target)
    if pushed is None:
        machine.frame.result, machine.frame.instance = "instance", made
        return None
    return made


def _generated_initializer(owner: type, initializer: Any) -> bool:
    """Whether the ``__init__`` of a class is the one that ``dataclasses`` wrote for it, which has no source."""
    return (
        "__dataclass_fields__" in vars(owner)
        and isinstance(initializer, types.FunctionType)
        and initializer.__code__.co_filename == "<string>"
    )


def _initialize_dataclass(
    machine: Machine, owner: Any, made: Reference, arguments: list[AbstractValue], keywords: Keywords
) -> AbstractValue:
    """Do what the ``__init__`` does that was written for ``owner``, the instance's class or a base of it."""
    fields = [field for field in dataclasses.fields(owner) if field.init]
    declared = owner.__dataclass_fields__.values()
    if any(field._field_type is not dataclasses._FIELD for field in declared):  # type: ignore[attr-defined]
        raise machine.unsupported("python.class", owner.__qualname__, "the dataclass has InitVar or ClassVar fields")
    positional = [field.name for field in fields if not field.kw_only]
    bound = dict(zip(positional, arguments, strict=False)) | dict(keywords)
    twice = len(bound) < len(arguments) + len(keywords)
    if twice or set(bound) - {field.name for field in fields}:
        raise machine.python_error(TypeError, f"{owner.__name__}.__init__() got unexpected arguments")
    for field in fields:
        if field.name not in bound and field.default is field.default_factory is dataclasses.MISSING:
            raise machine.python_error(TypeError, f"{owner.__name__}.__init__() missing argument: '{field.name}'")
    for field in dataclasses.fields(owner):
        if field.name in bound:
            value = bound[field.name]
        elif field.default_factory is not dataclasses.MISSING:
            value = invoke(machine, Known(field.default_factory), (), ())
        elif field.default is not dataclasses.MISSING and (field.init or "__slots__" in vars(owner)):
            value = constant_object(machine, field.default, f"{owner.__name__}.{field.name}")
        else:
            continue
        _set_field(machine, owner, made, field.name, value)
    if "__post_init__" in owner.__init__.__code__.co_names:  # it was there when the class was decorated
        invoke(machine, get_attribute(machine, made, "__post_init__"), (), ())
    return made


def _set_field(machine: Machine, owner: Any, made: Reference, name: str, value: AbstractValue) -> None:
    """Set an attribute, in a frozen dataclass by ``object.__setattr__``."""
    if not owner.__dataclass_params__.frozen:
        set_attribute(machine, made, name, value)
        return
    on_class = machine.externals.on_class(machine.heap(made), name)
    if hasattr(type(on_class), "__set__") and not isinstance(on_class, types.MemberDescriptorType):
        raise machine.unsupported("python.class", owner.__qualname__, "a field of the dataclass is a descriptor")
    write_instance(machine, made, name, value)


def _make_exception(machine: Machine, type_: type, arguments: list[AbstractValue]) -> AbstractValue:
    made = machine.state.allocate(Instance(type_=type_))
    item: Instance = machine.heap(made)
    item.attributes["args"] = TupleValue(tuple(arguments))
    initializer = machine.externals.on_type(type_, "__init__")
    if isinstance(initializer, types.FunctionType):
        invoke(machine, Known(initializer), [made, *arguments], ())
    return made


def _make_namedtuple(
    machine: Machine, type_: type, arguments: list[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    look_up = machine.externals.on_type
    new = look_up(type_, "__new__")
    generated = isinstance(new, staticmethod) and new.__func__.__module__.startswith("namedtuple_")
    plain = look_up(type(type_), "__call__") is type.__call__ and look_up(type_, "__init__") is object.__init__
    if not (generated and plain and is_followed_tuple(type_, look_up)):
        raise unknown_callee(machine, type_.__qualname__)
    return bind_namedtuple(machine, type_, arguments, keywords)


INSTANTIATE.append(instantiate)
