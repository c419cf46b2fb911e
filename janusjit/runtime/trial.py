"""Whether graphs with Python between them pay.

Owns `Trial`, which times a function's calls with graphs against calls in plain Python. Invariant: it asks for at most
`PLAIN_CALLS` calls in plain Python, and only where nothing else tells that the graphs are faster.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

#: calls with graphs before the first is judged: the first ones compile what follows each commit point
SETTLED_CALLS = 8
#: calls that are timed in plain Python
PLAIN_CALLS = 3
#: no trial where the graphs take less than this part of what plain Python is estimated to take
_CLEAR_GAIN = 0.5


class Trial:
    """One comparison of a function's two ways to run.

    Attributes
    ----------
    wanted : int
        How many more calls are to be run in plain Python.
    verdict : bool or None
        Whether the graphs pay; None while that is open.
    """

    def __init__(self) -> None:
        self.wanted = 0
        self.verdict: bool | None = None
        self.graph_seconds = 0.0
        self.plain_seconds = 0.0
        self._plain: list[float] = []

    def settled(self, timings: Sequence[float], estimate: float | None) -> None:
        """Take note of how long the calls with graphs took, and of the estimate for plain Python."""
        if self.verdict is not None or self.wanted or len(timings) < SETTLED_CALLS:
            return
        self.graph_seconds = statistics.median(timings[SETTLED_CALLS // 2 :])
        if estimate is not None and self.graph_seconds < _CLEAR_GAIN * estimate:
            self.verdict = True
        else:
            self.wanted = PLAIN_CALLS

    def ran_plain(self, seconds: float) -> None:
        """Take note of a call in plain Python."""
        self._plain.append(seconds)
        self.wanted -= 1
        if self.wanted == 0:
            self.plain_seconds = statistics.median(self._plain)
            self.verdict = self.graph_seconds < self.plain_seconds

    @property
    def text(self) -> str:
        """The outcome in words."""
        graph, plain = self.graph_seconds * 1e6, self.plain_seconds * 1e6
        return f"a call takes {graph:.0f} µs with graphs and {plain:.0f} µs in plain Python"
