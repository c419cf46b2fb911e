"""Loop nests over strided arrays.

Owns `Cursor`, an array inside a loop nest, and `emit_nest`. Invariant: the innermost loop addresses every array as a
base pointer plus index times stride, with the element size for a stride where that is known, which is the form LLVM's
loop vectoriser understands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from llvmlite import ir

from janusjit.backend.llvm.counting import next_turn
from janusjit.backend.llvm.values import (
    I64,
    UNROLLED,
    Extent,
    KernelContext,
    Scalar,
    is_below,
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


class Place(Protocol):
    """Where an element is, or as many as vectors have lanes: a `Cursor` inside all loops, or what stands for one."""

    def load(self, builder: ir.IRBuilder) -> Scalar:
        """Load what is there."""

    def store(self, builder: ir.IRBuilder, value: Scalar) -> None:
        """Store to it."""


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
    innermost = len(dims) == 1
    kept = innermost and _is_short_and_reversed(dims[0], cursors)
    with context.loop(dims[0], interleaved and innermost, kept) as index:
        inner = [cursor.enter(context.builder, index) for cursor in cursors]
        emit_nest(context, dims[1:], inner, body, interleaved)


def _is_short_and_reversed(count: Extent, cursors: Cursors) -> bool:
    """Return whether a loop of few turns goes through an array backwards.

    LLVM's two estimates of what vectors cost in such a loop may differ, on which its own checks end the process.
    """
    reverses = any(isinstance(cursor.strides[0], int) and cursor.strides[0] < 0 for cursor in cursors)
    return reverses and is_below(count, UNROLLED)


@contextmanager
def turns(
    context: KernelContext, span: tuple[ir.Value, ir.Value], step: int, before: Sequence[ir.Value]
) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
    """Emit ``for index in range(*span, step)``, given the index and values that are carried from turn to turn.

    The ``with`` body emits the loop's, and puts what follows into the list it is given; afterwards there is in it what
    was carried out of the loop.
    """
    builder, function = context.builder, context.function
    block = builder.block
    head, body, after = (function.append_basic_block(name) for name in ("vectors", "vector", "vectored"))
    builder.branch(head)
    builder.position_at_end(head)
    index, phis = builder.phi(I64, "index"), [builder.phi(value.type) for value in before]
    for phi, value in zip((index, *phis), (span[0], *before), strict=True):
        phi.add_incoming(value, block)
    builder.cbranch(builder.icmp_signed("<", index, span[1]), body, after)
    builder.position_at_end(body)
    carried: list[ir.Value] = list(phis)
    yield index, carried
    following = next_turn(builder, index, step)
    for phi, value in zip((index, *phis), (following, *carried), strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    carried[:] = phis
