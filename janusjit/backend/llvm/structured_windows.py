"""Kernels of sliding windows: ``unfold``, ``fold``, ``window_max``.

Invariant: for each element of the kernel, the windows in which it lies within the array are a range along each axis; so
all loops run over ranges, without a condition inside. Small windows within the array are compared in registers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import window_vectors
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.indexing import at, copy_elements, nest, part
from janusjit.backend.llvm.structured_rows import emit_fold_by_rows, emit_unfold_by_rows
from janusjit.backend.llvm.structured_update import add_elements
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    load,
    multiply,
    offset_pointer,
    store,
)
from janusjit.ir.graph import Node

Arrays = Sequence[ArrayValue]

#: the elements of a window of so many at most are compared in registers
WINDOW_IN_REGISTERS = 16


def emit_unfold(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``unfold``: row by row, or one copy for each channel and element of the kernel."""
    (x,), (out,), kernel = inputs, outputs, node.attributes["kernel"]
    if emit_unfold_by_rows(context, *_over_two(node, x, out), Machine.host()):
        return
    zero = _zero(context, x.dtype)
    reaches_over = _may_reach_over(node, x.dims[2:], out.dims[2 + len(kernel) :])
    with nest(context, (x.dims[1], *kernel)) as (channel, *place):
        source, target = _channel(context, x, channel), at(context, out, (channel, *place))
        if reaches_over:
            copy_elements(context, zero, target)
        ranges = _ranges(context, node, place, source.dims[1:], target.dims[1:])
        copy_elements(context, _elements(context, source, ranges), _positions(context, target, ranges))


def emit_fold(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``fold``: rows in registers, or zeros and one addition for each channel and element of the kernel."""
    (y,), (out,), kernel = inputs, outputs, node.attributes["kernel"]
    if emit_fold_by_rows(context, *_over_two(node, y, out), Machine.host()):
        return
    context.needs_passes = True
    copy_elements(context, _zero(context, y.dtype), out)
    with nest(context, (y.dims[0], *kernel)) as (channel, *place):
        source, target = at(context, y, (channel, *place)), _channel(context, out, channel)
        ranges = _ranges(context, node, place, target.dims[1:], source.dims[1:])
        add_elements(context, _positions(context, source, ranges), _elements(context, target, ranges))


def _over_two(node: Node, *arrays: ArrayValue) -> tuple[Node, ArrayValue, ArrayValue]:
    """Return what windows over one axis are over two, the first of length 1; others as they are."""
    first, second = arrays
    if len(node.attributes["kernel"]) != 1:
        return node, first, second
    neutral = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
    attributes = {name: (value, *node.attributes[name]) for name, value in neutral.items()}
    images, windows = ((-2, 1),), ((-5, 1), (-2, 1))
    both = [_with_axes(one, windows if one.rank > 3 else images) for one in arrays]
    return Node(node.op, (), (), attributes, node.span), both[0], both[1]


def _with_axes(array: ArrayValue, places: Sequence[tuple[int, int]]) -> ArrayValue:
    """Return an array with axes inserted: each at a place, counted from the end of the result, of some length."""
    dims, strides = list(array.dims), list(array.strides)
    for place, length in reversed(places):
        dims.insert(len(dims) + place + 1, length)
        strides.insert(len(strides) + place + 1, 0)
    return ArrayValue(array.dtype, array.pointer, tuple(dims), tuple(strides))


def _zero(context: KernelContext, dtype: str) -> ArrayValue:
    return context.as_array(LLVMScalarEmitter(context.builder).constant(0.0, dtype))


def _channel(context: KernelContext, array: ArrayValue, channel: ir.Value) -> ArrayValue:
    """Return one channel of ``(batch, channels, *size)``."""
    offset = multiply(context.builder, channel, array.strides[1])
    pointer = offset_pointer(context.builder, array.pointer, offset)
    dims, strides = ((e[0], *e[2:]) for e in (array.dims, array.strides))
    return ArrayValue(array.dtype, pointer, dims, strides)


def _may_reach_over(node: Node, size: Sequence[Extent], output: Sequence[Extent]) -> bool:
    """Whether windows may reach over the border."""
    names = ("kernel", "stride", "padding", "dilation")
    for n, o, k, s, before, d in zip(size, output, *(node.attributes[name] for name in names), strict=True):
        known = isinstance(n, int) and isinstance(o, int)
        if before or not known or (o - 1) * s + d * (k - 1) + 1 > n:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Range:
    """Along one axis, the windows in which an element of the kernel lies within the array: ``count`` from ``first`` on.

    In the first of them it is the array's element ``start``.
    """

    start: ir.Value
    first: ir.Value
    count: ir.Value
    stride: int


def _ranges(
    context: KernelContext, node: Node, place: Sequence[ir.Value], size: Sequence[Extent], output: Sequence[Extent]
) -> list[_Range]:
    """Return the windows in which the element of the kernel at ``place`` lies within the array."""
    builder = context.builder
    found = []
    geometry = zip(place, *(node.attributes[name] for name in ("stride", "padding", "dilation")), strict=True)
    for (k, stride, padding, dilation), n, o in zip(geometry, size, output, strict=True):
        shift = builder.sub(builder.mul(k, as_i64(dilation)), as_i64(padding))
        first, count = _valid(context, shift, stride, n, o)
        start = builder.add(builder.mul(first, as_i64(stride)), shift)
        found.append(_Range(start, first, count, stride))
    return found


def _elements(context: KernelContext, array: ArrayValue, ranges: Sequence[_Range]) -> ArrayValue:
    """Return the elements of the array that are meant, its last axes being those of the ranges."""
    for axis, one in enumerate(ranges, array.rank - len(ranges)):
        array = part(context, array, axis, one.start, one.count, one.stride)
    return array


def _positions(context: KernelContext, windows: ArrayValue, ranges: Sequence[_Range]) -> ArrayValue:
    """Return the windows that are meant."""
    for axis, one in enumerate(ranges, windows.rank - len(ranges)):
        windows = part(context, windows, axis, one.first, one.count)
    return windows


def _valid(
    context: KernelContext, shift: ir.Value, stride: int, size: Extent, output: Extent
) -> tuple[ir.Value, ir.Value]:
    """Return the first ``o``, and the number of them, in ``[0, output)`` with ``0 <= o*stride + shift < size``."""
    builder = context.builder
    zero = ir.Constant(I64, 0)

    def withinleast_zero(value: ir.Value) -> ir.Value:
        return builder.select(builder.icmp_signed("<", value, zero), zero, value)

    def divided_up(value: ir.Value) -> ir.Value:
        return builder.sdiv(builder.add(value, as_i64(stride - 1)), as_i64(stride)) if stride != 1 else value

    first = divided_up(withinleast_zero(builder.neg(shift)))
    end = divided_up(withinleast_zero(builder.sub(as_i64(size), shift)))
    end = builder.select(builder.icmp_signed("<", end, as_i64(output)), end, as_i64(output))
    return first, withinleast_zero(builder.sub(end, first))


def emit_window_max(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``window_max``: small windows within the array one by one, else a pass for each element of the kernel."""
    (x,), (values, indices) = inputs, outputs
    is_small = math.prod(node.attributes["kernel"]) <= WINDOW_IN_REGISTERS
    is_small = is_small and not _may_reach_over(node, x.dims[2:], values.dims[2:])
    if is_small and window_vectors.fits(node, x, values, indices):
        window_vectors.emit_greatest(context, node, x, values, indices)
        return
    context.needs_passes = True
    if is_small:
        _emit_inner_max(context, node, x, values, indices)
        return
    emitter = LLVMScalarEmitter(context.builder)
    least = context.as_array(emitter.constant(float("-inf"), x.dtype))
    nowhere = context.as_array(Scalar("i64", ir.Constant(I64, -1)))
    with nest(context, x.dims[:2]) as lead:
        image, best, where = (at(context, array, lead) for array in (x, values, indices))
        copy_elements(context, least, best)
        copy_elements(context, nowhere, where)
        with nest(context, node.attributes["kernel"]) as place:
            _take_greater(context, node, image, best, where, place)


def _emit_inner_max(
    context: KernelContext, node: Node, x: ArrayValue, values: ArrayValue, indices: ArrayValue
) -> None:
    """Emit the comparison of the elements of each window, which all lie within the array, in registers."""
    kernel, stride, dilation = (node.attributes[name] for name in ("kernel", "stride", "dilation"))
    with nest(context, values.dims) as index:
        builder = context.builder
        starts = [builder.mul(i, as_i64(s)) for i, s in zip(index[2:], stride, strict=True)]
        best: Scalar | None = None
        where: ir.Value = ir.Constant(I64, 0)
        for place in itertools.product(*map(range, kernel)):
            within = [builder.add(i, as_i64(k * d)) for i, k, d in zip(starts, place, dilation, strict=True)]
            new = load(builder, x.dtype, element_pointer(builder, x, (*index[:2], *within)))
            position = _flattened(builder, within, x.dims[2:])
            if best is None:
                best, where = new, position
                continue
            greater = _is_taken(builder, new, best)
            best = Scalar(new.dtype, builder.select(greater, new.value, best.value))
            where = builder.select(greater, position, where)
        assert best is not None
        store(builder, best, element_pointer(builder, values, index))
        store(builder, Scalar("i64", where), element_pointer(builder, indices, index))


def _is_taken(builder: ir.IRBuilder, new: Scalar, old: Scalar) -> ir.Value:
    """Return whether an element takes the place of the greatest before it: it is greater, or NaN; a NaN stays."""
    emitter = LLVMScalarEmitter(builder)
    return builder.and_(builder.not_(emitter.le(new, old).value), builder.not_(emitter.isnan(old).value))


def _take_greater(
    context: KernelContext,
    node: Node,
    image: ArrayValue,
    best: ArrayValue,
    where: ArrayValue,
    place: Sequence[ir.Value],
) -> None:
    """Emit the comparison of one element of every window with the greatest before it; the first of equals counts."""
    ranges = _ranges(context, node, place, image.dims, best.dims)
    elements = _elements(context, image, ranges)
    best, where = (_positions(context, array, ranges) for array in (best, where))
    with nest(context, [one.count for one in ranges]) as index:
        builder = context.builder
        new = load(builder, image.dtype, element_pointer(builder, elements, index))
        target, target_index = (element_pointer(builder, array, index) for array in (best, where))
        old, old_index = load(builder, best.dtype, target), load(builder, "i64", target_index).value
        unset = builder.icmp_signed("<", old_index, ir.Constant(I64, 0))
        chosen = builder.or_(unset, _is_taken(builder, new, old))
        position = _flwithinposition(builder, ranges, image.dims, index)
        store(builder, Scalar(new.dtype, builder.select(chosen, new.value, old.value)), target)
        store(builder, Scalar("i64", builder.select(chosen, position, old_index)), target_index)


def _flwithinposition(
    builder: ir.IRBuilder, ranges: Sequence[_Range], size: Sequence[Extent], index: Sequence[ir.Value]
) -> ir.Value:
    """Return the index into the flattened image."""
    pairs = zip(ranges, index, strict=True)
    along = [builder.add(one.start, builder.mul(i, as_i64(one.stride))) for one, i in pairs]
    return _flattened(builder, along, size)


def _flattened(builder: ir.IRBuilder, index: Sequence[ir.Value], size: Sequence[Extent]) -> ir.Value:
    position: ir.Value = ir.Constant(I64, 0)
    for i, n in zip(index, size, strict=True):
        position = builder.add(builder.mul(position, as_i64(n)), i)
    return position
