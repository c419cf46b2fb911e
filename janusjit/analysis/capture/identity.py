"""Whether two values are one object.

Owns `identical`. Invariant: what two objects from outside were found to be, one or two, is checked at every call.
"""

from __future__ import annotations

import types

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    FunctionValue,
    GeneratorValue,
    HostValue,
    Known,
    Reference,
    TupleValue,
)
from janusjit.ir.graph import Value
from janusjit.ir.places import Place


def address_at(machine: Machine, reference: Reference) -> Value | None:
    """Return the address of an instance that is known at run time only; None for any other object."""
    item = machine.heap(reference)
    return item.address if isinstance(item, Instance) else None


def identical(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Return ``left is right``."""
    left, right = machine.resolve(left), machine.resolve(right)
    if isinstance(left, Known) and isinstance(right, Known):
        return left.value is right.value
    if isinstance(left, FunctionValue) or isinstance(right, FunctionValue):
        return _same_function(machine, left, right)
    if type(left) is not type(right):
        if isinstance(left, HostValue) or isinstance(right, HostValue):
            other = right if isinstance(left, HostValue) else left
            if isinstance(other, Known) and (other.value is None or isinstance(other.value, bool | int | float | str)):
                return False
            raise machine.unsupported("python.identity", "is", "an object from outside is compared by identity")
        return False
    if isinstance(left, Reference) and isinstance(right, Reference):
        if left.index != right.index and any(address_at(machine, one) is not None for one in (left, right)):
            raise machine.unsupported("python.identity", "is", "which objects they are is known at run time only")
        if left.index != right.index:
            _guard_distinct(machine, machine.heap(left).place, machine.heap(right).place)
        return left.index == right.index
    if isinstance(left, ArrayValue) and isinstance(right, ArrayValue):
        if left.place is not None and left.place is right.place:
            return True
        if any(machine.state.at(value.storage).outside is not None for value in (left, right)):
            raise machine.unsupported("python.identity", "is", "whether the array is the caller's own varies")
        if left.identity != right.identity and _may_be_one(machine, left, right):
            raise machine.unsupported("python.identity", "is", "whether the arrays are one is known at run time only")
        _guard_distinct(machine, left.place, right.place)
        return left.identity == right.identity
    if isinstance(left, GeneratorValue) and isinstance(right, GeneratorValue):
        _guard_distinct(machine, left.place, right.place)
        return left.identity == right.identity
    if isinstance(left, TupleValue) and isinstance(right, TupleValue) and left.place is not None:
        return left.place is right.place
    if left is right:
        return True
    raise machine.unsupported("python.identity", "is", "the identity of these values is not known to capture")


def _may_be_one(machine: Machine, left: ArrayValue, right: ArrayValue) -> bool:
    """Whether two arrays that capture tells apart may be one object."""
    if left.storage == right.storage:
        return left.joined or right.joined
    live = [machine.externals.live_array(array.storage) for array in (left, right)]
    if live[0] is not None and live[0] is live[1]:
        return True
    listed = [machine.state.at(array.storage).listed for array in (left, right)]
    in_one_list = all(one is not None for one in listed) and len({(one.owner, one.buffer) for one in listed}) == 1
    return in_one_list or frozenset((left.storage, right.storage)) in machine.joined


def _same_function(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Whether two values, one of them a function that is known by what it is made of, are one object."""
    if isinstance(left, FunctionValue) and isinstance(right, FunctionValue) and left.identity == right.identity:
        return True
    places = []
    for value in (left, right):
        if isinstance(value, FunctionValue) and isinstance(value.made, HostValue):
            places.append(value.made.place)
        elif isinstance(value, Known) and isinstance(value.value, types.FunctionType):
            places.append(machine.externals.constant_place(value.value, value.value.__qualname__))
    if len(places) == 2:
        _guard_distinct(machine, *places)
    return False


def _guard_distinct(machine: Machine, left: Place | None, right: Place | None) -> None:
    """Two outside objects were found to be two: assume that they stay so."""
    if left is not None and right is not None and left is not right:
        machine.externals.guard_distinct(left, right)
