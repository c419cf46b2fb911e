"""One function's way to the event stream.

Owns `Publisher`, which makes events from what happens in a lifecycle and applies the policy on degradation. Invariant:
an event is added to the tally and published exactly once, before the policy has its say.
"""

from __future__ import annotations

import sys
import threading
import types
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from janusjit.errors import CATEGORY_TEXT, DegradedWarning, GuardError
from janusjit.runtime.building import Failure
from janusjit.runtime.events import (
    BackedOff,
    Cause,
    Cost,
    Difference,
    Event,
    Evicted,
    FellBack,
    FunctionIdentity,
    GuardFailed,
    Hint,
    Interrupted,
    Profiled,
    Raised,
    Reconsidered,
    Specialized,
    Stream,
    Suspended,
)
from janusjit.runtime.hints import hint_for
from janusjit.runtime.history import History
from janusjit.runtime.specialization import Specialization
from janusjit.runtime.statistics import Tally
from janusjit.spans import UNKNOWN_SPAN, Span

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_instances: Counter[tuple[str, str, int]] = Counter()
_instances_lock = threading.Lock()
_WARM = Cause("warm_up", "environment", "a warm-up call")


class Publisher:
    """Publishes the events of one function.

    Parameters
    ----------
    identity : FunctionIdentity
        The function.
    policy : str
        ``fallback``, ``warn`` or ``raise``.
    stream : Stream
        Receives the events.
    tally : Tally
        Adds them up for the function's counters.
    """

    def __init__(self, identity: FunctionIdentity, policy: str, stream: Stream, tally: Tally) -> None:
        self.identity = identity
        self.policy = policy
        self.stream = stream
        self.tally = tally
        self.history = History()

    def profiled(self, call: int, cost: Cost, observations: int, taken_over: bool) -> None:
        """A warm-up call ran; compiled code may have taken over one of its loops."""
        self._publish(
            Profiled(
                function=self.identity,
                cause=_WARM,
                call=call,
                cost=cost,
                observations=observations,
                taken_over=taken_over,
            )
        )

    def specialized(
        self, specialization: Specialization, call: int, trigger: Difference | None, relaxed: bool, cost: Cost
    ) -> None:
        """A specialization was made."""
        guards = specialization.captured.guards
        self._publish(
            Specialized(
                function=self.identity,
                cause=_WARM if trigger is None else cause_of(trigger),
                call=call,
                specialization=specialization.number,
                cost=cost,
                trigger=trigger,
                relaxed=relaxed,
                nodes=sum(1 for _ in specialization.captured.walk()),
                entry_guards=len(guards.entry),
                graph_guards=len(guards.in_graph),
                kept=tuple(map(str, specialization.kept)),
                divided=specialization.divided,
            )
        )

    def guard_failed(
        self,
        *,
        stage: str,
        call: int,
        differences: tuple[Difference, ...],
        nearest: int,
        action: str,
        resumed: str,
        cost: Cost,
    ) -> None:
        """A guard failed; the first difference is the deciding one."""
        history, total = self.history.add(differences[0], call, cost.lost)
        event = GuardFailed(
            function=self.identity,
            cause=cause_of(differences[0]),
            call=call,
            specialization=nearest,
            cost=Cost(guards=cost.guards, wasted=cost.wasted, eager=cost.eager, site_total=total),
            call_site=call_site(),
            stage=stage,
            differences=differences,
            nearest=nearest,
            action=action,
            resumed=resumed,
            history=history,
            hint=hint_for(differences[0], history),
        )
        self._publish(event)
        if resumed == "python":
            self._warn(event)

    def refuse_python(self, cause: Cause, call: int, specialization: int | None = None) -> None:
        """Raise `GuardError` under ``policy="raise"``: the call is about to run in plain Python."""
        if self.policy != "raise":
            return
        event = Raised(
            function=self.identity, cause=cause, call=call, specialization=specialization, call_site=call_site()
        )
        self._publish(event)
        raise GuardError(cause.code, f"{self.identity}: {cause.text}", self.stream.record(event))

    def evicted(self, specialization: Specialization, call: int, cause: Cause) -> None:
        """A specialization was dropped."""
        hits = specialization.hits
        self._publish(
            Evicted(function=self.identity, cause=cause, call=call, specialization=specialization.number, hits=hits)
        )

    def fell_back(self, failure: Failure, call: int, cost: Cost) -> Cause:
        """The function runs in plain Python from now on; return why."""
        event = FellBack(function=self.identity, call=call, cost=cost, call_site=call_site(), **_told(failure))
        self._publish(event)
        self._warn(event)
        return event.cause

    def backed_off(self, failure: Failure, call: int, cost: Cost, retry_after: int) -> None:
        """Calls that no specialization fits run in plain Python for a while."""
        event = BackedOff(
            function=self.identity,
            call=call,
            cost=cost,
            call_site=call_site(),
            retry_after=retry_after,
            **_told(failure),
        )
        self._publish(event)
        self._warn(event)

    def reconsidered(self, cause: Cause, call: int) -> None:
        """The function, left to plain Python for its cost, runs from graphs again."""
        self._publish(Reconsidered(function=self.identity, cause=cause, call=call))

    def interrupted(self, failure: Failure, call: int, cost: Cost, rest: bool) -> Cause:
        """Python runs something between graphs, or the ``rest`` of the calls from there on; return why."""
        told = _told(failure)
        del told["details"]
        event = Interrupted(function=self.identity, call=call, cost=cost, call_site=call_site(), rest=rest, **told)
        self._publish(event)
        return event.cause

    def suspended(self, cause: Cause, call: int) -> None:
        """Calls run in plain Python while something lasts."""
        self._publish(Suspended(function=self.identity, cause=cause, call=call, call_site=call_site()))

    def _warn(self, event: Event) -> None:
        if self.policy == "warn":
            text = f"{self.identity} {event.outcome}: {event.cause.text}"
            where = event.call_site if event.call_site is not UNKNOWN_SPAN else Span("<unknown>", 1, 1)
            warnings.warn_explicit(text, DegradedWarning, where.file, where.line)

    def _publish(self, event: Event) -> None:
        self.tally.observe(event)
        self.stream.publish(event)


class ContinuationPublisher(Publisher):
    """Publishes the events of one continuation, in the name of its function."""

    def fell_back(self, failure: Failure, call: int, cost: Cost) -> Cause:
        """What is left of the calls from here on is Python's; return why."""
        return self.interrupted(failure, call, cost, rest=True)

    def backed_off(self, failure: Failure, call: int, cost: Cost, retry_after: int) -> None:
        """What is left of a call, that no specialization fits, is Python's for a while."""
        self.interrupted(failure, call, cost, rest=True)


def identify(function: types.FunctionType) -> FunctionIdentity:
    """Return a new identity for a function: functions made by the same definition are told apart by a number."""
    code = function.__code__
    key = (f"{function.__module__}.{function.__qualname__}", code.co_filename, code.co_firstlineno)
    with _instances_lock:
        _instances[key] += 1
        return FunctionIdentity(*key, instance=_instances[key])


def cause_of(difference: Difference) -> Cause:
    """Return a failed guard as the cause of an event."""
    where = "" if difference.assumption is UNKNOWN_SPAN else f" (assumed at {difference.assumption})"
    text = f"{difference.expression}: expected {difference.expected}, got {difference.actual}{where}"
    return Cause(difference.code, difference.category, text)


def _told(failure: Failure) -> dict[str, Any]:
    """Return what a `FellBack` event tells of a failure."""
    where = "" if failure.span is UNKNOWN_SPAN else f"{failure.span}: "
    construct = f"{failure.construct}: " if failure.construct else ""
    kind = CATEGORY_TEXT.get(failure.category, failure.category)
    return {
        "cause": Cause(failure.code, failure.category, f"{where}{construct}{failure.reason} [{kind}]"),
        "construct": failure.construct,
        "where": failure.span.bare,
        "hint": Hint(failure.hint, "high") if failure.hint else None,
        "details": failure.details,
    }


def call_site() -> Span:
    """Return the innermost frame outside the package: where the user calls the jitted function."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return UNKNOWN_SPAN
    return Span(frame.f_code.co_filename, frame.f_lineno, 1, function=frame.f_code.co_qualname)
