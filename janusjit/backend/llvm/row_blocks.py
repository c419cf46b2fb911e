"""Blocks of rows of a product, each followed by work on its elements; or of columns, where nothing follows.

Owns `Blocks` and `emit_in_blocks`. Invariant: blocks do not depend on each other, so they may be done in any order, and
by several threads; where a block's rows have no place of their own in the result, each thread has room for one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.divided_work import Units, emit_divided
from janusjit.backend.llvm.values import I64, ArrayValue, KernelContext, as_i64


@dataclass(frozen=True)
class Block:
    """A block of rows.

    Attributes
    ----------
    start : ir.Value
        Its first row.
    count : int
        How many there are.
    place : ir.Value
        The row of the result's memory that the first is written to.
    units : Units
        The thread it is done by, and what its function is told.
    """

    start: ir.Value
    count: int
    place: ir.Value
    units: Units


@dataclass(frozen=True)
class Blocks:
    """How a product is cut, and what follows.

    Attributes
    ----------
    size : int
        How many rows a block has; the last one may have fewer.
    room : int
        How many rows lie between those of two threads, each of which has room for a block only; 0 if all have a place.
    on_threads : bool
        Whether blocks may be divided among threads.
    after : callable, optional
        Emits what follows a block that is there.
    told : sequence of ir.Value
        What ``after`` depends on, of eight bytes at most each: it finds them in ``Block.units.told``.
    """

    size: int
    room: int
    on_threads: bool
    after: Callable[[KernelContext, Block], None] | None = None
    told: Sequence[ir.Value] = ()


def emit_in_blocks(
    context: KernelContext,
    arrays: Sequence[ArrayValue],
    rows: int,
    blocks: Blocks,
    nanoseconds: float,
    emit: Callable[[KernelContext, Sequence[ArrayValue], Block], None],
) -> int:
    """Emit what ``emit`` does for each block, and what follows it; return on how many threads at most.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    arrays : sequence of ArrayValue
        The operands and the result, which ``emit`` is given as its function knows them.
    rows : int
        How many there are.
    blocks : Blocks
        How they are cut.
    nanoseconds : float
        What the product takes one thread.
    emit : callable
        Emits a block of the product.
    """
    whole, rest = divmod(rows, blocks.size)

    def body(inside: KernelContext, given: Sequence[ArrayValue], some: Units) -> None:
        def one(start: ir.Value, count: int) -> None:
            place = inside.builder.mul(some.thread, ir.Constant(I64, blocks.room)) if blocks.room else start
            block = Block(start, count, place, some)
            emit(inside, given, block)
            if blocks.after is not None:
                blocks.after(inside, block)

        if isinstance(some.count, int):
            _emit_all(inside, whole, rest, blocks.size, one)
            return
        end = inside.builder.add(some.start, as_i64(some.count))
        _emit_some(inside, (some.start, end), whole, rest, blocks.size, one)

    units = whole + (rest > 0)
    return emit_divided(
        context, units, nanoseconds if blocks.on_threads else 0.0, arrays, body, values=blocks.told
    )


Emit = Callable[[ir.Value, int], None]


def _emit_all(context: KernelContext, whole: int, rest: int, size: int, emit: Emit) -> None:
    with context.loop(whole) as number:
        emit(context.builder.mul(number, ir.Constant(I64, size)), size)
    if rest:
        emit(ir.Constant(I64, whole * size), rest)


def _emit_some(
    context: KernelContext, some: tuple[ir.Value, ir.Value], whole: int, rest: int, size: int, emit: Emit
) -> None:
    """Emit blocks from one number to another, the last of which may be the rest."""
    start, end = some
    builder, behind = context.builder, ir.Constant(I64, whole)
    last = builder.select(builder.icmp_signed("<", end, behind), end, behind)
    with context.loop(builder.sub(last, start)) as number:
        emit(context.builder.mul(context.builder.add(start, number), ir.Constant(I64, size)), size)
    if rest:
        with context.builder.if_then(context.builder.icmp_signed(">", end, behind)):
            emit(ir.Constant(I64, whole * size), rest)
