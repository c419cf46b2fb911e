"""The memory that the threads of the pool share, and what code does with it.

Owns the words of the state, and `Code`, a function under construction that reads and writes them. Invariant: whatever
more than one thread touches is read and written by atomic operations.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import opaque
from janusjit.backend.llvm.values import I32, I64, POINTER, VOID, declare

_MACHINE = platform.machine().lower()

PARALLEL_FOR, STOP, FORGET = "janusjit_parallel_for", "janusjit_threads_stop", "janusjit_threads_forget"
LEAVE = "janusjit_threads_leave"
STATE = "janusjit_threads"

#: threads of one job, the caller included
MOST = 64

# The words of the state; what different threads write to lies 64 bytes apart, or more.
#: bits 0 to 15: workers in the job; 16 to 31: how many more may join; from 32: its number
JOB = 0
#: floating-point exceptions that workers have raised
RAISED = 16
TASK, CONTEXT, ROWS, CHUNK, THREADS, CONTROL = 24, 25, 26, 27, 28, 32
#: whether there is a caller
BUSY = 40
#: how many workers there are, whether they are to end, whether there are to be no more, and how many are asleep
WORKERS, ENDING, REFUSED, SLEEPING = 48, 49, 50, 51
#: how often workers have gone to sleep, and how often they had when they were woken last
SLEPT, WOKEN = 52, 53
#: how many jobs were divided among threads, and how many were not
DIVIDED, ALONE = 56, 57
#: the function that says how many threads BLAS may use, if there is one, and how many these were in the beginning
BLAS_THREADS, BLAS_MOST = 58, 59
#: nanoseconds of work done alone since workers were woken last
DECLINED = 60
#: nanoseconds of work to be done alone, because workers have held up a caller
DEBT = 61
#: nanoseconds of work that was divided since workers were woken last, and how much has to be there until they are again
SHARED, AWAITED = 62, 63
MUTEX, CONDITION = 64, 80
#: the processor that the caller ran on when it published the last job, and how often workers found themselves there
PLACE, COLLISIONS = 88, 89
#: nanoseconds of work that was divided since a worker held up a caller last, and how cautious that has made callers
CALM, CARE = 90, 91
#: how often workers have joined jobs
JOINED = 92
HANDLES = 96
#: for each thread of a job, the next chunk of its share that nobody has taken; and for workers, whether it sleeps, and
#: whether it is to be allowed to run everywhere again when it has woken up
SHARES = HANDLES + MOST
ASLEEP, WAS_LED = 1, 2
#: for each worker, the set of processors that it may run on, while it has been led
SET_WORDS = 16
SETS = SHARES + 8 * MOST
WORDS = SETS + SET_WORDS * MOST

#: turns of waiting before a worker goes to sleep, which take some 100 to 200 µs: longer than what usually lies between
#: two jobs of one call or of a loop of calls
SPINS = 5000 if _MACHINE in ("x86_64", "amd64") else 30_000
#: turns of waiting for workers before the caller offers its processor to other threads
_PATIENCE = 1000
#: Waking a thread costs its waker up to 30 µs where processors are virtual ones that have been halted. So workers are
#: woken only once as many nanoseconds of work have been there for them: what waking costs in vain is little of that.
#: Where they have gone to sleep again before they shared ``WORTH_WAKING``, they are left to it for twice as long, up to
#: ``MOST_WAKE_WORK``: calls far apart, each with a little work, are better done alone.
WAKE_WORK, WORTH_WAKING, MOST_WAKE_WORK = 200_000, 150_000, 3_200_000
#: A worker that loses its processor in the middle of a chunk holds up the caller. One that is held up for longer than
#: this, or than half of what the job takes one thread, and for a few chunks besides, does so many times as much work
#: alone; twice as many each time it happens before `CALM_WORK` has been divided, up to `MOST_CAUTION`. So other work
#: on the machine costs little, and a page fault is no reason.
HELD_UP, CAUTION, MOST_CAUTION = 500_000, 8, 64
CALM_WORK, MOST_DEBT = 50_000_000, 500_000_000
_MONOTONIC = 6 if sys.platform == "darwin" else 1

FLAGS = 0x3F if _MACHINE in ("x86_64", "amd64") else 0x1F
ON_X86 = FLAGS == 0x3F
BLOCK, SETMASK = (1, 3) if sys.platform == "darwin" else (0, 2)
#: signals that a thread gets for what it does itself: ILL, BUS (by number on Linux and on macOS), FPE, SEGV
OWN_SIGNALS = (4, 10 if sys.platform == "darwin" else 7, 8, 11)

#: what a caller calls: task, context, rows, rows of a chunk, how many threads at most, nanoseconds it takes one thread
PARALLEL_FOR_TYPE = ir.FunctionType(VOID, [POINTER, POINTER, I64, I64, I64, I64])
#: a task's arguments: context, which thread of the job it is (0 for the caller), first row, end
TASK_TYPE = ir.FunctionType(VOID, [POINTER, I64, I64, I64])

NEEDED = (
    *("pthread_create", "pthread_join", "pthread_mutex_init", "pthread_mutex_lock", "pthread_mutex_trylock"),
    *("pthread_mutex_unlock", "pthread_cond_init", "pthread_cond_wait", "pthread_cond_signal"),
    *("pthread_cond_broadcast", "pthread_sigmask", "sigfillset", "sigdelset", "sched_yield", "clock_gettime"),
    *(("sched_getcpu", "sched_getaffinity", "sched_setaffinity") if sys.platform == "linux" else ()),
    *(("pthread_getaffinity_np", "pthread_setaffinity_np") if sys.platform == "linux" else ()),
    *(() if ON_X86 else ("fegetenv", "fesetenv", "feclearexcept", "fetestexcept", "feraiseexcept")),
)


def constant(number: int) -> ir.Value:
    """Return a number of 64 bits."""
    return ir.Constant(I64, number)


class Code:
    """A function under construction, and what it does with the state."""

    def __init__(self, module: ir.Module, name: str, type_: ir.FunctionType, internal: bool = True) -> None:
        self.module = module
        self.function = ir.Function(module, type_, name)
        self.function.attributes.add("nounwind")
        if internal:
            self.function.linkage = "internal"
        self.builder = PacedBuilder(self.function.append_basic_block("entry"))

    def word(self, number: int) -> ir.Value:
        """Return the address of a word."""
        base = opaque(self.module.globals[STATE])
        return self.builder.gep(base, [constant(number)], inbounds=True, source_etype=I64)

    def share(self, number: ir.Value, word: int = 0) -> ir.Value:
        """Return the address of the word of a share, or of another one that the thread has."""
        return self.builder.gep(self.word(SHARES + word), [self.builder.shl(number, constant(3))], source_etype=I64)

    def get(self, number: int) -> ir.Value:
        """Read a word that other threads change meanwhile."""
        return self.builder.load_atomic(self.word(number), "seq_cst", 8, typ=I64)

    def set(self, number: int, value: ir.Value) -> None:
        """Write a word that other threads read meanwhile."""
        self.builder.atomic_rmw("xchg", self.word(number), value, "seq_cst")

    def change(self, operation: str, number: int, value: ir.Value) -> ir.Value:
        """Change a word in one step; return what it was."""
        return self.builder.atomic_rmw(operation, self.word(number), value, "seq_cst")

    def call(self, name: str, *arguments: ir.Value, result: ir.Type = I32) -> ir.Value:
        """Call a function of the system."""
        types = [argument.type for argument in arguments]
        return self.builder.call(declare(self.module, name, result, types), arguments)

    def is_zero(self, value: ir.Value) -> ir.Value:
        return self.builder.icmp_unsigned("==", value, ir.Constant(value.type, 0))

    @contextmanager
    def unless(self, condition: ir.Value) -> Iterator[None]:
        with self.builder.if_then(self.builder.not_(condition)):
            yield

    @contextmanager
    def turns(self) -> Iterator[ir.Block]:
        """Emit an endless loop around what the ``with`` body emits; yields the block to branch to for an end."""
        body, after = self.function.append_basic_block("turn"), self.function.append_basic_block("after")
        self.builder.branch(body)
        self.builder.position_at_end(body)
        yield after
        self.builder.branch(body)
        self.builder.position_at_end(after)

    def leave_if(self, condition: ir.Value, where: ir.Block) -> None:
        """Branch away on a condition."""
        following = self.function.append_basic_block("on")
        self.builder.cbranch(condition, where, following)
        self.builder.position_at_end(following)

    def pause(self) -> None:
        """Let the processor's other hardware thread on for a moment."""
        if ON_X86:
            self.builder.call(declare(self.module, "llvm.x86.sse2.pause", VOID, []), [])
        elif _MACHINE in ("aarch64", "arm64"):
            self.builder.call(declare(self.module, "llvm.aarch64.hint", VOID, [I32]), [ir.Constant(I32, 1)])

    @contextmanager
    def waiting(self) -> Iterator[ir.Block]:
        """Emit `turns` around what looks whether the wait is over: short waits first, then yields to other threads."""
        spins = self.slot(I64, constant(_PATIENCE))
        with self.turns() as over:
            yield over
            self.pause()
            left = self.builder.sub(self.builder.load(spins, typ=I64), constant(1))
            self.builder.store(left, spins)
            with self.builder.if_then(self.is_zero(left)):
                self.call("sched_yield")
                self.builder.store(constant(1), spins)  # who has waited for so long goes on yielding

    def now(self) -> ir.Value:
        """Emit the reading of a clock, in nanoseconds."""
        slot = self.slot(I64, count=2)
        self.call("clock_gettime", ir.Constant(I32, _MONOTONIC), slot)
        seconds = self.builder.load(slot, typ=I64)
        rest = self.builder.load(self.builder.gep(slot, [constant(1)], source_etype=I64), typ=I64)
        return self.builder.add(self.builder.mul(seconds, constant(1_000_000_000)), rest)

    def slot(self, type_: ir.Type, initial: ir.Value | None = None, count: int = 1) -> ir.Value:
        with self.builder.goto_entry_block():
            made = self.builder.alloca(type_, size=constant(count))
        made.align = 16
        made.type = POINTER
        if initial is not None:
            self.builder.store(initial, made)
        return made

    # -- floating-point exceptions and modes

    def control(self) -> ir.Value:
        """Read the register of modes and exceptions (x86)."""
        slot = self.builder.load(self._control_slot(), typ=I32)
        return self.builder.zext(slot, I64)

    def _control_slot(self) -> ir.Value:
        slot = self.slot(I32)
        self.builder.call(declare(self.module, "llvm.x86.sse.stmxcsr", VOID, [POINTER]), [slot])
        return slot

    def set_control(self, value: ir.Value) -> None:
        """Write that register (x86)."""
        slot = self.slot(I32, self.builder.trunc(value, I32))
        self.builder.call(declare(self.module, "llvm.x86.sse.ldmxcsr", VOID, [POINTER]), [slot])
