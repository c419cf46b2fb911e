"""Which processor a worker runs on.

Owns the code by which a worker leaves the processor of the caller. Where some thread keeps the other processors busy
without doing much, as those of a BLAS library do that wait for work, the system may put a worker that is woken where
the thread runs that woke it; each then waits for the other, for milliseconds, and a job takes longer than it would
alone. Invariant: where a worker may run is the same afterwards; nothing happens where there is no other processor.
"""

from __future__ import annotations

import sys

from llvmlite import ir

from janusjit.backend.llvm.thread_pool_state import COLLISIONS, LEAVE, PLACE, Code, constant
from janusjit.backend.llvm.values import I32, I64, VOID

#: only there the system tells where a thread runs, and is told where it may
IS_KNOWN = sys.platform == "linux"
#: words of a set of processors, of 64 each
_WORDS = 16


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
        is_same = builder.icmp_signed("==", here, code.get(PLACE))
        in_set = builder.icmp_unsigned("<", here, constant(64 * _WORDS))
        with builder.if_then(builder.and_(is_same, in_set), likely=False):
            code.change("add", COLLISIONS, constant(1))
            _emit_move(code, here)
    builder.ret_void()
    return code.function


def _emit_move(code: Code, here: ir.Value) -> None:
    builder = code.builder
    allowed, this_thread = code.slot(I64, count=_WORDS), ir.Constant(I32, 0)
    size = constant(8 * _WORDS)
    known = code.is_zero(code.call("sched_getaffinity", this_thread, size, allowed))
    with builder.if_then(known):
        word = builder.gep(allowed, [builder.lshr(here, constant(6))], source_etype=I64)
        before = builder.load(word, typ=I64)
        this_one = builder.shl(constant(1), builder.and_(here, constant(63)))
        builder.store(builder.and_(before, builder.not_(this_one)), word)
        moved = code.is_zero(code.call("sched_setaffinity", this_thread, size, allowed))  # refused if no other is left
        with builder.if_then(moved):
            builder.store(before, word)
            code.call("sched_setaffinity", this_thread, size, allowed)


def _processor(code: Code) -> ir.Value:
    return code.builder.sext(code.call("sched_getcpu"), I64)
