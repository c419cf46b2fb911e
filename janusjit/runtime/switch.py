"""When everything runs as plain Python for a while.

Owns the on/off switch and the look for tracers. Invariant: the switch belongs to the context (thread or task) in which
it was set, so that two threads cannot put back each other's setting.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from janusjit.config import current
from janusjit.runtime.events import Cause

#: whether jitted functions are plain functions in this context
DISABLED: ContextVar[bool] = ContextVar("janusjit.disabled", default=current().disable)

#: whether that may be so: as long as it is 0, no context has ever had another setting than being enabled
SWITCHED = ctypes.c_int64(current().disable)

#: whether this Python has ``sys.monitoring``
MONITORING = sys.version_info >= (3, 12)


@contextmanager
def disable() -> Iterator[None]:
    """Run jitted functions as plain Python within a ``with`` block.

    Examples
    --------
    >>> import janusjit as jj
    >>> with jj.disable():
    ...     pass  # every jitted function called here is the plain function
    """
    SWITCHED.value = 1
    token = DISABLED.set(True)
    try:
        yield
    finally:
        DISABLED.reset(token)


@contextmanager
def enable() -> Iterator[None]:
    """Undo `disable` (and ``JANUSJIT_DISABLE``) within a ``with`` block."""
    token = DISABLED.set(False)
    try:
        yield
    finally:
        DISABLED.reset(token)


if sys.version_info >= (3, 12):
    #: returns what has registered for one of the kinds of tools
    TOOL: Callable[[int], str | None] | None = sys.monitoring.get_tool
    DEBUGGER, COVERAGE = sys.monitoring.DEBUGGER_ID, sys.monitoring.COVERAGE_ID
    _tool = sys.monitoring.get_tool

    def monitored() -> bool:
        """Whether a debugger or a coverage tool watches lines by ``sys.monitoring``."""
        return _tool(DEBUGGER) is not None or _tool(COVERAGE) is not None

else:
    TOOL: Callable[[int], str | None] | None = None
    DEBUGGER, COVERAGE = 0, 1

    def monitored() -> bool:
        """Whether a debugger or a coverage tool watches lines by ``sys.monitoring``: never before Python 3.12."""
        return False


def suspension() -> Cause | None:
    """Return why calls run in plain Python just now, or None."""
    if DISABLED.get():
        return Cause("environment.disabled", "environment", "janusjit is disabled here")
    tracer = sys.gettrace()
    if tracer is not None:
        name = getattr(tracer, "__qualname__", type(tracer).__qualname__)
        return Cause("environment.tracer", "environment", f"a tracer or debugger is active ({name})")
    if monitored():
        return Cause("environment.monitoring", "environment", "a debugger or a coverage tool monitors execution")
    return None
