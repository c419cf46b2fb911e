"""Attributes: reading, writing, the descriptor protocol.

Owns the capture rules of `LoadAttribute`, `StoreAttribute` and `RemoveAttribute` and attribute lookup on every
abstract value. Invariant: lookup follows ``object.__getattribute__``: data descriptors of the class, the instance's
own attributes, then the class, then ``__getattr__``; whatever an outside class or instance contributes is guarded.
"""

from __future__ import annotations

import enum
import math
import types
from typing import Any

import numpy as np

from janusjit.analysis.capture.descriptors import bind, is_method, is_plain, super_attribute, user_descriptor
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.named_tuples import tuple_attribute
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.protocols import FIND_ATTRIBUTE, invoke
from janusjit.analysis.capture.python_types import python_type
from janusjit.analysis.capture.signals import PythonRaise
from janusjit.analysis.capture.state import DictObject, GeneratorObject, GrownList, Instance, ListObject, SetObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    DictView,
    FunctionValue,
    GeneratorValue,
    HostValue,
    Known,
    MethodValue,
    ModelledCallable,
    ObjectsValue,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    SuperValue,
    TupleValue,
    lift,
)
from janusjit.analysis.core import LoadAttribute, RemoveAttribute, StoreAttribute
from janusjit.analysis.generate.runtime import documentation
from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.analysis.twin import is_user_code
from janusjit.ir.class_guards import is_changeable
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING


@executes(LoadAttribute)
def execute_load(machine: Machine, instruction: LoadAttribute) -> None:
    """``target = owner.name``."""
    owner, name = machine.get(instruction.owner), instruction.name
    if isinstance(owner, Reference) and _is_read_at_run_time(machine, machine.heap(owner), name):
        LOAD[0](machine, instruction, owner)
    else:
        machine.set(instruction.target, machine.settle(_attribute(machine, owner, name)))


def _is_read_at_run_time(machine: Machine, item: Any, name: str) -> bool:
    """Whether an attribute has to be read of an object that is known at run time only."""
    if not isinstance(item, Instance) or item.address is None or name in item.attributes or name[:2] == "__":
        return False
    on_class = _on_class(machine, item, name)
    if on_class is MISSING or isinstance(on_class, types.MemberDescriptorType):
        return True
    return not hasattr(type(on_class), "__get__") and len(machine.pool.kinds(item.type_, name)) > 1


#: set by `janusjit.analysis.capture.run_time_objects`: read an instance's own attribute at run time, as an instruction
#: or for a rule; and guard that it does not hide what its class has
LOAD: list[Any] = []
RUN_TIME_ATTRIBUTE: list[Any] = []
UNSHADOWED: list[Any] = []


@executes(StoreAttribute)
def execute_store(machine: Machine, instruction: StoreAttribute) -> None:
    """``owner.name = value``."""
    set_attribute(machine, machine.get(instruction.owner), instruction.name, machine.hand_on(instruction.value))


@executes(RemoveAttribute)
def execute_remove(machine: Machine, instruction: RemoveAttribute) -> None:
    """``del owner.name``."""
    owner, name = machine.resolve(machine.get(instruction.owner)), instruction.name
    item = machine.heap(owner) if isinstance(owner, Reference) else None
    if not isinstance(item, Instance):
        raise machine.unsupported("python.attribute", "del", "an attribute of this object is deleted")
    assert isinstance(owner, Reference)
    remover = _on_class(machine, item, "__delattr__")
    if remover is not find_on_type(object, "__delattr__"):
        if not isinstance(remover, types.FunctionType) or _frozen_dataclass(item.type_):
            raise machine.unsupported("python.attribute", "del", "a class decides what deleting an attribute does")
        invoke(machine, MethodValue(owner, Known(remover)), Known(name))
        return
    on_class = _on_class(machine, item, name)
    if is_plain(machine, on_class, property, "__delete__") and on_class.fdel is not None:
        invoke(machine, Known(on_class.fdel), owner)
    else:
        remove_from_instance(machine, owner, name, on_class)


def remove_from_instance(machine: Machine, owner: Reference, name: str, on_class: Any) -> None:
    """Delete an instance's own attribute; ``on_class`` is what its class has of the name."""
    item: Instance = machine.heap(owner)
    if not (on_class is MISSING or isinstance(on_class, types.MemberDescriptorType)):
        raise machine.unsupported("python.attribute", f"del .{name}", "its class has the attribute, too")
    if _on_class(machine, item, "__getattr__") is not MISSING and name not in item.attributes:
        raise machine.unsupported("python.attribute", f"del .{name}", "its class makes attributes as they are read")
    if item.place is not None and name in item.changed:
        raise machine.unsupported("python.attribute", f"del .{name}", "whether it was there before is not known")
    get_attribute(machine, owner, name)
    item.attributes.pop(name, None)
    write_instance(machine, owner, name, Known(MISSING))


def get_attribute(machine: Machine, owner: AbstractValue, name: str) -> AbstractValue:
    """Return ``owner.name``; raise `PythonRaise` (AttributeError) where eager would."""
    return machine.resolve(_attribute(machine, owner, name))


def _attribute(machine: Machine, owner: AbstractValue, name: str) -> AbstractValue:
    found = find_attribute(machine, owner, name)
    if found is None:
        type_ = python_type(machine, owner)
        label = type_.__name__ if type_ is not None else "object"
        raise machine.python_error(AttributeError, f"'{label}' object has no attribute '{name}'")
    return found


def find_attribute(machine: Machine, owner: AbstractValue, name: str) -> AbstractValue | None:
    """Return ``owner.name``, or None where there is none."""
    owner = machine.resolve(owner)
    if isinstance(owner, Reference):
        item = machine.heap(owner)
        if isinstance(item, Instance):
            return _instance_or_fallback(machine, owner, item, name)
        return _builtin_method(owner, name, _container_type(item))
    if isinstance(owner, ArrayValue | Scalar):
        attribute: AbstractValue | None = ARRAY_ATTRIBUTE[0](machine, owner, name)
        return attribute
    if isinstance(owner, TupleValue):
        return tuple_attribute(machine, owner, name)
    if isinstance(owner, ObjectsValue):
        raise machine.unsupported("python.object", f".{name}", "a method of a list or tuple that is found at run time")
    if isinstance(owner, SuperValue):
        return super_attribute(machine, owner, name)
    if isinstance(owner, SliceValue | RangeValue) and name in ("start", "stop", "step"):
        found: AbstractValue = getattr(owner, name)
        return found
    if isinstance(owner, SliceValue) and name == "indices":
        return ModelledCallable("slice.indices", lambda inner, a, k: lift(_indices(inner, owner, a[0])))
    if isinstance(owner, Known):
        return _known_attribute(machine, owner, name)
    if isinstance(owner, FunctionValue):
        if name == "__name__" and not owner.wraps:
            return Known(owner.core.name)
        if name == "__doc__" and not owner.wraps and owner.core.code is not None:
            return Known(documentation(owner.core.code))
        raise machine.unsupported("python.attribute", f".{name}", "an attribute of a function made inside")
    if isinstance(owner, MethodValue) and name in ("__self__", "__func__"):
        return owner.owner if name == "__self__" else owner.function
    if isinstance(owner, DictView):
        return _builtin_method(owner, name, _VIEW_TYPES[owner.kind])
    if isinstance(owner, GeneratorValue):
        return _generator_method(machine, owner, name)
    if isinstance(owner, HostValue):
        if _is_method_of_builtin(type(owner.value), name):
            return BuiltinMethod(owner, name)
        raise machine.unsupported(
            "python.host_object",
            f".{name}",
            f"{owner.place} is a {type(owner.value).__qualname__}, which capture cannot enter",
        )
    raise machine.unsupported("python.attribute", f".{name}", "attributes of this object are not known to capture")


def _indices(machine: Machine, owner: SliceValue, length: AbstractValue) -> Any:
    return fold(machine, machine.constant(owner, "a slice").indices, machine.constant(length, "a length"))


def _is_method_of_builtin(type_: type, name: str) -> bool:
    """Whether a name is a method, written in C, of a type that nobody can change: found at the call, it is the same."""
    immutable = not type_.__flags__ & (1 << 9) or type_.__flags__ & (1 << 8)  # no heap type, or an immutable one
    return bool(immutable) and isinstance(find_on_type(type_, name), types.MethodDescriptorType)


#: modules whose floats are constants of nature: no input of the graph, but values it was made with
_MODULES_OF_CONSTANTS = (math, np)
_VIEW_TYPES = {"keys": type({}.keys()), "values": type({}.values()), "items": type({}.items())}
FIND_ATTRIBUTE.append(find_attribute)
#: set by `janusjit.analysis.capture.numpy_attributes`
ARRAY_ATTRIBUTE: list[Any] = []


def _container_type(item: Any) -> type:
    if isinstance(item, DictObject | ListObject | GrownList):
        return item.type_
    return {SetObject: set, GeneratorObject: types.GeneratorType}.get(type(item), object)


def _builtin_method(owner: AbstractValue, name: str, type_: type) -> AbstractValue | None:
    return BuiltinMethod(owner, name) if hasattr(type_, name) else None


def _generator_method(machine: Machine, owner: GeneratorValue, name: str) -> AbstractValue | None:
    """Return a method of a random number generator, which its type has; other attributes are Python's to read."""
    found = find_on_type(owner.type_, name)
    own = getattr(owner.live, "__dict__", {})
    if name.startswith("__") or name in own or not (found is MISSING or callable(found)):
        raise machine.unsupported("python.host_object", f".{name}", f"it is an attribute of a {owner.type_.__name__}")
    if found is MISSING and owner.place is not None:
        machine.externals.guard_not_own(owner.place, owner.live, name)
    return None if found is MISSING else BuiltinMethod(owner, name)


def _known_attribute(machine: Machine, owner: Known, name: str) -> AbstractValue | None:
    value = owner.value
    if isinstance(value, types.ModuleType):
        place = machine.externals.attribute_place(machine.externals.constant_place(value, value.__name__), name)
        found = value.__dict__.get(name, MISSING)
        if found is MISSING:
            return _computed_by_module(machine, value, name)
        if value in _MODULES_OF_CONSTANTS and type(found) is float and found == found:
            machine.externals.guard_value(place, found)
            return Known(found)
        return machine.externals.read(place, found)
    if isinstance(value, type):
        return _class_attribute(machine, value, name)
    if has_plain_attributes(type(value)):
        place = machine.externals.constant_place(value, type(value).__name__)
        outside = machine.externals.read(place, value)
        if isinstance(outside, Reference):
            return find_attribute(machine, outside, name)
    on_class = find_on_type(type(value), name) if isinstance(value, enum.Enum) else MISSING
    if isinstance(on_class, property) and is_plain(machine, on_class, property):
        machine.externals.on_type(type(value), name)
        return invoke(machine, Known(on_class.fget), owner)
    found = getattr(value, name, MISSING)
    if isinstance(value, types.FunctionType):
        place = machine.externals.attribute_place(machine.externals.constant_place(value, value.__qualname__), name)
        read = machine.externals.read(place, found)
        return None if found is MISSING else read
    if found is MISSING:
        return None
    if isinstance(value, str | bytes | int | float | bool | np.generic | type(None)) and callable(found):
        return BuiltinMethod(owner, name)
    if isinstance(found, types.MethodType):
        return MethodValue(Known(found.__self__), Known(found.__func__))
    if isinstance(value, np.ufunc) and callable(found):
        return BuiltinMethod(owner, name)
    return lift(found)


def _computed_by_module(machine: Machine, module: types.ModuleType, name: str) -> AbstractValue | None:
    """Return an attribute that does not stand in a module: its type's, or what its ``__getattr__`` gives."""
    getter = module.__dict__.get("__getattr__")
    of_library = isinstance(getter, types.FunctionType) and not is_user_code(getter.__code__)
    if type(module) is not types.ModuleType or not (getter is None or of_library):
        raise machine.unsupported("python.attribute", f".{name}", "a module computes what it has there")
    whole = machine.externals.constant_place(module, module.__name__)
    found = getattr(module, name, MISSING)
    if found is MISSING:
        machine.externals.guard_missing(machine.externals.attribute_place(whole, name))
        return None
    machine.externals.guard_not_own(whole, module, name)
    return lift(found)


def _class_attribute(machine: Machine, type_: type, name: str) -> AbstractValue | None:
    if name in ("__name__", "__qualname__", "__module__", "__mro__", "__bases__", "__doc__"):
        return lift(getattr(type_, name))
    on_type, class_ = machine.externals.on_type, type(type_)
    computed = find_on_type(class_, name) if class_ is type else on_type(class_, name)
    found = find_on_type(type_, name)
    if found is MISSING or hasattr(type(computed), "__set__"):
        on_type(type_, name)
        return _metaclass_attribute(machine, type_, name, computed)
    if is_plain(machine, found, staticmethod):
        on_type(type_, name)
        return Known(found.__func__)
    if is_plain(machine, found, classmethod):
        on_type(type_, name)
        return MethodValue(Known(type_), Known(found.__func__))
    if isinstance(found, types.ClassMethodDescriptorType):
        return Known(getattr(type_, name))
    if getattr(type_, name, found) is not found:
        raise machine.unsupported("python.attribute", f".{name}", "a descriptor computes what the class has there")
    if is_changeable(type_):  # read along the MRO at each call, so what comes to hide it is seen
        place = machine.externals.attribute_place(machine.externals.constant_place(type_, type_.__qualname__), name)
        return machine.externals.read(place, found)
    return Known(found)


def _metaclass_attribute(machine: Machine, type_: type, name: str, found: Any) -> AbstractValue | None:
    """Return what a class has of its own class."""
    class_ = type(type_)
    if class_ is type:
        return None if found is MISSING else Known(getattr(type_, name))
    if isinstance(found, types.FunctionType):
        return MethodValue(Known(type_), Known(found))
    plain = machine.externals.on_type(class_, "__getattr__") is MISSING and not hasattr(type(found), "__get__")
    if not plain:
        raise machine.unsupported("python.attribute", f".{name}", "a metaclass computes what the class has there")
    if found is MISSING:
        return None
    place = machine.externals.attribute_place(machine.externals.constant_place(type_, type_.__qualname__), name)
    return machine.externals.read(place, found)


def attribute_or_none(machine: Machine, owner: AbstractValue, name: str) -> AbstractValue | None:
    """Return ``owner.name``, or None where reading it raises AttributeError."""
    try:
        return find_attribute(machine, owner, name)
    except PythonRaise as raised:
        if issubclass(raised.type_, AttributeError):
            return None
        raise


def _instance_or_fallback(machine: Machine, owner: Reference, item: Instance, name: str) -> AbstractValue | None:
    """Return an attribute; where there is none, or what computes it says so, what ``__getattr__`` gives."""
    try:
        found = _instance_attribute(machine, owner, item, name)
    except PythonRaise as raised:
        getter = _on_class(machine, item, "__getattr__")
        if getter is MISSING or not issubclass(raised.type_, AttributeError):
            raise
        found = None
    return found if found is not None else _fallback_attribute(machine, owner, machine.heap(owner), name)


def _instance_attribute(machine: Machine, owner: Reference, item: Instance, name: str) -> AbstractValue | None:
    if name == "__class__":
        return Known(item.type_)
    if name == "__dict__":
        raise machine.unsupported("python.attribute", "__dict__", "the attribute dictionary is used directly")
    on_class = _on_class(machine, item, name)
    if is_plain(machine, on_class, property):
        return invoke(machine, Known(on_class.fget), owner)
    if isinstance(on_class, types.GetSetDescriptorType) and name in item.attributes:  # an exception's ``args``
        return item.attributes[name]
    is_data = _is_data(machine, on_class)
    if is_data and not isinstance(on_class, types.MemberDescriptorType):
        return user_descriptor(machine, on_class, owner, item.type_)
    own = item.attributes.get(name)
    if own is None and item.live is not None and (is_data or name in _instance_names(item.live)):
        own = item.attributes[name] = machine.externals.read_attribute(item, owner.index, name)
    if own is None and _is_read_at_run_time(machine, item, name):
        own = RUN_TIME_ATTRIBUTE[0](machine, owner, name)
    if own is not None and not (isinstance(own, Known) and own.value is MISSING):
        return own
    if item.live is not None and own is None and on_class is MISSING:
        if _on_class(machine, item, "__getattr__") is not MISSING:
            assert item.place is not None
            machine.externals.guard_not_own(item.place, item.live, name)  # looking would run the user's code
        else:
            own = machine.externals.read_attribute(item, owner.index, name)
    if on_class is MISSING or is_data:
        return None
    if item.live is not None and own is None:  # what the instance has, or comes to have, would hide it
        assert item.place is not None
        machine.externals.guard_not_own(item.place, item.live, name)
    if item.address is not None:
        UNSHADOWED[0](machine, item, name, on_class)
    return _bind(machine, owner, item, name, on_class)


def _instance_names(live: Any) -> Any:
    return getattr(live, "__dict__", {})


def _on_class(machine: Machine, item: Instance, name: str) -> Any:
    return machine.externals.on_class(item, name)


def _bind(machine: Machine, owner: Reference, item: Instance, name: str, found: Any) -> AbstractValue | None:
    if isinstance(found, types.WrapperDescriptorType | types.MethodDescriptorType):
        return BuiltinMethod(owner, name)
    bound = bind(machine, found, owner, item.type_)
    return bound if bound is not None else _class_attribute(machine, item.type_, name)


def _is_data(machine: Machine, on_class: Any) -> bool:
    """Whether what a class holds goes before what an instance holds: it says what writing or deleting does."""
    methods = ("__set__", "__delete__") if on_class is not MISSING else ()
    return any(machine.externals.on_type(type(on_class), name) is not MISSING for name in methods)


def _fallback_attribute(machine: Machine, owner: Reference, item: Instance, name: str) -> AbstractValue | None:
    getter = _on_class(machine, item, "__getattr__")
    if getter is MISSING:
        return None
    if not is_method(getter):
        raise machine.unsupported("python.attribute", f".{name}", "its class makes attributes as they are read")
    return invoke(machine, Known(getter), owner, Known(name))


def set_attribute(machine: Machine, owner: AbstractValue, name: str, value: AbstractValue) -> None:
    """``owner.name = value``."""
    owner = machine.resolve(owner)
    if isinstance(owner, ArrayValue) and name in ("shape", "flags", "dtype"):
        raise machine.unsupported("array.attribute", f".{name} =", "array metadata is changed in place")
    if isinstance(owner, Known):
        raise machine.unsupported(
            "python.attribute", f".{name} =", "an attribute of a class, module or function is set"
        )
    if not isinstance(owner, Reference) or not isinstance(machine.heap(owner), Instance):
        raise machine.unsupported("python.attribute", f".{name} =", "an attribute of this object is set")
    item: Instance = machine.heap(owner)
    setter = _on_class(machine, item, "__setattr__")
    if setter is not find_on_type(object, "__setattr__"):
        if _frozen_dataclass(item.type_):
            raise machine.unsupported("python.attribute", f".{name} =", "a frozen dataclass is written")
        invoke(machine, MethodValue(owner, Known(setter)), Known(name), value)
        return
    on_class = _on_class(machine, item, name)
    if isinstance(on_class, property):
        if not is_plain(machine, on_class, property, "__set__"):
            raise machine.unsupported("python.descriptor", f".{name} =", f"a {type(on_class).__name__} is written")
        if on_class.fset is None:
            raise machine.python_error(
                AttributeError, f"property '{name}' of '{item.type_.__name__}' object has no setter"
            )
        invoke(machine, Known(on_class.fset), owner, value)
        return
    if on_class is not MISSING and not isinstance(on_class, types.MemberDescriptorType):
        setter = machine.externals.on_type(type(on_class), "__set__")
        if isinstance(setter, types.FunctionType):
            descriptor = machine.externals.read(machine.externals.constant_place(on_class, name), on_class)
            invoke(machine, Known(setter), descriptor, owner, value)
            return
        if _is_data(machine, on_class):
            raise machine.unsupported("python.descriptor", f".{name} =", f"a {type(on_class).__name__} is written")
    if not isinstance(on_class, types.MemberDescriptorType) and item.type_.__dictoffset__ == 0:
        raise machine.python_error(AttributeError, f"'{item.type_.__name__}' object has no attribute '{name}'")
    write_instance(machine, owner, name, value)


def _frozen_dataclass(type_: type) -> bool:
    parameters = getattr(type_, "__dataclass_params__", None)
    return bool(getattr(parameters, "frozen", False))


def write_instance(machine: Machine, owner: Reference, name: str, value: AbstractValue) -> None:
    """Write an instance attribute past descriptors (``object.__setattr__``)."""
    item: Instance = machine.heap(owner)
    if item.address is not None:
        raise machine.unsupported("python.object", f".{name} =", "an object that is found at run time is written")
    before = item.attributes.get(name)
    if isinstance(before, Known) and before.value is MISSING and item.place is not None and name in item.changed:
        raise machine.unsupported("python.attribute", f".{name} =", "what was deleted comes back behind the others")
    item.attributes[name] = value
    item.changed[name] = None
    item.written = True
    if owner.index < 0:
        machine.written.add(owner.index)
        assert item.place is not None
        machine.externals.attribute_place(item.place, name)  # noted as a name that is looked at
