"""Products in register tiles, and of vectors, divided among threads.

Owns `emit_tiles_on_threads`, `emit_dots_on_threads` and `emit_row_on_threads`. Invariant: a unit of work is whole
tiles or columns, and no two threads add to one element, so results are the same bits however many threads there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.divided_work import Units, emit_divided, threads_for
from janusjit.backend.llvm.gemm_dots import column_tiles, emit_dots
from janusjit.backend.llvm.gemm_kernels import RowTiles, emit_tiles
from janusjit.backend.llvm.gemm_rows import VECTORS, emit_row_product
from janusjit.backend.llvm.gemm_tiling import Machine, Tiling
from janusjit.backend.llvm.row_blocks import Block, Blocks, emit_in_blocks
from janusjit.backend.llvm.values import I64, ArrayValue, KernelContext, as_i64, item_size, offset_pointer

#: how many chunks each thread has at most: each reads all of the right operand
_CHUNKS = 2


def emit_tiles_on_threads(
    context: KernelContext, operands: tuple[Matrix, Matrix, Matrix], tiling: Tiling, nanoseconds: float
) -> int:
    """Emit ``out = a @ b`` as `emit_tiles` does, where that pays on threads; return on how many at most."""
    a, _, out = operands
    assert isinstance(out.rows, int) and isinstance(a.columns, int)
    # the last tile begins early enough to be whole: what it adds to, the one before must not add to meanwhile
    joined = out.rows % tiling.rows != 0 and a.columns > tiling.depth
    units = tiling.row_tiles - joined
    if threads_for(units, nanoseconds, context.threads) == 1:
        emit_tiles(context, *operands, tiling)
        return 1

    def body(inside: KernelContext, arrays: Sequence[ArrayValue], some: Units) -> None:
        builder = inside.builder
        end = builder.add(some.start, as_i64(some.count))
        if joined:
            is_last = builder.icmp_signed("==", end, ir.Constant(I64, units))
            end = builder.add(end, builder.zext(is_last, I64))
        left, right, target = map(Matrix.of, arrays)
        emit_tiles(inside, left, right, target, tiling, RowTiles(some.start, end))

    return emit_divided(context, units, nanoseconds, [one.as_array for one in operands], body, _CHUNKS)


def emit_dots_on_threads(
    context: KernelContext, operands: tuple[Matrix, Matrix, Matrix], machine: Machine, nanoseconds: float
) -> int:
    """Emit ``out = a @ b`` as `emit_dots` does, where that pays on threads; return on how many at most."""
    out = operands[2]
    assert isinstance(out.columns, int)
    units = column_tiles(out.columns)
    if threads_for(units, nanoseconds, context.threads) == 1:
        emit_dots(context, *operands, machine)
        return 1

    def body(inside: KernelContext, arrays: Sequence[ArrayValue], some: Units) -> None:
        left, right, target = map(Matrix.of, arrays)
        emit_dots(inside, left, right, target, machine, (some.start, some.count))

    return emit_divided(context, units, nanoseconds, [one.as_array for one in operands], body)


def emit_row_on_threads(
    context: KernelContext, operands: tuple[Matrix, Matrix, Matrix], machine: Machine, nanoseconds: float
) -> int:
    """Emit ``out = a @ b`` as `emit_row_product` does, where that pays on threads; return on how many at most.

    A unit is so many columns: every thread reads a part of each row of the matrix.
    """
    out = operands[2]
    assert isinstance(out.columns, int)
    lanes = VECTORS * machine.lanes(out.dtype)
    limit = threads_for(out.columns // lanes, nanoseconds, context.threads)
    if limit == 1:
        emit_row_product(context, *operands, machine)
        return 1
    width = -(-out.columns // (limit * _CHUNKS * lanes)) * lanes

    def emit(inside: KernelContext, arrays: Sequence[ArrayValue], block: Block) -> None:
        left, right, target = map(Matrix.of, arrays)
        offset = inside.builder.mul(block.start, ir.Constant(I64, item_size(out.dtype)))
        right, target = (
            replace(one, pointer=offset_pointer(inside.builder, one.pointer, offset), columns=block.count)
            for one in (right, target)
        )
        emit_row_product(inside, left, right, target, machine)

    blocks = Blocks(width, room=0, on_threads=True)
    return emit_in_blocks(context, [one.as_array for one in operands], out.columns, blocks, nanoseconds, emit)
