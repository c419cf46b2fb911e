"""Operators on abstract values.

Owns the capture rules of `Operate` and `OperateInPlace` and the dispatch by operand kinds. Invariant: the order of
attempts is Python's (in-place method, left method, reflected method), and in-place operators on arrays write the
array.
"""

from __future__ import annotations

import enum
import operator
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers, ufuncs
from janusjit.analysis.capture.arrays import as_array, is_array_like, is_number, is_python_number, sequence_items
from janusjit.analysis.capture.equality import equal
from janusjit.analysis.capture.identity import is_one_nan, same_object
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.numbers import fold
from janusjit.analysis.capture.protocols import (
    dict_view_items,
    guard_structure,
    hash_key,
    holds_object,
    invoke,
    iterator_over,
    rejected,
    truth,
)
from janusjit.analysis.capture.python_types import python_type, special_method
from janusjit.analysis.capture.state import DictObject, ListObject, SetObject
from janusjit.analysis.capture.values import (
    FALSE,
    AbstractValue,
    ArrayValue,
    BuiltinMethod,
    Deferred,
    DictView,
    HostValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    TupleValue,
)
from janusjit.analysis.core import Operate, OperateInPlace
from janusjit.ir.graph import Value
from janusjit.ir.guards import find_on_type
from janusjit.ir.types import dtype_name

UFUNCS: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "^": np.bitwise_xor,
    "<<": np.left_shift,
    ">>": np.right_shift,
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "u-": np.negative,
    "u+": np.positive,
    "~": np.invert,
}
_SPECIAL = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul",
    "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift",
}  # fmt: skip
_COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_REFLECTED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_UNARY = {"u-": "__neg__", "u+": "__pos__", "~": "__invert__"}


@executes(Operate)
def execute_operate(machine: Machine, instruction: Operate) -> None:
    """``target = left OP right``."""
    left = machine.get(instruction.left)
    if instruction.right is None:
        result = unary(machine, instruction.operator, left)
    else:
        result = binary(machine, instruction.operator, left, machine.get(instruction.right))
    machine.set(instruction.target, result)


@executes(OperateInPlace)
def execute_operate_in_place(machine: Machine, instruction: OperateInPlace) -> None:
    """``target = left OP= right``."""
    left, right = machine.get(instruction.left), machine.get(instruction.right)
    machine.set(instruction.target, in_place(machine, instruction.operator.removesuffix("="), left, right))


def unary(machine: Machine, symbol: str, value: AbstractValue) -> AbstractValue:
    """Return ``not x``, ``-x``, ``+x`` or ``~x``."""
    if symbol == "not":
        known_truth = truth(machine, value)
        if isinstance(known_truth, bool):
            return Known(not known_truth)
        return Scalar(machine.emit("logical_not", known_truth), "bool")
    if is_python_number(value):
        return numbers.unary(machine, symbol, value)
    if is_array_like(value):
        return ufuncs.apply(machine, UFUNCS[symbol], (value,))
    method = special_method(machine, value, _UNARY[symbol])
    if method is not None:
        return invoke(machine, method)
    if isinstance(value, Known):
        return Known(numbers.fold(machine, numbers.PYTHON_OPERATORS[symbol], value.value))
    message = f"bad operand type for unary {symbol.removeprefix('u')}"
    raise rejected(machine, symbol, message, (value, _UNARY[symbol]))


def binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return ``left symbol right``."""
    if symbol in ("is", "is not"):
        return _negate_if(machine, same_object(machine, left, right), symbol == "is not")
    if symbol not in ("in", "not in") and (isinstance(left, Known) or isinstance(right, Known)):
        result = _by_special_methods(machine, symbol, left, right)
        if result is not None:
            return result
    left, right = _plain(left), _plain(right)
    if symbol in ("in", "not in"):
        return _negate_if(machine, contains(machine, right, left), symbol == "not in")
    if is_python_number(left) and is_python_number(right):
        return numbers.binary(machine, symbol, left, right)
    result = _by_special_methods(machine, symbol, left, right)
    if result is not None:
        return result
    text = _text(machine, symbol, left, right)
    if text is not None:
        return text
    if symbol == "*" and (_repeats(machine, left, right) or _repeats(machine, right, left)):
        return _container_binary(machine, symbol, left, right)
    if is_array_like(left) or is_array_like(right):
        return _array_binary(machine, symbol, left, right)
    if symbol in ("==", "!="):
        same = equal(machine, left, right)
        if same is not None:
            return _negate_if(machine, same, symbol == "!=")
    return _container_binary(machine, symbol, left, right)


def _text(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue | None:
    """Return a string formatted or put together, at the exit where it shows run-time values; None for anything else."""
    if symbol == "%" and isinstance(left, Known) and isinstance(left.value, bytes):
        return Known(fold(machine, left.value.__mod__, machine.constant(right, "what is formatted to bytes")))
    if symbol == "%" and isinstance(left, Known) and isinstance(left.value, str):
        return FORMAT[0](machine, left.value.__mod__, (right,))  # type: ignore[no-any-return]
    made = isinstance(left, Deferred) or isinstance(right, Deferred)
    if symbol == "+" and made and python_type(machine, left) is python_type(machine, right) is str:
        return FORMAT[0](machine, operator.add, (left, right))  # type: ignore[no-any-return]
    return None


def _plain(value: AbstractValue) -> AbstractValue:
    """Return a member of an enumeration that computes as the number it is, as that number."""
    if isinstance(value, Known) and isinstance(value.value, enum.IntEnum):
        return Known(int(value.value))
    return value


def _repeats(machine: Machine, sequence: AbstractValue, count: AbstractValue) -> bool:
    """Whether a NumPy integer repeats a list or tuple, as a Python int does; its other numbers are refused."""
    type_ = python_type(machine, count)
    if type_ is None or not issubclass(type_, np.generic):
        return False
    if not isinstance(sequence, TupleValue) and not _is_list(machine, sequence):
        return False
    if not issubclass(type_, np.integer):
        raise machine.python_error(TypeError, "can't multiply sequence by non-int")
    return True


def _negate_if(machine: Machine, value: AbstractValue, negate: bool) -> AbstractValue:
    return unary(machine, "not", value) if negate else value


def _array_binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    for value in (left, right):
        if isinstance(value, Known) and (value.value is None or isinstance(value.value, str)):
            if symbol in ("==", "!=", "*"):
                raise machine.unsupported("numpy.operand", symbol, "an array meets None or a string")
            raise machine.python_error(TypeError, f"unsupported operand type(s) for {symbol}")
    if symbol == "@":
        product: AbstractValue = MATMUL[0](machine, left, right)
        return product
    if symbol == "**":
        result, name = ufuncs.power(machine, left, right), "power"
    else:
        result, name = ufuncs.apply(machine, UFUNCS[symbol], (left, right)), UFUNCS[symbol].__name__
    if isinstance(result, Scalar) and not isinstance(left, ArrayValue) and not isinstance(right, ArrayValue):
        own = result.value.type.dtype in (_numpy_dtype(left), _numpy_dtype(right))  # else NumPy makes arrays of them
        ufuncs.note_operation(result.value, f"scalar {name}" if own else name)
    return result


def _numpy_dtype(value: AbstractValue) -> str | None:
    """Return the dtype of a NumPy scalar."""
    if isinstance(value, Scalar):
        return value.value.type.dtype if value.kind.startswith("numpy") else None
    return dtype_name(value.value.dtype) if isinstance(value, Known) and isinstance(value.value, np.generic) else None


#: set by `janusjit.analysis.capture.numpy_reduce`: ``np.any``
MODEL_ANY: list[Any] = []
#: set by `janusjit.analysis.capture.numpy_linalg`
MATMUL: list[Any] = []


def _by_special_methods(
    machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue
) -> AbstractValue | None:
    stem = _SPECIAL.get(symbol) or _COMPARE.get(symbol)
    if stem is None or not (_may_have_operators(left) or _may_have_operators(right)):
        return None
    reflected = f"__{_REFLECTED[stem]}__" if symbol in _COMPARE else f"__r{stem}__"
    attempts = [(left, right, f"__{stem}__"), (right, left, reflected)]
    first, second = python_type(machine, left), python_type(machine, right)
    if first is not None and first is second and symbol not in _COMPARE:
        attempts.pop()  # Python asks the class of both operands once
    elif first is not None and second is not None and first is not second and issubclass(second, first):
        look_up = machine.externals.on_type
        if symbol in _COMPARE or look_up(second, reflected) is not look_up(first, reflected):
            attempts.reverse()  # a subclass goes first
    for owner, other, name in attempts:
        method = special_method(machine, owner, name)
        if method is None:
            continue
        if is_array_like(left) and owner is right and not _defers(machine, right):
            return None
        result = invoke(machine, method, other)
        if not (isinstance(result, Known) and result.value is NotImplemented):
            return result
        if isinstance(owner, TupleValue):
            raise machine.unsupported("python.operand", symbol, "the operator of a tuple's class does not apply")
    return None


def _may_have_operators(value: AbstractValue) -> bool:
    if isinstance(value, Known):
        return bool(type(value.value).__flags__ & (1 << 9))  # Py_TPFLAGS_HEAPTYPE
    return isinstance(value, Reference) or (isinstance(value, TupleValue) and value.type_ is not tuple)


def _defers(machine: Machine, value: AbstractValue) -> bool:
    """Whether an ndarray on the left gives way to this object's reflected method."""
    item = machine.heap(value) if isinstance(value, Reference) else None
    type_ = getattr(item, "type_", None)
    if getattr(type_, "__array_ufunc__", False) is None:
        return True
    if getattr(type_, "__array_priority__", 0.0) > 0:
        return True
    raise machine.unsupported(
        "numpy.object_operand",
        "operator",
        "an array meets an object with its own operators, and NumPy would build an object array",
    )


def _container_binary(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    if isinstance(left, Known) and isinstance(right, Known):
        return Known(numbers.fold(machine, numbers.PYTHON_OPERATORS[symbol], left.value, right.value))
    if symbol == "+" and isinstance(left, TupleValue) and isinstance(right, TupleValue):
        return TupleValue((*left.items, *right.items))
    if symbol == "*" and (is_number(left) or is_number(right)):
        sequence, count = (right, left) if is_number(left) else (left, right)
        items = sequence_items(machine, sequence)
        if items is not None and (isinstance(sequence, TupleValue) or _is_list(machine, sequence)):
            times = fold(machine, operator.index, machine.constant(count, "a repeat count"))
            if isinstance(sequence, TupleValue):
                return TupleValue(tuple(items * times))
            return machine.state.allocate(ListObject(items=items * times))
    if symbol == "+" and _is_list(machine, left) and _is_list(machine, right):
        first, second = sequence_items(machine, left), sequence_items(machine, right)
        if first is not None and second is not None:
            return machine.state.allocate(ListObject(items=[*first, *second]))
    if symbol in _COMPARE and _same_sequence(machine, left, right):
        first, second = sequence_items(machine, left), sequence_items(machine, right)
        if first is not None and second is not None:
            return _ordered(machine, symbol, first, second)
    for rule in SET_BINARY:
        result: AbstractValue | None = rule(machine, symbol, left, right)
        if result is not None:
            return result
    if isinstance(left, HostValue) or isinstance(right, HostValue):
        raise machine.unsupported("python.host_object", symbol, "an operand is an object capture cannot enter")
    raise _no_operator(machine, symbol, left, right)


def _same_sequence(machine: Machine, left: AbstractValue, right: AbstractValue) -> bool:
    """Whether both are lists, or both tuples that compare as tuples do."""
    if isinstance(left, TupleValue) and isinstance(right, TupleValue):
        own = find_on_type(tuple, "__lt__")
        return all(machine.externals.on_type(type_, "__lt__") is own for type_ in (left.type_, right.type_))
    return _is_list(machine, left) and _is_list(machine, right)


def _ordered(machine: Machine, symbol: str, first: list[AbstractValue], second: list[AbstractValue]) -> AbstractValue:
    """Return an order of two sequences: that of the first items that differ, else that of the lengths."""
    for position, (left, right) in enumerate(zip(first, second, strict=False)):
        left, right = machine.resolve(left), machine.resolve(right)
        same = truth(machine, _same_or_equal(machine, left, right))
        if same is True:
            continue
        if same is not False:
            _check_no_further(machine, left, right)
        order = truth(machine, binary(machine, symbol, left, right))
        if same is False:
            return Known(order) if isinstance(order, bool) else Scalar(order, "bool")
        rest = _ordered(machine, symbol, first[position + 1 :], second[position + 1 :])
        following, decided = (_as_value(machine, part) for part in (truth(machine, rest), order))
        return Scalar(machine.emit("where", same, following, decided), "bool")
    return Known(numbers.PYTHON_OPERATORS[symbol](len(first), len(second)))


def _as_value(machine: Machine, value: bool | Value) -> Value:
    return value if isinstance(value, Value) else machine.emit("constant", value=value, dtype="bool")


def _is_list(machine: Machine, value: AbstractValue) -> bool:
    if not isinstance(value, Reference):
        return False
    item = machine.heap(value)
    return isinstance(item, ListObject) and item.type_ is list


def _no_operator(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> Exception:
    """Return the TypeError of operands that have no such operator; anything else is left to Python."""
    if symbol in ("==", "!="):
        raise machine.unsupported("python.equality", symbol, "objects of these types are compared")
    stem = _SPECIAL.get(symbol) or _COMPARE[symbol]
    reflected = _REFLECTED[stem] if symbol in _COMPARE else f"r{stem}"
    attempts = ((left, f"__{stem}__"), (right, f"__{reflected}__"))
    return rejected(machine, symbol, f"unsupported operand type(s) for {symbol}", *attempts)


#: set by `janusjit.analysis.capture.strings`: a pure function of run-time values, made when an exit boxes it
FORMAT: list[Any] = []


def contains(machine: Machine, container: AbstractValue, value: AbstractValue) -> AbstractValue:
    """Return ``value in container``."""
    container = machine.resolve(container)
    if isinstance(container, DictView) and container.kind == "keys":
        container = container.owner
    if isinstance(container, Reference):
        item = machine.heap(container)
        if isinstance(item, DictObject):
            return Known(DICT_HAS[0](machine, item, hash_key(machine, value)))
        if isinstance(item, SetObject):
            return Known(set_has(machine, item, hash_key(machine, value)))
    method = special_method(machine, container, "__contains__")
    if method is not None:
        answer = truth(machine, invoke(machine, method, value))
        return Known(answer) if isinstance(answer, bool) else Scalar(answer, "bool")
    if isinstance(container, DictView):
        container = dict_view_items(machine, container)
    if isinstance(container, Known):
        return Known(numbers.fold(machine, lambda: machine.constant(value, "a key") in container.value))
    if isinstance(container, RangeValue):
        python_range = machine.constant(TupleValue((container.start, container.stop, container.step)), "range")
        return Known(machine.constant(value, "a number") in range(*python_range))
    if isinstance(container, ArrayValue):
        same = truth(machine, MODEL_ANY[0](machine, [binary(machine, "==", container, value)], {}))
        return Known(same) if isinstance(same, bool) else Scalar(same, "bool")
    items = sequence_items(machine, container)
    if items is None:
        iterator_over(machine, container)
        raise machine.unsupported("python.contains", "in", "the container is not known to capture")
    found: Value | None = None
    for item in items:
        item = machine.resolve(item)
        same = truth(machine, _same_or_equal(machine, item, value))
        if same is True:
            return Known(True) if found is None else Scalar(_either(machine, found, True), "bool")
        if isinstance(same, Value):
            _check_no_further(machine, item, value)
            found = same if found is None else machine.emit("logical_or", found, same)
    return FALSE if found is None else Scalar(found, "bool")


def _check_no_further(machine: Machine, left: AbstractValue, right: AbstractValue) -> None:
    """See that a comparison runs no code of the user's, behind which Python may be done: what follows would be seen."""
    if any(special_method(machine, value, "__eq__") is not None for value in (left, right)):
        raise machine.unsupported("python.equality", "==", "whether further items are compared is known at run time")


def set_has(machine: Machine, item: SetObject, key: Any) -> bool:
    """Return whether a set has an item, guarding what an outside set had at entry."""
    if item.place is not None and not item.written and not holds_object(machine, key):
        machine.externals.guard_membership(item.place, key, key in item.items)
    return key in item.items


def _either(machine: Machine, first: Value, second: bool) -> Value:
    return machine.emit("constant", value=True, dtype="bool") if second else first


def _same_or_equal(machine: Machine, item: AbstractValue, value: AbstractValue) -> AbstractValue:
    if item is value or (isinstance(item, Reference) and isinstance(value, Reference) and item.index == value.index):
        return Known(True)
    if isinstance(item, ArrayValue) and isinstance(value, ArrayValue) and item.identity == value.identity:
        return Known(True)
    if isinstance(item, Known) and isinstance(value, Known) and item.value is value.value and _may_have_operators(item):
        return Known(True)
    return Known(True) if is_one_nan(machine, item, value) else binary(machine, "==", item, value)


#: set by `janusjit.analysis.capture.containers`
DICT_HAS: list[Any] = []


def in_place(machine: Machine, symbol: str, left: AbstractValue, right: AbstractValue) -> AbstractValue:
    """Return the result of ``left symbol= right`` after writing to ``left`` if it is mutable."""
    if isinstance(left, ArrayValue):
        if symbol == "@":
            raise machine.unsupported("numpy.function", "@=", "in-place matrix product")
        if symbol == "**":
            return ufuncs.store(machine, left, _graph(machine, ufuncs.power(machine, left, right)))
        return ufuncs.apply(machine, UFUNCS[symbol], (left, right), out=left)
    if isinstance(left, Reference):
        item = machine.heap(left)
        if isinstance(item, ListObject) and symbol == "+":
            CALL_METHOD[0](machine, BuiltinMethod(left, "extend"), [right], {})
            return left
        if symbol == "*" and _is_list(machine, left) and is_number(right):
            _repeat(machine, left, right)
            return left
        if isinstance(item, SetObject) and COMBINE_IN_PLACE[0](machine, symbol, left, right):
            return left
        if isinstance(item, DictObject) and symbol == "|":
            UPDATE[0](machine, left, right)
            return left
        if symbol in _SPECIAL:
            method = special_method(machine, left, f"__i{_SPECIAL[symbol]}__")
            if method is not None:
                result = invoke(machine, method, right)
                if not (isinstance(result, Known) and result.value is NotImplemented):
                    return result
    return binary(machine, symbol, left, right)


#: set by `janusjit.analysis.capture.containers`
CALL_METHOD: list[Any] = []
UPDATE: list[Any] = []
#: set by `janusjit.analysis.capture.set_algebra`
SET_BINARY: list[Any] = []
COMBINE_IN_PLACE: list[Any] = []


def _repeat(machine: Machine, owner: Reference, count: AbstractValue) -> None:
    """``owner *= count`` of a list."""
    guard_structure(machine, machine.heap(owner))
    items: ListObject = machine.heap(owner)
    items.items *= fold(machine, operator.index, machine.constant(count, "a repeat count"))
    items.written = True
    if owner.index < 0:
        machine.written.add(owner.index)


def _graph(machine: Machine, value: AbstractValue) -> Value:
    from_array = as_array(machine, value)
    assert from_array is not None
    return from_array
