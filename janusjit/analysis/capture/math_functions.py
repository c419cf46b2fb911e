"""Models of ``operator`` and ``math``.

Owns the entries of `MODELS` for them. Invariant: where a function of ``math`` raises, a guard fails.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import cast, scalar_value
from janusjit.analysis.capture.builtin_functions import converted_number
from janusjit.analysis.capture.calls import MODELS, invoke, models
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.python_types import of_type, special_method
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    Reference,
    Scalar,
    TupleValue,
    concrete,
    known,
    lift,
)
from janusjit.ir.graph import Value

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]

for _symbol, _function in (
    ("+", operator.add), ("-", operator.sub), ("*", operator.mul), ("/", operator.truediv),
    ("//", operator.floordiv), ("%", operator.mod), ("@", operator.matmul), ("==", operator.eq),
    ("!=", operator.ne), ("<", operator.lt), ("<=", operator.le), (">", operator.gt), (">=", operator.ge),
):  # fmt: skip

    def _operator_model(
        machine: Machine, arguments: Arguments, keywords: Named, symbol: str = _symbol
    ) -> AbstractValue:
        return operators.binary(machine, symbol, arguments[0], arguments[1])

    MODELS[_function] = _operator_model

#: functions of ``math`` and the op that computes each where it is defined (a domain error is a failed guard)
_MATH_OPS = {
    math.exp: "exp", math.log: "log", math.log2: "log2", math.log10: "log10", math.log1p: "log1p",
    math.expm1: "expm1", math.sin: "sin", math.cos: "cos", math.tan: "tan", math.tanh: "tanh", math.sinh: "sinh",
    math.cosh: "cosh", math.atan: "arctan", math.asin: "arcsin", math.acos: "arccos", math.sqrt: "sqrt",
    math.fabs: "absolute", math.atan2: "arctan2", math.hypot: "hypot", math.asinh: "arcsinh", math.acosh: "arccosh",
    math.atanh: "arctanh", math.copysign: "copysign",
    math.erf: "erf",
}  # fmt: skip


#: ops of two numbers
_OF_TWO = ("arctan2", "hypot", "copysign")
for _name, _op_name in (("exp2", "exp2"), ("cbrt", "cbrt")):
    if hasattr(math, _name):
        _MATH_OPS[getattr(math, _name)] = _op_name


def _model_log(machine: Machine, value: AbstractValue) -> AbstractValue:
    return MODELS[math.log](machine, [value], {})


def _float_argument(machine: Machine, value: AbstractValue) -> Value:
    value = converted_number(machine, value)
    method = special_method(machine, value, "__float__") if isinstance(value, Reference) else None
    if method is not None:
        value = of_type(machine, invoke(machine, method, (), ()), float, "__float__")
    number = scalar_value(machine, value)
    if number is None:
        raise machine.python_error(TypeError, "must be real number")
    return (
        numbers.to_number(machine, number, "f64")
        if number.type.dtype in ("i64", "bool")
        else cast(machine, number, "f64")
    )


def _math_model(function: Any, op: str) -> Any:
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        if all(map(known, arguments)):
            return Known(numbers.fold(machine, function, *map(concrete, arguments)))
        if function is math.log and len(arguments) == 2:
            return numbers.binary(machine, "/", *(_model_log(machine, part) for part in arguments))
        if len(arguments) != (2 if op in _OF_TWO else 1):
            raise machine.unsupported("python.math", f"math.{function.__name__}", "it is called with more numbers")
        inputs = [_float_argument(machine, argument) for argument in arguments]
        result = machine.emit(op, *inputs)
        # math raises where the result is not finite for a finite argument: ValueError, OverflowError
        defined = machine.emit("isfinite", result)
        machine.require(defined, machine.guard("python.exception", machine.span.text or op, "a finite result"))
        return Scalar(result, "float")

    return model


for _math_function, _op in _MATH_OPS.items():
    MODELS[_math_function] = _math_model(_math_function, _op)


@models(math.pow)
def _model_math_pow(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    floats = [
        Scalar(_float_argument(machine, a), "float") if not known(a) else Known(float(concrete(a))) for a in arguments
    ]
    return numbers.binary(machine, "**", floats[0], floats[1])


def _rounding(function: Any, op: str) -> Any:
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        value = converted_number(machine, arguments[0])
        if isinstance(value, Known):
            return Known(numbers.fold(machine, function, value.value))
        name = f"__{function.__name__}__"
        if isinstance(value, Reference) and (method := special_method(machine, value, name)) is not None:
            return invoke(machine, method, (), ())
        if isinstance(value, Scalar) and value.kind in ("int", "bool"):
            return numbers.to_int(machine, value)
        is_float = isinstance(value, Scalar) and value.kind in ("float", "numpy.f64")
        if function is math.trunc and (not is_float or isinstance(machine.resolve(arguments[0]), ArrayValue)):
            raise machine.python_error(TypeError, f"it doesn't define {name}")
        # floor and ceil take NumPy's numbers as floats, large integers too, and so do they arrays
        return numbers.to_int(machine, Scalar(machine.emit(op, _float_argument(machine, value)), "float"))

    return model


MODELS[math.floor] = _rounding(math.floor, "floor")
MODELS[math.ceil] = _rounding(math.ceil, "ceil")
MODELS[math.trunc] = _rounding(math.trunc, "trunc")


@models(math.fmod)
def _model_fmod(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if all(map(known, arguments)):
        return Known(numbers.fold(machine, math.fmod, *map(concrete, arguments)))
    inputs = [_float_argument(machine, argument) for argument in arguments]
    guard = machine.guard("python.exception", machine.span.text or "math.fmod", "a defined remainder")
    return Scalar(machine.emit("math.fmod", *inputs, guard=guard), "float")


@models(math.modf)
def _model_modf(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if known(arguments[0]):
        return lift(numbers.fold(machine, math.modf, concrete(arguments[0])))
    value = _float_argument(machine, arguments[0])
    whole = machine.emit("trunc", value)
    finite = machine.emit("isfinite", value)
    machine.require(finite, machine.guard("python.exception", machine.span.text or "math.modf", "a finite number"))
    # x - trunc(x) is exact; the fraction of -2.0 is -0.0
    fraction = machine.emit("copysign", machine.emit("subtract", value, whole), value)
    return TupleValue((Scalar(fraction, "float"), Scalar(whole, "float")))


def _classify(function: Any, op: str) -> Any:
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        if known(arguments[0]):
            return Known(numbers.fold(machine, function, concrete(arguments[0])))
        return Scalar(machine.emit(op, _float_argument(machine, arguments[0])), "bool")

    return model


for _math_function, _op in ((math.isnan, "isnan"), (math.isinf, "isinf"), (math.isfinite, "isfinite")):
    MODELS[_math_function] = _classify(_math_function, _op)
