"""Numbers at joins of control paths.

Owns `merge_numbers`. Invariant: the merged value has, at run time, the kind and the value that it had on the path that
control came by: one kind on all paths gives a number of that kind, several an `EitherValue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from janusjit.analysis.capture.sameness import kind_number, number_kind, same_constant
from janusjit.analysis.capture.values import AbstractValue, EitherValue, Known, Scalar
from janusjit.ir.graph import Value
from janusjit.ir.types import INT, TensorType

if TYPE_CHECKING:
    from janusjit.analysis.capture.merge import Merger

#: what a value is, by the number of its kind
Options = dict[int, AbstractValue]


def merge_numbers(merger: Merger, where: tuple[Any, ...], values: list[AbstractValue]) -> AbstractValue | None:
    """Return what is a path's number (or None) on each path; None if one has something else there."""
    first = values[0]
    if isinstance(first, EitherValue) and all(value is first for value in values) and not _is_hidden(merger, first):
        return first
    narrowed = [
        state.refined.get(value.identity, value) if isinstance(value, EitherValue) else value
        for state, value in zip(merger.states, values, strict=True)
    ]
    found = [_options(value) for value in narrowed]
    options = [one for one in found if one is not None]
    types = _types(options)
    if len(options) < len(found) or types is None:
        return None
    if len(types) == 1:
        ((number, type_),) = types.items()
        return _of_kind(merger, where, [one[number] for one in options], type_)
    entering, *turns = options
    if merger.peels and all(len(one) == 1 and one.keys() == turns[0].keys() != entering.keys() for one in turns):
        return None  # the number is of its final kind after one turn
    return _of_kinds(merger, where, narrowed, options, types)


def _options(value: AbstractValue) -> Options | None:
    if isinstance(value, EitherValue):
        return dict(value.options)
    number = kind_number(value)
    return None if number is None else {number: value}


def _is_hidden(merger: Merger, value: AbstractValue) -> bool:
    if isinstance(value, Scalar):
        return merger.hides(value.value)
    if isinstance(value, EitherValue):
        return merger.hides(value.which) or any(_is_hidden(merger, option) for _, option in value.options)
    return False


def _types(options: list[Options]) -> dict[int, TensorType | None] | None:
    """Return the kinds there are on any path, and their types; None if numbers of one kind have several."""
    types: dict[int, TensorType | None] = {}
    for number, option in (item for one in options for item in one.items()):
        kind = number_kind(option)
        type_ = None if kind is None else kind[1]
        if types.setdefault(number, type_) != type_:
            return None
    return dict(sorted(types.items()))


def _of_kind(
    merger: Merger, where: tuple[Any, ...], values: list[AbstractValue], type_: TensorType | None
) -> AbstractValue:
    """Return one number for the paths' numbers of one kind."""
    first = values[0]
    if type_ is None:
        return first
    if all(isinstance(v, Scalar) and v.value is first.value for v in values) and not _is_hidden(merger, first):  # type: ignore[attr-defined]
        return first
    kind = number_kind(first)
    assert kind is not None
    graph_values = [_graph_value(merger, path, value, type_) for path, value in enumerate(values)]
    return Scalar(merger.graph_value(where, graph_values), kind[0])


def _of_kinds(
    merger: Merger,
    where: tuple[Any, ...],
    values: list[AbstractValue],
    options: list[Options],
    types: dict[int, TensorType | None],
) -> EitherValue:
    """Return one value for the paths' values, which are of several kinds."""
    numbers = [
        value.which if isinstance(value, EitherValue) else merger.constant(arm, next(iter(one)), INT)
        for arm, value, one in zip(merger.arms, values, options, strict=True)
    ]
    which = merger.graph_value((*where, "which"), numbers)
    merged: Options = {}
    for type_ in dict.fromkeys(types.values()):
        of_type = [number for number in types if types[number] == type_]
        merged |= _of_type(merger, where, options, of_type, type_)
    together = tuple(sorted(merged.items()))
    merger.kinds.append((where, tuple((number, isinstance(option, Known)) for number, option in together)))
    merger.machine.several_kinds = True
    return EitherValue(which, together, merger.fork)


def _of_type(
    merger: Merger, where: tuple[Any, ...], options: list[Options], numbers: list[int], type_: TensorType | None
) -> Options:
    """Return the options of one type: they share a graph value, which is 0 where a path has none of them."""
    given = [one[number] for one in options for number in numbers if number in one]
    first = given[0]
    if len(numbers) == 1 and isinstance(first, Known):
        constants = [option.value for option in given if isinstance(option, Known)]
        if len(constants) == len(given) and all(same_constant(first.value, other) for other in constants):
            return {numbers[0]: first}
    assert type_ is not None
    graph_values = []
    for path, one in enumerate(options):
        own = next((one[number] for number in numbers if number in one), Known(0))
        graph_values.append(_graph_value(merger, path, own, type_))
    value = merger.graph_value((*where, type_.dtype), graph_values)
    kinds = {number: next(one[number] for one in options if number in one) for number in numbers}
    return {number: Scalar(value, number_kind(option)[0]) for number, option in kinds.items()}  # type: ignore[index]


def _graph_value(merger: Merger, path: int, value: AbstractValue, type_: TensorType) -> Value:
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Known)
    number = value.value.item() if isinstance(value.value, np.generic) else value.value
    return merger.constant(merger.arms[path], number, type_)
