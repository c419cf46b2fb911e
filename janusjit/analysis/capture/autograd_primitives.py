"""Functions whose derivative a program declares to the package `autograd`.

Owns `declared_model`, which makes a function wrapped by ``autograd.extend.primitive`` and given a derivative by
``defvjp`` one with a rule of its own in the graph. Invariant: the rule is made of the very functions that autograd
would call, in the way it calls them; what is declared in another way is left to autograd.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from janusjit.analysis.capture.calls import invoke
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.rules import Rule
from janusjit.analysis.capture.structures import take_apart
from janusjit.analysis.capture.values import NONE, AbstractValue, Known, ModelledCallable, TupleValue

#: position of an argument → autograd's function of the result and the arguments that gives the pullback by it
Makers = dict[int, Callable[..., Any]]


def declared_model(function: types.FunctionType) -> ModelledCallable | None:
    """Return what capture takes a primitive with a derivative of the program's own for; None if it cannot tell."""
    makers = _makers(function)
    if makers is None:
        return None
    raw = Known(vars(function)["fun"])

    def call(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        named = tuple(keywords.items())
        active = [number for number, argument in enumerate(arguments) if _differentiates(machine, argument)]
        if not active:
            return invoke(machine, raw, arguments, named)
        for number in active:
            if number not in makers:
                what = f"autograd has no derivative of {function.__name__} by argument {number}"
                raise machine.unsupported("gradient.declared", f"{function.__name__}()", what)

        def forward(machine: Machine, given: TupleValue) -> AbstractValue:
            result = invoke(machine, raw, given.items, named)
            return TupleValue((result, TupleValue((result, *given.items))))

        def backward(machine: Machine, needed: AbstractValue, cotangent: AbstractValue) -> AbstractValue:
            assert isinstance(needed, TupleValue)
            found: list[AbstractValue] = [NONE] * len(arguments)
            for number in active:
                pullback = invoke(machine, Known(makers[number]), needed.items, named)
                found[number] = invoke(machine, pullback, [cotangent], ())
            return TupleValue(tuple(found))

        def apply(machine: Machine, given: TupleValue) -> AbstractValue:
            return invoke(machine, raw, given.items, named)

        return Rule(forward, backward).call(machine, apply, TupleValue(tuple(arguments)))

    return ModelledCallable(function.__name__, call)


def _differentiates(machine: Machine, argument: AbstractValue) -> bool:
    return machine.differentiates(take_apart(machine, argument, floats=True)[0])


def _makers(function: types.FunctionType) -> Makers | None:
    """Return what ``defvjp`` was told, from the closure that autograd keeps of it; None if there is no such closure."""
    core = sys.modules["autograd.core"]
    rule = core.primitive_vjps.get(function)
    if not isinstance(rule, types.FunctionType) or rule.__module__ != core.__name__:
        return None
    cells = dict(zip(rule.__code__.co_freevars, rule.__closure__ or (), strict=True))
    if "vjps_dict" not in cells:
        return None
    makers = cells["vjps_dict"].cell_contents
    return dict(makers) if all(isinstance(maker, types.FunctionType) for maker in makers.values()) else None
