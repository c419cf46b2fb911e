"""Long elementwise loops whose stores are aligned.

Owns `Aligned`. NumPy's arrays begin 16 bytes behind a cache line as a rule, so that each store of a vector of 64 bytes
touches two lines, which takes a quarter more time where the loop does little else. A few elements are done one by one
first. Invariant: every element is computed once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.fused_elements import ElementCode
from janusjit.backend.llvm.fused_vectors import Compute, emit_elements
from janusjit.backend.llvm.loops import Cursor
from janusjit.backend.llvm.values import I64, Extent, as_i64, item_size

#: loops of fewer elements are not worth it
LEAST_ELEMENTS = 4096


@dataclass(frozen=True, slots=True)
class Aligned:
    """A loop over contiguous elements, and the array whose stores are to be aligned."""

    count: Extent
    target: int

    @staticmethod
    def of(code: ElementCode) -> Aligned | None:
        """Return the loop of a kernel; None if it is another kind of loop, short, or does more than to move data."""
        kernel = code.kernel
        if len(code.dims) != 1 or not kernel.stores or engine.vector_bytes() != 64:
            return None
        work = sum(cost.operation_cost(instruction.op) for instruction in kernel.instructions)
        short = isinstance(code.dims[0], int) and code.dims[0] < LEAST_ELEMENTS
        if short or work > cost.INTERLEAVED:
            return None
        widest = max(map(item_size, kernel.dtypes))
        wanted = [number for _, number in kernel.stores if item_size(kernel.dtypes[number]) == widest]
        contiguous = all(cursor.strides[0] in (0, item_size(cursor.dtype)) for cursor in code.cursors)
        return Aligned(code.dims[0], wanted[0]) if wanted and contiguous else None

    def emit(self, code: ElementCode, compute: Compute) -> None:
        """Emit the loops around what ``compute`` emits."""
        builder = code.context.builder
        target = code.cursors[self.target]
        address, size = builder.ptrtoint(target.pointer, I64), item_size(target.dtype)
        count, line = as_i64(self.count), engine.vector_bytes()
        missing = builder.and_(builder.neg(address), ir.Constant(I64, line - 1))
        missing = builder.udiv(missing, ir.Constant(I64, size))
        if not isinstance(self.count, int):
            enough = builder.icmp_signed(">=", count, ir.Constant(I64, LEAST_ELEMENTS))
            missing = builder.select(enough, missing, ir.Constant(I64, 0))
        emit_elements(code, [missing], code.cursors, compute)
        behind = [cursor.enter(builder, missing) for cursor in code.cursors]
        rest = [Cursor(x.dtype, y.pointer, x.strides) for x, y in zip(code.cursors, behind, strict=True)]
        emit_elements(code, [builder.sub(count, missing)], rest, compute)
