"""The life of a jitted function as a whole: its graphs, what lies between them, and whether they pay.

Owns `FunctionLifecycle`. Invariant: a function is left to Python for its cost only after its calls have been timed both
ways, and not for good: a call that has grown since calls for another trial, and so do many calls.
"""

from __future__ import annotations

import time
import types
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from janusjit.analysis.continuation import points_of
from janusjit.analysis.snapshot import Snapshot, snapshot_of
from janusjit.backend.llvm import threads
from janusjit.config import current
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import Relaxations
from janusjit.pacing import REST, give_way
from janusjit.runtime.building import Attempt, Failure, SpecializationBuilder
from janusjit.runtime.call import Call, Entry, Options
from janusjit.runtime.compiler import Compiler, Prepared
from janusjit.runtime.events import Cost, Difference, Stream
from janusjit.runtime.generations import generations_of
from janusjit.runtime.lifecycle import Lifecycle
from janusjit.runtime.preparation import Preparation
from janusjit.runtime.publishing import identify
from janusjit.runtime.replacement import OnStackReplacement
from janusjit.runtime.resumption import ContinuationLifecycle, Resumptions
from janusjit.runtime.specialization import IN_GRAPH, Specialization
from janusjit.runtime.statistics import Statistics
from janusjit.runtime.trial import FIRST_REVIEW, Trial
from janusjit.runtime.turn import Turn
from janusjit.spans import UNKNOWN_SPAN

#: so many versions of an unfolded recursion are compiled before its calls get code of their own
UNFOLDED_LIMIT = 4
#: calls in Python before it is looked whether a compilation in the background is done: at first, and at most
_FIRST, _MEANWHILE = 8, 64
#: seconds in Python until then
_LOOK_SECONDS = 0.005
#: calls in Python before a specialization is looked for again, where compilation has taken too long already
_PUT_OFF = 32
#: calls that graphs do not serve until it is looked whether they cost more than the others save
_ACCOUNTED = 64
#: seconds that are not worth a word
_LOSS = 0.01
#: calls that no specialization admits, among others, before it is looked again what to do about them
_SPARED = 16


class FunctionLifecycle(Lifecycle):
    """The life of a function whose calls may go on from commit points."""

    def __init__(
        self, function: types.FunctionType, options: Options, compiler: Compiler, stream: Stream
    ) -> None:
        builder = _FunctionBuilder(function, compiler, options.exact)
        super().__init__(function, identify(function), builder, options, compiler, stream)
        self.resumptions = Resumptions(self, options, compiler, stream)
        self.resumptions.specialized = self._judge_again
        self.trial = Trial()
        self._judged, self._threads_used = 0.0, threads.usage()
        self._misses = self._hits_before = 0
        self._spared = self._unseen = 0
        self._looked = 0.0, 0
        self._slow_calls, self._slow_seconds, self._in_python = 0, 0.0, 0.0
        self._resting = False
        self._captures_beside = True
        self.review_after = 0
        self._lost = 0
        beside = options.background and options.policy != "raise"
        self._generations = generations_of(function) if beside else None
        self._begun, self._beginning = self._generations is None, 0.0
        self.replacement = OnStackReplacement(self.resumptions.begin, self.resumptions.run, function.__closure__ or ())
        builder.replacement = self.replacement
        builder.resumptions = self.resumptions
        self.preparation = Preparation(
            builder, self._prepare_beside, lambda: self._rest(self._meanwhile()), self._end_rest, beside
        )
        self.replacement.waits = lambda: self.preparation.under_way

    def _entry_of(self, specialization: Specialization) -> Entry:
        entry = specialization.compiled.entry
        ends_early = next(points_of(specialization.captured), None) is not None
        return self.resumptions.wrap(entry) if ends_early else entry

    def _attempt(self, call: Call, new: frozenset[Any]) -> Attempt:
        sites = self.prepared.sites if self._prepared is not None else None
        if sites is not None and sites.recursive and not sites.outlined and len(self.cache) >= UNFOLDED_LIMIT:
            sites.outlined = True  # the data the recursion goes over differs too often to unfold it
        return super()._attempt(call, new)

    def _specialize_and_run(self, call: Call, trigger: Difference | None, new: frozenset[Any] = frozenset()) -> Any:
        if self._may_capture_beside():
            snapshot = snapshot_of(call.bound)
            if snapshot is not None:
                with self._compiling.take() as mine:
                    if mine:
                        self._capture_beside(snapshot, call.number, trigger, new)
                return self._run_meanwhile(call)
            self._captures_beside = False
        return super()._specialize_and_run(call, trigger, new)

    def _may_capture_beside(self) -> bool:
        """Whether the call may be captured while others go on; not if one of those may come to be captured as well."""
        if not self._captures_beside or self.preparation.future is None or len(self.cache):
            return False
        sites = self.prepared.sites
        return not (self._profiling or self._continuations() or (self._made and sites and sites.instructions))

    def _capture_beside(
        self, snapshot: Snapshot, number: int, trigger: Difference | None, new: frozenset[Any]
    ) -> None:
        """Have a snapshot of a call captured and compiled in the background, with which the turn to specialize ends."""
        prepared, turn = self.prepared, self._compiling.current

        def done(attempt: Attempt | None) -> None:
            if attempt is not None and attempt.failure is None:
                self._finish_later(attempt, number, trigger, new, turn)
                return
            self._captures_beside = False  # the next call is captured at once
            self._owed = None if trigger is None else (trigger, new)
            turn.end()
            self.skips = 0
            self._end_rest()

        if prepared.sites is not None:
            prepared.sites.deadline = time.perf_counter() + (1.0 + REST) * self._granted
        self.pending, turn.handed_over = None, True
        try:
            self.pending = self._builder.make_later(prepared, snapshot, self.relaxations, new - self._refused, done)
        finally:
            if self.pending is None:
                turn.handed_over = False

    def _hit(self, specialization: Specialization, seconds: float) -> None:
        super()._hit(specialization, seconds)
        if self._is_on_trial:
            compiling, before = self._elsewhere()[0], self._judged
            self._judged = compiling
            had_threads = self._had_threads() if specialization.is_divided else None
            self.trial.ran_graph(seconds, compiling != before, self.tally.clear_eager_seconds, had_threads)
            self._settle()

    @property
    def _is_on_trial(self) -> bool:
        """Whether it is not known yet if graphs pay: calls go the way where they are timed."""
        return self.trial.verdict is None and self.options.policy != "raise" and current().trials

    def _settle(self) -> None:
        super()._settle()
        if self._is_on_trial:
            self.entries = ()

    def _had_threads(self) -> bool:
        """Whether kernels had threads since this was asked last, most times at least, and would have them now."""
        usage = threads.usage()
        before, self._threads_used = self._threads_used, usage
        divided, joined = usage.divided - before.divided, usage.joined - before.joined
        return 0 < divided <= 2 * joined and not usage.is_held_up

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...], tried: Entry | None = None
    ) -> Any:
        """Run one call that the fast path could not serve; see `Lifecycle.call`."""
        if self._spared > 0 and tried is not None and self._owed is None and not self._was_left_inside():
            self._spared, self._unseen = self._spared - 1, self._unseen + 1
            self.tally.plain_calls += 1
            return self.function(*args, **kwargs)
        trial, pays = self.trial, self.trial.verdict
        started, compiling, before = time.perf_counter(), self._elsewhere()[0], self._seconds_in_python()
        try:
            return self._call(args, kwargs, bound, tried)
        finally:
            in_python = self._seconds_in_python() - before
            if pays and in_python > 0.0 and trial is self.trial:
                compiled = self._elsewhere()[0] - compiling
                self._account(time.perf_counter() - started - compiled - in_python)

    def _call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...], tried: Entry | None
    ) -> Any:
        with self.budget.call():
            if not self._begun and not self._begin():
                self._rest(_PUT_OFF)
                return self._run_python(Call(args, kwargs, bound, self.number))
            if self.preparation.puts_off():
                self.tally.plain_calls += 1
                return self.function(*args, **kwargs)
            if self._generations is not None and self.warms_up:
                return self._run_warm_up(args, kwargs, bound)
            if self.trial.wants_plain and tried is None and self.refusal is None:
                return self._run_trial(Call(args, kwargs, bound, self.number))
            return super().call(args, kwargs, bound, tried)

    def _seconds_in_python(self) -> float:
        """Return what calls that graphs do not serve have taken in Python itself."""
        return self._in_python + self.tally.rerun_seconds

    def _run_python(self, call: Call) -> Any:
        started = time.perf_counter()
        try:
            return super()._run_python(call)
        finally:
            self._in_python += time.perf_counter() - started

    def _account(self, lost: float) -> None:
        """Take note of what a call that graphs do not serve has lost by them; see now and then if they still pay.

        A trial times calls that graphs serve; others are run in Python when guards have failed.
        """
        self._slow_seconds += lost
        self._slow_calls += 1
        if self._slow_calls % _ACCOUNTED:
            return
        lost, saved = self._slow_seconds, self.tally.statistics(self.cache).saved_seconds
        if self.options.policy != "raise" and current().trials and lost > max(saved, 0.0) + _LOSS:
            text = f"{self._slow_calls} calls that graphs did not serve lost {lost:.3g} s, others saved {saved:.3g} s"
            failure = Failure("cost.slower", "cost", f"plain Python is faster: {text}", "", UNKNOWN_SPAN)
            self.trial.lost_seconds = lost - max(saved, 0.0)
            self._lose(failure, self.number())

    def _lose(self, failure: Failure, number: int) -> None:
        """Leave calls to Python, until they have changed or it is worth another trial."""
        self.trial.verdict = False
        self._slow_calls, self._slow_seconds = 0, 0.0
        self._lost += 1
        self.review_after = FIRST_REVIEW
        self.review_at = self.tally.plain_calls + self.review_after
        self._give_up(failure, number, Cost())

    def _begin(self) -> bool:
        """Begin with the warm-up, if there is use in it: of functions made anew all the time, it has to have paid."""
        assert self._generations is not None
        self._begun = self._generations.may_begin()
        if self._begun:
            self._generations.began(self)
        return self._begun

    def _run_warm_up(self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...]) -> Any:
        started = time.perf_counter()
        try:
            return super().call(args, kwargs, bound)
        finally:
            self._beginning += time.perf_counter() - started

    def paid(self) -> tuple[float, float]:
        """Return the seconds that profiling and compilation have taken, and those that graphs have saved."""
        own = self.tally.profiled_calls * (self.tally.eager_seconds or 0.0)
        saved = self.tally.statistics(self.cache).saved_seconds
        return max(self._beginning - own, 0.0) + self._elsewhere()[0], saved

    @property
    def warms_up(self) -> bool:
        """Whether the next call is to be profiled; see `Lifecycle.warms_up`."""
        return self.tally.profiled_calls - self.preparation.partial_calls < self.options.warmup

    def _run_profiled(self, call: Call) -> Any:
        before = self.preparation.begin_call()
        try:
            return super()._run_profiled(call)
        finally:
            self.preparation.end_call(before)

    def _prepare_beside(self) -> Prepared | None:
        prepared = self._prepare()
        return prepared if isinstance(prepared, Prepared) else None

    def _was_left_inside(self) -> bool:
        """Whether a specialization may have been left by a guard of its graph, which is to be told of."""
        return any(specialization.compiled.status.failed >= IN_GRAPH for specialization in self.cache)

    def _missed(self, call: Call) -> Any:
        self._misses = self._misses + 1 + self._unseen if self.cache.hits == self._hits_before else 0
        made, self._unseen = self._made, 0
        try:
            return super()._missed(call)
        finally:
            self._hits_before = self.cache.hits
            if self.refusal is None and self.options.policy != "raise":
                self._rest(self._calls_to_spare(made))
                self._spare(made)

    def _spare(self, made: int) -> None:
        """Let the next calls that miss be Python's at once, if no attempt at a specialization is due before."""
        if self._resting or self._made > made or not self.entries:
            self._spared = 0
        elif self._compiling.locked() or self.budget.exhausted:
            self._spared = _SPARED
        else:
            self._spared = self._backoff.waiting
            self._backoff.waited()

    def _calls_to_spare(self, made: int) -> int:
        """Return for how many calls there is no use in looking for a specialization."""
        if self._compiling.locked():  # calls that hit a specialization go on to, unless there have been none lately
            return self._meanwhile() if self._misses > 2 or not len(self.cache) else 0
        if self._misses < self.cache.limit or self._made > made:
            return 0
        return _PUT_OFF if self.budget.exhausted else self._backoff.waiting

    def _meanwhile(self) -> int:
        """Return after how many calls to look whether what goes on in the background is done, and to give way to it."""
        now, calls = time.perf_counter(), self.tally.plain_calls
        passed, done = now - self._looked[0], calls - self._looked[1]
        self._looked = now, calls
        return max(1, min(int(done * _LOOK_SECONDS / passed), _MEANWHILE)) if done and passed > 0.0 else _FIRST

    def _rest(self, calls: int) -> None:
        """Run so many calls in plain Python, or those until a compilation in the background is done."""
        if calls:
            self.entries, self.plain, self._resting = (), True, True
            self.review_at = self.tally.plain_calls + calls

    def _finish(
        self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any]
    ) -> Specialization | None:
        specialization = super()._finish(attempt, number, trigger, new)
        if specialization is not None:
            self._spared = 0
            self._judge_again()
        return specialization

    def _judge_again(self) -> None:
        """Begin another trial where graphs were found to pay: of other graphs, which may assume less, or be many."""
        if self.trial.verdict:
            self.trial = Trial()
            self._settle()

    def _finish_later(
        self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any], turn: Turn
    ) -> None:
        super()._finish_later(attempt, number, trigger, new, turn)
        self._end_rest()

    def _end_rest(self) -> None:
        self._spared = 0
        if self._resting:
            self._resume()

    def _resume(self) -> None:
        self._resting, self.plain, self.review_at = False, self.refusal is not None, -1
        self._settle()

    def _run_trial(self, call: Call) -> Any:
        """Run a call in plain Python, to see whether graphs pay."""
        started = time.perf_counter()
        try:
            return self._run_python(call)
        finally:
            self.trial.ran_plain(time.perf_counter() - started)
            if self.trial.verdict is False:
                self._lose(self._does_not_pay(), call.number)
            elif self.trial.verdict:
                self._settle()

    def _does_not_pay(self) -> Failure:
        sites = (self.prepared.sites.instructions if self.prepared.sites is not None else {}).values()
        first = next(iter(sites), None)
        if first is None:
            return Failure("cost.slower", "cost", f"plain Python is faster: {self.trial.text}", "", UNKNOWN_SPAN)
        reason = f"too fragmented to gain: {self.trial.text}"
        return Failure("cost.fragmented", "cost", reason, first.construct, first.span)

    def review(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call of a function left to Python for its cost, and see whether its work has grown since."""
        if self._resting or not self.review_after:  # the thread that compiles may just have ended the rest
            self.skips = 0
            self._resume()
            self._backoff.waited()
            give_way()
            return self.function(*args, **kwargs)
        started = time.perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - started
            self.review_after *= 2
            self.review_at += self.review_after
            before, since = self.trial, self.review_after - FIRST_REVIEW  # 8 + 16 + ... calls
            if before.has_changed(seconds):
                self._try_again("cost.changed", f"a call has taken {seconds * 1e6:.3g} µs in plain Python; before, ")
            elif since >= before.repeat_after(self._lost):
                self._try_again("cost.again", f"{since} calls have run in plain Python since ")

    def _try_again(self, code: str, reason: str) -> None:
        before, self.trial = self.trial, Trial()
        self.reconsider(code, reason + before.text)

    def statistics(self) -> Statistics:
        """Return the counters of the function, what its continuations did included."""
        own = self.tally.statistics(self.cache)
        parts = [(part.tally, part.cache) for part in self._continuations()]
        return replace(
            own,
            loop_entries=self.replacement.entries,
            deopts=own.deopts + sum(tally.deopts for tally, _ in parts),
            host_calls=self.resumptions.host_calls,
            specializations=own.specializations + sum(len(cache) for _, cache in parts),
            compile_seconds=self._elsewhere()[0],
        )

    def _continuations(self) -> list[ContinuationLifecycle]:
        return list(self.resumptions.continuations.values())

    def _elsewhere(self) -> tuple[float, int]:
        seconds = sum(part.tally.compile_seconds for part in self._continuations())
        return self.tally.compile_seconds + seconds, self.replacement.entries

    def futures(self) -> list[Future[None]]:
        """Return what was last begun in the background: to make the function ready, and to compile it."""
        begun = (self.preparation.future, self.pending, *(part.pending for part in self._continuations()))
        return [future for future in begun if future is not None]

    def forget_threads(self) -> None:
        """Forget what other threads were doing, in a forked child."""
        super().forget_threads()
        self.preparation.forget_thread()
        for part in self._continuations():
            part.forget_threads()

    def _prepare(self) -> Prepared | Failure:
        prepared = super()._prepare()
        if isinstance(prepared, Prepared) and prepared.sites is not None:
            prepared.sites.memory_limit = self.options.memory_limit
            prepared.sites.threads = self.options.threads
            prepared.sites.measured = self.options.measured
            prepared.sites.commits_turns = self.options.policy != "raise"  # nothing of a refused call may be real
        return prepared


class _FunctionBuilder(SpecializationBuilder):
    resumptions: Resumptions

    def _graph(self, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        return super()._graph(prepared, arguments, relaxations.extended(self.resumptions.relaxed))
