"""Arrays and numbers in nested containers.

Owns `take_apart`, which tells a value's graph values from its structure, and `fitting`, which goes through two values
that are built alike. Invariant: both come to the floats of a value in the same order, and keep nothing of the heap, so
that a join of branches between taking apart and putting together does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import as_array, new_array, read, scalar_value
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name

Make = Callable[[Machine, Iterator[Any]], AbstractValue]
"""Makes an abstract value, on any machine, of graph values for those that `take_apart` found in one, or of others."""


def none(_: AbstractValue) -> AbstractValue:
    """Return None: what stands for anything that has no derivative."""
    return NONE


def float_kind(value: AbstractValue) -> str | None:
    """Return the kind of a known float; None of anything else."""
    if not isinstance(value, Known):
        return None
    if type(value.value) is float:
        return "float"
    name = dtype_name(value.value.dtype) if isinstance(value.value, np.floating) else None
    return None if name is None else f"numpy.{name}"


def fitting(machine: Machine, like: AbstractValue, part: AbstractValue, name: str) -> Iterator[Value | None]:
    """Yield, for each array of floats and run-time float in one value, what stands there in another; None for zero.

    Raises
    ------
    PythonRaise
        TypeError, where that is not built alike or has another shape; ``name`` tells what it is.
    """
    part = machine.resolve(part)
    if not isinstance(like, Scalar):  # a number is one at run time also where no gradient reaches it any more
        like = machine.resolve(like)
    nothing = isinstance(part, Known) and part.value is None
    value = _float(machine, like)
    if value is not None:
        yield None if nothing else _fitting(machine, value, part, name)
        return
    inner = parts_of(machine, like)
    if inner is None:
        return
    parts = [NONE] * len(inner) if nothing else parts_of(machine, part)
    if parts is None or len(parts) != len(inner) or (not nothing and not _alike(machine, like, part)):
        raise machine.python_error(TypeError, f"{name} is not built like the argument")
    for one, other in zip(inner, parts, strict=True):
        yield from fitting(machine, one, other, name)


def _fitting(machine: Machine, value: Value, part: AbstractValue, name: str) -> Value:
    found = as_array(machine, part)
    if found is None:
        raise machine.python_error(TypeError, f"{name} is neither an array nor a number nor None")
    if found.type.shape != value.type.shape:
        what = f"{name} has the shape {found.type.shape}, and the argument {value.type.shape}"
        raise machine.python_error(TypeError, what)
    same = found.type.dtype == value.type.dtype
    return found if same else machine.emit("cast", found, dtype=value.type.dtype)


def _float(machine: Machine, value: AbstractValue) -> Value | None:
    """Return the graph value of an array of floats or a float known at run time."""
    if isinstance(value, ArrayValue) and value.type.is_float:
        return read(machine, value)
    return value.value if isinstance(value, Scalar) and value.value.type.is_float else None


def parts_of(machine: Machine, value: AbstractValue) -> list[AbstractValue] | None:
    """Return what is in a tuple, list, dict (by the order of the keys) or dataclass; None of anything else."""
    if isinstance(value, TupleValue):
        return list(value.items)
    if not isinstance(value, Reference):
        return None
    item = machine.heap(value)
    if isinstance(item, ListObject):
        return list(item.items)
    if isinstance(item, DictObject):
        if item.place is not None:
            machine.externals.guard_keys(item.place, tuple(item.original))
        return [item.items[key] for key in _in_order(item)]
    if isinstance(item, Instance) and hasattr(item.type_, "__dataclass_fields__"):
        return [_attribute(machine, item, value, name) for name in item.type_.__dataclass_fields__]
    return None


def _in_order(table: DictObject) -> list[Any]:
    """Return the keys of a dict, in an order that does not depend on how it was made."""
    return sorted(table.items, key=lambda key: (type(key).__name__, str(key)))


def _attribute(machine: Machine, item: Instance, reference: Reference, name: str) -> AbstractValue:
    held = item.attributes.get(name)
    if held is None and item.place is not None:
        held = machine.externals.read_attribute(item, reference.index, name)
    return NONE if held is None else held


def _alike(machine: Machine, one: AbstractValue, other: AbstractValue) -> bool:
    """Whether two containers are of one kind, with the same keys."""
    if isinstance(one, TupleValue) or isinstance(other, TupleValue):
        return type(one) is type(other)
    assert isinstance(one, Reference)
    if not isinstance(other, Reference):
        return False
    held, given = machine.heap(one), machine.heap(other)
    if isinstance(held, DictObject) and isinstance(given, DictObject):
        return held.items.keys() == given.items.keys()
    return type(held) is type(given)


def changed(machine: Machine, value: AbstractValue, change: Callable[[AbstractValue], AbstractValue]) -> AbstractValue:
    """Return a value built like another one, of what its innermost parts are changed to."""
    value = machine.resolve(value)
    parts = parts_of(machine, value)
    if parts is None:
        return change(value)
    return _putting_together(machine, value)(machine, [changed(machine, part, change) for part in parts])


def take_apart(
    machine: Machine,
    value: AbstractValue,
    floats: bool,
    known_floats: bool = False,
    otherwise: Callable[[AbstractValue], AbstractValue] = lambda value: value,
    replaced: bool = False,
) -> tuple[list[Value], Make]:
    """Return the arrays and run-time numbers in a value, and what makes such a value of others.

    Parameters
    ----------
    machine : Machine
        The machine.
    value : AbstractValue
        Tuples, lists, dicts and dataclasses of anything.
    floats : bool
        Whether only floats count.
    known_floats : bool
        Whether floats count that are known.
    otherwise : callable
        Gives what stands for everything else in what is made.
    replaced : bool
        Whether what is made is made of abstract values, which stand where the graph values were.
    """
    value = machine.resolve(value)
    found, make = _taken(machine, value, floats, known_floats)
    if found is not None:
        return [found], _next if replaced else make
    parts = parts_of(machine, value)
    if parts is None:
        if isinstance(value, Reference) and not floats and machine.heap(value).place is None:
            what = f"{type(machine.heap(value)).__name__} is kept for the backward function"
            raise machine.unsupported("gradient.rule", "custom_vjp", what)
        return [], lambda machine, values: otherwise(value)
    taken = [take_apart(machine, part, floats, known_floats, otherwise, replaced) for part in parts]
    put_together = _putting_together(machine, value)
    return [found for values, _ in taken for found in values], lambda machine, values: put_together(
        machine, [make(machine, values) for _, make in taken]
    )


def _taken(machine: Machine, value: AbstractValue, floats: bool, known_floats: bool) -> tuple[Value | None, Make]:
    """Return the graph value of an array or number that counts, and what makes such a one of another."""
    if isinstance(value, ArrayValue) and (value.type.is_float or not floats):
        return read(machine, value), lambda machine, values: new_array(machine, next(values))
    if isinstance(value, Scalar) and (value.value.type.is_float or not floats):
        return value.value, lambda machine, values: Scalar(next(values), value.kind)
    kind = float_kind(value) if known_floats else None
    number = None if kind is None else scalar_value(machine, value)
    if kind is not None and number is not None:
        return number, lambda machine, values: Scalar(next(values), kind)
    return None, lambda machine, values: value


def _next(machine: Machine, values: Iterator[Any]) -> AbstractValue:
    found: AbstractValue = next(values)
    return found


def _putting_together(
    machine: Machine, value: AbstractValue
) -> Callable[[Machine, list[AbstractValue]], AbstractValue]:
    """Return what makes a container like a given one, of its parts."""
    if isinstance(value, TupleValue):
        return lambda machine, parts: TupleValue(tuple(parts), value.type_)
    assert isinstance(value, Reference)
    item = machine.heap(value)
    if isinstance(item, ListObject):
        return lambda machine, parts: machine.state.allocate(ListObject(items=parts))
    if isinstance(item, DictObject):
        keys, kind = _in_order(item), item.type_
        order = list(item.items)

        def table(machine: Machine, parts: list[AbstractValue]) -> AbstractValue:
            held = dict(zip(keys, parts, strict=True))
            return machine.state.allocate(DictObject(items={key: held[key] for key in order}, type_=kind))

        return table
    type_: Any = item.type_
    names = list(type_.__dataclass_fields__)

    def instance(machine: Machine, parts: list[AbstractValue]) -> AbstractValue:
        return machine.state.allocate(Instance(type_=type_, attributes=dict(zip(names, parts, strict=True))))

    return instance
