"""Calls of functions with gradients of their own, while a gradient is recorded.

Owns `record`. Invariant: the rule's functions run in plain Python, the backward function when the backward pass comes
to the call; what they do is recorded, so that gradients nest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.rules import Rule
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

    def on_arguments(called: Callable[..., Any]) -> Callable[[TupleValue], AbstractValue]:
        def run(given: TupleValue) -> AbstractValue:
            recording.machine.catch_up()
            found: AbstractValue = recording.abstract(called(*map(recording.traced, given.items)))
            return found

        return run

    def run_backward(residuals: AbstractValue, cotangent: AbstractValue) -> AbstractValue:
        return on_arguments(backward)(TupleValue((residuals, cotangent)))

    with recording.recording() as machine:
        rule = Rule(machine, on_arguments(forward), run_backward)
        found = rule.call(on_arguments(function), TupleValue(tuple(map(recording.abstract, args))))
    return recording.traced(found)


RECORD.append(record)
