"""Gradient functions called in plain Python.

Owns how a `Differentiated` function is run outside compiled code. Invariant: the function runs as it stands, on values
that record what is done to them; when the gradient is done, what it wrote holds plain arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture import arrays
from janusjit.analysis.capture.gradients import differentiate
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known
from janusjit.analysis.define_by_run import LOST, GradientError, Recording, Traced, activate, active
from janusjit.analysis.differentiated import EAGER, Differentiated
from janusjit.analysis.recorded_code import RecordingTwins
from janusjit.analysis.twin import RECORDING
from janusjit.ir.graph import Value

__all__ = ["GradientError", "Operands"]

TWINS = RecordingTwins(active)
RECORDING.append(lambda profile: RecordingTwins(active, profile))


def _run(function: Differentiated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a gradient function in plain Python."""
    outer = active()
    recording = Recording() if outer is None else outer
    activate(recording)
    operands = Operands(recording)
    called = TWINS.substitute(function.function)

    def run(given: list[AbstractValue], named: dict[str, AbstractValue]) -> AbstractValue:
        passed = kwargs | {name: recording.traced(value) for name, value in named.items()}
        return recording.abstract(called(*map(recording.traced, given), **passed))

    try:
        positional, named = operands.of(function, args, kwargs)
        with recording.recording() as machine:
            result = differentiate(machine, function, positional, named, run)
            recording.machine.evaluate()
        return recording.concrete(result) if outer is None else recording.traced(result)
    finally:
        activate(outer)
        operands.write_back(nested=outer is not None)
        if outer is None:
            recording.ended = True
            recording.stored.settle()


class Operands:
    """What a gradient function is called with.

    Arrays that it does not differentiate by may be written: they get what was written when the gradient is done.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._arrays: dict[int, tuple[np.ndarray[Any, Any], ArrayValue, Value]] = {}

    def of(
        self, function: Differentiated, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[AbstractValue], dict[str, AbstractValue]]:
        """Return the abstract values of the positional arguments, and of those that are differentiated by name."""
        own = len(args) - function.seeded
        chosen = function.chosen(own, frozenset(kwargs))
        places = {place + (own if place < 0 else 0) + function.seeded for place in chosen if isinstance(place, int)}
        if function.seeded:
            places.add(0)
        abstract = self._recording.abstract
        positional = [abstract(item) if i in places else self._passed(item) for i, item in enumerate(args)]
        return positional, {name: abstract(kwargs[name]) for name in function.names if name in kwargs}

    def _passed(self, value: Any) -> AbstractValue:
        """Return what is not differentiated by: as it is, but for arrays that may come to hold what is."""
        if isinstance(value, Traced):
            return self._recording.abstract(value)
        if type(value) is not np.ndarray or value.dtype not in (np.float64, np.float32):
            return Known(value)
        if id(value) not in self._arrays:
            made = self._recording.constant(value).abstract
            assert isinstance(made, ArrayValue)
            self._arrays[id(value)] = (value, made, arrays.read(self._recording.machine, made))
        return self._arrays[id(value)][1]

    def write_back(self, nested: bool) -> None:
        """Write into the arrays that were passed what was written.

        Raises
        ------
        GradientError
            If such an array shares memory with another one that was passed.
        TypeError
            If this is part of another gradient, which would not see what was written.
        """
        machine = self._recording.machine
        for array, passed, before in self._arrays.values():
            written = arrays.read(machine, passed)
            if written is before:
                continue
            if nested and written in machine.activity:
                raise TypeError(LOST)
            others = (other for other, *_ in self._arrays.values() if other is not array)
            if any(np.may_share_memory(array, other) for other in others):
                raise GradientError("autodiff.overlap", "an array was written, and another argument is part of it")
            np.copyto(array, machine.values[written])


EAGER.append(_run)
