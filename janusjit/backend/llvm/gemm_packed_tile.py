"""The register tiles of products whose operands are packed.

Owns `Shape` and `load_tile`. Invariant: all elements are summed in one order, whatever tile they fall into; what a
tile computes beyond the result is not stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.gemm_tiling import Machine, Piece
from janusjit.backend.llvm.lanes import splat
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
    declare,
    item_size,
    load,
    offset_pointer,
    prefetch,
    store,
)
from janusjit.backend.llvm.vectors import (
    load_piece,
    load_some,
    multiply_add,
    store_piece,
    store_some,
    vector_type,
    zeros,
)

TILE_TYPE = ir.FunctionType(VOID, [POINTER, POINTER, POINTER, I64, I64, I64, I64, I1])
#: how many steps ahead of its use the left panel is asked for: it comes from the second-level cache
_AHEAD = 16


@dataclass(frozen=True)
class Shape:
    """The tiles of a machine.

    Attributes
    ----------
    rows, fewer : int
        Rows of a tile, and of one for what is left over.
    vectors, lanes : int
        The vectors of a row, and the elements of a vector.
    has_masks : bool
        Whether vectors can be stored in part.
    """

    rows: int
    fewer: int
    vectors: int
    lanes: int
    has_masks: bool

    @staticmethod
    def of(dtype: str, machine: Machine) -> Shape:
        """Return the tiles that have enough independent sums, and as few loads for them as registers allow."""
        vectors = 2 if machine.vector_bytes >= 32 else 4
        if machine.vector_bytes == 64 and dtype == "f64":
            vectors = 3  # fewer rows, so that those of a result that lie a power of two apart stay in the cache
        most = 8 if vectors == 3 else 14
        rows = min((machine.registers - vectors - 2) // vectors, most)
        return Shape(rows, rows // 2 + 1, vectors, machine.lanes(dtype), machine.has_masks)

    @property
    def name(self) -> str:
        """What distinguishes it from other shapes of a type."""
        return f"{self.rows}x{self.vectors}x{self.lanes}"

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """The rows and vectors of each tile."""
        return [(rows, vectors) for rows in (self.rows, self.fewer) for vectors in range(1, self.vectors + 1)]

    def tiles_for(self, rows: Extent, columns: Extent, height: int) -> list[tuple[int, int]]:
        """Return the tiles that a product needs whose rows are done ``height`` at a time, which is in whole tiles."""
        heights, vectors = {self.rows, self.fewer}, set(range(1, self.vectors + 1))
        if isinstance(rows, int):
            rest = rows % height
            whole = self.whole_rows_of_many(rest)
            heights = {self.rows} if rows >= height or whole else set()
            heights |= {self.fewer} if whole < rest else set()
        if isinstance(columns, int):
            rest = columns % self.columns
            vectors = {self.vectors} if columns >= self.columns else set()
            vectors |= {-(-rest // self.lanes)} if rest else set()
        return [tile for tile in self.tiles if tile[0] in heights and tile[1] in vectors]

    @property
    def period(self) -> int:
        """After how many rows the way they are cut begins anew."""
        return self.rows * self.fewer

    def whole_rows_of_many(self, rows: int) -> int:
        """Return `whole_rows` of any number of rows: the cut of many ends as that of few."""
        beyond = rows // self.period * self.period - self.period if rows >= 2 * self.period else 0
        return self.whole_rows(rows - beyond) + beyond

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    def whole_rows(self, rows: int) -> int:
        """Return how many of some rows are in tiles of full height, if the least is to be computed for nothing."""
        choices = []
        for small in range(self.rows):
            large = max(-(-(rows - small * self.fewer) // self.rows), 0)
            choices.append((large * self.rows + small * self.fewer, small, large))
        return min(min(choices)[2] * self.rows, rows)


def load_tile(context: KernelContext, dtype: str, shape: Shape, rows: int, vectors: int) -> ir.Function:
    """Return the function of a tile: the sums over a block of the depth, stored or added to what is there.

    Its arguments are the panels, the place of the result and the bytes from row to row there, the depth, how many rows
    and columns there are, and whether they are stored.
    """
    symbol = f"{HANDWRITTEN}packed_{dtype}_{rows}x{vectors * shape.lanes}_of_{shape.name}"

    def emit(module: ir.Module) -> None:
        function = declare(module, symbol, TILE_TYPE.return_type, TILE_TYPE.args)
        inner = KernelContext(function, context.python)
        for pointer in function.args[:3]:
            pointer.add_attribute("noalias")
        _Tile(inner, dtype, shape, rows, vectors).emit()
        inner.finish()

    load_once((symbol,), emit)
    return declare(context.module, symbol, TILE_TYPE.return_type, TILE_TYPE.args)


@dataclass(frozen=True)
class _Tile:
    context: KernelContext
    dtype: str
    shape: Shape
    rows: int
    vectors: int

    @property
    def _pieces(self) -> list[Piece]:
        lanes = self.shape.lanes
        return [Piece(number * lanes, lanes, lanes) for number in range(self.vectors)]

    def emit(self) -> None:
        """Emit the whole."""
        context = self.context
        a, b, out, stride, depth, rows, columns, is_first = context.function.args
        size, width = item_size(self.dtype), self.vectors * self.shape.lanes
        for row in range(self.rows):
            start = offset_pointer(context.builder, out, context.builder.mul(stride, ir.Constant(I64, row)))
            for line in range(0, width * size, 64):
                prefetch(context, offset_pointer(context.builder, start, line), writes=True)
        sums = self._sums(a, b, depth)
        builder = context.builder
        is_full = builder.and_(
            builder.icmp_signed("==", rows, ir.Constant(I64, self.rows)),
            builder.icmp_signed("==", columns, ir.Constant(I64, width)),
        )
        with builder.if_else(is_full, likely=True) as (whole, edge):
            with whole, context.builder.if_else(is_first) as (begun, added):
                with begun:
                    self._store_all(sums, out, stride, accumulate=False)
                with added:
                    self._store_all(sums, out, stride, accumulate=True)
            with edge:
                pitch = ir.Constant(I64, width * size)
                buffer = context.stack_slot(vector_type(self.dtype, self.shape.lanes), self.rows * self.vectors)
                self._store_all(sums, buffer, pitch, accumulate=False)
                target = Matrix(self.dtype, out, rows, columns, stride, size)
                source = Matrix(self.dtype, buffer, rows, columns, width * size, size)
                (self._store_masked if self.shape.has_masks else self._store_elements)(source, target, is_first)

    def _sums(self, a: ir.Value, b: ir.Value, depth: ir.Value) -> list[list[ir.Value]]:
        """Emit the loop over the depth, of at least one step, along the panels; return the sums."""
        context, shape, size = self.context, self.shape, item_size(self.dtype)
        builder, before = context.builder, context.builder.block
        body, after = (context.function.append_basic_block(name) for name in ("panel", "panel.end"))
        builder.branch(body)
        builder.position_at_end(body)
        step = builder.phi(I64)
        step.add_incoming(ir.Constant(I64, 0), before)
        nothing = zeros(vector_type(self.dtype, shape.lanes))
        running = [[builder.phi(nothing.type) for _ in self._pieces] for _ in range(self.rows)]
        left = offset_pointer(builder, a, builder.mul(step, ir.Constant(I64, self.rows * size)))
        right = offset_pointer(builder, b, builder.mul(step, ir.Constant(I64, shape.columns * size)))
        for line in range(0, self.rows * size, 64):
            prefetch(context, offset_pointer(builder, left, _AHEAD * self.rows * size + line))
        vectors = [
            load_piece(context, self.dtype, offset_pointer(builder, right, piece.start * size), piece)
            for piece in self._pieces
        ]
        totals = []
        for row, sums in enumerate(running):
            factor = load(builder, self.dtype, offset_pointer(builder, left, row * size)).value
            spread = splat(builder, factor, nothing.type)
            totals.append(
                [multiply_add(context, self.dtype, spread, v, s) for v, s in zip(vectors, sums, strict=True)]
            )
        for phis, sums in zip(running, totals, strict=True):
            for phi, total in zip(phis, sums, strict=True):
                phi.add_incoming(nothing, before)
                phi.add_incoming(total, body)
        following = next_turn(builder, step)
        step.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, depth), body, after)
        builder.position_at_end(after)
        return totals

    def _store_all(self, sums: list[list[ir.Value]], out: ir.Value, stride: ir.Value, accumulate: bool) -> None:
        builder = self.context.builder
        for row, vectors in enumerate(sums):
            start = offset_pointer(builder, out, builder.mul(stride, ir.Constant(I64, row)))
            for piece, total in zip(self._pieces, vectors, strict=True):
                pointer = offset_pointer(builder, start, piece.start * item_size(self.dtype))
                if accumulate:
                    total = builder.fadd(load_piece(self.context, self.dtype, pointer, piece), total)
                store_piece(self.context, self.dtype, total, pointer, piece)

    def _store_masked(self, source: Matrix, target: Matrix, is_first: ir.Value) -> None:
        """Emit the copy or addition of what is there of a tile, in vectors of which the last are partly used."""
        context, dtype, lanes = self.context, self.dtype, self.shape.lanes
        with context.loop(target.rows, kept=True) as row:
            for piece in self._pieces:
                builder = context.builder
                count = builder.sub(target.columns, ir.Constant(I64, piece.start))
                from_, to = (one.element(builder, row, piece.start) for one in (source, target))
                total = load_piece(context, dtype, from_, piece)
                before = load_some(context, dtype, to, lanes, count)
                total = builder.select(is_first, total, builder.fadd(before, total))
                store_some(context, dtype, total, to, count)

    def _store_elements(self, source: Matrix, target: Matrix, is_first: ir.Value) -> None:
        context = self.context
        with context.loop(target.rows) as row, context.loop(target.columns) as column:
            builder = context.builder
            pointer = target.element(builder, row, column)
            total = load(builder, self.dtype, source.element(builder, row, column)).value
            with builder.if_else(is_first) as (begun, added):
                with begun:
                    store(builder, Scalar(self.dtype, total), pointer)
                with added:
                    more = builder.fadd(load(builder, self.dtype, pointer).value, total)
                    store(builder, Scalar(self.dtype, more), pointer)
