"""Work of one operation divided among threads: images of a batch, tiles of a product.

Owns `emit_divided`. Invariant: a unit of work is computed by one thread as by all others, from memory of its own and
what it shares to read; so there are the same bits however many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend import calibration, cost
from janusjit.backend.llvm import threads as pool
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, as_i64, needs_memory


@dataclass(frozen=True)
class Units:
    """Some units of work.

    Attributes
    ----------
    start, count : ir.Value or int
        The number of the first, and how many there are.
    thread : ir.Value
        The number of the thread that does them.
    told : sequence of ir.Value
        What else the work depends on, as its function knows it.
    """

    start: ir.Value
    count: Extent
    thread: ir.Value
    told: Sequence[ir.Value] = ()


#: does some units, given arrays as its function knows them
Body = Callable[[KernelContext, Sequence[ArrayValue], Units], None]
#: about how many chunks each thread has, where nothing else is said
_CHUNKS = 4


def threads_for(units: int, nanoseconds: float, threads: int) -> int:
    """Return how many threads are of use for units of work that take one of them so long."""
    if not is_worth_dividing(nanoseconds):
        return 1
    return max(min(threads, units, max(2, int(nanoseconds / cost.THREAD_NANOSECONDS))), 1)


def is_worth_dividing(nanoseconds: float) -> bool:
    """Return whether work is enough for several threads."""
    return nanoseconds >= calibration.current().parallel_nanoseconds


def even_chunk(units: int, threads: int, chunks: int) -> int:
    """Return how many units a chunk has, so that threads are done at about the same time.

    The pool gives each thread as many chunks as the others, or one more, the last chunk to the last thread. The last
    unit is often less than the others, such as the rows that are left; it is taken for half of one.

    Parameters
    ----------
    units : int
        How many there are.
    threads : int
        How many threads share them, two at least.
    chunks : int
        About how many chunks each thread is to have: between half and twice as many.

    Examples
    --------
    >>> even_chunk(19, 2, 4)  # 9 units, and 10 of which one is short, where chunks of 2 make 10 and 9
    3
    """
    usual = max(1, units // (threads * chunks))

    def taken(chunk: int) -> tuple[float, int]:
        count = -(-units // chunk)
        lacking = count * chunk - units + 0.5  # the last chunk is the last thread's
        last = lacking if count % threads == 1 else 0.0
        return -(-count // threads) * chunk - last, abs(chunk - usual)

    return min(range(2 * usual, (usual + 1) // 2 - 1, -1), key=taken)


def emit_divided(
    context: KernelContext,
    units: Extent,
    nanoseconds: float,
    arrays: Sequence[ArrayValue],
    body: Body,
    chunks: int = _CHUNKS,
    values: Sequence[ir.Value] = (),
) -> int:
    """Emit all units of some work, on several threads where that pays; return on how many at most.

    Parameters
    ----------
    context : KernelContext
        The function to emit into.
    units : int or ir.Value
        How many there are; where that is not known, one thread does them.
    nanoseconds : float
        What they take one thread.
    arrays : sequence of ArrayValue
        What the body uses of the function's memory.
    body : callable
        Emits some units.
    chunks : int
        About how many chunks each thread has.
    values : sequence of ir.Value
        What else the body is to be told, of eight bytes at most each.
    """
    known = all(isinstance(extent, int) for one in arrays for extent in (*one.dims, *one.strides))
    limit = threads_for(units, nanoseconds, context.threads) if isinstance(units, int) and known else 1
    if limit < 2:
        body(context, arrays, Units(ir.Constant(I64, 0), units, ir.Constant(I64, 0), values))
        return 1
    assert isinstance(units, int)
    module = context.module
    function = ir.Function(module, TASK_TYPE, module.get_unique_name(f"{context.function.name}.task"))
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    handed = [*(one.pointer for one in arrays), *values]
    told = context.stack_slot(I64, len(handed))
    task = KernelContext(function, context.python)
    memory, thread, start, end = function.args
    found = []
    for number, value in enumerate(handed):
        place = ir.Constant(I64, number)
        context.builder.store(value, context.builder.gep(told, [place], source_etype=I64))
        found.append(task.builder.load(task.builder.gep(memory, [place], source_etype=I64), typ=value.type))
    given = [replace(one, pointer=pointer) for one, pointer in zip(arrays, found, strict=False)]
    body(task, given, Units(start, task.builder.sub(end, start), thread, found[len(arrays) :]))
    task.finish()
    task.mark_vectors()
    if needs_memory(function):
        context.note_memory()
    chunk = even_chunk(units, limit, chunks)
    amounts = [ir.Constant(I64, int(value)) for value in (chunk, limit, nanoseconds)]
    context.builder.call(pool.parallel_for(module), [function, told, as_i64(units), *amounts])
    return limit
