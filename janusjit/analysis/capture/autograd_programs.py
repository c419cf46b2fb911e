"""Programs of the package `autograd`.

Owns what capture takes functions of autograd for: a wrapped function for the one it wraps, and `make_vjp` and
`make_jvp`, on which all of autograd's operators are built, for the gradients of the graph. Invariant: autograd is never
imported here; a function whose derivative a user has declared keeps it (`autograd_primitives.py`).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from janusjit.analysis.capture.arrays import as_array, new_array
from janusjit.analysis.capture.autograd_equivalents import BY_NAME
from janusjit.analysis.capture.autograd_primitives import declared_model
from janusjit.analysis.capture.calls import FOREIGN, invoke
from janusjit.analysis.capture.gradients import Copies, backward, forward
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DictObject, ListObject
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    ModelledCallable,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.ir.graph import Value


def replacement(machine: Machine, function: Any) -> AbstractValue | None:
    """Return what a function of autograd is taken for, or None if it is followed as the Python it is."""
    primitive = isinstance(function, types.FunctionType) and "_is_autograd_primitive" in vars(function)
    if primitive and not _own_rule(function):
        declared = declared_model(function)
        if declared is not None:
            return declared
        raise machine.unsupported(
            "gradient.declared", f"{function.__name__}()", "its derivative is declared to autograd by the program"
        )
    named = _names().get(id(function))
    if named is not None:
        model = _MODELS.get(named)
        return Known(BY_NAME[named]) if model is None else ModelledCallable(named[1], model)
    if primitive:
        return Known(vars(function)["fun"])
    if isinstance(function, types.FunctionType) and "_is_primitive" in vars(function):
        return Known(_free_variable(function, "f_raw"))
    return None


FOREIGN.append(replacement)


def _names() -> dict[int, tuple[str, str]]:
    """Return the names of the functions of autograd that have an equivalent, by identity."""
    found: dict[int, tuple[str, str]] = {}
    for module, name in (*BY_NAME, *_MODELS):
        loaded = sys.modules.get(module)
        if loaded is not None and hasattr(loaded, name):
            found[id(getattr(loaded, name))] = (module, name)
    return found


def _free_variable(function: types.FunctionType, name: str) -> Any:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return cells[name].cell_contents


def _own_rule(function: types.FunctionType) -> bool:
    """Whether the derivative of a wrapped function is autograd's own, or it has none."""
    core = sys.modules["autograd.core"]
    return all(
        module.startswith("autograd.")
        for rules in (core.primitive_vjps, core.primitive_jvps)
        for module in _modules(rules.get(function))
    )


def _modules(rule: Any) -> Iterator[str]:
    """Give the modules of the functions that a rule of autograd is made of."""
    if isinstance(rule, dict):
        for part in rule.values():
            yield from _modules(part)
    elif isinstance(rule, types.FunctionType):
        yield rule.__module__
        if rule.__qualname__.startswith(("defvjp", "defjvp")):
            for name, cell in zip(rule.__code__.co_freevars, rule.__closure__ or (), strict=True):
                if name != "fun":
                    yield from _modules(cell.cell_contents)


def _make_vjp(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """``autograd.core.make_vjp(fun, x)``: the pair of the pullback and the value."""
    given = dict(zip(("fun", "x"), arguments, strict=False)) | keywords
    at = machine.resolve(given["x"])
    copies = Copies(machine)
    result = machine.resolve(invoke(machine, given["fun"], [copies.copy(at)], ()))

    def pullback(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        (cotangent,) = (*arguments, *keywords.values())
        outputs, seeds = _pairs(machine, result, machine.resolve(cotangent))
        found = backward(machine, outputs, seeds, copies.values)
        if not any(part is not None for part in found):
            raise machine.unsupported(
                "gradient.independent", "grad", "autograd warns that nothing depends on the input"
            )
        parts = iter(zip(found, copies.values, strict=True))
        outside = isinstance(at, TupleValue | Reference)  # autograd adds up what is by parts of containers in arrays
        return _built_like(
            machine, at, lambda scalar: _cotangent(machine, copies, next(parts), seeds, scalar and not outside)
        )

    return TupleValue((ModelledCallable("vjp", pullback), result))


def _make_jvp(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """``autograd.core.make_jvp(fun, x)``: the function of a direction that gives the value and the tangent."""
    given = dict(zip(("fun", "x"), arguments, strict=False)) | keywords
    at = machine.resolve(given["x"])

    def along(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        (direction,) = (*arguments, *keywords.values())
        places, directions = _pairs(machine, at, machine.resolve(direction))
        copies = Copies(machine)
        result = machine.resolve(invoke(machine, given["fun"], [copies.copy(at)], ()))
        outputs = [as_array(machine, leaf) for leaf in _leaves(machine, result)]
        known = [output for output in outputs if output is not None and output.type.is_float]
        if len(known) != len(outputs) or len(copies.values) != len(places):
            raise machine.unsupported("gradient.result", "jvp", "the result is no array of floats")
        found = [value for value in forward(machine, known, copies.values, directions) if value is not None]
        if len(found) != len(known):
            raise machine.unsupported("gradient.independent", "jvp", "autograd warns that nothing depends on the input")
        parts = iter(found)

        def tangent(scalar: bool) -> AbstractValue:
            value = next(parts)
            if scalar and value not in directions:
                return Scalar(value, f"numpy.{value.type.dtype}")
            return new_array(machine, machine.emit("copy", value))

        return TupleValue((result, _built_like(machine, result, tangent)))

    return ModelledCallable("jvp", along)


#: what capture knows of functions of autograd, by module and name
_MODELS: dict[
    tuple[str, str], Callable[[Machine, Sequence[AbstractValue], dict[str, AbstractValue]], AbstractValue]
] = {
    ("autograd.core", "make_vjp"): _make_vjp,
    ("autograd.core", "make_jvp"): _make_jvp,
}


def _leaves(machine: Machine, value: AbstractValue) -> Iterator[AbstractValue]:
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        for part in value.items:
            yield from _leaves(machine, part)
    elif isinstance(value, Reference) and isinstance(item := machine.heap(value), ListObject | DictObject):
        for part in [*(item.items.values() if isinstance(item, DictObject) else item.items)]:
            yield from _leaves(machine, part)
    else:
        yield value


def _pairs(machine: Machine, result: AbstractValue, cotangent: AbstractValue) -> tuple[list[Value], list[Value]]:
    """Return the floats of a result, and the cotangent of each."""
    outputs, seeds = [], []
    for one, other in zip(_leaves(machine, result), _leaves(machine, cotangent), strict=True):
        output, seed = as_array(machine, one), as_array(machine, other)
        if output is None or seed is None or not output.type.is_float or seed.type.shape != output.type.shape:
            raise machine.unsupported("gradient.result", "grad", "the result is no array of floats")
        outputs.append(output)
        seeds.append(
            seed if seed.type.dtype == output.type.dtype else machine.emit("cast", seed, dtype=output.type.dtype)
        )
    return outputs, seeds


def _built_like(machine: Machine, at: AbstractValue, part: Callable[[bool], AbstractValue]) -> AbstractValue:
    """Return a value built like another one; ``part(whether it is a number)`` gives each float."""
    at = machine.resolve(at)
    if isinstance(at, TupleValue) and at.type_ is tuple:
        return TupleValue(tuple([_built_like(machine, item, part) for item in at.items]))
    if isinstance(at, Reference):
        item = machine.heap(at)
        if isinstance(item, ListObject) and item.type_ is list:
            items = [_built_like(machine, held, part) for held in item.items]
            return machine.state.allocate(ListObject(items=list(items)))
        if isinstance(item, DictObject) and item.type_ is dict:
            table = {key: _built_like(machine, held, part) for key, held in item.items.items()}
            return machine.state.allocate(DictObject(items=table))
    if isinstance(at, Scalar) and at.value.type.is_float:
        return part(True)
    if isinstance(at, Known) and type(at.value) is float:
        return part(True)
    if isinstance(at, ArrayValue) and at.type.is_float:
        return part(at.type.shape == ())
    raise machine.unsupported("gradient.argument", "grad", "autograd differentiates by it in a way that has no rule")


def _cotangent(
    machine: Machine, copies: Copies, found: tuple[Value | None, Value], seeds: list[Value], scalar: bool
) -> AbstractValue:
    """Return one cotangent with autograd's type: NumPy's arithmetic makes scalars of arrays without dimensions."""
    cotangent, value = found
    filled = copies.filled(cotangent, value.type)
    if not scalar or cotangent is None or cotangent in seeds:
        return new_array(machine, machine.emit("copy", filled) if cotangent in seeds else filled)
    return Scalar(filled, f"numpy.{filled.type.dtype}")
