"""Indexing arrays: basic, integer-array and boolean-mask reads and writes.

Owns the translation of an index expression to ``view``, ``take``, ``gather``, ``compress`` and the ``update`` family.
Invariant: basic indexing gives views that share storage, advanced indexing gives copies, out-of-bounds positions fail
a guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.analysis.capture.arrays import (
    as_array,
    as_dim,
    broadcast_to,
    cast,
    constant,
    dim_value,
    new_array,
    read,
    scalar_value,
    view,
    wrap,
    write,
    writeable_storage,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numbers import fold, to_int, to_number
from janusjit.analysis.capture.numpy_dimensions import align, fitted
from janusjit.analysis.capture.ufuncs import python_constant, require_fits
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
from janusjit.ir.dims import Dim, DimExpr
from janusjit.ir.graph import Value
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, PathStep, Pick, Range


@dataclass(slots=True)
class Advanced:
    """An index array (integers or a mask) over ``rank`` dimensions of the array."""

    value: Value
    rank: int


@dataclass(slots=True)
class ParsedIndex:
    """One entry a dimension consumed or made; ``operands`` are the run-time starts."""

    items: list[IndexItem | Advanced]
    operands: list[Value]

    @property
    def basic(self) -> bool:
        return not any(isinstance(item, Advanced) for item in self.items)


def parse(machine: Machine, array: ArrayValue, index: AbstractValue) -> ParsedIndex:
    """Translate an index expression against an array's shape."""
    parts = list(index.items) if isinstance(index, TupleValue) else [index]
    parts = [machine.resolve(part) for part in parts]
    classified = [_classify(machine, part) for part in parts]
    consumed = sum(
        0 if isinstance(c, NewAxis) or c is Ellipsis else c.rank if isinstance(c, Advanced) else 1 for c in classified
    )
    if consumed > array.type.rank:
        raise machine.python_error(IndexError, "too many indices for array")
    parsed = ParsedIndex([], [])
    axis, seen_ellipsis = 0, False
    for part in classified:
        if part is Ellipsis:
            if seen_ellipsis:
                raise machine.python_error(IndexError, "an index can only have a single ellipsis ('...')")
            seen_ellipsis = True
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
        if part.value.type.dtype[0] in "iu":
            return part
        raise machine.python_error(IndexError, "only integers are valid indices")
    value = as_array(machine, part) if isinstance(part, ArrayValue | Reference | TupleValue | RangeValue) else None
    if value is None:
        raise machine.unsupported("array.index", "index", "an index is no int, slice or array of ints or bools")
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
    length = _dim(machine, size)
    zero = constant(machine, 0, "i64")
    negative = machine.emit("less", value, zero)
    shifted = machine.emit("where", negative, machine.emit("add", value, length), value)
    inside = machine.emit(
        "logical_and", machine.emit("greater_equal", shifted, zero), machine.emit("less", shifted, length)
    )
    guard = machine.guard("index.bounds", machine.span.text or "index", f"a position within a size of {size}")
    machine.require(inside, guard)
    return shifted


def _dim(machine: Machine, size: Dim) -> Value:
    value = dim_value(machine, size)
    return value.value if isinstance(value, Scalar) else constant(machine, size, "i64")


def _slice_item(machine: Machine, part: SliceValue, size: Dim, operands: list[Value]) -> Range:
    start, stop = machine.resolve(part.start), machine.resolve(part.stop)
    step = machine.constant(part.step, "a slice step")
    step = 1 if step is None else int(step)
    if step == 0:
        raise machine.python_error(ValueError, "slice step cannot be zero")
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
    low_dim = _bound(machine, start, size, 0, operands)
    high_dim = _bound(machine, stop, size, size, operands)
    return _between(machine, low_dim, high_dim, operands)


def _known_integer(value: AbstractValue) -> Any:
    if isinstance(value, Known):
        return None if value.value is None else int(value.value)
    return value


def _bound(machine: Machine, bound: Any, size: Dim, default: Dim, operands: list[Value]) -> Dim | Value:
    """Return a slice bound clipped to the size: a dimension where it can be told, else a run-time value."""
    if bound is None:
        return default
    if isinstance(bound, Scalar):
        known_dim = machine.dims.get(bound.value)
        if known_dim is not None and known_dim == size:
            return size
        value, length, zero = cast(machine, bound.value, "i64"), _dim(machine, size), constant(machine, 0, "i64")
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
            low_value = constant(machine, low, "i64") if isinstance(low, int) else _dim(machine, low)
            holds = machine.emit("less_equal", low_value, _dim(machine, high))
            machine.require(holds, machine.guard("index.bounds", machine.span.text, "a slice that is not reversed"))
        return Range(low, length, 1)
    low_value = low if isinstance(low, Value) else _dim(machine, low)
    high_value = high if isinstance(high, Value) else _dim(machine, high)
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


# ---------------------------------------------------------------------- reading


def get_item(machine: Machine, array: ArrayValue, index: AbstractValue) -> AbstractValue:
    """Return ``array[index]``."""
    parsed = parse(machine, array, index)
    if parsed.basic:
        result = basic_view(machine, array, parsed)
        elided = any(
            isinstance(part, Known) and part.value is Ellipsis
            for part in (index.items if isinstance(index, TupleValue) else (index,))
        )
        if not elided and all(isinstance(item, Pick) for item in parsed.items):
            return Scalar(read(machine, result), f"numpy.{result.type.dtype}")
        return result
    return wrap_array(machine, _advanced_read(machine, array, parsed))


def wrap_array(machine: Machine, value: Value) -> AbstractValue:
    """Return an advanced-indexing result: an array, or a scalar for a 0-d one."""
    return wrap(machine, value)


def basic_view(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> ArrayValue:
    """Return the view of a basic index."""
    items = tuple(item for item in parsed.items if not isinstance(item, Advanced))
    step = PathStep.of("view", len(parsed.operands), index=items)
    return view(machine, array, step, tuple(parsed.operands))


def _split(machine: Machine, parsed: ParsedIndex) -> tuple[ParsedIndex, list[tuple[int, Advanced]]]:
    """Replace advanced entries by whole ranges; return the basic index and where the advanced ones apply."""
    basic: list[IndexItem | Advanced] = []
    advanced: list[tuple[int, Advanced]] = []
    axis = 0
    for item in parsed.items:
        if isinstance(item, Advanced):
            advanced.append((axis, item))
            for _ in range(item.rank):
                basic.append(item)
                axis += 1
        else:
            basic.append(item)
            axis += 0 if isinstance(item, Pick) else 1
    return ParsedIndex(basic, parsed.operands), advanced


def _base_of_advanced(
    machine: Machine, array: ArrayValue, parsed: ParsedIndex
) -> tuple[ArrayValue, list[tuple[int, Advanced]]]:
    """Apply the basic part of a mixed index as a view."""
    if any(isinstance(item, Pick) for item in parsed.items):
        parsed = _picks_as_arrays(machine, array, parsed)
    split, advanced = _split(machine, parsed)
    items: list[IndexItem | Advanced] = []
    axis = 0
    for item in split.items:
        if isinstance(item, Advanced):
            items.append(Range(0, array.type.shape[axis], 1))
            axis += 1
        else:
            items.append(item)
            axis += 0 if isinstance(item, NewAxis) else 1
    base = ParsedIndex(items, split.operands)
    return array if _is_whole(array, base) else basic_view(machine, array, base), advanced


def _picks_as_arrays(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> ParsedIndex:
    """An int next to index arrays takes part in their broadcasting."""
    items: list[IndexItem | Advanced] = []
    for item in parsed.items:
        if isinstance(item, Pick):
            position = parsed.operands[item.start.number] if isinstance(item.start, Operand) else None
            value = position if position is not None else _dim(machine, item.start)  # type: ignore[arg-type]
            items.append(Advanced(value, 1))
        else:
            items.append(item)
    if any(isinstance(item, Range) and isinstance(item.start, Operand) for item in items):
        raise machine.unsupported("array.index", "index", "run-time slices mixed with index arrays")
    return ParsedIndex(items, [])


def _advanced_read(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> Value:
    base, advanced = _base_of_advanced(machine, array, parsed)
    value = read(machine, base)
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    if len(advanced) == 1:
        axis, only = advanced[0]
        if only.value.type.dtype == "bool":
            return _masked_read(machine, value, axis, only)
        return machine.emit("take", value, only.value, axis=axis, guard=guard)
    arrays = _index_arrays(machine, advanced)
    axes = [axis for axis, _ in advanced]
    value, moved = _leading(machine, value, axes)
    result = machine.emit("gather", value, *arrays, axes=tuple(range(len(axes))), guard=guard)
    return _restore(machine, result, axes, moved, value.type.rank - len(axes))


def _index_arrays(machine: Machine, advanced: list[tuple[int, Advanced]]) -> list[Value]:
    arrays = []
    for _, item in advanced:
        if item.value.type.dtype == "bool":
            if item.rank != 1:
                raise machine.unsupported("array.index", "index", "a mask of several dimensions next to index arrays")
            arrays.append(nonzero(machine, item.value)[0])
        else:
            arrays.append(item.value)
    return align(machine, arrays) if len(arrays) > 1 else arrays


def nonzero(machine: Machine, mask: Value) -> list[Value]:
    """Return the index arrays of the true elements."""
    size = mask_count(machine, mask)
    (only,) = size.symbols()  # type: ignore[union-attr]
    return list(machine.emit_node("nonzero", (mask,), {"symbol": only}).results)


def mask_count(machine: Machine, mask: Value) -> Dim:
    """Bind a new symbol to the number of true elements of a mask."""
    count = machine.emit("count_nonzero", mask, axes=tuple(range(mask.type.rank)), keepdims=False)
    made = machine.new_symbol(0)
    machine.emit_node("bind_dim", (count,), {"symbol": next(iter(made.symbols()))}, None, ())
    machine.dims[count] = made
    return made


def _masked_read(machine: Machine, value: Value, axis: int, mask: Advanced) -> Value:
    _check_mask(machine, value, axis, mask)
    size = mask_count(machine, mask.value)
    (only,) = size.symbols()  # type: ignore[union-attr]
    if axis == 0:
        return machine.emit("compress", value, mask.value, symbol=only)
    if mask.rank != 1:
        raise machine.unsupported("array.index", "index", "a mask of several dimensions after a slice")
    positions = machine.emit_node("nonzero", (mask.value,), {"symbol": only}).results[0]
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    return machine.emit("take", value, positions, axis=axis, guard=guard)


def _check_mask(machine: Machine, value: Value, axis: int, mask: Advanced) -> None:
    if value.type.shape[axis : axis + mask.rank] != mask.value.type.shape:
        raise machine.python_error(IndexError, "boolean index did not match indexed array")


def _leading(machine: Machine, value: Value, axes: list[int]) -> tuple[Value, bool]:
    if axes == list(range(len(axes))):
        return value, False
    rest = [axis for axis in range(value.type.rank) if axis not in axes]
    return machine.emit("transpose", value, axes=(*axes, *rest)), True


def _restore(machine: Machine, result: Value, axes: list[int], moved: bool, rest: int) -> Value:
    """Put the broadcast index dimensions where NumPy puts them: in place if the indices are adjacent, else first."""
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    if not moved or not adjacent:
        return result
    rank = result.type.rank
    count = rank - rest
    order = [*range(count, count + axes[0]), *range(count), *range(count + axes[0], rank)]
    return machine.emit("transpose", result, axes=tuple(order))


# ---------------------------------------------------------------------- writing


def _is_whole(array: ArrayValue, parsed: ParsedIndex) -> bool:
    """Whether an index is of all elements in their order: ``[:]``, ``[...]``."""
    if len(parsed.items) != array.type.rank:
        return False
    return all(item == Range(0, size, 1) for item, size in zip(parsed.items, array.type.shape, strict=True))


def set_item(machine: Machine, array: ArrayValue, index: AbstractValue, value: AbstractValue) -> None:
    """``array[index] = value``."""
    parsed = parse(machine, array, index)
    element = element_value(machine, array, value)
    if parsed.basic:
        target = array if _is_whole(array, parsed) else basic_view(machine, array, parsed)
        write(machine, target, fit(machine, element, target.type.shape))
        return
    base, advanced = _base_of_advanced(machine, array, parsed)
    if len(advanced) == 1 and advanced[0][1].value.type.dtype == "bool":
        _masked_write(machine, base, advanced[0][0], advanced[0][1], element)
        return
    scatter(machine, base, [axis for axis, _ in advanced], _index_arrays(machine, advanced), element, False)


def element_value(machine: Machine, array: ArrayValue, value: AbstractValue) -> Value:
    """Return a value to be stored in an array, cast to its dtype as assignment does."""
    value = machine.resolve(value)
    integers = array.type.dtype[0] in "iu"
    if isinstance(value, Known) and type(value.value) in (bool, int, float):
        number = fold(machine, int, value.value) if integers else value.value  # as NumPy converts a Python float
        return python_constant(machine, number, array.type.dtype)
    if isinstance(value, Scalar) and value.kind in ("int", "float") and integers:
        number_value = scalar_value(machine, to_int(machine, value))
        assert number_value is not None
        if array.type.dtype != "i64":
            require_fits(machine, number_value, array.type.dtype)
        return cast(machine, number_value, array.type.dtype)
    found = as_array(machine, value)
    if found is None:
        raise machine.unsupported("numpy.operand", "assignment", "the assigned value is no array or number")
    if isinstance(value, Scalar) and value.kind == "int" and array.type.is_float:
        return cast(machine, to_number(machine, found, "f64"), array.type.dtype)
    return cast(machine, found, array.type.dtype)


def fit(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> Value:
    """Broadcast an assigned value to its target; leading dimensions of length 1 too many are dropped."""
    extra = len(value.type.shape) - len(shape)
    if extra > 0:
        if any(dim != 1 for dim in value.type.shape[:extra]):
            raise machine.python_error(ValueError, "could not broadcast input array into the target's shape")
        value = machine.emit("reshape", value, shape=value.type.shape[extra:])
    return fitted(machine, value, shape)


def _masked_write(machine: Machine, base: ArrayValue, axis: int, mask: Advanced, element: Value) -> None:
    target = read(machine, base)
    _check_mask(machine, target, axis, mask)
    rank = target.type.rank
    if element.type.size == 1 or axis != 0 or rank > mask.rank:
        trailing = rank - axis - mask.rank
        if len(element.type.shape) <= trailing or element.type.size == 1:
            if element.type.size == 1 and element.type.shape:
                element = machine.emit("reshape", element, shape=())
            shape = (*mask.value.type.shape, *(1 for _ in range(trailing)))
            condition = machine.emit("reshape", mask.value, shape=shape)
            chosen = machine.emit("where", *align(machine, (condition, element, target)))
            write(machine, base, broadcast_to(machine, chosen, target.type.shape))
            return
    if axis != 0:
        raise machine.unsupported("array.index", "index", "a mask after a slice is assigned an array")
    if base.path:
        positions = nonzero(machine, mask.value)
        scatter(machine, base, list(range(mask.rank)), positions, element, False)
        return
    storage = writeable_storage(machine, base)
    size = mask_count(machine, mask.value)
    shape = (size, *target.type.shape[mask.rank :])
    if element.type.shape and element.type.shape[0] != size:
        _require_same_size(machine, element.type.shape[0], size)
        element = machine.emit(
            "view", element, index=(Range(0, size, 1), *(Range(0, dim, 1) for dim in element.type.shape[1:]))
        )
    storage.version = machine.emit("update_mask", storage.version, mask.value, broadcast_to(machine, element, shape))


def _require_same_size(machine: Machine, given: Dim, wanted: Dim) -> None:
    holds = machine.emit("equal", _dim(machine, given), _dim(machine, wanted))
    machine.require(holds, machine.guard("value", machine.span.text or "assignment", "as many values as true elements"))


def scatter(
    machine: Machine, base: ArrayValue, axes: list[int], arrays: list[Value], element: Value, accumulate: bool
) -> None:
    """``base[…, arrays, …] = element`` or, accumulating, ``np.add.at``."""
    if base.path or axes != list(range(len(axes))):
        target = read(machine, base)
        if axes != list(range(len(axes))) and len(axes) > 1:
            raise machine.unsupported("array.index", "index", "several index arrays after a slice are assigned to")
        order = [*axes, *(axis for axis in range(target.type.rank) if axis not in axes)]
        moved = machine.emit("transpose", target, axes=tuple(order)) if axes[0] else target
        if axes[0]:
            element = _move_value(machine, element, arrays, axes[0], target.type.rank)
        updated = _update_take(machine, machine.emit("copy", moved), arrays, element, accumulate)
        if axes[0]:
            updated = machine.emit("transpose", updated, axes=tuple(np.argsort(order).tolist()))
        write(machine, base, updated)
        return
    storage = writeable_storage(machine, base)
    storage.version = _update_take(machine, storage.version, arrays, element, accumulate)


def _move_value(machine: Machine, element: Value, arrays: list[Value], axis: int, rank: int) -> Value:
    full = rank - 1 + arrays[0].type.rank
    if element.type.rank < full:
        element = machine.emit(
            "reshape", element, shape=(*(1 for _ in range(full - element.type.rank)), *element.type.shape)
        )
    count = arrays[0].type.rank
    order = (*range(axis, axis + count), *range(axis), *range(axis + count, full))
    return machine.emit("transpose", element, axes=order)


def _update_take(machine: Machine, version: Value, arrays: list[Value], element: Value, accumulate: bool) -> Value:
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    axes = tuple(range(len(arrays)))
    return machine.emit("update_take", version, element, *arrays, axes=axes, accumulate=accumulate, guard=guard)


__all__ = ["as_dim", "get_item", "new_array", "nonzero", "scatter", "set_item"]
