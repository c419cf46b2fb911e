"""The gradient of a convolution by its kernel: inner products of what goes back with windows that are not in memory.

Owns `emit_sums_over_windows`. Each element of a tile (output channels, and planes with all rows of the kernel) has a
vector of sums in a register while a block of images passes by, and one in memory from block to block. Invariant: all
elements are summed in one order, block by block, whatever tile they fall into.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from llvmlite import ir

from janusjit.backend.llvm.convolution_choice import KernelPlan
from janusjit.backend.llvm.convolution_panels import Panel
from janusjit.backend.llvm.convolution_threads import multiplication_nanoseconds
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.divided_work import Units, emit_divided, is_worth_dividing
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces, tile_start
from janusjit.backend.llvm.indexing import at
from janusjit.backend.llvm.row_copies import copy_rows
from janusjit.backend.llvm.values import (
    I32,
    I64,
    POINTER,
    VOID,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    offset_pointer,
    store,
)
from janusjit.backend.llvm.vectors import add_up, load_piece, multiply_add, store_piece, vector_type, zeros

#: images are summed over in so many groups, whoever does them, where there is enough to do for several threads
_GROUPS = 4


def emit_sums_over_windows(
    context: KernelContext, x: ArrayValue, g: ArrayValue, out: ArrayValue, plan: KernelPlan
) -> int:
    """Emit ``out``, the sums over all windows of ``x`` of their elements times those of ``g``; all are of rank 4.

    Returns
    -------
    int
        On how many threads they are computed at most.
    """
    batch, channels, out_channels = x.dims[0], x.dims[1], g.dims[1]
    assert isinstance(channels, int) and isinstance(out_channels, int)
    panel = plan.panel
    elements = out_channels * channels * math.prod(panel.geometry.kernel)
    alone, groups = 0.0, 1
    if isinstance(batch, int):
        alone = multiplication_nanoseconds(batch * panel.geometry.places * elements, x.dtype)
        groups = min(_GROUPS, batch // panel.images) if is_worth_dividing(alone) else 1
    grid = (
        *(groups, -(-channels // panel.channels), -(-panel.planes // plan.planes), -(-out_channels // plan.rows)),
        *(plan.rows * plan.columns, Machine.host().lanes(x.dtype)),
    )
    code = _Sums(context, x, g, out, plan, context.scratch(x.dtype, grid))

    def emit_groups(inner: KernelContext, given: Sequence[ArrayValue], units: Units) -> None:
        _Sums(inner, given[0], given[1], out, plan, given[2]).emit_groups(units.start, units.count)

    threads = emit_divided(context, groups, alone, (x, g, code.sums), emit_groups)
    code.emit_results()
    return threads


def in_blocks(context: KernelContext, extent: int, block: int, emit: Callable[[Extent, int], None]) -> None:
    """Emit the loop over blocks of an extent around what ``emit`` emits, and once more for the rest."""
    blocks, rest = divmod(extent, block)
    with context.loop(blocks) as number:
        emit(context.builder.mul(number, ir.Constant(I64, block)), block)
    if rest:
        emit(ir.Constant(I64, blocks * block), rest)


@dataclass(frozen=True)
class _Sums:
    """The sums: for each group of images, ``(blocks of channels, tiles across, tiles down, elements, lanes)``."""

    context: KernelContext
    x: ArrayValue
    g: ArrayValue
    out: ArrayValue
    plan: KernelPlan
    sums: ArrayValue

    def emit_groups(self, start: ir.Value, count: Extent) -> None:
        """Emit the sums over some groups of images, each with zeros to begin with."""
        context, panel, dtype = self.context, self.plan.panel, self.x.dtype
        batch, groups = self.x.dims[0], self.sums.dims[0]
        memory = context.scratch(dtype, (panel.elements,)).pointer
        rows = context.scratch(dtype, (self.g.dims[1], panel.places))
        height = panel.geometry.output[0]
        assert isinstance(groups, int)

        def emit_block(sums: ArrayValue, image: Extent, row: Extent, images: int, some: int) -> None:
            _Block(replace(self, sums=sums), memory, rows).emit(image, row, images, some)

        with context.loop(count) as number:
            group = context.builder.add(start, number)
            sums = at(context, self.sums, (group,))
            replace(self, sums=sums)._emit_zeros()
            if isinstance(batch, int):
                blocks = batch // panel.images
                first, end = (self._share(group, more, blocks, groups) for more in (0, 1))
            else:
                first, end = ir.Constant(I64, 0), batch
            with context.loop(context.builder.sub(end, first)) as index:
                image = context.builder.mul(context.builder.add(first, index), ir.Constant(I64, panel.images))
                in_blocks(context, height, panel.rows, partial(_swapped_block, emit_block, sums, image, panel.images))
        if isinstance(batch, int) and batch % panel.images:
            rest = batch % panel.images
            is_last = context.builder.icmp_signed("==", context.builder.add(start, as_i64(count)), as_i64(groups))
            with context.builder.if_then(is_last):
                last = at(context, self.sums, (groups - 1,))
                emit_block(last, ir.Constant(I64, batch - rest), ir.Constant(I64, 0), rest, height)

    def _share(self, group: ir.Value, more: int, blocks: int, groups: int) -> ir.Value:
        """Return the first block of a group, or of the one behind it."""
        builder = self.context.builder
        number = builder.mul(builder.add(group, ir.Constant(I64, more)), ir.Constant(I64, blocks))
        return builder.udiv(number, ir.Constant(I64, groups))

    @property
    def _piece(self) -> Piece:
        lanes = Machine.host().lanes(self.x.dtype)
        return Piece(0, lanes, lanes)

    def _emit_zeros(self) -> None:
        """Emit the zeros that all sums begin with."""
        context, dtype, piece = self.context, self.x.dtype, self._piece
        with self._vectors() as pointer:
            store_piece(context, dtype, zeros(vector_type(dtype, piece.lanes)), pointer, piece)

    @contextmanager
    def _vectors(self) -> Iterator[ir.Value]:
        count = 1
        for dim in self.sums.dims[:-1]:
            assert isinstance(dim, int)
            count *= dim
        with self.context.loop(count) as number:
            offset = self.context.builder.mul(number, ir.Constant(I64, Machine.host().vector_bytes))
            yield offset_pointer(self.context.builder, self.sums.pointer, offset)

    def emit_results(self) -> None:
        """Emit the addition of each element's vector."""
        context, dtype, piece, plan = self.context, self.x.dtype, self._piece, self.plan
        height, width = plan.panel.geometry.kernel
        groups, blocks, planes, downs = self.sums.dims[:4]
        channels, out_channels = self.x.dims[1], self.g.dims[1]
        assert isinstance(channels, int) and isinstance(out_channels, int) and isinstance(groups, int)
        with context.loop(blocks) as block, context.loop(planes) as across, context.loop(downs) as down:
            builder = context.builder
            channel = tile_start(builder, block, plan.panel.channels, channels)
            plane = tile_start(builder, across, plan.planes, plan.panel.planes)
            row = tile_start(builder, down, plan.rows, out_channels)
            with context.loop(plan.rows) as of_tile, context.loop(plan.columns) as column:
                builder = context.builder
                number = builder.add(builder.mul(of_tile, ir.Constant(I64, plan.columns)), column)
                parts = []
                for group in range(groups):
                    pointer = element_pointer(builder, self.sums, (group, block, across, down, number, 0))
                    parts.append(load_piece(context, dtype, pointer, piece))
                total = add_up(context, dtype, functools.reduce(builder.fadd, parts))
                tall = ir.Constant(I64, height)
                found, place = builder.add(plane, builder.udiv(column, tall)), builder.urem(column, tall)
                wide = ir.Constant(I64, width)
                index = (
                    *(builder.add(row, of_tile), builder.add(channel, builder.udiv(found, wide))),
                    *(place, builder.urem(found, wide)),
                )
                store(builder, Scalar(dtype, total), element_pointer(builder, self.out, index))


@dataclass(frozen=True)
class _Block:
    """What the sums over a block of images need besides: memory for a panel, and for rows of ``g``."""

    sums: _Sums
    memory: ir.Value
    rows: ArrayValue

    def emit(self, image: Extent, row: Extent, images: int, rows: int) -> None:
        """Emit the sums over some rows of windows of some images."""
        context = self.sums.context
        panel = replace(self.sums.plan.panel, images=images, rows=rows)
        start_image, start_row = (v if isinstance(v, ir.Value) else ir.Constant(I64, v) for v in (image, row))
        g, stride = self._rows_of_g(panel, start_image, start_row)
        tile = _emit_tile(context, replace(self.sums.plan, panel=panel), stride)
        blocks, planes, downs = self.sums.sums.dims[:3]
        channels, out_channels = self.sums.x.dims[1], self.sums.g.dims[1]
        assert isinstance(channels, int) and isinstance(out_channels, int)
        with context.loop(blocks) as block:
            channel = tile_start(context.builder, block, panel.channels, channels)
            panel.emit(context, self.sums.x, self.memory, (start_image, start_row, channel), panel.channels)
            with context.loop(planes) as across:
                plane = tile_start(context.builder, across, self.sums.plan.planes, panel.planes)
                offset = context.builder.mul(plane, ir.Constant(I64, panel.plane_bytes))
                right = offset_pointer(context.builder, self.memory, offset)
                with context.loop(downs) as down:
                    builder = context.builder
                    of_tile = tile_start(builder, down, self.sums.plan.rows, out_channels)
                    left = offset_pointer(builder, g, builder.mul(of_tile, ir.Constant(I64, stride)))
                    kept = element_pointer(builder, self.sums.sums, (block, across, down, 0, 0))
                    builder.call(tile, [left, right, kept])

    def _rows_of_g(self, panel: Panel, image: ir.Value, row: ir.Value) -> tuple[ir.Value, int]:
        """Return where a block's part of ``g`` is, a row for each output channel, and how far rows are apart."""
        g, size, context = self.sums.g, item_size(self.sums.g.dtype), self.sums.context
        width = panel.geometry.output[1]
        part = replace(
            g,
            pointer=element_pointer(context.builder, g, (image, 0, row, 0)),
            dims=(panel.images, g.dims[1], panel.rows, width),
        )
        by_row = g.strides[3] == size and (panel.rows == 1 or g.strides[2] == width * size)
        if panel.images == 1 and by_row and isinstance(g.strides[1], int):
            return part.pointer, g.strides[1]
        own = self.rows
        assert isinstance(own.strides[0], int)
        strides = (width * size, own.strides[0], panel.pitch * size, size)
        copy_rows(context, part, replace(own, dims=part.dims, strides=strides))
        return own.pointer, own.strides[0]


def _swapped_block(
    emit: Callable[[ArrayValue, Extent, Extent, int, int], None],
    sums: ArrayValue,
    image: ir.Value,
    images: int,
    row: Extent,
    rows: int,
) -> None:
    emit(sums, image, row, images, rows)


def _emit_tile(outer: KernelContext, plan: KernelPlan, stride: int) -> ir.Function:
    """Emit the function of a tile: the sums over a block, added to those before."""
    panel, dtype = plan.panel, plan.panel.dtype
    name = outer.module.get_unique_name(f"{outer.function.name}.tile")
    function = ir.Function(outer.module, ir.FunctionType(VOID, [POINTER] * 3), name)
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    for pointer in function.args:
        pointer.add_attribute("noalias")
    context, size = KernelContext(function, outer.python), item_size(dtype)
    left, right, sums = function.args
    builder = context.builder
    rows = [offset_pointer(builder, left, row * stride) for row in range(plan.rows)]
    columns = [
        offset_pointer(builder, right, plane * panel.plane_bytes + panel.offset(place))
        for plane in range(plan.planes)
        for place in range(panel.geometry.kernel[0])
    ]
    lanes = Machine.host().lanes(dtype)
    full = Piece(0, lanes, lanes)
    turns, rest = divmod(panel.places, lanes)
    totals: list[ir.Value] = [zeros(vector_type(dtype, lanes))] * (plan.rows * plan.columns)
    if turns:
        totals = _emit_turns(context, dtype, (rows, columns), turns, totals, full)
    for piece in pieces(rest, lanes, Machine.host().has_masks):
        place = (turns * lanes + piece.start) * size
        moved = [[offset_pointer(context.builder, pointer, place) for pointer in side] for side in (rows, columns)]
        totals = _products(context, dtype, moved, piece, totals)
    for number, total in enumerate(totals):
        pointer = offset_pointer(context.builder, sums, number * lanes * size)
        total = context.builder.fadd(load_piece(context, dtype, pointer, full), total)
        store_piece(context, dtype, total, pointer, full)
    context.finish()
    context.mark_vectors()
    return function


def _emit_turns(
    context: KernelContext,
    dtype: str,
    operands: tuple[list[ir.Value], list[ir.Value]],
    turns: int,
    initial: list[ir.Value],
    piece: Piece,
) -> list[ir.Value]:
    """Emit the loop over full vectors; return the sums."""
    builder, before = context.builder, context.builder.block
    body, after = (context.function.append_basic_block(name) for name in ("sums", "sums.end"))
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    turn.add_incoming(ir.Constant(I64, 0), before)
    running = [builder.phi(value.type) for value in initial]
    offset = builder.mul(turn, ir.Constant(I64, piece.lanes * item_size(dtype)))
    moved = [[offset_pointer(builder, pointer, offset) for pointer in side] for side in operands]
    totals = _products(context, dtype, moved, piece, running)
    for phi, value, total in zip(running, initial, totals, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(total, body)
    following = next_turn(builder, turn)
    turn.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, turns)), body, after)
    builder.position_at_end(after)
    return totals


def _products(
    context: KernelContext, dtype: str, operands: list[list[ir.Value]], piece: Piece, sums: list[ir.Value]
) -> list[ir.Value]:
    """Return the sums with the product of a vector of each row and one of each column added."""
    lanes = sums[0].type.count
    columns = [_widened(context, load_piece(context, dtype, pointer, piece), lanes) for pointer in operands[1]]
    found: list[ir.Value] = []
    for pointer in operands[0]:
        vector = _widened(context, load_piece(context, dtype, pointer, piece), lanes)
        for column in columns:
            found.append(multiply_add(context, dtype, vector, column, sums[len(found)]))
    return found


def _widened(context: KernelContext, vector: ir.Value, lanes: int) -> ir.Value:
    """Return a vector filled up with zeros."""
    count = vector.type.count
    if count == lanes:
        return vector
    order = [min(lane, count) for lane in range(lanes)]
    mask = ir.Constant(ir.VectorType(I32, lanes), [ir.Constant(I32, lane) for lane in order])
    return context.builder.shuffle_vector(vector, zeros(vector.type), mask)
