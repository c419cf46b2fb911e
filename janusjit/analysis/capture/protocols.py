"""Python's protocols on abstract values: truth, length, equality, identity, hashing, iteration.

Owns what ``bool()``, ``len()``, ``==``, ``is``, ``in`` and ``iter()`` mean for each abstract value. Invariant: an
answer that depends on run-time data is a graph value; one that depends on an outside object's structure is guarded.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import (
    PACKED,
    bind_dim,
    constant,
    dim_value,
    guard_length,
    new_array,
    read,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.python_types import of_type, python_type, special_method
from janusjit.analysis.capture.state import (
    DictObject,
    GeneratorObject,
    GrownList,
    Instance,
    IteratorObject,
    ListObject,
    SetObject,
)
from janusjit.analysis.capture.values import (
    AbstractValue,
    AddressValue,
    ArrayValue,
    Deferred,
    DictView,
    EitherValue,
    FlatValue,
    HostValue,
    Known,
    NumbersValue,
    ObjectsValue,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.loop_iterators import LoopIterator
from janusjit.analysis.plain_types import has_plain_attributes
from janusjit.ir.dims import DimExpr
from janusjit.ir.graph import Value

#: set by `janusjit.analysis.capture.growing`: the length of a list that has grown in a loop
GROWN_LENGTH: list[Callable[..., AbstractValue]] = []
#: set by `janusjit.analysis.capture.packed`: an iterator over such a list, or None while a loop appends to it
GROWN_ITERATOR: list[Callable[..., AbstractValue | None]] = []
#: set by `janusjit.analysis.capture.calls`: call an abstract callable now and return its result
INVOKE: list[Callable[..., AbstractValue]] = []
#: set by `janusjit.analysis.capture.attributes`: read an attribute, or None where there is none
FIND_ATTRIBUTE: list[Callable[[Machine, AbstractValue, str], AbstractValue | None]] = []


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """A dict key or set item that is an instance, hashed by identity."""

    index: int


@dataclass(frozen=True, slots=True)
class AddressKey(ObjectKey):
    """A dict key or set item that is the ``id`` of an object."""


def invoke(machine: Machine, function: AbstractValue, *arguments: AbstractValue) -> AbstractValue:
    """Call an abstract callable now."""
    return INVOKE[0](machine, function, arguments, ())


def rejected(machine: Machine, what: str, message: str, *attempts: tuple[AbstractValue, str]) -> Exception:
    """Return what follows where no rule applies to an operation: TypeError, if no operand can have one either.

    Parameters
    ----------
    machine : Machine
        The machine.
    what, message : str
        The operation and the words of the TypeError.
    *attempts : tuple of AbstractValue and str
        The special methods that Python would look for. If the type of an operand has its, or is not known, the
        operation is left to Python.
    """
    for value, name in attempts:
        type_ = python_type(machine, value)
        if type_ is None or getattr(type_, name, None) is not getattr(object, name, None):
            raise machine.unsupported("python.operand", what, "there is no rule for operands of these types")
    return machine.python_error(TypeError, message)


def truth(machine: Machine, value: AbstractValue) -> bool | Value:
    """Return ``bool(value)``: a bool where known, else a ``bool[]`` graph value."""
    value = machine.settle(value)
    if isinstance(value, Known):
        own = _own_truth(machine, value)
        return bool(value.value) if own is None else own
    if isinstance(value, Scalar):
        return machine.decide(_nonzero(machine, value.value))
    if isinstance(value, EitherValue):
        return _truth_of_kind(machine, value)
    if isinstance(value, ArrayValue):
        return _array_truth(machine, value)
    if isinstance(value, TupleValue):
        return bool(value.items)
    if isinstance(value, RangeValue | DictView | NumbersValue | ObjectsValue):
        return truth(machine, length(machine, value))
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject | DictObject | SetObject | GrownList):
            return truth(machine, length(machine, value))
        if isinstance(item, Instance):
            own = _own_truth(machine, value)
            if own is not None:
                return own
    if isinstance(value, HostValue):
        raise machine.unsupported(
            "python.host_object", "truth value", f"{value.place} is an object capture cannot enter"
        )
    if isinstance(value, Deferred):
        raise deferred_used(machine)
    return True


def _own_truth(machine: Machine, value: AbstractValue) -> bool | Value | None:
    """Return the truth of an object as its class tells it; None where that says nothing."""
    method = special_method(machine, value, "__bool__")
    if method is not None:
        return truth(machine, of_type(machine, invoke(machine, method), bool, "__bool__"))
    if special_method(machine, value, "__len__") is not None:
        return truth(machine, length(machine, value))
    return None


def deferred_used(machine: Machine) -> Exception:
    """Return the failure for looking into a string made of run-time values."""
    return machine.unsupported("python.string", "str", "a string made of run-time values decides what the program does")


def _nonzero(machine: Machine, value: Value) -> Value:
    if value.type.dtype == "bool":
        return value
    return machine.emit("not_equal", value, constant(machine, 0, value.type.dtype))


def _truth_of_kind(machine: Machine, value: EitherValue) -> bool | Value:
    """Return whether a number of one of several kinds is not 0: options of one dtype are one graph value."""
    *others, (_, last) = value.options
    answer = truth(machine, last)
    for number, option in reversed(others):
        own = truth(machine, option)
        if own is answer or (isinstance(option, Scalar) and isinstance(last, Scalar) and option.value is last.value):
            continue
        is_own = machine.emit("equal", value.which, constant(machine, number, "i64"))
        either = [one if isinstance(one, Value) else constant(machine, one, "bool") for one in (own, answer)]
        answer = machine.emit("where", is_own, *either)
    return answer


def _array_truth(machine: Machine, array: ArrayValue) -> bool | Value:
    size = array.type.size
    if size == 1:
        value = read(machine, array)
        element = machine.emit("reshape", value, shape=()) if array.type.shape else value
        return machine.decide(_nonzero(machine, element))
    if isinstance(size, DimExpr):
        raise machine.unsupported("array.truth", "truth value", "the array's size varies")
    raise machine.python_error(
        ValueError, "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
    )


#: set by `janusjit.analysis.capture.run_time_objects`: the length of a list or tuple that is known at run time only
LENGTH_AT: list[Callable[[Machine, ObjectsValue], Value]] = []


def length(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return ``len(value)``."""
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        return Known(len(value.items))
    if isinstance(value, ArrayValue):
        if not value.type.shape:
            raise machine.python_error(TypeError, "len() of unsized object")
        return dim_value(machine, value.type.shape[0])
    if isinstance(value, NumbersValue):
        return dim_value(machine, value.value.type.shape[0])
    if isinstance(value, ObjectsValue):
        return Scalar(LENGTH_AT[0](machine, value), "int")
    if isinstance(value, FlatValue):
        return length(machine, value.elements)
    if isinstance(value, RangeValue):
        return range_length(machine, value)
    if isinstance(value, DictView):
        return length(machine, value.owner)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject | DictObject | SetObject | GrownList):
            return _container_length(machine, item)
    method = special_method(machine, value, "__len__")
    if method is not None:
        return _own_length(machine, of_type(machine, invoke(machine, method), int, "__len__"))
    if isinstance(value, Known):
        return Known(numbers.fold(machine, len, value.value))
    raise machine.unsupported("python.length", "len", "the length of this object is not known to capture")


def _own_length(machine: Machine, given: AbstractValue) -> AbstractValue:
    """Return what a ``__len__`` has given: Python refuses less than 0, and more than an index can be."""
    if isinstance(given, Known) and 0 <= given.value <= sys.maxsize:
        return given
    if not isinstance(given, Scalar):
        raise machine.unsupported("python.length", "__len__", "Python refuses the length it returns")
    guard = machine.guard("python.exception", "len()", "a length that is not negative")
    machine.require(machine.emit("greater_equal", given.value, constant(machine, 0, "i64")), guard)
    return given


def _container_length(machine: Machine, item: Any) -> AbstractValue:
    if isinstance(item, GrownList):
        return GROWN_LENGTH[0](machine, item, _container_length(machine, item.base))
    if item.place is None:
        return Known(len(item.items))
    grows = str(item.place) in machine.hosts.growing
    before = machine.externals.read_length(item.place, len(item.original), grows)
    grown = len(item.items) - len(item.original)
    if isinstance(before, Scalar):  # an int like any other, but that compiled code knows it as a dimension
        dim = machine.dims.get(before.value) or bind_dim(machine, before.value, "len()")
        return before if grown == 0 else dim_value(machine, dim + grown)
    return before if grown == 0 else numbers.binary(machine, "+", before, Known(grown))


def guard_structure(machine: Machine, item: Any) -> None:
    """Assume the size (for a dict: the keys) that an outside container had at entry."""
    if item.place is None:
        return
    if isinstance(item, ListObject):
        guard_length(machine, item)
    elif isinstance(item, DictObject):
        machine.externals.guard_keys(item.place, tuple(item.original))
    elif isinstance(item, SetObject) and not item.written:
        machine.externals.guard_length(item.place, len(item.original))
        for member in item.original:
            machine.externals.guard_membership(item.place, member, True)


def range_length(machine: Machine, value: RangeValue) -> AbstractValue:
    """Return the number of items of a range."""
    from_parts = (value.start, value.stop, value.step)
    if all(isinstance(part, Known) for part in from_parts):
        return Known(len(range(*(part.value for part in from_parts))))  # type: ignore[attr-defined]
    if not isinstance(value.step, Known) or value.step.value not in (1, -1):
        return Known(len(range(*(machine.constant(part, "range") for part in from_parts))))
    low, high = (value.start, value.stop) if value.step.value == 1 else (value.stop, value.start)
    if isinstance(low, Known) and low.value == 0:
        return _clamp(machine, high)
    return _clamp(machine, numbers.binary(machine, "-", high, low))


def _clamp(machine: Machine, value: AbstractValue) -> AbstractValue:
    if isinstance(value, Known):
        return Known(max(0, value.value))
    assert isinstance(value, Scalar)
    dim = machine.dims.get(value.value)
    bound = dim.lower_bound() if dim is not None else None
    if bound is not None:
        return value
    sample = max(0, value.sample) if value.sample is not None else None
    return Scalar(machine.emit("maximum", value.value, constant(machine, 0, "i64")), "int", sample=sample)


def hash_key(machine: Machine, value: AbstractValue) -> Any:
    """Return the Python object by which a dict or set finds a key."""
    value = machine.resolve(value)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, Instance) and item.address is not None:
            raise machine.unsupported("python.hash", "key", "which object the key is is known at run time only")
        if isinstance(item, Instance) and machine.externals.on_class(item, "__eq__") is object.__eq__:
            return ObjectKey(value.index)
        if isinstance(item, ListObject | DictObject | SetObject | GrownList):
            raise machine.python_error(TypeError, f"unhashable type: '{_type_name(item)}'")
        raise machine.unsupported("python.hash", "key", "the key's class defines its own equality")
    if isinstance(value, ArrayValue):
        raise machine.python_error(TypeError, "unhashable type: 'numpy.ndarray'")
    if isinstance(value, TupleValue):
        return tuple(hash_key(machine, item) for item in value.items)
    if isinstance(value, AddressValue):
        return AddressKey(value.owner.index)
    return machine.constant(value, "a key")


def holds_object(machine: Machine, key: Any) -> bool:
    """Whether a key is, or contains, an object made inside, which no container from outside can hold at entry.

    Raises
    ------
    CaptureFailure
        If it is an object from outside: which of them an outside container holds is not known.
    """
    if type(key) is tuple:
        return any(holds_object(machine, part) for part in key)
    if isinstance(key, ObjectKey) and key.index < 0:
        raise machine.unsupported(
            "python.hash", "key", "a container from outside is searched for an object from outside"
        )
    return isinstance(key, ObjectKey)


def key_value(machine: Machine, key: Any) -> AbstractValue:
    """Return the abstract value of a key that `hash_key` made, or that a container from outside holds."""
    if isinstance(key, AddressKey):
        return AddressValue(Reference(key.index))
    if isinstance(key, ObjectKey):
        return Reference(key.index)
    if type(key) is tuple:
        return TupleValue(tuple(key_value(machine, part) for part in key))
    if has_plain_attributes(type(key)):
        return machine.externals.read(machine.externals.constant_place(key, "key"), key)
    return Known(key)


def _type_name(item: Any) -> str:
    return "set" if isinstance(item, SetObject) else str(item.type_.__name__)


def iterator_over(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return ``iter(value)``."""
    value = machine.resolve(value)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, IteratorObject | GeneratorObject):
            return value
        if isinstance(item, ListObject | DictObject | SetObject):
            together = PACKED[0](machine, value, numbers=True)
            if together is not None:
                return over_numbers(machine, value, together)
            guard_structure(machine, item)
            if isinstance(item, SetObject):
                return iterator_over(machine, TupleValue(set_order(machine, item)))
            if isinstance(item, ListObject):
                changes = None if item.type_ is list else Known(item.changes)
                made = IteratorObject(kind="sequence", sources=(value,), function=changes, maker=machine.blamed())
                return machine.state.allocate(made)
            return over_dict(machine, DictView(value, "keys"))
        if isinstance(item, GrownList):
            over_grown = GROWN_ITERATOR[0](machine, value)
            if over_grown is None:
                raise machine.unsupported("python.loop", "for", "the list is read while a loop appends to it")
            return over_grown
        method = special_method(machine, value, "__iter__")
        if method is not None:
            return _own_iterator(machine, machine.resolve(invoke(machine, method)))
    if isinstance(value, NumbersValue):
        return over_numbers(machine, value, PACKED[0](machine, value, numbers=True))
    if isinstance(value, TupleValue):
        return machine.state.allocate(IteratorObject(kind="sequence", sources=(value,)))
    if isinstance(value, RangeValue):
        return machine.state.allocate(IteratorObject(kind="range", sources=(value,)))
    if isinstance(value, ObjectsValue):
        return machine.state.allocate(IteratorObject(kind="objects", sources=(value,)))
    if isinstance(value, FlatValue):
        return iterator_over(machine, value.elements)
    if isinstance(value, ArrayValue) and value.type.shape:
        return machine.state.allocate(IteratorObject(kind="rows", sources=(value,)))
    if isinstance(value, DictView):
        return over_dict(machine, value)
    if isinstance(value, Known) and type(value.value) is enum.EnumMeta:
        return iterator_over(machine, TupleValue(tuple(map(Known, value.value))))
    if isinstance(value, Known) and isinstance(value.value, str | bytes | frozenset | dict | list | tuple):
        items = tuple(Known(item) for item in value.value)
        return machine.state.allocate(IteratorObject(kind="sequence", sources=(TupleValue(items),)))
    if isinstance(value, HostValue) and type(value.value) is LoopIterator:
        return value
    if isinstance(value, HostValue):
        raise machine.unsupported(
            "python.iterator", "for", f"{value.place} is an iterator or container capture cannot enter"
        )
    attempts = ((value, "__iter__"), (value, "__getitem__"))
    raise rejected(machine, "for", "object is not iterable", *attempts)


def _own_iterator(machine: Machine, made: AbstractValue) -> AbstractValue:
    """Return what an ``__iter__`` has made, which has to be an iterator."""
    item = machine.heap(made) if isinstance(made, Reference) else made
    if isinstance(item, HostValue):
        return iterator_over(machine, made)
    if isinstance(item, IteratorObject | GeneratorObject):
        return made
    if isinstance(item, Instance) and special_method(machine, made, "__next__") is not None:
        return made
    raise machine.unsupported("python.iterator", "__iter__", "what it returns is no iterator that capture knows")


def over_numbers(
    machine: Machine, value: Reference | NumbersValue, together: Any, position: AbstractValue = Known(0)
) -> AbstractValue:
    """Return an iterator over a list of numbers whose length varies, from a position on."""
    item = machine.heap(value) if isinstance(value, Reference) else None
    known_items = item.later if isinstance(item, GrownList) else item.items if item is not None else ()
    kind = Known((together.kind, len(known_items)))
    array = new_array(machine, together.value)
    made = IteratorObject(kind="numbers", sources=(array, value), position=position, function=kind)
    return machine.state.allocate(made)


def set_order(machine: Machine, item: SetObject) -> tuple[AbstractValue, ...]:
    """Return a set's items in the order in which Python would give them."""
    if item.place is None and all(isinstance(key, ObjectKey) for key in item.items):
        # hashed by address: Python's order differs from run to run, so any order is one it could give
        return tuple(key_value(machine, key) for key in item.items)
    arbitrary = item.place is not None or item.unordered or any(isinstance(key, ObjectKey) for key in item.items)
    if len(item.items) > 1 and arbitrary and not _in_any_table(item):
        raise machine.unsupported("python.set_order", "for", "the order in which this set gives its items is arbitrary")
    replayed: set[Any] = set()
    for key in item.items:  # one by one: the size of the table, and so the order, depends on how it grew
        replayed.add(key)
    return tuple(key_value(machine, key) for key in replayed)


def _in_any_table(item: SetObject) -> bool:
    """Whether the items stand in the same order in a table of any size: small numbers, each in a place of its own."""
    return all(type(key) is int and 0 <= key < 8 for key in item.items)


def over_dict(machine: Machine, view: DictView, position: AbstractValue = Known(0)) -> Reference:
    """Return an iterator over a dict, its values or items, from a position on: what it gives is what is there then."""
    item: DictObject = machine.heap(view.owner)
    guard_structure(machine, item)
    keys = Known(tuple(item.items))
    made = IteratorObject(kind="sequence", sources=(view,), position=position, function=keys, maker=machine.blamed())
    return machine.state.allocate(made)


def dict_view_items(machine: Machine, value: DictView, keys: Iterable[Any] | None = None) -> TupleValue:
    """Return the present items of a dict view, or those of some keys."""
    item: DictObject = machine.heap(value.owner)
    guard_structure(machine, item)
    asked = list(item.items if keys is None else keys)
    if value.kind == "keys":
        return TupleValue(tuple(key_value(machine, key) for key in asked))
    values = {key: machine.resolve(item.items[key]) for key in asked}
    if value.kind == "values":
        return TupleValue(tuple(values.values()))
    return TupleValue(tuple(TupleValue((key_value(machine, key), found)) for key, found in values.items()))
