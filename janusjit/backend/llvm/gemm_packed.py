"""Matrix products of any size by one routine, which packs parts of the operands for the sake of the caches.

Owns `emit_packed`. The depth is done in blocks; of each, the right operand is copied to panels of the columns of a
register tile, and as many rows of the left one as stay in the second-level cache to panels of its rows (Goto, van de
Geijn: "Anatomy of high-performance matrix multiplication", 2008). Invariant: all elements of a product are summed in
one order, each block of `DEPTH` products in registers, whatever tile they fall into; panels are filled up with zeros,
and what is computed of those is not stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix, emit_copy, emit_zero
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, library_threads
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    VOID,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    declare,
    item_size,
    load,
    offset_pointer,
    store,
)
from janusjit.backend.llvm.vectors import load_piece, multiply_add, splat, store_piece, vector_type, zeros

#: products that are added in registers; bytes of the left operand's block, and columns of the right one's
DEPTH, LEFT_BYTES, RIGHT_COLUMNS = 256, 384 * 1024, 1024


#: the least size of a product that is packed
LEAST = 32


def is_worth_packing(rows: int, columns: int, depth: int) -> bool:
    """Return whether the routine is expected to beat a library: one that has a single thread, with long vectors."""
    return min(rows, columns, depth) >= LEAST and library_threads() == 1 and Machine.host().vector_bytes == 64


@dataclass(frozen=True)
class Shape:
    """The tile of a machine: its rows, and the vectors of a row."""

    rows: int
    vectors: int
    lanes: int

    @staticmethod
    def of(dtype: str, machine: Machine) -> Shape:
        """Return the tile that has enough independent sums, and as few loads for them as registers allow."""
        vectors = 2 if machine.vector_bytes >= 32 else 4
        rows = min((machine.registers - vectors - 2) // vectors, 14)
        return Shape(rows, vectors, machine.lanes(dtype))

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    @property
    def pieces(self) -> list[Piece]:
        """The vectors of a row."""
        return [Piece(number * self.lanes, self.lanes, self.lanes) for number in range(self.vectors)]


def emit_packed(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, machine: Machine) -> None:
    """Emit ``out = a @ b``; ``out`` has contiguous rows and elements."""
    shape = Shape.of(out.dtype, machine)
    symbol = f"{HANDWRITTEN}packed_{out.dtype}_{shape.rows}x{shape.columns}"
    parameters = [*[POINTER, I64, I64] * 2, POINTER, I64, I64, I64, I64]

    def emit(module: ir.Module) -> None:
        tile = _emit_tile(module, context, out.dtype, shape)
        function = declare(module, symbol, VOID, parameters)
        inner = KernelContext(function, context.python)
        values = function.args
        rows, columns, depth = values[8:]
        size = item_size(out.dtype)
        left = Matrix(out.dtype, values[0], rows, depth, values[1], values[2])
        right = Matrix(out.dtype, values[3], depth, columns, values[4], values[5])
        _Routine(inner, left, right, Matrix(out.dtype, values[6], rows, columns, values[7], size), shape, tile).emit()
        inner.finish()

    load_once((symbol,), emit)
    function = declare(context.module, symbol, VOID, parameters)
    function.attributes.add("nounwind")
    extents: list[Extent | ir.Value] = [a.pointer, a.row_stride, a.column_stride, b.pointer, b.row_stride]
    extents += [b.column_stride, out.pointer, out.row_stride, out.rows, out.columns, a.columns]
    context.builder.call(function, [as_i64(extent) for extent in extents])


@dataclass(frozen=True)
class _Routine:
    """The body of the routine."""

    context: KernelContext
    a: Matrix
    b: Matrix
    out: Matrix
    shape: Shape
    tile: ir.Function

    def emit(self) -> None:
        """Emit the loops over blocks of columns, of the depth and of rows."""
        context, size = self.context, item_size(self.out.dtype)
        height = max(1, LEFT_BYTES // (DEPTH * size * self.shape.rows)) * self.shape.rows
        width = RIGHT_COLUMNS // self.shape.columns * self.shape.columns
        left = context.scratch(self.out.dtype, (height * DEPTH,)).pointer
        panels = context.scratch(self.out.dtype, (width * DEPTH,)).pointer
        with context.loop(_blocks(context.builder, self.out.columns, width)) as across:
            column, columns = _range(context.builder, across, width, self.out.columns)
            with context.loop(_blocks(context.builder, self.a.columns, DEPTH)) as inward:
                start, depth = _range(context.builder, inward, DEPTH, self.a.columns)
                right = _part(context.builder, self.b, (start, column), (depth, columns))
                self._pack(right, panels, self.shape.columns)
                is_first = context.builder.icmp_signed("==", inward, ir.Constant(I64, 0))
                with context.loop(_blocks(context.builder, self.out.rows, height)) as down:
                    row, rows = _range(context.builder, down, height, self.out.rows)
                    rest = _part(context.builder, self.a, (row, start), (rows, depth))
                    self._pack(rest.transposed, left, self.shape.rows)
                    target = _part(context.builder, self.out, (row, column), (rows, columns))
                    self._emit_tiles(target, left, panels, depth, is_first)

    def _pack(self, source: Matrix, panels: ir.Value, width: int) -> None:
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
        count = context.builder.sub(_blocks(context.builder, source.columns, width), first)
        with context.loop(count) as index:
            builder = context.builder
            column, columns = _range(builder, builder.add(first, index), width, source.columns)
            offset = builder.mul(column, builder.mul(as_i64(source.rows), ir.Constant(I64, size)))
            pointer = offset_pointer(builder, panels, offset)
            panel = Matrix(source.dtype, pointer, source.rows, width, width * size, size)
            part = _part(builder, source, (ir.Constant(I64, 0), column), (as_i64(source.rows), columns))
            with builder.if_then(builder.icmp_signed("<", columns, ir.Constant(I64, width))):
                emit_zero(context, panel)
            emit_transposed_copy(context, part, panel)

    def _emit_tiles(
        self, target: Matrix, left: ir.Value, panels: ir.Value, depth: ir.Value, is_first: ir.Value
    ) -> None:
        """Emit the loops over the tiles of a block of the result."""
        context, shape, size = self.context, self.shape, item_size(self.out.dtype)
        with context.loop(_blocks(context.builder, target.columns, shape.columns)) as across:
            column, columns = _range(context.builder, across, shape.columns, target.columns)
            with context.loop(_blocks(context.builder, target.rows, shape.rows)) as down:
                builder = context.builder
                row, rows = _range(builder, down, shape.rows, target.rows)
                bytes_ = builder.mul(depth, ir.Constant(I64, size))
                a = offset_pointer(builder, left, builder.mul(row, bytes_))
                b = offset_pointer(builder, panels, builder.mul(column, bytes_))
                out = target.element(builder, row, column)
                builder.call(self.tile, [a, b, out, as_i64(target.row_stride), depth, rows, columns, is_first])


def _blocks(builder: ir.IRBuilder, extent: Extent, size: int) -> ir.Value:
    return builder.sdiv(builder.add(as_i64(extent), ir.Constant(I64, size - 1)), ir.Constant(I64, size))


def _range(builder: ir.IRBuilder, number: ir.Value, size: int, end: Extent) -> tuple[ir.Value, ir.Value]:
    """Return where block ``number`` begins, and how long it is."""
    start, whole = builder.mul(number, ir.Constant(I64, size)), ir.Constant(I64, size)
    left = builder.sub(as_i64(end), start)
    return start, builder.select(builder.icmp_signed("<", left, whole), left, whole)


def _part(
    builder: ir.IRBuilder, matrix: Matrix, start: tuple[ir.Value, ir.Value], extent: tuple[ir.Value, ir.Value]
) -> Matrix:
    pointer = matrix.element(builder, *start)
    return Matrix(matrix.dtype, pointer, *extent, matrix.row_stride, matrix.column_stride)


def _emit_tile(module: ir.Module, outer: KernelContext, dtype: str, shape: Shape) -> ir.Function:
    """Emit the function of a tile: the sums over a block of the depth, stored or added to what is there."""
    types = [POINTER, POINTER, POINTER, I64, I64, I64, I64, I1]
    function = ir.Function(module, ir.FunctionType(VOID, types), f"{HANDWRITTEN}packed_tile_{dtype}")
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    context = KernelContext(function, outer.python)
    a, b, out, stride, depth, rows, columns, is_first = function.args
    for pointer in (a, b, out):
        pointer.add_attribute("noalias")
    sums = _emit_sums(context, dtype, shape, (a, b, depth))
    builder, size = context.builder, item_size(dtype)
    is_full = builder.and_(
        builder.icmp_signed("==", rows, ir.Constant(I64, shape.rows)),
        builder.icmp_signed("==", columns, ir.Constant(I64, shape.columns)),
    )
    with builder.if_else(is_full, likely=True) as (whole, edge):
        with whole, context.builder.if_else(is_first) as (begun, added):
            with begun:
                _store_all(context, dtype, shape, sums, (out, stride), accumulate=False)
            with added:
                _store_all(context, dtype, shape, sums, (out, stride), accumulate=True)
        with edge:
            width = ir.Constant(I64, shape.columns * size)
            buffer = context.stack_slot(vector_type(dtype, shape.lanes), shape.rows * shape.vectors)
            _store_all(context, dtype, shape, sums, (buffer, width), accumulate=False)
            target = Matrix(dtype, out, rows, columns, stride, size)
            source = Matrix(dtype, buffer, rows, columns, shape.columns * size, size)
            with context.builder.if_else(is_first) as (begun, added):
                with begun:
                    emit_copy(context, source, target)
                with added:
                    _emit_addition(context, source, target)
    context.finish()
    return function


def _emit_addition(context: KernelContext, source: Matrix, target: Matrix) -> None:
    with context.loop(target.rows) as row, context.loop(target.columns) as column:
        builder = context.builder
        pointer = target.element(builder, row, column)
        more = load(builder, source.dtype, source.element(builder, row, column)).value
        store(builder, Scalar(target.dtype, builder.fadd(load(builder, target.dtype, pointer).value, more)), pointer)


def _store_all(
    context: KernelContext,
    dtype: str,
    shape: Shape,
    sums: list[list[ir.Value]],
    target: tuple[ir.Value, ir.Value],
    accumulate: bool,
) -> None:
    builder, (out, stride) = context.builder, target
    for row, vectors in enumerate(sums):
        start = offset_pointer(builder, out, builder.mul(stride, ir.Constant(I64, row)))
        for piece, total in zip(shape.pieces, vectors, strict=True):
            pointer = offset_pointer(builder, start, piece.start * item_size(dtype))
            if accumulate:
                total = builder.fadd(load_piece(context, dtype, pointer, piece), total)
            store_piece(context, dtype, total, pointer, piece)


def _emit_sums(
    context: KernelContext, dtype: str, shape: Shape, operands: tuple[ir.Value, ir.Value, ir.Value]
) -> list[list[ir.Value]]:
    """Emit the loop over the depth, of at least one step, along the panels; return the sums."""
    builder, before = context.builder, context.builder.block
    (a, b, depth), size = operands, item_size(dtype)
    body, after = (context.function.append_basic_block(name) for name in ("panel", "panel.end"))
    builder.branch(body)
    builder.position_at_end(body)
    step = builder.phi(I64)
    step.add_incoming(ir.Constant(I64, 0), before)
    nothing = zeros(vector_type(dtype, shape.lanes))
    running = [[builder.phi(nothing.type) for _ in shape.pieces] for _ in range(shape.rows)]
    left = offset_pointer(builder, a, builder.mul(step, ir.Constant(I64, shape.rows * size)))
    right = offset_pointer(builder, b, builder.mul(step, ir.Constant(I64, shape.columns * size)))
    vectors = [
        load_piece(context, dtype, offset_pointer(builder, right, piece.start * size), piece) for piece in shape.pieces
    ]
    totals = []
    for row, sums in enumerate(running):
        factor = load(builder, dtype, offset_pointer(builder, left, row * size)).value
        spread = splat(builder, factor, nothing.type)
        totals.append([multiply_add(context, dtype, spread, v, s) for v, s in zip(vectors, sums, strict=True)])
    for phis, sums in zip(running, totals, strict=True):
        for phi, total in zip(phis, sums, strict=True):
            phi.add_incoming(nothing, before)
            phi.add_incoming(total, body)
    following = builder.add(step, ir.Constant(I64, 1), flags=("nsw",))
    step.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, depth), body, after)
    builder.position_at_end(after)
    return totals
