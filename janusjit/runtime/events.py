"""The one ordered stream of events.

Owns the event types and `Stream`. Invariant: whatever reports, counters, logs and warnings know of what happened, they
know from events of this stream, in the order in which it happened; an event always has a cause code.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

import llvmlite
import llvmlite.binding
import numpy as np

from janusjit.config import current
from janusjit.spans import UNKNOWN_SPAN, Span

#: version of the JSON form, described by ``janusjit/report/event.schema.json``
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class FunctionIdentity:
    """A jitted function, as events name it: ``module.qualified_name``, its file and first line.

    ``instance`` tells apart several that are made of one ``def``: closures, or one function jitted twice.
    """

    name: str
    file: str
    line: int
    instance: int = 1

    def __str__(self) -> str:
        return self.name if self.instance == 1 else f"{self.name} #{self.instance}"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why: a stable code, its category, and a sentence.

    ``category`` is one of ``array``, ``python``, ``environment``, ``user``, ``supportable``, ``fundamental``, ``bug``.
    """

    code: str
    category: str
    text: str

    def __post_init__(self) -> None:
        if not self.code:
            raise ValueError("an event has a cause code")


@dataclass(frozen=True, slots=True)
class Difference:
    """One guard that did not hold: what was assumed, where, and what was found."""

    code: str
    category: str
    expression: str
    expected: str
    actual: str
    assumption: Span = UNKNOWN_SPAN
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class ValueHistory:
    """What a guarded expression has been at the calls where its guard failed.

    Attributes
    ----------
    distinct : tuple of str
        The different values found, in order of appearance, the first 8.
    count : int
        How often the guard failed.
    first_call, last_call : int
        The first and the last call at which it did.
    pattern : str
        ``once``, ``repeated``, ``alternating``, ``counter``, ``schedule``, ``short last batch``, ``unbounded`` or
        ``varying``.
    """

    distinct: tuple[str, ...]
    count: int
    first_call: int
    last_call: int
    pattern: str


@dataclass(frozen=True, slots=True)
class Hint:
    """A concrete edit, how sure it is to help, and what it would have saved (empty when not computable)."""

    edit: str
    confidence: str
    benefit: str = ""


@dataclass(frozen=True, slots=True)
class KernelTime:
    """A kernel of compiled code, or a library call: what was expected of it, and what it took where it was timed.

    Attributes
    ----------
    specialization, step : int
        Which specialization it is of, and which step of its plan.
    text : str
        What it computes and how: the physical operator that the cost model has chosen.
    where : str
        The line of source of its last operation.
    expected : float or None
        Seconds that the cost model expects; None where sizes are known at run time only, or nothing is known of it.
    runs : int
        How often it was timed.
    measured, least : float or None
        Seconds on average, and of the quickest run; None if it was not timed.
    """

    specialization: int
    step: int
    text: str
    where: str
    expected: float | None = None
    runs: int = 0
    measured: float | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds an event took, by what they went into.

    ``profile`` is a call under the profiler, ``eager`` one in plain Python, ``wasted`` the work a graph discarded;
    ``site_total`` is the sum so far for the event's (site, guard).
    """

    profile: float = 0.0
    capture: float = 0.0
    compile: float = 0.0
    guards: float = 0.0
    wasted: float = 0.0
    eager: float = 0.0
    site_total: float = 0.0

    @property
    def lost(self) -> float:
        """Seconds that a call without the event would not have taken."""
        return self.capture + self.compile + self.guards + self.wasted + self.eager


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events say: which function, which call, when and why."""

    kind: ClassVar[str] = ""
    outcome: ClassVar[str] = ""
    function: FunctionIdentity
    cause: Cause
    call: int = 0
    specialization: int | None = None
    cost: Cost = Cost()
    call_site: Span = UNKNOWN_SPAN
    time: float = field(default_factory=time.time)
    process: int = field(default_factory=os.getpid)
    thread: int = field(default_factory=threading.get_ident)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled(Event):
    """A warm-up call ran under the profiler, which made so many ``observations``.

    ``taken_over`` says whether compiled code has taken over a running loop of it; its ``cost`` is without compilation.
    """

    kind: ClassVar[str] = "profiled"
    outcome: ClassVar[str] = "profiled"
    observations: int = 0
    taken_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialized(Event):
    """A specialization was compiled.

    ``trigger`` is the failed guard that called for it (None: the warm-up was over); ``relaxed`` says whether the
    assumption it made is given up. ``kept`` are the intermediate arrays that live until a backward pass has read them;
    ``divided`` are the kernels that run on several threads.
    """

    kind: ClassVar[str] = "specialized"
    outcome: ClassVar[str] = "compiled"
    trigger: Difference | None = None
    relaxed: bool = False
    nodes: int = 0
    entry_guards: int = 0
    graph_guards: int = 0
    kept: tuple[str, ...] = ()
    divided: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFailed(Event):
    """A call found no specialization whose guards hold, or broke a guard inside the graph.

    Attributes
    ----------
    stage : str
        ``entry`` (nothing had run) or ``graph`` (what had run was discarded).
    differences : tuple of Difference
        Every guard of the nearest specialization that failed, the deciding one first.
    nearest : int
        The number of the specialization that came nearest.
    action : str
        What is done so that the next such call stays in a graph: ``relaxed`` (an assumption is given up),
        ``specialized`` (a further specialization), or ``none``.
    resumed : str
        Where this call continued: ``graph`` (in the new specialization) or ``python``.
    """

    kind: ClassVar[str] = "guard_failed"
    outcome: ClassVar[str] = "deoptimized once"
    stage: str
    differences: tuple[Difference, ...]
    nearest: int
    action: str
    resumed: str
    history: ValueHistory
    hint: Hint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(Event):
    """The function runs in plain Python from now on."""

    kind: ClassVar[str] = "fell_back"
    outcome: ClassVar[str] = "fell back for good"
    construct: str = ""
    where: Span = UNKNOWN_SPAN
    hint: Hint | None = None
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedOff(FellBack):
    """Calls that no specialization fits run in plain Python until ``retry_after`` of them have gone by."""

    kind: ClassVar[str] = "backed_off"
    outcome: ClassVar[str] = "fell back for now"
    retry_after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconsidered(Event):
    """A function that had been left to plain Python for its cost runs from graphs again."""

    kind: ClassVar[str] = "reconsidered"
    outcome: ClassVar[str] = "reconsidered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Event):
    """A graph ended where Python has to run something, for the first time; the call goes on in another graph."""

    kind: ClassVar[str] = "interrupted"
    outcome: ClassVar[str] = "run by Python between graphs"
    construct: str = ""
    where: Span = UNKNOWN_SPAN
    hint: Hint | None = None
    rest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted(Event):
    """A specialization was dropped: superseded by a more general one, or the least recently hit over the limit."""

    kind: ClassVar[str] = "evicted"
    outcome: ClassVar[str] = "evicted"
    hits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended(Event):
    """Calls run in plain Python while something lasts: a tracer, a debugger, `janusjit.disable`."""

    kind: ClassVar[str] = "suspended"
    outcome: ClassVar[str] = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised(Event):
    """Under ``policy="raise"`` a call was refused instead of run in plain Python."""

    kind: ClassVar[str] = "raised"
    outcome: ClassVar[str] = "raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Event):
    """A function's counters at this moment, for readers who have only the events; see `Statistics`.

    ``kernels`` are those of the specializations alive.
    """

    kind: ClassVar[str] = "counted"
    outcome: ClassVar[str] = "counted"
    calls: int
    profiled_calls: int
    graph_calls: int
    eager_calls: int
    deopts: int
    host_calls: int
    loop_entries: int
    specializations: int
    compile_seconds: float
    saved_seconds: float
    kernels: tuple[KernelTime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The run began; ``environment`` names versions, processor and flags."""

    kind: ClassVar[str] = "started"
    outcome: ClassVar[str] = "started"
    environment: dict[str, str] = field(default_factory=dict)


#: every kind of event, by its name
KINDS: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        Started, Profiled, Specialized, GuardFailed, FellBack, BackedOff, Reconsidered, Interrupted, Evicted,
        Suspended, Raised, Counted,
    )
}  # fmt: skip


def environment() -> dict[str, str]:
    """Return what the environment of this process is, as events' readers need to know it."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "llvmlite": llvmlite.__version__,
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)),
        "cpu": llvmlite.binding.get_host_cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "flags": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("JANUSJIT_")),
    }


Callback = Callable[[Event], object]


class Stream:
    """Events in order, for this process.

    Parameters
    ----------
    limit : int, optional
        How many events are kept; the configuration's ``history`` when not given. Older ones are dropped, which
        `dropped` counts.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.run = uuid.uuid4().hex
        self._kept: deque[Event] = deque(maxlen=current().history if limit is None else limit)
        self._published = 0
        self._callbacks: tuple[Callback, ...] = ()
        self._lock = threading.RLock()

    def publish(self, event: Event) -> None:
        """Append an event and tell subscribers, in order; an exception of a subscriber reaches the caller."""
        with self._lock:
            self._kept.append(event)
            self._published += 1
            for callback in self._callbacks:
                callback(event)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call ``callback`` with every event from now on; return a function that ends the subscription."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(c for c in self._callbacks if c is not callback)

        return unsubscribe

    def events(self) -> tuple[Event, ...]:
        """Return the events kept, oldest first."""
        with self._lock:
            return tuple(self._kept)

    @property
    def dropped(self) -> int:
        """How many events are no longer kept."""
        return self._published - len(self._kept)

    def record(self, event: Event) -> dict[str, Any]:
        """Return an event of this stream as JSON data, in the published schema."""
        return record(event, self.run)


#: the stream of this process
STREAM = Stream()

_PROCESS = FunctionIdentity("", "", 0)


def started() -> Started:
    """Return the event that describes this process."""
    cause = Cause("environment.start", "environment", "the environment of the run")
    return Started(function=_PROCESS, cause=cause, environment=environment())


def record(event: Event, run: str) -> dict[str, Any]:
    """Return an event as JSON data."""
    data: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "event": event.kind,
        "run": run,
        "outcome": event.outcome,
    }
    for item in fields(event):
        data[item.name] = _plain(getattr(event, item.name))
    return data


def _plain(value: Any) -> Any:
    if value is UNKNOWN_SPAN:
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
