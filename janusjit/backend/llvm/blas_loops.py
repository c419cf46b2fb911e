"""Matrix products by loops.

Owns `Matrix` and `emit_loop_product`: for element types BLAS does not know, sizes too small to be worth a call, and
whatever BLAS refuses. Invariant: any strides will do, and integers wrap as NumPy's do.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.values import (
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    item_size,
    load,
    multiply,
    offset_pointer,
    register_type,
    store,
)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A rank-2 view of memory; strides in bytes."""

    dtype: str
    pointer: ir.Value
    rows: Extent
    columns: Extent
    row_stride: Extent
    column_stride: Extent

    @staticmethod
    def of(array: ArrayValue) -> Matrix:
        """Return an array of rank 2 as a matrix."""
        return Matrix(array.dtype, array.pointer, *array.dims, *array.strides)

    @property
    def as_array(self) -> ArrayValue:
        """The same memory as an array."""
        return ArrayValue(self.dtype, self.pointer, (self.rows, self.columns), (self.row_stride, self.column_stride))

    @property
    def transposed(self) -> Matrix:
        """The same memory with rows and columns exchanged."""
        return Matrix(self.dtype, self.pointer, self.columns, self.rows, self.column_stride, self.row_stride)

    @property
    def has_contiguous_rows(self) -> bool:
        """Whether neighbours in a row are known to be neighbours in memory."""
        return self.column_stride == item_size(self.dtype)

    def element(self, builder: ir.IRBuilder, row: Extent, column: Extent) -> ir.Value:
        """Return the address of an element."""
        pointer = offset_pointer(builder, self.pointer, multiply(builder, row, self.row_stride))
        return offset_pointer(builder, pointer, multiply(builder, column, self.column_stride))


def _zero(dtype: str) -> Scalar:
    return Scalar(dtype, ir.Constant(register_type(dtype), 0))


def _multiply_add(builder: ir.IRBuilder, dtype: str, a: ir.Value, b: ir.Value, c: ir.Value) -> Scalar:
    """Return ``a * b + c`` in the arithmetic of ``dtype``; a float sum may be rounded once and reordered."""
    if dtype == "bool":
        return Scalar(dtype, builder.or_(builder.and_(a, b), c))
    if dtype in ("f32", "f64"):
        freedom = ("reassoc", "contract")
        return Scalar(dtype, builder.fadd(builder.fmul(a, b, flags=freedom), c, flags=freedom))
    return Scalar(dtype, builder.add(builder.mul(a, b), c))


def emit_zero(context: KernelContext, out: Matrix) -> None:
    """Set every element of ``out`` to zero."""
    with context.loop(out.rows) as row, context.loop(out.columns) as column:
        store(context.builder, _zero(out.dtype), out.element(context.builder, row, column))


def emit_copy(context: KernelContext, source: Matrix, target: Matrix, kept: bool = False) -> None:
    """Copy a matrix element by element, in loops that LLVM is to keep as they are if they are ``kept``."""
    with context.loop(source.rows, kept=kept) as row, context.loop(source.columns, kept=kept) as column:
        value = load(context.builder, source.dtype, source.element(context.builder, row, column))
        store(context.builder, value, target.element(context.builder, row, column))


def emit_loop_product(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, accumulate: bool = False) -> None:
    """Emit ``out = a @ b``, or ``out += a @ b``.

    The innermost loop runs along rows of ``b`` and ``out`` where these are contiguous in memory, and along the
    dimension summed over otherwise.
    """
    if b.has_contiguous_rows and out.has_contiguous_rows and out.columns != 1:
        _row_updates(context, a, b, out, accumulate)
    elif a.transposed.has_contiguous_rows and out.transposed.has_contiguous_rows and out.rows != 1:
        _row_updates(context, b.transposed, a.transposed, out.transposed, accumulate)
    else:
        _inner_products(context, a, b, out, accumulate)


def _row_updates(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, accumulate: bool) -> None:
    if not accumulate:
        emit_zero(context, out)
    with context.loop(out.rows) as row, context.loop(a.columns) as inner:
        factor = load(context.builder, a.dtype, a.element(context.builder, row, inner))
        with context.loop(out.columns) as column:
            builder = context.builder
            target = out.element(builder, row, column)
            value = load(builder, b.dtype, b.element(builder, inner, column))
            total = load(builder, out.dtype, target)
            store(builder, _multiply_add(builder, out.dtype, factor.value, value.value, total.value), target)


def _inner_products(context: KernelContext, a: Matrix, b: Matrix, out: Matrix, accumulate: bool) -> None:
    total = context.stack_slot(register_type(out.dtype))
    with context.loop(out.rows) as row, context.loop(out.columns) as column:
        builder = context.builder
        target = out.element(builder, row, column)
        builder.store(load(builder, out.dtype, target).value if accumulate else _zero(out.dtype).value, total)
        with context.loop(a.columns) as inner:
            builder = context.builder
            left = load(builder, a.dtype, a.element(builder, row, inner))
            right = load(builder, b.dtype, b.element(builder, inner, column))
            so_far = builder.load(total, typ=register_type(out.dtype))
            builder.store(_multiply_add(builder, out.dtype, left.value, right.value, so_far).value, total)
        result = context.builder.load(total, typ=register_type(out.dtype))
        store(context.builder, Scalar(out.dtype, result), target)
