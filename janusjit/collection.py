"""Garbage collection while the compiler builds its structures.

Owns `collection_paused`. Invariant: collection is as the program left it when the last pause ends. Why: syntax trees,
Core and graphs are tens of thousands of objects that all stay alive; each collection they set off looks at every object
of the program, and finds nothing. That took two thirds of the time of a function's first call.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_resume = False


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let nothing set off garbage collection within a ``with`` block, in which no code of the user's runs."""
    global _pauses, _resume
    with _lock:
        if _pauses == 0:
            _resume = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _resume:
                gc.enable()


def _after_fork() -> None:
    """Forget the pauses of threads that a forked child does not have."""
    global _lock, _pauses
    _lock = threading.Lock()
    if _pauses and _resume:
        gc.enable()
    _pauses = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
