"""Where a call can go on: commit points and continuations.

Owns `CommitPoint` and `Continuation`, the static description of a stack of frames that stand in the middle of their
functions. Invariants: a continuation says of every variable that is live where it comes from in a flat list of
arguments (the frame state), so the same arguments serve compiled code and Python; two continuations with equal keys
are interchangeable.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType
from typing import Any, Literal, Union

from janusjit.analysis.core import Block, FunctionCore, Instruction, Try
from janusjit.ir.boxes import ChoiceBox, ConstantBox, ExitRecipe, PythonPoint, SequenceBox
from janusjit.ir.graph import Graph
from janusjit.ir.guards import InGraphGuard
from janusjit.spans import Span

# ---------------------------------------------------------------------- control


@dataclass(frozen=True, slots=True, eq=False)
class BlockStep:
    """Inside ``block``, before instruction ``index``."""

    block: Block
    index: int

    @property
    def key(self) -> Hashable:
        return ("block", id(self.block), self.index)


@dataclass(frozen=True, slots=True, eq=False)
class LoopStep:
    """Inside a loop: in its body if a `BlockStep` follows, else where the next iteration is due."""

    instruction: Instruction

    @property
    def key(self) -> Hashable:
        return ("loop", id(self.instruction))


@dataclass(frozen=True, slots=True, eq=False)
class TestStep:
    """Inside the test of a ``while`` statement; a `BlockStep` of the test follows."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    instruction: Instruction

    @property
    def key(self) -> Hashable:
        return ("test", id(self.instruction))


@dataclass(frozen=True, slots=True, eq=False)
class TryStep:
    """Inside the ``body`` or ``orelse`` phase of a ``try``, its ``final`` block with nothing pending, or a ``with``."""

    instruction: Instruction
    phase: str

    @property
    def key(self) -> Hashable:
        return ("try", id(self.instruction), self.phase)


Step = Union[BlockStep, LoopStep, TestStep, TryStep]

# ---------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Plain:
    """One argument: the object itself."""

    @property
    def count(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Composite:
    """A value taken apart, since compiled code knows its parts: an iterator, a bound method, a closure.

    ``kind`` names the way to take it apart and ``fixed`` what is constant about it; the arguments of ``parts`` follow
    one another.
    """

    kind: str
    fixed: tuple[Hashable, ...]
    parts: tuple[Recipe, ...]

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


Recipe = Union[Plain, Composite]
PLAIN = Plain()
#: one argument that is only passed on: nothing is assumed of it
PASSED = Composite("passed", (), (PLAIN,))


@dataclass(frozen=True, slots=True, eq=False)
class FrameShape:
    """One frame of a continuation.

    Attributes
    ----------
    core, namespace, code
        The function, its globals, and its code object (None for a function without one).
    steps : tuple of Step
        Where control stands, outermost first.
    variables : tuple of (str, Recipe)
        The live locals that are bound, in the order of their arguments.
    cells : tuple of (str, CellType or None)
        The cell of each variable that closures share: known, or (None) an argument.
    target : str or None
        The caller's local that takes what the frame returns.
    constructs : bool
        Whether the frame is an ``__init__``: the caller gets the new instance, one more argument.
    managers : tuple of Recipe
        ``__exit__`` of each ``with`` in ``steps``.
    """

    core: FunctionCore
    namespace: dict[str, Any]
    code: CodeType | None
    steps: tuple[Step, ...]
    variables: tuple[tuple[str, Recipe], ...]
    cells: tuple[tuple[str, CellType | None], ...]
    target: str | None = None
    constructs: bool = False
    managers: tuple[Recipe, ...] = ()

    @property
    def count(self) -> int:
        """How many arguments the frame takes."""
        recipes = sum(recipe.count for _, recipe in self.variables) + sum(recipe.count for recipe in self.managers)
        return recipes + sum(cell is None for _, cell in self.cells) + self.constructs

    @property
    def key(self) -> Hashable:
        cells = tuple((name, None if cell is None else id(cell)) for name, cell in self.cells)
        steps = tuple(step.key for step in self.steps)
        fixed = (id(self.core), id(self.namespace), self.target, self.constructs)
        return (*fixed, steps, self.variables, cells, self.managers)

    @property
    def protected(self) -> bool:
        """Whether an exception from here may be handled, or a ``finally`` run, in this frame."""
        return any(isinstance(step, TryStep) for step in self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """What is left of a call.

    Its arguments are first the ``outcome``, then each frame's, outermost first.

    Attributes
    ----------
    frames : tuple of FrameShape
        Outermost first.
    outcome : tuple of str
        Locals of the innermost frame that are bound first: what a host call gave.
    names : tuple of str
        The arguments' names, as a report shows them.
    span : Span
        Where Python goes on.
    """

    frames: tuple[FrameShape, ...]
    outcome: tuple[str, ...]
    names: tuple[str, ...]
    span: Span

    @property
    def key(self) -> Hashable:
        return (self.outcome, tuple(frame.key for frame in self.frames))

    @property
    def protected(self) -> bool:
        return any(frame.protected for frame in self.frames)

    @property
    def binds_before_it_raises(self) -> bool:
        """Whether what is pending is a whole ``try``: what it has bound stays bound where an exception leaves it."""
        step = self.frames[-1].steps[-1]
        before = step.block.instructions[step.index - 1] if isinstance(step, BlockStep) and step.index else None
        return isinstance(before, Try) and bool(self.outcome)

    @property
    def at_loop(self) -> bool:
        """Whether the next turn of a loop is due in the innermost frame."""
        return isinstance(self.frames[-1].steps[-1], LoopStep)

    def slices(self) -> Iterator[tuple[FrameShape, slice]]:
        """Yield each frame with the place of its arguments."""
        start = len(self.outcome)
        for frame in self.frames:
            yield frame, slice(start, start + frame.count)
            start += frame.count


#: what happens at a commit point before the call goes on
PointKind = Literal["host", "call", "draw", "enter", "leave", "commit", "python", "guard", "raise"]


class CommitPoint(PythonPoint):
    """A place where all effects so far are real and Python could go on.

    A graph that ends here returns a tuple: this object, the operands of the host call, the continuation's arguments
    without its outcome.

    Parameters
    ----------
    kind : str
        ``host``: an instruction is run by Python, then ``after`` follows. ``call``: a function compiled on its own is
        called, then ``after`` follows with what it returns. ``draw``: the next item is drawn from a Python iterator;
        ``after`` follows with it, or ``exhausted``. ``enter``: Python enters a context manager; ``after`` follows,
        inside the ``with``, with its ``__exit__`` put at ``slot`` of the frame state; ``exhausted`` is where an
        exception goes. ``leave``: the operand, such an ``__exit__``, is called. ``commit``: nothing is run, but the
        loops are left whose iterators are the operands; ``after`` follows. ``python``: the rest of the call is
        Python's. ``guard``: a guard failed behind this point. ``raise``: Python goes on by raising ``error``.
    instruction : Instruction or None
        What Python runs.
    operands : tuple of str
        The locals it reads.
    after, exhausted : Continuation
        What follows.
    core : FunctionCore
        The function the instruction is in.
    reason, code : str
        Why it has to be Python that runs it.
    guard : InGraphGuard, optional
        The guard that has failed.
    slot : int
        For ``enter``; for ``draw``, where the iterator is in the frame state.
    callee : Continuation, optional
        For ``call``: all of the function that is called; its arguments are the operands.

    Attributes
    ----------
    runner : callable or None
        What the runtime does at the point, once it has been here.
    error : BaseException or None
        For ``raise``.
    """

    __slots__ = (
        "after",
        "callee",
        "code",
        "core",
        "error",
        "exhausted",
        "guard",
        "instruction",
        "kind",
        "operands",
        "reason",
        "runner",
        "slot",
    )

    def __init__(
        self,
        kind: PointKind,
        instruction: Instruction | None,
        operands: tuple[str, ...],
        after: Continuation,
        exhausted: Continuation | None,
        core: FunctionCore,
        reason: str,
        code: str,
        guard: InGraphGuard | None = None,
        callee: Continuation | None = None,
        slot: int = 0,
    ) -> None:
        self.slot = slot
        self.callee = callee
        self.kind = kind
        self.instruction = instruction
        self.operands = operands
        self.after = after
        self.exhausted = exhausted
        self.core = core
        self.reason = reason
        self.code = code
        self.guard = guard
        self.runner: Any = None
        self.error: BaseException | None = None

    @property
    def takes_exceptions(self) -> bool:
        """Whether Python can go on from here by raising, and something of the user's handles exceptions there."""
        return self.kind in ("guard", "host") and self.after.protected

    def raising(self, error: BaseException) -> CommitPoint:
        """Return this point as one from which Python goes on by raising."""
        point = copy.copy(self)
        point.kind, point.error, point.runner = "raise", error, None
        return point

    @property
    def span(self) -> Span:
        """The line of the host call."""
        return self.after.span

    @property
    def key(self) -> Hashable:
        """Equal for points that are interchangeable."""
        instruction = None if self.instruction is None else id(self.instruction)
        callee = None if self.callee is None else self.callee.key
        return (self.kind, instruction, self.operands, self.after.key, callee)

    @property
    def __name__(self) -> str:
        """Name constants of this kind in the text of a graph."""
        return f"{self.kind}_at_line_{self.span.line}"

    def failed_by(self, guard: InGraphGuard | None) -> CommitPoint:
        """Return this point as another guard's."""
        point = copy.copy(self)
        point.guard = guard
        return point

    def __repr__(self) -> str:
        return f"<commit point, {self.kind} at {self.span}>"


def points_of(graph: Graph) -> Iterator[CommitPoint]:
    """Yield the commit points at which a graph may end."""
    recipes = (node.attributes.get("recipe") for node in graph.walk())
    for recipe in {id(one): one for one in recipes}.values():
        if isinstance(recipe, ExitRecipe) and isinstance(recipe.result, SequenceBox) and recipe.result.items:
            first = recipe.result.items[0]
            if isinstance(first, ConstantBox) and isinstance(first.value, CommitPoint):
                yield first.value
            elif isinstance(first, ChoiceBox):
                yield from first.objects
