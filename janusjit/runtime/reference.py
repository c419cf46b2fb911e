"""Running graphs on the reference interpreter instead of native code (``JANUSJIT_BACKEND=reference``).

Owns `ReferenceCompiled`. Invariant: to the runtime it is indistinguishable from native code, except by its speed; so
where a result is wrong with both, capture or a transform is to blame, and where with one only, that backend is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from janusjit.backend.kernels import Kernel, KernelTimes
from janusjit.backend.llvm.entry_builtin import Compiled
from janusjit.backend.reference import DeoptimizationSignal, interpret
from janusjit.ir.graph import Graph
from janusjit.runtime.specialization import IN_GRAPH


@dataclass(slots=True)
class ReferenceStatus:
    """The counters that native code keeps."""

    hits: int = 0
    failed: int = -1


@dataclass(slots=True)
class ReferenceCompiled:
    """A graph, interpreted at each call."""

    graph: Graph
    status: ReferenceStatus = field(default_factory=ReferenceStatus)
    llvm_ir: str = "; the reference interpreter has no LLVM IR\n"
    asm: str = "# the reference interpreter has no assembly\n"
    plan: str = "the reference interpreter runs the nodes in order\n"
    kernels: tuple[Kernel, ...] = ()
    times: tuple[KernelTimes, ...] = ()

    def entry(self, *arguments: Any) -> Any:
        """Run the graph; return its result, or the deoptimization sentinel where a guard failed."""
        try:
            result = interpret(self.graph, arguments)
        except DeoptimizationSignal as signal:
            guards = self.graph.guards
            inside = any(guard is signal.guard for guard in guards.in_graph)
            among: list[Any] = guards.in_graph if inside else guards.entry
            position = next(i for i, guard in enumerate(among) if guard is signal.guard)
            self.status.failed = position + (IN_GRAPH if inside else 0)
            return Compiled.DEOPTIMIZED
        self.status.hits += 1
        return result
