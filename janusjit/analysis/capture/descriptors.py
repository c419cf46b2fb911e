"""What reading an attribute gives where it is found on a class: the ``__get__`` of functions, properties and the like.

Owns `bind` and `super_attribute`. Invariant: an object found on a class is bound as the ``__get__`` of its own type
does; a subclass of ``property``, ``classmethod`` or ``staticmethod`` with a ``__get__`` of its own is none of them.
"""

from __future__ import annotations

import types
from typing import Any

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.protocols import invoke
from janusjit.analysis.capture.python_types import python_type
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.values import (
    AbstractValue,
    Known,
    MethodValue,
    ModelledCallable,
    Reference,
    SuperValue,
    TupleValue,
)
from janusjit.analysis.twin import is_wrapper
from janusjit.ir.class_guards import is_changeable
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING


def is_plain(machine: Machine, found: Any, kind: type, method: str = "__get__") -> bool:
    """Whether what a class holds is a property, or a static or class method, that works as these do."""
    return isinstance(found, kind) and machine.externals.on_type(type(found), method) is kind.__dict__[method]


def is_method(found: Any) -> bool:
    """Whether an object is a Python function, plain or jitted, which becomes a method."""
    return isinstance(found, types.FunctionType) or is_wrapper(found)


def bind(machine: Machine, found: Any, owner: AbstractValue, type_: type) -> AbstractValue | None:
    """Return what an instance has where its class holds ``found``, or None if reading it gives ``found`` itself.

    Parameters
    ----------
    machine : Machine
        The machine.
    found : object
        What stands in the class, or in one of its bases.
    owner : AbstractValue
        The instance.
    type_ : type
        Its class.
    """
    if is_method(found):
        return MethodValue(owner, Known(found))
    if is_plain(machine, found, property):
        return invoke(machine, Known(found.fget), owner)
    if is_plain(machine, found, classmethod):
        return MethodValue(Known(type_), Known(found.__func__))
    if is_plain(machine, found, staticmethod):
        return Known(found.__func__)
    if machine.externals.on_type(type(found), "__get__") is not MISSING and not isinstance(found, type):
        return user_descriptor(machine, found, owner, type_)
    return None


def user_descriptor(machine: Machine, found: Any, owner: AbstractValue, type_: type) -> AbstractValue:
    """Return what the ``__get__`` of a descriptor's class, written in Python, gives."""
    getter = machine.externals.on_type(type(found), "__get__")
    if not isinstance(getter, types.FunctionType):
        raise machine.unsupported("python.descriptor", "descriptor", f"a {type(found).__name__} is read")
    descriptor = machine.externals.read(machine.externals.constant_place(found, type(found).__name__), found)
    return invoke(machine, Known(getter), descriptor, owner, Known(type_))


def super_attribute(machine: Machine, owner: SuperValue, name: str) -> AbstractValue | None:
    """Return an attribute of ``super()``: what the classes behind one have, bound to the instance or to the class."""
    instance = machine.resolve(owner.owner)
    class_ = instance.value if isinstance(instance, Known) and isinstance(instance.value, type) else None
    of_class = class_ is not None and issubclass(class_, owner.type_)
    type_ = class_ if of_class else python_type(machine, instance)
    if type_ is None or owner.type_ not in type_.__mro__:
        raise machine.unsupported("python.super", "super()", "the class of the object is not known")
    variable = _variable_behind(machine, type_, owner.type_, name)
    if variable is not None:
        return variable
    found = machine.externals.behind(type_, owner.type_, name)
    if found is MISSING or name == "__class__":
        if hasattr(super, name):
            raise machine.unsupported("python.super", f".{name}", "an attribute of the object that super() makes")
        return None
    if found is object.__dict__["__init__"]:
        return ModelledCallable("object.__init__", _initialize)
    if name == "__init__" and _only_keeps_arguments(found) and not of_class:
        return ModelledCallable("BaseException.__init__", _initialize_exception(owner))
    if isinstance(found, types.WrapperDescriptorType | types.MethodDescriptorType | types.BuiltinFunctionType):
        raise machine.unsupported("python.super", f".{name}", "it is a method that is written in C")
    if of_class and is_method(found):
        return Known(found)
    of_classes = any(is_plain(machine, found, kind) for kind in (classmethod, staticmethod))
    if of_class and hasattr(found, "__get__") and not of_classes:
        raise machine.unsupported("python.super", f".{name}", "a descriptor is read from a class")
    bound = bind(machine, found, instance, type_)
    if bound is None and not isinstance(found, bool | int | float | str | None):
        raise machine.unsupported("python.super", f".{name}", "several classes are asked for it")
    return Known(found) if bound is None else bound


def _initialize(machine: Machine, arguments: Any, keywords: Any) -> AbstractValue:
    """``object.__init__``, called by the ``__init__`` of a class: takes nothing."""
    if arguments or keywords:
        raise machine.python_error(TypeError, "object.__init__() takes exactly one argument")
    return Known(None)


def _only_keeps_arguments(found: Any) -> bool:
    """Whether an ``__init__`` is that of an exception whose arguments are all it has."""
    class_ = getattr(found, "__objclass__", object)
    if not isinstance(found, types.WrapperDescriptorType) or not issubclass(class_, BaseException):
        return False
    own = (types.MemberDescriptorType, types.GetSetDescriptorType)
    return class_ is BaseException or not any(isinstance(item, own) for item in class_.__dict__.values())


def _initialize_exception(owner: SuperValue) -> Any:
    """``BaseException.__init__`` of an instance."""

    def initialize(machine: Machine, arguments: Any, keywords: Any) -> AbstractValue:
        instance = machine.resolve(owner.owner)
        item = machine.heap(instance) if isinstance(instance, Reference) else None
        if keywords or not isinstance(item, Instance) or item.place is not None or item.address is not None:
            raise machine.unsupported("python.super", ".__init__", "an exception from outside is initialized")
        item.attributes["args"] = TupleValue(tuple(arguments))
        return Known(None)

    return initialize


def _variable_behind(machine: Machine, type_: type, after: type, name: str) -> AbstractValue | None:
    """Return a class attribute that is no descriptor, read at each call; None where it is anything else."""
    rest = machine.externals.classes_behind(type_, after)
    if not rest or rest[0].__mro__ != rest or not is_changeable(rest[0]):
        return None
    found = find_on_type(rest[0], name)
    if found is MISSING or machine.externals.on_type(type(found), "__get__") is not MISSING:
        return None
    place = machine.externals.attribute_place(machine.externals.constant_place(rest[0], rest[0].__qualname__), name)
    return machine.externals.read(place, found)
