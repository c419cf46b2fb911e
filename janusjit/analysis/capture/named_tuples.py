"""Attributes of tuples and named tuples.

Owns `tuple_attribute`. Invariant: an attribute is a field only where the class has the descriptor that ``namedtuple``
made for it; whatever else stands in the class is bound as its type says.
"""

from __future__ import annotations

import collections
import types

from janusjit.analysis.capture.descriptors import bind
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.values import AbstractValue, BuiltinMethod, TupleValue
from janusjit.ir.places import MISSING

_Sample = collections.namedtuple("_Sample", "field")
#: methods that every class made by ``namedtuple`` has, and the code that all of them share
_GENERATED = {name: getattr(_Sample, name).__code__ for name in ("_replace", "_asdict")}
#: stands for an instance without attributes of its own
_NOTHING_OWN = types.SimpleNamespace()


def tuple_attribute(machine: Machine, owner: TupleValue, name: str) -> AbstractValue | None:
    """Return an attribute of a tuple, or None where there is none."""
    type_ = owner.type_
    found = machine.externals.on_type(type_, name)
    fields = getattr(type_, "_fields", ())
    if name in fields and type(found) is type(_Sample.field):
        return owner.items[fields.index(name)]
    if isinstance(found, types.FunctionType) and found.__code__ is _GENERATED.get(name):
        return BuiltinMethod(owner, name)
    if isinstance(found, types.MethodDescriptorType | types.WrapperDescriptorType):
        return BuiltinMethod(owner, name)
    if name.startswith("__"):
        raise machine.unsupported("python.attribute", f".{name}", "a special attribute of a tuple")
    if type_.__dictoffset__ and owner.place is not None:
        machine.externals.guard_not_own(owner.place, _NOTHING_OWN, name)
    if found is MISSING:
        return None
    bound = bind(machine, found, owner, type_)
    if bound is not None:
        return bound
    place = machine.externals.attribute_place(machine.externals.constant_place(type_, type_.__qualname__), name)
    return machine.externals.read(place, found)
