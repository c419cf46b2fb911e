"""Whether operations on variables are recorded.

Owns `Mode`, the context variable that holds the present one, and `no_grad`. Invariant: what changes the mode restores
it; outside of tapes there are two modes, told by identity.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Mode:
    """What is recorded: whether anything is, and by which tapes. Compared by identity.

    Parameters
    ----------
    enabled : bool
        Whether operations are recorded.
    tapes : tuple
        The tapes that record, outermost first.
    """

    __slots__ = ("enabled", "tapes")

    def __init__(self, enabled: bool, tapes: tuple[Any, ...] = ()) -> None:
        self.enabled, self.tapes = enabled, tapes


#: outside of every tape there are these two modes only, so that compiled code can tell them by identity
RECORDED, NOT_RECORDED = Mode(True), Mode(False)
MODE: ContextVar[Mode] = ContextVar("janusjit_gradient_mode", default=RECORDED)


def mode_with(enabled: bool, tapes: tuple[Any, ...]) -> Mode:
    """Return the mode of these tapes."""
    if tapes:
        return Mode(enabled, tapes)
    return RECORDED if enabled else NOT_RECORDED


class no_grad(contextlib.ContextDecorator):  # noqa: N801 - as PyTorch has it
    """A context in which no operation on variables is recorded; also a decorator of functions.

    Examples
    --------
    >>> import janusjit as jj
    >>> w = jj.Variable([1.0, 2.0])
    >>> with jj.no_grad():
    ...     loss = (w * w).sum()
    >>> loss.requires_grad
    False
    >>> @jj.no_grad()
    ... def evaluate(w):
    ...     return w.sum()
    >>> evaluate(w).requires_grad
    False
    """

    def __init__(self) -> None:
        self._before: list[Mode] = []

    def __enter__(self) -> None:
        self._before.append(MODE.get())
        MODE.set(mode_with(False, self._before[-1].tapes))

    def __exit__(self, *raised: Any) -> None:
        MODE.set(self._before.pop())

    def __call__(self, function: Function) -> Function:
        """Return a function that runs in such a context."""

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]
