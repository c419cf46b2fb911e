"""Products of a matrix stored by rows with one stored by columns, summed over many steps, as tiles of inner products.

Owns `emit_dot_tiles` and `is_long`. Each element of a tile has a vector of sums in a register, and each vector of an
operand that is loaded serves a row or a column of the tile, so neither operand is copied. Invariant: all elements are
summed in one order, in blocks of `BLOCK` vectors, whatever tile they fall into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.calibration import NEAR_BYTES
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces, tile_start
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    KernelContext,
    Scalar,
    element_pointer,
    item_size,
    offset_pointer,
    store,
)
from janusjit.backend.llvm.vectors import add_up, load_piece, multiply_add, store_piece, vector_type, zeros

#: how many products are added in a register before they are added to a sum in memory
BLOCK = 64
#: to add up an element's vector takes as long as so many steps of its sum, for each row that a copy of the right
#: operand with contiguous rows would serve instead
_STEPS_A_ROW = 24


def is_long(a: Matrix, b: Matrix, rows: int, depth: int) -> bool:
    """Return whether inner products are expected to beat tiles, for which the right operand would be copied."""
    return a.has_contiguous_rows and b.transposed.has_contiguous_rows and depth >= _STEPS_A_ROW * rows


def stays_near(rows: int, columns: int, machine: Machine) -> bool:
    """Return whether a block of both operands stays in a core's own cache while all tiles read it."""
    return (rows + columns) * BLOCK * machine.vector_bytes <= NEAR_BYTES


def tile_shape(rows: int, columns: int, machine: Machine) -> tuple[int, int]:
    """Return the rows and columns of the tiles that take the fewest cycles."""

    def cycles(shape: tuple[int, int]) -> float:
        height, width = shape
        step = max(height * width / 2, 4.0, float(height + width)) + 0.5  # arithmetic, its latency, loads
        return -(-rows // height) * -(-columns // width) * step

    heights, widths = (range(1, min(extent, 8) + 1) for extent in (rows, columns))
    room = machine.registers - 2
    return min(((h, w) for h in heights for w in widths if h * w + w <= room), key=cycles)


def emit_dot_tiles(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, machine: Machine) -> str:
    """Emit ``out = a @ b``; sizes and strides are known, ``a`` has contiguous rows and ``b`` contiguous columns.

    Returns
    -------
    str
        What was emitted, in words.
    """
    assert isinstance(out.rows, int) and isinstance(out.columns, int) and isinstance(a.columns, int)
    height, width = tile_shape(out.rows, out.columns, machine)
    lanes = machine.lanes(out.dtype)
    tiles = -(-out.columns // width), -(-out.rows // height)
    blocks, last = divmod(a.columns // lanes, BLOCK)
    sums = context.scratch(out.dtype, (*tiles, height * width * lanes))
    code = _Tiles(context, a, b, out, machine, (height, width), sums)
    first = BLOCK if blocks else last
    code.emit_block(ir.Constant(I64, 0), first, is_first=True)
    if blocks > 1:
        with context.loop(blocks - 1) as block:
            start = context.builder.mul(context.builder.add(block, ir.Constant(I64, 1)), ir.Constant(I64, BLOCK))
            code.emit_block(start, BLOCK)
    if blocks and last:
        code.emit_block(ir.Constant(I64, blocks * BLOCK), last)
    code.emit_results()
    return f"inner products in tiles {height}×{width}"


@dataclass(frozen=True)
class _Tiles:
    """The tiles of one product, each with memory of its own for the vectors of its sums."""

    context: KernelContext
    a: Matrix
    b: Matrix
    out: Matrix
    machine: Machine
    shape: tuple[int, int]
    sums: ArrayValue

    @property
    def _piece(self) -> Piece:
        lanes = self.machine.lanes(self.out.dtype)
        return Piece(0, lanes, lanes)

    @contextmanager
    def _each(self) -> Iterator[_Tile]:
        """Emit the loop over the tiles around what is emitted inside."""
        context, (height, width) = self.context, self.shape
        assert isinstance(self.out.rows, int) and isinstance(self.out.columns, int)
        across, down, _ = self.sums.dims
        with context.loop(across) as right, context.loop(down) as below:
            builder = context.builder
            row = tile_start(builder, below, height, self.out.rows)
            column = tile_start(builder, right, width, self.out.columns)
            rows = [builder.add(row, ir.Constant(I64, number)) for number in range(height)]
            columns = [builder.add(column, ir.Constant(I64, number)) for number in range(width)]
            yield _Tile(rows, columns, element_pointer(builder, self.sums, (right, below, 0)))

    def emit_block(self, start: ir.Value, count: int, is_first: bool = False) -> None:
        """Emit the sums over ``count`` vectors of the depth from vector ``start`` on, of all tiles."""
        context, dtype, piece = self.context, self.out.dtype, self._piece
        with self._each() as tile:
            builder = context.builder
            offset = builder.mul(start, ir.Constant(I64, piece.lanes * item_size(dtype)))
            totals = self._steps(self._operands(tile, offset), count)
            for number, total in enumerate(totals):
                pointer = offset_pointer(context.builder, tile.sums, number * piece.lanes * item_size(dtype))
                if not is_first:
                    total = context.builder.fadd(load_piece(context, dtype, pointer, piece), total)
                store_piece(context, dtype, total, pointer, piece)

    def emit_results(self) -> None:
        """Emit the addition of each element's vector, and of the products past the last full one."""
        context, dtype, piece = self.context, self.out.dtype, self._piece
        depth = self.a.columns
        assert isinstance(depth, int)
        done = depth // piece.lanes * piece.lanes
        with self._each() as tile:
            size = piece.lanes * item_size(dtype)
            pointers = [offset_pointer(context.builder, tile.sums, number * size) for number in range(self._count)]
            sums = [add_up(context, dtype, load_piece(context, dtype, pointer, piece)) for pointer in pointers]
            for rest in pieces(depth - done, piece.lanes, self.machine.has_masks):
                offset = ir.Constant(I64, (done + rest.start) * item_size(dtype))
                products = self._products(self._operands(tile, offset), rest, [])
                builder = context.builder
                sums = [builder.fadd(x, add_up(context, dtype, y)) for x, y in zip(sums, products, strict=True)]
            targets = [self.out.element(context.builder, one, other) for one in tile.rows for other in tile.columns]
            for total, target in zip(sums, targets, strict=True):
                store(context.builder, Scalar(dtype, total), target)

    @property
    def _count(self) -> int:
        return self.shape[0] * self.shape[1]

    def _operands(self, tile: _Tile, offset: ir.Value) -> _Operands:
        """Return where the rows of the left operand and the columns of the right are, ``offset`` bytes on."""
        builder = self.context.builder
        left = [offset_pointer(builder, self.a.element(builder, row, 0), offset) for row in tile.rows]
        right = [offset_pointer(builder, self.b.element(builder, 0, column), offset) for column in tile.columns]
        return _Operands(left, right)

    def _steps(self, operands: _Operands, count: int) -> list[ir.Value]:
        """Emit the loop over ``count`` vectors of the depth; return the sums."""
        context, piece = self.context, self._piece
        builder, before = context.builder, context.builder.block
        body, after = (context.function.append_basic_block(name) for name in ("dots", "dots.end"))
        builder.branch(body)
        builder.position_at_end(body)
        turn = builder.phi(I64)
        turn.add_incoming(ir.Constant(I64, 0), before)
        nothing = zeros(vector_type(self.out.dtype, piece.lanes))
        running = [builder.phi(nothing.type) for _ in range(self._count)]
        offset = builder.mul(turn, ir.Constant(I64, piece.lanes * item_size(self.out.dtype)))
        left, right = ([offset_pointer(builder, p, offset) for p in side] for side in (operands.left, operands.right))
        totals = self._products(_Operands(left, right), piece, running)
        for phi, total in zip(running, totals, strict=True):
            phi.add_incoming(nothing, before)
            phi.add_incoming(total, body)
        following = next_turn(builder, turn)
        turn.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, count)), body, after)
        builder.position_at_end(after)
        return totals

    def _products(self, operands: _Operands, piece: Piece, running: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the products of a vector of each row with one of each column, added to ``running`` if there is any."""
        context, dtype = self.context, self.out.dtype
        columns = [load_piece(context, dtype, pointer, piece) for pointer in operands.right]
        found: list[ir.Value] = []
        for pointer in operands.left:
            x = load_piece(context, dtype, pointer, piece)
            for y in columns:
                product = multiply_add(context, dtype, x, y, running[len(found)]) if running else None
                found.append(context.builder.fmul(x, y) if product is None else product)
        return found


@dataclass(frozen=True)
class _Tile:
    """The numbers of a tile's rows and columns, and memory for the vectors of its sums."""

    rows: list[ir.Value]
    columns: list[ir.Value]
    sums: ir.Value


@dataclass(frozen=True)
class _Operands:
    """Addresses in the rows of the left operand and in the columns of the right."""

    left: list[ir.Value]
    right: list[ir.Value]
