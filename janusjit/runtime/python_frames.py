"""Python code that goes on from a commit point.

Owns `PythonContinuation`, a continuation as a callable, and `host_function`, the callable for one instruction.
Invariant: given a frame state, it does what the original function would have done from there on, and its tracebacks
show the user's file, functions and lines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from types import CellType, FrameType, FunctionType
from typing import Any

from janusjit.analysis.continuation import CommitPoint, Continuation, FrameShape
from janusjit.analysis.core import FunctionCore
from janusjit.analysis.frame_values import Raised, assemble
from janusjit.analysis.generate import Generated, Mode, generate_host, generate_resumption
from janusjit.analysis.generate.runtime import closure_for
from janusjit.analysis.loop_iterators import LoopIterator, keep, may_hold_generator
from janusjit.ir.guards import find_on_type
from janusjit.ir.places import MISSING

PLAIN = Mode()
Pending = Callable[[], Any]
#: gives the generated code of a frame what its probes call; None where it has none
Attach = Callable[[Generated, FrameShape], None]


class PythonContinuation:
    """A continuation that Python runs.

    Parameters
    ----------
    continuation : Continuation
        Where the call goes on.
    mode : Mode
        With probes or without.
    attach : callable, optional
        Connects the probes of each frame's code.
    """

    def __init__(self, continuation: Continuation, mode: Mode = PLAIN, attach: Attach | None = None) -> None:
        self.continuation = continuation
        self._mode = mode
        self._attach = attach

    @functools.cached_property
    def _frames(self) -> list[tuple[FrameShape, slice, Generated]]:
        """The generated code of each frame; made when the first call needs it."""
        continuation = self.continuation
        found = []
        frames = continuation.frames
        for position, (shape, place) in enumerate(continuation.slices()):
            innermost = position + 1 == len(frames)
            target = None if innermost else frames[position + 1].target
            bound = continuation.outcome if innermost else () if target is None else (target,)
            generated = generate_resumption(shape, bound, _pending_span(continuation, position), self._mode)
            if self._attach is not None:
                self._attach(generated, shape)
            found.append((shape, place, generated))
        return found

    def __call__(self, *arguments: Any) -> Any:
        """Go on with these arguments: the outcome of the host call, and the frame state.

        With a generator among them, what is returned is a `Deferred`: nobody else is to hold it meanwhile.
        """
        if any(map(may_hold_generator, arguments)):
            return Deferred(self, arguments)
        return self.run(list(arguments), self.outcome(arguments))

    def outcome(self, arguments: Sequence[Any]) -> Pending:
        """Return what gives the outcome among arguments, once."""
        count = len(self.continuation.outcome)
        given = arguments[0] if count == 1 else tuple(arguments[:count])
        return [None, given].pop if self.continuation.binds_before_it_raises else [given].pop

    def run(self, arguments: list[Any], pending: Pending) -> Any:
        """Go on after ``pending`` has returned the outcome, or raised; that in ``arguments``, a list that is cleared,
        is not looked at.
        """
        operation = pending
        for shape, place, generated in reversed(self._frames):
            operation = _frame_operation(shape, generated, iter(arguments[place]), operation)
        arguments.clear()
        return operation()


def runs_frame(frame: FrameType | None) -> bool:
    """Whether what a Python frame has called, and will return to `Resumptions.drive`, is the frame it goes on with."""
    return frame is not None and frame.f_code is PythonContinuation.run.__code__


class Deferred:
    """Python code to go on with as soon as nobody else holds its arguments; or the exception, if one is given."""

    __slots__ = ("_continuation", "_given", "loops")

    def __init__(
        self, continuation: PythonContinuation, arguments: Sequence[Any], error: BaseException | Raised | None = None
    ) -> None:
        self._continuation = continuation
        self._given = [(list(arguments), continuation.outcome(arguments) if error is None else raising(error))]
        self.loops = [value for value in arguments if type(value) is LoopIterator]

    def run(self) -> Any:
        """Go on."""
        return self._continuation.run(*self._given.pop())


def _pending_span(continuation: Continuation, position: int) -> Any:
    """Return the line of the call that a frame waits for."""
    if position + 1 == len(continuation.frames):
        return continuation.span
    step = continuation.frames[position].steps[-1]
    block, index = getattr(step, "block", None), getattr(step, "index", 0)
    return continuation.span if block is None or not index else block.instructions[index - 1].span


def _frame_operation(shape: FrameShape, generated: Generated, arguments: Iterator[Any], pending: Pending) -> Pending:
    """Return the callable that runs one frame, without running it."""
    managers = [assemble(recipe, arguments) for recipe in shape.managers]
    variables = [keep(assemble(recipe, arguments)) for _, recipe in shape.variables]
    cells = {name: next(arguments) if known is None else known for name, known in shape.cells}
    function = _function(shape.core, shape.namespace, generated, cells)
    operation: Pending = functools.partial(function, pending, *managers, *variables)
    return functools.partial(_constructed, operation, next(arguments)) if shape.constructs else operation


def _function(
    core: FunctionCore, namespace: dict[str, Any], generated: Generated, cells: dict[str, CellType]
) -> Callable[..., Any]:
    closure = closure_for(generated.code, cells, generated.runtime)
    return FunctionType(generated.code, namespace, core.name, None, closure)


def _constructed(initialize: Pending, instance: Any) -> Any:
    """Finish a constructor: what the caller gets is the instance."""
    returned = initialize()
    if returned is not None:
        raise TypeError(f"__init__() should return None, not '{type(returned).__name__}'")
    return instance


def raising(error: BaseException | Raised) -> Pending:
    """Return an operation that raises; first it gives what has been bound before, if anything has."""
    errors = [error.error if isinstance(error, Raised) else error]
    given = [error.bound] if isinstance(error, Raised) else []
    del error  # its traceback holds the frames it has left

    def operation() -> Any:
        if given:
            return given.pop()
        raise errors.pop()

    return operation


def entering(manager: Any) -> tuple[Callable[[], Any], Callable[..., Any]]:
    """Return ``__enter__`` and ``__exit__`` of a context manager, found on its type as ``with`` finds them."""
    type_ = type(manager)
    enter, leave = (find_on_type(type_, name) for name in ("__enter__", "__exit__"))
    if enter is MISSING or leave is MISSING:
        return functools.partial(_enter_nothing, manager), _enter_nothing
    return _bound(enter, manager), _bound(leave, manager)


def _bound(found: Any, owner: Any) -> Callable[..., Any]:
    """Return what was found on a type, as a method of an instance."""
    bind = getattr(type(found), "__get__", None)
    bound: Callable[..., Any] = found if bind is None else bind(found, owner, type(owner))
    return bound


def _enter_nothing(manager: Any) -> None:
    """Raise what ``with`` raises for an object that is no context manager."""
    with manager:
        pass


class HostFunction:
    """One instruction, run by Python with the operands of a commit point."""

    def __init__(self, point: CommitPoint) -> None:
        assert point.instruction is not None
        shape = point.after.frames[-1]
        self.generated = generate_host(
            point.core, point.instruction, point.operands, point.after.outcome, point.after.protected
        )
        self.shape = shape
        self._fixed: Callable[..., Any] | None = None
        if all(cell is not None for _, cell in shape.cells):
            cells = {name: cell for name, cell in shape.cells if cell is not None}
            self._fixed = _function(shape.core, shape.namespace, self.generated, cells)

    def of(self, state: Sequence[Any]) -> Callable[..., Any]:
        """Return the function to call; ``state`` is the frame state, where the frame's cells may be."""
        if self._fixed is not None:
            return self._fixed
        shape = self.shape
        own = state[len(state) - shape.count :]
        missing = sum(cell is None for _, cell in shape.cells)
        end = len(own) - shape.constructs
        held = iter(own[end - missing : end])
        cells = {name: next(held) if known is None else known for name, known in shape.cells}
        return _function(shape.core, shape.namespace, self.generated, cells)


