"""NumPy universal functions in capture.

Owns `apply`, which emits one elementwise op with NumPy's type resolution (NEP 50), ``out``, ``where`` and ``dtype``.
Invariant: the loop's dtypes come from ``ufunc.resolve_dtypes`` itself, so promotion is NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    as_array,
    cast,
    constant,
    is_python_number,
    new_array,
    read,
    scalar_value,
    wrap,
    write,
)
from janusjit.analysis.capture.elements import fits, python_constant, require_fits
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import kind_of
from janusjit.analysis.capture.numpy_dimensions import align, fitted
from janusjit.analysis.capture.signals import PythonRaise
from janusjit.analysis.capture.values import NONE, AbstractValue, ArrayValue, Known, Scalar, TupleValue
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name
from janusjit.ops import OPS
from janusjit.spans import NotedSpan

_PYTHON_CLASSES: dict[str, Any] = {"int": int, "float": float, "bool": np.dtype("bool")}
#: ufuncs that are another's op
_OP_NAMES = {"radians": "deg2rad", "degrees": "rad2deg", "conjugate": "positive", "fabs": "absolute"}
_POWERS = (np.power, np.float_power)
_COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
#: exponents up to this are multiplied out for integers
_SMALL_EXPONENT = 8


def call(
    machine: Machine, ufunc: np.ufunc, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    """Return ``ufunc(*arguments, **keywords)``."""
    unknown = set(keywords) - {"out", "where", "dtype", "order", "subok", "casting"}
    if unknown:
        raise machine.unsupported("numpy.argument", f"np.{ufunc.__name__}", f"{min(unknown)}= has no rule yet")
    if ufunc is np.divmod and not keywords and len(arguments) == 2:
        return TupleValue(tuple(apply(machine, part, arguments) for part in (np.floor_divide, np.remainder)))
    if ufunc.nout == 2 and not keywords and len(arguments) == ufunc.nin:
        return _apply_for_two(machine, ufunc, arguments)
    dtype = machine.constant(keywords.get("dtype", NONE), "dtype")
    casting = machine.constant(keywords.get("casting", Known("same_kind")), "casting")
    return apply(machine, ufunc, arguments, keywords.get("out"), keywords.get("where"), dtype, casting)


def apply(
    machine: Machine,
    ufunc: np.ufunc,
    arguments: Sequence[AbstractValue],
    out: AbstractValue | None = None,
    where: AbstractValue | None = None,
    dtype: Any = None,
    casting: str = "same_kind",
) -> AbstractValue:
    """Return ``ufunc(*arguments, out=out, where=where, dtype=dtype, casting=casting)``.

    Raises
    ------
    CaptureFailure
        If the ufunc is not among the ops, or an operand is no array, number or sequence of them.
    """
    if ufunc.nout != 1:
        raise machine.unsupported("numpy.function", f"np.{ufunc.__name__}", "it has several results")
    if len(arguments) > ufunc.nargs or (len(arguments) > ufunc.nin and out is not None):
        raise machine.python_error(TypeError, f"{ufunc.__name__}() takes at most {ufunc.nargs} positional arguments")
    if len(arguments) > ufunc.nin:
        out, arguments = arguments[ufunc.nin], arguments[: ufunc.nin]
    if len(arguments) < ufunc.nin:
        raise machine.python_error(TypeError, f"{ufunc.__name__}() takes from {ufunc.nin} positional arguments")
    if isinstance(out, TupleValue) and len(out.items) == 1:
        out = out.items[0]
    as_array_result = isinstance(out, Known) and out.value is Ellipsis  # never a NumPy scalar
    if as_array_result or (isinstance(out, Known) and out.value is None):
        out = None
    masked = where is not None and not (isinstance(where, Known) and where.value is True)
    if out is None and masked:
        raise machine.unsupported("array.uninitialized", "where=", "'where' without 'out' leaves elements undefined")
    values, kinds = _operands(machine, ufunc, arguments)
    loop = _resolve(machine, ufunc, kinds, dtype, casting)
    inputs = [
        _to_loop(machine, ufunc, argument, value, name)
        for argument, value, name in zip(arguments, values, loop, strict=False)
    ]
    result = _emit(machine, ufunc, align(machine, inputs), arguments)
    if not result.type.shape:
        note_operation(result, ufunc.__name__)
    if out is None:
        return new_array(machine, result) if as_array_result else wrap(machine, result)
    return store(machine, out, result, where, casting)


def loop_of(machine: Machine, ufunc: np.ufunc, dtypes: Sequence[np.dtype]) -> str:
    """Return the dtype that a ufunc takes its operands in, if they are arrays of these dtypes."""
    return _resolve(machine, ufunc, list(dtypes), None)[0]


def note_operation(result: Value, name: str) -> None:
    """Note what NumPy's warnings call the operation on numbers that has given a result."""
    if result.node is not None:
        result.node.span = NotedSpan.of(result.node.span, operation=name)


def _apply_for_two(machine: Machine, ufunc: np.ufunc, arguments: Sequence[AbstractValue]) -> AbstractValue:
    """Return the two results of a ufunc."""
    values, kinds = _operands(machine, ufunc, arguments)
    loop = _resolve(machine, ufunc, kinds, None)
    inputs = [_to_loop(machine, ufunc, *parts) for parts in zip(arguments, values, loop, strict=False)]
    node = machine.emit_node(ufunc.__name__, tuple(align(machine, inputs)), {})
    return TupleValue(tuple(wrap(machine, result) for result in node.results))


def _emit(machine: Machine, ufunc: np.ufunc, inputs: list[Value], arguments: Sequence[AbstractValue]) -> Value:
    if ufunc in _POWERS:
        exponent = machine.resolve(arguments[1])
        number = exponent.value if isinstance(exponent, Known) else None
        return emit_power(machine, inputs[0], inputs[1], number, inputs[1].type.size == 1)
    op = _OP_NAMES.get(ufunc.__name__, ufunc.__name__)
    return machine.emit(op, *inputs, guard=_guard(machine, op, inputs))


def emit_power(machine: Machine, base: Value, exponent: Value, number: Any, scalar: bool) -> Value:
    """Emit a power of operands in the loop's dtype; ``number`` is the exponent where it is known."""
    if not base.type.is_float:
        if isinstance(number, int | np.integer):
            if number < 0:
                raise machine.python_error(ValueError, "Integers to negative integer powers are not allowed.")
            if 0 < number <= _SMALL_EXPONENT:
                return _multiplied(machine, base, int(number))
        return machine.emit("integer_power", base, exponent, guard=_guard(machine, "integer_power", [base, exponent]))
    if scalar and number == 2:
        return machine.emit("square", base)
    return machine.emit("scalar_power" if scalar else "power", base, exponent)


def _multiplied(machine: Machine, base: Value, exponent: int) -> Value:
    if exponent == 1:
        return machine.emit("positive", base)
    half = _multiplied(machine, base, exponent // 2) if exponent > 3 else base
    result = machine.emit("multiply", half, half)
    return machine.emit("multiply", result, base) if exponent % 2 else result


def _guard(machine: Machine, op: str, inputs: list[Value]) -> Any:
    if not OPS[op].may_fail(tuple(v.type for v in inputs), {}):
        return None
    return machine.guard("numpy.exception", machine.span.text or op, "no NumPy error")


def _operands(
    machine: Machine, ufunc: np.ufunc, arguments: Sequence[AbstractValue]
) -> tuple[list[Value | None], list[Any]]:
    if not (ufunc in _POWERS or _OP_NAMES.get(ufunc.__name__, ufunc.__name__) in OPS):
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


def _resolve(machine: Machine, ufunc: np.ufunc, kinds: list[Any], dtype: Any, casting: str = "same_kind") -> list[str]:
    if all(kind in (int, float) for kind in kinds):
        kinds = [np.dtype(kind) for kind in kinds]
    options: dict[str, Any] = {"casting": casting}
    if dtype is not None:
        named_by_class = isinstance(dtype, type) and issubclass(dtype, np.dtype) and dtype is not np.dtype
        options["signature"] = (*(None for _ in kinds), dtype() if named_by_class else np.dtype(dtype))
    try:
        resolved = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout), **options)
    except TypeError as error:
        raise PythonRaise(TypeError, Known(error)) from error
    names = [dtype_name(found) for found in resolved]
    if any(name is None for name in names):
        foreign = next(found for found, name in zip(resolved, names, strict=True) if name is None)
        raise machine.unsupported("array.dtype", f"np.{ufunc.__name__}", f"it is computed in {foreign}")
    return [str(name) for name in names]


def _to_loop(machine: Machine, ufunc: np.ufunc, argument: AbstractValue, value: Value | None, dtype: str) -> Value:
    argument = machine.resolve(argument)
    if value is None:
        assert isinstance(argument, Known)
        if ufunc in _COMPARISONS and dtype[0] in "iu" and not fits(argument.value, dtype):
            raise machine.unsupported("numpy.operand", f"np.{ufunc.__name__}", "a Python int exceeds the array's dtype")
        return python_constant(machine, argument.value, dtype)
    if isinstance(argument, Scalar) and argument.kind == "int" and dtype[0] in "iu" and dtype != "i64":
        require_fits(machine, value, dtype)
    converted = cast(machine, value, dtype)
    if converted is not value and not value.type.shape:
        note_operation(converted, "cast")
    return converted


def store(
    machine: Machine,
    out: AbstractValue,
    result: Value,
    where: AbstractValue | None = None,
    casting: str = "same_kind",
) -> AbstractValue:
    """Write a result to an ``out`` array, as NumPy's ``casting`` allows, and return that array."""
    out = machine.resolve(out)
    if not isinstance(out, ArrayValue):
        raise machine.unsupported("numpy.argument", "out=", f"it is {describe(out)}")
    target = out.type
    if not np.can_cast(result.type.numpy_dtype, target.numpy_dtype, casting):  # type: ignore[arg-type]
        raise machine.python_error(
            TypeError, f"Cannot cast ufunc output from {result.type.numpy_dtype!r} to {target.numpy_dtype!r}"
        )
    value = fitted(machine, cast(machine, result, target.dtype), target.shape, "non-broadcastable output operand")
    if where is not None and not (isinstance(where, Known) and where.value is True):
        mask = as_array(machine, where)
        if mask is None:
            raise machine.unsupported("numpy.operand", "where=", "the mask is not an array")
        mask = fitted(machine, cast(machine, mask, "bool"), target.shape)
        value = machine.emit("where", mask, value, read(machine, out))
    write(machine, out, value)
    return out


#: exponents for which ``array ** number`` runs another ufunc
_FAST_POWERS = {1.0: np.positive, 2.0: np.square, -1.0: np.reciprocal, 0.5: np.sqrt}


def _fast_power(left: ArrayValue, right: AbstractValue) -> np.ufunc | None:
    """Return the ufunc ``ndarray.__pow__`` runs instead of ``power``, by which a bool array's square is of int8."""
    if not isinstance(right, Known) or type(right.value) not in (int, float):
        return None
    if left.type.is_float:
        return _FAST_POWERS.get(float(right.value))
    return np.square if type(right.value) is int and right.value == 2 else None


def _require_other_power(machine: Machine, left: ArrayValue, right: AbstractValue) -> None:
    """Guard that a run-time exponent of a bool array is none whose result has another dtype."""
    if left.type.dtype == "bool" and isinstance(right, Scalar) and right.kind == "int":
        other = machine.emit("not_equal", right.value, constant(machine, 2, "i64"))
        machine.require(other, machine.guard("value", machine.span.text or "**", "an exponent other than 2"))


def power(machine: Machine, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left ** right`` with an array or NumPy scalar, by the fast paths of ``ndarray.__pow__``."""
    if isinstance(left, ArrayValue):
        _require_other_power(machine, left, right)
        ufunc = _fast_power(left, right)
        return apply(machine, np.power, (left, right)) if ufunc is None else apply(machine, ufunc, (left,))
    if isinstance(right, ArrayValue) and right.type.shape:
        return apply(machine, np.power, (left, right))
    values, kinds = _operands(machine, np.power, (left, right))
    loop = _resolve(machine, np.power, kinds, None)
    inputs = [
        _to_loop(machine, np.power, argument, value, name)
        for argument, value, name in zip((left, right), values, loop, strict=False)
    ]
    number = right.value if isinstance(right, Known) and not inputs[0].type.is_float else None
    return wrap(machine, emit_power(machine, inputs[0], inputs[1], number, False))
