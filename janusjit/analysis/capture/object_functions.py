"""Models of the functions that work on objects and functions: ``isinstance``, ``getattr``, ``functools``, ``copy``.

Owns the entries of `MODELS` for them. Invariant: what a model learns of an outside object is guarded.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
from collections.abc import Sequence
from types import UnionType
from typing import Any

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.arrays import new_array, read
from janusjit.analysis.capture.attributes import attribute_or_none, get_attribute, set_attribute, write_instance
from janusjit.analysis.capture.calls import invoke, models
from janusjit.analysis.capture.identity import identical
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.methods import OBJECT_SETATTR
from janusjit.analysis.capture.protocols import guard_structure
from janusjit.analysis.capture.python_types import python_type, special_method
from janusjit.analysis.capture.state import DictObject, GeneratorObject, Instance, IteratorObject, ListObject, SetObject
from janusjit.analysis.capture.values import (
    NONE,
    TRUE,
    AbstractValue,
    AddressValue,
    ArrayValue,
    BuiltinMethod,
    Deferred,
    FunctionValue,
    Known,
    MethodValue,
    ModelledCallable,
    RangeValue,
    Reference,
    Scalar,
    SuperValue,
    TupleValue,
)
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]
OBJECT_SETATTR.append(write_instance)


@models(isinstance)
def _model_isinstance(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value, wanted = machine.resolve(arguments[0]), arguments[1]
    classes = machine.constant(wanted, "a class")
    _guard_checks(machine, classes, "__instancecheck__")
    if isinstance(value, Known):
        return Known(isinstance(value.value, classes))
    if isinstance(value, Deferred):
        return Known(isinstance("", classes))
    type_ = python_type(machine, value)
    if type_ is None:
        raise machine.unsupported("python.builtin", "isinstance", "the class of the object is not known to capture")
    return Known(issubclass(type_, classes))


@models(issubclass)
def _model_issubclass(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    class_, classes = (machine.constant(a, "a class") for a in arguments)
    _guard_checks(machine, classes, "__subclasscheck__")
    return Known(numbers.fold(machine, issubclass, class_, classes))


def _guard_checks(machine: Machine, classes: Any, name: str) -> None:
    """Assume that metaclasses go on to judge as they do what belongs to their classes."""
    for class_ in classes if isinstance(classes, tuple) else (classes,):
        if isinstance(class_, tuple | UnionType):
            _guard_checks(machine, getattr(class_, "__args__", class_), name)
        elif type(class_) is not type:
            found = machine.externals.on_type(type(class_), name)
            if found not in (type.__dict__[name], abc.ABCMeta.__dict__[name]):
                raise machine.unsupported("python.builtin", "isinstance", "a metaclass says what belongs to its class")


@models(type)
def _model_type(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    type_ = python_type(machine, arguments[0]) if len(arguments) == 1 else None
    if type_ is None:
        raise machine.unsupported("python.builtin", "type", "the class of the object is not known to capture")
    return Known(type_)


@models(id)
def _model_id(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = machine.resolve(arguments[0])
    item = machine.heap(value) if isinstance(value, Reference) else None
    if item is None or isinstance(item, IteratorObject | GeneratorObject) or getattr(item, "address", None) is not None:
        raise machine.unsupported("python.builtin", "id", "the address of an object of this kind")
    assert isinstance(value, Reference)
    return AddressValue(value)


@models(callable)
def _model_callable(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = machine.resolve(arguments[0])
    if isinstance(value, Known):
        return Known(callable(value.value))
    if isinstance(value, FunctionValue | MethodValue | ModelledCallable | BuiltinMethod):
        return TRUE
    type_ = python_type(machine, value)
    if type_ is None or (isinstance(value, Reference) and isinstance(machine.heap(value), Instance)):
        return Known(special_method(machine, value, "__call__") is not None)
    return Known(machine.externals.on_type(type_, "__call__") is not MISSING)


@models(getattr)
def _model_getattr(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    name = machine.constant(arguments[1], "an attribute name")
    if len(arguments) == 2:
        return get_attribute(machine, arguments[0], name)
    found = attribute_or_none(machine, arguments[0], name)
    return machine.resolve(found) if found is not None else arguments[2]


@models(setattr)
def _model_setattr(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    set_attribute(machine, arguments[0], machine.constant(arguments[1], "an attribute name"), arguments[2])
    return NONE


@models(hasattr)
def _model_hasattr(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    name = machine.constant(arguments[1], "an attribute name")
    return Known(attribute_or_none(machine, arguments[0], name) is not None)


@models(super)
def _model_super(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    type_ = machine.constant(arguments[0], "a class")
    return SuperValue(type_, arguments[1])


@models(functools.partial, keywords=None)
def _model_partial(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    function, bound = arguments[0], list(arguments[1:])

    def call_bound(inner: Machine, more: Arguments, named: Named) -> AbstractValue:
        return invoke(inner, function, [*bound, *more], list({**keywords, **named}.items()))

    return ModelledCallable("functools.partial", call_bound)


@models(functools.reduce)
def _model_reduce(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    items = draw_all(machine, arguments[1])
    if len(arguments) > 2:
        items.insert(0, arguments[2])
    if not items:
        raise machine.python_error(TypeError, "reduce() of empty iterable with no initial value")
    total = items[0]
    for item in items[1:]:
        total = invoke(machine, arguments[0], [total, item], ())
    return total


@models(functools.wraps, keywords=None)
def _model_wraps(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    def renamed(inner: Machine, more: Arguments, named: Named) -> AbstractValue:
        if not isinstance(more[0], FunctionValue):
            raise inner.unsupported("python.builtin", "functools.wraps", "a function from outside is renamed")
        return dataclasses.replace(more[0], wraps=True)

    return ModelledCallable("functools.wraps", renamed)


#: what has been copied, and the copies
Copies = list[tuple[AbstractValue, AbstractValue]]
#: objects that one call of ``copy.deepcopy`` copies in the graph: each is compared with those before
MOST_COPIES = 40


@models(copy.copy)
def _model_copy(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _copy(machine, arguments[0], [], deep=False)


@models(copy.deepcopy)
def _model_deepcopy(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _copy(machine, arguments[0], [], deep=True)


def _copy(machine: Machine, value: AbstractValue, memo: Copies, deep: bool) -> AbstractValue:
    value = machine.resolve(value)
    if isinstance(value, Known | Scalar | RangeValue | FunctionValue):
        return value
    if isinstance(value, ArrayValue):
        made = _copied_before(machine, value, memo, deep)
        if made is None:
            made = new_array(machine, machine.emit("copy", read(machine, value)))
            memo.append((value, made))
        return made
    if isinstance(value, TupleValue):
        if not deep:
            return value
        return TupleValue(tuple(_copy(machine, item, memo, deep) for item in value.items), value.type_)
    if not isinstance(value, Reference):
        raise machine.unsupported("python.copy", "copy", "an object of this kind is copied")
    made = _copied_before(machine, value, memo, deep)
    if made is None:
        _check_copied(machine, machine.heap(value))
        made = machine.state.allocate(machine.heap(value).__class__())
        memo.append((value, made))
        _fill_copy(machine, machine.heap(value), made, memo, deep)
    return made


def _check_copied(machine: Machine, item: Any) -> None:
    """See that copying an object means copying its attributes: its class says nothing else."""
    for name in _COPYING if isinstance(item, Instance) else ():
        if machine.externals.on_class(item, name) is not find_on_type(object, name):
            raise machine.unsupported("python.copy", "copy", f"its class has a {name} of its own")


#: what a class may have that says how its instances are copied
_COPYING = (
    *("__copy__", "__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__setstate__"),
    *("__getnewargs__", "__getnewargs_ex__", "__new__"),
)


def _copied_before(machine: Machine, value: AbstractValue, memo: Copies, deep: bool) -> AbstractValue | None:
    """Return the copy of an object that has been copied before; that it is none of the others stays so."""
    if deep and len(memo) > MOST_COPIES:
        raise machine.unsupported("python.copy", "copy", "many objects are copied, of which some may be one")
    same = (made for other, made in memo if type(other) is type(value) and identical(machine, other, value))
    return next(same, None)


def _fill_copy(machine: Machine, item: Any, made: Any, memo: Copies, deep: bool) -> None:
    def inner(value: AbstractValue) -> AbstractValue:
        return _copy(machine, value, memo, deep) if deep else machine.resolve(value)

    target = machine.heap(made)
    if isinstance(item, ListObject):
        guard_structure(machine, item)
        target.items = [inner(value) for value in item.items]
        target.type_, target.limit = item.type_, item.limit
    elif isinstance(item, DictObject):
        guard_structure(machine, item)
        target.items = {key: inner(value) for key, value in item.items.items()}
        target.type_, target.default_factory = item.type_, item.default_factory
    elif isinstance(item, SetObject):
        guard_structure(machine, item)
        target.items, target.unordered = dict(item.items), True
    elif isinstance(item, Instance) and item.live is item.address is None:
        target.type_ = item.type_
        target.attributes = {name: inner(value) for name, value in item.attributes.items()}
    else:
        raise machine.unsupported("python.copy", "copy", "an object from outside is copied")


@models(dataclasses.replace, keywords=None)
def _model_dataclass_replace(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = machine.resolve(arguments[0])
    type_ = python_type(machine, value)
    if type_ is None or not dataclasses.is_dataclass(type_):
        raise machine.unsupported("python.builtin", "dataclasses.replace", "the object is not a dataclass's")
    fields = [f.name for f in dataclasses.fields(type_) if f.init]
    named = [(name, keywords[name] if name in keywords else get_attribute(machine, value, name)) for name in fields]
    return invoke(machine, Known(type_), [], named)
