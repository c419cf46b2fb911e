"""Derivatives of other kinds than gradients: along a direction, and whole Jacobians.

Owns what `differentiate` does with functions whose ``derivative`` is ``tangent`` or ``jacobian``. Invariant: the
function is followed once, however many passes there are; many passes, or as many as is known at run time, are a loop in
the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from janusjit.analysis.capture.arrays import as_array, new_array
from janusjit.analysis.capture.calls import invoke
from janusjit.analysis.capture.gradients import DERIVATIVES, Copies, Finish, appended, backward, forward, going_forward
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.structures import fitting, none, parts_of, take_apart
from janusjit.analysis.capture.values import AbstractValue, Known, TupleValue
from janusjit.analysis.differentiated import Differentiated
from janusjit.ir.dims import Dim, evaluate
from janusjit.ir.graph import Node, Region, Value
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import FrozenArray
from janusjit.transform.jacobians import can_be_repeated, columns, rows
from janusjit.transform.recomputation import TYPICAL

#: passes that are made one by one, where a loop would take longer than they do
UNROLLED = 8


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
        return TupleValue((result, make(machine, iter(filled))))

    return finish


def jacobian(
    machine: Machine, function: Differentiated, seed: AbstractValue | None, wrt: Sequence[AbstractValue]
) -> Finish:
    """Take a function's Jacobian by arrays, floats and structures of them."""
    taken = [take_apart(machine, value, floats=True, otherwise=none, replaced=True) for value in wrt]
    if not all(values for values, _ in taken):
        raise machine.python_error(TypeError, "a Jacobian is taken by arrays of floats and floats")

    def finish(result: AbstractValue, copies: Copies) -> AbstractValue:
        outputs, make = take_apart(machine, result, floats=True, known_floats=True, otherwise=none, replaced=True)
        if not outputs:
            raise machine.python_error(TypeError, "only a function that returns arrays of floats has a Jacobian")
        size, sizes = (sum((value.type.size for value in values), start=0) for values in (outputs, copies.values))
        forwards = _is_tall(size, sizes) if function.mode is None else function.mode == "forward"
        found = (_columns if forwards else _rows)(machine, outputs, copies)

        def row(output: int) -> AbstractValue:
            parts = dict(zip(copies.values, found[output], strict=True))
            by = [made(machine, (new_array(machine, parts[value]) for value in values)) for values, made in taken]
            return by[0] if function.single else TupleValue(tuple(by))

        return make(machine, map(row, range(len(outputs))))

    return finish


DERIVATIVES.update(tangent=tangent, jacobian=jacobian)


def _is_tall(size: Dim, sizes: Dim) -> bool:
    """Whether a Jacobian has at least as many rows as columns, as far as one can tell."""
    more = size - sizes
    return more >= 0 if isinstance(more, int) else evaluate(more, dict.fromkeys(more.symbols(), TYPICAL)) >= 0


def _turns(machine: Machine, size: Dim, repeatable: bool) -> bool:
    """Whether so many passes are made by a loop in the graph."""
    if machine.unrolls() or (isinstance(size, int) and (size <= UNROLLED or not repeatable)):
        return False
    if not repeatable:
        what = "its size is known at run time only, and it has a branch or loop that is not computed again"
        raise machine.unsupported("gradient.size", "jacobian", what)
    return True


def _note_body(machine: Machine, body: Region, around: Region) -> None:
    machine.recorded.around[body] = around, len(machine.births)


def _repeatable(machine: Machine, outputs: Sequence[Value], wrt: Sequence[Value]) -> bool:
    return machine.unrolls() or appended(machine, lambda builder: can_be_repeated(builder, outputs, wrt))


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


def _rows(machine: Machine, outputs: Sequence[Value], copies: Copies) -> list[list[Value]]:
    """Go back once for each element of the results; return for each what it gives by each of the arguments."""
    return [_rows_of(machine, output, copies) for output in outputs]


def _rows_of(machine: Machine, output: Value, copies: Copies) -> list[Value]:
    size, wrt = output.type.size, copies.values
    if _turns(machine, size, _repeatable(machine, [output], wrt)):
        note = functools.partial(_note_body, machine)
        stacked = appended(machine, lambda builder: rows(builder, output, wrt, size, note))
        return [_shaped(machine, found, output.type, by.type) for found, by in zip(stacked, wrt, strict=True)]
    passes = [
        backward(machine, [output], [_cotangent(machine, output, number)], wrt) for number in range(_known(output))
    ]
    found = []
    for position, value in enumerate(wrt):
        parts = [copies.filled(one[position], value.type) for one in passes]
        found.append(_stacked(machine, parts, 0, output.type, value.type))
    return found


def _columns(machine: Machine, outputs: Sequence[Value], copies: Copies) -> list[list[Value]]:
    """Go forward once for each element of the arguments; return the same as `_rows`."""
    repeatable = _repeatable(machine, outputs, copies.values)
    loops = [_turns(machine, value.type.size, repeatable) for value in copies.values]
    units = [
        [] if in_loop else [_direction(machine, value, number) for number in range(_known(value))]
        for in_loop, value in zip(loops, copies.values, strict=True)
    ]
    found = []
    for in_loop, value, directions in zip(loops, copies.values, units, strict=True):
        if in_loop:
            found.append(_columns_in_loop(machine, outputs, value))
        else:
            found.append(_columns_one_by_one(machine, outputs, copies, value, directions))
    return [list(row) for row in zip(*found, strict=True)]


def _columns_one_by_one(
    machine: Machine, outputs: Sequence[Value], copies: Copies, by: Value, units: Sequence[Value]
) -> list[Value]:
    passes = []
    for unit in units:
        directions = [unit if other is by else None for other in copies.values]
        passes.append(forward(machine, outputs, copies.values, directions))
    found = []
    for position, output in enumerate(outputs):
        parts = [copies.filled(one[position], output.type) for one in passes]
        found.append(_stacked(machine, parts, -1, output.type, by.type))
    return found


def _columns_in_loop(machine: Machine, outputs: Sequence[Value], by: Value) -> list[Value]:
    note = functools.partial(_note_body, machine)
    with going_forward(machine):
        stacked = appended(machine, lambda builder: columns(builder, outputs, by, by.type.size, note))
    found = []
    for value, output in zip(stacked, outputs, strict=True):
        turned = machine.emit("transpose", value, axes=(*range(1, value.type.rank), 0))
        found.append(_shaped(machine, machine.emit("copy", turned), output.type, by.type))
    return found


def _known(value: Value) -> int:
    size = value.type.size
    assert isinstance(size, int)
    return size


def _stacked(machine: Machine, parts: Sequence[Value], axis: int, output: TensorType, by: TensorType) -> Value:
    """Return a Jacobian of its rows or columns."""
    if not parts:
        zeros = machine.emit("constant", value=0.0, dtype=by.dtype)
        return machine.emit("full", zeros, shape=(*output.shape, *by.shape))
    arrays = TupleValue(tuple(new_array(machine, part) for part in parts))
    stacked = as_array(machine, invoke(machine, Known(np.stack), [arrays], [("axis", Known(axis))]))
    assert stacked is not None
    return _shaped(machine, stacked, output, by)


def _shaped(machine: Machine, value: Value, output: TensorType, by: TensorType) -> Value:
    """Return a Jacobian with the shape it has, and the dtype of what it is taken by."""
    shape = (*output.shape, *by.shape)
    made = value if value.type.shape == shape else machine.emit("reshape", value, shape=shape)
    if machine.recorded.leaves:  # it may have come about through variables
        made = machine.emit("detach", made)
    return made if made.type.dtype == by.dtype else machine.emit("cast", made, dtype=by.dtype)
