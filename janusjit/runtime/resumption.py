"""Going on from commit points.

Owns `Resumptions`, which runs what lies between the graphs of one call, and `ContinuationLifecycle`, the life of one
continuation: it is specialized, guarded and deoptimized as a function is. Invariants: a host call is run once, in
program order, when everything before it is real; a guard that fails after it costs the work since then and no more.
"""

from __future__ import annotations

import threading
import time
import types
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from janusjit.analysis.continuation import CommitPoint, Continuation, FrameShape, points_of
from janusjit.analysis.generate import Generated
from janusjit.analysis.loop_iterators import leave_loops
from janusjit.config import current
from janusjit.ir.graph import Graph
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.relaxations import Relaxations
from janusjit.runtime import causes
from janusjit.runtime.building import Attempt, Builder, Failure, SpecializationBuilder
from janusjit.runtime.call import Call, Entry, Options
from janusjit.runtime.commit_points import RUNNERS
from janusjit.runtime.compiler import Compiler, Prepared
from janusjit.runtime.events import Cost, Stream
from janusjit.runtime.lifecycle import Lifecycle
from janusjit.runtime.publishing import ContinuationPublisher, identify
from janusjit.runtime.python_frames import PythonContinuation, raising
from janusjit.runtime.replacement import OnStackReplacement
from janusjit.runtime.specialization import Specialization
from janusjit.runtime.statistics import Statistics
from janusjit.runtime.trial import SETTLED_CALLS, Trial
from janusjit.spans import UNKNOWN_SPAN

#: continuations of one function that are compiled
CONTINUATION_LIMIT = 24
#: so many versions of an unfolded recursion are compiled before its calls get code of their own
UNFOLDED_LIMIT = 4


class Resumptions:
    """What runs between the graphs of one function's calls.

    Parameters
    ----------
    owner : Lifecycle
        The function's.
    options, compiler, stream
        Of the function.

    Attributes
    ----------
    host_calls : int
        How many instructions Python has run between graphs.
    relaxed : frozenset
        The assumptions that failed in the middle of loops.
    """

    def __init__(self, owner: FunctionLifecycle, options: Options, compiler: Compiler, stream: Stream) -> None:
        self.owner = owner
        # what has happened cannot be refused any more
        policy = "warn" if options.policy == "raise" else options.policy
        # compiled at once: what waits for it is a call that has begun, perhaps with a long loop still before it
        self.options = replace(options, warmup=0, policy=policy, background=False)
        self.compiler = compiler
        self.stream = stream
        self.host_calls = 0
        self.calls = threading.local()
        self.relaxed: frozenset[Any] = frozenset()
        self.continuations: dict[Hashable, ContinuationLifecycle] = {}

    def wrap(self, entry: Entry) -> Entry:
        """Return an entry that runs a call whose graph ends at commit points to its end."""
        deoptimized = self.compiler.deoptimized
        drive = self.drive

        def run(*arguments: Any) -> Any:
            result = entry(*arguments)
            return result if result is deoptimized else drive(result)

        return run

    def drive(self, result: Any) -> Any:
        """Go on from commit points until there is a result of the function."""
        while type(result) is tuple and result and type(result[0]) is CommitPoint:
            point = result[0]
            runner = point.runner
            if runner is None:
                runner = point.runner = RUNNERS[point.kind](self, point)
                self._first_time(point)
            try:
                result = runner(result)  # a tuple drops its items from the last: loops that are left, innermost first
            except BaseException:
                leave_loops(result)
                raise
        return result

    def _first_time(self, point: CommitPoint) -> None:
        """Say what Python runs between graphs."""
        if point.guard is None and point.kind != "call":
            construct = "" if point.kind == "commit" else point.span.text
            failure = Failure(point.code, "supportable", point.reason, construct, point.span)
            self.owner.publisher.interrupted(failure, self.owner.number(), Cost(), rest=point.kind == "python")

    def run(self, continuation: Continuation, arguments: tuple[Any, ...]) -> Any:
        """Run the rest of a frame."""
        return self.drive(self.continuation(continuation).go_on(arguments))

    def guard_failed(self, point: CommitPoint, after: ContinuationLifecycle, state: tuple[Any, ...]) -> Any:
        """Go on behind a guard that failed in the middle of a loop: compiled without it, or in Python."""
        guard = point.guard
        assert guard is not None
        difference, key = causes.graph_difference(guard), guard.relaxation
        if key in self.relaxed:
            key = None
        assuming = [(part, found) for part in self._lifecycles() for found in part.cache if _assumes(found, guard)]
        after.publisher.guard_failed(
            stage="graph",
            call=after.number(),
            differences=(difference,),
            nearest=assuming[0][1].number if assuming else 0,
            action="none" if key is None else "relaxed",
            resumed="python" if key is None else "graph",
            cost=Cost(),
        )
        if key is None:
            return after.twin(*state)
        self.relaxed |= {key}
        for part, found in assuming:
            part.supersede(found, difference)
        return after.go_on(state)

    def _lifecycles(self) -> list[Lifecycle]:
        return [self.owner, *self.continuations.values()]

    def continuation(self, continuation: Continuation) -> ContinuationLifecycle:
        """Return the lifecycle of a continuation."""
        found = self.continuations.get(continuation.key)
        if found is None:
            found = self.continuations.setdefault(continuation.key, ContinuationLifecycle(self, continuation))
            if len(self.continuations) > CONTINUATION_LIMIT:
                text = f"more than {CONTINUATION_LIMIT} places where calls go on are not compiled"
                found.refuse(Failure("limit.continuations", "cost", text, continuation.span.text, continuation.span))
        return found


def _suspends(specialization: Specialization) -> bool:
    """Whether a graph may end before the function does, for Python to run something that every call runs."""
    return any(point.kind != "guard" for point in points_of(specialization.captured))


def _assumes(specialization: Specialization, guard: InGraphGuard) -> bool:
    return any(point.guard is guard for point in points_of(specialization.captured))


# ---------------------------------------------------------------------- lifecycles


class FunctionLifecycle(Lifecycle):
    """The life of a function whose calls may go on from commit points."""

    def __init__(
        self, function: types.FunctionType, options: Options, compiler: Compiler, stream: Stream
    ) -> None:
        builder = _FunctionBuilder(function, compiler, options.exact)
        super().__init__(function, identify(function), builder, options, compiler, stream)
        self.resumptions = Resumptions(self, options, compiler, stream)
        self.trial = Trial()
        self.replacement = OnStackReplacement(self.resumptions.run, function.__closure__ or ())
        builder.replacement = self.replacement
        builder.resumptions = self.resumptions

    def _entry_of(self, specialization: Specialization) -> Entry:
        entry = specialization.compiled.entry
        ends_early = next(points_of(specialization.captured), None) is not None
        return self.resumptions.wrap(entry) if ends_early else entry

    def _attempt(self, call: Call, new: frozenset[Any]) -> Attempt:
        sites = self.prepared.sites if self._prepared is not None else None
        if sites is not None and sites.recursive and not sites.outlined and len(self.cache) >= UNFOLDED_LIMIT:
            sites.outlined = True  # the data the recursion goes over differs too often to unfold it
        return super()._attempt(call, new)

    def _hit(self, specialization: Specialization, seconds: float) -> None:
        super()._hit(specialization, seconds)
        undecided = self.trial.verdict is None and len(specialization.timings) >= SETTLED_CALLS
        if undecided and self.options.policy != "raise" and current().trials and _suspends(specialization):
            self.trial.settled(specialization.timings, self.tally.eager_seconds)
            if self.trial.wanted:
                self.entries = ()

    def call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], bound: tuple[Any, ...], tried: Entry | None = None
    ) -> Any:
        """Run one call that the fast path could not serve; see `Lifecycle.call`."""
        with self.budget.call():
            if self.trial.wanted and tried is None and self.refusal is None:
                return self._run_trial(Call(args, kwargs, bound, self.number))
            return super().call(args, kwargs, bound, tried)

    def _run_trial(self, call: Call) -> Any:
        """Run a call in plain Python, to see whether graphs with Python between them pay."""
        started = time.perf_counter()
        try:
            return self._run_python(call)
        finally:
            self.trial.ran_plain(time.perf_counter() - started)
            if self.trial.verdict is False:
                sites = (self.prepared.sites.instructions if self.prepared.sites is not None else {}).values()
                first = next(iter(sites), None)
                span, construct = (first.span, first.construct) if first is not None else (UNKNOWN_SPAN, "function")
                reason = f"too fragmented to gain: {self.trial.text}"
                self._give_up(Failure("cost.fragmented", "cost", reason, construct, span), call.number, Cost())
            elif self.trial.verdict:
                self.entries = self.cache.entries()

    def statistics(self) -> Statistics:
        """Return the counters of the function, what its continuations did included."""
        own = self.tally.statistics(self.cache)
        parts = [(part.tally, part.cache) for part in list(self.resumptions.continuations.values())]
        return replace(
            own,
            loop_entries=self.replacement.entries,
            deopts=own.deopts + sum(tally.deopts for tally, _ in parts),
            host_calls=self.resumptions.host_calls,
            specializations=own.specializations + sum(len(cache) for _, cache in parts),
            compile_seconds=own.compile_seconds + sum(tally.compile_seconds for tally, _ in parts),
        )

    def _prepare(self) -> Prepared | Failure:
        prepared = super()._prepare()
        if isinstance(prepared, Prepared) and prepared.sites is not None:
            prepared.sites.memory_limit = self.options.memory_limit
            prepared.sites.commits_turns = self.options.policy != "raise"  # nothing of a refused call may be real
        return prepared

    @property
    def prepared(self) -> Prepared:
        """The function's twin and profile."""
        prepared = self._prepare()
        assert isinstance(prepared, Prepared)
        return prepared


class ContinuationLifecycle(Lifecycle):
    """The life of one continuation: specialized at once, since the function's profile covers it."""

    publisher_type = ContinuationPublisher

    def __init__(self, resumptions: Resumptions, continuation: Continuation) -> None:
        owner = resumptions.owner
        self.resumptions = resumptions
        self.python = PythonContinuation(continuation)
        self.continuation = continuation
        self.twin = self._twin(owner)
        options, compiler = resumptions.options, resumptions.compiler
        builder = _ContinuationBuilder(self, compiler, options.exact)
        super().__init__(self.twin, owner.publisher.identity, builder, options, compiler, resumptions.stream)
        self.owner: FunctionLifecycle = owner
        self.budget = owner.budget

    def number(self) -> int:
        """Return the number of the call of the function that is running."""
        return self.owner.number()

    def _run_meanwhile(self, call: Call) -> Any:
        """Run the rest of a call in plain Python, without profiling it."""
        self.tally.plain_calls += 1
        self.resumptions.host_calls += 1
        return self.python(*call.bound)

    def refuse(self, failure: Failure) -> None:
        """Let the rest of the calls be Python's from here on."""
        self._give_up(failure, self.number(), Cost())

    def go_on(self, arguments: tuple[Any, ...]) -> Any:
        """Run the rest of a call up to the next commit point or its end."""
        entries = self.entries
        if entries:
            result = entries[0](*arguments)
            if result is not self._deoptimized:
                return result
            return self.retry(arguments, {}, arguments, entries[0])
        if self.plain:
            self.tally.plain_calls += 1
            self.resumptions.host_calls += 1
            return (self.python if self.continuation.at_loop else self.twin)(*arguments)
        return self.call(arguments, {}, arguments)

    def _twin(self, owner: FunctionLifecycle) -> PythonContinuation:
        """Return what runs in Python where guards fail: it profiles, and its loops can be taken over again."""
        twins = owner.prepared.twins
        if twins is None:
            return self.python
        attach = twins.attach

        def connect(generated: Generated, shape: FrameShape) -> None:
            assert shape.core.code is not None
            attach(generated, shape.core, shape.core.code)

        return PythonContinuation(self.continuation, twins.mode, connect)

    def resume_raising(self, error: BaseException, state: Sequence[Any]) -> Any:
        """Go on in Python with an exception that the host call raised."""
        padding = (None,) * len(self.continuation.outcome)
        return self.python.run((*padding, *state), raising(error))


class _FunctionBuilder(SpecializationBuilder):
    resumptions: Resumptions

    def _graph(self, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        return super()._graph(prepared, arguments, relaxations.extended(self.resumptions.relaxed))


class _ContinuationBuilder(Builder):
    def __init__(self, lifecycle: ContinuationLifecycle, compiler: Compiler, exact: bool) -> None:
        super().__init__(compiler, exact)
        self._lifecycle = lifecycle

    def prepare(self) -> Prepared | Failure:
        whole = self._lifecycle.owner.prepared
        return replace(whole, twin=self._lifecycle.twin)

    def _graph(self, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        known = relaxations.extended(self._lifecycle.resumptions.relaxed)
        return self.compiler.capture_continuation(self._lifecycle.continuation, prepared, arguments, known)
