"""Arithmetic on Python numbers.

Owns the rules for operators between Python ints, floats and bools. Invariant: results have the type and value Python
gives; where Python would raise or leave 64 bits, a guard fails and Python itself goes on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import cast, constant, is_python_number, scalar_value
from janusjit.analysis.capture.followed import assumed, followed
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import PythonRaise
from janusjit.analysis.capture.values import AbstractValue, Known, Scalar
from janusjit.ir.dims import Dim
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Value
from janusjit.spans import NotedSpan

PYTHON_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "@": operator.matmul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "u-": operator.neg,
    "u+": operator.pos,
    "~": operator.invert,
}
COMPARISONS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_CHECKED_INT = {
    "+": "checked_add",
    "-": "checked_subtract",
    "*": "checked_multiply",
    "//": "checked_floor_divide",
    "%": "checked_remainder",
    "**": "checked_power",
    "<<": "checked_left_shift",
}
_PLAIN_INT = {"&": "bitwise_and", "|": "bitwise_or", "^": "bitwise_xor"}
_PLAIN_FLOAT = {"+": "add", "-": "subtract", "*": "multiply"}
_CHECKED_FLOAT = {"/": "float_divide", "//": "python_floor_divide", "%": "python_remainder", "**": "python_power"}
#: ints up to this magnitude are exact as floats
_EXACT_FLOAT_INT = 2**53


def kind_of(value: AbstractValue) -> str:
    """Return ``int``, ``float`` or ``bool`` of a Python number."""
    return value.kind if isinstance(value, Scalar) else type(value.value).__name__  # type: ignore[attr-defined]


def fold(machine: Machine, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a pure function on constants; what it raises is raised in the program, and what it warns of is Python's."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return function(*arguments)
    except FloatingPointError as error:
        raise machine.unsupported("fp.flags", "constant", f"NumPy tells of an error: {error}") from error
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise PythonRaise(type(error), Known(error)) from error


def binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left symbol right`` of two Python numbers."""
    left, right = assumed(machine, left), assumed(machine, right)
    if isinstance(left, Known) and isinstance(right, Known):
        return Known(fold(machine, PYTHON_OPERATORS[symbol], left.value, right.value))
    if symbol in COMPARISONS:
        return compare(machine, symbol, left, right)
    kinds = (kind_of(left), kind_of(right))
    if "float" in kinds:
        return _float_binary(machine, symbol, left, right)
    if kinds == ("bool", "bool") and symbol in _PLAIN_INT:
        value = machine.emit(_PLAIN_INT[symbol], *_values(machine, left, right, "bool"))
        return Scalar(value, "bool", **followed(PYTHON_OPERATORS[symbol], left, right))
    return _int_binary(machine, symbol, left, right)


def _values(machine: Machine, left: AbstractValue, right: AbstractValue, dtype: str) -> tuple[Value, Value]:
    values = tuple(scalar_value(machine, value) for value in (left, right))
    if values[0] is None or values[1] is None:
        raise machine.unsupported("python.int_size", "int", "an int does not fit 64 bits")
    return to_number(machine, values[0], dtype), to_number(machine, values[1], dtype)


def to_number(machine: Machine, value: Value, dtype: str) -> Value:
    """Convert a Python number's graph value as Python's own arithmetic does (int → float is exact or rounded once)."""
    if dtype == "f64" and value.type.dtype in ("i64", "bool"):
        return machine.emit("int_to_float", cast(machine, value, "i64"))
    return cast(machine, value, dtype)


def _int_binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    a, b = _values(machine, left, right, "i64")
    now = followed(PYTHON_OPERATORS[symbol], left, right, symbol=symbol)
    text = machine.span.text or symbol
    if symbol == "/":
        guard = machine.guard("python.exception", text, "a divisor that is not 0")
        return Scalar(machine.emit("checked_int_divide", a, b, guard=guard), "float", **now)
    if symbol in _PLAIN_INT:
        return Scalar(machine.emit(_PLAIN_INT[symbol], a, b), "int", **now)
    if symbol == ">>":
        machine.require(
            machine.emit("greater_equal", b, constant(machine, 0, "i64")),
            machine.guard("python.exception", text, "a shift that is not negative"),
        )
        limit = machine.emit("minimum", b, constant(machine, 63, "i64"))
        return Scalar(machine.emit("right_shift", a, limit), "int", **now)
    if symbol == "**" and isinstance(right, Known) and right.value < 0:
        return _float_binary(machine, symbol, left, Known(float(right.value)))
    if symbol not in _CHECKED_INT:
        raise machine.python_error(TypeError, f"unsupported operand type(s) for {symbol}: 'int' and 'int'")
    value = machine.emit(_CHECKED_INT[symbol], a, b, guard=machine.guard("int.overflow", text, "an int of 64 bits"))
    _follow_dims(machine, symbol, value, (left, right), (a, b))
    return Scalar(value, "int", **now)


def _follow_dims(machine: Machine, symbol: str, result: Value, operands: Any, values: tuple[Value, Value]) -> None:
    """Remember that arithmetic on dimensions is a dimension, so that shapes made of it stay related."""
    dims: list[Dim] = []
    for operand, value in zip(operands, values, strict=True):
        if isinstance(operand, Known):
            dims.append(int(operand.value))
        elif value in machine.dims:
            dims.append(machine.dims[value])
        else:
            return
    left, right = dims
    if symbol == "//" and (not isinstance(right, int) or right <= 0):
        return
    if symbol in ("+", "-", "*", "//"):
        dim = PYTHON_OPERATORS[symbol](left, right)
        if not isinstance(dim, int):
            machine.dims[result] = dim


def _float_binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    a, b = _values(machine, left, right, "f64")
    now = followed(PYTHON_OPERATORS[symbol], left, right, symbol=symbol)
    if symbol in _PLAIN_FLOAT:
        return Scalar(_unheard(machine.emit(_PLAIN_FLOAT[symbol], a, b)), "float", **now)
    if symbol not in _CHECKED_FLOAT:
        raise machine.python_error(TypeError, f"unsupported operand type(s) for {symbol}: 'float'")
    guard = machine.guard("python.exception", machine.span.text or symbol, "a defined float")
    return Scalar(_unheard(machine.emit(_CHECKED_FLOAT[symbol], a, b, guard=guard)), "float", **now)


def _unheard(result: Value) -> Value:
    """Note that NumPy says nothing of floating-point errors in an operation: it is Python's own."""
    if result.node is not None:
        result.node.span = NotedSpan.of(result.node.span, frozenset(ERRORS))
    return result


def compare(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return a comparison of two Python numbers as a Python bool."""
    answer = _compare_dims(machine, symbol, left, right)
    if answer is not None:
        return Known(answer)
    kinds = (kind_of(left), kind_of(right))
    dtype = "f64" if "float" in kinds else "bool" if kinds == ("bool", "bool") else "i64"
    if dtype == "f64" and kinds != ("float", "float"):
        _require_exact(machine, left if kinds[0] != "float" else right)
    value = machine.emit(COMPARISONS[symbol], *_values(machine, left, right, dtype))
    now = followed(PYTHON_OPERATORS[symbol], left, right) if "float" not in kinds else {}
    return Scalar(value, "bool", **now)


def _compare_dims(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> bool | None:
    """Compare dimensions where their difference, or its bound, tells; None where only the sizes do."""
    first, second = _dim_of(machine, left), _dim_of(machine, right)
    if first is None or second is None:
        return None
    for difference, mirrored in ((first - second, symbol), (second - first, _MIRRORED[symbol])):
        least = difference if isinstance(difference, int) else difference.lower_bound()
        if least is not None and (least > 0 or (least == 0 and mirrored in (">=", "<"))):
            return mirrored in (">", ">=", "!=")
        if isinstance(difference, int) and difference == 0:
            return symbol in ("==", "<=", ">=")
    return None


_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _dim_of(machine: Machine, value: AbstractValue) -> Dim | None:
    if isinstance(value, Known):
        return value.value if type(value.value) is int else None
    return machine.dims.get(value.value) if isinstance(value, Scalar) else None


def _require_exact(machine: Machine, value: AbstractValue) -> None:
    """Python compares an int with a float exactly: guard that the int is exact as a float."""
    if kind_of(value) == "bool":
        return
    if isinstance(value, Known):
        if abs(value.value) <= _EXACT_FLOAT_INT:
            return
        raise machine.unsupported("python.int_size", "comparison", "an int beyond 2**53 is compared with a float")
    if value.sample is not None and value.value in machine.dims:  # type: ignore[attr-defined]
        return
    bounded = machine.emit("absolute", scalar_value(machine, value))  # type: ignore[arg-type]
    limit = constant(machine, _EXACT_FLOAT_INT, "i64")
    guard = machine.guard("int.overflow", machine.span.text or "comparison", "an int within 2**53")
    machine.require(machine.emit("less_equal", bounded, limit), guard)


def unary(machine: Machine, symbol: str, value: AbstractValue) -> AbstractValue:
    """Return ``-x``, ``+x`` or ``~x`` of a Python number."""
    if isinstance(value, Known):
        return Known(fold(machine, PYTHON_OPERATORS[symbol], value.value))
    assert isinstance(value, Scalar)
    now = followed(PYTHON_OPERATORS[symbol], value) if value.kind == "int" else {}
    if value.kind == "float":
        if symbol == "~":
            raise machine.python_error(TypeError, "bad operand type for unary ~: 'float'")
        return Scalar(machine.emit("negative", value.value), "float") if symbol == "u-" else value
    number = cast(machine, value.value, "i64")
    if symbol == "~":
        return Scalar(machine.emit("invert", number), "int", **now)
    if symbol == "u+":
        return Scalar(number, "int", **now)
    guard = machine.guard("int.overflow", machine.span.text or symbol, "an int of 64 bits")
    return Scalar(machine.emit("checked_negative", number, guard=guard), "int", **now)


def absolute(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return ``abs(x)`` of a Python number."""
    if isinstance(value, Known):
        return Known(abs(value.value))
    assert isinstance(value, Scalar)
    if value.kind == "float":
        return Scalar(machine.emit("absolute", value.value), "float")
    guard = machine.guard("int.overflow", machine.span.text or "abs", "an int of 64 bits")
    now = followed(abs, value) if value.kind == "int" else {}
    return Scalar(machine.emit("checked_absolute", cast(machine, value.value, "i64"), guard=guard), "int", **now)


def to_int(machine: Machine, value: Scalar) -> AbstractValue:
    """Return ``int(x)`` of a Python or NumPy number."""
    dtype = value.value.type.dtype
    if value.kind == "int":
        return value
    now = followed(int, value)
    if dtype in ("f32", "f64"):
        guard = machine.guard("python.exception", machine.span.text or "int", "a float that fits 64 bits")
        number = machine.emit("float_to_int", cast(machine, value.value, "f64"), guard=guard)
        return Scalar(number, "int", **now)
    if dtype == "u64":
        raise machine.unsupported("array.dtype", "int", "an unsigned 64-bit scalar becomes a Python int")
    return Scalar(cast(machine, value.value, "i64"), "int", **now)


def to_float(machine: Machine, value: Scalar) -> AbstractValue:
    """Return ``float(x)`` of a Python or NumPy number."""
    return value if value.kind == "float" else Scalar(to_float_value(machine, value.value), "float")


def to_float_value(machine: Machine, value: Value) -> Value:
    """Return a 0-d value as ``f64[]``."""
    return to_number(machine, value, "f64")


__all__ = ["absolute", "binary", "compare", "fold", "is_python_number", "kind_of", "to_float", "to_int", "unary"]
