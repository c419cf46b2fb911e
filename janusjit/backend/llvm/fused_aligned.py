"""Long elementwise loops whose stores are aligned.

Owns `Aligned`. NumPy's arrays begin 16 bytes behind a cache line as a rule, so that each load or store of a vector of
64 bytes touches two lines, which takes up to half as much time again where the loop does little else. A few elements of
each row are done first, by the code that does those left in the end. Loops over more than the caches hold write whole
lines past them, which the processor would read first otherwise: a quarter of what two operands and a result take.
Invariants: every element is computed once, in order; what was written past the caches is seen by whoever sees what the
thread does next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.fused_elements import ElementCode
from janusjit.backend.llvm.fused_vectors import Compute, emit_row_behind
from janusjit.backend.llvm.loops import Cursor, emit_nest
from janusjit.backend.llvm.values import I64, VOID, Extent, as_i64, declare, item_size

#: loops of fewer elements are not worth it, nor rows of less than so many vectors, of which there is one more then
LEAST_ELEMENTS, LEAST_VECTORS = 4096, 16


@dataclass(frozen=True, slots=True)
class Aligned:
    """A loop over contiguous elements, or over rows of them.

    Attributes
    ----------
    count
        How many there are, in a row.
    least
        Rows of fewer are not worth it, if that turns out when it runs.
    target
        The array whose stores are to be aligned.
    line
        What they are aligned to: the bytes of a vector of its elements, fewer than those of a line where what is
        computed on the way is wider than they are.
    streamed
        The arrays that are written past the caches, if they all begin at lines of it when one does.
    """

    count: Extent
    least: int
    target: int
    line: int
    streamed: Sequence[int]

    @staticmethod
    def of(code: ElementCode) -> Aligned | None:
        """Return the loop of a kernel; None if it is another kind of loop, short, or does more than to move data."""
        kernel = code.kernel
        if not code.dims or not kernel.stores or not engine.has_masked_lanes():
            return None
        work = sum(cost.operation_cost(instruction.op) for instruction in kernel.instructions)
        widest, is_one_row = max(map(item_size, kernel.dtypes)), len(code.dims) == 1
        least = LEAST_ELEMENTS if is_one_row else LEAST_VECTORS * engine.vector_bytes() // widest
        short = isinstance(code.dims[-1], int) and code.dims[-1] < least
        if short or work > cost.INTERLEAVED:
            return None
        wanted = [number for _, number in kernel.stores if item_size(kernel.dtypes[number]) == widest]
        contiguous = all(cursor.strides[-1] in (0, item_size(cursor.dtype)) for cursor in code.cursors)
        if not wanted or not contiguous or any(code.cursors[number].strides[-1] == 0 for number in kernel.written()):
            return None
        is_streamed = is_one_row and kernel.is_streaming
        streamed = [number for number in wanted if number not in kernel.loaded()] if is_streamed else []
        computed = max([widest, *(item_size(instruction.dtype) for instruction in kernel.instructions)])
        line = engine.vector_bytes() // computed * widest
        return Aligned(code.dims[-1], least, (streamed or wanted)[0], line, streamed)

    def emit(self, code: ElementCode, compute: Compute) -> None:
        """Emit the loops around what ``compute`` emits."""
        emit_nest(code.context, code.dims[:-1], code.cursors, lambda inner: self._emit_row(code, inner, compute))

    def _emit_row(self, code: ElementCode, cursors: Sequence[Cursor], compute: Compute) -> None:
        builder = code.context.builder
        target = cursors[self.target]
        address, size = builder.ptrtoint(target.pointer, I64), item_size(target.dtype)
        count = as_i64(self.count)
        missing = builder.and_(builder.neg(address), ir.Constant(I64, self.line - 1))
        missing = builder.udiv(missing, ir.Constant(I64, size))
        if not self.streamed:
            if not isinstance(self.count, int):
                enough = builder.icmp_signed(">=", count, ir.Constant(I64, self.least))
                missing = builder.select(enough, missing, ir.Constant(I64, 0))
            emit_row_behind(code, cursors, self.count, compute, missing)
            return
        missing = builder.select(builder.icmp_signed("<", missing, count), missing, count)
        apart = ir.Constant(I64, 0)
        for number in self.streamed:
            apart = builder.or_(apart, builder.xor(address, builder.ptrtoint(cursors[number].pointer, I64)))
        apart = builder.and_(apart, ir.Constant(I64, self.line - 1))
        together = builder.icmp_unsigned("==", apart, ir.Constant(I64, 0))
        emit_row_behind(code, cursors, self.count, compute, missing, self.streamed, together)
        builder.call(declare(builder.module, "llvm.x86.sse.sfence", VOID, []), [])
