"""Products of a vector with a matrix that is stored by rows, and is too wide for registers to hold the result.

Owns `emit_row_product`. A few rows of the matrix pass by at once, from their beginnings to their ends, so memory is
read in as many streams as they are, each in order. Invariant: every element is summed in the same order: the products
with the rows of a block in registers, and the blocks one after the other in memory.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.values import I64, KernelContext, item_size, load, offset_pointer
from janusjit.backend.llvm.vectors import load_piece, multiply_add, store_piece, vector_type

#: rows at a time: more streams than that are not prefetched, with fewer the result is read and written more often
STREAMS = 8
#: vectors of the result in a turn
VECTORS = 2


def emit_row_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, machine: Machine) -> None:
    """Emit ``out = a @ b`` for an ``a`` of one row; sizes and strides are known, rows of the others contiguous."""
    depth = b.rows
    assert isinstance(depth, int)
    first = depth % STREAMS or STREAMS
    _emit_block(context, (a, b, out), ir.Constant(I64, 0), first, machine)
    if depth > first:
        with context.loop((depth - first) // STREAMS) as number:
            builder = context.builder
            start = builder.add(builder.mul(number, ir.Constant(I64, STREAMS)), ir.Constant(I64, first))
            _emit_block(context, (a, b, out), start, STREAMS, machine, accumulate=True)


def _emit_block(
    context: KernelContext,
    operands: tuple[Matrix, Matrix, Matrix],
    start: ir.Value,
    count: int,
    machine: Machine,
    accumulate: bool = False,
) -> None:
    """Emit the products with ``count`` rows from ``start`` on, the whole result long."""
    (a, b, out), builder = operands, context.builder
    assert isinstance(out.columns, int)
    numbers = [builder.add(start, ir.Constant(I64, row)) for row in range(count)]
    factors = [load(builder, a.dtype, a.element(builder, 0, number)).value for number in numbers]
    rows = [b.element(builder, number, 0) for number in numbers]
    lanes = machine.lanes(out.dtype)
    width = VECTORS * lanes
    turns = out.columns // width
    with context.loop(turns) as turn:
        offset = context.builder.mul(turn, ir.Constant(I64, width * item_size(out.dtype)))
        cut = pieces(width, lanes, machine.has_masks)
        _emit_columns(context, out.dtype, factors, rows, (out.pointer, offset), cut, accumulate)
    done = turns * width
    offset = ir.Constant(I64, done * item_size(out.dtype))
    cut = pieces(out.columns - done, lanes, machine.has_masks)
    _emit_columns(context, out.dtype, factors, rows, (out.pointer, offset), cut, accumulate)


def _emit_columns(
    context: KernelContext,
    dtype: str,
    factors: list[ir.Value],
    rows: list[ir.Value],
    target: tuple[ir.Value, ir.Value],
    cut: tuple[Piece, ...],
    accumulate: bool,
) -> None:
    """Emit some elements of the result: two sums side by side, and what is there already."""
    builder, (out, offset) = context.builder, target
    for piece in cut:
        moved = builder.add(offset, ir.Constant(I64, piece.start * item_size(dtype)))
        pointer, type_ = offset_pointer(builder, out, moved), vector_type(dtype, piece.lanes)
        sums: list[ir.Value] = []
        for number, (factor, row) in enumerate(zip(factors, rows, strict=True)):
            vector = load_piece(context, dtype, offset_pointer(builder, row, moved), piece)
            scale = splat(builder, factor, type_)
            if number < 2:
                sums.append(builder.fmul(scale, vector))
            else:
                sums[number % 2] = multiply_add(context, dtype, scale, vector, sums[number % 2])
        total = sums[0] if len(sums) == 1 else builder.fadd(*sums)
        if accumulate:
            total = builder.fadd(load_piece(context, dtype, pointer, piece), total)
        store_piece(context, dtype, total, pointer, piece)
