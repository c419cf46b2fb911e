"""Who specializes a function.

Owns `Turns`. Invariants: one thread at a time has the turn; it ends once, however often those who had it come to its
end, as both the thread that took it and the one it was handed over to may do after an interrupt in between.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turn:
    """The turn to specialize.

    Attributes
    ----------
    handed_over : bool
        Whether another thread ends it.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.handed_over = False
        self._held = deque([lock])

    def end(self) -> None:
        """Let others take a turn, unless they may by now."""
        try:
            lock = self._held.pop()
        except IndexError:
            return
        lock.release()


class Turns:
    """The turns of one function.

    Attributes
    ----------
    current : Turn
        The one that was taken last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.current = Turn(self._lock)

    def locked(self) -> bool:
        """Whether somebody has the turn."""
        return self._lock.locked()

    @contextmanager
    def take(self) -> Iterator[bool]:
        """Take the turn for a ``with`` block, or until it ends where it is handed over; say if it was to be had."""
        if not self._lock.acquire(blocking=False):
            yield False
            return
        turn = self.current = Turn(self._lock)
        try:
            yield True
        finally:
            if not turn.handed_over:
                turn.end()
