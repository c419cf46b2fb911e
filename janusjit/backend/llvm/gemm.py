"""Which way a matrix product of known sizes is computed.

Owns `emit_known_product`. Invariant: the choice depends on sizes, strides, element type, machine, its calibration and
the library's threads alone, so equal products are computed alike; what is not chosen here is left to the library.
"""

from __future__ import annotations

from janusjit.backend.llvm.blas_loops import Matrix, emit_copy
from janusjit.backend.llvm.gemm_dot_tiles import emit_dot_tiles, is_long
from janusjit.backend.llvm.gemm_dots import emit_dots
from janusjit.backend.llvm.gemm_estimates import beats_library
from janusjit.backend.llvm.gemm_kernels import emit_tiles
from janusjit.backend.llvm.gemm_rows import emit_row_product
from janusjit.backend.llvm.gemm_tiling import (
    MOST_VECTORS,
    ROWS_WORTH_A_COPY,
    STREAMED_BYTES,
    Machine,
    choose,
)
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.values import KernelContext, item_size


def emit_known_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix) -> str | None:
    """Emit ``out = a @ b`` by kernels made for its sizes.

    Returns
    -------
    str or None
        What was chosen, in words; None if nothing was emitted.
    """
    if out.dtype not in ("f32", "f64") or not all(_is_known(matrix) for matrix in (a, b, out)):
        return None
    rows, columns, depth = out.rows, out.columns, a.columns
    assert isinstance(rows, int) and isinstance(columns, int) and isinstance(depth, int)
    if 0 in (rows, columns, depth):
        return None
    if not _fits(out) or (columns == 1 and rows > 1):
        if not _fits(out.transposed) or (rows == 1 and columns > 1):
            return None
        a, b, out, rows, columns = b.transposed, a.transposed, out.transposed, columns, rows
    machine = Machine.host()
    by_columns = not b.has_contiguous_rows and columns != 1
    if by_columns:
        if rows < ROWS_WORTH_A_COPY:
            return _emit_dots(context, a, b, out, machine)
    elif columns == 1:
        return _emit_dots(context, a, b, out, machine)
    if not beats_library(rows, columns, depth, out.dtype, by_columns):
        return None
    if by_columns and is_long(a, b, rows, depth):
        return emit_dot_tiles(context, a, b, out, machine)
    if by_columns:
        b = _copied(context, b, transposed=True)
    if rows == 1 and columns > MOST_VECTORS * machine.lanes(out.dtype):
        emit_row_product(context, a, b, out, machine)
        return "streams of rows"
    tiling = choose(rows, columns, out.dtype, machine, depth, by_columns)
    emit_tiles(context, a, b, out, tiling)
    return str(tiling)


def _emit_dots(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, machine: Machine) -> str | None:
    assert isinstance(b.rows, int) and isinstance(b.columns, int)
    if not b.transposed.has_contiguous_rows and b.rows > 1:
        return None
    if b.rows * b.columns * item_size(b.dtype) > STREAMED_BYTES:
        return None
    if not a.has_contiguous_rows and a.columns != 1:
        a = _copied(context, a, transposed=False)
    emit_dots(context, a, b, out, machine)
    return "inner products"


def _is_known(matrix: Matrix) -> bool:
    extents = (matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride)
    return all(isinstance(extent, int) for extent in extents)


def _fits(out: Matrix) -> bool:
    """Return whether rows can be stored as vectors, and none overlaps another."""
    assert isinstance(out.row_stride, int) and isinstance(out.columns, int)
    contiguous = out.has_contiguous_rows or out.columns == 1
    return contiguous and (out.rows == 1 or abs(out.row_stride) >= out.columns * item_size(out.dtype))


def _copied(context: KernelContext, matrix: Matrix, transposed: bool) -> Matrix:
    """Return a copy with contiguous rows."""
    copy = context.scratch(matrix.dtype, (matrix.rows, matrix.columns))
    target = Matrix(matrix.dtype, copy.pointer, matrix.rows, matrix.columns, *copy.strides)
    (emit_transposed_copy if transposed else emit_copy)(context, matrix, target)
    return target
