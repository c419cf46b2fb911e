"""Garbage collection while the compiler builds its structures.

Owns `collection_paused` and `collection_rare`. Invariant: collection is as the program left it when the last of them
ends. Why: syntax trees, Core and graphs are tens of thousands of objects that all stay alive; each collection they set
off looks at every object of the program, and finds nothing: two thirds of the time of a function's first call.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from janusjit.pacing import is_paced

_lock = threading.Lock()
_pauses = 0
_resume = False
_usual: tuple[int, int, int] | None = None

#: how many times as many objects set off a collection while one thread compiles beside the program
_RARER = 16


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let nothing set off garbage collection within a ``with`` block, in which no code of the user's runs.

    Not on the thread that works beside the program, whose garbage would pile up meanwhile.
    """
    global _pauses, _resume
    if is_paced():
        yield
        return
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


@contextmanager
def collection_rare() -> Iterator[None]:
    """Let garbage collection be set off more rarely within a ``with`` block that runs beside code of the user's.

    A collection stops every thread, and a full one looks at all objects there are: some 100 ms in a large program.
    """
    global _usual
    _usual = gc.get_threshold()
    rare = (_RARER * _usual[0], *_usual[1:])
    gc.set_threshold(*rare)
    try:
        yield
    finally:
        if gc.get_threshold() == rare:  # unless the program has set another
            gc.set_threshold(*_usual)
        _usual = None


def _after_fork() -> None:
    """Forget the pauses of threads that a forked child does not have."""
    global _lock, _pauses, _usual
    if _usual is not None:
        gc.set_threshold(*_usual)
        _usual = None
    _lock = threading.Lock()
    if _pauses and _resume:
        gc.enable()
    _pauses = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
