"""Convolutions in register tiles.

Owns `Forward`. Output channels are the rows of a product, the windows of a block of images its columns, of which
`convolution_panels` lays out what they share. Invariant: all elements are added up in one order, plane by plane and
block of channels by block of channels, whatever tile they fall into.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.convolution_choice import ForwardPlan
from janusjit.backend.llvm.convolution_panels import emit_kernel_panel
from janusjit.backend.llvm.convolution_threads import forward_nanoseconds
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.divided_work import Units, emit_divided
from janusjit.backend.llvm.gemm_packed import After
from janusjit.backend.llvm.gemm_tiling import Piece, tile_start
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.row_copies import copy_rows
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    VOID,
    ArrayValue,
    Extent,
    KernelContext,
    element_pointer,
    item_size,
    load,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_piece, multiply_add, store_piece, vector_type, zeros


@dataclass(frozen=True)
class Forward:
    """A convolution of two axes in register tiles; ``after`` follows images that are done, if there is anything."""

    context: KernelContext
    x: ArrayValue
    w: ArrayValue
    out: ArrayValue
    plan: ForwardPlan
    after: After | None = None

    def emit(self) -> int:
        """Emit the loops over blocks of images, of rows of windows and of channels; return the threads for them."""
        context, panel = self.context, self.plan.panel
        kernels = emit_kernel_panel(context, self.w, self.plan.tiling)
        own = () if self._stores_rows else (self.w.dims[0], panel.places)
        stride = self.out.strides[1] if not own else panel.places * item_size(panel.dtype)
        assert isinstance(stride, int)
        tile = _emit_tile(context, self.plan, stride, self._channel_blocks > 1)
        batch = self.x.dims[0]
        blocks = -(-batch // panel.images) if isinstance(batch, int) else batch
        arrays = [self.x, self.out, kernels]
        if self.after is not None:
            arrays.append(ArrayValue("i64", self.after.told, (), ()))

        def emit_units(inner: KernelContext, given: Sequence[ArrayValue], units: Units) -> None:
            after = None if self.after is None else replace(self.after, told=given[3].pointer)
            code = replace(self, context=inner, x=given[0], out=given[1], after=after)
            code._emit_blocks(tile, given[2].pointer, own, units)

        units = blocks if self._are_whole or not isinstance(blocks, int) else blocks * self._bands
        nanoseconds = forward_nanoseconds(self.plan, batch, self.w.dims)
        return emit_divided(context, units, nanoseconds, arrays, emit_units)

    @property
    def _bands(self) -> int:
        """How many parts the rows of an image are in."""
        return -(-self.plan.panel.geometry.output[0] // self.plan.panel.rows)

    @property
    def _are_whole(self) -> bool:
        """Whether units are images with all their rows."""
        return self.after is not None or not isinstance(self.x.dims[0], int)

    def _emit_blocks(
        self, tile: ir.Function, kernels: ir.Value, own: tuple[Extent, ...], units: Units
    ) -> None:
        """Emit some blocks, each a part of the rows of some images, or all."""
        context, panel = self.context, self.plan.panel
        memory = context.scratch(panel.dtype, (panel.elements,)).pointer
        product = context.scratch(panel.dtype, own) if own else None
        partial = context.scratch(panel.dtype, self._partial) if self._channel_blocks > 1 else None
        height, batch = panel.geometry.output[0], self.x.dims[0]
        stride = self.out.strides[1] if product is None else product.strides[0]
        assert isinstance(stride, int)
        inside = self._bands if self._are_whole else 1
        with context.loop(units.count) as number:
            image = context.builder.add(units.start, number)
            with context.loop(inside) as within:
                builder, band = context.builder, within
                first = image
                if not self._are_whole:
                    several = ir.Constant(I64, self._bands)
                    first, band = builder.udiv(image, several), builder.urem(image, several)
                first = tile_start(builder, first, panel.images, batch) if isinstance(batch, int) else first
                row = tile_start(builder, band, panel.rows, height)
                place = (self._place(units, first), 0, row, 0)
                target = element_pointer(builder, self.out, place) if product is None else product.pointer
                with context.loop(self._channel_blocks) as block:
                    self._emit_channels(tile, (kernels, memory, target), partial, stride, (first, row, block))
                if product is not None:
                    self._copy(product, place)
            self._run_after(units, image)

    def _place(self, units: Units, image: ir.Value) -> ir.Value:
        """Return where an image of the result is: each thread may have room for a block only."""
        if self.after is None or not self.after.kept:
            return image
        return self.context.builder.mul(units.thread, ir.Constant(I64, self.after.kept))

    def _run_after(self, units: Units, block: ir.Value) -> None:
        """Emit what follows a block of images that is done."""
        if self.after is None:
            return
        builder, images = self.context.builder, ir.Constant(I64, self.plan.panel.images)
        first = builder.mul(block, images)
        builder.call(self.after.task, [self.after.told, units.thread, first, builder.add(first, images)])

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

    def _copy(self, own: ArrayValue, place: tuple[ir.Value | int, ...]) -> None:
        """Emit the copy of a block of the result to where it belongs."""
        panel, size = self.plan.panel, item_size(self.out.dtype)
        width = panel.geometry.output[1]
        dims = (panel.images, own.dims[0], panel.rows, width)
        source = replace(own, dims=dims, strides=(width * size, own.strides[0], panel.pitch * size, size))
        pointer = element_pointer(self.context.builder, self.out, place)
        copy_rows(self.context, source, replace(self.out, pointer=pointer, dims=dims))


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
        context.mark_vectors()
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
    context.mark_vectors()
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
    following = next_turn(builder, number)
    number.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    builder.position_at_end(after)
    return totals
