"""Elementwise kernels over many rows of a few elements, some of whose arrays are the same in every row.

Owns `Repeats`: such an array, say the bias of a small layer, is copied to a buffer, row after row, so that many rows
are done in one loop instead of each in a loop that ends before it has got going. Invariant: every element is computed
as before, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.fused_elements import ElementCode
from janusjit.backend.llvm.fused_vectors import Compute, emit_copy, emit_elements
from janusjit.backend.llvm.loops import Cursor, emit_nest
from janusjit.backend.llvm.values import I64, Extent, as_i64, item_size, memory_type, multiply, offset_pointer

#: rows of up to so many elements are done together, about so many elements at a time, if there are so many times more
WIDTH, ELEMENTS, TIMES = 48, 256, 3
#: no vector has more lanes
LANES = 16


@dataclass(frozen=True)
class Repeats:
    """How a kernel's last two dimensions become one.

    Attributes
    ----------
    width : int
        Elements of a row.
    group : int
        How many rows are done together.
    repeated : tuple of int
        The arrays that are the same in every row.
    """

    width: int
    group: int
    repeated: tuple[int, ...]

    @staticmethod
    def of(code: ElementCode) -> Repeats | None:
        """Return how it is done, or None if it cannot or need not be."""
        if len(code.dims) < 2:
            return None
        rows, width = code.dims[-2:]
        if not isinstance(width, int) or not 2 <= width <= WIDTH:
            return None
        step = LANES // math.gcd(width, LANES)
        group = step * -(-ELEMENTS // (step * width))
        if isinstance(rows, int) and rows < TIMES * group:
            return None
        repeated = []
        for number, cursor in enumerate(code.cursors):
            size = item_size(cursor.dtype)
            if cursor.strides[-1] == size and all(stride == 0 for stride in cursor.strides[:-1]):
                repeated.append(number)
            elif cursor.strides[-2:] not in ((width * size, size), (0, 0)):
                return None
        if not repeated or not code.kernel.written().isdisjoint(repeated):
            return None
        return Repeats(width, group, tuple(repeated))

    def emit(self, code: ElementCode, compute: Compute) -> None:
        """Emit the kernel's loops around what ``compute`` emits."""
        buffers = {number: self._fill(code, code.cursors[number]) for number in self.repeated}
        rows = code.dims[-2]

        def emit_rows(cursors: Sequence[Cursor]) -> None:
            builder = code.context.builder
            group = ir.Constant(I64, self.group)
            more = builder.add(as_i64(rows), ir.Constant(I64, self.group - 1))
            with code.context.loop(builder.sdiv(more, group)) as number:
                start = builder.mul(number, group)
                left = builder.sub(as_i64(rows), start)
                count = builder.select(builder.icmp_signed("<", left, group), left, group)
                inside = [
                    Cursor(cursor.dtype, buffers[n], cursor.strides[-1:]) if n in buffers else _at_row(cursor, start)
                    for n, cursor in enumerate(cursors)
                ]
                emit_elements(code, [multiply(builder, count, self.width)], inside, compute)

        def _at_row(cursor: Cursor, row: Extent) -> Cursor:
            builder = code.context.builder
            pointer = offset_pointer(builder, cursor.pointer, multiply(builder, row, cursor.strides[0]))
            return Cursor(cursor.dtype, pointer, cursor.strides[1:])

        emit_nest(code.context, code.dims[:-2], code.cursors, emit_rows)

    def _fill(self, code: ElementCode, cursor: Cursor) -> ir.Value:
        """Emit a buffer of as many copies of a row as there are rows in a group, or in all."""
        context, builder = code.context, code.context.builder
        size = item_size(cursor.dtype)
        buffer = context.stack_slot(memory_type(cursor.dtype), self.group * self.width)
        rows, group = as_i64(code.dims[-2]), ir.Constant(I64, self.group)
        count = builder.select(builder.icmp_signed("<", rows, group), rows, group)
        source = Cursor(cursor.dtype, cursor.pointer, (0, size))
        target = Cursor(cursor.dtype, buffer, (self.width * size, size))
        emit_copy(context, [count, self.width], source, target)
        return buffer
