"""Copies of matrices that are stored by columns to matrices that are stored by rows, through vector registers.

Owns `emit_transposed_copy`. Invariant: square blocks are read by column and turned in registers, the last of which
overlap those before; one routine for each element type does for all sizes, and is compiled once in a process.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.backend.llvm.blas_loops import Matrix, emit_copy
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.values import (
    I32,
    I64,
    POINTER,
    VOID,
    KernelContext,
    as_i64,
    declare,
    item_size,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import vector_type

#: the side of the blocks that are turned in registers
SIDE = 8


def emit_transposed_copy(context: KernelContext, source: Matrix, target: Matrix) -> None:
    """Copy ``source`` to ``target``, which has contiguous rows and overlaps it nowhere."""
    if not source.transposed.has_contiguous_rows:
        emit_copy(context, source, target)
        return
    symbol = f"{HANDWRITTEN}transpose_{source.dtype}"
    parameters = [POINTER, I64, POINTER, I64, I64, I64]

    def emit(module: ir.Module) -> None:
        function = declare(module, symbol, VOID, parameters)
        inner = KernelContext(function, context.python)
        _emit_routine(inner, source.dtype, list(function.args))
        inner.finish()

    load_once((symbol,), emit)
    function = declare(context.module, symbol, VOID, parameters)
    function.attributes.add("nounwind")
    extents = (source.column_stride, target.pointer, target.row_stride, source.rows, source.columns)
    context.builder.call(function, [source.pointer, *map(as_i64, extents)])


def _emit_routine(context: KernelContext, dtype: str, arguments: list[ir.Value]) -> None:
    pointer, column_stride, target_pointer, row_stride, rows, columns = arguments
    for argument in (pointer, target_pointer):
        argument.add_attribute("noalias")
    size, builder = item_size(dtype), context.builder
    source = Matrix(dtype, pointer, rows, columns, size, column_stride)
    target = Matrix(dtype, target_pointer, rows, columns, row_stride, size)
    side = ir.Constant(I64, SIDE)
    enough = [builder.icmp_signed(">=", extent, side) for extent in (rows, columns)]
    with builder.if_else(builder.and_(*enough), likely=True) as (squares, few):
        with squares:
            down, across = (_blocks(context.builder, extent) for extent in (rows, columns))
            with context.loop(across) as right, context.loop(down) as below:
                row, column = (_start(context.builder, *one) for one in ((below, rows), (right, columns)))
                _emit_block(context, source, target, row, column)
        with few:
            emit_copy(context, source, target, kept=True)  # so little that vectors would not be worth compiling


def _blocks(builder: ir.IRBuilder, extent: ir.Value) -> ir.Value:
    return builder.sdiv(builder.add(extent, ir.Constant(I64, SIDE - 1)), ir.Constant(I64, SIDE))


def _start(builder: ir.IRBuilder, number: ir.Value, extent: ir.Value) -> ir.Value:
    """Return where a block begins: the last one where it fits, so it copies again some of what is copied already."""
    start, last = builder.mul(number, ir.Constant(I64, SIDE)), builder.sub(extent, ir.Constant(I64, SIDE))
    return builder.select(builder.icmp_signed("<", start, last), start, last)


def _emit_block(context: KernelContext, source: Matrix, target: Matrix, row: ir.Value, column: ir.Value) -> None:
    """Emit the turning of a square: contiguous columns become contiguous rows."""
    builder, align = context.builder, item_size(source.dtype)
    type_ = vector_type(source.dtype, SIDE)
    first = source.element(builder, row, column)
    columns = []
    for number in range(SIDE):
        moved = builder.mul(ir.Constant(I64, number), as_i64(source.column_stride))
        columns.append(builder.load(offset_pointer(builder, first, moved), typ=type_, align=align))
    first = target.element(builder, row, column)
    for number, turned in enumerate(_turned(builder, columns)):
        moved = builder.mul(ir.Constant(I64, number), as_i64(target.row_stride))
        builder.store(turned, offset_pointer(builder, first, moved), align=align)


def _turned(builder: ir.IRBuilder, vectors: list[ir.Value]) -> list[ir.Value]:
    """Return the columns of a square matrix given by rows: perfect shuffles, as many as its side has bits."""
    half = SIDE // 2
    low = [n // 2 + SIDE * (n % 2) for n in range(SIDE)]
    masks = [ir.Constant(ir.VectorType(I32, SIDE), [n + more for n in low]) for more in (0, half)]
    for _ in range(SIDE.bit_length() - 1):
        vectors = [builder.shuffle_vector(vectors[n], vectors[n + half], mask) for n in range(half) for mask in masks]
    return vectors
