"""Calls of functions with gradients of their own, while a gradient is recorded.

Owns `record`, and how a rule's functions are run outside compiled code. Invariant: they run in plain Python, the
backward function when the backward pass comes to the call; what they do is recorded where gradients are nested, so they
may be code without source where they are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.rules import Rule
from janusjit.analysis.capture.structures import take_apart
from janusjit.analysis.capture.values import AbstractValue, TupleValue
from janusjit.analysis.declared_gradients import RECORD, holds_variable
from janusjit.analysis.eager_machine import EagerMachine

Run = Callable[[Machine, TupleValue], AbstractValue]


class Calls:
    """How the functions of a rule are called."""

    def nested(self, machine: EagerMachine) -> bool:
        """Whether a gradient may be taken of what a function does now."""
        return machine.gradients.levels != 1

    def call(self, machine: EagerMachine, function: Callable[..., Any], args: tuple[Any, ...], nested: bool) -> Any:
        """Call a function of the user's; ``nested`` says whether what it does is recorded."""
        return function(*args)


def on_arguments(calls: Calls, function: Callable[..., Any]) -> Run:
    """Return what runs a function of the user's; it sees plain values, where no further gradient can be taken."""

    def run(machine: Machine, given: TupleValue) -> AbstractValue:
        assert isinstance(machine, EagerMachine)
        recording, nested = machine.recording, calls.nested(machine)
        machine.catch_up()
        seen = tuple(map(recording.traced if nested else recording.concrete, given.items))
        found: AbstractValue = recording.abstract(calls.call(machine, function, seen, nested))
        return found

    return run


def rule_of(forward: Callable[..., Any], backward: Callable[..., Any], calls: Calls, calls_back: Calls) -> Rule:
    """Return the rule that two functions of the user's are."""
    run_backward = on_arguments(calls_back, backward)

    def pulled(machine: Machine, residuals: AbstractValue, cotangent: AbstractValue) -> AbstractValue:
        assert isinstance(machine, EagerMachine)
        if not machine.gradients.forward_passes:
            return run_backward(machine, TupleValue((residuals, cotangent)))
        recording, nested = machine.recording, calls_back.nested(machine)
        for value in take_apart(machine, cotangent, floats=True)[0]:
            machine.differentiate_by(value)  # what is done to it is transposed
        machine.catch_up()
        kept = recording.traced(residuals) if nested else recording.concrete(residuals)
        seen = (kept, recording.traced(cotangent))
        found: AbstractValue = recording.abstract(calls_back.call(machine, backward, seen, nested))
        return found

    return Rule(on_arguments(calls, forward), pulled)


_CALLS = Calls()


def record(
    recording: Any,
    function: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Call a function, or ``forward`` in its place; ``backward`` gives the gradient."""
    with recording.recording() as machine:
        rule = rule_of(forward, backward, _CALLS, _CALLS)
        given = TupleValue(tuple(map(recording.abstract, args)))
        found = rule.call(machine, on_arguments(_CALLS, function), given)
    result = recording.traced(found)
    return DRESS[0](result) if holds_variable(args) else result


RECORD.append(record)
#: set by `janusjit.analysis.recorded_variables`: makes variables of the arrays of a result, where an argument is one
DRESS: list[Callable[[Any], Any]] = []
