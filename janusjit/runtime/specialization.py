"""One compiled version of a function.

Owns `Specialization`. Invariant: what it says of itself (graph, guards, hits) is read from the graph and from the
counters the native code writes; it keeps no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from janusjit.backend.kernels import Kernel, KernelTimes
from janusjit.backend.plan import divided_steps
from janusjit.ir.graph import Graph
from janusjit.ir.guards import EntryGuard, InGraphGuard
from janusjit.ir.text import format_graph
from janusjit.runtime.events import KernelTime
from janusjit.spans import Span
from janusjit.transform.kept import Kept, kept_values

#: ``status.failed`` of native code: in-graph guards are numbered from here, entry guards from 0, -1 is none
IN_GRAPH = 1_000_000


class Status(Protocol):
    """Counters in memory that native code writes."""

    hits: int
    failed: int


class Compiled(Protocol):
    """What a backend makes of a graph."""

    @property
    def entry(self) -> Callable[..., Any]:
        """A builtin that takes all parameters by position; returns the result, or the deoptimization sentinel."""

    @property
    def status(self) -> Status:
        """Counters of the native code."""

    @property
    def llvm_ir(self) -> str:
        """The module, as optimised."""

    @property
    def asm(self) -> str:
        """The machine code, as assembly."""

    @property
    def plan(self) -> str:
        """Kernels, library calls and buffers, in words."""

    @property
    def kernels(self) -> Sequence[Kernel]:
        """The kernels and library calls of the plan."""

    @property
    def times(self) -> Sequence[KernelTimes]:
        """What the kernels took so far, in their order; empty unless they are timed."""


@dataclass(frozen=True, slots=True)
class GuardView:
    """A guard, as a user may look at it.

    Attributes
    ----------
    stage : str
        ``entry`` or ``graph``.
    code, expression, expected, evidence : str
        The stable code, the guarded expression in source form, what it has to be, and the profile's grounds.
    span : Span
        The line that made the assumption.
    """

    stage: str
    code: str
    expression: str
    expected: str
    evidence: str
    span: Span

    def __str__(self) -> str:
        return f"{self.expression}: {self.expected}  [{self.code}]  @{self.span}"


class Specialization:
    """A graph, its native code and what has happened to it.

    Parameters
    ----------
    number : int
        Counts a function's specializations from 1.
    graph : Graph
        The graph after all transforms.
    compiled : Compiled
        Its native code.
    seconds : float
        What capture and compilation took.
    """

    def __init__(self, number: int, graph: Graph, compiled: Compiled, seconds: float) -> None:
        self.number = number
        self.captured = graph
        self.compiled = compiled
        self.seconds = seconds
        self.entry = compiled.entry
        self.failures = 0
        self.timings: list[float] = []

    @property
    def hits(self) -> int:
        """How many calls it has served."""
        return int(self.compiled.status.hits)

    @property
    def graph(self) -> str:
        """The graph as text."""
        return format_graph(self.captured)

    @property
    def llvm_ir(self) -> str:
        """The LLVM module as text."""
        return self.compiled.llvm_ir

    @property
    def asm(self) -> str:
        """The machine code as assembly text."""
        return self.compiled.asm

    @property
    def plan(self) -> str:
        """The physical plan: kernels, library calls, buffers."""
        return self.compiled.plan

    @property
    def divided(self) -> tuple[str, ...]:
        """The kernels that run on several threads, whatever the call's sizes, and the estimate of their work."""
        return tuple(divided_steps(self.plan))

    @cached_property
    def is_divided(self) -> bool:
        """Whether there are such kernels."""
        return bool(self.divided)

    @property
    def kernels(self) -> tuple[KernelTime, ...]:
        """The kernels and library calls: how they are done, what was expected of them, and what was measured."""
        times = self.compiled.times or [KernelTimes(0, 0, 0)] * len(self.compiled.kernels)
        return tuple(
            KernelTime(
                self.number,
                kernel.step,
                kernel.text,
                kernel.where,
                None if kernel.nanoseconds is None else kernel.nanoseconds / 1e9,
                taken.count,
                taken.total / taken.count / 1e9 if taken.count else None,
                taken.least / 1e9 if taken.count else None,
            )
            for kernel, taken in zip(self.compiled.kernels, times, strict=True)
        )

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The intermediate arrays that live until the backward pass has read them."""
        return kept_values(self.captured)

    @property
    def guards(self) -> tuple[GuardView, ...]:
        """The entry guards in the order they are checked, then those inside the graph."""
        guards = self.captured.guards
        return (
            *(GuardView("entry", g.code, g.subject, g.expected, g.evidence, g.span) for g in guards.entry),
            *(GuardView("graph", g.code, g.subject, g.expected, g.evidence, g.span) for g in guards.in_graph),
        )

    @property
    def graph_seconds(self) -> float | None:
        """The median duration of the timed calls, the first (cold) one left out where there are others."""
        timings = sorted(self.timings[1:] or self.timings)
        return timings[len(timings) // 2] if timings else None

    def failed_guard(self, failed: int) -> EntryGuard | InGraphGuard | None:
        """Return the guard that ``status.failed`` names, or None where it names none."""
        guards = self.captured.guards
        if failed >= IN_GRAPH:
            index = failed - IN_GRAPH
            return guards.in_graph[index] if index < len(guards.in_graph) else None
        return guards.entry[failed] if 0 <= failed < len(guards.entry) else None

    def assumes(self, key: object) -> bool:
        """Whether one of the in-graph guards would be relaxed by ``key``."""
        return any(guard.relaxation == key for guard in self.captured.guards.in_graph)

    def failures_for(self, arguments: Sequence[Any]) -> list[tuple[EntryGuard, str]]:
        """Return every entry guard that fails for these arguments, with what was found."""
        return self.captured.guards.failures(arguments)

    def __repr__(self) -> str:
        guards = self.captured.guards
        return (
            f"<specialization {self.number} of {self.captured.name}: {len(guards.entry)} entry guards, "
            f"{len(guards.in_graph)} in-graph guards, {self.hits} hits>"
        )
