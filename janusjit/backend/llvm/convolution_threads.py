"""Work on the images of a batch, divided among threads.

Owns `emit_divided`. Invariant: a unit of work is computed by one thread as by all others, from memory of its own and
what it shares to read; so there are the same bits however many threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend import calibration, cost
from janusjit.backend.llvm import threads as pool
from janusjit.backend.llvm.convolution_choice import ForwardPlan
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, as_i64


@dataclass(frozen=True)
class Units:
    """Some units of work: the number of the first, how many there are, and the number of the thread that does them."""

    start: ir.Value
    count: Extent
    thread: ir.Value


#: does some units, given arrays as its function knows them
Body = Callable[[KernelContext, Sequence[ArrayValue], Units], None]
#: how many chunks each thread has at most
_CHUNKS = 4


def multiplication_nanoseconds(count: int, dtype: str) -> float:
    """Return what so many multiplications and additions are expected to take one thread."""
    return count / Machine.host().lanes(dtype) / 2 * calibration.current().cycle


def forward_nanoseconds(plan: ForwardPlan, batch: Extent, kernels: Sequence[Extent]) -> float:
    """Return what a convolution in tiles is expected to take one thread; 0 if the number of images is not known."""
    if not isinstance(batch, int):
        return 0.0
    sizes = [size for size in kernels if isinstance(size, int)]
    places = batch * plan.panel.geometry.places
    return multiplication_nanoseconds(places * math.prod(sizes), plan.panel.dtype)


def threads_for(units: int, nanoseconds: float, threads: int) -> int:
    """Return how many threads are of use for units of work that take one of them so long."""
    if not is_worth_dividing(nanoseconds):
        return 1
    return max(min(threads, units, int(nanoseconds / cost.THREAD_NANOSECONDS)), 1)


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
        Emits some units.
    """
    known = all(isinstance(extent, int) for one in arrays for extent in (*one.dims, *one.strides))
    limit = threads_for(units, nanoseconds, context.threads) if isinstance(units, int) and known else 1
    if limit < 2:
        body(context, arrays, Units(ir.Constant(I64, 0), units, ir.Constant(I64, 0)))
        return 1
    assert isinstance(units, int)
    module = context.module
    function = ir.Function(module, TASK_TYPE, module.get_unique_name(f"{context.function.name}.task"))
    function.linkage = "internal"
    for attribute in ("nounwind", "noinline"):
        function.attributes.add(attribute)
    told = context.stack_slot(I64, len(arrays))
    task = KernelContext(function, context.python)
    memory, thread, start, end = function.args
    given = []
    for number, one in enumerate(arrays):
        place = ir.Constant(I64, number)
        context.builder.store(one.pointer, context.builder.gep(told, [place], source_etype=I64))
        pointer = task.builder.load(task.builder.gep(memory, [place], source_etype=I64), typ=one.pointer.type)
        given.append(replace(one, pointer=pointer))
    body(task, given, Units(start, task.builder.sub(end, start), thread))
    task.finish()
    task.mark_vectors()
    chunk = max(1, units // (limit * _CHUNKS))
    amounts = [ir.Constant(I64, int(value)) for value in (chunk, limit, nanoseconds)]
    context.builder.call(pool.parallel_for(module), [function, told, as_i64(units), *amounts])
    return limit
