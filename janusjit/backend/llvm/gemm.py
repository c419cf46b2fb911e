"""Which way a matrix product of known sizes is computed.

Owns `Choice`, `choose_kernel` and `emit_known_product`. Invariant: the choice depends on sizes, strides, element type,
machine, its calibration and the library's threads alone, so equal products are computed alike; what is not chosen here
is left to the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm import gemm_packed
from janusjit.backend.llvm.blas_loops import Matrix, emit_copy
from janusjit.backend.llvm.gemm_divided import emit_dots_on_threads, emit_row_on_threads, emit_tiles_on_threads
from janusjit.backend.llvm.gemm_dot_tiles import emit_dot_tiles, is_long, stays_near
from janusjit.backend.llvm.gemm_estimates import (
    Product,
    packed_nanoseconds,
    packed_threads,
    product_nanoseconds,
    quickest,
)
from janusjit.backend.llvm.gemm_kernels import emit_tiles
from janusjit.backend.llvm.gemm_packed import emit_packed
from janusjit.backend.llvm.gemm_tiling import (
    MOST_VECTORS,
    ROWS_WORTH_A_COPY,
    STREAMED_BYTES,
    Machine,
    Tiling,
    choose,
)
from janusjit.backend.llvm.gemm_transpose import emit_transposed_copy
from janusjit.backend.llvm.row_blocks import Block, Blocks, emit_in_blocks
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, item_size, multiply, offset_pointer
from janusjit.backend.plan import with_threads


@dataclass(frozen=True)
class Choice:
    """A way to compute a product.

    Attributes
    ----------
    kind : {"dots", "dot tiles", "packed", "rows", "tiles"}
        The kernel.
    is_turned : bool
        Whether it computes the transpose of the result.
    by_columns : bool
        Whether the right operand is stored by columns.
    tiling : Tiling or None
        How tiles are cut, where they are.
    threads : int
        On how many threads it is computed at most.
    nanoseconds : float
        What it is expected to take one thread, where there may be more.
    """

    kind: str
    is_turned: bool
    by_columns: bool
    tiling: Tiling | None = None
    threads: int = 1
    nanoseconds: float = 0.0

    @property
    def packed_words(self) -> str:
        """In words how a product is computed that is packed."""
        return on_threads("packed tiles", self.threads, self.nanoseconds)


def choose_kernel(a: Matrix, b: Matrix, out: Matrix, threads: int = 1) -> Choice | None:
    """Return how ``out = a @ b`` is computed, on up to so many threads; None if by the library.

    The operands' addresses do not matter.
    """
    if out.dtype not in ("f32", "f64") or not all(_is_known(matrix) for matrix in (a, b, out)):
        return None
    rows, columns, depth = out.rows, out.columns, a.columns
    assert isinstance(rows, int) and isinstance(columns, int) and isinstance(depth, int)
    if 0 in (rows, columns, depth):
        return None
    is_turned = not _fits(out) or (columns == 1 and rows > 1)
    if is_turned:
        if not _fits(out.transposed) or (rows == 1 and columns > 1):
            return None
        a, b, out, rows, columns = b.transposed, a.transposed, out.transposed, columns, rows
    by_columns = not b.has_contiguous_rows and columns != 1
    row_by_row = by_columns and rows < ROWS_WORTH_A_COPY
    if columns == 1 or (row_by_row and (rows == 1 or not _streams(b))):
        return Choice("dots", is_turned, by_columns) if _streams(b) else None
    machine = Machine.host()
    in_dots = by_columns and not row_by_row and is_long(a, b, rows, depth)
    is_copied = by_columns and not (in_dots and stays_near(rows, columns, machine))
    assert isinstance(a.column_stride, int)
    product = Product(rows, columns, depth, out.dtype, is_copied, in_dots, row_by_row, abs(a.column_stride))
    way = quickest(product, threads)
    if way == "library":
        return None
    if way == "packed":
        alone = packed_nanoseconds(rows, columns, depth, out.dtype)
        return Choice("packed", is_turned, by_columns, None, packed_threads(rows, alone, threads), alone)
    if row_by_row:
        return Choice("dots", is_turned, by_columns)
    if in_dots:
        return Choice("dot tiles", is_turned, by_columns)
    if rows == 1 and columns > MOST_VECTORS * machine.lanes(out.dtype):
        return Choice("rows", is_turned, by_columns)
    return Choice("tiles", is_turned, by_columns, choose(rows, columns, out.dtype, machine, depth, by_columns))


def own_nanoseconds(a: Matrix, b: Matrix, out: Matrix) -> float | None:
    """Return what ``out = a @ b`` is expected to take one thread by kernels made for its sizes; None if by others."""
    choice = choose_kernel(a, b, out)
    if choice is None:
        return None
    if choice.is_turned:
        a, b, out = b.transposed, a.transposed, out.transposed
    return _expected({"dots": "inner products", "packed": "packed tiles"}.get(choice.kind, ""), a, b, out)


def emit_known_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix) -> str | None:
    """Emit ``out = a @ b`` by kernels made for its sizes.

    Returns
    -------
    str or None
        What was chosen, in words; None if nothing was emitted.
    """
    choice = choose_kernel(a, b, out, context.threads)
    if choice is None:
        return None
    if choice.is_turned:
        a, b, out = b.transposed, a.transposed, out.transposed
    machine = Machine.host()
    if choice.kind == "dots":
        if not a.has_contiguous_rows and a.columns != 1:
            a = _copied(context, a, transposed=False)
        words = "inner products"
        nanoseconds = _expected(words, a, b, out)
        return on_threads(words, emit_dots_on_threads(context, (a, b, out), machine, nanoseconds), nanoseconds)
    if choice.kind == "dot tiles":
        return emit_dot_tiles(context, a, b, out, machine)
    if choice.kind == "packed":
        emit_packed(context, a, b, out, machine, choice.threads)
        return choice.packed_words
    if choice.by_columns:
        b = _copied(context, b, transposed=True)
    if choice.tiling is None:
        words = "streams of rows"
        nanoseconds = _expected(words, a, b, out)
        return on_threads(words, emit_row_on_threads(context, (a, b, out), machine, nanoseconds), nanoseconds)
    words = str(choice.tiling)
    nanoseconds = _expected(words, a, b, out)
    return on_threads(words, emit_tiles_on_threads(context, (a, b, out), choice.tiling, nanoseconds), nanoseconds)


def _expected(how: str, a: Matrix, b: Matrix, out: Matrix) -> float:
    """Return the nanoseconds a product is expected to take one thread, computed as words say."""
    sizes = out.rows, out.columns, a.columns
    assert all(isinstance(size, int) for size in sizes)
    return product_nanoseconds(how, *sizes, out.dtype)


def on_threads(how: str, threads: int, nanoseconds: float) -> str:
    """Return in words how a product is computed on up to so many threads."""
    return with_threads(how, None if threads == 1 else f"up to {threads}, about {nanoseconds / 1000:.0f} µs for one")


def emit_packed_product(
    context: KernelContext, a: Matrix, b: Matrix, out: Matrix, after: gemm_packed.After
) -> str:
    """Emit ``out = a @ b``, for which packing is chosen, with what follows rows that are done."""
    choice = choose_kernel(a, b, out, context.threads)
    assert choice is not None and choice.kind == "packed" and not choice.is_turned
    emit_packed(context, a, b, out, Machine.host(), choice.threads, after)
    return choice.packed_words


def emit_tiles_in_blocks(
    context: KernelContext, operands: tuple[Matrix, Matrix, Matrix], rows: int, blocks: Blocks
) -> str:
    """Emit ``out = a @ b``, block by block of rows, each followed by what is to follow it.

    The product is one for which tiles are chosen, and has the same bits as without blocks. Its ``rows`` are counted by
    the caller: each may stand for several.
    """
    a, b, out = operands
    choice = choose_kernel(a, b, out, context.threads)
    assert choice is not None and choice.tiling is not None and not choice.is_turned
    assert isinstance(out.rows, int)
    unit, tiling = out.rows // rows, choice.tiling
    right = _copied(context, b, transposed=True) if choice.by_columns else b

    def emit_block(inside: KernelContext, arrays: Sequence[ArrayValue], block: Block) -> None:
        left, whole, below = map(Matrix.of, arrays)
        first = inside.builder.mul(block.start, ir.Constant(I64, unit))
        place = inside.builder.mul(block.place, ir.Constant(I64, unit))
        count = block.count * unit
        left, below = _rows(inside, left, first, count), _rows(inside, below, place, count)
        emit_tiles(inside, left, whole, below, tiling.for_rows(count))

    nanoseconds = _expected("", a, b, out)
    threads = emit_in_blocks(context, [one.as_array for one in (a, right, out)], rows, blocks, nanoseconds, emit_block)
    return on_threads(str(tiling), threads, nanoseconds)


def _rows(context: KernelContext, matrix: Matrix, start: Extent, count: int) -> Matrix:
    pointer = offset_pointer(context.builder, matrix.pointer, multiply(context.builder, start, matrix.row_stride))
    return replace(matrix, pointer=pointer, rows=count)


def _is_known(matrix: Matrix) -> bool:
    extents = (matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride)
    return all(isinstance(extent, int) for extent in extents)


def _streams(b: Matrix) -> bool:
    """Return whether columns can be read along memory, and are not more than a library would divide among threads."""
    assert isinstance(b.rows, int) and isinstance(b.columns, int)
    contiguous = b.transposed.has_contiguous_rows or b.rows <= 1
    return contiguous and b.rows * b.columns * item_size(b.dtype) <= STREAMED_BYTES


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
