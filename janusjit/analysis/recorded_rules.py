"""Calls of functions with gradients of their own, while a gradient is recorded.

Owns `record`. Invariant: the rule's functions run in plain Python, the backward function when the backward pass comes
to the call; what they do is recorded where gradients are nested, so they may be code without
source where they are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.rules import Rule
from janusjit.analysis.capture.structures import take_apart
from janusjit.analysis.capture.values import AbstractValue, TupleValue
from janusjit.analysis.declared_gradients import RECORD


def record(
    recording: Any,
    function: Callable[..., Any],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: tuple[Any, ...],
) -> Any:
    """Call a function, or ``forward`` in its place; ``backward`` gives the gradient."""
    gradients = recording.machine.gradients

    def seen(value: AbstractValue) -> Any:
        """Return a value as the user's functions see it: plain, where no further gradient can be taken of it."""
        return recording.concrete(value) if gradients.levels == 1 else recording.traced(value)

    def on_arguments(called: Callable[..., Any]) -> Callable[[TupleValue], AbstractValue]:
        def run(given: TupleValue) -> AbstractValue:
            recording.machine.catch_up()
            found: AbstractValue = recording.abstract(called(*map(seen, given.items)))
            return found

        return run

    def run_backward(residuals: AbstractValue, cotangent: AbstractValue) -> AbstractValue:
        if not gradients.forward_passes:
            return on_arguments(backward)(TupleValue((residuals, cotangent)))
        for value in take_apart(recording.machine, cotangent, floats=True)[0]:
            recording.machine.differentiate_by(value)  # what is done to it is transposed
        recording.machine.catch_up()
        found: AbstractValue = recording.abstract(backward(seen(residuals), recording.traced(cotangent)))
        return found

    with recording.recording() as machine:
        rule = Rule(machine, on_arguments(forward), run_backward)
        found = rule.call(on_arguments(function), TupleValue(tuple(map(recording.abstract, args))))
    return recording.traced(found)


RECORD.append(record)
