"""Commit points: ending a graph in the middle of a function, and beginning one there.

Owns `suspend`, which ends the present path with an exit that returns a commit point and the frame state, and
`enter_continuation`, which sets the machine up to go on from one. Invariant: at a commit point every effect so far is
part of the exit, and everything that is read later is in the frame state.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CellType, CodeType
from typing import Any, Protocol

from janusjit.analysis.capture.blame import blamed_for
from janusjit.analysis.capture.dropped import check_generators
from janusjit.analysis.capture.exits import end_with
from janusjit.analysis.capture.frame_state import FrameStateReader, FrameStateWriter
from janusjit.analysis.capture.liveness import live_after
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.state import (
    Cell,
    ControlEntry,
    Frame,
    GraphLoopEntry,
    LoopEntry,
    TestEntry,
    TryEntry,
    keeps_generator,
)
from janusjit.analysis.capture.values import NONE, AbstractValue, HostValue, Known, Poison, Reference
from janusjit.analysis.continuation import (
    PASSED,
    BlockStep,
    CommitPoint,
    Continuation,
    FrameShape,
    LoopStep,
    PointKind,
    Recipe,
    Step,
    TestStep,
    TryStep,
)
from janusjit.analysis.core import Block, Call, DeleteLocal, FunctionCore, Instruction, Several, Try, With
from janusjit.analysis.frame_values import Unbound
from janusjit.analysis.jumps import variables_of
from janusjit.analysis.walk import bound_by, operands_of, reads_of, walk, writes_of
from janusjit.ir.boxes import ConstantBox, SequenceBox
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.places import ArgumentPlace
from janusjit.spans import UNKNOWN_SPAN

_EMPTY = Block()
#: an operand that is a loop's iterator, which is left
DROPPED = ".dropped"
REGIONS = "the loop's turns are regions of their own"
#: instructions behind such a loop from which on they are a region too
_WORTH_A_REGION = 2


# ---------------------------------------------------------------------- ending a graph


def suspend(
    machine: Machine,
    kind: PointKind,
    instruction: Instruction,
    reason: str,
    code: str,
    after: Sequence[Step] = (),
    guard: InGraphGuard | None = None,
    dropped: Sequence[AbstractValue] = (),
) -> Terminated:
    """End the path at a commit point before ``instruction``; the caller raises what is returned.

    Parameters
    ----------
    machine : Machine
        Stopped before the instruction, with its control entry already past it.
    kind : str
        See `CommitPoint`.
    instruction : Instruction
        What Python runs, or the loop whose next turn is due.
    reason, code : str
        Why.
    after : sequence of Step
        For ``draw``: the steps that lead into the loop's body.
    guard : InGraphGuard, optional
        For ``guard``: the guard that has failed.
    dropped : sequence of AbstractValue
        For ``commit``: the iterators of the loops that are left, outermost first.
    """
    check_generators(machine, machine.state)
    shape = FrameStates(machine)
    operands: tuple[str, ...] = (DROPPED,) * len(dropped)
    bound: tuple[str, ...] = ()
    if kind == "host":
        bound = tuple(name for name in bound_by(instruction) if name not in machine.frame.cells)
        used = operands_of(instruction)
        if isinstance(instruction, Try):
            used, bound = _of_whole(machine, instruction)
        elif isinstance(instruction, Several):
            used, bound = _of_several(machine, instruction)
        operands = tuple(name for name in used if name in machine.frame.locals)
    elif kind == "draw":
        bound = (instruction.target,)  # type: ignore[attr-defined]
    given = [machine.frame.locals[name] for name in operands] if kind == "host" else []
    shape.read(bound if kind == "host" else (), kind == "python", given)
    span = instruction.span
    exhausted = None
    if kind == "draw":
        exhausted = shape.continuation((), (BlockStep(instruction.orelse, 0),), span, leave_loop=True)  # type: ignore[attr-defined]
    continuation = shape.continuation(bound, after, span)
    slot = shape.slot_of(instruction.iterator.name) if kind == "draw" else 0  # type: ignore[attr-defined]
    core = machine.frame.core
    point = CommitPoint(kind, instruction, operands, continuation, exhausted, core, reason, code, guard, slot=slot)
    return shape.finish(point, dropped or [machine.frame.locals[name] for name in operands])


def commit_behind(machine: Machine, loop: Instruction) -> None:
    """End the path behind a loop whose turns are regions of their own: what follows is a region too.

    What it takes for granted, as how long a list is by then, is not so in every turn.
    """
    if machine.recursion is not None or machine.nested or loop not in machine.hosts.loops:
        return
    following = sum(len(entry.block.instructions) - entry.index for entry in machine.frame.blocks)
    if following >= _WORTH_A_REGION:
        raise suspend(machine, "commit", loop, REGIONS, "python.loop")


def suspend_at_call(
    machine: Machine,
    instruction: Call,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: CodeType | None,
    bound: dict[str, AbstractValue],
    cells: dict[str, CellType],
) -> Terminated:
    """End the path where a function is called that is compiled on its own; the caller raises what is returned.

    Parameters
    ----------
    machine : Machine
        At the call, before the function's frame is pushed.
    instruction : Call
        The call.
    core, namespace, code : FunctionCore, dict, code object
        The function.
    bound : dict
        Its arguments, by parameter.
    cells : dict
        The cells it closes over.
    """
    check_generators(machine, machine.state)
    shape = FrameStates(machine)
    outcome = (instruction.target,) if instruction.target not in machine.frame.cells else ()
    writer = shape.read(outcome, False, tuple(bound.values()))
    recipes, operands, names = [], [], []
    for name, value in bound.items():
        if isinstance(value, Poison):
            machine.resolve(value)
        recipe, parts = writer.take_apart(value)
        recipes.append((name, recipe))
        operands += parts
        names += [name] * len(parts)
    entry = FrameShape(core, namespace, code, (BlockStep(core.body, 0),), tuple(recipes), tuple(sorted(cells.items())))
    callee = Continuation((entry,), (), tuple(names), core.span)
    after = shape.continuation(outcome, (), instruction.span)
    reason = f"recursive calls of {core.name} run in code of their own"
    point = CommitPoint(
        "call", instruction, tuple(names), after, None, machine.frame.core, reason, "python.recursion", callee=callee
    )
    return shape.finish(point, operands)


def _of_whole(machine: Machine, instruction: Try) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the locals that running a whole statement may read, and those it may bind that are read later.

    What it binds on some of its ways only keeps its value on the others, so it is read too. What is not bound in the
    end comes as `Unbound`.
    """
    inside = [instruction, *walk(Block([instruction]))]
    live = live_after(machine.frame, False)
    bound = dict.fromkeys(
        name
        for item in inside
        for name in (*writes_of(item), *_unbinds(item))
        if not name.startswith(".") and name not in machine.frame.cells and (live is None or name in live)
    )
    used = dict.fromkeys(name for item in inside for name in operands_of(item))
    return tuple(used | bound), (*bound, *variables_of(instruction))


def _of_several(machine: Machine, instruction: Several) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the locals that running instructions may read, and those they bind that are read later."""
    inside = list(walk(instruction.body))
    live = live_after(machine.frame, False)
    bound = dict.fromkeys(name for item in inside for name in writes_of(item) if name not in machine.frame.cells)
    if live is None:
        done = set(map(id, inside))
        others = (item for item in walk(machine.frame.core.body) if id(item) not in done)
        live = frozenset(name for item in others for name in reads_of(item))
    used = dict.fromkeys(name for item in inside for name in operands_of(item))
    return tuple(used), tuple(name for name in bound if name in live)


def _unbinds(instruction: Instruction) -> list[str]:
    """Return the locals an instruction leaves unbound; the name of a handler is one."""
    if isinstance(instruction, Try):
        return [handler.name for handler in instruction.handlers if handler.name is not None]
    return [instruction.name] if isinstance(instruction, DeleteLocal) else []


class FrameStates:
    """The frames of the machine, taken down as a continuation."""

    def __init__(self, machine: Machine) -> None:
        if machine.externals.sets_error_modes and machine.state.noted(machine.span) is not machine.span:
            reason = "Python goes on inside of the with statement"
            failure = machine.unsupported("environment.errstate", "np.errstate", reason)
            failure.instruction = machine.externals.error_mode_setters[-1]
            raise failure
        self.machine = machine
        self.frames: list[FrameShape] = []
        self.values: list[AbstractValue] = []
        self.names: list[str] = []
        #: where among the values the ``__exit__`` of the manager being entered is to be put
        self.slot = 0

    def read(
        self, without: Sequence[str], at: bool, others: Sequence[AbstractValue] = (), entering: bool = False
    ) -> FrameStateWriter:
        """Take every frame's live variables, but for those of the top frame that are bound first.

        Returns what takes values apart; it knows of ``others`` that they are needed too.
        """
        machine = self.machine
        frames = machine.state.frames
        kept = [self._live(frame, frame is frames[-1] and (at or entering), without) for frame in frames]
        everything = [value for values in kept for value in values.values()]
        writer = FrameStateWriter(machine, [*everything, *others])
        for position, frame in enumerate(frames):
            following = frames[position + 1] if position + 1 < len(frames) else None
            self._frame(writer, frame, kept[position], following is None, at, entering)
        return writer

    def _live(self, frame: Frame, at: bool, without: Sequence[str]) -> dict[str, AbstractValue]:
        """Return the live variables of a frame; what is bound first counts only if an exception may come instead.

        A generator of Python's that a variable keeps is dropped with its frame, though nobody may read it.
        """
        names = live_after(frame, at)
        frames = self.machine.state.frames
        position = next(i for i, other in enumerate(frames) if other is frame)
        bound = without if position + 1 == len(frames) else (frames[position + 1].target,)
        if any(isinstance(entry, TryEntry) for entry in frame.blocks):
            bound = ()
        return {
            name: value
            for name, value in frame.locals.items()
            if keeps_generator(name, value) or ((names is None or name in names) and name not in bound)
        }

    def _frame(
        self,
        writer: FrameStateWriter,
        frame: Frame,
        live: dict[str, AbstractValue],
        innermost: bool,
        at: bool,
        entering: bool,
    ) -> None:
        machine = self.machine
        if frame.generator is not None or frame.core.kind != "function" or frame.result == "invoked":
            raise machine.unsupported("python.generator", frame.core.name, "a suspended generator is on the stack")
        steps, managers = self._steps(frame, at and innermost)
        recipes = [self._take(writer, f"{frame.core.name}.__exit__", manager) for manager in managers]
        if entering and innermost:
            self.slot = len(self.values)
            recipes.append(PASSED)
            self.values.append(NONE)
            self.names.append("__exit__")
        variables = [(name, self._take(writer, name, value)) for name, value in live.items()]
        cells = []
        for name in sorted(frame.cells):
            reference = frame.cells[name]
            assert isinstance(reference, Reference)
            cell: Cell = machine.heap(reference)
            known = cell.live if cell.holder is None else None
            cells.append((name, known))
            if known is None:
                self.values.append(reference)
                self.names.append(name)
        constructs = frame.result == "instance"
        if constructs:
            assert frame.instance is not None
            self.values.append(frame.instance)
            self.names.append("self")
        self.frames.append(
            FrameShape(
                frame.core,
                frame.namespace,
                frame.code,
                steps,
                tuple(variables),
                tuple(cells),
                frame.target,
                constructs,
                tuple(recipes),
            )
        )

    def _take(self, writer: FrameStateWriter, name: str, value: AbstractValue) -> Recipe:
        if isinstance(value, Poison):
            self.machine.resolve(value)
        passed = isinstance(value, HostValue) and name.endswith("__exit__")
        recipe, parts = (PASSED, [value]) if passed else writer.take_apart(value)
        self.values += parts
        self.names += [name] * len(parts)
        return recipe

    def slot_of(self, name: str) -> int:
        """Return where among the values a variable of the top frame is that is one value."""
        return max(at for at, found in enumerate(self.names) if found == name)

    def _steps(self, frame: Frame, at: bool) -> tuple[tuple[Step, ...], list[AbstractValue]]:
        steps: list[Step] = []
        managers: list[AbstractValue] = []
        for position, entry in enumerate(frame.blocks):
            last = position + 1 == len(frame.blocks)
            if isinstance(entry, LoopEntry | GraphLoopEntry):
                steps.append(LoopStep(entry.instruction))
            elif isinstance(entry, TestEntry):
                steps.append(TestStep(entry.instruction))
            elif isinstance(entry, TryEntry):
                steps.append(self._try_step(entry, frame, managers))
            else:
                steps.append(BlockStep(entry.block, entry.index - (last and at)))
        return tuple(steps), managers

    def _try_step(self, entry: TryEntry, frame: Frame, managers: list[AbstractValue]) -> Step:
        if entry.phase == "handler" or entry.pending is not None:
            failure = self.machine.unsupported(
                "python.handler", "except", "Python is needed inside an except or finally block"
            )
            failure.instruction = blamed_for(self.machine, entry.instruction, frame)
            raise failure
        if isinstance(entry.instruction, With):
            assert entry.manager is not None
            managers.append(entry.manager)
        return TryStep(entry.instruction, entry.phase)

    def continuation(
        self,
        bound: tuple[str, ...],
        further: Sequence[Step],
        span: Any,
        leave_loop: bool = False,
        not_entered: bool = False,
    ) -> Continuation:
        """Return the continuation of these frames with ``further`` steps in the top one."""
        top = self.frames[-1]
        steps = top.steps[:-1] if leave_loop else top.steps
        changed = FrameShape(
            top.core,
            top.namespace,
            top.code,
            (*steps, *further),
            top.variables,
            top.cells,
            top.target,
            top.constructs,
            top.managers[:-1] if not_entered else top.managers,
        )
        names = [name for at, name in enumerate(self.names) if not (not_entered and at == self.slot)]
        return Continuation((*self.frames[:-1], changed), bound, (*bound, *names), span)

    def finish(self, point: CommitPoint, operands: Sequence[AbstractValue]) -> Terminated:
        """End the region with the exit."""
        machine = self.machine
        if machine.recursion is not None:
            raise machine.unsupported("python.recursion", "call", "Python is needed inside of a recursion")
        if point.guard is None:
            point = machine.hosts.points.setdefault(point.key, point)
        values = [*operands, *self.values]
        return end_with(machine, lambda boxer: SequenceBox(tuple, (ConstantBox(point), *map(boxer.box, values))))


# ---------------------------------------------------------------------- beginning a graph


def enter_continuation(
    machine: Machine, continuation: Continuation, names: Sequence[str], arguments: Sequence[Any]
) -> None:
    """Push the frames of a continuation, their variables read from its arguments, which have these names."""
    machine.externals.resumed = True  # texts in a frame state may differ each time
    reader = _Arguments(machine, names, arguments)
    machine.externals.outcomes = frozenset(names[: len(continuation.outcome)])
    outcome = {name: reader.argument() for name in continuation.outcome}
    for shape in continuation.frames:
        push_frame(machine, shape, reader)
    for name, value in outcome.items():
        if isinstance(value, Known) and value.value is Unbound:
            machine.let_go(name, machine.frame.locals.pop(name, None))
        else:
            machine.set(name, value)
    machine.span = continuation.span if continuation.span is not UNKNOWN_SPAN else machine.span


class FrameArguments(Protocol):
    """The values that frames are put together from, one after the other."""

    def argument(self) -> AbstractValue:
        """Return the next value."""

    def passed(self) -> AbstractValue:
        """Return the next value as what is only passed on."""

    def cell(self, name: str) -> Reference:
        """Return the next value, a cell."""


class _Arguments:
    def __init__(self, machine: Machine, names: Sequence[str], arguments: Sequence[Any]) -> None:
        self.machine = machine
        self.names = names
        self.arguments = arguments
        self.position = -1

    def _next(self) -> tuple[int, str, Any]:
        self.position += 1
        return self.position, self.names[self.position], self.arguments[self.position]

    def argument(self) -> AbstractValue:
        position, name, live = self._next()
        return self.machine.externals.argument(position, name, live)

    def passed(self) -> AbstractValue:
        position, name, live = self._next()
        return HostValue(ArgumentPlace(position, name), live)

    def cell(self, name: str) -> Reference:
        position, shown, live = self._next()
        return self.machine.externals.held_cell(ArgumentPlace(position, shown), live, name)


def push_frame(machine: Machine, shape: FrameShape, arguments: FrameArguments) -> None:
    """Push a frame as it stood, its variables read from the arguments that are next."""
    reader = FrameStateReader(machine, arguments.argument, arguments.passed, arguments.cell)
    managers = [reader.put_together(recipe) for recipe in shape.managers]
    variables = {name: reader.put_together(recipe) for name, recipe in shape.variables}
    cells: dict[str, AbstractValue] = {
        name: arguments.cell(name) if known is None else machine.externals.cell(known, name)
        for name, known in shape.cells
    }
    instance = arguments.argument() if shape.constructs else None
    blocks = [_entry(step, managers) for step in shape.steps]
    result = "instance" if shape.constructs else "value"
    frame = Frame(shape.core, shape.namespace, shape.code, variables, cells, blocks, shape.target, result)
    frame.instance = instance
    machine.state.frames.append(frame)


def _entry(step: Step, managers: list[AbstractValue]) -> ControlEntry:
    if isinstance(step, BlockStep):
        return ControlEntry(step.block, step.index)
    if isinstance(step, LoopStep):
        return LoopEntry(_EMPTY, instruction=step.instruction)
    if isinstance(step, TestStep):
        return TestEntry(_EMPTY, instruction=step.instruction)
    manager = managers.pop(0) if isinstance(step.instruction, With) else None
    return TryEntry(_EMPTY, instruction=step.instruction, phase=step.phase, manager=manager)



