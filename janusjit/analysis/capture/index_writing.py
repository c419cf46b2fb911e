"""Writing parts of arrays: basic, integer-array and boolean-mask assignment.

Owns the translation of an assignment to the ``update`` family. Invariant: the value is cast and broadcast as
assignment does, and every view of the storage sees the new version.
"""

from __future__ import annotations

import numpy as np

from janusjit.analysis.capture.arrays import (
    broadcast_to,
    read,
    write,
    writeable_storage,
)
from janusjit.analysis.capture.elements import stored
from janusjit.analysis.capture.index_parsing import Advanced, parse
from janusjit.analysis.capture.indexing import (
    base_of_advanced,
    basic_view,
    fitting_mask,
    index_arrays,
    is_whole,
    mask_count,
    nonzero,
)
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import align, fitted, size_value
from janusjit.analysis.capture.values import (
    AbstractValue,
    ArrayValue,
)
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Value
from janusjit.ops.indexing import Range


def set_item(machine: Machine, array: ArrayValue, index: AbstractValue, value: AbstractValue) -> None:
    """``array[index] = value``."""
    parsed = parse(machine, array, index)
    element = element_value(machine, array, value)
    if parsed.element:
        require_number(machine, element)
    if parsed.basic:
        target = array if is_whole(array, parsed) else basic_view(machine, array, parsed)
        if element.type.rank > target.type.rank and not isinstance(machine.resolve(value), ArrayValue):
            raise machine.unsupported("numpy.operand", "assignment", "a sequence is deeper than what it is assigned to")
        write(machine, target, fit(machine, element, target.type.shape))
        return
    base, advanced = base_of_advanced(machine, array, parsed)
    if len(advanced) == 1 and advanced[0][1].value.type.dtype == "bool":
        _masked_write(machine, array, base, advanced[0][0], advanced[0][1], element)
        return
    scatter(machine, base, [axis for axis, _ in advanced], index_arrays(machine, base.type, advanced), element, False)


def element_value(machine: Machine, array: ArrayValue, value: AbstractValue) -> Value:
    """Return a value to be stored in an array, cast to its dtype as assignment does."""
    found = stored(machine, value, array.type.dtype)
    if found is None:
        raise machine.unsupported("numpy.operand", "assignment", "the assigned value is no array or number")
    return found


def require_number(machine: Machine, element: Value) -> None:
    """Leave what has dimensions to NumPy, though it has one element: it warns or raises, as its version has it."""
    if element.type.rank:
        raise machine.unsupported("numpy.deprecated", "array", "an array with dimensions becomes an element")


def fit(machine: Machine, value: Value, shape: tuple[Dim, ...]) -> Value:
    """Broadcast an assigned value to its target; leading dimensions of length 1 too many are dropped."""
    extra = len(value.type.shape) - len(shape)
    if extra > 0:
        if any(dim != 1 for dim in value.type.shape[:extra]):
            raise machine.python_error(ValueError, "could not broadcast input array into the target's shape")
        value = machine.emit("reshape", value, shape=value.type.shape[extra:])
    return fitted(machine, value, shape)


def _masked_write(
    machine: Machine, array: ArrayValue, base: ArrayValue, axis: int, mask: Advanced, element: Value
) -> None:
    target = read(machine, base)
    mask = fitting_mask(machine, target.type, axis, mask)
    rank = target.type.rank
    if element.type.rank > 1 and mask.rank == array.type.rank:
        raise machine.unsupported("array.index", "index", "a mask of all dimensions is assigned more than a vector")
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
        element = _of_length(machine, element, positions[0].type.shape[0], rank - mask.rank)
        scatter(machine, base, list(range(mask.rank)), positions, element, False)
        return
    storage = writeable_storage(machine, base)
    size = mask_count(machine, mask.value)
    shape = (size, *target.type.shape[mask.rank :])
    element = _of_length(machine, element, size, rank - mask.rank)
    storage.version = machine.emit("update_mask", storage.version, mask.value, broadcast_to(machine, element, shape))


def _of_length(machine: Machine, element: Value, size: Dim, trailing: int) -> Value:
    """Return what is assigned to the true elements of a mask, guarded to be as many; what broadcasts as it is."""
    shape = element.type.shape
    if len(shape) <= trailing or shape[0] == size or shape[0] == 1:
        return element
    _require_same_size(machine, shape[0], size)
    return machine.emit("view", element, index=(Range(0, size, 1), *(Range(0, dim, 1) for dim in shape[1:])))


def _require_same_size(machine: Machine, given: Dim, wanted: Dim) -> None:
    holds = machine.emit("equal", size_value(machine, given), size_value(machine, wanted))
    machine.require(holds, machine.guard("value", machine.span.text or "assignment", "as many values as true elements"))


def combine_with_item(
    machine: Machine, array: ArrayValue, index: AbstractValue, element: Value, accumulate: bool | str
) -> None:
    """``ufunc.at(array, index, element)`` for an index of arrays and slices."""
    base, advanced = base_of_advanced(machine, array, parse(machine, array, index))
    if any(part.value.type.dtype == "bool" for _, part in advanced):
        raise machine.unsupported("numpy.function", "ufunc.at", "slices are mixed with masks")
    arrays = index_arrays(machine, base.type, advanced)
    scatter(machine, base, [axis for axis, _ in advanced], arrays, element, accumulate)


def scatter(
    machine: Machine, base: ArrayValue, axes: list[int], arrays: list[Value], element: Value, accumulate: bool | str
) -> None:
    """``base[…, arrays, …] = element`` or, accumulating, ``np.add.at``."""
    leading = list(range(len(axes)))
    if not base.path and axes == leading:
        storage = writeable_storage(machine, base)
        storage.version = _update_take(machine, storage.version, arrays, element, accumulate)
        return
    target = read(machine, base)
    order = [*axes, *(axis for axis in range(target.type.rank) if axis not in axes)]
    moved = machine.emit("transpose", target, axes=tuple(order)) if axes != leading else target
    if axes == list(range(axes[0], axes[0] + len(axes))) and axes[0]:  # otherwise the arrays' dimensions come first
        element = _move_value(machine, element, max(one.type.rank for one in arrays), axes, target.type.rank)
    updated = _update_take(machine, machine.emit("copy", moved), arrays, element, accumulate)
    if axes != leading:
        updated = machine.emit("transpose", updated, axes=tuple(np.argsort(order).tolist()))
    write(machine, base, updated)


def _move_value(machine: Machine, element: Value, count: int, axes: list[int], rank: int) -> Value:
    """Return a value whose ``count`` dimensions for index arrays, which stand where the arrays do, come first."""
    full, axis = rank - len(axes) + count, axes[0]
    if element.type.rank > full:
        return element
    if element.type.rank < full:
        missing = full - element.type.rank
        element = machine.emit("reshape", element, shape=(*(1 for _ in range(missing)), *element.type.shape))
    order = (*range(axis, axis + count), *range(axis), *range(axis + count, full))
    return machine.emit("transpose", element, axes=order)


def _update_take(
    machine: Machine, version: Value, arrays: list[Value], element: Value, accumulate: bool | str
) -> Value:
    guard = machine.guard("index.bounds", machine.span.text or "index", "positions within bounds")
    axes = tuple(range(len(arrays)))
    return machine.emit("update_take", version, element, *arrays, axes=axes, accumulate=accumulate, guard=guard)
