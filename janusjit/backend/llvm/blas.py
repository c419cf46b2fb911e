"""Matrix products.

Owns `emit_matmul`: NumPy's ``matmul`` for operands of every rank, layout and element type, and the same by blocks of
rows, with what follows each block. Invariant: which way a
product is computed (BLAS or loops) is decided here, from the element type and the sizes known at compile time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from janusjit.backend.epilogues import ByRows
from janusjit.backend.llvm.blas_loops import Matrix, emit_copy, emit_loop_product
from janusjit.backend.llvm.blas_routines import emit_product
from janusjit.backend.llvm.divided_work import Units, emit_divided, is_worth_dividing, threads_for
from janusjit.backend.llvm.gemm import (
    choose_kernel,
    emit_known_product,
    emit_packed_product,
    emit_tiles_in_blocks,
    on_threads,
    own_nanoseconds,
)
from janusjit.backend.llvm.gemm_packed import RIGHT_COLUMNS, After, packed_block, packed_depth
from janusjit.backend.llvm.row_blocks import Block, Blocks, emit_in_blocks
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, item_size, multiply, offset_pointer

#: products of up to this many multiplications are faster as inline loops than as calls of BLAS
LOOP_LIMIT = 128


def emit_matmul(
    context: KernelContext, a: ArrayValue, b: ArrayValue, out: ArrayValue, accumulate: bool = False
) -> str:
    """Emit ``out[...] = a @ b``, or ``out += a @ b``; return how, in words.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    a, b : ArrayValue
        Operands of one element type and of rank 1 or more, whose shapes ``numpy.matmul`` accepts.
    out : ArrayValue
        Of the result's shape (rank 0 for two vectors); overlaps neither operand.
    accumulate : bool
        Add to what ``out`` holds.
    """
    a_is_vector, b_is_vector = a.rank == 1, b.rank == 1
    if a_is_vector:
        a = replace(a, dims=(1, *a.dims), strides=(item_size(a.dtype), *a.strides))
        out = _insert_axis(out, out.rank - (0 if b_is_vector else 1))
    if b_is_vector:
        b = replace(b, dims=(*b.dims, 1), strides=(*b.strides, item_size(b.dtype)))
        out = _insert_axis(out, out.rank)
    a, out = _merge_batch_into_rows(context.builder, a, b, out)
    if out.rank > 2 and context.threads > 1 and not accumulate:
        return _emit_batches_on_threads(context, a, b, out)
    return _emit_batches(context, a, b, out, accumulate)


def _insert_axis(array: ArrayValue, position: int) -> ArrayValue:
    dims, strides = list(array.dims), list(array.strides)
    dims.insert(position, 1)
    strides.insert(position, item_size(array.dtype))
    return replace(array, dims=tuple(dims), strides=tuple(strides))


def by_rows(a: ArrayValue, b: ArrayValue, out: ArrayValue, threads: int = 1) -> ByRows | None:
    """Return how ``out = a @ b`` is computed by rows, those along the first axis; None if it is not.

    All are of rank 2 or more. Addresses do not matter.
    """
    first, columns, rank = out.dims[0], out.dims[-1], out.rank
    merged, below = _merge_batch_into_rows(None, a, b, out)
    if below.rank > 2 and b.rank == 2:
        return None
    operands = (replace(one, dims=one.dims[-2:], strides=one.strides[-2:]) for one in (merged, b, below))
    left, right, result = map(Matrix.of, operands)
    choice = choose_kernel(left, right, result, threads)
    if choice is None or choice.is_turned or first == 0:
        return None
    if choice.kind == "packed":
        assert isinstance(columns, int) and isinstance(left.columns, int) and isinstance(result.row_stride, int)
        block, whole = packed_block(out.dtype, result.row_stride), left.columns > packed_depth(out.dtype, columns)
        return ByRows(1, block, True, whole, choice.threads) if rank == 2 and columns <= RIGHT_COLUMNS else None
    if choice.tiling is None:
        return None
    nanoseconds = _batch_nanoseconds(merged, b, below)
    of_use = threads_for(first, nanoseconds, threads) if isinstance(first, int) else 1
    return ByRows(choice.tiling.rows if rank == 2 else 1, threads=of_use)


def emit_matmul_and(
    context: KernelContext, operands: tuple[ArrayValue, ArrayValue, ArrayValue], after: After
) -> str:
    """Emit ``out = a @ b`` for operands of a product that `by_rows` says is packed, with what follows rows done."""
    a, b, out = (Matrix.of(operand) for operand in operands)
    return emit_packed_product(context, a, b, out, after)


def emit_matmul_in_blocks(
    context: KernelContext, operands: tuple[ArrayValue, ArrayValue, ArrayValue], blocks: Blocks
) -> str:
    """Emit ``out = a @ b`` for operands that `by_rows` has been asked about, block by block of rows.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    operands : tuple of ArrayValue
        ``a``, ``b`` and ``out``.
    blocks : Blocks
        How many rows a block has, and what follows each.
    """
    a, b, out = operands
    rows = out.dims[0]
    merged, below = _merge_batch_into_rows(context.builder, a, b, out)
    assert isinstance(rows, int)
    if below.rank == 2:
        return emit_tiles_in_blocks(context, (Matrix.of(merged), Matrix.of(b), Matrix.of(below)), rows, blocks)
    chosen = ""

    def emit_block(inside: KernelContext, arrays: Sequence[ArrayValue], block: Block) -> None:
        nonlocal chosen
        left, right, target = arrays
        right = right if right.dims[0] == 1 else _part(inside, right, block.start, block.count)
        left = _part(inside, left, block.start, block.count)
        chosen = _emit_batches(inside, left, right, _part(inside, target, block.place, block.count), accumulate=False)

    nanoseconds = _batch_nanoseconds(a, b, out)
    threads = emit_in_blocks(context, operands, rows, blocks, nanoseconds, emit_block)
    return on_threads(chosen, threads, nanoseconds)


def _part(context: KernelContext, array: ArrayValue, start: Extent, count: int) -> ArrayValue:
    """Return ``count`` rows along the first axis."""
    pointer = offset_pointer(context.builder, array.pointer, multiply(context.builder, start, array.strides[0]))
    return replace(array, pointer=pointer, dims=(count, *array.dims[1:]))


def _merge_batch_into_rows(
    builder: ir.IRBuilder, a: ArrayValue, b: ArrayValue, out: ArrayValue
) -> tuple[ArrayValue, ArrayValue]:
    """Make one product of a batch that multiplies a single matrix from the left, where its rows follow each other."""
    while b.rank == 2 and a.rank > 2 and _rows_follow(a) and _rows_follow(out):
        a, out = _merged(builder, a), _merged(builder, out)
    return a, out


def _rows_follow(array: ArrayValue) -> bool:
    outer, inner, rows = array.strides[-3], array.strides[-2], array.dims[-2]
    return all(isinstance(extent, int) for extent in (outer, inner, rows)) and outer == inner * rows


def _merged(builder: ir.IRBuilder, array: ArrayValue) -> ArrayValue:
    rows = multiply(builder, array.dims[-3], array.dims[-2])
    dims, strides = (*array.dims[:-3], rows, array.dims[-1]), (*array.strides[:-3], *array.strides[-2:])
    return replace(array, dims=dims, strides=strides)


def _emit_batches(context: KernelContext, a: ArrayValue, b: ArrayValue, out: ArrayValue, accumulate: bool) -> str:
    """Emit a loop over the first batch dimension of ``out``, to which the operands' are broadcast."""
    if out.rank == 2:
        return _emit_matrices(context, Matrix.of(a), Matrix.of(b), Matrix.of(out), accumulate)
    with context.loop(out.dims[0]) as index:
        parts = [_batch_element(context, operand, index, out.rank) for operand in (a, b, out)]
        return _emit_batches(context, parts[0], parts[1], parts[2], accumulate)


def _batch_nanoseconds(a: ArrayValue, b: ArrayValue, out: ArrayValue) -> float:
    """Return what the products of a batch are expected to take one thread; 0 if they are not our own, or not known."""
    batch = 1
    for extent in out.dims[:-2]:
        batch = batch * extent if isinstance(extent, int) else 0
    operands = (replace(one, dims=one.dims[-2:], strides=one.strides[-2:]) for one in (a, b, out))
    return batch * (own_nanoseconds(*map(Matrix.of, operands)) or 0.0)


def _emit_batches_on_threads(context: KernelContext, a: ArrayValue, b: ArrayValue, out: ArrayValue) -> str:
    """Emit the products of a batch, which are divided among threads where that pays."""
    first = ir.Constant(I64, 0)
    while out.rank > 3 and out.dims[0] == 1:
        a, b, out = (_batch_element(context, one, first, out.rank) for one in (a, b, out))
    nanoseconds = _batch_nanoseconds(a, b, out)
    if not is_worth_dividing(nanoseconds):
        return _emit_batches(context, a, b, out, accumulate=False)
    chosen = ""

    def body(inside: KernelContext, arrays: Sequence[ArrayValue], some: Units) -> None:
        nonlocal chosen
        with inside.loop(some.count) as number:
            index = inside.builder.add(some.start, number)
            left, right, target = (_batch_element(inside, one, index, out.rank) for one in arrays)
            chosen = _emit_batches(inside, left, right, target, accumulate=False)

    limit = emit_divided(context, out.dims[0], nanoseconds, (a, b, out), body)
    return on_threads(chosen, limit, nanoseconds)


def _batch_element(context: KernelContext, array: ArrayValue, index: Extent, rank: int) -> ArrayValue:
    if array.rank < rank:
        return array
    offset = 0 if array.dims[0] == 1 else multiply(context.builder, index, array.strides[0])
    pointer = offset_pointer(context.builder, array.pointer, offset)
    return replace(array, pointer=pointer, dims=array.dims[1:], strides=array.strides[1:])


def _emit_matrices(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, accumulate: bool) -> str:
    chosen = None if accumulate else emit_known_product(context, a, b, out)
    if chosen is not None:
        return chosen
    if out.dtype not in ("f32", "f64") or _is_small(out, a.columns):
        emit_loop_product(context, a, b, out, accumulate)
        return "loops"
    if _is_addressable(out):
        emit_product(context, a, b, out, accumulate)
    elif _is_addressable(out.transposed):
        emit_product(context, b.transposed, a.transposed, out.transposed, accumulate)
    else:
        fresh = Matrix.of(context.scratch(out.dtype, (out.rows, out.columns)))
        if accumulate:
            emit_copy(context, out, fresh)
        emit_product(context, a, b, fresh, accumulate)
        emit_copy(context, fresh, out)
    return "BLAS"


def _is_small(out: Matrix, depth: Extent) -> bool:
    sizes = (out.rows, out.columns, depth)
    if not all(isinstance(size, int) for size in sizes):
        return False
    return out.rows * out.columns * depth <= LOOP_LIMIT or depth == 1


def _is_addressable(out: Matrix) -> bool:
    """Return whether BLAS can write to the matrix: its rows are contiguous, or it is a vector of positive stride."""
    if out.rows == 1 and out.columns == 1:
        return True
    if out.rows == 1 or out.columns == 1:
        stride = out.row_stride if out.columns == 1 else out.column_stride
        return isinstance(stride, int) and stride > 0
    if isinstance(out.row_stride, int) and isinstance(out.columns, int):
        return out.has_contiguous_rows and out.row_stride >= out.columns * item_size(out.dtype)
    return out.has_contiguous_rows  # whether rows overlap or run backwards is seen when the product is made
