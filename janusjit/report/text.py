"""The report as text for terminals and files.

Owns the layout. Invariants: no line is wider than asked for, except where one word is; there are colours only on a
terminal whose user has not set ``NO_COLOR``; what is printed is all in the `Report`.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from janusjit.backend.plan import divided_steps
from janusjit.spans import UNKNOWN_SPAN

if TYPE_CHECKING:
    from janusjit.report.model import FunctionReport, Report, Row
    from janusjit.runtime.events import KernelTime

_DEFAULT_WIDTH = 100
_MINIMUM_WIDTH = 40
#: kernels that are listed at most, and seconds from which on one is where there was no choice
_KERNELS, _LONG = 12, 10e-6


@dataclass(frozen=True, slots=True)
class Style:
    """Width and colours."""

    width: int
    colored: bool

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.colored else text

    def dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.colored else text

    def wrap(self, text: str, indent: str, first: str | None = None) -> Iterator[str]:
        """Yield ``text`` in lines that fit, all indented by ``indent``, the first by ``first``."""
        yield from textwrap.wrap(
            text,
            self.width,
            initial_indent=indent if first is None else first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


def style_for(file: TextIO, width: int | None) -> Style:
    """Return the style that suits a file: its terminal's width and colours, or none."""
    terminal = file.isatty()
    if width is None:
        width = shutil.get_terminal_size((_DEFAULT_WIDTH, 24)).columns if terminal else _DEFAULT_WIDTH
    colored = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(max(width, _MINIMUM_WIDTH), colored)


def format_report(report: Report, style: Style) -> Iterator[str]:
    """Yield the lines of a report."""
    if not report.functions:
        yield "janusjit: no jitted function has been called"
        return
    yield style.bold(head_line(report))
    for function in report.functions:
        yield ""
        yield from _function(function, style)


def head_line(report: Report) -> str:
    """Return what the report is about, in one line."""
    count = len(report.functions)
    failures = sum(function.deopts for function in report.functions)
    functions = f"{count} function{'s' if count != 1 else ''}"
    dropped = f" ({report.dropped} older events were not kept)" if report.dropped else ""
    return f"janusjit report: {functions}, {failures} failed guard{'s' if failures != 1 else ''}{dropped}"


def _function(function: FunctionReport, style: Style) -> Iterator[str]:
    identity = function.function
    yield style.bold(str(identity)) + style.dim(f"  {file_text(identity.file)}:{identity.line}")
    yield from style.wrap(summary_text(function), "  ")
    yield from _listed("kept for the backward pass", "array", function.kept, style)
    yield from kernel_lines(function, style)
    if not function.rows:
        yield "  every guard held"
        return
    yield ""
    yield style.dim(f"  {'lost':>9}  {'count':>5}  where, assumed → got, action, hint")
    for row in function.rows:
        yield from _row(row, style)


def _listed(title: str, word: str, lines: tuple[str, ...], style: Style) -> Iterator[str]:
    """Yield what the latest specialization has of something, each line once."""
    if lines:
        yield style.dim(f"  {title}: {len(lines)} {word}{'s' if len(lines) != 1 else ''}")
    for line, count in Counter(lines).items():
        yield from style.wrap(line + (f"  ({count} times)" if count > 1 else ""), "      ", "    ")


def kernel_lines(function: FunctionReport, style: Style) -> Iterator[str]:
    """Yield the kernels of a function, those that take longest first: what was expected of each, and what it took.

    Where none was timed, only those for whose operator there was a choice, and long ones.
    """
    timed = any(kernel.runs for kernel in function.kernels)
    alike: dict[tuple[str, str], KernelTime] = {}
    for kernel in function.kernels:
        if timed or _is_notable(kernel):
            before = alike.get((kernel.where, kernel.text))
            alike[kernel.where, kernel.text] = kernel if before is None else _together(before, kernel)
    kernels = sorted(alike.values(), key=lambda kernel: -_seconds(kernel))
    if not kernels:
        return
    count = len(function.kernels)
    yield style.dim(f"  {count} kernel{'s' if count != 1 else ''} and library calls")
    measured = f"  {'measured':>9}  {'at best':>9}  {'runs':>6}" if timed else ""
    yield style.dim(f"    {'expected':>9}{measured}  where, what, how")
    shown = _KERNELS if timed else _KERNELS // 2
    for kernel in kernels[:shown]:
        cells = [_cell(kernel.expected)]
        if timed:
            cells += [_cell(kernel.measured), _cell(kernel.least), f"{kernel.runs:>6}"]
        head = f"    {'  '.join(cells)}  "
        yield from style.wrap(f"{kernel.where}  {kernel.text}", " " * len(head), head)
    if len(kernels) > shown:
        yield style.dim(f"    and {len(kernels) - shown} more")


def _together(one: KernelTime, other: KernelTime) -> KernelTime:
    """Return what two kernels that are the same took together: in two specializations, or on two ways through one."""
    runs = one.runs + other.runs
    least = [kernel.least for kernel in (one, other) if kernel.least is not None]
    total = sum(kernel.measured * kernel.runs for kernel in (one, other) if kernel.measured is not None)
    return replace(one, runs=runs, measured=total / runs if runs else None, least=min(least, default=None))


def _is_notable(kernel: KernelTime) -> bool:
    chosen = " by " in kernel.text or divided_steps(f"{kernel.step}: {kernel.text}")
    return bool(chosen) or (kernel.expected or 0.0) >= _LONG


def _seconds(kernel: KernelTime) -> float:
    """Return what a kernel has taken in all; where that was not measured, what one run is expected to."""
    return (kernel.expected or 0.0) if kernel.measured is None else kernel.measured * kernel.runs


def _cell(seconds: float | None) -> str:
    return f"{'?' if seconds is None else duration(seconds):>9}"


def file_text(file: str) -> str:
    """Return a path as short as it can be: relative, where it lies below the working directory."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def summary_text(function: FunctionReport) -> str:
    """Return the counters of a function as a sentence."""
    parts = []
    counted = function.counted
    if counted is not None:
        parts.append(
            f"{counted.calls} calls = {counted.graph_calls} graph + {counted.eager_calls} eager "
            f"({counted.profiled_calls} profiled)"
        )
    else:
        parts.append(f"{function.profiled} profiled calls")
    parts.append(f"{function.deopts} deopt{'s' if function.deopts != 1 else ''}")
    if counted is not None and counted.host_calls:
        parts.append(f"{counted.host_calls} host call{'s' if counted.host_calls != 1 else ''}")
    if counted is not None and counted.loop_entries:
        parts.append(f"{counted.loop_entries} running loop{'s' if counted.loop_entries != 1 else ''} taken over")
    alive = f", {counted.specializations} alive" if counted is not None else ""
    parts.append(f"{function.compiled} specialization{'s' if function.compiled != 1 else ''} compiled{alive}")
    parts.append(f"capture and compilation {duration(function.compile_seconds)}")
    if counted is not None and counted.graph_calls:
        word = "saved" if counted.saved_seconds >= 0 else "slower than Python by"
        parts.append(f"{word} about {duration(abs(counted.saved_seconds))}")
    if function.evicted_over_limit:
        parts.append(f"{function.evicted_over_limit} evicted over the limit of live specializations")
    if function.plain is not None:
        parts.append("in plain Python for good")
    return "; ".join(parts)


def _row(row: Row, style: Style) -> Iterator[str]:
    head = f"  {duration(row.lost):>9}  {row.count:>5}  "
    indent = " " * len(head)
    lines = assumption_text(row)
    where = f"{row.where}  " if row.where.line and not row.reason else ""
    yield from style.wrap(where + lines[0], indent, head)
    if row.where.text:
        yield from style.wrap(f"| {row.where.text}", indent)
    for line in (*lines[1:], action_text(row), f"hint: {hint_text(row)}" if row.hint else ""):
        yield from style.wrap(line, indent)


def assumption_text(row: Row) -> list[str]:
    """Return what was assumed and what came, and the guards that failed at the same time, a line each."""
    first = row.text if row.reason else f"{row.expression}: {row.expected} → {', '.join(row.got) or '?'}"
    return [
        f"{first}  [{row.code}]",
        *(f"also {other.expression}: {other.expected} → {other.actual}  [{other.code}]" for other in row.also),
    ]


def hint_text(row: Row) -> str:
    """Return what the user can do, and what it would have saved; empty where nothing is known."""
    if row.hint is None:
        return ""
    return row.hint.edit + (f" ({row.hint.benefit})" if row.hint.benefit else "")


def action_text(row: Row) -> str:
    """Return what was done, how the value behaves over time, and where the call came from."""
    parts = [row.action]
    if row.history is not None:
        first, last = row.history.first_call, row.history.last_call
        parts.append(f"{row.history.pattern}, {f'call {first}' if first == last else f'calls {first} to {last}'}")
    if row.call_site is not UNKNOWN_SPAN:
        parts.append(f"called at {str(row.call_site).rpartition(':')[0]}")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration with three digits and a unit."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        value = seconds / factor
        if abs(value) >= 1.0:
            return f"{value:.3g} {unit}" if abs(value) < 99.5 else f"{value:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
