"""Matrix products of known sizes in vector registers.

Owns `emit_tiles`. A tile of the result stays in registers while the dimension summed over passes by: elements of the
left operand are broadcast, vectors of the right operand are loaded, and each product is added with one rounding.
Invariants: all elements of a product are summed in one order, in blocks of `Tiling.depth`, whatever tile they
fall into; so what is computed twice, or is symmetric, is equal. A module has one function for all products of the same
sizes, strides and tiling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.counting import next_pointer, next_turn
from janusjit.backend.llvm.gemm_tiling import Tiling, tile_start
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.values import (
    I64,
    POINTER,
    VOID,
    Extent,
    KernelContext,
    as_i64,
    item_size,
    load,
    multiply,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_piece, multiply_add, store_piece, vector_type, zeros


@dataclass(frozen=True)
class RowTiles:
    """Tiles of some rows: the number of the first, and that of the one behind the last."""

    first: ir.Value
    end: ir.Value


def emit_tiles(
    context: KernelContext,
    a: Matrix,
    b: Matrix,
    out: Matrix,
    tiling: Tiling,
    part: RowTiles | None = None,
    accumulate: bool = False,
) -> None:
    """Emit ``out = a @ b``, or a ``part``; sizes and strides are known, ``b`` and ``out`` have contiguous rows.

    With ``accumulate`` it is ``out += a @ b``, and no tile of the tiling overlaps another.
    """
    strides = (a.row_stride, a.column_stride, b.row_stride, out.row_stride)
    cut = (tiling.rows, tiling.columns, tiling.ways, tiling.depth)
    sizes = (out.rows, out.columns, a.columns, *strides, *cut)
    kind = "added_tiles" if accumulate else "tiles" if part is None else "row_tiles"
    name = ".".join(map(str, (HANDWRITTEN + kind, out.dtype, *sizes)))
    numbers = [] if part is None else [part.first, part.end]
    function = context.module.globals.get(name)
    if function is None:
        function = ir.Function(context.module, ir.FunctionType(VOID, [POINTER] * 3 + [I64] * len(numbers)), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = KernelContext(function, context.python)
        left, right, target = (replace(one, pointer=p) for one, p in zip((a, b, out), function.args[:3], strict=True))
        here = RowTiles(*function.args[3:]) if numbers else None
        _emit_loops(inside, left, right, target, tiling, here, accumulate)
        inside.finish()
    context.builder.call(function, [a.pointer, b.pointer, out.pointer, *numbers])


def _emit_loops(
    context: KernelContext,
    a: Matrix,
    b: Matrix,
    out: Matrix,
    tiling: Tiling,
    part: RowTiles | None,
    accumulate: bool,
) -> None:
    assert isinstance(a.row_stride, int) and isinstance(out.row_stride, int)
    assert isinstance(out.rows, int) and isinstance(out.columns, int)
    size = item_size(out.dtype)
    count = tiling.row_tiles if part is None else context.builder.sub(part.end, part.first)
    with context.loop(tiling.column_tiles) as across:
        column = tile_start(context.builder, across, tiling.columns, out.columns)
        offset = context.builder.mul(column, ir.Constant(I64, size))
        right, below = _moved(context, b, offset), _moved(context, out, offset)
        with context.loop(count) as down:
            builder = context.builder
            if part is not None:
                down = builder.add(down, part.first)
            row = tile_start(builder, down, tiling.rows, out.rows)
            left = _moved(context, a, builder.mul(row, ir.Constant(I64, a.row_stride)))
            target = _moved(context, below, builder.mul(row, ir.Constant(I64, out.row_stride)))
            _emit_tile(context, _Tile(left, right, target, tiling), accumulate)


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


def _emit_tile(context: KernelContext, tile: _Tile, accumulate: bool) -> None:
    """Emit the sum of a tile, block after block: they are added to what is there, but for the first as a rule."""
    depth, size, ways = tile.a.columns, tile.tiling.depth, tile.tiling.ways
    assert isinstance(depth, int)
    blocks, rest = divmod(depth, size)
    if depth <= size:
        _emit_block(context, tile, 0, _Length(depth // ways, depth % ways), accumulate)
        return
    is_alike = rest % ways == 0  # then one piece of code does for the last block as well
    with context.loop(blocks + (rest > 0 and is_alike)) as block:
        builder = context.builder
        turns: ir.Value = ir.Constant(I64, size // ways)
        if rest and is_alike:
            is_last = builder.icmp_signed("==", block, ir.Constant(I64, blocks))
            turns = builder.select(is_last, ir.Constant(I64, rest // ways), turns)
        start = builder.mul(block, ir.Constant(I64, size))
        is_later = True if accumulate else builder.icmp_signed(">", block, ir.Constant(I64, 0))
        _emit_block(context, tile, start, _Length(turns, 0), is_later)
    if not is_alike:
        _emit_block(context, tile, depth - rest, _Length(rest // ways, rest % ways), accumulate=True)


@dataclass(frozen=True)
class _Length:
    """How many steps a block has: ``turns`` of as many as there are ways, and ``odd`` ones."""

    turns: Extent
    odd: int


Sums = list[list[ir.Value]]


def _emit_block(
    context: KernelContext, tile: _Tile, start: Extent, length: _Length, accumulate: bool | ir.Value
) -> None:
    """Emit one tile's sum over some steps from ``start`` on."""
    tiling, dtype, builder = tile.tiling, tile.out.dtype, context.builder
    types = [vector_type(dtype, piece.lanes) for piece in tiling.pieces]
    nothing = [[zeros(type_) for type_ in types] for _ in range(tiling.rows)]
    ways = [nothing] * tiling.ways
    if length.turns != 0:
        ways = _emit_steps(context, tile, start, length.turns, ways)
    for step in range(length.odd):
        assert isinstance(start, int) and isinstance(length.turns, int)
        ways[step] = _step(context, tile, start + length.turns * tiling.ways + step, ways[step])
    while len(ways) > 1:
        ways = [_added(builder, one, other) for one, other in zip(ways[::2], ways[1::2], strict=True)]
    (sums,) = ways
    places = _places(context, tile)
    if not isinstance(accumulate, bool):
        sums = _accumulated_if(context, tile, accumulate, sums, places)
    elif accumulate:
        sums = _accumulated(context, tile, sums, places)
    for pointers, vectors in zip(places, sums, strict=True):
        for pointer, piece, total in zip(pointers, tiling.pieces, vectors, strict=True):
            store_piece(context, dtype, total, pointer, piece)


def _places(context: KernelContext, tile: _Tile) -> Sums:
    """Return the addresses of a tile's vectors."""
    builder, size = context.builder, item_size(tile.out.dtype)
    rows = [_row(builder, tile.out, row) for row in range(tile.tiling.rows)]
    return [[offset_pointer(builder, row, piece.start * size) for piece in tile.tiling.pieces] for row in rows]


def _accumulated(context: KernelContext, tile: _Tile, sums: Sums, places: Sums) -> Sums:
    """Return what is at the places, with sums added to it."""
    dtype, pieces = tile.out.dtype, tile.tiling.pieces
    before = [[load_piece(context, dtype, *one) for one in zip(row, pieces, strict=True)] for row in places]
    return _added(context.builder, before, sums)


def _accumulated_if(context: KernelContext, tile: _Tile, condition: ir.Value, sums: Sums, places: Sums) -> Sums:
    """Return sums that are added to what is at the places under a condition; one piece of code stores them."""
    builder, before = context.builder, context.builder.block
    with builder.if_then(condition):
        later, totals = builder.block, _accumulated(context, tile, sums, places)
    chosen = [[builder.phi(value.type) for value in row] for row in sums]
    for phi, value, total in zip(_flat([chosen]), _flat([sums]), _flat([totals]), strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(total, later)
    return chosen


def _added(builder: ir.IRBuilder, one: Sums, other: Sums) -> Sums:
    rows = zip(one, other, strict=True)
    return [[builder.fadd(x, y) for x, y in zip(*pair, strict=True)] for pair in rows]


def _emit_steps(
    context: KernelContext, tile: _Tile, start: Extent, turns: Extent, initial: list[Sums]
) -> list[Sums]:
    """Emit the loop that takes as many steps a turn as there are ways; return the sums."""
    builder, strides = context.builder, (tile.a.column_stride, tile.b.row_stride)
    begin = [
        offset_pointer(builder, matrix.pointer, multiply(builder, start, stride))
        for matrix, stride in zip((tile.a, tile.b), strides, strict=True)
    ]
    before = builder.block
    body, after = (context.function.append_basic_block(name) for name in ("tile", "tile.end"))
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    turn.add_incoming(ir.Constant(I64, 0), before)
    pointers = [builder.phi(POINTER) for _ in begin]
    running = [[[builder.phi(value.type) for value in row] for row in sums] for sums in initial]
    here = replace(tile, a=replace(tile.a, pointer=pointers[0]), b=replace(tile.b, pointer=pointers[1]))
    totals = [_step(context, here, way, sums) for way, sums in enumerate(running)]
    for pointer, first, stride in zip(pointers, begin, strides, strict=True):
        pointer.add_incoming(first, before)
        pointer.add_incoming(next_pointer(builder, pointer, stride * len(initial)), body)
    for phi, value, total in zip(_flat(running), _flat(initial), _flat(totals), strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(total, body)
    following = next_turn(builder, turn)
    turn.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, as_i64(turns)), body, after)
    builder.position_at_end(after)
    return totals


def _flat(ways: list[Sums]) -> list[ir.Value]:
    return [value for sums in ways for row in sums for value in row]


def _step(context: KernelContext, tile: _Tile, index: Extent, sums: Sums) -> Sums:
    """Return the sums with the products of column ``index`` of the left operand and that row of the right added."""
    builder, dtype, column_stride = context.builder, tile.out.dtype, tile.a.column_stride
    assert isinstance(column_stride, int)
    size = item_size(dtype)
    beginning = _row(builder, tile.b, index)
    right = [
        load_piece(context, dtype, offset_pointer(builder, beginning, piece.start * size), piece)
        for piece in tile.tiling.pieces
    ]
    top = offset_pointer(builder, tile.a.pointer, multiply(builder, index, column_stride))
    left = replace(tile.a, pointer=top)
    totals = []
    for row, running in enumerate(sums):
        element = load(builder, dtype, _row(builder, left, row)).value
        factors = {type_: splat(builder, element, type_) for type_ in dict.fromkeys(vector.type for vector in right)}
        totals.append(
            [
                multiply_add(context, dtype, factors[vector.type], vector, total)
                for vector, total in zip(right, running, strict=True)
            ]
        )
    return totals


def _row(builder: ir.IRBuilder, matrix: Matrix, row: Extent) -> ir.Value:
    """Return the address of a row's first element."""
    return offset_pointer(builder, matrix.pointer, multiply(builder, row, matrix.row_stride))
