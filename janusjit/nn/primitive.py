"""Functions that are one operation of the graph.

Owns `primitive` and `detach`. Invariant: a primitive called on plain arrays is its eager function; on values that are
being differentiated, and in compiled code, it is its model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from janusjit.analysis.capture.arrays import new_array, read
from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import by_signature
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Scalar
from janusjit.analysis.capture.variables import OVERRIDDEN, opened
from janusjit.analysis.variables import Variable


def primitive(model: Callable[..., AbstractValue]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the decorator of an eager function that says what capture makes of it.

    Parameters
    ----------
    model : callable
        ``model(machine, *arguments)``, with the parameters of the eager function; the array comes first.
    """

    def register(eager: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(eager)
        def function(input: Any, *args: Any) -> Any:
            for one in (input, *args):
                recording = getattr(one, "recording", None)  # not by type: to nn's functions it has an array's
                if recording is not None:
                    return recording.call(function, (input, *args), {})
            return eager(input, *args)

        MODELS[function] = by_signature(model, eager.__name__)
        OVERRIDDEN.add(function)
        return function

    return register


def _model_detach(machine: Machine, input: AbstractValue) -> AbstractValue:
    value = opened(machine, input, False)
    if isinstance(value, ArrayValue):
        return new_array(machine, machine.emit("stop_gradient", read(machine, value)))
    if isinstance(value, Scalar):
        return Scalar(machine.emit("stop_gradient", value.value), value.kind, sample=value.sample)
    return value


def _detach(input: Any) -> Any:
    if isinstance(input, Variable):
        return input.data
    return input if getattr(input, "recording", None) is None else input.value


MODELS[_detach] = by_signature(_model_detach, "detach")

#: the plain array behind a value that is being differentiated: no derivative flows through it
detach = _detach
