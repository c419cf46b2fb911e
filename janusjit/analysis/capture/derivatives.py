"""Derivatives of other kinds than gradients: along a direction, and whole Jacobians.

Owns what `differentiate` does with functions whose ``derivative`` is ``tangent`` or ``jacobian``. Invariant: the
function is followed once, however many passes there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from janusjit.analysis.capture.arrays import as_array, new_array
from janusjit.analysis.capture.calls import invoke
from janusjit.analysis.capture.gradients import DERIVATIVES, Copies, Finish, backward, forward
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.structures import fitting, none, parts_of, take_apart
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known, Scalar, TupleValue
from janusjit.analysis.differentiated import Differentiated
from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Node, Value
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import FrozenArray


def tangent(
    machine: Machine, function: Differentiated, seed: AbstractValue | None, wrt: Sequence[AbstractValue]
) -> Finish:
    """Take a function's derivative along a direction; it comes with the value."""
    assert seed is not None
    parts = parts_of(machine, machine.resolve(seed))
    if parts is None or len(parts) != len(wrt):
        raise machine.python_error(TypeError, "jvp takes a tangent for each of the primals")
    pairs = zip(wrt, parts, strict=True)
    directions = [
        value for i, (like, part) in enumerate(pairs) for value in fitting(machine, like, part, f"tangent {i} of jvp")
    ]

    def finish(result: AbstractValue, copies: Copies) -> AbstractValue:
        outputs, make = take_apart(machine, result, floats=True, known_floats=True, otherwise=none)
        found = forward(machine, outputs, copies.values, directions)
        filled = [copies.filled(value, output.type) for value, output in zip(found, outputs, strict=True)]
        return TupleValue((result, make(iter(filled))))

    return finish


def jacobian(
    machine: Machine, function: Differentiated, seed: AbstractValue | None, wrt: Sequence[AbstractValue]
) -> Finish:
    """Take a function's Jacobian by arrays or floats."""
    if not all(isinstance(value, ArrayValue | Scalar) and _is_float(value) for value in wrt):
        raise machine.python_error(TypeError, "a Jacobian is taken by arrays of floats and floats")

    def finish(result: AbstractValue, copies: Copies) -> AbstractValue:
        output = as_array(machine, result)
        if output is None or not output.type.is_float:
            raise machine.python_error(TypeError, "only a function that returns an array of floats has a Jacobian")
        size, sizes = _size(machine, output), [_size(machine, value) for value in copies.values]
        forwards = size >= sum(sizes) if function.mode is None else function.mode == "forward"
        make = _columns if forwards else _rows
        found = [new_array(machine, value) for value in make(machine, output, copies)]
        return found[0] if function.single else TupleValue(tuple(found))

    return finish


DERIVATIVES.update(tangent=tangent, jacobian=jacobian)


def _is_float(value: ArrayValue | Scalar) -> bool:
    return value.type.is_float if isinstance(value, ArrayValue) else value.value.type.is_float


def _size(machine: Machine, value: Value) -> int:
    size: Dim = product(value.type.shape)
    if not isinstance(size, int):
        raise machine.unsupported("gradient.size", "jacobian", "its size is known at run time only")
    return size


def _unit(machine: Machine, type_: TensorType, number: int) -> Node:
    """Return what makes an array with a one in one place."""
    if not type_.shape:
        return Node("constant", (), (type_,), {"value": 1.0, "dtype": type_.dtype}, machine.span)
    shape = tuple(dim for dim in type_.shape if isinstance(dim, int))
    data = np.zeros(shape, type_.numpy_dtype)
    data.flat[number] = 1.0
    return Node("constant_array", (), (type_,), {"value": FrozenArray(data)}, machine.span)


def _direction(machine: Machine, copy: Value, number: int) -> Value:
    """Return a direction, which has to be there before anything is made of the copy."""
    unit = _unit(machine, copy.type, number)
    nodes = machine.region.nodes
    nodes.insert(next(i for i, node in enumerate(nodes) if node is copy.node), unit)
    machine.births[unit.result] = machine.births[copy]
    return unit.result


def _cotangent(machine: Machine, output: Value, number: int) -> Value:
    unit = _unit(machine, output.type, number)
    machine.append(unit)
    return unit.result


def _rows(machine: Machine, output: Value, copies: Copies) -> list[Value]:
    """Go back once for each element of the result."""
    passes = [
        backward(machine, [output], [_cotangent(machine, output, number)], copies.values)
        for number in range(_size(machine, output))
    ]
    found = []
    for position, value in enumerate(copies.values):
        rows = [copies.filled(one[position], value.type) for one in passes]
        found.append(_stacked(machine, rows, 0, output.type, value.type))
    return found


def _columns(machine: Machine, output: Value, copies: Copies) -> list[Value]:
    """Go forward once for each element of the arguments."""
    found = []
    units = [[_direction(machine, v, k) for k in range(_size(machine, v))] for v in copies.values]
    for position, value in enumerate(copies.values):
        columns = []
        for unit in units[position]:
            directions = [unit if other is value else None for other in copies.values]
            (column,) = forward(machine, [output], copies.values, directions)
            columns.append(copies.filled(column, output.type))
        found.append(_stacked(machine, columns, -1, output.type, value.type))
    return found


def _stacked(machine: Machine, parts: Sequence[Value], axis: int, output: TensorType, by: TensorType) -> Value:
    """Return a Jacobian of its rows or columns, with the dtype of what it is taken by."""
    shape = (*output.shape, *by.shape)
    if not parts:
        zeros = machine.emit("constant", value=0.0, dtype=by.dtype)
        return machine.emit("full", zeros, shape=shape)
    arrays = TupleValue(tuple(new_array(machine, part) for part in parts))
    stacked = as_array(machine, invoke(machine, Known(np.stack), [arrays], [("axis", Known(axis))]))
    assert stacked is not None
    made = stacked if stacked.type.shape == shape else machine.emit("reshape", stacked, shape=shape)
    return made if made.type.dtype == by.dtype else machine.emit("cast", made, dtype=by.dtype)
