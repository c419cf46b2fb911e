"""Variables in capture.

Owns the models of `Variable`. Invariant: a variable in capture is an instance with the attributes that it has in plain
Python; ``_data`` of a recorded result is its value in the graph, and ``_history`` says so. An operation on variables is
the operation on their values, whose results are variables again where they are floats.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import operators
from janusjit.analysis.capture.arrays import (
    as_array,
    cast,
    new_array,
    read,
    scalar_value,
    sequence_items,
    type_of,
)
from janusjit.analysis.capture.attributes import get_attribute, write_instance
from janusjit.analysis.capture.calls import OVERRIDE, call, invoke, models
from janusjit.analysis.capture.containers import get_item, set_item
from janusjit.analysis.capture.externals import Unread
from janusjit.analysis.capture.gradient_modes import mode
from janusjit.analysis.capture.leaves import copy_of
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import COMPARISONS
from janusjit.analysis.capture.protocols import length, truth
from janusjit.analysis.capture.state import DictObject, Instance, ListObject
from janusjit.analysis.capture.values import (
    NONE,
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    Known,
    ModelledCallable,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.differentiated import stop_gradient
from janusjit.analysis.variables import (
    BINARY_METHODS,
    FREED,
    IN_GRAPH,
    IN_PLACE_METHODS,
    RECORDED_IN_GRADIENT,
    UNARY_METHODS,
    Recorded,
    Variable,
    own_copy,
    untracked,
)
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name
from janusjit.spans import NotedSpan

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]
Rule = Callable[..., AbstractValue]

_LEAF_WRITTEN = "a leaf Variable that requires gradients is written in place: see no_grad()"


# ---------------------------------------------------------------------- what variables are


def is_variable(machine: Machine, value: AbstractValue) -> bool:
    """Whether a value is a variable."""
    if not isinstance(value, Reference):
        return False
    item = machine.heap(value)
    return isinstance(item, Instance) and issubclass(item.type_, Variable)


def history(machine: Machine, variable: Reference) -> Recorded | None:
    """Return where a variable comes from: None, if it is a leaf.

    Raises
    ------
    CaptureFailure
        If it is the result of operations recorded before the call.
    """
    found = get_attribute(machine, variable, "_history")
    if isinstance(found, Known) and (found.value is None or isinstance(found.value, Recorded)):
        return found.value
    raise machine.unsupported("gradient.recorded", "Variable", "it was computed before, and what led to it is outside")


def requires_grad(machine: Machine, variable: Reference) -> bool:
    """Whether a variable requires gradients."""
    return bool(machine.constant(get_attribute(machine, variable, "requires_grad"), "requires_grad"))


def holds_variable(machine: Machine, value: AbstractValue) -> bool:
    """Whether a value is a variable, or a tuple, list or dict that holds one; nothing is read from outside for that."""
    if isinstance(value, Unread):
        return _is_held(value.live)
    if isinstance(value, TupleValue):
        return any(holds_variable(machine, item) for item in value.items)
    if isinstance(value, Reference):
        item = machine.heap(value)
        if isinstance(item, ListObject):
            return any(holds_variable(machine, part) for part in item.items)
        if isinstance(item, DictObject):
            return any(holds_variable(machine, part) for part in item.items.values())
    return is_variable(machine, value)


def _is_held(live: Any) -> bool:
    if isinstance(live, list | tuple):
        return any(map(_is_held, live))
    return any(map(_is_held, live.values())) if isinstance(live, dict) else isinstance(live, Variable)


def recorded(machine: Machine, *values: AbstractValue) -> bool:
    """Whether an operation on these values is recorded."""
    return mode(machine).enabled and any(_requires(machine, value) for value in values)


def _requires(machine: Machine, value: AbstractValue) -> bool:
    value = machine.resolve(value)
    if isinstance(value, TupleValue):
        return any(_requires(machine, item) for item in value.items)
    if isinstance(value, Reference) and isinstance(item := machine.heap(value), ListObject):
        return any(_requires(machine, part) for part in item.items)
    return is_variable(machine, value) and requires_grad(machine, value)  # type: ignore[arg-type]


def made(
    machine: Machine, data: AbstractValue, needs_gradient: bool, origin: Recorded | None, type_: type = Variable
) -> Reference:
    """Return a new variable."""
    attributes = {"_data": data, "grad": NONE, "requires_grad": Known(needs_gradient), "_history": Known(origin)}
    return machine.state.allocate(Instance(type_=type_, attributes=attributes))


# ---------------------------------------------------------------------- in and out


def opened(machine: Machine, value: AbstractValue, records: bool) -> AbstractValue:
    """Return a value with the arrays and numbers of variables in their place."""
    value = machine.resolve(value)
    if is_variable(machine, value):
        assert isinstance(value, Reference)
        return _contents(machine, value, records)
    if isinstance(value, TupleValue) and holds_variable(machine, value):
        return TupleValue(tuple(opened(machine, item, records) for item in value.items), value.type_)
    if isinstance(value, Reference) and holds_variable(machine, value):
        items = sequence_items(machine, value)
        if items is None:
            raise machine.unsupported("gradient.container", "Variable", "a dict of variables is an operand")
        return machine.state.allocate(ListObject(items=[opened(machine, item, records) for item in items]))
    return value


def _contents(machine: Machine, variable: Reference, records: bool) -> AbstractValue:
    origin, data = history(machine, variable), get_attribute(machine, variable, "_data")
    if origin is None:
        if not isinstance(data, ArrayValue):
            raise machine.unsupported("gradient.data", "Variable", "its data are no array")
        if not records:
            return data
        wanted = requires_grad(machine, variable)
        return snapshot(machine, copy_of(machine, variable, data) if wanted else read(machine, data))
    if records:
        if origin is FREED:
            raise machine.unsupported("gradient.freed", "Variable", "the operations that led to it have been freed")
        return data
    return detached(machine, data)


def snapshot(machine: Machine, value: Value) -> ArrayValue:
    """Return a read-only array that nothing else refers to."""
    array = new_array(machine, value)
    machine.state.at(array.storage).writeable = False
    return array


def detached(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return an array or number that no variable's backward pass goes through."""
    if isinstance(value, Scalar) and value.value.type.is_float:
        return Scalar(machine.emit("detach", value.value), value.kind)
    if isinstance(value, ArrayValue) and value.type.is_float:
        return snapshot(machine, machine.emit("detach", read(machine, value)))
    return value


def dressed(machine: Machine, value: AbstractValue, records: bool) -> AbstractValue:
    """Return the result of an operation, each array of floats in it as a variable."""
    value = machine.resolve(value)
    if isinstance(value, Known) and isinstance(value.value, np.floating):
        number = scalar_value(machine, value)
        assert number is not None
        value = Scalar(number, f"numpy.{number.type.dtype}")
    if isinstance(value, ArrayValue) and value.type.is_float:
        return made(machine, value, records, IN_GRAPH if records else None)
    if isinstance(value, Scalar) and value.value.type.is_float:
        if value.kind == "float":
            return detached(machine, value)
        data = value if records else new_array(machine, value.value)
        return made(machine, data, records, IN_GRAPH if records else None)
    if isinstance(value, TupleValue):
        return TupleValue(tuple(dressed(machine, item, records) for item in value.items), value.type_)
    if isinstance(value, Reference) and isinstance(item := machine.heap(value), ListObject):
        return machine.state.allocate(ListObject(items=[dressed(machine, part, records) for part in item.items]))
    if isinstance(value, Known | Scalar | ArrayValue):
        return value
    raise machine.unsupported("gradient.result", "Variable", f"the result is a {type(value).__name__}")


def operate(machine: Machine, rule: Rule, *operands: AbstractValue) -> AbstractValue:
    """Do an operation on operands among which there are variables."""
    records = recorded(machine, *operands)
    with _noted(machine, records):
        found = rule(machine, *(opened(machine, operand, records) for operand in operands))
    return dressed(machine, found, records)


@contextlib.contextmanager
def _noted(machine: Machine, records: bool) -> Iterator[None]:
    """Note of the operations of a ``with`` block that plain Python ignores their errors, if it records them."""
    span = machine.span
    machine.span = NotedSpan.of(span, frozenset(ERRORS if records else ()), is_doubtful=not records)
    try:
        yield
    finally:
        machine.span = span


def without_variables(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return what `janusjit.grad` differentiates by, or differentiates: of a variable, a copy of its data.

    Raises
    ------
    PythonRaise
        TypeError, if operations on the variable are recorded: of which gradient it would be a part is not clear.
    """
    if not is_variable(machine, value):
        return value
    if recorded(machine, value):
        raise machine.python_error(TypeError, RECORDED_IN_GRADIENT)
    data = opened(machine, value, False)
    return new_array(machine, read(machine, data)) if isinstance(data, ArrayValue) else data


# ---------------------------------------------------------------------- operators


def _register_binary(function: Any, symbol: str, reflected: bool) -> None:
    @models(function)
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        left, right = reversed(arguments) if reflected else arguments
        if symbol in COMPARISONS:
            operands = (opened(machine, operand, False) for operand in (left, right))
            return dressed(machine, operators.binary(machine, symbol, *operands), False)
        return operate(machine, lambda machine, a, b: operators.binary(machine, symbol, a, b), left, right)


def _register_in_place(function: Any, symbol: str) -> None:
    @models(function)
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        owner, operand = arguments
        assert isinstance(owner, Reference)
        if not recorded(machine, owner, operand):
            with _noted(machine, False):
                operators.in_place(machine, symbol, _writeable(machine, owner), opened(machine, operand, False))
            return owner
        target = _recorded_target(machine, owner)
        if not isinstance(target, ArrayValue) or target.type.shape == ():
            return operate(machine, lambda machine, a, b: operators.binary(machine, symbol, a, b), owner, operand)
        with _noted(machine, True):
            operators.in_place(machine, symbol, target, opened(machine, operand, True))
        return owner


def _register_unary(function: Any, symbol: str) -> None:
    @models(function)
    def model(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
        if symbol == "abs":
            return operate(machine, lambda machine, a: invoke(machine, Known(np.absolute), [a], ()), arguments[0])
        return operate(machine, lambda machine, a: operators.unary(machine, symbol, a), arguments[0])


for _function, (_symbol, _reflected) in BINARY_METHODS.items():
    _register_binary(_function, _symbol, _reflected)
for _function, _symbol in IN_PLACE_METHODS.items():
    _register_in_place(_function, _symbol)
for _function, _symbol in UNARY_METHODS.items():
    _register_unary(_function, _symbol)


def _writeable(machine: Machine, owner: Reference) -> ArrayValue:
    """Return the array that is written where nothing is recorded."""
    if history(machine, owner) is not None:
        raise machine.python_error(ValueError, "assignment destination is read-only")
    data = get_attribute(machine, owner, "_data")
    if not isinstance(data, ArrayValue):
        raise machine.unsupported("gradient.data", "Variable", "its data are no array")
    return data


def _recorded_target(machine: Machine, owner: Reference) -> AbstractValue:
    """Return what is written where that is recorded; a leaf that requires no gradients becomes a result."""
    origin = history(machine, owner)
    if origin is FREED:
        raise machine.unsupported("gradient.freed", "Variable", "the operations that led to it have been freed")
    if origin is None:
        if requires_grad(machine, owner):
            raise machine.python_error(RuntimeError, _LEAF_WRITTEN)
        data = get_attribute(machine, owner, "_data")
        if not isinstance(data, ArrayValue) or data.type.shape == ():
            raise machine.unsupported("gradient.data", "Variable", "a number is written in place")
        write_instance(machine, owner, "_data", new_array(machine, machine.emit("copy", read(machine, data))))
        write_instance(machine, owner, "_history", Known(IN_GRAPH))
        write_instance(machine, owner, "requires_grad", Known(True))
    return get_attribute(machine, owner, "_data")


# ---------------------------------------------------------------------- functions, methods, attributes, items


def _is_ours(function: Any) -> bool:
    return isinstance(function, types.FunctionType) and function in OVERRIDDEN


def _override(
    machine: Machine, function: AbstractValue, arguments: Arguments, keywords: Sequence[tuple[str, AbstractValue]]
) -> AbstractValue | None:
    """Call a function of NumPy, if an argument is a variable or holds one."""
    owner = machine.resolve(function.owner) if isinstance(function, BuiltinMethod) else function
    if not isinstance(owner, Known) or not (isinstance(owner.value, np.ufunc | type(np.sum)) or _is_ours(owner.value)):
        return None
    operands = [*arguments, *(value for _, value in keywords)]
    if not any(holds_variable(machine, operand) for operand in operands):
        return None
    if any(name == "out" for name, _ in keywords):
        raise machine.unsupported("gradient.out", "out=", "an operation on variables has an argument out=")
    names = [name for name, _ in keywords]

    def rule(machine: Machine, *given: AbstractValue) -> AbstractValue:
        named = list(zip(names, given[len(arguments) :], strict=True))
        return invoke(machine, function, given[: len(arguments)], named)

    return operate(machine, rule, *operands)


OVERRIDE.append(_override)
#: functions besides NumPy's that are operations on arrays, and so on variables
OVERRIDDEN: set[Any] = {stop_gradient}


@models(Variable.__getattr__)
def _model_getattr(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    owner, name = arguments[0], machine.constant(arguments[1], "a name")
    found = None if name.startswith("_") else getattr(np.ndarray, name, None)
    if found is None:
        raise machine.python_error(AttributeError, f"'Variable' object has no attribute {name!r}")
    if not callable(found):
        if name in ("T", "mT", "real", "imag"):
            return operate(machine, lambda machine, a: get_attribute(machine, a, name), owner)
        return dressed(machine, get_attribute(machine, opened(machine, owner, False), name), False)

    def method(machine: Machine, given: Arguments, named: Named) -> AbstractValue:
        names = [*named]

        def rule(machine: Machine, target: AbstractValue, *rest: AbstractValue) -> AbstractValue:
            passed = list(zip(names, rest[len(given) :], strict=True))
            result = call(machine, BuiltinMethod(target, name), rest[: len(given)], passed, None)
            assert result is not None
            return result

        return operate(machine, rule, owner, *given, *named.values())

    return ModelledCallable(name, method)


@models(Variable.__getitem__)
def _model_getitem(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return operate(machine, get_item, *arguments)


@models(Variable.__setitem__)
def _model_setitem(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    owner, index, value = arguments
    assert isinstance(owner, Reference)
    if recorded(machine, owner, value):
        target = _recorded_target(machine, owner)
        set_item(machine, target, opened(machine, index, False), opened(machine, value, True))
    else:
        target = _writeable(machine, owner)
        set_item(machine, target, opened(machine, index, False), opened(machine, value, False))
    return NONE


@models(Variable.__len__)
def _model_len(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return length(machine, opened(machine, arguments[0], False))


@models(Variable.__iter__)
def _model_iter(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    type_ = type_of(machine, opened(machine, arguments[0], False))
    if type_ is None or not type_.shape or not isinstance(type_.shape[0], int):
        raise machine.unsupported("gradient.iteration", "for", "the length of the variable varies")
    rows = [operate(machine, get_item, arguments[0], Known(number)) for number in range(type_.shape[0])]
    return TupleValue(tuple(rows))


@models(Variable.__bool__)
def _model_bool(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    answer = truth(machine, opened(machine, arguments[0], False))
    return Known(answer) if isinstance(answer, bool) else Scalar(answer, "bool")


@models(Variable.__float__, Variable.item)
def _model_float(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = as_array(machine, opened(machine, arguments[0], False))
    if value is None or value.type.size != 1:
        raise machine.unsupported("gradient.number", "float", "not known to have one element")
    element = machine.emit("reshape", value, shape=()) if value.type.shape else value
    return Scalar(cast(machine, element, "f64"), "float")


@models(Variable.__int__, Variable.__format__, Variable.__repr__, Variable.__array__, Variable.__reduce__)
def _model_left_to_python(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    raise machine.unsupported("gradient.method", "Variable", "the method is Python's to run")


# ---------------------------------------------------------------------- data


@models(Variable.data.fget)  # type: ignore[attr-defined]
def _model_data(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    (owner,) = arguments
    assert isinstance(owner, Reference)
    if history(machine, owner) is None:
        return get_attribute(machine, owner, "_data")
    data = _contents(machine, owner, False)
    return snapshot(machine, data.value) if isinstance(data, Scalar) else data


@models(Variable.data.fset)  # type: ignore[attr-defined]
def _model_set_data(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    owner, value = arguments
    assert isinstance(owner, Reference)
    if history(machine, owner) is not None:
        raise machine.python_error(RuntimeError, "the data of the result of a recorded operation cannot be replaced")
    present = get_attribute(machine, owner, "_data")
    if isinstance(present, ArrayValue) and isinstance(value, ArrayValue) and present.identity == value.identity:
        return NONE
    if not isinstance(value, ArrayValue) or not value.type.is_float:
        write_instance(machine, owner, "_data", _own_copy(machine, value, NONE))
    else:
        write_instance(machine, owner, "_data", value)
    return NONE


@models(untracked)
def _model_untracked(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    (data,) = arguments
    if not isinstance(data, ArrayValue):
        value = as_array(machine, data)
        if value is None:
            raise machine.unsupported("gradient.data", "Variable", "its data are no array")
        data = new_array(machine, value)
    return made(machine, data, False, None)


@models(own_copy)
def _model_own_copy(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _own_copy(machine, *arguments)


def _own_copy(machine: Machine, data: AbstractValue, dtype: AbstractValue) -> ArrayValue:
    if holds_variable(machine, data):
        data = opened(machine, data, False)
    value = as_array(machine, data)
    if value is None:
        raise machine.unsupported("gradient.data", "Variable", "what it is made of is no array")
    wanted = machine.constant(dtype, "dtype")
    name = value.type.dtype if wanted is None else dtype_name(np.dtype(wanted))
    if wanted is not None and name not in ("f32", "f64"):
        raise machine.unsupported("gradient.data", "Variable", f"its dtype is {wanted}")
    if name not in ("f32", "f64"):
        name = "f64"
    converted = cast(machine, value, name)
    return new_array(machine, machine.emit("copy", converted) if converted is value else converted)
