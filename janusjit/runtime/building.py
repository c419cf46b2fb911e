"""Making specializations: capture and compilation, in the caller's thread or beside it.

Owns `SpecializationBuilder`, which turns the outcome of the compiler's stages, its own bugs included, into a value.
Invariant: no exception of the compiler reaches a user's call, unless verification is on, when its bugs do.
"""

from __future__ import annotations

import contextvars
import sys
import time
import traceback
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from janusjit.analysis.snapshot import OutsideSnapshot, Snapshot
from janusjit.analysis.twin import Replacement
from janusjit.collection import collection_paused, collection_rare
from janusjit.config import current
from janusjit.errors import CaptureFailure, JanusError, SourceError
from janusjit.ir.graph import Graph
from janusjit.ir.relaxations import Relaxations
from janusjit.pacing import paced
from janusjit.runtime import background, native_call
from janusjit.runtime.compiler import Built, Compiler, Prepared
from janusjit.runtime.interruptions import interruption
from janusjit.runtime.specialization import Compiled
from janusjit.spans import UNKNOWN_SPAN, Span

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no specialization was made."""

    code: str
    category: str
    reason: str
    construct: str = ""
    span: Span = UNKNOWN_SPAN
    hint: str = ""
    details: str = ""


@dataclass(slots=True)
class Attempt:
    """One attempt to make a specialization: what came of it, and what each stage took in seconds."""

    relaxations: Relaxations
    graph: Graph | None = None
    compiled: Compiled | None = None
    failure: Failure | None = None
    capture_seconds: float = 0.0
    compile_seconds: float = 0.0


class Builder(ABC):
    """Captures and compiles whatever a lifecycle runs.

    Parameters
    ----------
    compiler : Compiler
        The compiler.
    exact : bool
        Whether results have to be exact.

    Attributes
    ----------
    call_seconds : callable
        Says what a call takes in plain Python, as far as that is known: the pace beside the program depends on it.
    """

    def __init__(self, compiler: Compiler, exact: bool) -> None:
        self.compiler = compiler
        self.exact = exact
        self.call_seconds: Callable[[], float | None] = lambda: None

    @abstractmethod
    def prepare(self) -> Prepared | Failure:
        """Make the twin."""

    @abstractmethod
    def _graph(self, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        """Capture for these arguments."""

    def capture(
        self, prepared: Prepared, arguments: Sequence[Any], kept: Relaxations, new: frozenset[Any] = frozenset()
    ) -> Attempt:
        """Capture a call with the assumptions ``kept`` and ``new`` given up.

        Where the function cannot be captured without the assumptions ``new``, it is captured with them.
        """
        started = time.perf_counter()
        attempt = Attempt(kept.extended(new))
        outcome = guarded(lambda: self._graph(prepared, arguments, attempt.relaxations))
        if isinstance(outcome, Failure) and new:
            attempt.relaxations = kept
            outcome = guarded(lambda: self._graph(prepared, arguments, kept))
        if isinstance(outcome, Failure):
            attempt.failure = outcome
        else:
            attempt.graph = outcome
        attempt.capture_seconds = time.perf_counter() - started
        return attempt

    def compile(self, attempt: Attempt) -> Attempt:
        """Compile the graph of an attempt, unless it has failed already, while the caller waits."""
        with collection_paused():
            return self._compile(attempt, lambda graph: self.compiler.compile(graph, self.exact))

    def _compile(self, attempt: Attempt, build: Callable[[Graph], Built]) -> Attempt:
        graph = attempt.graph
        if graph is None:
            return attempt
        started = time.perf_counter()
        outcome = guarded(lambda: build(graph))
        if isinstance(outcome, Failure):
            attempt.failure = outcome
        else:
            attempt.graph, attempt.compiled = outcome.graph, outcome.compiled
        attempt.compile_seconds = time.perf_counter() - started
        return attempt

    def _compile_beside(self, attempt: Attempt) -> Attempt:
        with paced(self.call_seconds()), collection_rare():
            return self._compile(attempt, self._build_with_calls)

    def make_later(
        self,
        prepared: Prepared,
        snapshot: Snapshot,
        kept: Relaxations,
        new: frozenset[Any],
        done: Callable[[Attempt | None], None],
    ) -> Future[None] | None:
        """Capture a snapshot of a call and compile it on the background thread, then call ``done`` there.

        With None where the call needs something that is not in the snapshot. None is returned if there is no thread.
        """
        context = contextvars.copy_context()  # how errors are treated, and whether gradients are recorded

        def work() -> None:
            attempt = None
            try:
                attempt = context.run(self.capture, prepared, snapshot, kept, new)
                attempt = self._compile(attempt, self._build_with_calls)
            except OutsideSnapshot:
                attempt = None
            finally:
                done(attempt)

        return self.beside(work)

    def _build_with_calls(self, graph: Graph) -> Built:
        """Compile a graph, and what calls of it need later, for which they would wait then."""
        built = self.compiler.compile(graph, self.exact)
        native_call.prepare()
        return built

    def beside(self, work: Callable[[], None]) -> Future[None] | None:
        """Do work on the background thread, at the pace that leaves the program alone; None if there is no thread."""

        def run() -> None:
            with paced(self.call_seconds()), collection_rare():
                work()

        return background.submit(run)

    def compile_later(self, attempt: Attempt, done: Callable[[Attempt], None]) -> Future[None] | None:
        """Compile on the background thread, then call ``done`` there; None if no thread is to be had."""
        return background.submit(lambda: done(self._compile_beside(attempt)))


class SpecializationBuilder(Builder):
    """Captures and compiles one function.

    Parameters
    ----------
    function : function
        The plain function.
    compiler : Compiler
        The compiler.
    exact : bool
        Whether results have to be exact.
    """

    def __init__(self, function: types.FunctionType, compiler: Compiler, exact: bool) -> None:
        super().__init__(compiler, exact)
        self.function = function
        self.replacement: Replacement | None = None

    def prepare(self) -> Prepared | Failure:
        """Make the function's twin."""
        return guarded(lambda: self.compiler.prepare(self.function, self.replacement))

    def _graph(self, prepared: Prepared, arguments: Sequence[Any], relaxations: Relaxations) -> Graph:
        return self.compiler.capture(self.function, prepared, arguments, relaxations)


def guarded(stage: Callable[[], Outcome]) -> Outcome | Failure:
    """Run a stage of the compiler; return what it returns, or why it failed.

    It has a copy of the program's context: NumPy's error state, as the stage sets it for its own sums, would stay where
    the handler of a signal raises within ``np.errstate.__enter__``.
    """
    handled = sys.exception()
    try:
        return contextvars.copy_context().run(stage)
    except CaptureFailure as failure:
        return Failure(
            failure.code, failure.category, failure.reason, failure.construct, failure.span, failure.hint
        )
    except SourceError as failure:
        return Failure(failure.code, "fundamental", failure.reason, "source code", failure.span)
    except JanusError as failure:
        if current().verify:
            raise
        return Failure(failure.code, "bug", str(failure), details=traceback.format_exc())
    except Exception as failure:  # the one boundary between the compiler's bugs and the user's program
        interrupted = interruption(failure, handled)
        if interrupted is not None:
            raise interrupted from None
        if current().verify:
            raise
        reason = f"{type(failure).__name__} in the compiler: {failure}"
        return Failure("bug.internal", "bug", reason, details=traceback.format_exc())
