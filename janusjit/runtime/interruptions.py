"""Exceptions that handlers of signals have raised.

Owns `interruption` and `is_handler`. Invariant: what a handler of the program's raises while the compiler happens to
run is the program's, whatever its type, and no failure of the compiler.
"""

from __future__ import annotations

import functools
import signal
from types import CodeType
from typing import Any


def interruption(failure: BaseException, handled: BaseException | None = None) -> BaseException | None:
    """Return the exception that the program has to see, if a failure is one, or has come of one.

    Parameters
    ----------
    failure : BaseException
        What was raised.
    handled : BaseException, optional
        What was being handled before.
    """
    found: BaseException | None = failure
    while found is not None and found is not handled:
        if not isinstance(found, Exception) or _is_of_handler(found):
            return found
        found = found.__context__
    return None


def _is_of_handler(error: BaseException) -> bool:
    codes = _handlers()
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


def is_handler(code: CodeType) -> bool:
    """Return whether a code object is that of a handler of a signal."""
    return code in _handlers()


def _handlers() -> set[CodeType | None]:
    return {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}


def _code(handler: Any) -> CodeType | None:
    """Return the code of a handler, if it is Python code."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):
        return None
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
