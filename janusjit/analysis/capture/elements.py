"""Values as elements of arrays whose dtype is settled, as ``a[i] = value`` and ``np.array(value, dtype)`` store them.

Owns `stored`, `element` and `require_fits`. Invariants: a number is stored by itself, never by way of the dtype that it
and its neighbours would have together; one that the dtype cannot hold is refused where it is known, and leaves the
graph where it is not, for NumPy refuses some such numbers and wraps others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    PACKED,
    as_array,
    cast,
    constant,
    is_number,
    literal,
    read,
    scalar_value,
    sequence_items,
    stack,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold, to_number
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known, Scalar
from janusjit.ir.graph import Value
from janusjit.ir.types import DTYPES
from janusjit.ops.indexing import FrozenArray


def stored(machine: Machine, value: AbstractValue, dtype: str) -> Value | None:
    """Return what is stored for a value in an array of a dtype; None if it is no array, number or sequence of such."""
    value = machine.resolve(value)
    if isinstance(value, ArrayValue):
        return cast(machine, read(machine, value), dtype)
    if is_number(value):
        return element(machine, value, dtype)
    items = None if PACKED[0](machine, value) is not None else sequence_items(machine, value)
    if items is None:
        found = as_array(machine, value)
        return None if found is None else _elements(machine, found, dtype)
    if not items:
        return None
    python = literal(machine, value)
    if python is not None:
        return machine.emit("constant_array", value=FrozenArray(fold(machine, np.array, python, DTYPES[dtype])))
    parts = [stored(machine, item, dtype) for item in items]
    made = [part for part in parts if part is not None]
    return stack(machine, made) if len(made) == len(parts) else None


def element(machine: Machine, value: AbstractValue, dtype: str) -> Value:
    """Return a number, Python's or NumPy's, as an element of a dtype."""
    value = machine.resolve(value)
    if isinstance(value, Known):
        number = value.value
        if type(number) in (bool, int, float):
            whole = fold(machine, int, number) if dtype[0] in "iu" else number  # as NumPy converts a Python float
            return python_constant(machine, whole, dtype)
        return constant(machine, fold(machine, np.array, [number], DTYPES[dtype])[0].item(), dtype)
    found = scalar_value(machine, value)
    if found is None:
        raise machine.unsupported("numpy.operand", "assignment", "the value is no number")
    if isinstance(value, Scalar) and value.kind == "int" and dtype[0] == "f":
        found = to_number(machine, found, "f64")
    return _elements(machine, found, dtype)


def _elements(machine: Machine, value: Value, dtype: str) -> Value:
    """Return numbers as elements of a dtype, guarded to fit an integer dtype."""
    if dtype[0] in "iu":
        require_fits(machine, value, dtype)
    return cast(machine, value, dtype)


def fits(number: Any, dtype: str) -> bool:
    """Whether an int can be held by an integer dtype."""
    information = np.iinfo(DTYPES[dtype])
    return bool(information.min <= number <= information.max)


def python_constant(machine: Machine, number: Any, dtype: str) -> Value:
    """Return a Python number as a constant of a dtype; an int that does not fit raises as in NumPy."""
    if dtype[0] in "iu":
        if not fits(number, dtype):
            name = DTYPES[dtype].name
            raise machine.python_error(OverflowError, f"Python integer {number} out of bounds for {name}")
        return constant(machine, int(number), dtype)
    if dtype == "bool":
        return constant(machine, bool(number), dtype)
    if abs(number) > float(np.finfo(DTYPES[dtype]).max) and not np.isinf(number):
        raise machine.unsupported("numpy.operand", repr(number), f"it is too large for {DTYPES[dtype].name}")
    return constant(machine, float(number), dtype)


def require_fits(machine: Machine, value: Value, dtype: str) -> None:
    """Guard that run-time numbers, cut to integers, fit an integer dtype: NumPy may raise OverflowError otherwise."""
    own, wanted = value.type.dtype, np.iinfo(DTYPES[dtype])
    holds: list[Value] = []
    if own[0] == "f":
        value = cast(machine, value, "f64")
        if wanted.bits == 64:  # one less is no float
            holds.append(machine.emit("greater_equal", value, constant(machine, float(wanted.min), "f64")))
        else:
            holds.append(machine.emit("greater", value, constant(machine, float(wanted.min - 1), "f64")))
        holds.append(machine.emit("less", value, constant(machine, float(wanted.max + 1), "f64")))
    elif own != "bool":
        have = np.iinfo(DTYPES[own])
        if have.min < wanted.min:
            holds.append(machine.emit("greater_equal", value, constant(machine, int(wanted.min), own)))
        if have.max > wanted.max:
            holds.append(machine.emit("less_equal", value, constant(machine, int(wanted.max), own)))
    for condition in holds:
        rank = condition.type.rank
        every = machine.emit("all", condition, axes=tuple(range(rank)), keepdims=False) if rank else condition
        guard = machine.guard("int.overflow", machine.span.text or "int", f"an int that fits {wanted.dtype.name}")
        machine.require(every, guard)
