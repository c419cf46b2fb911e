"""Whether two values are one object.

Owns `same_object`, `identical` and `is_one_nan`. Invariant: what two objects from outside were found to be, one or two,
is checked at every call; of numbers that are not one object for each value, no two equal ones are taken for either.
"""

from __future__ import annotations

import enum
import types

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.sameness import number_kind
from janusjit.analysis.capture.state import Instance
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    FunctionValue,
    GeneratorValue,
    HostValue,
    Known,
    ObjectsValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.ir.graph import Value
from janusjit.ir.places import Place
from janusjit.ir.types import DTYPES, TensorType


def address_at(machine: Machine, reference: Reference) -> Value | None:
    """Return the address of an instance that is known at run time only; None for any other object."""
    item = machine.heap(reference)
    return item.address if isinstance(item, Instance) else None


def same_object(machine: Machine, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left is right``, which run time tells where they are numbers."""
    left, right = machine.resolve(left), machine.resolve(right)
    if left is not right and (isinstance(left, Scalar) or isinstance(right, Scalar)):
        kinds = number_kind(left), number_kind(right)
        if kinds[0] is not None and kinds[0] == kinds[1]:
            return _same_number(machine, *kinds[0], left, right)
    return Known(identical(machine, left, right))


def _same_number(machine: Machine, kind: str, type_: TensorType, left: AbstractValue, right: AbstractValue) -> Scalar:
    """Return whether two numbers of one kind, not both known, are one object.

    There is one object for each truth value, Python's and NumPy's, and for each small int. Of other numbers, two that
    are equal may be one object or two: Python has to look.
    """
    first, second = (_number(machine, value, type_) for value in (left, right))
    equal = machine.emit("equal", first, second)
    if type_.dtype == "bool":
        return Scalar(equal, "bool")
    apart = machine.emit("logical_not", equal)
    if kind == "int":
        bounds = (constant(machine, bound, "i64") for bound in _SMALL_INTS)
        inside = [machine.emit(name, first, bound) for name, bound in zip(_WITHIN, bounds, strict=True)]
        certain = machine.emit("logical_or", apart, machine.emit("logical_and", *inside))
    elif DTYPES[type_.dtype].kind == "f":
        both_nan = machine.emit("logical_and", *(machine.emit("isnan", number) for number in (first, second)))
        certain = machine.emit("logical_and", apart, machine.emit("logical_not", both_nan))
    else:
        certain = apart
    machine.require(certain, machine.guard("value", machine.span.text or "is", "two numbers that differ"))
    return Scalar(equal, "bool")


def is_one_nan(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Whether two numbers are one NaN, which a container takes for equal to itself.

    Of numbers that are known at run time only, two that are NaN may be one object or two: Python has to look.
    """
    kinds = number_kind(left), number_kind(right)
    if kinds[0] is None or kinds[0] != kinds[1] or DTYPES[kinds[0][1].dtype].kind != "f":
        return False
    numbers = [value.value for value in (left, right) if isinstance(value, Known)]
    if any(number == number for number in numbers):
        return False
    if len(numbers) == 2:
        return identical(machine, left, right)
    values = [_number(machine, value, kinds[0][1]) for value in (left, right)]
    both = machine.emit("logical_and", *(machine.emit("isnan", value) for value in values))
    message = "two numbers that are not both NaN"
    machine.require(
        machine.emit("logical_not", both), machine.guard("value", machine.span.text or "==", message)
    )
    return False


def _number(machine: Machine, value: AbstractValue, type_: TensorType) -> Value:
    if isinstance(value, Scalar):
        return cast(machine, value.value, type_.dtype)
    assert isinstance(value, Known)
    return constant(machine, value.value, type_.dtype)


def identical(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Return ``left is right``, where capture knows it."""
    left, right = machine.resolve(left), machine.resolve(right)
    if isinstance(left, Known) and isinstance(right, Known):
        if left is not right and _may_be_two(left.value, right.value):
            raise machine.unsupported("python.equal_objects", "is", "whether equal constants are one object varies")
        return left.value is right.value
    if isinstance(left, FunctionValue) or isinstance(right, FunctionValue):
        return _same_function(machine, left, right)
    if type(left) is not type(right):
        if isinstance(left, ObjectsValue) or isinstance(right, ObjectsValue):
            raise machine.unsupported("python.identity", "is", "which objects they are is known at run time only")
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


#: the ints of which CPython has one object each, and the operations that say that a number is one of them
_SMALL_INTS = (-5, 256)
_WITHIN = ("greater_equal", "less_equal")


def _may_be_two(left: object, right: object) -> bool:
    """Whether two constants are of one value, and of a type whose equal objects may be two or one from call to call."""
    if type(left) is not type(right) or not isinstance(left, int | float | complex | str | bytes | np.generic):
        return False
    if isinstance(left, bool | np.bool_ | enum.Enum):
        return False
    if type(left) is int and _SMALL_INTS[0] <= left <= _SMALL_INTS[1]:
        return False
    return bool(left == right) or (left != left and right != right)


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
