"""The built-in ``sum``.

Owns its model. Invariant: floats are added in the order and with the rounding of the running Python, which compensates
for it from 3.12 on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture import numbers, operators
from janusjit.analysis.capture.arrays import cast, constant, is_python_number, read, scalar_value, wrap
from janusjit.analysis.capture.calls import models
from janusjit.analysis.capture.iteration import draw_all
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import require_nonempty
from janusjit.analysis.capture.packed import Packed, packed
from janusjit.analysis.capture.protocols import invoke
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Known, Scalar, concrete, known
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Value
from janusjit.ops.indexing import Pick, Range
from janusjit.spans import NotedSpan

#: of an array of more items, the sum is one operation
_UNROLLED = 8
Arguments = Sequence[AbstractValue]
Named = dict[str, AbstractValue]


@models(sum, keywords=("start",))
def _model_sum(machine: Machine, arguments: Arguments, keywords: Named) -> AbstractValue:
    total = arguments[1] if len(arguments) > 1 else keywords.get("start", Known(0))
    source = machine.resolve(arguments[0])
    if isinstance(source, ArrayValue) and source.type.shape:
        size = source.type.shape[0]
        if not isinstance(size, int) or size > _UNROLLED:
            return _sum_of_array(machine, source, total)
    together = packed(machine, arguments[0], numbers=True)
    if together is not None and isinstance(total, Known) and type(total.value) is int and total.value == 0:
        found = _sum_of_many(machine, together)
        if found is not None:
            return found
    items = [machine.resolve(item) for item in draw_all(machine, arguments[0])]
    if len(items) > 1 and any(is_python_number(i) and numbers.kind_of(i) == "float" for i in items):
        # Python 3.12 and later sum floats with compensation
        return _sum_floats(machine, total, items)
    for item in items:
        total = operators.binary(machine, "+", total, item)
    return total


def _sum_of_array(machine: Machine, source: ArrayValue, start: AbstractValue) -> AbstractValue:
    """Return the sum of a long array's items: NumPy's numbers or rows, added one by one."""
    floats = source.type.dtype in ("f64", "f32")
    from_zero = isinstance(start, Known) and type(start.value) in ((int, float) if floats else (int,))
    if not (from_zero and start.value == 0) or source.type.dtype not in ("f64", "f32", "i64", "bool"):  # type: ignore[attr-defined]
        raise machine.unsupported("python.builtin", "sum", "the built-in sum runs over a long array")
    require_nonempty(machine, source.type.shape[0], "sum")  # of no items, it is the start
    values = read(machine, source)
    machine.span = NotedSpan.of(machine.span, operation="add" if source.type.rank > 1 else "scalar add")
    if not floats:
        return wrap(machine, _sum_of_ints(machine, values))
    totals = machine.emit("cumsum", values, axis=0)
    whole = tuple(Range(0, size) for size in source.type.shape[1:])
    last = machine.emit("view", totals, index=(Pick(source.type.shape[0] - 1), *whole))
    return wrap(machine, machine.emit("add", last, constant(machine, 0.0, source.type.dtype)))  # 0 + -0.0 is 0.0


def _sum_of_ints(machine: Machine, values: Value) -> Value:
    """Return the sum of ints over the first axis; where they are numbers, NumPy would tell of an overflow."""
    if values.type.dtype == "i64" and values.type.rank == 1:
        sizes = machine.emit("absolute", cast(machine, values, "f64"))
        bound = machine.emit("sum", sizes, axes=(0,), keepdims=False)
        guard = machine.guard("int.overflow", machine.span.text or "sum", "a sum that fits 64 bits")
        machine.require(machine.emit("less", bound, constant(machine, 2.0**62, "f64")), guard)
    return machine.emit("sum", cast(machine, values, "i64"), axes=(0,), keepdims=False)


def _sum_of_many(machine: Machine, numbers_: Packed) -> AbstractValue | None:
    """Return the sum of a list of as many floats as it has at run time: added one by one, from 0."""
    if numbers_.kind not in ("float", "numpy.f64"):
        return None
    if numbers_.kind == "float":
        machine.span = NotedSpan.of(machine.span, frozenset(ERRORS))  # Python's own numbers: NumPy does not see them
    else:
        machine.span = NotedSpan.of(machine.span, operation="scalar add")
    totals = Packed(machine.emit("cumsum", numbers_.value, axis=0), numbers_.kind)
    last = totals.item(machine, Known(-1))
    total = machine.emit("add", last.value, constant(machine, 0.0, "f64"))  # 0 + -0.0 is 0.0
    if numbers_.kind == "float" and sys.version_info >= (3, 12):
        lost = invoke(machine, Known(lost_of_many), wrap(machine, numbers_.value), wrap(machine, totals.value))
        assert isinstance(lost, Scalar)
        total = _compensated(machine, total, lost.value)
    return Scalar(total, numbers_.kind)


def lost_of_many(values: Any, totals: Any) -> Any:
    """Return what `_compensated_sum` finds lost in adding up an array of floats to the ``totals``."""
    before = np.concatenate((np.zeros(1), totals[:-1]))
    larger = np.abs(before) >= np.abs(values)
    with np.errstate(all="ignore"):  # Python's own numbers
        return np.cumsum(np.where(larger, (before - totals) + values, (values - totals) + before))[-1]


def _sum_floats(machine: Machine, total: AbstractValue, items: list[AbstractValue]) -> AbstractValue:
    if all(map(known, items)) and known(total):
        return Known(sum([concrete(item) for item in items], concrete(total)))
    if sys.version_info >= (3, 12):
        return _compensated_sum(machine, total, items)
    for item in items:
        total = operators.binary(machine, "+", total, item)
    return total


def _compensated_sum(machine: Machine, total: AbstractValue, items: list[AbstractValue]) -> AbstractValue:
    """Return the built-in sum of floats as CPython 3.12 computes it: A. Neumaier's variant of Kahan's summation."""
    if not (is_python_number(total) and all(is_python_number(i) and numbers.kind_of(i) == "float" for i in items)):
        raise machine.unsupported("python.builtin", "sum", "floats and other numbers are added with compensation")
    if numbers.kind_of(total) != "float":
        total, items = numbers.binary(machine, "+", total, items[0]), items[1:]
    result, lost = scalar_value(machine, total), constant(machine, 0.0, "f64")
    for item in items:
        number = scalar_value(machine, item)
        assert result is not None and number is not None
        following = machine.emit("add", result, number)
        sizes = (machine.emit("absolute", part) for part in (result, number))
        larger = machine.emit("greater_equal", *sizes)
        great, small = (machine.emit("where", larger, *pair) for pair in ((result, number), (number, result)))
        lost = machine.emit("add", lost, machine.emit("add", machine.emit("subtract", great, following), small))
        result = following
    assert result is not None
    return Scalar(_compensated(machine, result, lost), "float")


def _compensated(machine: Machine, result: Value, lost: Value) -> Value:
    """Add what was lost to a sum, unless that is infinite or not a number."""
    counts = machine.emit("not_equal", lost, constant(machine, 0.0, "f64"))
    counts = machine.emit("logical_and", counts, machine.emit("isfinite", lost))
    return machine.emit("where", counts, machine.emit("add", result, lost), result)
