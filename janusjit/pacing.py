"""Leaving the interpreter to the program while the compiler works beside it.

Owns `paced` and `pause`. Invariant: while other threads of the process are busy, the compiler's thread holds the
interpreter for a slice of time and then leaves it alone for several, so that the program is slowed down by a fifth at
most; while they are not, it hardly waits. LLVM works without the interpreter, and needs no pauses. Why: two threads
that both want the interpreter get half of it each, in turns of five milliseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: seconds the compiler's thread runs between two pauses: while the program is busy, and at most
SLICE = 0.001
LONGEST_SLICE = 0.008
#: how many times as long as it has run it leaves the interpreter to a busy program
REST = 5.0
#: how long a pause is that finds out whether the program is busy, and which part of it a busy one uses
_GLANCE = 0.0002
_BUSY = 0.1


class _Pace:
    """The pace of the thread that is compiling; ``thread`` is 0 while there is none."""

    __slots__ = ("began", "length", "thread")

    def __init__(self) -> None:
        self.thread = 0
        self.began = 0.0
        self.length = SLICE

    def rest(self, ran: float) -> None:
        """Let others run, for long if they do."""
        if _others_run(_GLANCE):
            self.length = SLICE
            time.sleep(max(REST * ran - _GLANCE, 0.0))
        else:
            self.length = min(2.0 * self.length, LONGEST_SLICE)
        self.began = time.perf_counter()


_pace = _Pace()


def _others_run(seconds: float) -> bool:
    """Sleep; return whether other threads of the process have used the processor meanwhile."""
    began, before = time.perf_counter(), time.process_time() - time.thread_time()
    time.sleep(seconds)
    return time.process_time() - time.thread_time() - before > _BUSY * (time.perf_counter() - began)


@contextmanager
def paced() -> Iterator[None]:
    """Let this thread pause within a ``with`` block; one thread of the process at a time does."""
    _pace.thread, _pace.began, _pace.length = threading.get_ident(), time.perf_counter(), SLICE
    try:
        yield
    finally:
        _pace.thread = 0


def is_paced() -> bool:
    """Return whether this thread works beside the program, which is not to notice."""
    return _pace.thread != 0 and _pace.thread == threading.get_ident()


def pause() -> None:
    """Leave the interpreter to the program if it is time to; the compiler calls this every few microseconds."""
    if _pace.thread and _pace.thread == threading.get_ident():
        ran = time.perf_counter() - _pace.began
        if ran > _pace.length:
            _pace.rest(min(ran, LONGEST_SLICE))


def _after_fork() -> None:
    _pace.thread = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
