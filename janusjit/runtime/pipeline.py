"""The compiler: from a Python function to native code.

Owns `Pipeline`, the one place where the stages of the compiler are put in a row. Invariant: the graph it returns
is the one the native code was made from, so that guard numbers mean the same in both.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from janusjit.analysis.capture import HostSites, capture, capture_continuation
from janusjit.analysis.continuation import Continuation
from janusjit.analysis.core import FunctionCore
from janusjit.analysis.source import load
from janusjit.analysis.twin import Replacement, Twins
from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.compile_process import start_early
from janusjit.backend.llvm.entry_builtin import Compiled as NativeCompiled
from janusjit.collection import collection_paused
from janusjit.config import current
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import Relaxations
from janusjit.profiler.profile import Profile
from janusjit.runtime.compiler import Built, Prepared
from janusjit.runtime.dump import dump
from janusjit.runtime.probing import observations
from janusjit.runtime.reference import ReferenceCompiled
from janusjit.runtime.specialization import Compiled
from janusjit.transform.forced_failure import force_failure
from janusjit.transform.passes import optimize
from janusjit.transform.typed import verify_graph


class Pipeline:
    """Twin, capture, transforms, LLVM."""

    deoptimized: object = NativeCompiled.DEOPTIMIZED

    def __init__(self) -> None:
        self._cores: dict[str, FunctionCore] = {}
        self._forced: set[tuple[str, tuple[str, ...]]] = set()

    def prepare(self, function: types.FunctionType, replacement: Replacement | None = None) -> Prepared:
        """Load the source of a function and make its profiled twin; see `Compiler.prepare`."""
        start_early()
        core = load(function)
        profile = Profile()
        twins = Twins(profile, replacement)
        return Prepared(
            core, profile, twins.twin(function), lambda: observations(twins), HostSites(), twins
        )

    def capture(
        self, function: types.FunctionType, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations
    ) -> Graph:
        """Capture a call; see `Compiler.capture`."""
        start_early()
        with collection_paused():
            graph = capture(function, prepared.core, prepared.profile, arguments, relaxations, prepared.sites)
        return self._captured(graph, prepared)

    def capture_continuation(
        self, continuation: Continuation, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations
    ) -> Graph:
        """Capture the rest of a call; see `Compiler.capture_continuation`."""
        with collection_paused():
            graph = capture_continuation(continuation, prepared.profile, arguments, relaxations, prepared.sites)
        return self._captured(graph, prepared)

    def _captured(self, graph: Graph, prepared: Prepared) -> Graph:
        if current().verify:
            verify_graph(graph)
        if current().dump is not None:
            self._cores[graph.name] = prepared.core
        return graph

    def compile(self, graph: Graph, exact: bool) -> Built:
        """Transform a graph and compile it; see `Compiler.compile`."""
        directory = current().dump
        if directory is None:
            optimized = optimize(graph, exact).graph
            self._force_failure(optimized)
            return Built(optimized, _translate(optimized, exact))
        forms: dict[str, str] = {}

        def keep(stage: str, text: str) -> None:
            forms[f".{len(forms):02d}-{stage}.ir"] = text

        optimized = optimize(graph, exact, keep).graph
        compiled = _translate(optimized, exact)
        forms |= {".plan": compiled.plan, ".ll": compiled.llvm_ir, ".s": compiled.asm}
        dump(directory, graph.name, self._cores.pop(graph.name, None), forms)
        return Built(optimized, compiled)


    def _force_failure(self, graph: Graph) -> None:
        """Make the guard fail that the configuration names, in the first graph of each function or continuation."""
        number, forced = current().fail_guard, (graph.name, graph.parameters)
        if number is None:
            self._forced.clear()
        elif forced not in self._forced:
            self._forced.add(forced)
            force_failure(graph, number)


def _translate(graph: Graph, exact: bool) -> Compiled:
    if current().backend == "reference":
        return ReferenceCompiled(graph)
    return compile_graph(graph, exact)
