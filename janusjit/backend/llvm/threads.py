"""The threads that kernels run on besides the one that calls them.

Owns the pool's place in the process: when its code is loaded, when its threads end, and what is known of it. Workers
are started by the first job that wants them, in native code, and wait there: Python sees nothing of them. Invariant:
they have ended before a fork and at the interpreter's exit, so a child has none to miss and nothing is torn down under
them; the next job starts others, except at exit.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import engine, process_code
from janusjit.backend.llvm import thread_pool_code as code
from janusjit.backend.llvm import thread_pool_state as state
from janusjit.backend.llvm.blas_library import thread_count, thread_count_function
from janusjit.backend.llvm.values import declare

_SYMBOLS = (state.PARALLEL_FOR, state.STOP, state.FORGET, state.LEAVE)
_COUNTS = (state.DIVIDED, state.ALONE, state.WORKERS, state.COLLISIONS, state.JOINED)

#: how many threads NumPy's products may use when nobody has lowered it yet, as far as can be told
_BLAS_MOST = thread_count()


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process has had of its threads.

    Attributes
    ----------
    divided : int
        Jobs that were divided among threads.
    alone : int
        Jobs that their caller did alone: another had the threads, or BLAS was limited to one.
    workers : int
        Threads that are there now, besides the program's own.
    collisions : int
        How often workers have found themselves on the processor that their caller ran on.
    joined : int
        How often workers have joined jobs: not where they are asleep, or kept from running.
    is_held_up : bool
        Whether jobs are done alone for a while because workers have held up a caller.
    """

    divided: int = 0
    alone: int = 0
    workers: int = 0
    collisions: int = 0
    joined: int = 0
    is_held_up: bool = False


@functools.cache
def are_supported() -> bool:
    """Return whether the system has what the pool is made of."""
    return all(map(engine.is_defined, state.NEEDED))


def parallel_for(module: ir.Module) -> ir.Function:
    """Return a module's declaration of the function that runs a task on threads; see `thread_pool_code`."""
    process_code.load_once(_SYMBOLS, code.emit, level=0)  # what threads wait for takes far longer
    return declare(module, state.PARALLEL_FOR, state.PARALLEL_FOR_TYPE.return_type, state.PARALLEL_FOR_TYPE.args)


def prepare(externals: tuple[str, ...]) -> None:
    """Make ready for code that calls ``externals``, which has been loaded, if that runs on threads."""
    if state.PARALLEL_FOR in externals:
        _register()


@functools.cache
def _register() -> None:
    words = _words()
    count = thread_count_function()
    if count is not None:
        words[state.BLAS_MOST], words[state.BLAS_THREADS] = _BLAS_MOST, count
    os.register_at_fork(before=_stop, after_in_child=_function(state.FORGET))
    atexit.register(_end)


def _function(symbol: str) -> ctypes._FuncPointer:
    return ctypes.PYFUNCTYPE(None)(process_code.address(symbol))


def _stop() -> None:
    """End the workers there are; the lock that is waited for is held by native code only, never by who waits."""
    _function(state.STOP)()


def _end() -> None:
    """End the workers and start no more: the process is about to end."""
    _stop()
    _words()[state.REFUSED] = 1


def _words() -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * state.WORDS).from_address(process_code.address(state.PARALLEL_FOR, state.STATE))


def usage() -> Usage:
    """Return what this process has had of its threads so far."""
    if not process_code.is_loaded(state.PARALLEL_FOR):
        return Usage()
    words = _words()
    divided, alone, workers, collisions, joined = (int(words[word]) for word in _COUNTS)
    return Usage(divided, alone, workers, collisions, joined, words[state.DEBT] > 0)
