"""NumPy universal functions in capture.

Owns `apply`, which emits one elementwise op with NumPy's type resolution (NEP 50), ``out``, ``where`` and ``dtype``. Invariant: the
loop's dtypes come from ``ufunc.resolve_dtypes`` itself, so promotion is NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    as_array,
    broadcast_to,
    cast,
    constant,
    is_python_number,
    read,
    scalar_value,
    type_of,
    wrap,
    write,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import kind_of
from janusjit.analysis.capture.signals import PythonRaise
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known, Scalar, TupleValue
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name
from janusjit.ops import OPS

_PYTHON_CLASSES: dict[str, Any] = {"int": int, "float": float, "bool": np.dtype("bool")}


def apply(
    machine: Machine,
    ufunc: np.ufunc,
    arguments: Sequence[AbstractValue],
    out: AbstractValue | None = None,
    where: AbstractValue | None = None,
    dtype: Any = None,
) -> AbstractValue:
    """Return ``ufunc(*arguments, out=out, where=where, dtype=dtype)``.

    Raises
    ------
    CaptureFailure
        If the ufunc is not among the ops, or an operand is no array, number or sequence of them.
    """
    if len(arguments) > ufunc.nin:
        out, arguments = arguments[ufunc.nin], arguments[: ufunc.nin]
    if isinstance(out, TupleValue) and len(out.items) == 1:
        out = out.items[0]
    if isinstance(out, Known) and out.value is None:
        out = None
    values, kinds = _operands(machine, ufunc, arguments)
    loop = _resolve(machine, ufunc, kinds, dtype)
    inputs = [
        _to_loop(machine, argument, value, name)
        for argument, value, name in zip(arguments, values, loop, strict=False)
    ]
    result = machine.emit(ufunc.__name__, *inputs, guard=_guard(machine, ufunc, inputs))
    if out is None:
        if where is not None and not (isinstance(where, Known) and where.value is True):
            raise machine.unsupported("array.uninitialized", "where=", "'where' without 'out' leaves elements undefined")
        return wrap(machine, result)
    return store(machine, out, result, where)


def _guard(machine: Machine, ufunc: np.ufunc, inputs: list[Value]) -> Any:
    if not OPS[ufunc.__name__].may_fail(tuple(v.type for v in inputs), {}):
        return None
    return machine.guard("numpy.exception", machine.span.text or ufunc.__name__, "no NumPy error")


def _operands(
    machine: Machine, ufunc: np.ufunc, arguments: Sequence[AbstractValue]
) -> tuple[list[Value | None], list[Any]]:
    if ufunc.nout != 1 or ufunc.__name__ not in OPS:
        raise machine.unsupported("numpy.function", f"np.{ufunc.__name__}", "the ufunc has no graph operation yet")
    values: list[Value | None] = []
    kinds: list[Any] = []
    for argument in arguments:
        argument = machine.resolve(argument)
        if is_python_number(argument):
            kind = kind_of(argument)
            values.append(scalar_value(machine, argument) if isinstance(argument, Scalar) else None)
            kinds.append(_PYTHON_CLASSES[kind])
            continue
        value = as_array(machine, argument)
        if value is None:
            raise machine.unsupported(
                "numpy.operand", f"np.{ufunc.__name__}", f"an operand is {describe(argument)}, no array or number"
            )
        values.append(value)
        kinds.append(value.type.numpy_dtype)
    return values, kinds


def describe(value: AbstractValue) -> str:
    """Name the kind of a value, for reasons."""
    if isinstance(value, Known):
        return f"a {type(value.value).__name__}"
    return {"Scalar": "a number", "TupleValue": "a tuple", "HostValue": "an object from outside"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _resolve(machine: Machine, ufunc: np.ufunc, kinds: list[Any], dtype: Any) -> list[str]:
    if all(kind in (int, float) for kind in kinds):
        kinds = [np.dtype(kind) for kind in kinds]
    options = {} if dtype is None else {"signature": (*(None for _ in kinds), np.dtype(dtype))}
    try:
        resolved = ufunc.resolve_dtypes((*kinds, None), **options)
    except TypeError as error:
        raise PythonRaise(TypeError, Known(error)) from error
    names = [dtype_name(found) for found in resolved]
    if any(name is None for name in names):
        raise machine.unsupported("array.dtype", f"np.{ufunc.__name__}", f"the result has dtype {resolved[-1]}")
    return [str(name) for name in names]


def _to_loop(machine: Machine, argument: AbstractValue, value: Value | None, dtype: str) -> Value:
    argument = machine.resolve(argument)
    if value is None:
        assert isinstance(argument, Known)
        return python_constant(machine, argument.value, dtype)
    if isinstance(argument, Scalar) and argument.kind == "int" and dtype[0] in "iu" and dtype != "i64":
        _require_fits(machine, value, dtype)
    return cast(machine, value, dtype)


def python_constant(machine: Machine, number: Any, dtype: str) -> Value:
    """Return a Python number as a constant of a loop's dtype; an int that does not fit raises as in NumPy."""
    if dtype[0] in "iu":
        information = np.iinfo(np.dtype({"i": "int", "u": "uint"}[dtype[0]] + dtype[1:]))
        if not information.min <= number <= information.max:
            name = information.dtype.name
            raise machine.python_error(OverflowError, f"Python integer {number} out of bounds for {name}")
        return constant(machine, int(number), dtype)
    if dtype == "bool":
        return constant(machine, bool(number), dtype)
    return constant(machine, float(number), dtype)


def _require_fits(machine: Machine, value: Value, dtype: str) -> None:
    information = np.iinfo(np.dtype({"i": "int", "u": "uint"}[dtype[0]] + dtype[1:]))
    low = machine.emit("greater_equal", value, constant(machine, max(information.min, -(2**63)), "i64"))
    high = machine.emit("less_equal", value, constant(machine, min(information.max, 2**63 - 1), "i64"))
    guard = machine.guard("int.overflow", machine.span.text or "int", f"an int that fits {information.dtype.name}")
    machine.require(machine.emit("logical_and", low, high), guard)


def store(machine: Machine, out: AbstractValue, result: Value, where: AbstractValue | None = None) -> AbstractValue:
    """Write a result to an ``out`` array, as NumPy's ``casting="same_kind"`` allows, and return that array."""
    out = machine.resolve(out)
    if not isinstance(out, ArrayValue):
        raise machine.python_error(TypeError, "return arrays must be of ArrayType")
    target = out.type
    if not np.can_cast(result.type.numpy_dtype, target.numpy_dtype, "same_kind"):
        raise machine.python_error(
            TypeError, f"Cannot cast ufunc output from {result.type.numpy_dtype!r} to {target.numpy_dtype!r}"
        )
    if len(result.type.shape) > target.rank:
        raise machine.python_error(ValueError, "non-broadcastable output operand")
    value = broadcast_to(machine, cast(machine, result, target.dtype), target.shape)
    if where is not None and not (isinstance(where, Known) and where.value is True):
        mask = as_array(machine, where)
        if mask is None:
            raise machine.unsupported("numpy.operand", "where=", "the mask is not an array")
        value = machine.emit("where", cast(machine, mask, "bool"), value, read(machine, out))
        value = broadcast_to(machine, value, target.shape)
    write(machine, out, value)
    return out


def power(machine: Machine, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left ** right`` with an array or NumPy scalar, by the fast paths of ``ndarray.__pow__``."""
    if isinstance(right, Known) and type(right.value) in (int, float) and isinstance(left, ArrayValue):
        fast = {1.0: np.positive, 2.0: np.square}
        if left.type.is_float:
            fast |= {-1.0: np.reciprocal, 0.5: np.sqrt}
        ufunc = fast.get(float(right.value))
        inexact = type(right.value) is float and not left.type.is_float
        kept = type_of(machine, left)
        if ufunc is not None and not inexact and kept is not None and kept.dtype != "bool":
            return apply(machine, ufunc, (left,))
    return apply(machine, np.power, (left, right))
