"""Matrix products of any layout through BLAS.

Owns the functions that stand between row-major, arbitrarily strided matrices and Fortran BLAS, each compiled once in a
process. Invariant: every size (zero included) and every stride of the operands (zero and negative included) gives
the product; operands that BLAS cannot address are copied first, and sizes past its 32-bit integers are done by loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.blas_library import blas_routine
from janusjit.backend.llvm.blas_loops import Matrix, emit_copy, emit_loop_product, emit_zero
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import (
    I1,
    I8,
    I64,
    POINTER,
    VOID,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    declare,
    item_size,
    load,
    register_type,
    store,
)


def emit_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, accumulate: bool) -> None:
    """Emit ``out = a @ b`` or ``out += a @ b`` as a call of the routine for operands of this kind.

    ``out`` has contiguous rows; with a single row or column, its elements lie at increasing addresses.
    """
    if out.rows == 1 and out.columns == 1:
        kind = "dot"
    elif out.columns == 1:
        kind = "gemv"
    elif out.rows == 1:
        kind, a, b, out = "gemv", b.transposed, a.transposed, out.transposed
    else:
        kind = "gemm"
    function = _routine(context, kind, out.dtype, accumulate)
    extents: list[Extent | ir.Value] = [a.pointer, a.row_stride, a.column_stride]
    extents += [b.pointer, b.row_stride, b.column_stride, out.pointer, out.row_stride, out.column_stride]
    extents += [out.rows, out.columns, a.columns]
    context.note_memory()  # for copies of operands whose strides it cannot have
    context.builder.call(function, [as_i64(extent) for extent in extents])


def _routine(context: KernelContext, kind: str, dtype: str, accumulate: bool) -> ir.Function:
    symbol = f"janusjit_{kind}_{dtype}{'_accumulate' if accumulate else ''}"
    parameters = [*[POINTER, I64, I64] * 3, I64, I64, I64]

    def emit(module: ir.Module) -> None:
        function = declare(module, symbol, VOID, parameters)
        inner = KernelContext(function, context.python)
        values = function.args
        rows, columns, depth = values[9:]
        a = Matrix(dtype, values[0], rows, depth, values[1], values[2])
        b = Matrix(dtype, values[3], depth, columns, values[4], values[5])
        stride = item_size(dtype) if kind == "gemm" else values[8]
        out = Matrix(dtype, values[6], rows, columns, values[7], stride)
        _emit_sizes(inner, kind, a, b, out, accumulate)
        inner.finish()

    load_once((symbol,), emit, level=1)  # all but the call of BLAS is for rare cases
    function = declare(context.module, symbol, VOID, parameters)
    function.attributes.add("nounwind")
    return function


def _emit_sizes(context: KernelContext, kind: str, a: Matrix, b: Matrix, out: Matrix, accumulate: bool) -> None:
    """Emit a routine's body: a sum over nothing is zero, and products without elements are not BLAS's business."""
    builder = context.builder
    has_elements = builder.icmp_signed("!=", builder.mul(as_i64(out.rows), as_i64(out.columns)), ir.Constant(I64, 0))
    emit_blas = {"gemm": _emit_gemm, "gemv": _emit_gemv, "dot": _emit_dot}[kind]
    with builder.if_then(has_elements), builder.if_else(_equal(builder, a.columns, 0)) as (nothing, something):
        with nothing:
            if not accumulate:
                emit_zero(context, out)
        with something:
            routine = blas_routine(context.module, kind, out.dtype)
            if routine is None:
                emit_loop_product(context, a, b, out, accumulate)
            else:
                emit_blas(context, routine, a, b, out, accumulate)


def _emit_gemm(
    context: KernelContext, routine: ir.Function, a: Matrix, b: Matrix, out: Matrix, accumulate: bool
) -> None:
    builder = context.builder
    left, right = _addressable_matrix(context, a), _addressable_matrix(context, b)
    sizes = [as_i64(size) for size in (out.columns, out.rows, a.columns)]
    sizes += [right.leading, left.leading, _leading(builder, out)]
    usable = builder.and_(_is_row_major(builder, out), _fit_32_bits(builder, sizes))
    with builder.if_else(usable) as (fit, large):
        with fit:
            columns, rows, depth, *leading = [_integer(context, size) for size in sizes]
            # BLAS sees row-major matrices transposed, and computes out.T = b.T @ a.T
            flags = [_flag(context, right, "N", "T"), _flag(context, left, "N", "T")]
            factors = [_real(context, out.dtype, 1.0), _real(context, out.dtype, float(accumulate))]
            arguments = [*flags, columns, rows, depth, factors[0], right.pointer, leading[0], left.pointer, leading[1]]
            builder.call(routine, [*arguments, factors[1], out.pointer, leading[2]])
        with large:
            emit_loop_product(context, a, b, out, accumulate)


def _emit_gemv(
    context: KernelContext, routine: ir.Function, a: Matrix, b: Matrix, out: Matrix, accumulate: bool
) -> None:
    builder = context.builder
    matrix, vector = _addressable_matrix(context, a), _addressable_vector(context, b)
    # a row-major matrix is, to BLAS, its transpose
    stored_rows = builder.select(matrix.is_row_major, as_i64(a.columns), as_i64(a.rows))
    stored_columns = builder.select(matrix.is_row_major, as_i64(a.rows), as_i64(a.columns))
    sizes = [stored_rows, stored_columns, matrix.leading, vector.leading, _step(builder, out)]
    with builder.if_else(_fit_32_bits(builder, sizes)) as (fit, large):
        with fit:
            rows, columns, leading, step, out_step = [_integer(context, size) for size in sizes]
            factors = [_real(context, out.dtype, 1.0), _real(context, out.dtype, float(accumulate))]
            arguments = [_flag(context, matrix, "T", "N"), rows, columns, factors[0], matrix.pointer, leading]
            builder.call(routine, [*arguments, vector.pointer, step, factors[1], out.pointer, out_step])
        with large:
            emit_loop_product(context, a, b, out, accumulate)


def _emit_dot(
    context: KernelContext, routine: ir.Function, a: Matrix, b: Matrix, out: Matrix, accumulate: bool
) -> None:
    builder = context.builder
    left, right = _addressable_vector(context, a.transposed), _addressable_vector(context, b)
    sizes = [as_i64(a.columns), left.leading, right.leading]
    with builder.if_else(_fit_32_bits(builder, sizes)) as (fit, large):
        with fit:
            count, left_step, right_step = [_integer(context, size) for size in sizes]
            total = builder.call(routine, [count, left.pointer, left_step, right.pointer, right_step])
            if accumulate:
                total = builder.fadd(load(builder, out.dtype, out.pointer).value, total)
            store(builder, Scalar(out.dtype, total), out.pointer)
        with large:
            emit_loop_product(context, a, b, out, accumulate)


@dataclass(frozen=True, slots=True)
class _Addressable:
    """An operand as BLAS can address it.

    ``leading`` is the number of elements from row to row if ``is_row_major``, else from column to column.
    """

    pointer: ir.Value
    is_row_major: ir.Value
    leading: ir.Value


def _addressable_matrix(context: KernelContext, matrix: Matrix) -> _Addressable:
    builder = context.builder
    by_row, by_column = _is_row_major(builder, matrix), _is_row_major(builder, matrix.transposed)
    leading = builder.select(by_row, _leading(builder, matrix), _leading(builder, matrix.transposed))
    as_it_is = _Addressable(matrix.pointer, by_row, leading)
    return _copied_unless(context, builder.or_(by_row, by_column), matrix, as_it_is)


def _addressable_vector(context: KernelContext, column: Matrix) -> _Addressable:
    """Return a matrix of one column as a vector with ``leading`` elements, more than none, between neighbours."""
    builder = context.builder
    positive = builder.icmp_signed(">", as_i64(column.row_stride), ir.Constant(I64, 0))
    single = _equal(builder, column.rows, 1)
    as_it_is = _Addressable(column.pointer, ir.Constant(I1, 1), _step(builder, column))
    return _copied_unless(context, builder.or_(positive, single), column, as_it_is)


def _copied_unless(context: KernelContext, usable: ir.Value, matrix: Matrix, as_it_is: _Addressable) -> _Addressable:
    """Return ``as_it_is`` if ``usable``, else a row-major copy of the matrix."""
    builder = context.builder
    types = (POINTER, I1, I64)
    slots = [context.stack_slot(type_, align=8) for type_ in types]
    for slot, value in zip(slots, (as_it_is.pointer, as_it_is.is_row_major, as_it_is.leading), strict=True):
        builder.store(value, slot)
    with builder.if_then(builder.not_(usable), likely=False):
        copy = context.scratch(matrix.dtype, (matrix.rows, matrix.columns))
        row_stride, column_stride = copy.strides
        target = Matrix(matrix.dtype, copy.pointer, matrix.rows, matrix.columns, row_stride, column_stride)
        emit_copy(context, matrix, target)
        for slot, value in zip(slots, (copy.pointer, ir.Constant(I1, 1), as_i64(matrix.columns)), strict=True):
            builder.store(value, slot)
    return _Addressable(*(builder.load(slot, typ=type_) for slot, type_ in zip(slots, types, strict=True)))


def _equal(builder: ir.IRBuilder, extent: Extent, number: int) -> ir.Value:
    return builder.icmp_signed("==", as_i64(extent), ir.Constant(I64, number))


def _elements(builder: ir.IRBuilder, stride: Extent, dtype: str) -> ir.Value:
    """Return a stride as a number of elements."""
    return builder.sdiv(as_i64(stride), ir.Constant(I64, item_size(dtype)), flags=("exact",))


def _is_row_major(builder: ir.IRBuilder, matrix: Matrix) -> ir.Value:
    """Return whether rows are contiguous and follow each other without overlap; a stride over one element is free."""
    size, columns = ir.Constant(I64, item_size(matrix.dtype)), as_i64(matrix.columns)
    contiguous = builder.icmp_signed("==", as_i64(matrix.column_stride), size)
    apart = builder.icmp_signed(">=", as_i64(matrix.row_stride), builder.mul(columns, size))
    return builder.and_(
        builder.or_(contiguous, _equal(builder, columns, 1)), builder.or_(apart, _equal(builder, matrix.rows, 1))
    )


def _leading(builder: ir.IRBuilder, matrix: Matrix) -> ir.Value:
    """Return the elements from row to row of a row-major matrix: a single row's own length, whatever its stride."""
    single = _equal(builder, matrix.rows, 1)
    return builder.select(single, as_i64(matrix.columns), _elements(builder, matrix.row_stride, matrix.dtype))


def _step(builder: ir.IRBuilder, column: Matrix) -> ir.Value:
    """Return the elements between neighbours of a column: 1 for a single element, whatever its stride."""
    single = _equal(builder, column.rows, 1)
    return builder.select(single, ir.Constant(I64, 1), _elements(builder, column.row_stride, column.dtype))


def _fit_32_bits(builder: ir.IRBuilder, sizes: Sequence[ir.Value]) -> ir.Value:
    fit: ir.Value = ir.Constant(I1, 1)
    for size in sizes:
        fit = builder.and_(fit, builder.icmp_unsigned("<=", size, ir.Constant(I64, (1 << 31) - 1)))
    return fit


def _by_address(context: KernelContext, value: ir.Value) -> ir.Value:
    """Return the address of a stack slot that holds ``value``, as Fortran passes arguments."""
    slot = context.stack_slot(value.type, align=8)
    context.builder.store(value, slot)
    return slot


def _integer(context: KernelContext, value: ir.Value) -> ir.Value:
    return _by_address(context, value)  # 64 bits: see `janusjit.backend.llvm.blas_library`


def _real(context: KernelContext, dtype: str, value: float) -> ir.Value:
    return _by_address(context, ir.Constant(register_type(dtype), value))


def _flag(context: KernelContext, operand: _Addressable, row_major: str, column_major: str) -> ir.Value:
    letters = [ir.Constant(I8, ord(letter)) for letter in (row_major, column_major)]
    return _by_address(context, context.builder.select(operand.is_row_major, *letters))
