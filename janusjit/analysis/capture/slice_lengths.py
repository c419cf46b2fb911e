"""Lengths of slices that begin at a run-time position and end a known number of elements behind it.

Owns `length_between`. ``x[i : i + 32]`` has 32 elements unless it is cut off by an end of the array, which is not
assumed again where it has happened. Invariant: what is assumed is guarded, so that a slice has the length that is told.
"""

from __future__ import annotations

from typing import Any

from janusjit.analysis.capture.arrays import cast, constant
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import size_value
from janusjit.analysis.capture.values import AbstractValue, Scalar
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.transform.facts import constant_of

#: through so many operations is followed how a bound is computed
DEPTH = 6
_SUMS = {"add": 1, "checked_add": 1, "subtract": -1, "checked_subtract": -1}
_PRODUCTS = frozenset({"multiply", "checked_multiply"})

#: a sum of values times numbers, and a number that belongs to None
_Sum = dict["Value | None", int]


def length_between(machine: Machine, start: Scalar, stop: AbstractValue | int | None, size: Dim) -> int | None:
    """Return how many elements are between two bounds, guarded to be within the array; None if that is not known."""
    if not isinstance(stop, Scalar):
        return None
    distance = _sum_of(stop.value, DEPTH)
    for value, times in _sum_of(start.value, DEPTH).items():
        distance[value] = distance.get(value, 0) - times
    length = distance.pop(None, 0)
    if length <= 0 or any(distance.values()) or (isinstance(size, int) and size < length):
        return None
    if isinstance(start.sample, int) and (start.sample < 0 or (isinstance(size, int) and start.sample > size - length)):
        return None
    key = ("slice length", *machine.value_key()[1:])
    if key in machine.relaxations:
        return None
    first, last = cast(machine, start.value, "i64"), size_value(machine, size - length)
    inside = machine.emit(
        "logical_and",
        machine.emit("greater_equal", first, constant(machine, 0, "i64")),
        machine.emit("less_equal", first, last),
    )
    subject = machine.span.text or "slice"
    guard = machine.guard("index.bounds", subject, f"a slice of {length} within a size of {size}", relaxation=key)
    machine.require(inside, guard)
    return length


def _sum_of(value: Value, depth: int) -> _Sum:
    """Return an integer as a sum of others, which are followed through so many operations."""
    known: Any = constant_of(value)
    if known is not None:
        return {None: int(known)}
    node = value.node
    if node is None or not depth or value.type.dtype != "i64":
        return {value: 1}
    if node.op in _SUMS:
        total, other = (_sum_of(operand, depth - 1) for operand in node.inputs)
        for operand, times in other.items():
            total[operand] = total.get(operand, 0) + _SUMS[node.op] * times
        return total
    if node.op in _PRODUCTS:
        for factor, operand in (node.inputs, node.inputs[::-1]):
            if (times := constant_of(factor)) is not None:
                return {one: int(times) * count for one, count in _sum_of(operand, depth - 1).items()}
    return {value: 1}
