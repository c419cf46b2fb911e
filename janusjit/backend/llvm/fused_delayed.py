"""Elementwise kernels that update an array in place, of which they read neighbouring rows.

Owns `emit_delayed`. Rows that have been computed wait in a ring of buffers, and are written when no later row reads
what they replace (`janusjit.backend.delays`). Invariant: every row is computed from what was there before the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llvmlite import ir

from janusjit.backend.llvm.fused_elements import ElementCode, Row
from janusjit.backend.llvm.fused_vectors import emit_copy, emit_elements
from janusjit.backend.llvm.loops import Cursor, Place
from janusjit.backend.llvm.values import I64, as_i64, multiply, offset_pointer


def emit_delayed(code: ElementCode, delay: int) -> None:
    """Emit the loops of a kernel with a single store, whose writing stays ``delay`` rows behind its computing."""
    context, (rows, *inner) = code.context, code.dims
    ((source, target),) = code.kernel.stores
    places = delay + 1
    ring = context.scratch(code.kernel.dtypes[target], (places, *inner))
    waiting = replace(code, kernel=replace(code.kernel, stores=[(source, len(code.cursors))]))

    def buffer(row: ir.Value) -> Cursor:
        """Return the buffer of a row."""
        place = context.builder.urem(row, ir.Constant(I64, places))
        pointer = offset_pointer(context.builder, ring.pointer, multiply(context.builder, place, ring.strides[0]))
        return Cursor(ring.dtype, pointer, ring.strides[1:])

    def compute(cursors: Sequence[Place], row: Row | None) -> None:
        waiting.emit(cursors, row)

    behind = ir.Constant(I64, delay)
    with context.loop(context.builder.add(as_i64(rows), behind)) as row:
        builder = context.builder
        with builder.if_then(builder.icmp_signed("<", row, as_i64(rows))):
            current = [cursor.enter(builder, row) for cursor in code.cursors]
            emit_elements(waiting, inner, [*current, buffer(row)], compute)
        with builder.if_then(builder.icmp_signed(">=", row, behind)):
            done = builder.sub(row, behind)
            emit_copy(context, inner, buffer(done), code.cursors[target].enter(builder, done))
