"""Models of Python's built-in functions of numbers, text and containers.

Owns the entries of `MODELS` for them. Invariant: a model raises what the function raises, and leaves to Python (a
failed capture) what it cannot follow.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import is_number, is_python_number, read, scalar_value
from janusjit.analysis.capture.calls import call_known, invoke, models
from janusjit.analysis.capture.container_methods import one_by_one, sort_items
from janusjit.analysis.capture.containers import build, new_dict, update_dict
from janusjit.analysis.capture.followed import assumed
from janusjit.analysis.capture.iteration import draw, draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import operate
from janusjit.analysis.capture.packed import Packed, packed
from janusjit.analysis.capture.protocols import iterator_over, length, rejected, truth
from janusjit.analysis.capture.python_types import of_type, special_method
from janusjit.analysis.capture.set_algebra import members
from janusjit.analysis.capture.state import (
    DeferredCall,
    GraphLoopEntry,
    Instance,
    IteratorObject,
)
from janusjit.analysis.capture.strings import defer, snapshot
from janusjit.analysis.capture.values import (
    FALSE,
    NONE,
    AbstractValue,
    ArrayValue,
    Deferred,
    Known,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
    concrete,
    lift,
)
from janusjit.ir.graph import Value
from janusjit.ir.types import dtype_name

Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]


def as_value(answer: bool | Value) -> AbstractValue:
    """Return a truth as a Python bool."""
    return Known(answer) if isinstance(answer, bool) else Scalar(answer, "bool")


@models(len)
def _model_len(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return length(machine, arguments[0])


#: how long a range of assumed numbers may be for its loop to be one of known length
_SHORT = 8


@models(range)
def _model_range(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    values = [_index(machine, value) for value in arguments]
    short = [assumed(machine, value) for value in values]
    if all(isinstance(value, Known) and abs(value.value) <= _SHORT for value in short):
        values = short  # a longer loop stays one of as many turns as there are
    if len(values) == 1:
        return RangeValue(Known(0), values[0], Known(1))
    return RangeValue(values[0], values[1], values[2] if len(values) > 2 else Known(1))


def _index(machine: Machine, value: AbstractValue) -> AbstractValue:
    if isinstance(value, Scalar):
        if value.kind != "bool" and value.value.type.dtype[0] not in "iu":
            raise machine.python_error(TypeError, "'float' object cannot be interpreted as an integer")
        return numbers.to_int(machine, value)
    if isinstance(value, Known) and isinstance(value.value, int | np.integer):
        return Known(int(value.value))
    if isinstance(value, ArrayValue) and not value.type.shape:
        if value.type.dtype[0] not in "iu":
            raise machine.python_error(TypeError, "only integer scalar arrays can be converted to a scalar index")
        return numbers.to_int(machine, Scalar(read(machine, value), f"numpy.{value.type.dtype}"))
    raise rejected(machine, "index", "object cannot be interpreted as an integer", (value, "__index__"))


@models(operator.index)
def _model_operator_index(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _index(machine, arguments[0])


@models(enumerate, keywords=("start",))
def _model_enumerate(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    start = arguments[1] if len(arguments) > 1 else keywords.get("start", Known(0))
    source = iterator_over(machine, arguments[0])
    return machine.state.allocate(IteratorObject(kind="enumerate", sources=(source,), function=start))


@models(zip, keywords=("strict",))
def _model_zip(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    sources = tuple(iterator_over(machine, argument) for argument in arguments)
    strict = "strict" in keywords and bool(machine.constant(keywords["strict"], "strict"))
    return machine.state.allocate(IteratorObject(kind="zip", sources=sources, strict=strict))


@models(map)
def _model_map(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    sources = tuple(iterator_over(machine, argument) for argument in arguments[1:])
    return machine.state.allocate(IteratorObject(kind="map", sources=sources, function=arguments[0]))


@models(filter)
def _model_filter(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    source = iterator_over(machine, arguments[1])
    return machine.state.allocate(IteratorObject(kind="filter", sources=(source,), function=arguments[0]))


@models(sorted, keywords=("key", "reverse"))
def _model_sorted(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    key = keywords.get("key", NONE)
    by_itself = isinstance(key, Known) and key.value is None
    items = _in_any_order(machine, arguments[0]) if by_itself else draw_all(machine, arguments[0])
    return build(machine, "list", sort_items(machine, items, keywords))


def _in_any_order(machine: Machine, values: AbstractValue) -> list[AbstractValue]:
    """Return every item of an iterable for a use to which the order in which a set gives them is the same."""
    found = members(machine, values)
    return draw_all(machine, values) if found is None else list(found.values())


@models(iter)
def _model_iter(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if len(arguments) > 1:
        raise machine.unsupported("python.builtin", "iter", "iter() with a sentinel")
    return iterator_over(machine, arguments[0])


@models(next)
def _model_next(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    item = draw(machine, arguments[0])
    if item is not None:
        return item
    if len(arguments) > 1:
        return arguments[1]
    raise machine.python_error(StopIteration, "")


def _extreme(machine: Machine, arguments: Arguments, keywords: Named, symbol: str) -> AbstractValue:
    together = packed(machine, arguments[0], numbers=True) if len(arguments) == 1 and not keywords else None
    if together is not None:
        return _extreme_of_many(machine, together, symbol)
    draw_items = draw_all if "key" in keywords else _in_any_order
    items = list(arguments) if len(arguments) > 1 else draw_items(machine, arguments[0])
    items = [machine.resolve(item) for item in items]
    if not items:
        if "default" in keywords:
            return keywords["default"]
        raise machine.python_error(ValueError, f"{'max' if symbol == '>' else 'min'}() arg is an empty sequence")
    key = keywords.get("key")
    keys = [invoke(machine, key, [item], ()) for item in items] if key is not None else items
    best, best_key = items[0], keys[0]
    for item, item_key in zip(items[1:], keys[1:], strict=True):
        better = truth(machine, operators.binary(machine, symbol, item_key, best_key))
        if isinstance(better, bool):
            best, best_key = (item, item_key) if better else (best, best_key)
            continue
        best = _choose(machine, better, item, best)
        best_key = best if key is None else _choose(machine, better, item_key, best_key)
    return best


def _extreme_of_many(machine: Machine, together: Packed, symbol: str) -> AbstractValue:
    """Return the largest or smallest of as many numbers as there are at run time: the first that no other exceeds."""
    value = together.value
    if value.type.dtype == "bool":
        value = machine.emit("cast", value, dtype="u8")
    position = operate(machine, "argmax" if symbol == ">" else "argmin", value, axis=0, keepdims=False)
    found = together.item(machine, Scalar(position, "numpy.i64"))
    if found.value.type.dtype.startswith("f"):  # where there is a NaN, it is what is found, and order decides
        ordered = machine.emit("logical_not", machine.emit("isnan", found.value))
        machine.require(ordered, machine.guard("value", "max()" if symbol == ">" else "min()", "not a NaN"))
    return found


def _choose(machine: Machine, condition: Value, first: AbstractValue, second: AbstractValue) -> AbstractValue:
    """Return one of two numbers of one kind, by a run-time condition."""
    if not (is_number(first) and is_number(second)):
        raise machine.unsupported("python.builtin", "min/max", "values that are not numbers are compared at run time")
    kinds = {value.kind if isinstance(value, Scalar) else _kind(value) for value in (first, second)}
    if len(kinds) != 1:
        raise machine.unsupported("python.builtin", "min/max", "numbers of different types are compared at run time")
    (kind,) = kinds
    values = [scalar_value(machine, value) for value in (first, second)]
    assert values[0] is not None and values[1] is not None
    return Scalar(machine.emit("where", condition, values[0], values[1]), kind)


def _kind(value: AbstractValue) -> str:
    constant = concrete(value)
    if isinstance(constant, np.generic):
        return f"numpy.{dtype_name(constant.dtype)}"
    return type(constant).__name__


@models(max, keywords=("key", "default"))
def _model_max(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _extreme(machine, arguments, keywords, ">")


@models(min, keywords=("key", "default"))
def _model_min(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _extreme(machine, arguments, keywords, "<")


@models(any)
def _model_any(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _quantify(machine, arguments[0], "logical_or", True)


@models(all)
def _model_all(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _quantify(machine, arguments[0], "logical_and", False)


def _quantify(machine: Machine, values: AbstractValue, op: str, decisive: bool) -> AbstractValue:
    iterator = iterator_over(machine, values)
    result: Value | None = None
    while (item := draw(machine, iterator)) is not None:
        answer = truth(machine, item)
        if isinstance(answer, bool):
            if answer is decisive:
                return Known(decisive)
            continue
        result = answer if result is None else machine.emit(op, result, answer)
    return Known(not decisive) if result is None else Scalar(result, "bool")


@models(abs, operator.abs)
def _model_abs(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = arguments[0]
    if is_python_number(value):
        return numbers.absolute(machine, value)
    method = special_method(machine, value, "__abs__")
    if method is not None:
        return invoke(machine, method, (), ())
    result = call_known(machine, np.absolute, [value], (), None)
    assert result is not None
    return result


def converted_number(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return an array of one element as the scalar in it; anything else as it is."""
    value = machine.resolve(value)
    if isinstance(value, ArrayValue):
        if value.type.size == 1 and value.type.shape:
            raise machine.unsupported("numpy.deprecated", "array", "an array with dimensions becomes a number")
        if value.type.shape != ():
            raise machine.python_error(TypeError, "only 0-dimensional arrays can be converted to Python scalars")
        return Scalar(read(machine, value), f"numpy.{value.type.dtype}")
    return value


@models(int)
def _model_int(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if not arguments:
        return Known(0)
    value = converted_number(machine, arguments[0])
    if isinstance(value, Scalar):
        return numbers.to_int(machine, value)
    if isinstance(value, Known):
        return Known(numbers.fold(machine, int, value.value, *(machine.constant(a, "a base") for a in arguments[1:])))
    return _convert(machine, value, "__int__")


@models(float)
def _model_float(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if not arguments:
        return Known(0.0)
    value = converted_number(machine, arguments[0])
    if isinstance(value, Scalar):
        return numbers.to_float(machine, value)
    if isinstance(value, Known):
        return Known(numbers.fold(machine, float, value.value))
    return _convert(machine, value, "__float__")


def _convert(machine: Machine, value: AbstractValue, name: str) -> AbstractValue:
    method = special_method(machine, value, name)
    if method is None:
        raise machine.unsupported("python.builtin", name.strip("_"), "a value of this kind is converted to a number")
    return of_type(machine, invoke(machine, method, (), ()), {"__int__": int, "__float__": float}[name], name)


@models(bool)
def _model_bool(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return as_value(truth(machine, arguments[0])) if arguments else FALSE


@models(str)
def _model_str(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _formatted(machine, str, arguments)


@models(repr)
def _model_repr(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return _formatted(machine, repr, arguments)


def _formatted(machine: Machine, function: Any, arguments: Arguments) -> AbstractValue:
    if not arguments:
        return Known("")
    if len(arguments) > 1:
        return Known(numbers.fold(machine, str, *(machine.constant(part, "an encoding") for part in arguments)))
    value = machine.resolve(arguments[0])
    if isinstance(value, Deferred) and function is str:
        return value
    if isinstance(value, Known) and isinstance(value.value, BaseException):
        return Known(function(value.value))
    if isinstance(value, Reference) and isinstance(machine.heap(value), Instance):
        item: Instance = machine.heap(value)
        if issubclass(item.type_, BaseException) and function is str:
            args = item.attributes.get("args")
            if isinstance(args, TupleValue) and len(args.items) == 1:
                return _formatted(machine, str, args.items)
        for name in ("__str__", "__repr__") if function is str else ("__repr__",):
            method = special_method(machine, value, name)
            if method is not None:
                return of_type(machine, invoke(machine, method, (), ()), str, name)
    return defer(machine, function, [value])


@models(round, keywords=("ndigits",))
def _model_round(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    value = machine.resolve(arguments[0])
    arguments = [*arguments, *keywords.values()]
    if len(arguments) == 2 and isinstance(arguments[1], Known) and arguments[1].value is None:
        arguments = arguments[:1]
    if isinstance(value, Known):
        return lift(numbers.fold(machine, round, *(machine.constant(a, "digits") for a in arguments)))
    if isinstance(value, Scalar) and len(arguments) == 1 and value.kind == "float":
        rounded = Scalar(machine.emit("rint", value.value), "float")
        return numbers.to_int(machine, rounded)
    if isinstance(value, Scalar) and len(arguments) == 2 and value.kind == "float":
        places = numbers.fold(machine, operator.index, machine.constant(arguments[1], "digits"))
        guard = machine.guard("python.exception", machine.span.text or "round", "a number that can be rounded")
        return Scalar(machine.emit("python_round", value.value, digits=places, guard=guard), "float")
    if isinstance(value, Scalar) and len(arguments) == 2 and value.kind in ("numpy.f64", "numpy.f32"):
        result = call_known(machine, np.round, [value, arguments[1]], (), None)
        assert result is not None
        return result
    raise machine.unsupported("python.builtin", "round", "a run-time number is rounded to digits")


@models(divmod)
def _model_divmod(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    first, second = arguments
    return TupleValue((operators.binary(machine, "//", first, second), operators.binary(machine, "%", first, second)))


@models(pow, operator.pow, keywords=("exp", "mod"))
def _model_pow(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    arguments = [*arguments, *(keywords[name] for name in ("exp", "mod") if name in keywords)]
    modulus = arguments[2:] and machine.constant(arguments[2], "a modulus")
    if modulus:
        return Known(numbers.fold(machine, pow, *(machine.constant(a, "a number") for a in arguments)))
    return operators.binary(machine, "**", arguments[0], arguments[1])


@models(list)
def _model_list(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    return build(machine, "list", draw_all(machine, arguments[0]) if arguments else [])


@models(tuple)
def _model_tuple(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    if arguments and isinstance(arguments[0], TupleValue) and arguments[0].type_ is tuple:
        return arguments[0]
    return TupleValue(tuple(draw_all(machine, arguments[0]) if arguments else ()))


@models(set)
def _model_set(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    made = build(machine, "set", _in_any_order(machine, arguments[0]) if arguments else [])
    if arguments and not one_by_one(machine, arguments[0]):
        machine.heap(made).unordered = True  # type: ignore[arg-type]
    return made


@models(frozenset)
def _model_frozenset(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    items = _in_any_order(machine, arguments[0]) if arguments else []
    return Known(frozenset(machine.constant(item, "a set item") for item in items))


@models(dict, keywords=None)
def _model_dict(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    made = new_dict(machine, dict)
    if arguments:
        update_dict(machine, made, arguments[0])
    machine.heap(made).items.update(keywords)
    return made


@models(slice)
def _model_slice(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    parts = [NONE, *arguments] if len(arguments) == 1 else list(arguments)
    return SliceValue(parts[0], parts[1], parts[2] if len(parts) > 2 else NONE)


@models(print, keywords=None)
def _model_print(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    _defer_call(machine, Known(print), arguments, keywords)
    return NONE


def _defer_call(machine: Machine, function: AbstractValue, arguments: Arguments, keywords: Named) -> None:
    reason = "it is to be seen in the middle of a loop"
    by_python = machine.unsupported("python.effect", machine.span.text or "call", reason)
    if any(isinstance(entry, GraphLoopEntry) for frame in machine.state.frames for entry in frame.blocks):
        raise by_python
    values = [snapshot(machine, argument) for argument in arguments]
    named = [(name, snapshot(machine, value)) for name, value in keywords.items()]
    machine.state.effects.append(DeferredCall(function, tuple(values), tuple(named), by_python))


@models(
    logging.Logger.debug,
    logging.Logger.info,
    logging.Logger.warning,
    logging.Logger.error,
    logging.Logger.critical,
    logging.Logger.log,
    keywords=None,
)
def _model_log(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    raise machine.unsupported("python.logging", "logging", "a log record names the line that makes it")
