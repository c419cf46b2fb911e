"""The guard-failure report as data.

Owns `Report`, which is made from events and nothing else. Invariants: every number in it is a sum over events; two
reports of the same events are equal, whether the events come from this process or from a file; rows are ordered by time
lost, most first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TextIO

from janusjit.report.tables import available, print_tables
from janusjit.report.text import format_report, style_for
from janusjit.runtime.events import (
    SCHEMA_VERSION,
    BackedOff,
    Counted,
    Difference,
    Event,
    Evicted,
    FellBack,
    FunctionIdentity,
    GuardFailed,
    Hint,
    Interrupted,
    KernelTime,
    Profiled,
    Raised,
    Reconsidered,
    Specialized,
    Started,
    Suspended,
    ValueHistory,
)
from janusjit.spans import UNKNOWN_SPAN, Span


@dataclass(slots=True)
class Row:
    """All failures of one guard at one site, or one reason to run in plain Python.

    Attributes
    ----------
    code, category : str
        The cause.
    expression, expected : str
        The guarded expression in source form, and what was assumed of it.
    got : tuple of str
        What it was instead, each value once.
    where, call_site : Span
        The line that made the assumption, and the last call that broke it.
    count : int
        How often.
    lost : float
        Seconds: guards checked in vain, work discarded, Python runs, and the compilations it led to.
    action : str
        What was done about it.
    history : ValueHistory or None
        The values over time.
    hint : Hint or None
        What the user can do.
    also : tuple of Difference
        Guards that failed at the same time.
    text : str
        The cause in words.
    reason : bool
        Whether it is a reason to run in plain Python rather than a failed guard.
    """

    code: str
    category: str
    expression: str
    expected: str
    where: Span
    got: tuple[str, ...] = ()
    call_site: Span = UNKNOWN_SPAN
    count: int = 0
    lost: float = 0.0
    action: str = ""
    history: ValueHistory | None = None
    hint: Hint | None = None
    also: tuple[Difference, ...] = ()
    text: str = ""
    reason: bool = False
    alone: int = 0


@dataclass(slots=True)
class FunctionReport:
    """One jitted function: what happened, added up, and its rows."""

    function: FunctionIdentity
    profiled: int = 0
    compiled: int = 0
    deopts: int = 0
    evicted: int = 0
    evicted_over_limit: int = 0
    compile_seconds: float = 0.0
    profile_seconds: float = 0.0
    counted: Counted | None = None
    plain: FellBack | None = None
    kept: tuple[str, ...] = ()
    divided: tuple[str, ...] = ()
    kernels: tuple[KernelTime, ...] = ()
    rows: list[Row] = field(default_factory=list)

    @property
    def lost(self) -> float:
        """Seconds lost to failed guards."""
        return sum(row.lost for row in self.rows)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to every jitted function, from the event stream.

    Attributes
    ----------
    functions : tuple of FunctionReport
        The one that lost most time first.
    environment : dict
        Versions, processor and flags.
    events : int
        How many events it is made from.
    dropped : int
        How many older events were no longer kept.
    """

    functions: tuple[FunctionReport, ...]
    environment: dict[str, str]
    events: int
    dropped: int = 0

    def print(self, file: TextIO | None = None, width: int | None = None) -> None:
        """Print the report as text, to standard output when no file is given; as tables on a terminal if Rich is there.

        Parameters
        ----------
        file : text file, optional
            Where to.
        width : int, optional
            Columns; the terminal's, or 100, when not given.
        """
        target = sys.stdout if file is None else file
        style = style_for(target, width)
        if self.functions and target.isatty() and available():
            print_tables(self, target, style)
        else:
            target.write("\n".join(format_report(self, style)) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {"schema_version": SCHEMA_VERSION, **_json(asdict(self))}

    def to_json(self, indent: int | None = 2) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value


def build_report(events: Iterable[Event], environment: dict[str, str], dropped: int = 0) -> Report:
    """Return the report of some events, in stream order."""
    functions: dict[FunctionIdentity, _Builder] = {}
    total = 0
    for event in events:
        total += 1
        if isinstance(event, Started):
            environment = event.environment
            continue
        builder = functions.get(event.function)
        if builder is None:
            builder = functions[event.function] = _Builder(event.function)
        builder.add(event)
    reports = [builder.finish() for builder in functions.values()]
    reports.sort(key=lambda report: -report.lost)
    return Report(tuple(reports), environment, total, dropped)


class _Builder:
    """Adds up the events of one function."""

    def __init__(self, function: FunctionIdentity) -> None:
        self.report = FunctionReport(function)
        self._rows: dict[tuple[str, str, Span], Row] = {}
        self._failures = 0

    def add(self, event: Event) -> None:
        report = self.report
        report.compile_seconds += event.cost.capture + event.cost.compile
        if isinstance(event, Profiled):
            report.profiled += 1
            report.profile_seconds += event.cost.profile
        elif isinstance(event, Specialized):
            report.compiled += 1
            report.kept = event.kept or report.kept
            report.divided = event.divided or report.divided
            if event.trigger is not None:
                self._row(event.trigger).lost += event.cost.lost
        elif isinstance(event, GuardFailed):
            self._add_failure(event)
        elif isinstance(event, Evicted):
            report.evicted += 1
            report.evicted_over_limit += event.cause.code == "environment.limit"
        elif isinstance(event, FellBack):
            if not isinstance(event, BackedOff):
                report.plain = event
            self._add_reason(event, event.construct, event.where, event.hint)
        elif isinstance(event, Reconsidered):
            report.plain = None
            self._add_reason(event, "", UNKNOWN_SPAN, None)
        elif isinstance(event, Interrupted):
            self._add_reason(event, event.construct, event.where, event.hint)
        elif isinstance(event, Suspended | Raised):
            self._add_reason(event, "", UNKNOWN_SPAN, None)
        elif isinstance(event, Counted):
            report.counted, report.kernels = replace(event, kernels=()), event.kernels

    def _row(self, difference: Difference) -> Row:
        key = (difference.expression, difference.code, difference.assumption)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(
                difference.code, difference.category, difference.expression, difference.expected, difference.assumption
            )
        return row

    def _add_failure(self, event: GuardFailed) -> None:
        self.report.deopts += 1
        self._failures += 1
        row = self._row(event.differences[0])
        row.count += 1
        row.alone += len({difference.code for difference in event.differences}) == 1
        row.lost += event.cost.lost
        row.got = event.history.distinct
        row.call_site = event.call_site
        row.action = _ACTIONS[event.action, event.resumed]
        row.history, row.hint, row.also = event.history, event.hint, event.differences[1:]
        row.text = event.cause.text

    def _add_reason(self, event: Event, construct: str, where: Span, hint: Hint | None) -> None:
        cause = event.cause
        key = (construct, cause.code, where)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(cause.code, cause.category, construct, "", where, reason=True)
        row.count += 1
        row.lost += event.cost.lost
        row.call_site, row.hint, row.text = event.call_site, hint, cause.text
        row.action = event.outcome

    def finish(self) -> FunctionReport:
        for row in self._rows.values():
            if row.hint is not None and row.alone and row.code != "branch":
                benefit = f"would have avoided {row.alone} of {self._failures} failed guards"
                row.hint = Hint(row.hint.edit, row.hint.confidence, benefit)
        self.report.rows = sorted(self._rows.values(), key=lambda row: -row.lost)
        return self.report


_ACTIONS = {
    ("relaxed", "graph"): "assumption relaxed, recompiled",
    ("relaxed", "python"): "ran in Python, assumption relaxed",
    ("specialized", "graph"): "compiled a further specialization",
    ("specialized", "python"): "ran in Python, compiling a further specialization",
    ("none", "python"): "ran in Python",
}
