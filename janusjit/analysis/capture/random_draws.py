"""Draws of random numbers: what a call of a generator's method becomes.

Owns `draw`, the binding of a method's arguments by its declaration (`janusjit.ops.random`), and the results. Invariant:
each draw takes the order token of the present state and leaves the next one there, so draws happen as often and in the
order in which the program calls them, on every path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import as_dim, cast, constant, new_array, scalar_value, shape_of
from janusjit.analysis.capture.containers import from_python
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.numpy_arguments import array, is_none
from janusjit.analysis.capture.numpy_dimensions import align
from janusjit.analysis.capture.state import RandomOrder
from janusjit.analysis.capture.values import NONE, AbstractValue, GeneratorValue, Known, Scalar
from janusjit.ir.graph import Value
from janusjit.ir.types import INT, dtype_name
from janusjit.ops.random import REQUIRED, Method, Parameter

Arguments = Sequence[AbstractValue]
Named = Mapping[str, AbstractValue]


def refusal(machine: Machine, method: str, reason: str) -> Exception:
    """Return the failure that leaves a function with such a draw in Python."""
    hint = "draw the numbers outside the jitted function and pass them in"
    return machine.unsupported("numpy.random", f"{method}()", reason, hint=hint)


def bind(machine: Machine, method: Method, arguments: Arguments, keywords: Named) -> dict[str, AbstractValue]:
    """Return the arguments of a call by parameter; those left out are missing from it.

    Raises
    ------
    CaptureFailure
        If there are arguments the declaration does not know, or too few.
    """
    positional = [parameter for parameter in method.parameters if not parameter.keyword_only]
    bound = dict(zip((parameter.name for parameter in positional), arguments, strict=False))
    names = {parameter.name for parameter in method.parameters}
    others = {name: value for name, value in keywords.items() if not (name == "out" and is_none(value))}
    if len(arguments) > len(positional) or not names >= others.keys() or bound.keys() & others.keys():
        raise refusal(machine, method.op, "it is called with arguments that have no rule")
    bound.update(others)
    if any(parameter.default is REQUIRED and parameter.name not in bound for parameter in method.parameters):
        raise refusal(machine, method.op, "it is called with too few arguments")
    return bound


def draw(
    machine: Machine, method: Method, owner: GeneratorValue | None, bound: Named, kind: str | None = None
) -> AbstractValue:
    """Emit a draw, and return what the method returns.

    Parameters
    ----------
    machine : Machine
        The capture.
    method : Method
        The declaration.
    owner : GeneratorValue or None
        The generator; None for a function that makes one.
    bound : mapping
        Arguments by parameter; one left out has its default.
    kind : str, optional
        The scalar kind of a result without a size, if it is not the declaration's.
    """
    attributes: dict[str, Any] = {}
    inputs: dict[str, Value] = {}
    for parameter in method.parameters:
        value = bound.get(parameter.name)
        if value is None or (is_none(value) and parameter.default is None):
            value = from_python(machine, parameter.default)
        _convert(machine, method, parameter, machine.resolve(value), inputs, attributes)
    spread = [p.name for p in method.parameters if p.kind in ("float", "int") and p.name in inputs]
    inputs.update(zip(spread, align(machine, [inputs[name] for name in spread]), strict=True))
    results = emit(machine, method, owner, tuple(inputs.values()), attributes)
    if method.returns == "nothing":
        return NONE
    if method.returns == "object":
        assert method.makes is not None
        return GeneratorValue(method.makes, None, None, results[0])
    (result,) = results
    if result.type.shape or attributes.get("size") is not None:
        return new_array(machine, result)
    return Scalar(result, kind or method.scalar_kind(attributes))


def emit(
    machine: Machine, method: Method, owner: GeneratorValue | None, inputs: tuple[Value, ...], attributes: Any
) -> tuple[Value, ...]:
    """Emit the node of a draw; return its results but for the token."""
    order: RandomOrder = machine.heap(machine.externals.random_order)
    token = order.token if order.token is not None else constant(machine, 0, INT.dtype)
    address = () if owner is None else (machine.externals.generator_address(owner),)
    node = machine.emit_node(method.op, (token, *address, *inputs), attributes)
    order.token = node.results[0]
    return node.results[1:]


def _convert(
    machine: Machine,
    method: Method,
    parameter: Parameter,
    value: AbstractValue,
    inputs: dict[str, Value],
    attributes: dict[str, Any],
) -> None:
    """Make an argument an input or an attribute."""
    name, kind = parameter.name, parameter.kind
    if kind == "option":
        attributes[name] = _option(machine, method, name, value)
    elif is_none(value) and (kind == "size" or parameter.default is None):
        attributes[name] = None
    elif kind == "size":
        attributes[name] = shape_of(machine, value, f"the size of {method.name}()")
        if any(isinstance(dim, int) and dim < 0 for dim in attributes[name]):
            raise refusal(machine, method.op, "its size is negative")
    elif kind == "length":
        attributes[name] = length = as_dim(machine, value, f"the argument of {method.name}()")
        if isinstance(length, int) and length < 0:
            raise refusal(machine, method.op, "its argument is negative")
    elif kind in ("number", "integer"):
        inputs[name] = _python_number(machine, method, value, (int, float) if kind == "number" else (int,))
    else:
        inputs[name] = _numbers(machine, method, parameter, array(machine, value, f"{name} of {method.name}()"))


def _python_number(machine: Machine, method: Method, value: AbstractValue, types: tuple[type, ...]) -> Value:
    """Return a Python number as it is: what the method does with it depends on its type."""
    plain = isinstance(value, Scalar) and value.kind in [type_.__name__ for type_ in types]
    if not plain and not (isinstance(value, Known) and type(value.value) in types):
        raise refusal(machine, method.op, f"an argument is no Python {' or '.join(t.__name__ for t in types)}")
    found = scalar_value(machine, value)
    if found is None:
        raise refusal(machine, method.op, "an argument does not fit into 64 bits")
    return found


def _numbers(machine: Machine, method: Method, parameter: Parameter, value: Value) -> Value:
    """Return an argument as the method sees it: floats in double precision, integers in 64 bits."""
    kind = parameter.kind
    if kind == "array":
        return value
    if kind in ("int", "count"):
        if value.type.dtype[0] not in "iu" or value.type.dtype == "u64" or (kind == "count" and value.type.rank):
            raise refusal(machine, method.op, f"{parameter.name} is {value.type}, no int")
        return cast(machine, value, "i64")
    if kind == "vector" and value.type.rank != 1:
        raise refusal(machine, method.op, f"{parameter.name} is {value.type}, not of one dimension")
    return cast(machine, value, "f64")


def _option(machine: Machine, method: Method, name: str, value: AbstractValue) -> Any:
    found = machine.constant(value, f"{name} of {method.name}()")
    if name != "dtype":
        return found
    dtype = fold(machine, np.dtype, found)
    if dtype_name(dtype) is None or not dtype.isnative:
        raise refusal(machine, method.op, f"graphs do not hold {dtype}")
    return dtype.name


def integer_kind(machine: Machine, bound: Named, default: str) -> str:
    """Return the scalar kind that ``dtype=`` asks for: Python's own types give Python's numbers."""
    if "dtype" not in bound:
        return default
    found = machine.constant(bound["dtype"], "dtype")
    if found is int or found is bool:
        return "int" if found is int else "bool"
    return f"numpy.{dtype_name(np.dtype(found))}"

