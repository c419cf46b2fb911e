"""The blocks of products whose operands are packed.

Owns `Panels`, which emits the copy of a matrix to panels and the loop over the tiles of two operands that are there.
Invariant: a panel is as wide as the tile that reads it, and filled up with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix, emit_zero
from janusjit.backend.llvm.gemm_packed_tile import Shape
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.python_api import opaque
from janusjit.backend.llvm.values import I64, Extent, KernelContext, as_i64, item_size, offset_pointer
from janusjit.backend.llvm.vectors import vector_type


@dataclass(frozen=True)
class Panels:
    """Code for panels in a function.

    Attributes
    ----------
    context : KernelContext
        The function.
    shape : Shape
        The tiles' shape.
    tiles : dict
        The functions of the tiles, by their rows and the vectors of a row.
    """

    context: KernelContext
    shape: Shape
    tiles: dict[tuple[int, int], ir.Function]

    def pack(self, source: Matrix, panels: ir.Value, width: int) -> None:
        """Emit the copy of a matrix to panels of ``width`` of its columns, filled up with zeros."""
        builder, size = self.context.builder, ir.Constant(I64, item_size(source.dtype))
        by_rows, by_columns = (
            builder.icmp_signed("==", as_i64(stride), size) for stride in (source.column_stride, source.row_stride)
        )
        full = builder.sdiv(as_i64(source.columns), ir.Constant(I64, width))
        zero = ir.Constant(I64, 0)
        with builder.if_else(by_rows) as (straight, otherwise):
            with straight:
                self._copy_rows(source, panels, width, full)
                self._fill(source, panels, width, full)
            with otherwise, self.context.builder.if_else(by_columns) as (turned, apart):
                with turned:
                    given = replace(source, row_stride=item_size(source.dtype))
                    self._fill(given, panels, width, zero)
                with apart:
                    self._fill(source, panels, width, zero)

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
                emit_zero(context, panel)
            emit_transposed_copy(context, part, panel)

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
        """Return how many of the rows are in tiles of full height; the cut of many rows ends as that of few."""
        builder, shape = self.context.builder, self.shape
        period = shape.rows * shape.fewer
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
            arguments = [a, panel, out, as_i64(target.row_stride), depth, rows, columns, is_first]
            self._call_tile(height, shape.vectors, arguments)

    def _call_tile(self, height: int, vectors: int, arguments: list[ir.Value]) -> None:
        """Emit the call of the tile that has as few vectors as the columns need."""
        builder, columns = self.context.builder, arguments[-2]
        if vectors == 1:
            builder.call(self.tiles[height, 1], arguments)
            return
        needed = builder.icmp_signed(">", columns, ir.Constant(I64, (vectors - 1) * self.shape.lanes))
        with builder.if_else(needed, likely=True) as (all_, fewer):
            with all_:
                builder.call(self.tiles[height, vectors], arguments)
            with fewer:
                self._call_tile(height, vectors - 1, arguments)


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
