"""Arguments of NumPy functions in capture.

Owns the registration of models by their Python signature and the decoding of axes, dtypes, flags and arrays.
Invariant: an argument that a model has no rule for leaves the function in Python; it is never dropped.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from janusjit.analysis.capture.arrays import as_array, cast, read, sequence_items, wrap
from janusjit.analysis.capture.calls import MODELS, Model
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.numpy_dimensions import require_equal, with_shape
from janusjit.analysis.capture.ufuncs import describe, store
from janusjit.analysis.capture.values import NONE, AbstractValue, ArrayValue, Known, Scalar, TupleValue
from janusjit.ir.graph import Node, Value
from janusjit.ir.types import DTYPES, dtype_name
from janusjit.ops import OPS
from janusjit.ops.indexing import Pick, Range

Rule = Callable[..., AbstractValue]
RuleType = TypeVar("RuleType", bound=Rule)

#: methods of arrays and NumPy scalars: the rule takes the array first
ARRAY_METHODS: dict[str, Model] = {}
#: an argument the caller did not give, where None means something else
MISSING_ARGUMENT = Known(np._NoValue)


def numpy_function(*functions: Any, method: str | None = None) -> Callable[[RuleType], RuleType]:
    """Register a rule for functions, and for the array method that takes the same arguments.

    The rule's own signature ``rule(machine, a, axis=…)`` binds the arguments, so its parameters are named as NumPy's.
    """

    def register(rule: RuleType) -> RuleType:
        for function in functions:
            model = by_signature(rule, f"np.{function.__name__}")
            # NumPy's own code calls what is behind the dispatcher
            for known in {function, getattr(function, "_implementation", function)}:
                MODELS[known] = model
        return rule if method is None else array_method(method)(rule)

    return register


def array_method(*names: str) -> Callable[[RuleType], RuleType]:
    """Register a rule for array methods only."""

    def register(rule: RuleType) -> RuleType:
        for name in names:
            ARRAY_METHODS[name] = by_signature(rule, f".{name}()")
        return rule

    return register


def by_signature(rule: Rule, name: str) -> Model:
    """Return the model that binds arguments to a rule's parameters, and refuses those it has none for."""
    signature = inspect.signature(rule)

    def model(
        machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
    ) -> AbstractValue:
        try:
            bound = signature.bind(machine, *arguments, **keywords)
        except TypeError as error:
            raise machine.unsupported("numpy.argument", name, f"its arguments have no rule: {error}") from error
        return rule(*bound.args, **bound.kwargs)

    return model


# ---------------------------------------------------------------------- decoding


def is_none(value: AbstractValue) -> bool:
    """Whether an argument is None."""
    return isinstance(value, Known) and value.value is None


def given(value: AbstractValue) -> bool:
    """Whether an argument is neither None nor missing."""
    return not (isinstance(value, Known) and (value.value is None or value.value is np._NoValue))


def flag(machine: Machine, value: AbstractValue, what: str) -> bool:
    """Return a truth argument, False if it is missing."""
    return given(value) and bool(machine.constant(value, what))


def refuse(machine: Machine, what: str, *values: AbstractValue) -> None:
    """Leave the function in Python if an argument that no rule handles is given."""
    if any(map(given, values)):
        raise machine.unsupported("numpy.argument", what, "the argument has no rule yet")


def refuse_where(machine: Machine, where: AbstractValue) -> None:
    """Leave the function in Python if there is a ``where=`` mask."""
    if given(where) and not (isinstance(where, Known) and where.value is True):
        raise machine.unsupported("numpy.argument", "where=", "the function has no rule for a mask yet")


def array(machine: Machine, value: AbstractValue, what: str = "an operand") -> Value:
    """Return the graph value of ``np.asarray(value)``."""
    found = as_array(machine, value)
    if found is None:
        raise machine.unsupported(
            "numpy.operand", what, f"it is {describe(machine.resolve(value))}, no array or number"
        )
    return found


def rank_of(machine: Machine, value: AbstractValue) -> int:
    """Return ``np.ndim(value)``."""
    value = machine.resolve(value)
    return value.type.rank if isinstance(value, ArrayValue) else array(machine, value).type.rank


def array_items(machine: Machine, value: AbstractValue, what: str) -> list[Value]:
    """Return the graph values of a sequence of arrays, or of the rows of one array."""
    items = sequence_items(machine, machine.resolve(value))
    if items is not None:
        return [array(machine, item, what) for item in items]
    if isinstance(value, ArrayValue) and value.type.rank and isinstance(value.type.shape[0], int):
        return rows(machine, read(machine, value))
    raise machine.unsupported("numpy.operand", what, "it is no list or tuple of arrays")


def rows(machine: Machine, value: Value) -> list[Value]:
    """Return the items along the first axis."""
    count, *rest = value.type.shape
    assert isinstance(count, int)
    whole = tuple(Range(0, size) for size in rest)
    return [machine.emit("view", value, index=(Pick(position), *whole)) for position in range(count)]


def integer(machine: Machine, value: AbstractValue, what: str) -> int:
    """Return an int argument that must be known."""
    found = machine.constant(value, what)
    return int(fold(machine, operator.index, found))


def known_number(machine: Machine, value: AbstractValue, what: str) -> Any:
    """Return a number that must be known; unlike any other float, one read from a place is assumed to stay."""
    value = machine.resolve(value)
    if isinstance(value, Scalar) and value.place is not None and machine.externals.may_assume_value(value.place):
        return machine.specialize(value)
    return machine.constant(value, what)


def axis_of(machine: Machine, value: AbstractValue, rank: int) -> int:
    """Return a normalised axis."""
    axis = integer(machine, value, "axis")
    if not -rank <= axis < rank:
        raise machine.python_error(
            np.exceptions.AxisError, f"axis {axis} is out of bounds for array of dimension {rank}"
        )
    return axis % rank


def axes_of(machine: Machine, value: AbstractValue, rank: int) -> tuple[int, ...]:
    """Return normalised axes: all for None."""
    if not given(value):
        return tuple(range(rank))
    items = sequence_items(machine, machine.resolve(value))
    axes = tuple(axis_of(machine, item, rank) for item in (items if items is not None else [value]))
    if len(set(axes)) != len(axes):
        raise machine.python_error(ValueError, "duplicate value in 'axis'")
    return axes


def strict_axis_of(machine: Machine, value: AbstractValue, rank: int) -> int:
    """Return a normalised axis of a function that is no Python code: True is none."""
    value = machine.resolve(value)
    if isinstance(value.value if isinstance(value, Known) else None, bool):
        raise machine.python_error(TypeError, "an integer is required for the axis")
    if isinstance(value, Scalar) and value.kind == "bool":
        raise machine.python_error(TypeError, "an integer is required for the axis")
    return axis_of(machine, value, rank)


def reduced_axes(machine: Machine, value: AbstractValue, rank: int) -> tuple[int, ...]:
    """Return normalised axes that a ufunc reduces over: all for None, else an int or a tuple of ints, and no list."""
    value = machine.resolve(value)
    if not given(value):
        return tuple(range(rank))
    several = isinstance(value, TupleValue) or (isinstance(value, Known) and isinstance(value.value, tuple))
    items = sequence_items(machine, value)
    if items is not None and not several:
        raise machine.python_error(TypeError, "'list' object cannot be interpreted as an integer")
    axes = tuple(strict_axis_of(machine, item, rank) for item in (items if items is not None else [value]))
    if len(set(axes)) != len(axes):
        raise machine.python_error(ValueError, "duplicate value in 'axis'")
    return axes


def dtype_of(machine: Machine, value: AbstractValue, default: str | None = None) -> str | None:
    """Return the short name of a dtype argument in any of its forms; ``default`` for None."""
    if not given(value):
        return default
    dtype = fold(machine, np.dtype, machine.constant(value, "dtype"))
    name = dtype_name(dtype) if dtype.isnative else None
    if name is None:
        raise machine.unsupported("array.dtype", "dtype", f"graphs do not hold {dtype}")
    return name


def common_dtype(machine: Machine, values: Sequence[Value]) -> str:
    """Return the dtype arrays promote to together."""
    name = dtype_name(np.result_type(*(value.type.numpy_dtype for value in values)))
    assert name is not None
    return name


def with_common_dtype(machine: Machine, values: Sequence[Value]) -> list[Value]:
    """Cast arrays to the dtype they promote to together."""
    name = common_dtype(machine, values)
    return [cast(machine, value, name) for value in values]


# ---------------------------------------------------------------------- results


def operate_node(machine: Machine, op: str, *inputs: Value, **attributes: Any) -> Node:
    """Emit an operation with the guard it needs, and return its node."""
    guard = None
    if OPS[op].may_fail(tuple(value.type for value in inputs), attributes):
        guard = machine.guard("numpy.exception", machine.span.text or op, "no NumPy error")
    return machine.emit_node(op, inputs, attributes, guard)


def operate(machine: Machine, op: str, *inputs: Value, **attributes: Any) -> Value:
    """Emit an operation with the guard it needs, and return its first result."""
    return operate_node(machine, op, *inputs, **attributes).results[0]


def finish(machine: Machine, result: Value, out: AbstractValue = NONE) -> AbstractValue:
    """Return a result as NumPy does, or write it to ``out``."""
    if not given(out):
        return wrap(machine, result)
    if isinstance(out, TupleValue) and len(out.items) == 1:
        out = machine.resolve(out.items[0])
    fits = isinstance(out, ArrayValue) and (out.type.dtype, out.type.rank) == (result.type.dtype, result.type.rank)
    if not fits:
        raise machine.unsupported("numpy.argument", "out=", f"it is no array of type {result.type}")
    assert isinstance(out, ArrayValue)
    for dim, wanted in zip(result.type.shape, out.type.shape, strict=True):
        require_equal(machine, dim, wanted, "output array does not match the result's shape")
    return store(machine, out, with_shape(machine, result, out.type.shape))


def limits(dtype: str) -> tuple[Any, Any]:
    """Return the least and greatest value of a dtype, infinities for floats."""
    if dtype[0] in "iu":
        information = np.iinfo(DTYPES[dtype])
        return information.min, information.max
    return (False, True) if dtype == "bool" else (-np.inf, np.inf)
