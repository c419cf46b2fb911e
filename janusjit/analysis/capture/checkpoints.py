"""Calls whose intermediate values are computed again in the backward pass.

Owns the model of `call_checkpointed`, and the marks around such a call. Invariant: the arrays that are passed stay the
objects they are; while the function runs, their contents have come through the mark of the entrance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from janusjit.analysis.capture.calls import invoke, models
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DictObject, ListObject
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Reference, Scalar, TupleValue
from janusjit.analysis.declared_gradients import call_checkpointed
from janusjit.ir.graph import Value


@models(call_checkpointed)
def _model_checkpointed(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    function, positional, named = (machine.resolve(argument) for argument in arguments)
    assert isinstance(positional, TupleValue)
    assert isinstance(named, Reference)
    passed = dict(machine.heap(named).items)
    number, region = len(machine.births), machine.region
    before = enter(machine, [*positional.items, *passed.values()], number)
    entered = {index: machine.state.at(index).version for index in before}
    given = [entered_number(machine, item, number) for item in positional.items]
    with_names = {name: entered_number(machine, item, number) for name, item in passed.items()}
    result = machine.resolve(invoke(machine, function, given, [*with_names.items()]))
    leave_arguments(machine, before, entered, number, machine.region is region)
    return leave(machine, result, number, before) if machine.region is region else result


def _arrays(machine: Machine, value: AbstractValue) -> Iterator[ArrayValue]:
    """Yield the arrays of floats in nested containers."""
    value = machine.resolve(value)
    if isinstance(value, ArrayValue) and value.type.is_float:
        yield value
    elif isinstance(value, TupleValue):
        for item in value.items:
            yield from _arrays(machine, item)
    elif isinstance(value, Reference):
        held = machine.heap(value)
        if isinstance(held, ListObject | DictObject):
            for item in held.items.values() if isinstance(held, DictObject) else held.items:
                yield from _arrays(machine, item)


def enter(machine: Machine, values: Sequence[AbstractValue], number: int) -> dict[int, Value]:
    """Mark where a checkpoint begins, and the contents of the arrays passed; return what they were, by storage."""
    machine.emit("checkpoint_enter", machine.emit("constant", value=0.0, dtype="f64"), number=number)
    before: dict[int, Value] = {}
    for value in values:
        for array in _arrays(machine, value):
            storage = machine.state.at(array.storage)
            if array.storage not in before and storage.mirrors is None:
                before[array.storage] = storage.version
                storage.version = machine.emit("checkpoint_enter", storage.version, number=number)
    return before


def leave_arguments(
    machine: Machine, before: dict[int, Value], entered: dict[int, Value], number: int, joined: bool
) -> None:
    """Let the arrays passed be what they were, and mark the contents of those that have been written."""
    for index, version in before.items():
        if index not in machine.state.heap and index not in machine.state.templates:
            continue  # nothing refers to it behind a join of branches
        storage = machine.state.at(index)
        if storage.version is entered[index]:
            storage.version = version
        elif joined:
            storage.version = machine.emit("checkpoint_leave", storage.version, number=number)


def entered_number(machine: Machine, value: AbstractValue, number: int) -> AbstractValue:
    """Return a number passed, marked; anything else as it is."""
    value = machine.resolve(value)
    if isinstance(value, Scalar) and value.value.type.is_float:
        return Scalar(machine.emit("checkpoint_enter", value.value, number=number), value.kind, sample=value.sample)
    return value


def leave(machine: Machine, value: AbstractValue, number: int, passed: dict[int, Value]) -> AbstractValue:
    """Mark what is returned; arrays from outside stay as they came in, those that were passed are marked already."""
    value = machine.resolve(value)
    if isinstance(value, Scalar) and value.value.type.is_float:
        return Scalar(machine.emit("checkpoint_leave", value.value, number=number), value.kind, sample=value.sample)
    if isinstance(value, TupleValue):
        return TupleValue(tuple(leave(machine, item, number, passed) for item in value.items), value.type_)
    for array in _arrays(machine, value):
        storage = machine.state.at(array.storage)
        if array.storage >= 0 and array.storage not in passed and storage.mirrors is None:
            storage.version = machine.emit("checkpoint_leave", storage.version, number=number)
    return value
