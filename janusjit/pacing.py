"""Leaving the interpreter and the processor to the program while the compiler works beside it.

Owns `paced`, `pause`, `give_way`, `aside` and `stop`. Invariant: while other threads of the process are busy, the
compiler's thread works for a slice of time and then leaves the interpreter alone for many times as long as it has had
it, so that the program is slowed down by a tenth over some ten milliseconds, and by less than a fifth with what else
the two share, caches among it; while they are not, it does not wait; and when the program ends, it stops. A slice is
no more than a fifth of a call of the program. Beside calls that are shorter than any slice it is a long one, which
meets one call of ten or less: of short ones a third is lost to changing hands. LLVM works without the interpreter;
where the program wants all processors, on threads that get a sixth of one. Why: two threads that both want the
interpreter get half of it each, and one that lets go of it for a moment, as NumPy does in most calls, has it back
after five milliseconds.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

#: seconds the compiler's thread runs, at least and at most, before it looks whether the program is busy, and rests
LEAST_SLICE, MOST_SLICE = 0.0002, 0.001
#: which part of a call of the program a slice is
PART_OF_CALL = 0.2
#: how many times as long as it has kept the interpreter from a busy program it leaves it alone
REST = 9.0
#: seconds it takes threads to hand the interpreter over, there and back
HAND_OVER = 0.00004
#: at most so many seconds are made up for at once: what has taken longer was mostly done without the interpreter
_LONGEST_MADE_UP = 0.008
#: which part of a time other threads have to run for the program to be busy
_BUSY = 0.05
#: after how many seconds of waiting a thread asks for the interpreter, while one compiles beside the program: one that
#: waits begins anew whenever the interpreter is let go of, as in most calls of NumPy, and has to get to the end
SWITCH_INTERVAL = 0.0001
#: how many seconds late a thread may get the interpreter before the program is to give way, and how often it is then
_STARVED, _MEETINGS = 0.002, 16
#: from which part of a rest on the program can give way, and how many times as long it is waited for
_EARLY, _PATIENCE = 0.8, 3.0
#: how many slices the program waits at most for the end of one
_MOST_SLICES = 2.0
#: seconds the program stops for where the compiler's thread does not rest
_NAP = 0.00005
#: how much of a processor has to be left for a thread not to be nice
_ROOM = 0.5
#: half of a microsecond: intervals are kept as whole ones, rounded down
_ROUNDING = 5e-7
#: how much nicer threads are that work without the interpreter: they get a sixth of a processor the program wants
NICER = 8


def slice_beside(call_seconds: float | None) -> float:
    """Return how many seconds a slice is beside a program whose calls take ``call_seconds``, if that is known."""
    if call_seconds is None:
        return LEAST_SLICE
    return MOST_SLICE if call_seconds < MOST_SLICE else min(PART_OF_CALL * call_seconds, MOST_SLICE)


def _others_seconds() -> float:
    """Return how long other threads of the process have used processors."""
    return time.process_time() - time.thread_time()


class Stopped(BaseException):
    """Ends what the compiler's thread is doing, since the program has come to its end."""


class _Pace:
    """The pace of the thread that is compiling; ``thread`` is 0 while there is none."""

    __slots__ = (
        *("before", "began", "busy", "due", "meets", "offer", "others", "own", "slice", "stopped", "thread", "wakes"),
    )

    def __init__(self) -> None:
        self.thread = 0
        self.stopped = False
        self.slice = LEAST_SLICE
        self.wakes: list[threading.Lock] = []  # one at most, which ends a rest
        self.offer: threading.Lock | None = None
        self.due = 0.0
        self.start(0, LEAST_SLICE)

    def start(self, thread: int, seconds: float) -> None:
        """Begin with the work of a thread, in slices of so many seconds."""
        self.busy, self.others, self.slice = True, math.inf, seconds
        self.meets = 0
        self.begin()
        self.thread = thread

    def end(self) -> None:
        """End the thread's work."""
        self.thread = 0
        self.wakes.clear()
        self._end_offer()

    def _end_offer(self) -> None:
        offer, self.offer = self.offer, None
        if offer is not None:
            offer.release()

    def begin(self) -> None:
        """Begin a slice."""
        self.own, self.began, self.before = time.thread_time(), time.perf_counter(), _others_seconds()

    def look(self) -> None:
        """End a slice: let others run if they do, and begin another."""
        self.go_on()
        passed = time.perf_counter() - self.began
        self.busy = self.busy or _others_seconds() - self.before > _BUSY * passed
        if self.busy:
            ran = time.thread_time() - self.own  # less than has passed where it had to wait for the interpreter itself
            self._end_offer()
            self.rest(min(ran, _LONGEST_MADE_UP))
            self.go_on()
        self.begin()

    def go_on(self) -> None:
        """Raise where there is nothing to work for any more."""
        if self.stopped:
            raise Stopped

    def rest(self, ran: float) -> None:
        """Leave the interpreter alone until the program gives way, and see whether others run meanwhile."""
        began, before = time.perf_counter(), _others_seconds()
        self._wait(began, REST * (ran + HAND_OVER))
        self.others = (_others_seconds() - before) / (time.perf_counter() - began)
        self.busy = self.others > _BUSY

    def _wait(self, now: float, seconds: float) -> None:
        """Wait for so long, or for the program to give way if the interpreter was not to be had lately without."""
        if not self.meets:
            self.due = now + seconds
            time.sleep(seconds)
            if time.perf_counter() - self.due > _STARVED:
                self.meets = _MEETINGS
            return
        wake = threading.Lock()
        wake.acquire()
        self.due = now + _EARLY * seconds
        self.wakes.append(wake)
        self.meets = self.meets - 1 if wake.acquire(timeout=_PATIENCE * seconds) else 0
        self.wakes.clear()

    def give_way(self) -> None:
        """Wait, in a thread of the program, until the slice is over that is due now, if one is."""
        if not self.wakes:
            if time.perf_counter() > max(self.began, self.due) + _STARVED + self.slice:
                time.sleep(_NAP)
        elif time.perf_counter() >= self.due:
            try:
                wake = self.wakes.pop()
            except IndexError:  # another thread gives way
                return
            self.offer = offer = threading.Lock()
            offer.acquire()
            wake.release()
            offer.acquire(timeout=_MOST_SLICES * self.slice)

    def has_room(self) -> bool:
        """Whether there is a processor that the program does not want."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.others < processors - _ROOM


_pace = _Pace()
_usual_interval: float | None = None
_lowered_interval = 0.0


@contextmanager
def paced(call_seconds: float | None = None) -> Iterator[None]:
    """Let this thread pause within a ``with`` block; one thread of the process at a time does.

    Parameters
    ----------
    call_seconds : float, optional
        What a call takes of the function that is compiled.
    """
    _pace.start(threading.get_ident(), slice_beside(call_seconds))
    _hand_over_soon()
    try:
        yield
    finally:
        _pace.end()
        _hand_over_as_usual()


def _hand_over_soon() -> None:
    """Let threads that wait for the interpreter ask for it sooner, unless the program has them ask sooner yet."""
    global _usual_interval, _lowered_interval
    usual = sys.getswitchinterval()
    if usual > SWITCH_INTERVAL:
        _usual_interval = usual
        sys.setswitchinterval(SWITCH_INTERVAL + _ROUNDING)
        _lowered_interval = sys.getswitchinterval()


def _hand_over_as_usual() -> None:
    """Undo `_hand_over_soon`, unless the program has set another interval."""
    global _usual_interval
    if _usual_interval is not None and sys.getswitchinterval() == _lowered_interval:
        sys.setswitchinterval(_usual_interval + _ROUNDING)
    _usual_interval = None


def give_way() -> None:
    """Let the compiler's thread have its slice here, if one is due; the program calls this between calls of its own.

    The compiler's thread has the interpreter then at once, and its slice meets no call.
    """
    if _pace.thread and _pace.thread != threading.get_ident():
        _pace.give_way()


def is_paced() -> bool:
    """Return whether this thread works beside the program, which is not to notice."""
    return _pace.thread != 0 and _pace.thread == threading.get_ident()


def stop() -> None:
    """End what a thread does beside the program, with `Stopped`, for good: the program is about to end."""
    _pace.stopped = True


def is_stopped() -> bool:
    """Return whether `stop` has been called."""
    return _pace.stopped


def pause() -> None:
    """Leave the interpreter to the program if it is time to; the compiler calls this every few microseconds."""
    if _pace.thread and _pace.thread == threading.get_ident() and time.perf_counter() - _pace.began > _pace.slice:
        _pace.look()


def aside(work: Callable[[], Result]) -> Result:
    """Do work that hardly needs the interpreter; if this thread is paced, and processors are wanted, on a nice thread.

    A thread cannot be nice for a while only: it takes a privilege to end that. And one that is nice and works in the
    interpreter would keep a program from it that other processes keep from the processor. So it does not ask for the
    interpreter soon: whoever is asked waits until the other thread has it.
    """
    if not is_paced():
        return work()
    _pace.go_on()
    try:
        return work() if _pace.has_room() else _on_nice_thread(work)
    finally:
        _pace.begin()


def _on_nice_thread(work: Callable[[], Result]) -> Result:
    outcome: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        be_nice()
        try:
            outcome.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised below, in the caller's thread
            failures.append(failure)

    helper = threading.Thread(target=run, name="janusjit-aside")
    _hand_over_as_usual()
    try:
        helper.start()
        helper.join()
    except RuntimeError:  # no more threads are to be had
        return work()
    finally:
        _hand_over_soon()
    if failures:
        raise failures[0]
    return outcome[0]


def be_nice() -> None:
    """Give this thread, for good, a low priority. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + NICER, 19))


def _after_fork() -> None:
    _pace.thread, _pace.wakes, _pace.offer = 0, [], None
    _hand_over_as_usual()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
