"""Going on from commit points.

Owns `Resumptions`, which runs what lies between the graphs of one call, and `ContinuationLifecycle`, the life of one
continuation: it is specialized, guarded and deoptimized as a function is. Invariants: a host call is run once, in
program order, when everything before it is real; a guard that fails after it costs the work since then and no more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from janusjit.analysis.continuation import CommitPoint, Continuation, FrameShape, points_of
from janusjit.analysis.frame_values import Raised
from janusjit.analysis.generate import Generated
from janusjit.analysis.loop_iterators import draws, leave_loops
from janusjit.ir.graph import Graph
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.relaxations import Relaxations
from janusjit.runtime import causes
from janusjit.runtime.building import Attempt, Builder, Failure
from janusjit.runtime.call import Call, Entry, Options
from janusjit.runtime.commit_points import RUNNERS
from janusjit.runtime.compiler import Compiler, Prepared
from janusjit.runtime.events import Cost, Difference, Stream
from janusjit.runtime.interruptions import interruption, is_handler
from janusjit.runtime.lifecycle import Lifecycle
from janusjit.runtime.publishing import ContinuationPublisher
from janusjit.runtime.python_frames import Deferred, PythonContinuation
from janusjit.runtime.specialization import Specialization

#: the name of an argument at the begin of a place
_ARGUMENT = re.compile(r"\.?\w+(@\d+)?")
#: continuations of one function that are compiled
CONTINUATION_LIMIT = 24


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
    is_beside : bool
        Whether what calls need not wait for is compiled beside the program.
    specialized : callable
        Called when what follows a commit point has been specialized.
    """

    def __init__(self, owner: Lifecycle, options: Options, compiler: Compiler, stream: Stream) -> None:
        self.owner = owner
        self.specialized: Callable[[], None] = lambda: None
        # what has happened cannot be refused any more
        policy = "warn" if options.policy == "raise" else options.policy
        self.is_beside = options.background and options.policy != "raise"
        self.options = replace(options, warmup=0, policy=policy, background=False)
        self.compiler = compiler
        self.stream = stream
        self.host_calls = 0
        self.calls = threading.local()
        self.relaxed: frozenset[Any] = frozenset()
        self.continuations: dict[Hashable, ContinuationLifecycle] = {}

    def wrap(self, entry: Entry) -> Entry:
        """Return an entry that runs a call whose graph ends at commit points to its end."""
        drive = self.drive
        return lambda *arguments: drive(entry(*arguments))  # nobody else has what the entry returns

    def drive(self, result: Any) -> Any:
        """Go on from commit points until there is a result of the function, or the graph has been given up."""
        while True:
            try:
                while True:  # with a condition, the jump back to it would be outside of the ``try``
                    if type(result) is tuple and result and type(result[0]) is CommitPoint:
                        runner = result[0].runner or self._runner(result[0])
                        result = runner(result)  # a tuple drops its last item first: the innermost loop is left first
                    elif type(result) is Deferred:
                        result = result.run()
                    else:
                        return result
            except BaseException as error:
                interrupted = self._interrupted(result, error)
                if interrupted is None:
                    leave_loops(result.loops if type(result) is Deferred else result)
                    raise
                result = interrupted

    def _interrupted(self, result: Any, error: BaseException) -> Deferred | None:
        """Return where to go on if a signal's handler raised between a graph and what follows a host call; else None.

        That is in the few steps of the runtime itself, which the handlers of the user's around the call do not see.
        """
        if type(result) is not tuple or not result or type(result[0]) is not CommitPoint:
            return None
        point = result[0]
        if point.kind != "host" or not point.after.protected:
            return None
        if interruption(error) is not error or not _is_before(error, point):
            return None
        return self.continuation(point.after).resume_raising(error, result[1 + len(point.operands) :])

    def _runner(self, point: CommitPoint) -> Callable[[tuple[Any, ...]], Any]:
        runner: Callable[[tuple[Any, ...]], Any]
        runner = point.runner = RUNNERS[point.kind](self, point)
        self._first_time(point)
        return runner

    def _first_time(self, point: CommitPoint) -> None:
        """Say what Python runs between graphs."""
        if point.guard is None and point.kind not in ("call", "raise"):
            construct = "" if point.kind == "commit" else point.span.text
            failure = Failure(point.code, "supportable", point.reason, construct, point.span)
            self.owner.publisher.interrupted(failure, self.owner.number(), Cost(), rest=point.kind == "python")

    def run(self, continuation: Continuation, arguments: list[Any]) -> Any:
        """Run the rest of a frame; nobody else has its arguments then."""
        given = [self.begin(continuation, arguments)]
        return self.drive(given.pop())

    def begin(self, continuation: Continuation, arguments: list[Any]) -> tuple[Any, ...]:
        """Return a commit point from which the rest of a frame goes on, with its arguments."""
        core, after = continuation.frames[-1].core, self.continuation(continuation)
        point = CommitPoint("commit", None, (), continuation, None, core, "", "")
        point.runner = lambda result: after.go_on(result[1:])
        given = [(point, *arguments)]
        arguments.clear()
        return given.pop()

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

    def seen_to_vary(self, variables: Mapping[str, tuple[int, str]]) -> frozenset[Any]:
        """Return the keys of what need not be assumed of variables: sizes and numbers they have had elsewhere in calls
        of the function, and that varied there.
        """
        varying: dict[Any, set[tuple[Any, ...]]] = {}
        core = self.owner.prepared.core
        parameters = {name: (id(core), name) for name in self.owner.function.__code__.co_varnames}
        for part in self._lifecycles():
            known = part.variables if isinstance(part, ContinuationLifecycle) else parameters
            for key in part.relaxations.keys:
                found = _of_variable(key, known)
                if found is not None:
                    varying.setdefault(found[0], set()).add(found[1])
        return frozenset(
            (*kept[0], argument + kept[1], *kept[2])
            for argument, variable in variables.items()
            for kept in varying.get(variable, ())
        )

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


def variables_of(continuation: Continuation) -> dict[str, tuple[int, str]]:
    """Return which variable each argument of a continuation is, by its name: the function's Core, and the name."""
    shown = [f"{name}@{number}" for number, name in enumerate(continuation.names)]
    found: dict[str, tuple[int, str]] = {}
    for frame, at in continuation.slices():
        found |= {shown[i]: (id(frame.core), continuation.names[i]) for i in range(at.start, at.stop)}
    own = id(continuation.frames[-1].core)
    return found | {shown[i]: (own, name) for i, name in enumerate(continuation.outcome)}


def _of_variable(
    key: Any, variables: Mapping[str, tuple[int, str]]
) -> tuple[tuple[int, str], tuple[Any, ...]] | None:
    """Take a key apart which says that a size or a number varies: the variable, and the key around its name."""
    if not isinstance(key, tuple):
        return None
    before = key[:2] if key[:2] == ("own", "dim") else key[:1]
    if before[-1] not in ("dim", "value"):
        return None
    place, after = key[len(before)], key[len(before) + 1 :]
    name = _ARGUMENT.match(place)
    variable = variables.get(name[0]) if name is not None else None
    return None if variable is None or name is None else (variable, (before, place[name.end() :], after))


def _is_before(error: BaseException, point: CommitPoint) -> bool:
    """Whether a handler of a signal was called when nothing behind a host call had begun.

    CPython calls handlers when a function begins and when a loop goes back, not when a function returns: a frame of
    `Resumptions.drive` or of a runner that is the innermost has not yet called what comes next, or has its result.
    """
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_code is not Resumptions.drive.__code__:
        inner = inner.tb_next
    frames = inner.tb_next if inner is not None else None
    while frames is not None and not is_handler(frames.tb_frame.f_code):
        code = frames.tb_frame.f_code
        begins = code is ContinuationLifecycle.go_on.__code__ and frames.tb_lineno == code.co_firstlineno
        if not begins and code is not draws.__code__ and code is not getattr(point.runner, "__code__", None):
            return False
        frames = frames.tb_next
    return inner is not None


def _assumes(specialization: Specialization, guard: InGraphGuard) -> bool:
    return any(point.guard is guard for point in points_of(specialization.captured))


# ---------------------------------------------------------------------- lifecycles


class _CompilerInterrupted(BaseException):
    """The handler of a signal has raised ``error`` while the rest of a call was compiled: that is where it goes on."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class ContinuationLifecycle(Lifecycle):
    """The life of one continuation: specialized at once, since the function's profile covers it."""

    publisher_type = ContinuationPublisher

    def __init__(self, resumptions: Resumptions, continuation: Continuation) -> None:
        owner = resumptions.owner
        self.resumptions = resumptions
        self.python = PythonContinuation(continuation)
        self.continuation = continuation
        self.variables = variables_of(continuation)
        self.twin = self._twin(owner)
        options, compiler = resumptions.options, resumptions.compiler
        builder = _ContinuationBuilder(self, compiler, options.exact)
        super().__init__(self.twin, owner.publisher.identity, builder, options, compiler, resumptions.stream)
        self.owner: Lifecycle = owner
        self.budget = owner.budget

    def number(self) -> int:
        """Return the number of the call of the function that is running."""
        return self.owner.number()

    def _run_meanwhile(self, call: Call) -> Any:
        """Run the rest of a call in plain Python, without profiling it."""
        self.tally.plain_calls += 1
        self.resumptions.host_calls += 1
        return self.python(*call.bound)

    def _finish(
        self, attempt: Attempt, number: int, trigger: Difference | None, new: frozenset[Any]
    ) -> Specialization | None:
        specialization = super()._finish(attempt, number, trigger, new)
        if specialization is not None:
            self.resumptions.specialized()
        return specialization

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
        elif self.plain:
            self.tally.plain_calls += 1
            self.resumptions.host_calls += 1
            return (self.python if self.continuation.at_loop else self.twin)(*arguments)
        try:
            if entries:
                return self.retry(arguments, {}, arguments, entries[0])
            return self.call(arguments, {}, arguments)
        except _CompilerInterrupted as interrupted:
            error = interrupted.error
        if not self.continuation.protected:
            raise error
        return self.resume_raising(error, arguments[len(self.continuation.outcome) :])

    def _attempt(self, call: Call, new: frozenset[Any]) -> Attempt:
        elsewhere = self.resumptions.seen_to_vary(self.variables) - self._refused - self.relaxations.keys
        try:
            attempt = super()._attempt(call, new | elsewhere)
            self._refused |= elsewhere - attempt.relaxations.keys
            return attempt
        except BaseException as error:
            if interruption(error) is not error:
                raise
            raise _CompilerInterrupted(error) from None

    def _waits(self, attempt: Attempt) -> bool:
        """Return whether the call waits, which has begun, and may still have a long loop before it.

        Beside the program, what takes longer to compile than calls of the function take is compiled for later ones.
        """
        seconds = self.owner.tally.about_eager_seconds() if self.resumptions.is_beside else None
        if seconds is not None and seconds < self.budget.compilation(attempt.capture_seconds):
            return False
        return super()._waits(attempt)

    def _twin(self, owner: Lifecycle) -> PythonContinuation:
        """Return what runs in Python where guards fail: it profiles, and its loops can be taken over again."""
        twins = owner.prepared.twins
        if twins is None:
            return self.python
        attach = twins.attach

        def connect(generated: Generated, shape: FrameShape) -> None:
            assert shape.core.code is not None
            attach(generated, shape.core, shape.core.code)

        return PythonContinuation(self.continuation, twins.mode, connect)

    def resume_raising(self, error: BaseException | Raised, state: Sequence[Any]) -> Deferred:
        """Go on in Python with an exception that the host call raised."""
        padding = (None,) * len(self.continuation.outcome)
        return Deferred(self.python, (*padding, *state), error)


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
