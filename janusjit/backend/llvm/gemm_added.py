"""Matrix products that are added to what there is.

Owns `emit_added_product`. Invariant: tiles of the result do not overlap, so every element is added to once.
"""

from __future__ import annotations

from dataclasses import replace

from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_kernels import emit_tiles
from janusjit.backend.llvm.gemm_tiling import Machine, choose
from janusjit.backend.llvm.values import KernelContext, item_size, offset_pointer


def emit_added_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, machine: Machine) -> None:
    """Emit ``out += a @ b``; sizes and strides are known, ``b`` and ``out`` have contiguous rows."""
    assert isinstance(out.rows, int) and isinstance(out.columns, int) and isinstance(a.columns, int)
    tiling = choose(out.rows, out.columns, out.dtype, machine, a.columns)
    rows, columns = out.rows // tiling.rows * tiling.rows, out.columns // tiling.columns * tiling.columns
    tiling = replace(tiling, row_tiles=rows // tiling.rows, column_tiles=columns // tiling.columns)
    left, right, corner = replace(a, rows=rows), replace(b, columns=columns), replace(out, rows=rows, columns=columns)
    emit_tiles(context, left, right, corner, tiling, accumulate=True)
    if columns < out.columns:
        right, beside = (_columns_from(context, one, columns, out.columns - columns) for one in (b, out))
        emit_added_product(context, left, right, replace(beside, rows=rows), machine)
    if rows < out.rows:
        left, below = (_rows_from(context, one, rows, out.rows - rows) for one in (a, out))
        emit_added_product(context, left, b, below, machine)


def _rows_from(context: KernelContext, matrix: Matrix, start: int, count: int) -> Matrix:
    assert isinstance(matrix.row_stride, int)
    pointer = offset_pointer(context.builder, matrix.pointer, start * matrix.row_stride)
    return replace(matrix, pointer=pointer, rows=count)


def _columns_from(context: KernelContext, matrix: Matrix, start: int, count: int) -> Matrix:
    pointer = offset_pointer(context.builder, matrix.pointer, start * item_size(matrix.dtype))
    return replace(matrix, pointer=pointer, columns=count)
