"""Index expressions of arrays.

Owns `parse`, which translates an index into one item for each dimension. Invariant: positions and slice bounds are
normalised as NumPy does; a position that may be out of bounds fails a guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    as_array,
    cast,
    constant,
    read,
)
from janusjit.analysis.capture.followed import assumed
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import size_value
from janusjit.analysis.capture.slice_lengths import length_between
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    RangeValue,
    Reference,
    Scalar,
    SliceValue,
    TupleValue,
)
from janusjit.ir.dims import Dim, DimExpr, product
from janusjit.ir.graph import Value
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, Pick, Range


@dataclass(slots=True)
class Advanced:
    """An index array (integers or a mask) over ``rank`` dimensions of the array."""

    value: Value
    rank: int


@dataclass(slots=True)
class ParsedIndex:
    """One entry a dimension consumed or made; ``operands`` are the run-time starts.

    With an ellipsis, what NumPy gives is an array even where it has no dimensions.
    """

    items: list[IndexItem | Advanced]
    operands: list[Value]
    ellipsis: bool = False

    @property
    def basic(self) -> bool:
        return not any(isinstance(item, Advanced) for item in self.items)

    @property
    def element(self) -> bool:
        """Whether it is one position for each dimension, so that it names one element."""
        return not self.ellipsis and not any(isinstance(item, Advanced | NewAxis | Range) for item in self.items)


def parse(machine: Machine, array: ArrayValue, index: AbstractValue) -> ParsedIndex:
    """Translate an index expression against an array's shape."""
    parts = list(index.items) if isinstance(index, TupleValue) else [index]
    parts = [assumed(machine, machine.resolve(part)) for part in parts]
    classified = [_classify(machine, part) for part in parts]
    consumed = sum(
        0 if isinstance(c, NewAxis) or c is Ellipsis else c.rank if isinstance(c, Advanced) else 1 for c in classified
    )
    if consumed > array.type.rank:
        raise machine.python_error(IndexError, "too many indices for array")
    parsed = ParsedIndex([], [])
    axis = 0
    for part in classified:
        if part is Ellipsis:
            if parsed.ellipsis:
                raise machine.python_error(IndexError, "an index can only have a single ellipsis ('...')")
            parsed.ellipsis = True
            for _ in range(array.type.rank - consumed):
                parsed.items.append(Range(0, array.type.shape[axis], 1))
                axis += 1
        elif isinstance(part, NewAxis):
            parsed.items.append(part)
        elif isinstance(part, Advanced):
            parsed.items.append(part)
            axis += part.rank
        else:
            parsed.items.append(_basic_item(machine, part, array.type.shape[axis], parsed.operands))
            axis += 1
    parsed.items.extend(Range(0, size, 1) for size in array.type.shape[axis:])
    return parsed


def _classify(machine: Machine, part: AbstractValue) -> Any:
    if isinstance(part, SliceValue):
        return part
    if isinstance(part, Known):
        if part.value is None:
            return NewAxis()
        if part.value is Ellipsis:
            return Ellipsis
        if isinstance(part.value, bool | np.bool_):
            raise machine.unsupported("array.index", "index", "a boolean scalar is used as an index")
        if isinstance(part.value, int | np.integer):
            return Known(int(part.value))
        raise machine.python_error(IndexError, "only integers, slices, ellipsis, newaxis and arrays are valid indices")
    if isinstance(part, Scalar):
        if part.value.type.dtype == "bool":
            raise machine.unsupported("array.index", "index", "a boolean scalar is used as an index")
        if part.value.type.dtype[0] in "iu":
            return part
        raise machine.python_error(IndexError, "only integers are valid indices")
    value = as_array(machine, part) if isinstance(part, ArrayValue | Reference | TupleValue | RangeValue) else None
    if value is None:
        raise machine.unsupported("array.index", "index", "an index is no int, slice or array of ints or bools")
    if value.type.is_float and product(value.type.shape) == 0 and not isinstance(part, ArrayValue):
        value = cast(machine, value, "i64")  # NumPy takes what is empty, and no array yet, for ints
    if value.type.dtype == "bool":
        return Advanced(value, value.type.rank)
    if value.type.dtype[0] not in "iu":
        raise machine.python_error(IndexError, "arrays used as indices must be of integer (or boolean) type")
    if not value.type.shape:
        return Scalar(cast(machine, value, "i64"), "int")
    return Advanced(cast(machine, value, "i64"), 1)


def _basic_item(machine: Machine, part: Any, size: Dim, operands: list[Value]) -> IndexItem:
    if isinstance(part, SliceValue):
        return _slice_item(machine, part, size, operands)
    if isinstance(part, Known):
        return Pick(_known_position(machine, part.value, size))
    position = normalized_position(machine, part, size)
    operands.append(position)
    return Pick(Operand(len(operands) - 1))


def _known_position(machine: Machine, position: int, size: Dim) -> Dim:
    if isinstance(size, int):
        if not -size <= position < size:
            raise machine.python_error(IndexError, f"index {position} is out of bounds for axis with size {size}")
        return position + size if position < 0 else position
    lower = size.lower_bound() or 0
    needed = -position if position < 0 else position + 1
    if needed > lower:
        _require_dim_at_least(machine, size, needed)
    return size + position if position < 0 else position


def _require_dim_at_least(machine: Machine, size: DimExpr, least: int) -> None:
    actual = machine.emit("dim", types=(constant(machine, 0, "i64").type,), dim=size)
    holds = machine.emit("greater_equal", actual, constant(machine, least, "i64"))
    machine.require(holds, machine.guard("index.bounds", machine.span.text or "index", f"a size of at least {least}"))


def normalized_position(machine: Machine, position: Scalar, size: Dim) -> Value:
    """Return a run-time position counted from the start, guarded to be within bounds."""
    value = cast(machine, position.value, "i64")
    length = size_value(machine, size)
    zero = constant(machine, 0, "i64")
    negative = machine.emit("less", value, zero)
    shifted = machine.emit("where", negative, machine.emit("add", value, length), value)
    inside = machine.emit(
        "logical_and", machine.emit("greater_equal", shifted, zero), machine.emit("less", shifted, length)
    )
    guard = machine.guard("index.bounds", machine.span.text or "index", f"a position within a size of {size}")
    machine.require(inside, guard)
    return shifted


def _slice_item(machine: Machine, part: SliceValue, size: Dim, operands: list[Value]) -> Range:
    start, stop = (_slice_bound(machine, bound) for bound in (part.start, part.stop))
    step_value = _slice_bound(machine, Known(machine.constant(part.step, "a slice step")))
    assert isinstance(step_value, Known)
    step = 1 if step_value.value is None else step_value.value
    if step == 0:
        raise machine.python_error(ValueError, "slice step cannot be zero")
    if step != 1:  # of run-time bounds, only those of whole dimensions have a rule
        bounds = (machine.constant(b, "a slice bound") if _may_be_known(machine, b) else b for b in (start, stop))
        start, stop = (Known(b) if not isinstance(b, AbstractValue) else b for b in bounds)
    start, stop = (_known_integer(value) for value in (start, stop))
    if isinstance(size, int) and not isinstance(start, Scalar) and not isinstance(stop, Scalar):
        low, high, _ = slice(start, stop, step).indices(size)
        return Range(low, len(range(low, high, step)), step)
    if step != 1:
        if start is None and stop is None and step == -1:
            return Range(size - 1, size, -1)
        if start in (None, 0) and stop is None and step > 0:
            return Range(0, (size + (step - 1)) // step, step)
        raise machine.unsupported("array.slice", "slice", "a stepped slice with run-time bounds")
    if isinstance(start, Scalar) and (length := length_between(machine, start, stop, size)) is not None:
        operands.append(cast(machine, start.value, "i64"))
        return Range(Operand(len(operands) - 1), length, 1)
    low_dim = _bound(machine, start, size, 0, operands)
    high_dim = _bound(machine, stop, size, size, operands)
    return _between(machine, low_dim, high_dim, operands)


def _slice_bound(machine: Machine, bound: AbstractValue) -> AbstractValue:
    """Return a slice bound as ``__index__`` gives it: a known int or None, or an int known at run time."""
    bound = assumed(machine, machine.resolve(bound))
    if isinstance(bound, ArrayValue) and bound.type.shape == () and bound.type.dtype[0] in "iu":
        return Scalar(cast(machine, read(machine, bound), "i64"), "int")
    if isinstance(bound, Scalar) and (bound.kind == "bool" or bound.value.type.dtype[0] in "iu"):
        return bound
    if isinstance(bound, Known) and (bound.value is None or isinstance(bound.value, int | np.integer)):
        return bound if bound.value is None else Known(int(bound.value))
    if isinstance(bound, Scalar) or (isinstance(bound, Known) and not hasattr(bound.value, "__index__")):
        message = "slice indices must be integers or None or have an __index__ method"
        raise machine.python_error(TypeError, message)
    raise machine.unsupported("array.slice", "slice", "a bound is no int that capture can follow")


def _may_be_known(machine: Machine, bound: AbstractValue) -> bool:
    return isinstance(bound, Scalar) and machine.may_specialize(bound)


def _known_integer(value: AbstractValue) -> Any:
    if isinstance(value, Known):
        return value.value
    return value


def _bound(machine: Machine, bound: Any, size: Dim, default: Dim, operands: list[Value]) -> Dim | Value:
    """Return a slice bound clipped to the size: a dimension where it can be told, else a run-time value."""
    if bound is None:
        return default
    if isinstance(bound, Scalar):
        known_dim = machine.dims.get(bound.value)
        if known_dim is not None and known_dim == size:
            return size
        value, length, zero = cast(machine, bound.value, "i64"), size_value(machine, size), constant(machine, 0, "i64")
        shifted = machine.emit("where", machine.emit("less", value, zero), machine.emit("add", value, length), value)
        return machine.emit("minimum", machine.emit("maximum", shifted, zero), length)
    position = int(bound)
    if isinstance(size, int):
        return max(0, position + size) if position < 0 else min(position, size)
    if position == 0:
        return 0
    lower = size.lower_bound() or 0
    if abs(position) > lower:
        _require_dim_at_least(machine, size, abs(position))
    return size + position if position < 0 else position


def _between(machine: Machine, low: Dim | Value, high: Dim | Value, operands: list[Value]) -> Range:
    if not isinstance(low, Value) and not isinstance(high, Value):
        length = high - low
        if isinstance(length, int):
            return Range(low, max(0, length), 1)
        if length.lower_bound() is None:
            low_value = constant(machine, low, "i64") if isinstance(low, int) else size_value(machine, low)
            holds = machine.emit("less_equal", low_value, size_value(machine, high))
            machine.require(holds, machine.guard("index.bounds", machine.span.text, "a slice that is not reversed"))
        return Range(low, length, 1)
    low_value = low if isinstance(low, Value) else size_value(machine, low)
    high_value = high if isinstance(high, Value) else size_value(machine, high)
    span = machine.emit("maximum", machine.emit("subtract", high_value, low_value), constant(machine, 0, "i64"))
    length = _slice_length(machine, span, low, high)
    if isinstance(low, Value):
        operands.append(low)
        return Range(Operand(len(operands) - 1), length, 1)
    return Range(low, length, 1)


def _slice_length(machine: Machine, span: Value, low: Dim | Value, high: Dim | Value) -> Dim:
    made = machine.new_symbol(0)
    machine.emit_node("bind_dim", (span,), {"symbol": next(iter(made.symbols()))}, None, ())
    machine.dims[span] = made
    return made
