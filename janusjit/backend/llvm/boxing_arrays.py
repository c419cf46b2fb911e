"""Making ndarrays in compiled code.

Owns fresh arrays and views. Invariant: a fresh array owns its memory, which nothing else in the process refers to; a
view keeps its base alive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.array_memory import SMALLEST, array_new
from janusjit.backend.llvm.entry_frame import EntryFrame
from janusjit.backend.llvm.python_api import I1, I32, I64, NULL, POINTER, PythonApi, array_descriptor
from janusjit.backend.llvm.values import (
    ArrayValue,
    Extent,
    Operand,
    Scalar,
    as_i64,
    contiguous_strides,
    item_size,
    multiply,
    store,
)
from janusjit.ir.graph import Value

_VIEWS = frozenset({"view", "transpose", "reshape", "broadcast"})


class Making(Protocol):
    """What making an array asks of the exit it is made in (`boxing.Exit`)."""

    frame: EntryFrame

    @property
    def builder(self) -> ir.IRBuilder:
        """Where code goes."""

    def take(self, reference: ir.Value) -> ir.Value:
        """Hold a new reference, or fail if it is null."""

    def require(self, name: str, *arguments: ir.Value) -> None:
        """Call a C API function that returns a status."""

    def failed(self, condition: ir.Value) -> None:
        """Fail if ``condition`` holds."""


def new_array(
    api: PythonApi, frame: EntryFrame, dtype: str, dims: Sequence[Extent], strides: Sequence[Extent] | None = None,
    data: ir.Value = NULL, flags: ir.Value | int = 0,
) -> ir.Value:  # fmt: skip
    """Emit the making of an ndarray, on fresh memory unless there is ``data``.

    It is a new reference, or null with an exception set if there is no memory.
    """
    builder = frame.builder
    descriptor = api.object(builder, array_descriptor(dtype))
    api.incref(builder, descriptor)  # the call takes it over
    if data is NULL and not is_small(dtype, dims):
        rank, size = ir.Constant(I32, len(dims)), byte_count(builder, dtype, dims)
        extents = extent_vector(api, frame, dims), NULL if strides is None else extent_vector(api, frame, strides)
        return array_new(api, builder, descriptor, rank, *extents, size)
    return api.call(
        builder,
        "PyArray_NewFromDescr",
        api.object(builder, np.ndarray),
        descriptor,
        ir.Constant(I32, len(dims)),
        extent_vector(api, frame, dims),
        NULL if strides is None else extent_vector(api, frame, strides),
        data,
        ir.Constant(I32, flags) if isinstance(flags, int) else flags,
        NULL,
    )


def is_small(dtype: str, dims: Sequence[Extent]) -> bool:
    """Return whether an array is known, now, to be one whose memory NumPy allocates."""
    known = [dim for dim in dims if isinstance(dim, int)]
    return len(known) == len(dims) and math.prod(known) * item_size(dtype) < SMALLEST


def extent_vector(api: PythonApi, frame: EntryFrame, extents: Sequence[Extent]) -> ir.Value:
    """Emit a C array of ``npy_intp`` on the stack."""
    slot = frame.scratch(ir.ArrayType(I64, max(len(extents), 1)))
    for index, extent in enumerate(extents):
        frame.builder.store(as_i64(extent), api.address(frame.builder, slot, 8 * index))
    return slot


def fresh_array(exit_: Making, operand: Operand, order: Sequence[int] = ()) -> ir.Value:
    """Emit an ndarray that owns the operand's value: the one it was computed into, else a copy."""
    frame, api, builder = exit_.frame, exit_.frame.api, exit_.builder
    if isinstance(operand, ArrayValue) and operand.owner is not None:
        api.incref(builder, operand.owner)
        frame.hold_box(operand.owner)
        return operand.owner
    dims = operand.dims if isinstance(operand, ArrayValue) else ()
    strides = ordered_strides(builder, operand.dtype, dims, order) if order else None
    made = exit_.take(new_array(api, frame, operand.dtype, dims, strides))
    copy_into(exit_, operand, made, order)
    return made


def ordered_strides(
    builder: ir.IRBuilder, dtype: str, dims: Sequence[Extent], order: Sequence[int]
) -> tuple[Extent, ...]:
    """Emit the strides of an array without gaps whose axes lie in an order, from the one that steps furthest."""
    order = order or range(len(dims))
    strides = contiguous_strides(builder, dtype, [dims[axis] for axis in order])
    return tuple(strides[order.index(axis)] for axis in range(len(dims)))


def copy_into(exit_: Making, operand: Operand, array: ir.Value, order: Sequence[int] = ()) -> None:
    """Emit the copy of an operand into an ndarray of its dtype and shape without gaps, in C order if no other."""
    frame, api, builder = exit_.frame, exit_.frame.api, exit_.builder
    data = api.field(builder, array, layout.ARRAY_DATA, POINTER)
    if isinstance(operand, Scalar):
        store(builder, operand, data)
    elif is_contiguous(operand, order):
        copy_memory(builder, data, operand.pointer, byte_count(builder, operand.dtype, operand.dims))
    else:
        source = new_array(api, frame, operand.dtype, operand.dims, operand.strides, operand.pointer)
        exit_.require("PyArray_CopyInto", array, exit_.take(source))


def byte_count(builder: ir.IRBuilder, dtype: str, dims: Sequence[Extent]) -> ir.Value:
    """Emit the bytes an array's elements take."""
    size: Extent = item_size(dtype)
    for dim in dims:
        size = multiply(builder, size, dim)
    return as_i64(size)


def copy_memory(builder: ir.IRBuilder, target: ir.Value, source: ir.Value, size: ir.Value) -> None:
    """Emit ``memcpy``."""
    copy = builder.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
    builder.call(copy, [target, source, size, ir.Constant(I1, 0)])


def is_contiguous(array: ArrayValue, order: Sequence[int] = ()) -> bool:
    """Return whether an array's strides are known, now, to be those of one without gaps in an order of its axes."""
    step = item_size(array.dtype)
    known = True
    axes = list(order or range(len(array.dims)))
    for axis in reversed(axes):
        dim, stride = array.dims[axis], array.strides[axis]
        known = known and (dim == 1 or stride == step)
        if isinstance(dim, int):
            step *= dim
        else:
            known = known and axis == axes[0]  # strides further out would have to be computed
    return known


@dataclass(frozen=True)
class Moved:
    """The operand that a view's base was made of, and the order of the base's axes."""

    operand: Operand
    order: Sequence[int]


def view_of(
    exit_: Making, base: ir.Value, view: Operand, moved_from: Moved | None, read_only: bool, of_number: bool
) -> ir.Value:
    """Emit an ndarray on memory of the ndarray ``base``.

    ``moved_from`` is what ``base`` was made of, None if ``base`` was there before: when its value was copied to
    make ``base``, the view lies as far into the copy as it lay into the original. With ``of_number``, ``base`` has no
    dimensions: it is a number to compiled code, and arrays computed from it lie elsewhere.
    """
    frame, api, builder = exit_.frame, exit_.frame.api, exit_.builder
    data, dims, strides = _view_memory(exit_, base, view, moved_from, of_number)
    writeable = api.field(builder, base, layout.ARRAY_FLAGS, I32)
    flags = builder.and_(writeable, ir.Constant(I32, 0 if read_only else layout.ARRAY_WRITEABLE))
    dtype = view.dtype
    made = exit_.take(new_array(api, frame, dtype, dims, strides, data, flags))
    api.incref(exit_.builder, base)  # the call takes it over
    exit_.require("PyArray_SetBaseObject", made, base)
    return made


def _view_memory(
    exit_: Making, base: ir.Value, view: Operand, moved: Moved | None, of_number: bool
) -> tuple[ir.Value, tuple[Extent, ...], tuple[Extent, ...]]:
    builder = exit_.builder
    data = exit_.frame.api.field(builder, base, layout.ARRAY_DATA, POINTER)
    dims = view.dims if isinstance(view, ArrayValue) else ()
    moved_from = None if moved is None else moved.operand
    if of_number or isinstance(view, Scalar) or isinstance(moved_from, Scalar):
        return data, dims, tuple(item_size(view.dtype) for _ in dims)
    if moved is None or moved_from is None or moved_from.owner is not None:
        return view.pointer, dims, view.strides
    expected = contiguous_strides(builder, moved_from.dtype, moved_from.dims)
    if moved.order:  # its views lie as they will in the copy
        expected = moved_from.strides
    for dim, found, wanted in zip(moved_from.dims, moved_from.strides, expected, strict=True):
        if dim != 1 and found != wanted:
            exit_.failed(builder.icmp_signed("!=", as_i64(found), as_i64(wanted)))
            builder = exit_.builder
    offset = builder.sub(builder.ptrtoint(view.pointer, I64), builder.ptrtoint(moved_from.pointer, I64))
    return builder.inttoptr(builder.add(builder.ptrtoint(data, I64), offset), POINTER), dims, view.strides


def root_of_view(value: Value) -> Value:
    """Return the array whose memory a view addresses; a value that is no view is its own root."""
    while value.node is not None and value.node.op in _VIEWS:
        value = value.node.inputs[0]
    return value


def is_whole(value: Value) -> bool:
    """Return whether a view of one element is of an array of one element."""
    return root_of_view(value).type.size == 1


def is_broadcast(value: Value) -> bool:
    """Return whether a view comes from ``broadcast``: NumPy makes such views read-only."""
    node = value.node
    while node is not None and node.op in _VIEWS:
        if node.op == "broadcast":
            return True
        node = node.inputs[0].node
    return False
