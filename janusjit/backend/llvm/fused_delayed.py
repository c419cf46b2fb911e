"""Elementwise kernels that update an array in place, of which they read neighbouring rows.

Owns `emit_delayed`. Rows that have been computed wait in a ring of buffers, and are written when no later row reads
what they replace (`janusjit.backend.delays`). Invariant: every row is computed from what was there before the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.delays import BLOCK
from janusjit.backend.llvm.fused_elements import ElementCode, Row
from janusjit.backend.llvm.fused_vectors import emit_copy, emit_elements
from janusjit.backend.llvm.loops import Cursor, Place
from janusjit.backend.llvm.values import I64, Extent, as_i64, multiply, offset_pointer


def emit_delayed(code: ElementCode, delay: int) -> None:
    """Emit the loops of a kernel with a single store, whose writing stays ``delay`` rows behind its computing."""
    context, rows = code.context, _Rows.of(code)
    ((source, target),) = code.kernel.stores
    places = delay + 1
    ring = context.scratch(code.kernel.dtypes[target], (places, *rows.longest))
    waiting = replace(code, kernel=replace(code.kernel, stores=[(source, len(code.cursors))]))

    def buffer(row: ir.Value) -> Cursor:
        """Return the buffer of a row."""
        place = context.builder.urem(row, ir.Constant(I64, places))
        pointer = offset_pointer(context.builder, ring.pointer, multiply(context.builder, place, ring.strides[0]))
        return Cursor(ring.dtype, pointer, ring.strides[1:])

    def compute(cursors: Sequence[Place], row: Row | None) -> None:
        waiting.emit(cursors, row)

    behind = ir.Constant(I64, delay)
    with context.loop(context.builder.add(as_i64(rows.count), behind)) as row:
        builder = context.builder
        with builder.if_then(builder.icmp_signed("<", row, as_i64(rows.count))):
            current = [rows.enter(builder, cursor, row) for cursor in code.cursors]
            emit_elements(waiting, rows.dims(builder, row), [*current, buffer(row)], compute)
        with builder.if_then(builder.icmp_signed(">=", row, behind)):
            done = builder.sub(row, behind)
            emit_copy(context, rows.dims(builder, done), buffer(done), rows.enter(builder, code.cursors[target], done))


@dataclass(frozen=True)
class _Rows:
    """The rows of a kernel: of one with a single loop, blocks of elements, of which the last may be shorter.

    Attributes
    ----------
    count : Extent
        How many there are.
    longest : sequence of Extent
        The loops over a row.
    elements : Extent or None
        How many elements blocks are made of.
    """

    count: Extent
    longest: Sequence[Extent]
    elements: Extent | None = None

    @staticmethod
    def of(code: ElementCode) -> _Rows:
        """Return the rows of a kernel."""
        if len(code.dims) > 1:
            return _Rows(code.dims[0], code.dims[1:])
        (elements,) = code.dims
        if isinstance(elements, int):
            return _Rows(-(-elements // BLOCK), (BLOCK,), elements)
        builder, block = code.context.builder, ir.Constant(I64, BLOCK)
        return _Rows(builder.udiv(builder.add(elements, ir.Constant(I64, BLOCK - 1)), block), (BLOCK,), elements)

    def enter(self, builder: ir.IRBuilder, cursor: Cursor, row: ir.Value) -> Cursor:
        """Return a cursor at the begin of a row."""
        if self.elements is None:
            return cursor.enter(builder, row)
        first = builder.mul(row, ir.Constant(I64, BLOCK))
        return replace(cursor, pointer=cursor.enter(builder, first).pointer)

    def dims(self, builder: ir.IRBuilder, row: ir.Value) -> Sequence[Extent]:
        """Return the loops over one row."""
        if self.elements is None:
            return self.longest
        left = builder.sub(as_i64(self.elements), builder.mul(row, ir.Constant(I64, BLOCK)))
        block = ir.Constant(I64, BLOCK)
        return (builder.select(builder.icmp_signed("<", left, block), left, block),)
