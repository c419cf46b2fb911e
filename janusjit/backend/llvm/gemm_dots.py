"""Products of a vector with the columns of a matrix that is stored by columns.

Owns `emit_dots`. Several columns share the loads of the vector. Invariant: every column is summed in the same order, in
vectors that run side by side, so no sum has a chain of roundings as long as itself.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces
from janusjit.backend.llvm.values import I64, Extent, KernelContext, Scalar, item_size, offset_pointer, store
from janusjit.backend.llvm.vectors import add_up, load_piece, multiply_add, vector_type, zeros

#: columns at a time, and vectors of each in a turn
COLUMNS, WAYS = 4, 4


def column_tiles(columns: int) -> int:
    """Return how many tiles so many columns are cut into."""
    return -(-columns // COLUMNS)


def emit_dots(
    context: KernelContext,
    a: Matrix,
    b: Matrix,
    out: Matrix,
    machine: Machine,
    part: tuple[ir.Value, Extent] | None = None,
) -> None:
    """Emit ``out = a @ b``; sizes and strides are known, ``a`` has contiguous rows and ``b`` contiguous columns.

    A ``part`` is some of the `column_tiles` only: the first, and how many.
    """
    assert isinstance(out.columns, int) and isinstance(b.rows, int)
    width = min(COLUMNS, out.columns)
    last = ir.Constant(I64, out.columns - width)
    first, tiles = part or (ir.Constant(I64, 0), column_tiles(out.columns))
    with context.loop(out.rows) as row, context.loop(tiles) as number:
        builder = context.builder
        tile = number if part is None else builder.add(number, first)
        start = builder.mul(tile, ir.Constant(I64, width))
        start = builder.select(builder.icmp_signed("<", start, last), start, last)
        vector = a.element(builder, row, 0)
        columns = [b.element(builder, 0, builder.add(start, ir.Constant(I64, n))) for n in range(width)]
        totals = _emit_sums(context, out.dtype, vector, columns, b.rows, machine)
        for number, total in enumerate(totals):
            target = out.element(context.builder, row, context.builder.add(start, ir.Constant(I64, number)))
            store(context.builder, Scalar(out.dtype, total), target)


def _emit_sums(
    context: KernelContext, dtype: str, vector: ir.Value, columns: list[ir.Value], depth: int, machine: Machine
) -> list[ir.Value]:
    """Emit the product of ``vector`` with each column, in ever smaller parts of the depth."""
    lanes = machine.lanes(dtype)
    full = Piece(0, lanes, lanes)
    turns, rest = divmod(depth, WAYS * lanes)
    sums: list[list[ir.Value]] = [[zeros(vector_type(dtype, lanes))] * WAYS for _ in columns]
    if turns:
        sums = _emit_turns(context, dtype, vector, columns, turns, sums)
    done = turns * WAYS * lanes
    totals: list[ir.Value] = []
    tails: list[list[ir.Value]] = [[] for _ in columns]
    for way, piece in enumerate(pieces(rest, lanes, machine.has_masks)):
        at = done + piece.start
        x = load_piece(context, dtype, _behind(context, vector, dtype, at), piece)
        for number, column in enumerate(columns):
            y = load_piece(context, dtype, _behind(context, column, dtype, at), piece)
            if piece.lanes == full.lanes:
                sums[number] = list(sums[number])
                sums[number][way] = multiply_add(context, dtype, x, y, sums[number][way])
            else:
                tails[number].append(add_up(context, dtype, context.builder.fmul(x, y)))
    builder = context.builder
    for ways, tail in zip(sums, tails, strict=True):
        while len(ways) > 1:
            ways = [builder.fadd(x, y) for x, y in zip(ways[::2], ways[1::2], strict=True)]
        total = add_up(context, dtype, ways[0])
        for part in tail:
            total = builder.fadd(total, part)
        totals.append(total)
    return totals


def _emit_turns(
    context: KernelContext,
    dtype: str,
    vector: ir.Value,
    columns: list[ir.Value],
    turns: int,
    initial: list[list[ir.Value]],
) -> list[list[ir.Value]]:
    builder = context.builder
    before = builder.block
    body, after = (context.function.append_basic_block(name) for name in ("dot", "dot.end"))
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    turn.add_incoming(ir.Constant(I64, 0), before)
    running = [[builder.phi(value.type) for value in ways] for ways in initial]
    lanes = initial[0][0].type.count
    piece = Piece(0, lanes, lanes)
    offset = builder.mul(turn, ir.Constant(I64, WAYS * lanes * item_size(dtype)))
    totals: list[list[ir.Value]] = [[] for _ in columns]
    for way in range(WAYS):
        at = _behind(context, offset_pointer(builder, vector, offset), dtype, way * lanes)
        x = load_piece(context, dtype, at, piece)
        for number, column in enumerate(columns):
            at = _behind(context, offset_pointer(builder, column, offset), dtype, way * lanes)
            y = load_piece(context, dtype, at, piece)
            totals[number].append(multiply_add(context, dtype, x, y, running[number][way]))
    for phis, values, sums in zip(running, initial, totals, strict=True):
        for phi, value, total in zip(phis, values, sums, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(total, body)
    following = next_turn(builder, turn)
    turn.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, ir.Constant(I64, turns)), body, after)
    builder.position_at_end(after)
    return totals


def _behind(context: KernelContext, pointer: ir.Value, dtype: str, elements: int) -> ir.Value:
    return offset_pointer(context.builder, pointer, elements * item_size(dtype))
