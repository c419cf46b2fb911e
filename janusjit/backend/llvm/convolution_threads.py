"""Work on the images of a batch, divided among threads.

Owns `emit_divided`. Invariant: a unit of work is computed by one thread as by all others, from memory of its own and
what it shares to read; so there are the same bits however many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llvmlite import ir

from janusjit.backend import calibration, cost
from janusjit.backend.llvm import threads as pool
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, as_i64

#: what does the units from one number to another, given arrays as its function knows them
Body = Callable[[KernelContext, Sequence[ArrayValue], ir.Value, Extent], None]
#: how many chunks each thread has at most
_CHUNKS = 4


def multiplication_nanoseconds(count: int, dtype: str) -> float:
    """Return what so many multiplications and additions are expected to take one thread."""
    return count / Machine.host().lanes(dtype) / 2 * calibration.current().cycle


def is_worth_dividing(nanoseconds: float) -> bool:
    """Return whether work is enough for several threads."""
    return nanoseconds >= calibration.current().parallel_nanoseconds


def emit_divided(
    context: KernelContext, units: Extent, nanoseconds: float, arrays: Sequence[ArrayValue], body: Body
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
        Emits the units from one number to another.
    """
    known = all(isinstance(extent, int) for one in arrays for extent in (*one.dims, *one.strides))
    limit = min(context.threads, units) if isinstance(units, int) and known else 1
    limit = min(limit, max(1, int(nanoseconds / cost.THREAD_NANOSECONDS)))
    if limit < 2 or not is_worth_dividing(nanoseconds):
        body(context, arrays, ir.Constant(I64, 0), units)
        return 1
    assert isinstance(units, int)
    module = context.module
    function = ir.Function(module, TASK_TYPE, module.get_unique_name(f"{context.function.name}.task"))
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    told = context.stack_slot(I64, len(arrays))
    task = KernelContext(function, context.python)
    memory, _, start, end = function.args
    given = []
    for number, one in enumerate(arrays):
        place = ir.Constant(I64, number)
        context.builder.store(one.pointer, context.builder.gep(told, [place], source_etype=I64))
        pointer = task.builder.load(task.builder.gep(memory, [place], source_etype=I64), typ=one.pointer.type)
        given.append(replace(one, pointer=pointer))
    body(task, given, start, task.builder.sub(end, start))
    task.finish()
    chunk = max(1, units // (limit * _CHUNKS))
    amounts = [ir.Constant(I64, int(value)) for value in (chunk, limit, nanoseconds)]
    context.builder.call(pool.parallel_for(module), [function, told, as_i64(units), *amounts])
    return limit
