"""Whether a function's graphs pay.

Owns `Trial`, which times a function's calls with graphs against calls in plain Python. Invariants: calls in plain
Python are asked for only where nothing else tells that the graphs are faster, at most `PLAIN_CALLS` long ones or
`MIXED_CALLS` short ones, with calls with graphs in between, so that both ways see the same mixture of arguments; what
compilation took counts for neither, unless there is something to compile again and again. Where graphs run on
threads, those of libraries that plain Python calls, which wait for more work with the processor for a while, count for
neither: calls with graphs are timed once such threads rest and the calls take about as long as each other, then calls
in plain Python in a row, of which a short first one is not timed since they wake up in it. A call long after the one
before finds caches and threads as others left them: unless most calls are like that, such ones are not timed either.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence

#: a call that takes longer is judged by few timings, since each is accurate, and more would be lost time
LONG_SECONDS = 1e-3
#: calls with graphs before they are judged: short ones, and long ones
SETTLED_CALLS = 8
SETTLED_LONG_CALLS = 2
#: calls after which the graphs are judged though there is something to compile again and again
UNSETTLED_CALLS = 8
#: calls that are timed in plain Python: long ones, and short ones
PLAIN_CALLS = 3
PLAIN_SHORT_CALLS = 8
#: short calls in plain Python before a clear difference counts: there may be short and shorter ones
_SOME = 4
#: short calls that are timed in either way where neither's are all shorter: they get different arguments, and a few
#: tell no more than which got longer ones
MIXED_CALLS = 24
#: calls of which those in the middle are averaged, and what part is left out at each end
_MANY, _END = 16, 12
#: which calls are in plain Python: as many, and with as many on each side, in every pair, so that arguments that take
#: turns do not all go one way
_TURNS = (True, False, False, True, False, True, True, False)
#: graphs have lost at once where plain Python takes less than this part
_HOPELESS = 0.1
#: no trial, and no further call in plain Python, where one way takes less than this part of the other
_CLEAR = 0.5
#: an estimate decides where graphs take less than this part: its calls may have run beside a compiler
_SURE = 0.2
#: an estimate of less says little: what there is to measure it by takes as long
_ROUGH = 5e-5
#: what a single call may be interrupted for, by a garbage collection say, which shows in no other one
_INTERRUPTION = 0.05
#: a function's work has changed if a call in plain Python takes so many times what it took in the trial
_CHANGED = 4.0
#: seconds after the first call until those of graphs on threads count; seconds of calls that have lacked threads until
#: such calls count too
REST_SECONDS, LACK_SECONDS = 0.15, 0.05
#: calls have become even when they typically take no more than so many times the shortest; seconds of calls that have
#: not until they count as they are
_EVEN, UNEVEN_SECONDS = 1.25, 0.1
#: in a call that takes longer it does not matter that threads have to wake up
_WOKEN_SECONDS = 0.02
#: seconds since the call before after which others may have had the processor; calls after which it may be a habit
LULL_SECONDS, LULLS = 0.01, 4
#: calls in plain Python after the trial before it is looked whether the work has changed; doubled each time
FIRST_REVIEW = 8
#: a trial that was lost is repeated when it costs one part in so many of the time since: other programs may have
#: disturbed it; twice as many each time it is lost again
_PATIENCE = 32


def _typical(seconds: Sequence[float]) -> float:
    """Return what calls take: the median of few, and of many, which may differ for good, the mean of the middle."""
    if len(seconds) < _MANY:
        return statistics.median(seconds)
    cut = len(seconds) // _END
    return statistics.fmean(sorted(seconds)[cut:-cut])


class Trial:
    """One comparison of a function's two ways to run.

    Attributes
    ----------
    wants_plain : bool
        Whether the next call is to be run in plain Python.
    verdict : bool or None
        Whether the graphs pay; None while that is open.
    lost_seconds : float
        What calls that graphs do not serve have lost since, more than others have saved.
    """

    def __init__(self) -> None:
        self.wants_plain = False
        self.verdict: bool | None = None
        self.lost_seconds = self._estimate = 0.0
        self._running = False
        self._turn = 0
        self._settled: deque[float] = deque(maxlen=SETTLED_CALLS)
        self._unsettled: deque[float] = deque(maxlen=UNSETTLED_CALLS)
        self._plain: list[float] = []
        self._graph_calls = 0
        self._began: float | None = None
        self._has_threads = False
        self._lacking = self._settling = 0.0
        self._is_first_plain = True
        self._ended: float | None = None
        self._lulls = 0

    @property
    def _long_seconds(self) -> float:
        """What a long call takes at least: where threads wait for each other, timings are less accurate."""
        return _WOKEN_SECONDS if self._has_threads else LONG_SECONDS

    @property
    def graph_seconds(self) -> float:
        """What a call with graphs typically takes."""
        if len(self._settled) < SETTLED_LONG_CALLS:
            return statistics.median(self._unsettled)
        few = len(self._settled) < 2 * SETTLED_LONG_CALLS
        return min(self._settled) if few else _typical(self._settled)

    @property
    def plain_seconds(self) -> float:
        """What a call in plain Python typically takes."""
        if not self._plain:  # an estimate has decided
            return self._estimate
        few = len(self._plain) < PLAIN_CALLS
        return min(self._plain) if few else _typical(self._plain)

    def _are_apart(self) -> bool:
        """Whether all calls in one way are shorter than all in the other, but for one of each that was interrupted."""
        graph, plain = sorted(self._settled or self._unsettled), sorted(self._plain)
        return graph[-2:][0] < plain[0] or plain[-2:][0] < graph[0]

    def ran_graph(
        self, seconds: float, compiled: bool, estimate: float | None, had_threads: bool | None = None
    ) -> None:
        """Take note of a call with graphs.

        Parameters
        ----------
        seconds : float
            What it took.
        compiled : bool
            Whether something was compiled in it.
        estimate : float or None
            What a call in plain Python takes, if that is certain.
        had_threads : bool or None
            Whether the kernels that are for several threads had them; None if there are none.
        """
        self._graph_calls += 1
        is_after_lull = self._is_after_lull(seconds)
        if had_threads is not None:
            self._has_threads = True
            self._lacking += 0.0 if had_threads else seconds
            if not self._is_at_rest(had_threads):
                return
        if is_after_lull and not compiled:
            return
        (self._unsettled if compiled else self._settled).append(seconds)
        self._settling += seconds
        if not self._running and self._is_settled():
            if estimate is not None and estimate > _ROUGH and self.graph_seconds < _SURE * estimate:
                self.verdict, self._estimate = True, estimate
                return
            self._running = True
            self._settled = deque(self._settled, maxlen=MIXED_CALLS)
            self._turn = -1
        if self._running:
            self._turn += 1
            self.wants_plain = self._is_turn_of_plain()

    def _is_after_lull(self, seconds: float) -> bool:
        """Whether the call that took so long, and ends now, came long after the one before, as few do."""
        now = time.perf_counter()
        is_after_lull = self._ended is not None and now - seconds - self._ended > LULL_SECONDS
        self._ended = now
        self._lulls = max(0, min(self._lulls + (1 if is_after_lull else -1), 2 * LULLS))
        return is_after_lull and self._lulls <= LULLS

    def _is_at_rest(self, had_threads: bool) -> bool:
        now = time.perf_counter()
        self._began = now if self._began is None else self._began
        return now - self._began >= REST_SECONDS and (had_threads or self._lacking >= LACK_SECONDS)

    def _is_settled(self) -> bool:
        settled = len(self._settled)
        if self._has_threads and settled > 1 and not self._is_even():
            return False  # threads get in each other's way until each has a processor of its own
        if settled >= SETTLED_LONG_CALLS and min(self._settled) >= self._long_seconds:
            return True
        return settled >= SETTLED_CALLS or len(self._unsettled) >= UNSETTLED_CALLS

    def _is_even(self) -> bool:
        even = statistics.median(self._settled) <= _EVEN * min(self._settled)
        return even or self._settling >= UNEVEN_SECONDS

    def _is_turn_of_plain(self) -> bool:
        """Whether the next call is to be run in plain Python: each other one of long calls, a pattern of short ones."""
        if self._has_threads:
            return True
        if self.graph_seconds >= LONG_SECONDS:
            return self._turn % 2 == 0
        shift = self._turn // len(_TURNS) % 2 == 1  # the pattern, then its opposite
        return _TURNS[self._turn % len(_TURNS)] != shift

    def ran_plain(self, seconds: float) -> None:
        """Take note of a call in plain Python."""
        is_first = self._has_threads and self._is_first_plain and seconds < _WOKEN_SECONDS
        if self._is_after_lull(seconds) or is_first:
            self._is_first_plain = False
            return
        self._plain.append(seconds)
        self._turn += 1
        graph, plain, calls = self.graph_seconds, self.plain_seconds, len(self._plain)
        shorter = min(graph, plain)
        certain = plain if calls > 1 else plain - _INTERRUPTION
        clear = plain < _CLEAR * graph or graph < _CLEAR * certain
        if shorter >= LONG_SECONDS:
            is_clear, enough = clear, PLAIN_CALLS if shorter >= self._long_seconds else PLAIN_SHORT_CALLS
        else:
            apart = self._are_apart()
            is_clear, enough = clear and apart and calls >= _SOME, PLAIN_SHORT_CALLS if apart else MIXED_CALLS
        if is_clear or plain < _HOPELESS * graph or calls >= enough:
            self.verdict = graph < plain
        self.wants_plain = self.verdict is None and self._is_turn_of_plain()

    def repeat_after(self, lost: int) -> float:
        """Return after how many calls in plain Python to repeat the trial, when ``lost`` trials were lost."""
        graph, plain = self.graph_seconds, self.plain_seconds
        long = min(graph, plain) >= self._long_seconds
        calls = SETTLED_LONG_CALLS + PLAIN_CALLS if long else SETTLED_CALLS + PLAIN_SHORT_CALLS
        calls = max(calls, self._graph_calls)
        seconds = max(calls * (graph - plain), self.lost_seconds)
        return _PATIENCE * 2.0 ** (lost - 1) * max(seconds / plain, 1.0)

    def has_changed(self, seconds: float) -> bool:
        """Whether a call in plain Python is so much longer than those of the trial that another one is due."""
        return seconds > _CHANGED * self.plain_seconds

    @property
    def text(self) -> str:
        """The outcome in words."""
        graph, plain = self.graph_seconds * 1e6, self.plain_seconds * 1e6
        return f"a call takes {graph:.3g} µs with graphs and {plain:.3g} µs in plain Python"
