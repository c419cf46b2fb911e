"""The thread that works beside the program.

Owns `submit`. Invariant: there is one such thread in a process, which does one thing after the other; it does not keep
the program from ending: what is under way then is given up, and nothing more is begun.
"""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from janusjit import pacing
from janusjit.backend.llvm import compile_process

#: seconds that are waited for at most for what is under way to stop, when the program ends: LLVM does not stop
_MOST_SECONDS = 10.0


class _Worker:
    """The thread, and what it is to do.

    Raises
    ------
    RuntimeError
        If the system has no more threads, or the interpreter is about to end.
    """

    def __init__(self) -> None:
        self._pending: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = queue.SimpleQueue()
        # a thread that is no daemon is waited for before anybody can tell it to stop
        self._thread = threading.Thread(target=self._run, name="janusjit-compiler", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Have something done after what was submitted before."""
        future: Future[None] = Future()
        self._pending.put((work, future))
        return future

    def _run(self) -> None:
        while (task := self._pending.get()) is not None:
            work, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - raised where the outcome is asked for
                future.set_exception(failure)
            else:
                future.set_result(None)
            del task, work, future  # what it refers to is not kept until there is something else to do

    def stop(self) -> None:
        """End the thread."""
        self._pending.put(None)
        self._thread.join(_MOST_SECONDS)


_lock = threading.Lock()
_worker: _Worker | None = None
_has_ended = False


def submit(work: Callable[[], None]) -> Future[None] | None:
    """Have work done on the thread beside the program.

    Parameters
    ----------
    work : callable
        What to do.

    Returns
    -------
    Future or None
        Done when the work is; None, and it is not done, if no thread is to be had.
    """
    global _worker
    with _lock:
        if _has_ended:
            return None
        if _worker is None:
            try:
                _worker = _Worker()
            except RuntimeError:
                return None
        return _worker.submit(work)


def forget() -> None:
    """Start another thread when one is next needed: a forked child has none."""
    global _lock, _worker
    _lock, _worker = threading.Lock(), None


def _end() -> None:
    """Give up what is under way: the program has come to its end."""
    global _worker, _has_ended
    with _lock:
        worker, _worker, _has_ended = _worker, None, True
    if worker is not None:
        pacing.stop()
        compile_process.leave()
        worker.stop()


atexit.register(_end)
