"""What the runtime asks of the compiler.

Owns the `Compiler` protocol and `Prepared`. Invariant: the runtime knows no stage of the compiler but these, so that it
can be tested with any compiler, and any compiler be run by it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from janusjit.analysis.continuation import Continuation
from janusjit.analysis.twin import Replacement, Twins
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import Relaxations
from janusjit.runtime.specialization import Compiled


@dataclass(frozen=True, slots=True)
class Prepared:
    """A function made ready for its warm-up.

    Attributes
    ----------
    core : object
        The function in Core.
    profile : object
        What its twin has observed so far.
    twin : callable
        The profiled twin: takes what the function takes, returns what it returns.
    observations : callable
        Returns how many observations the twin has made so far.
    sites : object
        What captures found out about where Python is needed in the middle; None where there is no such thing.
    twins : Twins or None
        All the twins that write to the profile.
    """

    core: Any
    profile: Any
    twin: Callable[..., Any]
    observations: Callable[[], int] = int
    sites: Any = None
    twins: Twins | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A compiled graph: the graph after all transforms, and its native code."""

    graph: Graph
    compiled: Compiled


class Compiler(Protocol):
    """The way from a Python function to native code, in the three steps between which the runtime decides."""

    @property
    def deoptimized(self) -> object:
        """What a native entry returns when a guard failed."""

    def prepare(self, function: types.FunctionType, replacement: Replacement | None = None) -> Prepared:
        """Load a function's source and make its profiled twin, which lets ``replacement`` take over hot loops.

        Raises
        ------
        SourceError, CaptureFailure
            If that cannot be done.
        """

    def capture(
        self,
        function: types.FunctionType,
        prepared: Prepared,
        arguments: Sequence[Any],
        relaxations: Relaxations,
    ) -> Graph:
        """Return the graph of a call with these arguments, in parameter order.

        Raises
        ------
        CaptureFailure
            If the function cannot be captured.
        """

    def capture_continuation(
        self, continuation: Continuation, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations
    ) -> Graph:
        """Return the graph of what is left of a call, for a frame state.

        Raises
        ------
        CaptureFailure
            If the rest cannot be captured.
        """

    def compile(self, graph: Graph, exact: bool) -> Built:
        """Transform a graph and compile it.

        Raises
        ------
        CaptureFailure, CompileError
            If the graph cannot be compiled.
        """
