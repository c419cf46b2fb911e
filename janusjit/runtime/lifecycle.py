"""The life of one jitted function: warm-up, specialization, deoptimization, retreat to plain Python.

Owns `Lifecycle`, the state machine behind the dispatch. Invariants: a call's work is done exactly once, by Python or by
one exit of one graph; whatever is not the plain happy path publishes an event; a call never waits for another
thread's compilation.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from janusjit.config import current
from janusjit.ir.guards import EntryGuard, InGraphGuard
from janusjit.ir.relaxations import Relaxations
from janusjit.runtime import causes
from janusjit.runtime.budget import Budget
from janusjit.runtime.building import Attempt, Builder, Failure
from janusjit.runtime.cache import SETTLED, Backoff, SpecializationCache
from janusjit.runtime.call import Call, Entry, Options
from janusjit.runtime.compiler import Compiler, Prepared
from janusjit.runtime.events import Cause, Cost, Difference, FunctionIdentity, Stream
from janusjit.runtime.publishing import Publisher, cause_of
from janusjit.runtime.specialization import IN_GRAPH, Specialization
from janusjit.runtime.statistics import Tally, keep
from janusjit.runtime.turn import Turn, Turns

#: calls that break one specialization from inside before it is taken to do no good, if it was hit less often
_UNSTABLE = 8
#: the failure of a capture that has taken too long
OUT_OF_TIME = "limit.capture_time"
#: calls that go straight to plain Python while there is nothing but to wait
_SKIPPED = 64
#: attempts to capture a function whose calls so far would all have raised an exception
_ATTEMPTS = 4


class Lifecycle:
    """State of one jitted function, or of one continuation.

    Parameters
    ----------
    function : callable
        What runs in plain Python.
    identity : FunctionIdentity
        The name under which events speak of it.
    builder : Builder
        Captures and compiles it.
    options : Options
        What the user asked for.
    compiler : Compiler
        Makes graphs and native code.
    stream : Stream
        Receives the events.

    Attributes
    ----------
    entries : tuple of callable
        Native entries for the fast path, most recently hit first. Empty while every call takes the slow path.
    plain : bool
        Whether all calls go straight to plain Python.
    skips : int
        How many more calls go straight to plain Python, because nothing is compiled yet, and nothing can be now.
    refusal : Cause or None
        Why the function can run in plain Python only.
    review_at : int
        The number of the plain call at which it is looked whether that is still so; -1 for none.
    pending : Future or None
        The last compilation that was begun in the background.
    budget : Budget
        How long calls may wait for compilation; a continuation's is its function's.
    owner : Lifecycle or None
        Of a continuation: its function's.
    """

    __slots__ = ("__dict__", "__weakref__", "entries")  # `entries`, for which each call asks first
    publisher_type = Publisher

    def __init__(
        self,
        function: Callable[..., Any],
        identity: FunctionIdentity,
        builder: Builder,
        options: Options,
        compiler: Compiler,
        stream: Stream,
    ) -> None:
        self.function = function
        self.options = options
        self.entries: tuple[Entry, ...] = ()
        self.plain = False
        self.refusal: Cause | None = None
        self.skips, self.review_at = 0, -1
        self.cache = SpecializationCache(current().specialization_limit)
        self.tally = Tally()
        self.relaxations = Relaxations(static=options.static)
        self.publisher = self.publisher_type(identity, options.policy, stream, self.tally)
        self._deoptimized = compiler.deoptimized
        self._builder = builder
        builder.call_seconds = self.tally.about_eager_seconds  # of the tally alone, which does not keep this alive
        self._prepared: Prepared | None = None
        self._refused: frozenset[Any] = frozenset()
        self._backoff = Backoff(self.cache.limit)
        self._owed: tuple[Difference, frozenset[Any]] | None = None
        self.pending: Future[None] | None = None
        self._made = 0
        self._failures = 0
        self.owner: Lifecycle | None = None
        self.budget = Budget(current().allowance if options.background and options.policy != "raise" else math.inf)
        self._granted = math.inf
        self._compiling = Turns()
        self._profiling: set[int] = set()

    # ------------------------------------------------------------------ calls

    def retry(self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...], tried: Entry) -> Any:
        """Run a call that the entry in front has just refused: from another settled entry, or by the slow path."""
        for entry in self.entries:
            if entry is not tried:
                result = entry(*bound)
                if result is not self._deoptimized:
                    self.cache.touch(entry)
                    self._settle()
                    return result
        return self.call(args, kwargs, bound, tried)

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...], tried: Entry | None = None
    ) -> Any:
        """Run one call that the fast path could not serve.

        Parameters
        ----------
        args, kwargs
            The arguments as given.
        bound : tuple
            The arguments in parameter order.
        tried : callable, optional
            An entry that has just deoptimized for this call.
        """
        if threading.get_ident() in self._profiling:  # a part of the profiled call that is running
            return self.function(*args, **kwargs)
        call = Call(args, kwargs, bound, self.number)
        if self.refusal is not None:
            return self._run_python(call)
        if self.warms_up:
            return self._run_profiled(call)
        return self._run_cached(call, tried)

    def _run_cached(self, call: Call, tried: Entry | None) -> Any:
        inside: tuple[Specialization, int] | None = None
        for specialization in self.cache:
            if specialization.entry is not tried:
                result = self._enter(call, specialization)
                if result is not self._deoptimized:
                    return result
            failed = specialization.compiled.status.failed
            if failed >= IN_GRAPH and inside is None:
                inside = (specialization, failed)
        if inside is not None:
            return self._broken_inside(call, *inside)
        return self._missed(call)

    def _hit(self, specialization: Specialization, seconds: float) -> None:
        if len(specialization.timings) < SETTLED:
            specialization.timings.append(seconds)
        self.cache.touch(specialization.entry)
        self._settle()

    def _settle(self) -> None:
        """Let the fast path try what is compiled, unless calls are left to Python."""
        self.entries = () if self.plain else self.cache.entries()

    def _run_python(self, call: Call) -> Any:
        """Run a call in plain Python that counts as an eager one."""
        if self.refusal is not None:
            self.publisher.refuse_python(self.refusal, call.number)
        self.tally.plain_calls += 1
        contended = self._compiling.locked()
        started = time.perf_counter()
        result = self.function(*call.args, **call.kwargs)
        seconds = time.perf_counter() - started
        if not contended and not self._compiling.locked():  # or it would have waited for the thread that compiles
            keep(self.tally.plain_timings, seconds)
        return result

    def _run_profiled(self, call: Call) -> Any:
        prepared = self._prepare()
        if isinstance(prepared, Failure):
            self._give_up(prepared, call.number, Cost())
            return self._run_python(call)
        before, (compiling, entries) = prepared.observations(), self._elsewhere()
        started = time.perf_counter()
        try:
            return self._run_twin(prepared, call)
        finally:
            compiled, entered = self._elsewhere()
            cost = Cost(profile=time.perf_counter() - started - (compiled - compiling))
            self.publisher.profiled(call.number, cost, prepared.observations() - before, entered > entries)

    @property
    def warms_up(self) -> bool:
        """Whether the next call is to be profiled, since fewer have been than capture waits for."""
        return self.tally.profiled_calls < self.options.warmup

    def _elsewhere(self) -> tuple[float, int]:
        """Return the seconds of compilation so far, and how many running loops compiled code has taken over."""
        return self.tally.compile_seconds, 0

    def _run_twin(self, prepared: Prepared, call: Call) -> Any:
        thread = threading.get_ident()
        self._profiling.add(thread)
        try:
            return prepared.twin(*call.args, **call.kwargs)
        finally:
            self._profiling.discard(thread)

    def number(self) -> int:
        """Return the number of the call that is running, counted from 1."""
        return self.tally.calls(self.cache) + 1

    def forget_threads(self) -> None:
        """Forget what other threads were doing, in a forked child."""
        self._compiling = Turns()
        self.pending = None
        self._profiling &= {threading.get_ident()}

    # ------------------------------------------------------------------ specialization

    def _specialize_and_run(self, call: Call, trigger: Difference | None, new: frozenset[Any] = frozenset()) -> Any:
        """Make a specialization for this call, and run the call: in it, or in Python where it is not ready at once."""
        with self._compiling.take() as mine:
            attempt = self._attempt(call, new) if mine else None
            specialization = self._finish(attempt, call.number, trigger, new) if attempt else None
        return self._run_meanwhile(call) if specialization is None else self._run_first(call, specialization)

    def _enter(self, call: Call, specialization: Specialization) -> Any:
        """Return what a specialization makes of a call, and take note if it serves it, with an exception or without."""
        started, result = time.perf_counter(), None
        try:
            result = specialization.entry(*call.bound)
        finally:
            if result is not self._deoptimized:
                self._hit(specialization, time.perf_counter() - started)
        return result

    def _run_first(self, call: Call, specialization: Specialization) -> Any:
        result = self._enter(call, specialization)
        if result is not self._deoptimized:
            return result
        return self._broken_inside(call, specialization, specialization.compiled.status.failed)

    def _grant(self, call: Call) -> bool:
        """Whether a call may wait for an attempt at a specialization."""
        was_exhausted = self.budget.exhausted
        owner = self.owner or self
        calls = owner.tally.calls(owner.cache)
        self._granted = self.budget.request(calls, owner.tally.eager_seconds_of(calls, self.budget.is_little))
        if self.budget.exhausted and not was_exhausted:
            failure = Failure("cost.compile_time", "cost", self.budget.text, "function")
            owner.publisher.backed_off(failure, call.number, Cost(), 0)
        return self._granted > 0.0

    def _run_meanwhile(self, call: Call) -> Any:
        """Run a call in plain Python that may be compiled later."""
        return self._run_python(call)

    def _attempt(self, call: Call, new: frozenset[Any]) -> Attempt:
        """Capture a call, and compile it unless that is done in the background."""
        prepared = self._prepare()
        if isinstance(prepared, Failure):
            return Attempt(self.relaxations, failure=prepared)
        if prepared.sites is not None:
            prepared.sites.deadline = time.perf_counter() + self._granted
        attempt = self._builder.capture(prepared, call.bound, self.relaxations, new - self._refused)
        return self._builder.compile(attempt) if self._waits(attempt) else attempt

    def _waits(self, attempt: Attempt) -> bool:
        """Return whether the call waits for the compilation of what has been captured."""
        return not self.options.background and self.budget.waits_for(attempt.capture_seconds, self._granted)

    @property
    def prepared(self) -> Prepared:
        """The function's twin and profile."""
        prepared = self._prepare()
        assert isinstance(prepared, Prepared)
        return prepared

    def _prepare(self) -> Prepared | Failure:
        if self._prepared is None:
            prepared = self._builder.prepare()
            if isinstance(prepared, Failure):
                return prepared
            self._prepared = prepared
        return self._prepared

    def _finish(
        self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any]
    ) -> Specialization | None:
        """Take in what came of an attempt; None where there is no specialization, or not yet."""
        cost = Cost(capture=attempt.capture_seconds, compile=attempt.compile_seconds)
        if not self._compiling.current.handed_over:
            in_time = attempt.failure is None or attempt.failure.code != OUT_OF_TIME
            self.budget.took(attempt.capture_seconds, attempt.compile_seconds, in_time)
        if attempt.failure is not None:
            self._failed(attempt.failure, number, cost)
            return None
        assert attempt.graph is not None
        if attempt.compiled is None:
            self._hand_over(attempt, number, trigger, new)
            return None
        self._refused |= new - attempt.relaxations.keys
        self.relaxations = attempt.relaxations
        self._made += 1
        self._backoff.compiled(self.cache.useless)
        specialization = Specialization(self._made, attempt.graph, attempt.compiled, cost.capture + cost.compile)
        specialization.entry = self._entry_of(specialization)
        self.publisher.specialized(specialization, number, trigger, bool(new & attempt.relaxations.keys), cost)
        for evicted in self.cache.add(specialization):
            text = f"the limit of {self.cache.limit} live specializations; this one was the least recently hit"
            self.publisher.evicted(evicted, number, Cause("environment.limit", "environment", text))
        self._settle()
        return specialization

    def _entry_of(self, specialization: Specialization) -> Entry:
        """Return what is called to run a specialization."""
        return specialization.compiled.entry

    def _hand_over(self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any]) -> None:
        """Have an attempt compiled in the background, with which the turn to specialize ends."""
        turn = self._compiling.current
        self.pending, turn.handed_over = None, True
        try:
            self.pending = self._builder.compile_later(
                attempt, lambda done: self._finish_later(done, number, trigger, new, turn)
            )
        finally:
            if self.pending is None:  # there is no thread, or an interrupt came in between
                turn.handed_over = False
                self._backoff.failed()

    def _finish_later(
        self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any], turn: Turn
    ) -> None:
        try:
            self._finish(attempt, number, trigger, new)
        finally:
            turn.end()
            self.skips = 0

    def _failed(self, failure: Failure, number: int, cost: Cost) -> None:
        if failure.code == OUT_OF_TIME:  # no word on whether it can be captured: it gets more time later
            self.publisher.backed_off(failure, number, cost, 0)
            return
        self._failures += 1
        about_this_call = failure.code in causes.EXCEPTIONAL and self._failures < _ATTEMPTS
        if len(self.cache) == 0 and not about_this_call:
            self._give_up(failure, number, cost)
        else:
            self._backoff.failed()
            self.publisher.backed_off(failure, number, cost, self._backoff.waiting)

    def _give_up(self, failure: Failure, number: int, cost: Cost) -> None:
        """Let every later call be plain Python."""
        self.entries = ()
        self.plain = self.options.policy != "raise"
        self.refusal = self.publisher.fell_back(failure, number, cost)

    def reconsider(self, code: str, text: str) -> None:
        """Let calls run from graphs again."""
        self.refusal = None
        self.plain = False
        self.review_at = -1
        self.publisher.reconsidered(Cause(code, "cost", text), self.number())

    # ------------------------------------------------------------------ failed guards

    def _missed(self, call: Call) -> Any:
        """Run a call that no live specialization's entry guards admit."""
        self.skips = 0 if len(self.cache) else _SKIPPED  # before looking: who finishes meanwhile sets it back
        if self._compiling.locked() or not self._grant(call):
            return self._run_meanwhile(call)
        self.skips = 0
        if self._owed is not None:
            (trigger, new), self._owed = self._owed, None
            return self._specialize_and_run(call, trigger, new)
        if not self._backoff.granted():
            return self._run_meanwhile(call)
        return self._specialize_further(call) if len(self.cache) else self._specialize_and_run(call, None)

    def _specialize_further(self, call: Call) -> Any:
        """Deoptimize at entry: make a specialization that admits the call, and continue there or in Python."""
        started = time.perf_counter()
        nearest, failed, differences = causes.nearest(self.cache, call.bound)
        new = self._to_relax([guard for guard, _ in failed], call)
        cost = Cost(guards=time.perf_counter() - started)
        with self._compiling.take() as mine:
            if not mine:
                return self._run_python(call)
            attempt = self._attempt(call, new)
            ready = attempt.compiled is not None
            self.publisher.guard_failed(
                stage="entry",
                call=call.number,
                differences=differences,
                nearest=nearest.number,
                action="relaxed" if new & attempt.relaxations.keys else "specialized",
                resumed="graph" if ready else "python",
                cost=cost,
            )
            specialization = self._finish(attempt, call.number, differences[0], new)
        if specialization is not None and ready:
            return self._run_first(call, specialization)
        if attempt.failure is not None:
            self.publisher.refuse_python(cause_of(differences[0]), call.number, nearest.number)
        return self.function(*call.args, **call.kwargs)

    def _to_relax(self, failed: list[EntryGuard], call: Call) -> frozenset[Any]:
        """Return the assumptions to give up; none where a further specialization is the better answer."""
        if not failed or (causes.are_flags(failed) and len(self.cache) < self.cache.limit // 2):
            return frozenset()
        keys = causes.relaxation_keys(failed, call.bound)
        if len(self.cache) < self.cache.limit // 2 and causes.are_iterated(keys or frozenset()):
            return frozenset()  # a specialization for each of a few lengths is faster
        return (keys or frozenset()) - self._refused - self.relaxations.keys

    def _broken_inside(self, call: Call, specialization: Specialization, failed: int) -> Any:
        """Run a call again in Python whose graph was left by a failed guard; nothing of it had taken effect."""
        guard = specialization.failed_guard(failed)
        difference, key = causes.unexplained(guard), None
        if isinstance(guard, InGraphGuard):
            difference, key = causes.graph_difference(guard), causes.relaxation_key(guard, specialization.failures)
        if key in self._refused or key in self.relaxations:
            key = None
        specialization.failures += 1
        if key is not None or difference.code not in causes.EXCEPTIONAL:
            self.publisher.refuse_python(cause_of(difference), call.number, specialization.number)
        started = time.perf_counter()
        try:
            if key is not None and self._prepared is not None:  # the twin sees what the profile had not
                return self._run_twin(self._prepared, call)
            return self.function(*call.args, **call.kwargs)
        except BaseException as raised:
            difference = replace(difference, actual=f"raised {type(raised).__name__}")
            raise
        finally:
            self.publisher.guard_failed(
                stage="graph",
                call=call.number,
                differences=(difference,),
                nearest=specialization.number,
                action="none" if key is None else "relaxed",
                resumed="python",
                cost=Cost(eager=time.perf_counter() - started, wasted=specialization.graph_seconds or 0.0),
            )
            self._after_broken(call, specialization, difference, key)

    def supersede(self, specialization: Specialization, difference: Difference) -> None:
        """Retire a specialization that assumes what is not assumed any more."""
        self.cache.retire(specialization)
        text = f"superseded: {difference.expression} is no longer assumed to be {difference.expected}"
        self.publisher.evicted(specialization, self.number(), Cause(difference.code, difference.category, text))
        self._settle()

    def _after_broken(self, call: Call, specialization: Specialization, difference: Difference, key: Any) -> None:
        if key is not None:
            for retired in [s for s in self.cache if s is specialization or s.assumes(key)]:
                self.supersede(retired, difference)
            keys = frozenset([key]) | (self._owed[1] if self._owed else frozenset())
            self._owed = (difference, keys)
        elif specialization.failures >= _UNSTABLE and specialization.failures > specialization.hits:
            self.cache.retire(specialization)
            if len(self.cache) == 0:
                reason = f"{specialization.failures} calls left the graph at this guard, {specialization.hits} did not"
                failure = Failure(difference.code, "fundamental", reason, difference.expression, difference.assumption)
                self._give_up(failure, call.number, Cost())
        self._settle()
