"""Which processor a worker runs on.

Owns the code that keeps a worker from the processor of the caller. Where other threads have kept the processors busy
lately, such as those of a BLAS library, which wait for work, the system may wake a worker where the thread runs that
wakes it; each then waits for the other, for milliseconds, and a job takes longer than it would alone. So workers are
*led* elsewhere before they are woken, and one that finds itself there leaves.
Invariant: where a worker may run is the same afterwards; nothing happens where there is no other processor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from llvmlite import ir

from janusjit.backend.llvm.thread_pool_state import (
    ASLEEP,
    COLLISIONS,
    HANDLES,
    LEAVE,
    PLACE,
    SET_WORDS,
    SETS,
    WAS_LED,
    WORKERS,
    Code,
    constant,
)
from janusjit.backend.llvm.values import I32, I64, VOID

#: only there the system tells where a thread runs, and is told where it may
IS_KNOWN = sys.platform == "linux"
#: of so many workers at most: where there are many, there are many processors, of which some are idle
_LED = 8
_THIS_THREAD, _SIZE = ir.Constant(I32, 0), constant(8 * SET_WORDS)


def emit_place(code: Code) -> None:
    """Emit that the thread is the caller now, and where it runs."""
    if IS_KNOWN:
        code.set(PLACE, _processor(code))


def emit_leave(module: ir.Module) -> ir.Function:
    """Emit ``leave()``: if the thread runs where the caller was last, it goes on elsewhere, if it may.

    It is taken back to be allowed to run there at once: that does not move it again.
    """
    code = Code(module, LEAVE, ir.FunctionType(VOID, []), internal=False)
    builder = code.builder
    if IS_KNOWN:
        here = _processor(code)
        with builder.if_then(builder.icmp_signed("==", here, code.get(PLACE)), likely=False):
            code.change("add", COLLISIONS, constant(1))
            allowed = code.slot(I64, count=SET_WORDS)
            with builder.if_then(code.is_zero(code.call("sched_getaffinity", _THIS_THREAD, _SIZE, allowed))):
                _emit_without(
                    code, allowed, here, lambda some: code.call("sched_setaffinity", _THIS_THREAD, _SIZE, some)
                )
                code.call("sched_setaffinity", _THIS_THREAD, _SIZE, allowed)
    builder.ret_void()
    return code.function


def emit_rest(code: Code, number: ir.Value) -> None:
    """Emit that a worker falls asleep; whoever wakes workers has to wait for a lock that it holds."""
    if IS_KNOWN:
        code.builder.store(constant(1), code.share(number, ASLEEP))


def emit_rise(code: Code, number: ir.Value) -> None:
    """Emit that a worker has woken up, and holds the lock again: if it was led, it may run everywhere from now on."""
    if IS_KNOWN:
        builder = code.builder
        builder.store(constant(0), code.share(number, ASLEEP))
        with code.unless(code.is_zero(builder.load(code.share(number, WAS_LED), typ=I64))):
            builder.store(constant(0), code.share(number, WAS_LED))
            code.call("sched_setaffinity", _THIS_THREAD, _SIZE, _set_of(code, number))


def emit_lead(module: ir.Module) -> ir.Function:
    """Emit ``lead()``: workers that sleep wake up elsewhere than where the caller runs; for who holds the lock."""
    code = Code(module, "lead", ir.FunctionType(VOID, []))
    code.function.attributes.add("noinline")
    builder = code.builder
    if IS_KNOWN:
        here, count, most = code.get(PLACE), code.get(WORKERS), constant(_LED)
        count = builder.select(builder.icmp_signed("<", count, most), count, most)
        number = code.slot(I64, constant(0))
        with code.turns() as led:
            before = builder.load(number, typ=I64)
            code.leave_if(builder.icmp_signed(">=", before, count), led)
            worker = builder.add(before, constant(1))
            builder.store(worker, number)
            with code.unless(code.is_zero(builder.load(code.share(worker, ASLEEP), typ=I64))):
                _emit_lead_one(code, worker, here)
    builder.ret_void()
    return code.function


def _emit_lead_one(code: Code, worker: ir.Value, here: ir.Value) -> None:
    builder, allowed = code.builder, _set_of(code, worker)
    place = builder.gep(code.word(HANDLES), [builder.sub(worker, constant(1))], source_etype=I64)
    handle = builder.load(place, typ=I64)
    with builder.if_then(code.is_zero(code.call("pthread_getaffinity_np", handle, _SIZE, allowed))):

        def move(some: ir.Value) -> ir.Value:
            return code.call("pthread_setaffinity_np", handle, _SIZE, some)

        refused = _emit_without(code, allowed, here, move)
        builder.store(builder.zext(code.is_zero(refused), I64), code.share(worker, WAS_LED))


def _emit_without(
    code: Code, allowed: ir.Value, here: ir.Value, move: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    """Emit ``move`` with a set of processors without one; return what it returns: not zero if no other is left."""
    builder, some = code.builder, code.slot(I64, count=SET_WORDS)
    for word in range(SET_WORDS):
        source, target = (builder.gep(one, [constant(word)], source_etype=I64) for one in (allowed, some))
        builder.store(builder.load(source, typ=I64), target)
    word = builder.gep(some, [builder.and_(builder.lshr(here, constant(6)), constant(SET_WORDS - 1))], source_etype=I64)
    this_one = builder.shl(constant(1), builder.and_(here, constant(63)))
    builder.store(builder.and_(builder.load(word, typ=I64), builder.not_(this_one)), word)
    return move(some)


def _set_of(code: Code, worker: ir.Value) -> ir.Value:
    offset = code.builder.mul(worker, constant(SET_WORDS))
    return code.builder.gep(code.word(SETS), [offset], source_etype=I64)


def _processor(code: Code) -> ir.Value:
    return code.builder.sext(code.call("sched_getcpu"), I64)
