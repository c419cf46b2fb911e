"""Elementwise kernels some of whose arrays are walked through across their memory: the transposed among others.

Owns `Transposed`: such an array is copied to a buffer, block by block, through vector registers, so that each line of
memory is fetched once and the loops over a block find neighbours side by side. Invariant: every element is computed
as before; all of a block is loaded before any of it is stored, as no array that is written is one that is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.fused_elements import ElementCode
from janusjit.backend.llvm.fused_vectors import Compute, emit_elements
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.loops import Cursor, emit_nest
from janusjit.backend.llvm.values import I64, Extent, as_i64, item_size, memory_type, multiply, offset_pointer

#: columns of a block, and bytes of its rows across: a buffer for each turned array is in the first-level cache
COLUMNS, ROW_BYTES = 64, 256
#: so many elements, or where each takes long to compute fewer, make the copy worth it; fewer rows do not
ELEMENTS, LONG_ELEMENTS, LEAST_ROWS = 1 << 17, 1 << 12, 16
#: more buffers than this do not fit the cache
ARRAYS = 2


@dataclass(frozen=True)
class Transposed:
    """Which arrays of a kernel are turned, the sizes of its last two dimensions, and the rows of a block."""

    arrays: tuple[int, ...]
    rows: Extent
    columns: int
    block: int

    @staticmethod
    def of(code: ElementCode) -> Transposed | None:
        """Return what is turned, or None if nothing can or need be."""
        if len(code.dims) < 2 or not isinstance(code.dims[-1], int):
            return None
        rows, columns = code.dims[-2:]
        turned = []
        for number, cursor in enumerate(code.cursors):
            size = item_size(cursor.dtype)
            if cursor.strides[-1] in (0, size):
                continue
            if cursor.strides[-2] != size or cursor.dtype not in ("f32", "f64"):
                return None
            turned.append(number)
        if not 0 < len(turned) <= ARRAYS or not code.kernel.written().isdisjoint(turned):
            return None
        if not isinstance(rows, int):  # a part of them: the stride tells how many there are in all
            strides = [code.cursors[number].strides[-1] for number in turned]
            rows = min((abs(stride) // 4 if isinstance(stride, int) else 0) for stride in strides)
        if rows < LEAST_ROWS or columns < LEAST_ROWS or rows * columns < (LONG_ELEMENTS if code.is_long else ELEMENTS):
            return None
        widest = max(item_size(code.cursors[number].dtype) for number in turned)
        return Transposed(tuple(turned), code.dims[-2], columns, ROW_BYTES // widest)

    def emit(self, code: ElementCode, compute: Compute) -> None:
        """Emit the kernel's loops around what ``compute`` emits."""
        context = code.context
        buffers = {
            number: context.stack_slot(memory_type(code.cursors[number].dtype), self.block * COLUMNS)
            for number in self.arrays
        }

        def emit_blocks(cursors: Sequence[Cursor]) -> None:
            more = context.builder.add(as_i64(self.rows), ir.Constant(I64, self.block - 1))
            blocks = context.builder.sdiv(more, ir.Constant(I64, self.block))
            with context.loop(blocks) as down, context.loop(-(-self.columns // COLUMNS)) as across:
                builder = context.builder
                row, rows = _range(builder, down, self.block, self.rows)
                column, columns = _range(builder, across, COLUMNS, self.columns)
                inside = [_moved(builder, cursor, row, column) for cursor in cursors]
                for number, buffer in buffers.items():
                    inside[number] = _turned(code, inside[number], buffer, rows, columns)
                emit_elements(code, [rows, columns], inside, compute)

        emit_nest(context, code.dims[:-2], code.cursors, emit_blocks)


def _range(builder: ir.IRBuilder, number: ir.Value, length: int, end: Extent) -> tuple[ir.Value, ir.Value]:
    """Return the first position of a block, and how many there are in it."""
    whole = ir.Constant(I64, length)
    start = builder.mul(number, whole)
    left = builder.sub(as_i64(end), start)
    return start, builder.select(builder.icmp_signed("<", left, whole), left, whole)


def _moved(builder: ir.IRBuilder, cursor: Cursor, row: ir.Value, column: ir.Value) -> Cursor:
    pointer = offset_pointer(builder, cursor.pointer, multiply(builder, row, cursor.strides[0]))
    pointer = offset_pointer(builder, pointer, multiply(builder, column, cursor.strides[1]))
    return Cursor(cursor.dtype, pointer, cursor.strides)


def _turned(code: ElementCode, cursor: Cursor, buffer: ir.Value, rows: ir.Value, columns: ir.Value) -> Cursor:
    """Emit the copy of a block to the buffer; return the cursor there."""
    size = item_size(cursor.dtype)
    source = Matrix(cursor.dtype, cursor.pointer, rows, columns, size, cursor.strides[1])
    target = Matrix(cursor.dtype, buffer, rows, columns, COLUMNS * size, size)
    emit_transposed_copy(code.context, source, target)
    return Cursor(cursor.dtype, buffer, (COLUMNS * size, size))
