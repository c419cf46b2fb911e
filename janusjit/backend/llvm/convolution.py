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

from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.convolution_choice import (
    ForwardPlan,
    choose_by_kernel,
    choose_forward,
    is_possible,
)
from janusjit.backend.llvm.convolution_panels import Geometry, emit_kernel_panel
from janusjit.backend.llvm.convolution_sums import emit_sums_over_windows
from janusjit.backend.llvm.convolution_threads import emit_divided, multiplication_nanoseconds
from janusjit.backend.llvm.gemm import choose_kernel
from janusjit.backend.llvm.gemm_tiling import Piece, tile_start
from janusjit.backend.llvm.indexing import at, copy_elements
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.structured_windows import emit_fold, emit_unfold
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    VOID,
    ArrayValue,
    Extent,
    KernelContext,
    as_i64,
    contiguous_strides,
    element_pointer,
    item_size,
    load,
    multiply,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_piece, multiply_add, store_piece, vector_type, zeros
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
    geometry = Geometry.of(node.attributes, x.dims[2:], out.dims[2:])
    batch, channels, out_channels = x.dims[0], x.dims[1], w.dims[0]
    if not is_possible(geometry, (channels, out_channels), batch):
        return _emit_windows_and_product(context, node, x, w, out)
    assert geometry is not None and isinstance(channels, int) and isinstance(out_channels, int)
    plan = choose_forward(geometry, x.dtype, batch, channels, out_channels)
    threads = _Forward(context, _over_two(x), _over_two(w), _over_two(out), plan).emit()
    return _with_threads(str(plan), threads)


@dataclass(frozen=True)
class _Forward:
    """A convolution in register tiles."""

    context: KernelContext
    x: ArrayValue
    w: ArrayValue
    out: ArrayValue
    plan: ForwardPlan

    def emit(self) -> int:
        """Emit the loops over blocks of images, of rows of windows and of channels; return the threads for them."""
        context, panel = self.context, self.plan.panel
        kernels = emit_kernel_panel(context, self.w, self.plan.tiling)
        own = () if self._stores_rows else (self.w.dims[0], panel.places)
        stride = self.out.strides[1] if not own else panel.places * item_size(panel.dtype)
        assert isinstance(stride, int)
        tile = _emit_tile(context, self.plan, stride, self._channel_blocks > 1)
        batch, bands = self.x.dims[0], -(-panel.geometry.output[0] // panel.rows)
        blocks = -(-batch // panel.images) if isinstance(batch, int) else batch
        arrays = (self.x, self.out, kernels)

        def emit_units(inner: KernelContext, given: Sequence[ArrayValue], start: ir.Value, count: Extent) -> None:
            code = replace(self, context=inner, x=given[0], out=given[1])
            code._emit_blocks(tile, given[2].pointer, own, (start, count))

        units = blocks * bands if isinstance(blocks, int) else blocks
        nanoseconds = 0.0
        if isinstance(batch, int):
            steps = math.prod(self.w.dims[1:])
            nanoseconds = multiplication_nanoseconds(
                batch * panel.geometry.places * self._out_channels * steps, panel.dtype
            )
        return emit_divided(context, units, nanoseconds, arrays, emit_units)

    def _emit_blocks(
        self, tile: ir.Function, kernels: ir.Value, own: tuple[Extent, ...], units: tuple[ir.Value, Extent]
    ) -> None:
        """Emit some blocks; where the number of images is not known, units are images with all their rows."""
        context, panel, (start, count) = self.context, self.plan.panel, units
        memory = context.scratch(panel.dtype, (panel.elements,)).pointer
        product = context.scratch(panel.dtype, own) if own else None
        partial = context.scratch(panel.dtype, self._partial) if self._channel_blocks > 1 else None
        height, batch = panel.geometry.output[0], self.x.dims[0]
        stride = self.out.strides[1] if product is None else product.strides[0]
        assert isinstance(stride, int)
        bands = -(-height // panel.rows)
        inside = 1 if isinstance(batch, int) else bands
        with context.loop(count) as number, context.loop(inside) as within:
            builder = context.builder
            image, band = builder.add(start, number), within
            if isinstance(batch, int):
                unit, several = image, ir.Constant(I64, bands)
                image = tile_start(builder, builder.udiv(unit, several), panel.images, batch)
                band = builder.urem(unit, several)
            row = tile_start(builder, band, panel.rows, height)
            target = element_pointer(builder, self.out, (image, 0, row, 0)) if product is None else product.pointer
            with context.loop(self._channel_blocks) as block:
                self._emit_channels(tile, (kernels, memory, target), partial, stride, (image, row, block))
            if product is not None:
                self._copy(product, image, row)

    def _emit_channels(
        self,
        tile: ir.Function,
        pointers: tuple[ir.Value, ir.Value, ir.Value],
        partial: ArrayValue | None,
        stride: int,
        where: tuple[ir.Value, ir.Value, ir.Value],
    ) -> None:
        """Emit the part that a block of channels has in a block of the result."""
        context, panel, tiling = self.context, self.plan.panel, self.plan.tiling
        builder, (kernels, memory, target), (image, row, block) = context.builder, pointers, where
        channels, size = self.x.dims[1], item_size(panel.dtype)
        assert isinstance(channels, int)
        channel = builder.mul(block, ir.Constant(I64, panel.channels))
        left, most = builder.sub(ir.Constant(I64, channels), channel), ir.Constant(I64, panel.channels)
        count = builder.select(builder.icmp_signed("<", left, most), left, most)
        panel.emit(context, self.x, memory, (image, row, channel), count)
        builder = context.builder
        per_channel = math.prod(panel.geometry.kernel) * tiling.rows * size
        first = offset_pointer(builder, kernels, builder.mul(channel, ir.Constant(I64, per_channel)))
        planes = builder.mul(count, ir.Constant(I64, panel.geometry.kernel[1]))
        is_first = builder.icmp_signed("==", block, ir.Constant(I64, 0))
        is_last = builder.icmp_signed("==", block, ir.Constant(I64, self._channel_blocks - 1))
        with context.loop(tiling.column_tiles) as across:
            column = tile_start(context.builder, across, tiling.columns, panel.places)
            offset = context.builder.mul(column, ir.Constant(I64, size))
            with context.loop(tiling.row_tiles) as down:
                builder = context.builder
                of_tile = tile_start(builder, down, tiling.rows, self._out_channels)
                a = offset_pointer(builder, first, builder.mul(down, ir.Constant(I64, channels * per_channel)))
                below = offset_pointer(builder, target, builder.mul(of_tile, ir.Constant(I64, stride)))
                moved = [offset_pointer(builder, pointer, offset) for pointer in (memory, below)]
                kept = below if partial is None else element_pointer(builder, partial, (across, down, 0))
                builder.call(tile, [a, *moved, kept, planes, is_first, is_last])

    @property
    def _out_channels(self) -> int:
        count = self.w.dims[0]
        assert isinstance(count, int)
        return count

    @property
    def _channel_blocks(self) -> int:
        channels = self.x.dims[1]
        assert isinstance(channels, int)
        return -(-channels // self.plan.panel.channels)

    @property
    def _partial(self) -> tuple[int, int, int]:
        """Tiles of a block, and elements of one, whose vectors are all there."""
        tiling = self.plan.tiling
        return tiling.column_tiles, tiling.row_tiles, tiling.rows * sum(piece.lanes for piece in tiling.pieces)

    @property
    def _stores_rows(self) -> bool:
        """Whether the rows of a block of the result are one in memory."""
        (height, width), size = self.out.dims[2:], item_size(self.out.dtype)
        by_row = self.out.strides[3] == size and (height == 1 or self.out.strides[2] == width * size)
        return by_row and self.plan.panel.images == 1 and isinstance(self.out.strides[1], int)

    def _copy(self, own: ArrayValue, image: ir.Value, row: ir.Value) -> None:
        """Emit the copy of a block of the result to where it belongs."""
        panel, size = self.plan.panel, item_size(self.out.dtype)
        width = panel.geometry.output[1]
        dims = (panel.images, own.dims[0], panel.rows, width)
        source = replace(own, dims=dims, strides=(width * size, own.strides[0], panel.pitch * size, size))
        pointer = element_pointer(self.context.builder, self.out, (image, 0, row, 0))
        copy_elements(self.context, source, replace(self.out, pointer=pointer, dims=dims))


def _emit_tile(outer: KernelContext, plan: ForwardPlan, stride: int, in_parts: bool) -> ir.Function:
    """Emit the function of a tile: the sums over some planes, stored; in parts, added up in memory of its own first.

    So tiles may overlap: what two of them compute is added by each to its own sums.
    """
    types = [*[POINTER] * 4, I64, I1, I1]
    function = ir.Function(outer.module, ir.FunctionType(VOID, types), f"{outer.function.name}.tile")
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    context = KernelContext(function, outer.python)
    out, partial, _, is_first, is_last = function.args[2:]
    sums = _emit_steps(context, plan)
    if not in_parts:
        _store(context, plan, sums, out, stride)
        context.finish()
        return function
    width = sum(piece.lanes for piece in plan.tiling.pieces) * item_size(plan.panel.dtype)
    for row, vectors in enumerate(sums):
        for number, piece in enumerate(plan.tiling.pieces):
            pointer = _whole(context, plan, partial, row * width, piece)
            type_ = vectors[number].type
            before = context.builder.load(pointer, typ=type_, align=item_size(plan.panel.dtype))
            before = context.builder.select(is_first, zeros(type_), before)
            vectors[number] = context.builder.fadd(before, vectors[number])
    with context.builder.if_else(is_last) as (done, otherwise):
        with done:
            _store(context, plan, sums, out, stride)
        with otherwise:
            for row, vectors in enumerate(sums):
                for piece, total in zip(plan.tiling.pieces, vectors, strict=True):
                    pointer = _whole(context, plan, partial, row * width, piece)
                    context.builder.store(total, pointer, align=item_size(plan.panel.dtype))
    context.finish()
    return function


def _whole(context: KernelContext, plan: ForwardPlan, memory: ir.Value, offset: int, piece: Piece) -> ir.Value:
    """Return where all lanes of a piece are kept: pieces are in the order of their vectors."""
    before = sum(one.lanes for one in plan.tiling.pieces if one.start < piece.start)
    return offset_pointer(context.builder, memory, offset + before * item_size(plan.panel.dtype))


def _store(context: KernelContext, plan: ForwardPlan, sums: list[list[ir.Value]], out: ir.Value, stride: int) -> None:
    dtype = plan.panel.dtype
    for row, vectors in enumerate(sums):
        for piece, total in zip(plan.tiling.pieces, vectors, strict=True):
            pointer = offset_pointer(context.builder, out, row * stride + piece.start * item_size(dtype))
            store_piece(context, dtype, total, pointer, piece)


def _emit_steps(context: KernelContext, plan: ForwardPlan) -> list[list[ir.Value]]:
    """Emit the loop over planes, of which there is one at least, each with all rows of the kernel; return the sums."""
    panel, tiling, builder = plan.panel, plan.tiling, context.builder
    dtype, size, height = panel.dtype, item_size(panel.dtype), panel.geometry.kernel[0]
    kernels, planes, count = (context.function.args[number] for number in (0, 1, 4))
    before = builder.block
    body, after = (context.function.append_basic_block(name) for name in ("plane", "plane.end"))
    builder.branch(body)
    builder.position_at_end(body)
    number = builder.phi(I64)
    number.add_incoming(ir.Constant(I64, 0), before)
    types = [vector_type(dtype, piece.lanes) for piece in tiling.pieces]
    running = [[builder.phi(type_) for type_ in types] for _ in range(tiling.rows)]
    left = offset_pointer(builder, kernels, builder.mul(number, ir.Constant(I64, height * tiling.rows * size)))
    right = offset_pointer(builder, planes, builder.mul(number, ir.Constant(I64, panel.plane_bytes)))
    totals: list[list[ir.Value]] = [list(row) for row in running]
    for place in range(height):
        start = offset_pointer(builder, right, panel.offset(place))
        vectors = [
            load_piece(context, dtype, offset_pointer(builder, start, piece.start * size), piece)
            for piece in tiling.pieces
        ]
        for row, sums in enumerate(totals):
            factor = load(builder, dtype, offset_pointer(builder, left, (place * tiling.rows + row) * size)).value
            products = zip(vectors, sums, strict=True)
            totals[row] = [multiply_add(context, dtype, splat(builder, factor, v.type), v, s) for v, s in products]
    for phis, sums in zip(running, totals, strict=True):
        for phi, total in zip(phis, sums, strict=True):
            phi.add_incoming(zeros(phi.type), before)
            phi.add_incoming(total, body)
    following = builder.add(number, ir.Constant(I64, 1), flags=("nsw",))
    number.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    builder.position_at_end(after)
    return totals


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
        copy_elements(context, array, fresh)
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

    def emit_units(inner: KernelContext, given: Sequence[ArrayValue], start: ir.Value, count: Extent) -> None:
        nonlocal chosen
        first = inner.builder.mul(start, ir.Constant(I64, block))
        chosen = replace(code, kernels=given[0], g=given[1], out=given[2]).emit(inner, block, first, count)

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
        parts = self.out.dims[1] // channels if isinstance(channels, int) and isinstance(self.out.dims[1], int) else 1
        with context.loop(blocks) as number:
            first = context.builder.add(start, as_i64(multiply(context.builder, number, images)))
            part, target = (_images(context, array, first, images) for array in (g, self.out))
            given = _swapped(part)
            if not (images == 1 and _is_contiguous(context, at(context, part, (0,)))):
                copy_elements(context, given, rows)
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
