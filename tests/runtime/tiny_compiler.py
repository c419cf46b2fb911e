"""A compiler small enough to steer: its native code is Python, its guards are the real guards.

It captures a function as "call it", under the entry guards a test asks for, so that the runtime's decisions can be
tested one by one. The whole pipeline is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from janusjit.errors import CaptureFailure
from janusjit.ir.dims import symbol
from janusjit.ir.graph import Graph
from janusjit.ir.guards import ArrayLayout, EntryGuard, GuardSet, InGraphGuard, ScalarTypeIs
from janusjit.ir.places import ArgumentPlace
from janusjit.ir.relaxations import Relaxations
from janusjit.ir.types import dtype_name
from janusjit.runtime.compiler import Built, Prepared
from janusjit.runtime.specialization import IN_GRAPH
from janusjit.spans import Span

DEOPTIMIZED = object()


@dataclass
class Status:
    hits: int = 0
    failed: int = -1


@dataclass
class TinyCompiled:
    graph: Graph
    body: Any
    broken: Callable[[Sequence[Any]], int | None]
    status: Status = field(default_factory=Status)
    llvm_ir: str = "; no LLVM"
    asm: str = "# no assembly"
    plan: str = "call it"
    kernels: tuple[Any, ...] = ()
    times: tuple[Any, ...] = ()

    def entry(self, *arguments: Any) -> Any:
        failed = self.graph.guards.failures(arguments)
        if failed:
            self.status.failed = self.graph.guards.entry.index(failed[0][0])
            return DEOPTIMIZED
        broken = self.broken(arguments)
        if broken is not None:
            self.status.failed = IN_GRAPH + broken
            return DEOPTIMIZED
        self.status.hits += 1
        code = self.body.__code__
        names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        keywords = dict(zip(names, arguments[code.co_argcount :], strict=True))
        return self.body(*arguments[: code.co_argcount], **keywords)


@dataclass
class TinyCompiler:
    """Guards every array and number argument; ``inside`` lists in-graph guards and when they break."""

    inside: tuple[tuple[InGraphGuard, Callable[[Sequence[Any]], bool]], ...] = ()
    refuse: Callable[[Sequence[Any], Relaxations], CaptureFailure | None] = lambda arguments, relaxations: None
    on_compile: Callable[[], None] = lambda: None
    deoptimized: object = DEOPTIMIZED
    captures: int = 0
    compiles: int = 0
    twin_calls: int = 0

    def prepare(self, function: Any, replacement: Any = None) -> Prepared:
        def twin(*args: Any, **kwargs: Any) -> Any:
            self.twin_calls += 1
            return function(*args, **kwargs)

        return Prepared(None, None, twin)

    def capture(self, function: Any, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        self.captures += 1
        failure = self.refuse(arguments, relaxations)
        if failure is not None:
            raise failure
        names = function.__code__.co_varnames
        entry = [g for i, value in enumerate(arguments) for g in _guards(i, names[i], value, relaxations)]
        kept = [guard for guard, _ in self.inside if guard.relaxation is None or guard.relaxation not in relaxations]
        graph = Graph(function.__name__, tuple(names), guards=GuardSet(entry, kept))
        graph.body.nodes = []
        self._function = function
        return graph

    def compile(self, graph: Graph, exact: bool) -> Built:
        self.compiles += 1
        self.on_compile()
        kept = graph.guards.in_graph
        conditions = [(kept.index(guard), breaks) for guard, breaks in self.inside if guard in kept]

        def broken(arguments: Sequence[Any]) -> int | None:
            return next((index for index, breaks in conditions if breaks(arguments)), None)

        return Built(graph, TinyCompiled(graph, self._function, broken))


def _guards(index: int, name: str, value: Any, relaxations: Relaxations) -> list[EntryGuard]:
    place = ArgumentPlace(index, name)
    span = Span("user.py", 10 + index, 5)
    if isinstance(value, np.ndarray):
        dims = tuple(
            symbol(f"s{axis}") if ("dim", name, axis) in relaxations and size > 1 else size
            for axis, size in enumerate(value.shape)
        )
        return [ArrayLayout(place, dtype_name(value.dtype) or "f64", dims, span=span)]
    if isinstance(value, int | float | bool):
        return [ScalarTypeIs(place, type(value).__name__, span=span)]
    return []
