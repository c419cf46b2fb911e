"""Calls of functions with gradients of their own on variables, outside compiled code.

Owns `record`. Invariant: such a call is one recorded operation; its functions see plain arrays, or, where a gradient of
its gradient may be taken, values that record what is done to them; on variables they record nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.values import AbstractValue, TupleValue
from janusjit.analysis.declared_gradients import RECORD_ON_VARIABLES
from janusjit.analysis.define_by_run import activate, active
from janusjit.analysis.eager_machine import EagerMachine
from janusjit.analysis.gradient_calls import TWINS
from janusjit.analysis.recorded_rules import Calls, on_arguments, rule_of
from janusjit.analysis.recorded_variables import Operation
from janusjit.analysis.recording_mode import MODE, no_grad


class _Unrecorded(Calls):
    """Calls under `no_grad`.

    Parameters
    ----------
    taped : bool, optional
        Whether a tape may record the backward pass; None says that this is it.
    """

    def __init__(self, taped: bool | None) -> None:
        self._taped = taped

    def nested(self, machine: EagerMachine) -> bool:
        """Whether a gradient of `janusjit.grad` is under way, or a tape may want one."""
        mode = MODE.get()
        taped = mode.enabled and bool(mode.tapes) if self._taped is None else self._taped
        return taped or machine.gradients.levels > 0

    def call(self, machine: EagerMachine, function: Callable[..., Any], args: tuple[Any, ...], nested: bool) -> Any:
        """Call a function; a tape that wants more counts as a gradient under way."""
        with no_grad():
            if not nested:
                return function(*args)
            outer, recording = active(), machine.recording
            machine.gradients.levels += 1
            activate(recording)
            try:
                return TWINS.substitute(function)(*args)
            finally:
                activate(outer)
                machine.gradients.levels -= 1
                if outer is None:
                    recording.stored.settle()


def record(
    function: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """Call a function, or ``forward`` in its place; ``backward`` gives the gradient."""
    tapes = MODE.get().tapes
    calls = _Unrecorded(len(tapes) > 1 or any(tape.persistent for tape in tapes))
    rule = rule_of(forward, backward, calls, _Unrecorded(None))
    with Operation(python_floats=True) as operation:

        def apply(machine: Machine) -> AbstractValue:
            given = TupleValue(tuple(map(operation.recording.abstract, args)))
            return rule.call(machine, on_arguments(calls, function), given)

        return operation.run(apply)


RECORD_ON_VARIABLES.append(record)
