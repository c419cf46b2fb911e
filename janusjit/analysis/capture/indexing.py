"""Reading parts of arrays: basic, integer-array and boolean-mask indexing.

Owns the translation of an index to ``view``, ``take``, ``gather`` and ``compress``. Invariant: basic indexing gives
views that share storage, advanced indexing gives copies.
"""

from __future__ import annotations

from dataclasses import replace

from janusjit.analysis.capture.arrays import (
    read,
    view,
    wrap,
)
from janusjit.analysis.capture.index_parsing import Advanced, ParsedIndex, parse
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import align, require_equal, size_value, with_shape
from janusjit.analysis.capture.numpy_memory import of_taken, strides
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
    Known,
    Scalar,
    TupleValue,
)
from janusjit.ir.dims import DimExpr
from janusjit.ir.graph import Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, PathStep, Pick, Range
from janusjit.transform.common_subexpressions import compute_the_same


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


def is_whole(array: ArrayValue, parsed: ParsedIndex) -> bool:
    """Whether an index is of all elements in their order: ``[:]``, ``[...]``."""
    if len(parsed.items) != array.type.rank:
        return False
    return all(item == Range(0, size, 1) for item, size in zip(parsed.items, array.type.shape, strict=True))


def base_of_advanced(
    machine: Machine, array: ArrayValue, parsed: ParsedIndex
) -> tuple[ArrayValue, list[tuple[int, Advanced]]]:
    """Apply the basic part of a mixed index as a view."""
    if any(isinstance(item, Pick) for item in parsed.items):
        parsed = _picks_as_arrays(machine, array, parsed)
    parsed = _masks_as_positions(machine, array, parsed)
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
    return array if is_whole(array, base) else basic_view(machine, array, base), advanced


def _picks_as_arrays(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> ParsedIndex:
    """An int next to index arrays takes part in their broadcasting."""
    items: list[IndexItem | Advanced] = []
    for item in parsed.items:
        if isinstance(item, Pick):
            position = parsed.operands[item.start.number] if isinstance(item.start, Operand) else None
            value = position if position is not None else size_value(machine, item.start)  # type: ignore[arg-type]
            items.append(Advanced(value, 1))
        else:
            items.append(item)
    if any(isinstance(item, Range) and isinstance(item.start, Operand) for item in items):
        raise machine.unsupported("array.index", "index", "run-time slices mixed with index arrays")
    return ParsedIndex(items, [])


def _masks_as_positions(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> ParsedIndex:
    """A mask of several dimensions next to index arrays is the positions where it holds, an array a dimension."""
    if sum(isinstance(item, Advanced) for item in parsed.items) < 2:
        return parsed
    items: list[IndexItem | Advanced] = []
    axis = 0
    for item in parsed.items:
        if isinstance(item, Advanced) and item.value.type.dtype == "bool" and item.rank > 1:
            mask = fitting_mask(machine, array.type, axis, item)
            items += [Advanced(positions, 1) for positions in nonzero(machine, mask.value)]
        else:
            items.append(item)
        axis += item.rank if isinstance(item, Advanced) else not isinstance(item, NewAxis)
    return ParsedIndex(items, parsed.operands)


def _advanced_read(machine: Machine, array: ArrayValue, parsed: ParsedIndex) -> Value:
    base, advanced = base_of_advanced(machine, array, parsed)
    value = read(machine, base)
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    if len(advanced) == 1:
        axis, only = advanced[0]
        if only.value.type.dtype == "bool":
            return _masked_read(machine, base, value, axis, only)
        return _taken(machine, base, value, axis, only.value, guard)
    arrays = index_arrays(machine, value.type, advanced)
    axes = [axis for axis, _ in advanced]
    value, moved = _leading(machine, value, axes)
    result = machine.emit("gather", value, *arrays, axes=tuple(range(len(axes))), guard=guard)
    return _restore(machine, result, axes, moved, value.type.rank - len(axes))


def index_arrays(machine: Machine, base: TensorType, advanced: list[tuple[int, Advanced]]) -> list[Value]:
    """Return the integer arrays of an advanced index of ``base``; a mask becomes the positions where it holds."""
    arrays = []
    for axis, item in advanced:
        if item.value.type.dtype == "bool":
            arrays.append(nonzero(machine, fitting_mask(machine, base, axis, item).value)[0])
        else:
            arrays.append(item.value)
    return align(machine, arrays) if len(arrays) > 1 else arrays


def nonzero(machine: Machine, mask: Value) -> list[Value]:
    """Return the index arrays of the true elements."""
    size = mask_count(machine, mask)
    (only,) = size.symbols()
    return list(machine.emit_node("nonzero", (mask,), {"symbol": only}).results)


def mask_count(machine: Machine, mask: Value) -> DimExpr:
    """Return the number of true elements of a mask: one symbol, however often it picks.

    So what one mask picks of two arrays is known to be of one length.
    """
    for other, known in machine.dims.items():
        if other.type.rank and compute_the_same(mask, other):
            machine.dims[mask] = known
            return known
    count = machine.emit("count_nonzero", mask, axes=tuple(range(mask.type.rank)), keepdims=False)
    made = machine.new_symbol(0)
    machine.emit_node("bind_dim", (count,), {"symbol": next(iter(made.symbols()))}, None, ())
    machine.dims[count] = machine.dims[mask] = made
    return made


def _taken(machine: Machine, base: ArrayValue, value: Value, axis: int, index: Value, guard: InGraphGuard) -> Value:
    """Return what an index array picks of an array, whose value is given, along an axis."""
    made = machine.emit("take", value, index, axis=axis, guard=guard)
    machine.layouts[made] = of_taken(strides(machine, base), value.type.shape, axis, index.type.shape)
    return made


def _masked_read(machine: Machine, base: ArrayValue, value: Value, axis: int, mask: Advanced) -> Value:
    mask = fitting_mask(machine, value.type, axis, mask)
    size = mask_count(machine, mask.value)
    (only,) = size.symbols()
    if axis == 0:
        return machine.emit("compress", value, mask.value, symbol=only)
    if mask.rank != 1:
        raise machine.unsupported("array.index", "index", "a mask of several dimensions after a slice")
    positions = machine.emit_node("nonzero", (mask.value,), {"symbol": only}).results[0]
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    return _taken(machine, base, value, axis, positions, guard)


def fitting_mask(machine: Machine, base: TensorType, axis: int, mask: Advanced) -> Advanced:
    """Return a mask in the shape of the dimensions it selects from, guarded to have it.

    Raises
    ------
    PythonRaise
        ``IndexError`` if it is known not to.
    """
    sizes = base.shape[axis : axis + mask.rank]
    for size, wanted in zip(mask.value.type.shape, sizes, strict=True):
        require_equal(machine, size, wanted, "boolean index did not match indexed array", IndexError)
    fitted = with_shape(machine, mask.value, sizes)
    if fitted is not mask.value:
        machine.dims[fitted] = mask_count(machine, mask.value)
    return replace(mask, value=fitted)


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
