"""Loop nests over strided arrays.

Owns `Cursor`, an array inside a loop nest, and `emit_nest`. Invariant: the innermost loop addresses every array as a
base pointer plus index times stride, with the element size for a stride where that is known, which is the form LLVM's
loop vectoriser understands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.values import (
    Extent,
    KernelContext,
    Scalar,
    item_size,
    load,
    memory_type,
    multiply,
    offset_pointer,
    store,
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in an array: a pointer, and the strides along the loops that are still to be entered."""

    dtype: str
    pointer: ir.Value
    strides: tuple[Extent, ...]

    def enter(self, builder: ir.IRBuilder, index: ir.Value) -> Cursor:
        """Return the cursor at ``index`` of the outermost loop left."""
        stride, *inner = self.strides
        if isinstance(stride, int) and stride == item_size(self.dtype):
            pointer = builder.gep(self.pointer, [index], inbounds=True, source_etype=memory_type(self.dtype))
        else:
            pointer = offset_pointer(builder, self.pointer, multiply(builder, index, stride))
        return Cursor(self.dtype, pointer, tuple(inner))

    def load(self, builder: ir.IRBuilder) -> Scalar:
        """Load the current element."""
        return load(builder, self.dtype, self.pointer)

    def store(self, builder: ir.IRBuilder, value: Scalar) -> None:
        """Store to the current element."""
        store(builder, value, self.pointer)


Cursors = Sequence[Cursor]


def emit_nest(
    context: KernelContext,
    dims: Sequence[Extent],
    cursors: Cursors,
    body: Callable[[list[Cursor]], None],
    interleaved: bool = False,
) -> None:
    """Emit loops over ``dims``, outermost first, around what ``body`` emits for the cursors there.

    The innermost loop is ``interleaved`` or not, see `KernelContext.loop`.
    """
    if not dims:
        body(list(cursors))
        return
    with context.loop(dims[0], interleaved and len(dims) == 1) as index:
        inner = [cursor.enter(context.builder, index) for cursor in cursors]
        emit_nest(context, dims[1:], inner, body, interleaved)
