"""Checkpoints while a gradient is recorded in plain Python.

Owns `record`. Invariant: what a checkpoint computed is forgotten when it is left, but for what it returns and what
cannot be computed again; the backward pass computes it again where it comes to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import janusjit.analysis.recorded_variables  # noqa: F401 - registers itself before
from janusjit.analysis.capture.checkpoints import enter, entered_number, leave, leave_arguments
from janusjit.analysis.declared_gradients import RECORD_CHECKPOINT
from janusjit.analysis.define_by_run import Recording, Traced, active
from janusjit.analysis.gradient_calls import TWINS
from janusjit.analysis.recording_mode import MODE
from janusjit.analysis.records import forget, next_number, records_of
from janusjit.analysis.variables import Variable
from janusjit.ir.graph import Value

_numbers = itertools.count(1)


def record(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any] | None:
    """Call a function with the marks of a checkpoint around it; None where nothing is recorded."""
    recording = active()
    if recording is None:
        return _on_variables(function, args, kwargs) if MODE.get().enabled else None
    number, nodes = next(_numbers), recording.machine.graph.body.nodes
    with recording.recording() as machine:
        passed = [value.abstract for value in _traced([*args, *kwargs.values()])]
        before = enter(machine, passed, number)
        entered = {index: machine.state.at(index).version for index in before}
        given = [_entered(recording, value, number) for value in args]
        named = {name: _entered(recording, value, number) for name, value in kwargs.items()}
    begin = len(nodes)
    result = TWINS.substitute(function)(*given, **named)
    end = len(nodes)
    with recording.recording() as machine:
        leave_arguments(machine, before, entered, number, True)
        left = _left(recording, result, number, before)
    recording.machine.forget(nodes[begin:end])
    return (left,)


def _on_variables(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any]:
    """Call a function, and forget what operations on variables computed in it."""
    first = next_number()
    result = function(*args, **kwargs)
    forget((record for variable in _variables(result) for record in records_of(variable)), first)
    return (result,)


def _variables(value: Any) -> Iterator[Variable]:
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _variables(part)


def _traced(value: Any) -> Iterator[Traced]:
    """Yield the arrays and numbers being differentiated in nested containers."""
    if isinstance(value, Traced):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _traced(part)


def _entered(recording: Recording, value: Any, number: int) -> Any:
    if not isinstance(value, Traced):
        return value
    found = entered_number(recording.machine, value.abstract, number)
    return value if found is value.abstract else Traced(recording, found)


def _left(recording: Recording, value: Any, number: int, passed: dict[int, Value]) -> Any:
    """Return a result, marked: arrays stay the objects they are."""
    if isinstance(value, Traced):
        found = leave(recording.machine, value.abstract, number, passed)
        return value if found is value.abstract else Traced(recording, found)
    if isinstance(value, tuple):
        items = [_left(recording, part, number, passed) for part in value]
        make: Any = getattr(type(value), "_make", type(value))
        return make(items)
    if isinstance(value, list):
        value[:] = [_left(recording, part, number, passed) for part in value]
    elif isinstance(value, dict):
        value.update({key: _left(recording, part, number, passed) for key, part in value.items()})
    return value


RECORD_CHECKPOINT.append(record)
