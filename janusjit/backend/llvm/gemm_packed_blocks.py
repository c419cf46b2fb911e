"""The blocks of products whose operands are packed.

Owns `Panels`, which emits the copy of a matrix to panels and the loop over the tiles of two operands that are there.
Invariant: a panel is as wide as the tile that reads it, and filled up with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix, emit_copy
from janusjit.backend.llvm.gemm_packed_tile import TILE_TYPE, Shape
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.python_api import opaque
from janusjit.backend.llvm.values import I64, POINTER, Extent, KernelContext, as_i64, item_size, offset_pointer
from janusjit.backend.llvm.vectors import vector_type, zeros


@dataclass(frozen=True)
class Panels:
    """Code for panels in a function.

    Attributes
    ----------
    context : KernelContext
        The function.
    shape : Shape
        The tiles' shape.
    tiles : llvmlite.ir.Value or None
        Where the addresses of the tiles' functions are, in the order of `Shape.tiles`; None if none is called.
    """

    context: KernelContext
    shape: Shape
    tiles: ir.Value | None = None

    def pack(self, source: Matrix, panels: ir.Value, width: int) -> None:
        """Emit the copy of a matrix to panels of ``width`` of its columns, filled up with zeros."""
        builder, size, zero = self.context.builder, ir.Constant(I64, item_size(source.dtype)), ir.Constant(I64, 0)
        by_rows = builder.icmp_signed("==", as_i64(source.column_stride), size)
        full = builder.sdiv(as_i64(source.columns), ir.Constant(I64, width))
        full = builder.select(by_rows, full, zero)
        with builder.if_then(by_rows):
            self._copy_rows(source, panels, width, full)
        self._fill(source, panels, width, full)

    def _copy_rows(self, source: Matrix, panels: ir.Value, width: int, full: ir.Value) -> None:
        """Emit the copy to the full panels along contiguous rows."""
        context, size = self.context, item_size(source.dtype)
        type_ = vector_type(source.dtype, width)
        with context.loop(source.rows) as row, context.loop(full) as number:
            builder = context.builder
            given = source.element(builder, row, builder.mul(number, ir.Constant(I64, width)))
            behind = builder.add(builder.mul(number, as_i64(source.rows)), row)
            target = offset_pointer(builder, panels, builder.mul(behind, ir.Constant(I64, width * size)))
            builder.store(builder.load(given, typ=type_, align=size), target, align=size)

    def _fill(self, source: Matrix, panels: ir.Value, width: int, first: ir.Value) -> None:
        """Emit the copy to the panels from ``first`` on, one after the other."""
        context, size = self.context, item_size(source.dtype)
        count = context.builder.sub(blocks(context.builder, source.columns, width), first)
        with context.loop(count) as index:
            builder = context.builder
            column, columns = range_of(builder, builder.add(first, index), width, source.columns)
            offset = builder.mul(column, builder.mul(as_i64(source.rows), ir.Constant(I64, size)))
            pointer = offset_pointer(builder, panels, offset)
            panel = Matrix(source.dtype, pointer, source.rows, width, width * size, size)
            part = part_of(builder, source, (ir.Constant(I64, 0), column), (as_i64(source.rows), columns))
            with builder.if_then(builder.icmp_signed("<", columns, ir.Constant(I64, width))):
                nothing = zeros(vector_type(source.dtype, width))
                with context.loop(source.rows) as row:
                    context.builder.store(nothing, panel.element(context.builder, row, 0), align=size)
            is_turned = builder.icmp_signed("==", as_i64(source.row_stride), ir.Constant(I64, size))
            with builder.if_else(is_turned) as (turned, apart):
                with turned:
                    emit_transposed_copy(context, replace(part, row_stride=size), panel)
                with apart:
                    emit_copy(context, part, panel)

    def multiply(self, target: Matrix, a: Matrix, left: ir.Value, panels: ir.Value, is_first: ir.Value) -> None:
        """Emit a block of rows: the rows of ``a`` are packed to ``left`` and multiplied by all panels.

        The last rows are in tiles of fewer, so that little is computed for nothing.
        """
        context, shape, zero = self.context, self.shape, ir.Constant(I64, 0)
        builder, rows, depth = context.builder, as_i64(target.rows), as_i64(a.columns)
        whole = self._whole_rows(rows)
        pitch = builder.mul(depth, ir.Constant(I64, item_size(target.dtype)))
        parts = []
        for height, start, count in ((shape.rows, zero, whole), (shape.fewer, whole, builder.sub(rows, whole))):
            builder = context.builder
            place = offset_pointer(builder, left, builder.mul(start, pitch))
            self.pack(part_of(builder, a, (start, zero), (count, depth)).transposed, place, height)
            below = part_of(context.builder, target, (start, zero), (count, as_i64(target.columns)))
            parts.append((height, below, place))
        with context.loop(blocks(context.builder, target.columns, shape.columns)) as across:
            builder = context.builder
            column, columns = range_of(builder, across, shape.columns, target.columns)
            panel = offset_pointer(builder, panels, builder.mul(column, pitch))
            for height, below, place in parts:
                self._multiply_panel(height, below, (column, columns), (place, panel, depth, is_first))

    def _whole_rows(self, rows: ir.Value) -> ir.Value:
        """Return how many of the rows are in tiles of full height, as `Shape.whole_rows_of_many`."""
        builder, shape = self.context.builder, self.shape
        period = shape.period
        most = ir.Constant(I64, 2 * period)
        table = ir.GlobalVariable(self.context.module, ir.ArrayType(I64, 2 * period), "whole")
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(table.value_type, [shape.whole_rows(count) for count in range(2 * period)])
        more = builder.mul(builder.udiv(rows, ir.Constant(I64, period)), ir.Constant(I64, period))
        more = builder.sub(more, ir.Constant(I64, period))
        beyond = builder.select(builder.icmp_signed(">=", rows, most), more, ir.Constant(I64, 0))
        place = builder.gep(opaque(table), [builder.sub(rows, beyond)], source_etype=I64)
        return builder.add(builder.load(place, typ=I64), beyond)

    def _multiply_panel(
        self,
        height: int,
        target: Matrix,
        across: tuple[ir.Value, ir.Value],
        given: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
    ) -> None:
        """Emit the loop over the tiles of a panel's columns."""
        context, shape = self.context, self.shape
        (column, columns), (left, panel, depth, is_first) = across, given
        with context.loop(blocks(context.builder, target.rows, height)) as down:
            builder = context.builder
            row, rows = range_of(builder, down, height, target.rows)
            bytes_ = builder.mul(depth, ir.Constant(I64, item_size(target.dtype)))
            a = offset_pointer(builder, left, builder.mul(row, bytes_))
            out = target.element(builder, row, column)
            assert self.tiles is not None
            vectors = blocks(builder, columns, shape.lanes)
            first = ir.Constant(I64, shape.tiles.index((height, 1)) - 1)
            place = builder.gep(self.tiles, [builder.add(first, vectors)], source_etype=POINTER)
            tile = builder.inttoptr(builder.load(place, typ=I64), TILE_TYPE.as_pointer())
            builder.call(tile, [a, panel, out, as_i64(target.row_stride), depth, rows, columns, is_first])


def blocks(builder: ir.IRBuilder, extent: Extent, size: Extent) -> ir.Value:
    """Return how many blocks of a size an extent is cut into."""
    length = as_i64(size)
    return builder.sdiv(builder.add(as_i64(extent), builder.sub(length, ir.Constant(I64, 1))), length)


def least(builder: ir.IRBuilder, extent: Extent, most: Extent) -> ir.Value:
    """Return an extent, or ``most`` if that is less."""
    limit = as_i64(most)
    return builder.select(builder.icmp_signed("<", as_i64(extent), limit), as_i64(extent), limit)


def range_of(builder: ir.IRBuilder, number: ir.Value, size: Extent, end: Extent) -> tuple[ir.Value, ir.Value]:
    """Return where block ``number`` begins, and how long it is."""
    start = builder.mul(number, as_i64(size))
    return start, least(builder, builder.sub(as_i64(end), start), size)


def part_of(
    builder: ir.IRBuilder, matrix: Matrix, start: tuple[ir.Value, ir.Value], extent: tuple[ir.Value, ir.Value]
) -> Matrix:
    """Return the part of a matrix from some element on."""
    pointer = matrix.element(builder, *start)
    return Matrix(matrix.dtype, pointer, *extent, matrix.row_stride, matrix.column_stride)
