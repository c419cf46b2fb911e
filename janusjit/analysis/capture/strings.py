"""Strings.

Owns f-strings, ``%`` and ``str`` methods. Invariant: a string of constants is computed at capture; one that shows
run-time values is `Deferred`: a pure function of snapshots, evaluated when an exit makes its result or prints it, and
never looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from janusjit.analysis.capture.arrays import new_array, read
from janusjit.analysis.capture.containers import from_python
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.methods import STRING_METHOD
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.operators import FORMAT
from janusjit.analysis.capture.state import Instance, ListObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Deferred,
    EitherValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
    concrete,
    known,
)
from janusjit.analysis.core import BuildString, Format

#: methods of strings that give strings
_TEXT_METHODS = frozenset({"center", "format", "join", "ljust", "replace", "rjust", "zfill"})
_FORMATTED = (Deferred, Scalar, EitherValue, ArrayValue, TupleValue, Known, Reference)


def snapshot(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return a value that later writes do not change."""
    value = machine.settle(value)
    if isinstance(value, ArrayValue):
        return new_array(machine, machine.emit("copy", read(machine, value)))
    if isinstance(value, TupleValue):
        return TupleValue(tuple(snapshot(machine, item) for item in value.items), value.type_)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, Instance):
            raise machine.unsupported("python.format", "format", "an object's own formatting is used")
        if isinstance(item, ListObject) and item.type_ is list:
            items = [snapshot(machine, inner) for inner in draw_all(machine, value)]
            return machine.state.allocate(ListObject(items=items))
        raise machine.unsupported("python.format", "format", "a container of run-time values is formatted")
    return value


def defer(machine: Machine, function: Callable[..., Any], arguments: Sequence[AbstractValue]) -> AbstractValue:
    """Return ``function(*arguments)`` of a pure function: now if all is known, else at the exit."""
    if all(map(known, arguments)):
        return from_python(machine, fold(machine, function, *map(concrete, arguments)))
    if any(isinstance(argument, _FORMATTED) for argument in arguments):
        return Deferred(function, tuple(snapshot(machine, argument) for argument in arguments))
    raise machine.unsupported("python.format", "format", "a value of this kind is formatted")


FORMAT.append(defer)


def _format(value: Any, conversion: str, specification: str) -> str:
    converters: dict[str, Callable[[Any], Any]] = {"r": repr, "s": str, "a": ascii}
    convert = converters.get(conversion)
    return format(value if convert is None else convert(value), specification)


@executes(Format)
def execute_format(machine: Machine, instruction: Format) -> None:
    """One replacement field of an f-string."""
    arguments = (
        machine.hand_on(instruction.value),
        Known(instruction.conversion),
        machine.get(instruction.specification),
    )
    machine.set(instruction.target, defer(machine, _format, arguments))


def _join(*parts: str) -> str:
    return "".join(parts)


@executes(BuildString)
def execute_build_string(machine: Machine, instruction: BuildString) -> None:
    """An f-string."""
    machine.set(instruction.target, defer(machine, _join, [machine.get(part) for part in instruction.parts]))


def string_method(
    machine: Machine, owner: Any, name: str, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """A method of a str, bytes or number known at capture."""
    method = getattr(owner, name)
    if not (isinstance(owner, str) and name in _TEXT_METHODS) and not all(map(known, (*arguments, *keywords.values()))):
        raise machine.unsupported("python.string", f".{name}()", "it looks into a string made of run-time values")
    if name == "join" and isinstance(owner, str):
        arguments = draw_all(machine, arguments[0])
        return defer(machine, lambda *parts: owner.join(parts), arguments)
    if keywords:
        names = list(keywords)
        positional = len(arguments)

        def with_keywords(*values: Any) -> Any:
            return method(*values[:positional], **dict(zip(names, values[positional:], strict=True)))

        return defer(machine, with_keywords, [*arguments, *keywords.values()])
    return defer(machine, method, arguments)


STRING_METHOD.append(string_method)
