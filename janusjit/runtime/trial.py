"""Whether a function's graphs pay.

Owns `Trial`, which times a function's calls with graphs against calls in plain Python. Invariants: calls in plain
Python are asked for only where nothing else tells that the graphs are faster, at most `PLAIN_CALLS` of them, each
followed by a call with graphs, so that both ways see the same mixture of arguments; what compilation took counts for
neither, unless there is something to compile again and again.
"""

from __future__ import annotations

import statistics
from collections import deque

#: a call that takes longer is judged by few timings, since each is accurate, and more would be lost time
LONG_SECONDS = 1e-3
#: calls with graphs before they are judged: short ones, and long ones
SETTLED_CALLS = 8
SETTLED_LONG_CALLS = 2
#: calls after which the graphs are judged though there is something to compile again and again
UNSETTLED_CALLS = 8
#: calls that are timed in plain Python
PLAIN_CALLS = 3
#: no trial, and no further call in plain Python, where one way takes less than this part of the other
_CLEAR = 0.5
#: an estimate of less says little: it is of profiled calls, and for the most part of their probes
_ROUGH = 5e-5
#: what a single call may be interrupted for, by a garbage collection say, which shows in no other one
_INTERRUPTION = 0.05
#: a function's work has changed if a call in plain Python takes so many times what it took in the trial
_CHANGED = 4.0
#: calls in plain Python after the trial before it is looked whether the work has changed; doubled each time
FIRST_REVIEW = 8


class Trial:
    """One comparison of a function's two ways to run.

    Attributes
    ----------
    wants_plain : bool
        Whether the next call is to be run in plain Python.
    verdict : bool or None
        Whether the graphs pay; None while that is open.
    """

    def __init__(self) -> None:
        self.wants_plain = False
        self.verdict: bool | None = None
        self._running = False
        self._settled: deque[float] = deque(maxlen=SETTLED_CALLS)
        self._unsettled: deque[float] = deque(maxlen=UNSETTLED_CALLS)
        self._plain: list[float] = []

    @property
    def graph_seconds(self) -> float:
        """What a call with graphs typically takes."""
        if len(self._settled) < SETTLED_LONG_CALLS:
            return statistics.median(self._unsettled)
        few = len(self._settled) < 2 * SETTLED_LONG_CALLS
        return min(self._settled) if few else statistics.median(self._settled)

    @property
    def plain_seconds(self) -> float:
        """What a call in plain Python typically takes."""
        return statistics.median(self._plain) if len(self._plain) == PLAIN_CALLS else min(self._plain)

    def ran_graph(self, seconds: float, compiled: bool, estimate: float | None) -> None:
        """Take note of a call with graphs.

        Parameters
        ----------
        seconds : float
            What it took.
        compiled : bool
            Whether something was compiled in it.
        estimate : float or None
            What a call in plain Python takes, as far as is known.
        """
        (self._unsettled if compiled else self._settled).append(seconds)
        if not self._running and self._is_settled():
            if estimate is not None and estimate > _ROUGH and self.graph_seconds < _CLEAR * estimate:
                self.verdict = True
                return
            self._running = True
        self.wants_plain = self._running

    def _is_settled(self) -> bool:
        settled = len(self._settled)
        if settled >= SETTLED_LONG_CALLS and min(self._settled) >= LONG_SECONDS:
            return True
        return settled >= SETTLED_CALLS or len(self._unsettled) >= UNSETTLED_CALLS

    def ran_plain(self, seconds: float) -> None:
        """Take note of a call in plain Python."""
        self._plain.append(seconds)
        self.wants_plain = False
        graph, plain = self.graph_seconds, self.plain_seconds
        certain = plain if len(self._plain) > 1 else plain - _INTERRUPTION
        if len(self._plain) == PLAIN_CALLS or plain < _CLEAR * graph or graph < _CLEAR * certain:
            self.verdict = graph < plain

    def has_changed(self, seconds: float) -> bool:
        """Whether a call in plain Python is so much longer than those of the trial that another one is due."""
        return seconds > _CHANGED * self.plain_seconds

    @property
    def text(self) -> str:
        """The outcome in words."""
        graph, plain = self.graph_seconds * 1e6, self.plain_seconds * 1e6
        return f"a call takes {graph:.3g} µs with graphs and {plain:.3g} µs in plain Python"
