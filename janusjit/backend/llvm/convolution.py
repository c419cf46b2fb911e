"""Convolutions and what takes gradients back through them.

Owns `emit_convolution`. Where sizes are known, a convolution is a matrix product whose right operand, the windows of
the images, is nowhere in memory: parts of the images are laid out so that windows are found at offsets
(`convolution_panels`). Invariant: windows' elements beside an image are zeros that are multiplied, as in eager
code; what goes back to images is added in ``fold``'s order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.epilogues import ByRows
from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.convolution_choice import (
    ForwardPlan,
    choose_by_kernel,
    choose_forward,
    is_possible,
)
from janusjit.backend.llvm.convolution_panels import Geometry
from janusjit.backend.llvm.convolution_sums import emit_sums_over_windows
from janusjit.backend.llvm.convolution_threads import forward_nanoseconds, multiplication_nanoseconds
from janusjit.backend.llvm.convolution_tiles import Forward
from janusjit.backend.llvm.divided_work import Units, emit_divided, threads_for
from janusjit.backend.llvm.gemm import choose_kernel
from janusjit.backend.llvm.gemm_packed import After
from janusjit.backend.llvm.indexing import at, copy_elements
from janusjit.backend.llvm.row_copies import copy_rows
from janusjit.backend.llvm.structured_windows import emit_fold, emit_unfold
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    as_i64,
    contiguous_strides,
    element_pointer,
    item_size,
    multiply,
    offset_pointer,
)
from janusjit.ir.graph import Node

#: windows of some images that are to be added up stay in the cache: so many bytes
_BLOCK_BYTES = 512 * 1024
#: and those of a large image take so many at most: an allocator keeps that, and pages are not made each time
_MOST_BYTES = 16 * 1024 * 1024


def emit_convolution(context: KernelContext, node: Node, inputs: Sequence[ArrayValue], out: ArrayValue) -> str:
    """Emit a convolution, or one of its gradients; return how, in words.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    node : Node
        The operation.
    inputs : sequence of ArrayValue
        Its inputs.
    out : ArrayValue
        Memory for the result, that overlaps no input.
    """
    return _EMITTERS[node.op](context, node, inputs, out)


# ---------------------------------------------------------------------- forward


def _emit_forward(context: KernelContext, node: Node, inputs: Sequence[ArrayValue], out: ArrayValue) -> str:
    x, w = inputs
    plan = _forward_plan(node, x, w, out)
    if plan is None:
        return _emit_windows_and_product(context, node, x, w, out)
    threads = Forward(context, _over_two(x), _over_two(w), _over_two(out), plan).emit()
    return _with_threads(str(plan), threads)


def _forward_plan(node: Node, x: ArrayValue, w: ArrayValue, out: ArrayValue) -> ForwardPlan | None:
    """Return how a convolution is cut into tiles; None if its windows are laid out."""
    geometry = Geometry.of(node.attributes, x.dims[2:], out.dims[2:])
    batch, channels, out_channels = x.dims[0], x.dims[1], w.dims[0]
    if geometry is None or not is_possible(geometry, (channels, out_channels), batch):
        return None
    assert isinstance(channels, int) and isinstance(out_channels, int)
    return choose_forward(geometry, x.dtype, batch, channels, out_channels)


def convolution_by_rows(
    node: Node, x: ArrayValue, w: ArrayValue, out: ArrayValue, threads: int = 1
) -> ByRows | None:
    """Return how a convolution of arrays of known sizes is computed by images; None if it is not."""
    plan = _forward_plan(node, x, w, out)
    if plan is None or not isinstance(x.dims[0], int) or x.dims[0] % plan.panel.images:
        return None
    nanoseconds = forward_nanoseconds(plan, x.dims[0], _over_two(w).dims)
    blocks = x.dims[0] // plan.panel.images
    return ByRows(1, plan.panel.images, True, False, threads_for(blocks, nanoseconds, threads))


def emit_convolution_and(
    context: KernelContext, node: Node, operands: tuple[ArrayValue, ArrayValue, ArrayValue], after: After
) -> str:
    """Emit a convolution that `convolution_by_rows` has been asked about, with what follows images that are done."""
    x, w, out = operands
    plan = _forward_plan(node, x, w, out)
    assert plan is not None
    threads = Forward(context, _over_two(x), _over_two(w), _over_two(out), plan, after).emit()
    return _with_threads(str(plan), threads)


def _with_threads(text: str, threads: int) -> str:
    return text if threads == 1 else f"{text}, on up to {threads} threads"


def _over_two(array: ArrayValue) -> ArrayValue:
    """Return an array with an axis of length 1 before its last, if it has but one behind channels."""
    if array.rank == 4:
        return array
    dims, strides = ((*part[:2], part_of, *part[2:]) for part, part_of in ((array.dims, 1), (array.strides, 0)))
    return replace(array, dims=dims, strides=strides)


# ---------------------------------------------------------------------- windows in memory


def _emit_windows_and_product(
    context: KernelContext, node: Node, x: ArrayValue, w: ArrayValue, out: ArrayValue
) -> str:
    """Emit the copy of all windows, their product with the kernels, and the copy of that to its place."""
    windows = _windows(context, node, x, out.dims[2:])
    product = context.scratch(x.dtype, (out.dims[1], out.dims[0], *out.dims[2:]))
    operands = (_matrix(context, w, 1), _flat(context, windows, w.rank - 1), _flat(context, product, 1))
    chosen = emit_matmul(context, *operands)
    copy_elements(context, _swapped(product), out)
    return f"{chosen}, of windows"


def _windows(context: KernelContext, node: Node, x: ArrayValue, output: Sequence[Extent]) -> ArrayValue:
    context.needs_passes = True
    windows = context.scratch(x.dtype, (x.dims[1], *node.attributes["kernel"], x.dims[0], *output))
    emit_unfold(context, node, [x], [windows])
    return windows


def _swapped(array: ArrayValue) -> ArrayValue:
    """Return an array with its first two axes exchanged."""
    dims, strides = ((part[1], part[0], *part[2:]) for part in (array.dims, array.strides))
    return replace(array, dims=dims, strides=strides)


def _matrix(context: KernelContext, array: ArrayValue, axes: int) -> ArrayValue:
    """Return an array as a matrix, its first ``axes`` axes being the rows'; a copy where strides do not permit that."""
    if not _is_contiguous(context, array):
        fresh = context.scratch(array.dtype, array.dims)
        copy_rows(context, array, fresh)
        array = fresh
    return _flat(context, array, axes)


def _is_contiguous(context: KernelContext, array: ArrayValue) -> bool:
    """Return whether an array is known to have nothing between its elements."""
    known = all(isinstance(extent, int) for extent in (*array.dims[1:], *array.strides))
    return known and array.strides == contiguous_strides(context.builder, array.dtype, array.dims)


def _flat(context: KernelContext, array: ArrayValue, axes: int) -> ArrayValue:
    """Return a C-contiguous array as a matrix."""
    dims: list[Extent] = [1, 1]
    for number, dim in enumerate(array.dims):
        part = 0 if number < axes else 1
        dims[part] = multiply(context.builder, dims[part], dim)
    row = multiply(context.builder, dims[1], item_size(array.dtype))
    return ArrayValue(array.dtype, array.pointer, tuple(dims), (row, item_size(array.dtype)))


# ---------------------------------------------------------------------- gradients


def _emit_by_kernel(context: KernelContext, node: Node, inputs: Sequence[ArrayValue], out: ArrayValue) -> str:
    x, g = inputs
    geometry = Geometry.of(node.attributes, x.dims[2:], g.dims[2:])
    batch, channels, out_channels = x.dims[0], x.dims[1], g.dims[1]
    if is_possible(geometry, (channels, out_channels), batch):
        assert geometry is not None and isinstance(channels, int) and isinstance(out_channels, int)
        plan = choose_by_kernel(geometry, x.dtype, batch, channels, out_channels)
        if plan is not None:
            threads = emit_sums_over_windows(context, _over_two(x), _over_two(g), _over_two(out), plan)
            return _with_threads(str(plan), threads)
    windows = _flat(context, _windows(context, node, x, g.dims[2:]), out.rank - 1)
    turned = replace(windows, dims=windows.dims[::-1], strides=windows.strides[::-1])
    product = context.scratch(x.dtype, out.dims)
    chosen = emit_matmul(context, _matrix(context, _swapped(g), 1), turned, _flat(context, product, 1))
    copy_elements(context, product, out)
    return f"{chosen}, of windows"


def _emit_by_input(context: KernelContext, node: Node, inputs: Sequence[ArrayValue], out: ArrayValue) -> str:
    """Emit, for some images at a time, the product of the kernels and ``g``, and its addition where windows are."""
    w, g = inputs
    batch = out.dims[0]
    kernels = _matrix(context, w, 1)
    turned = replace(kernels, dims=kernels.dims[::-1], strides=kernels.strides[::-1])
    window = [*w.dims[1:], *g.dims[2:]]
    block = _images_at_a_time(window, batch, item_size(w.dtype))
    code = _Back(node, turned, g, out)
    if block is None:
        return f"{code.emit(context, batch, ir.Constant(I64, 0), 1)}, added up"
    if not isinstance(batch, int):
        return f"{code.emit(context, 1, ir.Constant(I64, 0), batch)}, added up image by image"
    chosen = "nothing"

    def emit_units(inner: KernelContext, given: Sequence[ArrayValue], units: Units) -> None:
        nonlocal chosen
        first = inner.builder.mul(units.start, ir.Constant(I64, block))
        chosen = replace(code, kernels=given[0], g=given[1], out=given[2]).emit(inner, block, first, units.count)

    steps = math.prod([*window, g.dims[1]])
    columns = block * math.prod(g.dims[2:])
    nanoseconds = multiplication_nanoseconds(batch * steps, w.dtype) if _is_own(turned, columns) else 0.0
    threads = emit_divided(context, batch // block, nanoseconds, (turned, g, out), emit_units)
    if batch % block:
        code.emit(context, batch % block, ir.Constant(I64, batch - batch % block), 1)
    return _with_threads(f"{chosen}, added up {block} images at a time", threads)


def _is_own(kernels: ArrayValue, columns: int) -> bool:
    """Return whether the product of kernels with contiguous rows is not a library's, which has threads of its own."""
    (rows, depth), size = kernels.dims, item_size(kernels.dtype)
    right = Matrix(kernels.dtype, kernels.pointer, depth, columns, columns * size, size)
    left = Matrix(kernels.dtype, kernels.pointer, rows, depth, *kernels.strides)
    return choose_kernel(left, right, replace(right, rows=rows)) is not None


@dataclass(frozen=True)
class _Back:
    """The gradient by the input: the kernels' transpose times ``g``, added up."""

    node: Node
    kernels: ArrayValue
    g: ArrayValue
    out: ArrayValue

    def emit(self, context: KernelContext, images: Extent, start: ir.Value, blocks: Extent) -> str:
        """Emit some blocks of as many ``images``, from one on; return how products are computed."""
        g, kernel, dtype = self.g, self.node.attributes["kernel"], self.out.dtype
        channels = self._channels(images)
        of_windows = (channels, *kernel, images, *g.dims[2:])
        of_rows = (g.dims[1], images, *g.dims[2:])
        windows, rows = context.scratch(dtype, of_windows), context.scratch(dtype, of_rows)
        products = _flat(context, windows, 1 + len(kernel))
        if not isinstance(products.dims[1], int) or not _is_own(self.kernels, products.dims[1]):
            context.needs_passes = True
        parts = self.out.dims[1] // channels if isinstance(channels, int) and isinstance(self.out.dims[1], int) else 1
        with context.loop(blocks) as number:
            first = context.builder.add(start, as_i64(multiply(context.builder, number, images)))
            part, target = (_images(context, array, first, images) for array in (g, self.out))
            given = _swapped(part)
            if not (images == 1 and _is_contiguous(context, at(context, part, (0,)))):
                copy_rows(context, given, rows)
                given = rows
            right = _flat(context, given, 1)
            with context.loop(parts) as block:
                channel = multiply(context.builder, block, channels)
                row = multiply(context.builder, channel, math.prod(kernel))
                left = replace(self.kernels, dims=(products.dims[0], self.kernels.dims[1]))
                left = replace(left, pointer=element_pointer(context.builder, self.kernels, (row,)))
                some = replace(target, dims=(target.dims[0], channels, *target.dims[2:]))
                some = replace(some, pointer=element_pointer(context.builder, target, (0, channel)))
                chosen = emit_matmul(context, left, right, products)
                emit_fold(context, self.node, [windows], [some])
        return chosen

    def _channels(self, images: Extent) -> Extent:
        """Return of how many channels windows are added up together: all, or a part that memory is kept for."""
        channels = self.out.dims[1]
        extents = [*self.node.attributes["kernel"], images, *self.g.dims[2:]]
        if not isinstance(channels, int) or not all(isinstance(extent, int) for extent in extents):
            return channels
        most = _MOST_BYTES // (math.prod(extents) * item_size(self.out.dtype) or 1)
        return max(count for count in range(1, channels + 1) if channels % count == 0 and count <= max(most, 1))


def _images(context: KernelContext, array: ArrayValue, start: Extent, count: Extent) -> ArrayValue:
    offset = multiply(context.builder, start, array.strides[0])
    pointer = offset_pointer(context.builder, array.pointer, offset)
    return replace(array, pointer=pointer, dims=(count, *array.dims[1:]))


def _images_at_a_time(window: Sequence[Extent], batch: Extent, size: int) -> int | None:
    """Return of how many images windows are added up together; None if of all."""
    known = [extent for extent in window if isinstance(extent, int)]
    if len(known) != len(window) or batch == 0 or 0 in known:
        return None
    if not isinstance(batch, int):
        return 1
    return min(batch, max(1, _BLOCK_BYTES // (math.prod(known) * size)))


_EMITTERS: dict[str, Callable[[KernelContext, Node, Sequence[ArrayValue], ArrayValue], str]] = {
    "convolution": _emit_forward,
    "convolution_by_kernel": _emit_by_kernel,
    "convolution_by_input": _emit_by_input,
}
