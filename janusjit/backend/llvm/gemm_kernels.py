"""Matrix products of known sizes in vector registers.

Owns `emit_tiles`. A tile of the result stays in registers while the dimension summed over passes by: elements of the
left operand are broadcast, vectors of the right operand are loaded, and each product is added with one rounding.
Invariant: all elements of a product are summed in one order, in blocks of `Tiling.depth`, whatever tile they
fall into; so what is computed twice, or is symmetric, is equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_tiling import Piece, Tiling, tile_start
from janusjit.backend.llvm.values import I64, KernelContext, Scalar, item_size, load, offset_pointer
from janusjit.backend.llvm.vectors import load_piece, multiply_add, splat, store_piece, vector_type, zeros


def emit_tiles(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, tiling: Tiling) -> None:
    """Emit ``out = a @ b``; sizes and strides are known, ``b`` and ``out`` have contiguous rows."""
    assert isinstance(a.row_stride, int) and isinstance(out.row_stride, int)
    assert isinstance(out.rows, int) and isinstance(out.columns, int)
    size = item_size(out.dtype)
    with context.loop(tiling.column_tiles) as across:
        column = tile_start(context.builder, across, tiling.columns, out.columns)
        offset = context.builder.mul(column, ir.Constant(I64, size))
        right, below = _moved(context, b, offset), _moved(context, out, offset)
        with context.loop(tiling.row_tiles) as down:
            builder = context.builder
            row = tile_start(builder, down, tiling.rows, out.rows)
            left = _moved(context, a, builder.mul(row, ir.Constant(I64, a.row_stride)))
            target = _moved(context, below, builder.mul(row, ir.Constant(I64, out.row_stride)))
            _emit_tile(context, _Tile(left, right, target, tiling))


@dataclass(frozen=True)
class _Tile:
    """The operands from the tile's first row and column on."""

    a: Matrix
    b: Matrix
    out: Matrix
    tiling: Tiling


def _moved(context: KernelContext, matrix: Matrix, offset: ir.Value) -> Matrix:
    pointer = offset_pointer(context.builder, matrix.pointer, offset)
    return Matrix(matrix.dtype, pointer, matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride)


def _emit_tile(context: KernelContext, tile: _Tile) -> None:
    """Emit the sum of a tile, block after block: the first is stored, the others are added to what is there."""
    depth = tile.a.columns
    assert isinstance(depth, int)
    size = tile.tiling.depth
    first = min(depth, size)
    _emit_block(context, tile, ir.Constant(I64, 0), first, accumulate=False)
    blocks, rest = divmod(depth - first, size)
    if blocks:
        with context.loop(blocks) as block:
            builder = context.builder
            start = builder.mul(builder.add(block, ir.Constant(I64, 1)), ir.Constant(I64, size))
            _emit_block(context, tile, start, size, accumulate=True)
    if rest:
        _emit_block(context, tile, ir.Constant(I64, depth - rest), rest, accumulate=True)


Sums = list[list[ir.Value]]


def _emit_block(context: KernelContext, tile: _Tile, start: ir.Value, length: int, accumulate: bool) -> None:
    """Emit one tile's sum over ``length`` steps from ``start`` on."""
    tiling, dtype, builder = tile.tiling, tile.out.dtype, context.builder
    types = [vector_type(dtype, piece.lanes) for piece in tiling.pieces]
    nothing = [[zeros(type_) for type_ in types] for _ in range(tiling.rows)]
    turns, odd = divmod(length, tiling.ways)
    ways = [nothing] * tiling.ways
    if turns:
        ways = _emit_steps(context, tile, start, turns, ways)
    for step in range(odd):
        index = context.builder.add(start, ir.Constant(I64, turns * tiling.ways + step))
        ways[step] = _step(context, tile, index, ways[step])
    while len(ways) > 1:
        ways = [_added(builder, one, other) for one, other in zip(ways[::2], ways[1::2], strict=True)]
    for row, vectors in enumerate(ways[0]):
        for piece, total in zip(tiling.pieces, vectors, strict=True):
            pointer = _at(builder, tile.out, row, piece)
            if accumulate:
                total = builder.fadd(load_piece(context, dtype, pointer, piece), total)
            store_piece(context, dtype, total, pointer, piece)


def _added(builder: ir.IRBuilder, one: Sums, other: Sums) -> Sums:
    rows = zip(one, other, strict=True)
    return [[builder.fadd(x, y) for x, y in zip(*pair, strict=True)] for pair in rows]


def _emit_steps(
    context: KernelContext, tile: _Tile, start: ir.Value, turns: int, initial: list[Sums]
) -> list[Sums]:
    """Emit the loop that takes as many steps a turn as there are ways; return the sums."""
    builder = context.builder
    before = builder.block
    body, after = (context.function.append_basic_block(name) for name in ("tile", "tile.end"))
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    turn.add_incoming(ir.Constant(I64, 0), before)
    running = [[[builder.phi(value.type) for value in row] for row in sums] for sums in initial]
    first = builder.add(start, builder.mul(turn, ir.Constant(I64, len(initial))))
    totals = [
        _step(context, tile, builder.add(first, ir.Constant(I64, way)), sums) for way, sums in enumerate(running)
    ]
    for phi, value, total in zip(_flat(running), _flat(initial), _flat(totals), strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(total, body)
    following = builder.add(turn, ir.Constant(I64, 1), flags=("nsw",))
    turn.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, turns)), body, after)
    builder.position_at_end(after)
    return totals


def _flat(ways: list[Sums]) -> list[ir.Value]:
    return [value for sums in ways for row in sums for value in row]


def _step(context: KernelContext, tile: _Tile, index: ir.Value, sums: Sums) -> Sums:
    """Return the sums with the products of column ``index`` of the left operand and that row of the right added."""
    builder, dtype = context.builder, tile.out.dtype
    right = [load_piece(context, dtype, _at(builder, tile.b, index, piece), piece) for piece in tile.tiling.pieces]
    totals = []
    for row, running in enumerate(sums):
        element = _element(builder, tile.a, row, index).value
        totals.append(
            [
                multiply_add(context, dtype, splat(builder, element, vector.type), vector, total)
                for vector, total in zip(right, running, strict=True)
            ]
        )
    return totals


def _element(builder: ir.IRBuilder, matrix: Matrix, row: int, column: ir.Value) -> Scalar:
    assert isinstance(matrix.row_stride, int) and isinstance(matrix.column_stride, int)
    moved = builder.mul(column, ir.Constant(I64, matrix.column_stride))
    pointer = offset_pointer(builder, offset_pointer(builder, matrix.pointer, moved), row * matrix.row_stride)
    return load(builder, matrix.dtype, pointer)


def _at(builder: ir.IRBuilder, matrix: Matrix, row: ir.Value | int, piece: Piece) -> ir.Value:
    """Return the address of a piece of a row."""
    assert isinstance(matrix.row_stride, int)
    stride = matrix.row_stride
    moved = row * stride if isinstance(row, int) else builder.mul(row, ir.Constant(I64, stride))
    pointer = offset_pointer(builder, matrix.pointer, moved)
    return offset_pointer(builder, pointer, piece.start * item_size(matrix.dtype))
