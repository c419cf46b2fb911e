"""The greatest elements of windows, some windows at a time.

Owns `emit_greatest`. Invariants: all windows lie within the array, and nothing behind their last element is read; the
first of equal elements counts, and the first NaN before all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.indexing import Index, nest
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.loops import turns
from janusjit.backend.llvm.values import (
    I32,
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    element_pointer,
    item_size,
    multiply,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_some, store_some
from janusjit.ir.graph import Node

#: how many windows are done at a time
LANES = 8


def fits(node: Node, x: ArrayValue, values: ArrayValue, indices: ArrayValue) -> bool:
    """Return whether windows that lie within an array are done by vectors: elements of one or two can be loaded."""
    rows = all(one.strides[-1] == item_size(one.dtype) for one in (x, values, indices))
    return rows and node.attributes["stride"][-1] <= 2 and engine.has_masked_lanes()


def emit_greatest(
    context: KernelContext, node: Node, x: ArrayValue, values: ArrayValue, indices: ArrayValue
) -> None:
    """Emit ``window_max`` for windows that lie within the array, whose sizes are known."""
    length = values.dims[-1]
    assert isinstance(length, int)
    end = ir.Constant(I64, length)
    with nest(context, values.dims[:-1]) as lead:
        if length <= LANES:
            _emit_vector(context, node, (x, values, indices), lead, ir.Constant(I64, 0), end)
            return
        with turns(context, (ir.Constant(I64, 0), end), LANES, []) as (index, _):
            left = context.builder.sub(end, index)
            _emit_vector(context, node, (x, values, indices), lead, index, left)


def _emit_vector(
    context: KernelContext,
    node: Node,
    arrays: tuple[ArrayValue, ArrayValue, ArrayValue],
    lead: Index,
    index: ir.Value,
    left: ir.Value,
) -> None:
    """Emit the windows of a row from ``index`` on, of which so many are ``left``."""
    builder, (x, values, indices) = context.builder, arrays
    kernel, stride, dilation = (node.attributes[name] for name in ("kernel", "stride", "dilation"))
    starts = [multiply(builder, i, s) for i, s in zip(lead[2:], stride, strict=False)]
    first = index if stride[-1] == 1 else builder.mul(index, ir.Constant(I64, stride[-1]))
    columns = [k * dilation[-1] for k in range(kernel[-1])]
    best: tuple[ir.Value, ir.Value] | None = None
    for place in itertools.product(*map(range, kernel[:-1])):
        within = [_sum(builder, i, k * d) for i, k, d in zip(starts, place, dilation, strict=False)]
        row = element_pointer(builder, x, (*lead[:2], *within, first))
        number = builder.add(_flattened(builder, within, x.dims[2:]), first)
        for column, new in zip(columns, _columns(context, x.dtype, row, stride[-1], columns, left), strict=True):
            steps = [lane * stride[-1] + column for lane in range(LANES)]
            along = ir.Constant(ir.VectorType(I64, LANES), steps)
            position = builder.add(splat(builder, number, along.type), along)
            best = (new, position) if best is None else _greater(builder, (new, position), best)
    assert best is not None
    for target, found in zip((values, indices), best, strict=True):
        store_some(context, target.dtype, found, element_pointer(builder, target, (*lead, index)), left)


def _columns(
    context: KernelContext, dtype: str, row: ir.Value, stride: int, columns: Sequence[int], left: ir.Value
) -> list[ir.Value]:
    """Return for each column the elements there of the windows that begin at ``row``, of which so many are left."""
    builder, loaded, found = context.builder, {}, []
    furthest = {column // stride: column % stride for column in columns}
    for column in columns:
        start, rest = divmod(column, stride)
        if start not in loaded:
            span = builder.mul(builder.sub(left, ir.Constant(I64, 1)), ir.Constant(I64, stride))
            count = builder.add(span, ir.Constant(I64, furthest[start] + 1))
            loaded[start] = [
                load_some(
                    context,
                    dtype,
                    offset_pointer(builder, row, (start * stride + part * LANES) * item_size(dtype)),
                    LANES,
                    builder.sub(count, ir.Constant(I64, part * LANES)),
                )
                for part in range(stride)
            ]
        vectors = loaded[start]
        if stride == 1:
            found.append(vectors[0])
            continue
        order = ir.Constant(ir.VectorType(I32, LANES), [lane * stride + rest for lane in range(LANES)])
        found.append(builder.shuffle_vector(*vectors, order))
    return found


def _greater(
    builder: ir.IRBuilder, new: tuple[ir.Value, ir.Value], old: tuple[ir.Value, ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """Return of two elements with their positions the greater, or one that is NaN; the old one where it is no less."""
    is_more = builder.fcmp_unordered(">", new[0], old[0])
    taken = builder.and_(is_more, builder.fcmp_ordered("ord", old[0], old[0]))
    return builder.select(taken, new[0], old[0]), builder.select(taken, new[1], old[1])


def _sum(builder: ir.IRBuilder, start: Extent, offset: int) -> Extent:
    if isinstance(start, int):
        return start + offset
    return builder.add(start, ir.Constant(I64, offset)) if offset else start


def _flattened(builder: ir.IRBuilder, within: Sequence[Extent], size: Sequence[Extent]) -> ir.Value:
    """Return the index into the flattened image of a row's first element."""
    position: ir.Value = ir.Constant(I64, 0)
    for i, n in zip(within, size, strict=False):
        position = builder.add(builder.mul(position, ir.Constant(I64, n)), i)
    return builder.mul(position, ir.Constant(I64, size[-1]))
