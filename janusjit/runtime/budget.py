"""How long the calls of a function may wait for its compilation.

Owns `Budget`. Invariant: calls wait no longer than an allowance, which grows with the logarithm of the time that the
function's calls take in Python, and for one attempt more; so the part of a program's time that goes into waiting falls,
and a program whose compilation leads nowhere is soon left in peace.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: attempts that would get less than this are put off
_LEAST_SECONDS = 0.05
#: how long compilation is expected to take for each second of capture, before any was seen
_COMPILE_RATIO = 2.0
#: a part of the allowance that nobody minds
_LITTLE = 0.05


class Budget:
    """What one function, its continuations included, may make its calls wait.

    Parameters
    ----------
    allowance : float
        Seconds that calls may wait before their own time is looked at; inf: they wait however long it takes.

    Attributes
    ----------
    spent : float
        Seconds that calls have waited.
    exhausted : bool
        Whether the last request was turned down.
    """

    def __init__(self, allowance: float) -> None:
        self.allowance = allowance
        self.spent = 0.0
        self.exhausted = False
        self._least = min(_LEAST_SECONDS, allowance)
        self._again = 0.0
        self._captured = self._compiled = 0.0
        self._calls = threading.local()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Time a call of the function, unless it is one within another."""
        calls = self._calls
        if getattr(calls, "began", None) is not None:
            yield
            return
        calls.began = time.perf_counter() - self.spent
        try:
            yield
        finally:
            calls.began = None

    def request(self, calls: int, seconds: float | None) -> float:
        """Return how many seconds the next attempt may take; 0 if there is to be none now.

        Parameters
        ----------
        calls : int
            How many calls of the function have ended.
        seconds : float, optional
            What a call takes in Python.
        """
        if math.isinf(self.allowance):
            return math.inf
        if self.exhausted and time.perf_counter() < self._again:
            return 0.0
        earned = self._earned(calls, seconds)
        left = self.limit(earned) - self.spent
        self.exhausted = left <= 0.0 or left < self._least
        if not self.exhausted:
            return left
        self._again = time.perf_counter() + self._earned_for(self.spent + self._least) - earned
        return 0.0

    def is_little(self, earned: float) -> bool:
        """Whether it makes next to no difference if calls have taken ``earned`` seconds in Python or none."""
        return math.isinf(self.allowance) or earned < _LITTLE * self.allowance

    def limit(self, earned: float) -> float:
        """Return how long calls may have waited once they have taken ``earned`` seconds in Python."""
        return self.allowance * (1.0 + math.log2(1.0 + earned / self.allowance)) if self.allowance else 0.0

    def _earned_for(self, limit: float) -> float:
        """Return what calls have to take in Python for ``limit`` seconds of waiting; the inverse of `limit`."""
        return self.allowance * (2.0 ** min(limit / self.allowance - 1.0, 60.0) - 1.0) if self.allowance else math.inf

    def waits_for(self, captured: float, granted: float) -> bool:
        """Whether a call had better wait for the compilation of what took it ``captured`` seconds to capture."""
        return captured + self.compilation(captured) <= granted

    def compilation(self, captured: float) -> float:
        """Return how many seconds the compilation may take of what has been captured in ``captured`` seconds."""
        ratio = self._compiled / self._captured if self._captured and self._compiled else _COMPILE_RATIO
        return captured * ratio

    def took(self, capture: float, compilation: float, in_time: bool) -> None:
        """Take note of an attempt: seconds that a call waited. The next one after one that failed takes longer."""
        self.spent += capture + compilation
        self._captured += capture if compilation else 0.0
        self._compiled += compilation
        if not in_time:
            self._least = max(self._least, 2.0 * capture)

    def _earned(self, calls: int, seconds: float | None) -> float:
        began = getattr(self._calls, "began", None)
        running = 0.0 if began is None else max(time.perf_counter() - began - self.spent, 0.0)
        return calls * (seconds or 0.0) + running

    @property
    def text(self) -> str:
        """Why there is no attempt now, in words."""
        return (
            f"calls have waited {self.spent:.1f} s for compilation, more than the time they take earns them; "
            "they are compiled again when they have run longer"
        )
