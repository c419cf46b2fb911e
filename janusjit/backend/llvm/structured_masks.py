"""Kernels that go by masks: ``compress``, ``nonzero``, and setting elements one after the other where a mask is true.

Whether an element is chosen is no branch, which data without order would mispredict: each is written where the next
chosen one goes, and the place moves on by the mask. AVX-512 does vectors of elements at a time. Invariant: nothing is
read or written beyond the places of chosen elements, because rows end where all of them have been found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.indexing import Index, at, copy_elements, load_at, nest
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    load,
    store,
)
from janusjit.backend.llvm.vectors import load_vector, vector_type, zeros
from janusjit.ir.graph import Node

Arrays = Sequence[ArrayValue]

ZERO = ir.Constant(I64, 0)
#: bytes of the vectors for which there are such instructions
VECTOR = 64


def _truth(context: KernelContext, array: ArrayValue, index: Index) -> ir.Value:
    """Return 1 if an element is not zero, else 0."""
    scalar = load(context.builder, array.dtype, element_pointer(context.builder, array, index))
    return context.builder.zext(LLVMScalarEmitter(context.builder).cast(scalar, "bool").value, I64)


def count_true(context: KernelContext, array: ArrayValue) -> ir.Value:
    """Emit the number of elements that are not zero."""
    count = context.stack_slot(I64)
    context.builder.store(ZERO, count)
    with nest(context, array.dims) as index:
        builder = context.builder
        one = _truth(context, array, index)
        builder.store(builder.add(builder.load(count, typ=I64), one), count)
    return context.builder.load(count, typ=I64)


def count_compress(context: KernelContext, node: Node, inputs: Arrays) -> ir.Value:
    """Emit the length of the result of ``compress``."""
    return count_true(context, inputs[1])


def count_nonzero(context: KernelContext, node: Node, inputs: Arrays) -> ir.Value:
    """Emit the length of the results of ``nonzero``."""
    return count_true(context, inputs[0])


def emit_compress(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``compress``: what the mask selects, one behind the other."""
    (x, mask), (out,) = inputs, outputs
    cursor = _Cursor(context, out.dims[0])
    if x.rank > mask.rank:
        with nest(context, mask.dims) as index, context.builder.if_then(load_at(context, mask, index)):
            copy_elements(context, at(context, x, index), at(context, out, (cursor.step(),)))
        return
    mask, x = _flattened(mask, x)
    with nest(context, mask.dims[:-1]) as outer:
        row, source = at(context, mask, outer), at(context, x, outer)
        cursor.begin_row()
        if item_size(x.dtype) >= 4 and _go_by_vectors(row, source, out):
            _emit_compressed_vectors(cursor, row, source, out)
        with cursor.walk(row.dims[0]) as index:
            value = load(context.builder, x.dtype, element_pointer(context.builder, source, (index,)))
            store(context.builder, value, element_pointer(context.builder, out, (cursor.position(),)))
            cursor.move(_truth(context, row, (index,)))


def emit_nonzero(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``nonzero``: the indices of the elements that are not zero, one array a dimension."""
    (x,) = inputs
    cursor = _Cursor(context, outputs[0].dims[0])
    with nest(context, x.dims[:-1]) as outer:
        row = at(context, x, outer)
        cursor.begin_row()
        if _go_by_vectors(row, *outputs):
            _emit_vectors_of_indices(cursor, row, outer, outputs)
        with cursor.walk(row.dims[0]) as index:
            position = cursor.position()
            for number, out in zip((*outer, index), outputs, strict=True):
                place = element_pointer(context.builder, out, (position,))
                store(context.builder, Scalar("i64", number), place)
            cursor.move(_truth(context, row, (index,)))


def set_in_order(context: KernelContext, mask: ArrayValue, values: ArrayValue, out: ArrayValue) -> None:
    """Emit the setting of what a mask with as many true elements selects to the values, one after the other."""
    cursor = _Cursor(context, values.dims[0])
    if out.rank > mask.rank:
        with nest(context, mask.dims) as index, context.builder.if_then(load_at(context, mask, index)):
            copy_elements(context, at(context, values, (cursor.step(),)), at(context, out, index))
        return
    mask, out = _flattened(mask, out)
    with nest(context, mask.dims[:-1]) as outer:
        row, target = at(context, mask, outer), at(context, out, outer)
        cursor.begin_row()
        with cursor.walk(row.dims[0]) as index:
            builder = context.builder
            place = element_pointer(builder, target, (index,))
            new, old = load_at(context, values, (cursor.position(),)), load(builder, out.dtype, place).value
            chosen = load_at(context, row, (index,))
            store(builder, Scalar(out.dtype, builder.select(chosen, new, old)), place)
            cursor.move(builder.zext(chosen, I64))


def _flattened(mask: ArrayValue, x: ArrayValue) -> tuple[ArrayValue, ArrayValue]:
    """Return arrays of one shape with dimensions of known sizes merged that both have in memory as one."""
    pair = [(list(array.dims), list(array.strides)) for array in (mask, x)]
    for axis in reversed(range(mask.rank - 1)):
        if all(_is_one_walk(dims, strides, axis) for dims, strides in pair):
            for dims, strides in pair:
                dims[axis : axis + 2] = [_known(dims[axis]) * _known(dims[axis + 1])]
                strides[axis : axis + 2] = [strides[axis + 1]]
    merged = [
        ArrayValue(array.dtype, array.pointer, tuple(dims), tuple(strides))
        for array, (dims, strides) in zip((mask, x), pair, strict=True)
    ]
    return merged[0], merged[1]


def _is_one_walk(dims: Sequence[Extent], strides: Sequence[Extent], axis: int) -> bool:
    extents = (dims[axis], dims[axis + 1], strides[axis], strides[axis + 1])
    known = all(isinstance(extent, int) for extent in extents)
    return known and _known(strides[axis]) == _known(strides[axis + 1]) * _known(dims[axis + 1])


def _known(extent: Extent) -> int:
    assert isinstance(extent, int)
    return extent


def _is_dense(row: ArrayValue) -> bool:
    return row.strides == (item_size(row.dtype),)


def _go_by_vectors(*rows: ArrayValue) -> bool:
    """Return whether there is an instruction that moves the chosen elements of a vector together."""
    return engine.vector_bytes() == VECTOR and all(map(_is_dense, rows))


class _Cursor:
    """Where the next chosen element goes, of ``count``, and which element of a row is next."""

    def __init__(self, context: KernelContext, count: Extent) -> None:
        self.context = context
        self._count = as_i64(count)
        self._position, self._index = context.stack_slot(I64), context.stack_slot(I64)
        context.builder.store(ZERO, self._position)

    def begin_row(self) -> None:
        """Emit the return to the first element."""
        self.context.builder.store(ZERO, self._index)

    def position(self) -> ir.Value:
        """Return the place."""
        return self.context.builder.load(self._position, typ=I64)

    def move(self, steps: ir.Value) -> None:
        """Emit a move of the place."""
        self.context.builder.store(self.context.builder.add(self.position(), steps), self._position)

    def step(self) -> ir.Value:
        """Emit a move by one; return the place before it."""
        position = self.position()
        self.move(ir.Constant(I64, 1))
        return position

    @contextmanager
    def walk(self, size: Extent, lanes: int = 1) -> Iterator[ir.Value]:
        """Emit a loop over so many elements at a time while there are as many and there is room for as many.

        The ``with`` body emits the loop's, given the first one's index; it moves the place.
        """
        context, builder, stride = self.context, self.context.builder, ir.Constant(I64, lanes)
        head, body, after = (context.function.append_basic_block(name) for name in ("walk", "element", "walked"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.load(self._index, typ=I64)
        following = builder.add(index, stride, flags=("nsw",))
        inside = builder.icmp_signed("<=", following, as_i64(size))
        room = builder.icmp_signed("<=", builder.add(self.position(), stride, flags=("nsw",)), self._count)
        builder.cbranch(builder.and_(inside, room), body, after)
        builder.position_at_end(body)
        yield index
        builder.store(following, self._index)
        builder.branch(head)
        builder.position_at_end(after)


def _truths(context: KernelContext, row: ArrayValue, index: ir.Value, lanes: int) -> ir.Value:
    """Return which of the elements from ``index`` on are not zero."""
    x = load_vector(context.builder, row.dtype, row.pointer, index, lanes)
    if is_float(row.dtype):
        return context.builder.fcmp_unordered("!=", x, zeros(x.type))
    return context.builder.icmp_unsigned("!=", x, zeros(x.type))


def _number_of(context: KernelContext, truths: ir.Value) -> ir.Value:
    bits = ir.IntType(truths.type.count)
    return context.builder.zext(context.builder.ctpop(context.builder.bitcast(truths, bits)), I64)


def _store_chosen(context: KernelContext, truths: ir.Value, x: ir.Value, dtype: str, place: ir.Value) -> None:
    """Emit a store of the chosen lanes, moved together, and as many zeros as others."""
    float_or_int = dtype if is_float(dtype) else f"i{8 * item_size(dtype)}"
    name = f"llvm.x86.avx512.mask.compress.v{x.type.count}{float_or_int}"
    compress = context.declare(name, x.type, [x.type, x.type, truths.type])
    context.builder.store(context.builder.call(compress, [x, zeros(x.type), truths]), place, align=item_size(dtype))


def _emit_compressed_vectors(cursor: _Cursor, mask: ArrayValue, x: ArrayValue, out: ArrayValue) -> None:
    context, lanes = cursor.context, VECTOR // item_size(x.dtype)
    with cursor.walk(mask.dims[0], lanes) as index:
        truths = _truths(context, mask, index, lanes)
        place = element_pointer(context.builder, out, (cursor.position(),))
        _store_chosen(context, truths, load_vector(context.builder, x.dtype, x.pointer, index, lanes), x.dtype, place)
        cursor.move(_number_of(context, truths))


def _emit_vectors_of_indices(cursor: _Cursor, row: ArrayValue, outer: Index, outputs: Arrays) -> None:
    context, lanes = cursor.context, VECTOR // item_size("i64")
    type_ = vector_type("i64", lanes)
    with cursor.walk(row.dims[0], lanes) as index:
        builder, position = context.builder, cursor.position()
        truths = _truths(context, row, index, lanes)
        for number, out in zip(outer, outputs[:-1], strict=True):
            place = element_pointer(builder, out, (position,))
            builder.store(splat(builder, number, type_), place, align=item_size("i64"))
        numbers = builder.add(splat(builder, index, type_), ir.Constant(type_, list(range(lanes))))
        _store_chosen(context, truths, numbers, "i64", element_pointer(builder, outputs[-1], (position,)))
        cursor.move(_number_of(context, truths))
