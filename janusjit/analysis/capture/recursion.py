"""Recursions kept in the graph.

Owns `Recursion`, which makes a function that calls itself a loop over stacks of its own, and `keep_recursion`, which
decides where that is done. Every turn of the loop runs the function from a *site*, its beginning or what follows one of
its recursive calls, to the next call or return; what the frames keep meanwhile is on tapes. Invariants: the loop is
found by a fixed point, as other loops are: of what each site keeps (`janusjit.analysis.capture.recursion_slots`) and of
what lives outside the recursion; a recursion that finds none is followed in another way.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from janusjit.analysis.capture.arrays import constant
from janusjit.analysis.capture.calls import RECURSION
from janusjit.analysis.capture.control import bind_results, site_key
from janusjit.analysis.capture.loops import Arrival
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.merge import Arm, Merger
from janusjit.analysis.capture.recursion_slots import (
    Slot,
    Slots,
    is_settled,
    may_be_outside,
    parts_of,
    rebuilt,
    settle,
    types_of,
)
from janusjit.analysis.capture.run_time_objects import pool_of
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable, Unwinding
from janusjit.analysis.capture.state import Frame, GraphLoopEntry, State
from janusjit.analysis.capture.suspension import FrameStates, push_frame
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Reference, Scalar, TupleValue
from janusjit.analysis.continuation import PLAIN, BlockStep, FrameShape
from janusjit.analysis.core import Block, FunctionCore, Instruction, Parameters
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Node, Region, Value
from janusjit.ir.types import INT

_FIXED_POINT_LIMIT = 16
#: places at which the function may go on
_SITE_LIMIT = 24
#: tapes of recursions are told by numbers from here on; gradients take those after what there is
_FIRST_TAPE = 1_000_000
#: the variables of the frame below the recursion: where to go on, how many calls are open, what the last one returned
_SITE, _DEPTH, _RETURNED, _FIXED = ".site", ".depth", ".returned", ".fixed"


@dataclass(slots=True, eq=False)
class Stack:
    """A tape: what a site keeps, the sites to return to, or results; ``slots`` is None before the first push."""

    number: int
    slots: tuple[Slot, ...] | None = None

    @property
    def variable(self) -> str:
        """The variable that has the tape's height."""
        return f".height_{self.number}"

    @property
    def fixed(self) -> list[AbstractValue]:
        """What every push has in common."""
        return [slot.value for slot in self.slots or () if hasattr(slot, "value")]


@dataclass(slots=True, eq=False)
class Site:
    """A place at which the function goes on: the frames that stand there, and their variables' stack."""

    number: int
    frames: tuple[FrameShape, ...]
    outcome: str | None
    stack: Stack


class _Again(Exception):
    """The fixed point has to be begun again, with what is known by now."""


@dataclass(slots=True, eq=False)
class Recursion:
    """One attempt at keeping a recursion in the graph."""

    machine: Machine
    cores: frozenset[FunctionCore]
    slots: Slots
    tapes: int
    base: int = 0
    loops: set[Instruction] = field(default_factory=set)
    sites: dict[Hashable, Site] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    changed: bool = False
    results: Stack = field(init=False)
    ways_back: Stack = field(init=False)

    def __post_init__(self) -> None:
        self.results, self.ways_back = self._new_stack(), self._new_stack()
        self.ways_back.slots = self._joined_slots(None, [Scalar(constant(self.machine, 0, "i64"), "int")], frozenset())

    # ------------------------------------------------------------------ stacks

    def _new_stack(self) -> Stack:
        self.tapes += 1
        return Stack(self.tapes - 1)

    @property
    def stacks(self) -> list[Stack]:
        """All tapes."""
        return [self.results, self.ways_back, *(site.stack for site in self.sites.values())]

    @property
    def driver(self) -> Frame:
        """The frame below those of the recursion, in the present state."""
        return self.machine.state.frames[self.base - 1]

    def _joined_slots(
        self, known: tuple[Slot, ...] | None, values: Sequence[AbstractValue], lent: frozenset[int]
    ) -> tuple[Slot, ...]:
        before = known if known is not None else (None,) * len(values)
        return tuple(self.slots.widened(slot, value, lent) for slot, value in zip(before, values, strict=True))

    def _push(self, stack: Stack, values: Sequence[AbstractValue], lent: frozenset[int] = frozenset()) -> None:
        slots = self._joined_slots(stack.slots, values, lent)
        self.changed |= slots != stack.slots
        stack.slots = slots
        pairs = zip(slots, values, strict=True)
        parts = [part for slot, value in pairs for part in parts_of(self.machine, slot, value)]
        if parts:
            height = self._number(stack.variable)
            made = self.machine.emit("tape_push", height, *parts, types=(INT,), tape=stack.number)
            self.driver.locals[stack.variable] = Scalar(made, "int")

    def _pop(self, stack: Stack) -> list[AbstractValue]:
        assert stack.slots is not None
        types = [type_ for slot in stack.slots for type_ in types_of(slot)]
        parts: Iterator[Value] = iter(())
        if types:
            attributes = {"tape": stack.number, "copied": True}
            height = (self._number(stack.variable),)
            height_before, *found = self.machine.emit_node("tape_pop", height, attributes, types=(INT, *types)).results
            self.driver.locals[stack.variable] = Scalar(height_before, "int")
            parts = iter(found)
        return [rebuilt(self.machine, slot, parts) for slot in stack.slots]

    def _number(self, name: str) -> Value:
        found = self.driver.locals[name]
        assert isinstance(found, Scalar)
        return found.value

    def _set(self, name: str, value: Value | int) -> None:
        made = value if isinstance(value, Value) else constant(self.machine, value, "i64")
        self.driver.locals[name] = Scalar(made, "int")

    # ------------------------------------------------------------------ sites

    def _site(self, frames: tuple[FrameShape, ...], outcome: str | None) -> Site:
        key = (outcome, tuple(frame.key for frame in frames))
        if key not in self.sites:
            if len(self.sites) == _SITE_LIMIT:
                raise self.slots.failure(f"it goes on at more than {_SITE_LIMIT} places")
            self.sites[key] = Site(len(self.sites), frames, outcome, self._new_stack())
            raise _Again
        return self.sites[key]

    def _entry(
        self, core: FunctionCore, namespace: dict[str, Any], code: CodeType | None, names: Sequence[str], cells: Any
    ) -> Site:
        shapes = tuple((name, PLAIN) for name in names)
        frame = FrameShape(core, namespace, code, (BlockStep(core.body, 0),), shapes, cells, _RETURNED)
        return self._site((frame,), None)

    def _suspended(self, outcome: str | None, arguments: Sequence[AbstractValue]) -> tuple[Site, list[AbstractValue]]:
        """Take down the frames of the recursion as they stand."""
        machine = self.machine
        everything = machine.state.frames
        machine.state.frames = everything[self.base :]
        try:
            for frame in machine.state.frames:
                for entry in frame.blocks:
                    if isinstance(entry, GraphLoopEntry):
                        self.loops.add(entry.instruction)
                        raise _Again
            taken = FrameStates(machine)
            taken.read((outcome,) if outcome is not None else (), False, arguments)
        finally:
            machine.state.frames = everything
        return self._site(tuple(taken.frames), outcome), taken.values

    # ------------------------------------------------------------------ ways through a turn

    def enters(self, core: FunctionCore) -> bool:
        """Whether a call of a function is one of the recursion."""
        return core in self.cores

    def call(
        self,
        core: FunctionCore,
        namespace: dict[str, Any],
        code: CodeType | None,
        bound: dict[str, AbstractValue],
        cells: dict[str, AbstractValue],
        target: str | None,
    ) -> Terminated:
        """End the path where the function calls itself; the caller raises what is returned."""
        machine = self.machine
        if machine.nested or target is None or target in machine.frame.cells or core.cells:
            raise self.slots.failure("it is called by something else than a plain call")
        arguments = list(bound.values())
        entry = self._entry(core, namespace, code, list(bound), _cells(cells))
        behind, kept = self._suspended(target, arguments)
        self._bound_depth(core, len(machine.state.frames) - self.base)
        lent = frozenset(_storages(machine, arguments))
        self._push(entry.stack, [*arguments, *_references(cells)], lent)
        self._push(behind.stack, kept, lent)
        self._push(self.ways_back, [Scalar(constant(machine, behind.number, "i64"), "int")])
        self._set(_DEPTH, machine.emit("add", self._number(_DEPTH), constant(machine, 1, "i64")))
        self._set(_SITE, entry.number)
        return self._arrived("continue")

    def turn(self, instruction: Instruction) -> Terminated:
        """End the path where the next turn of a loop around recursive calls is due."""
        site, kept = self._suspended(None, ())
        self._push(site.stack, kept)
        self._set(_SITE, site.number)
        return self._arrived("continue")

    def finish(self, machine: Machine) -> None:
        """A call has returned: go on behind it, or leave the loop if it was the first."""
        value = self.driver.locals.pop(_RETURNED)
        self._push(self.results, [value])
        depth = self._number(_DEPTH)
        inside = machine.emit("greater", depth, constant(machine, 0, "i64"))
        going, leaving = (machine.recorded.nested(machine.region, len(machine.births)) for _ in range(2))
        machine.append(Node("if", (inside,), (), {}, machine.span, (going, leaving)))
        machine.region.nodes.append(Node("unreachable", span=machine.span))
        left = machine.state.fork()
        self.arrivals.append(Arrival("break", Arm(leaving, left)))
        machine.region = going
        (site,) = self._pop(self.ways_back)
        self.driver.locals[_SITE] = site
        self._set(_DEPTH, machine.emit("subtract", depth, constant(machine, 1, "i64")))
        raise self._arrived("continue")

    def leave(self, machine: Machine, unwinding: Unwinding) -> None:
        """An exception leaves the recursion: Python finds out who handles it."""
        raised: PythonRaise = unwinding.value
        raise machine.fail("python.exception", f"raise {raised.type_.__name__}", "no exception")

    def _arrived(self, kind: str) -> Terminated:
        machine = self.machine
        del machine.state.frames[self.base :]
        self.arrivals.append(Arrival(kind, Arm(machine.region, machine.state)))
        return Terminated()

    def _bound_depth(self, core: FunctionCore, frames: int) -> None:
        """Guard that Python would not run out of stack."""
        machine, limit = self.machine, sys.getrecursionlimit() // (2 * frames)
        guard = machine.guard("python.recursion_depth", f"{core.name}()", f"at most {limit} calls within each other")
        machine.require(machine.emit("less", self._number(_DEPTH), constant(machine, limit, "i64")), guard)

    # ------------------------------------------------------------------ the loop

    def turn_of(self, header: State, region: Region) -> None:
        """Capture one turn of the loop: whatever site is due."""
        machine = self.machine
        self.arrivals = []
        machine.state = header.fork()
        due = self._number(_SITE)
        *others, last = self.sites.values()
        for site in others:
            machine.region = region
            is_due = machine.emit("equal", due, constant(machine, site.number, "i64"))
            going, leaving = (machine.recorded.nested(region, len(machine.births)) for _ in range(2))
            machine.append(Node("if", (is_due,), (), {}, machine.span, (going, leaving)))
            region.nodes.append(Node("unreachable", span=machine.span))
            self._go_on(site, header.fork(), going)
            region = leaving
        self._go_on(last, header.fork(), region)

    def _go_on(self, site: Site, state: State, region: Region) -> None:
        """Capture what follows a site."""
        machine = self.machine
        machine.state, machine.region = state, region
        machine.span = site.frames[-1].core.span
        if site.stack.slots is None or (site.outcome is not None and self.results.slots is None):
            machine.fail("python.recursion", "call", "a way out of the recursion")  # in an attempt that does not count
            self.changed = True
            return
        outcome = self._pop(self.results) if site.outcome is not None else []

        def push(values: list[AbstractValue]) -> None:
            arguments = _Kept(machine, values[len(outcome) :])
            for shape in site.frames:
                push_frame(machine, shape, arguments)
            if site.outcome is not None:
                machine.set(site.outcome, values[0])

        with contextlib.suppress(Terminated):
            settle(machine, [*outcome, *self._pop(site.stack)], push)
            machine.run((0, 0))

    def header_of(self, entry: Site, arguments: Sequence[AbstractValue]) -> None:
        """Make the variables of the loop as they are before it."""
        machine = self.machine
        for stack in self.stacks:
            made = machine.emit("tape_new", types=(INT,), tape=stack.number)
            self.driver.locals[stack.variable] = Scalar(made, "int")
        self._set(_DEPTH, 0)
        self._set(_SITE, entry.number)
        self._push(entry.stack, arguments, frozenset(_storages(machine, arguments)))
        fixed = [value for stack in self.stacks for value in stack.fixed]
        self.driver.locals[_FIXED] = TupleValue(tuple(fixed))  # what they refer to is kept


def _cells(cells: dict[str, AbstractValue]) -> tuple[tuple[str, None], ...]:
    return tuple((name, None) for name in sorted(cells))


def _references(cells: dict[str, AbstractValue]) -> list[AbstractValue]:
    return [cells[name] for name in sorted(cells)]


def _storages(machine: Machine, values: Sequence[AbstractValue]) -> Iterator[int]:
    for value in values:
        if isinstance(value, ArrayValue):
            yield value.storage
        elif isinstance(value, TupleValue):
            yield from _storages(machine, value.items)


class _Kept:
    """The values of frames that come off a stack, in their order."""

    def __init__(self, machine: Machine, values: list[AbstractValue]) -> None:
        self.machine = machine
        self._values = iter(values)

    def argument(self) -> AbstractValue:
        return next(self._values)

    passed = argument

    def cell(self, name: str) -> Reference:
        found = next(self._values)
        assert isinstance(found, Reference)
        return found


# ---------------------------------------------------------------------- deciding, and finding the loop


def keep_recursion(
    machine: Machine,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: CodeType | None,
    bound: dict[str, AbstractValue],
    cells: dict[str, AbstractValue],
    settled: bool = True,
) -> AbstractValue | None:
    """Keep the recursion that a call begins in the graph, and return its result; None if that is not done.

    With ``settled``, the result has to be of one kind.
    """
    hosts = machine.hosts
    wanted = hosts.outlined and core in hosts.recursive and core not in hosts.followed
    plain = core.kind == "function" and not core.cells and core.name != "__init__"
    if not wanted or not plain or machine.nested or machine.recursion is not None or machine.gradients.sources:
        return None
    region, size, state = machine.region, len(machine.region.nodes), machine.state.fork()
    span, site = machine.span, machine.site
    try:
        result = _kept(machine, core, namespace, code, bound, cells)
        if settled and not is_settled([result]):
            raise machine.unsupported("python.recursion", f"{core.name}()", "it returns objects of several kinds")
        return result
    except (CaptureFailure, PoisonUsed, Unmergeable) as failure:
        if isinstance(failure, PoisonUsed) and failure.fork[0] == "branch":
            raise
        del region.nodes[size:]
        machine.region, machine.state, machine.span, machine.site = region, state, span, site
        hosts.followed[core] = str(failure)
        return None
    finally:
        machine.recursion = None


def _kept(
    machine: Machine,
    core: FunctionCore,
    namespace: dict[str, Any],
    code: CodeType | None,
    bound: dict[str, AbstractValue],
    cells: dict[str, AbstractValue],
) -> AbstractValue:
    outer, size, begin = machine.region, len(machine.region.nodes), machine.state
    slots, mark = Slots(machine), len(machine.births)
    recursion = Recursion(machine, frozenset(machine.hosts.recursive), slots, _unused_tape(machine))
    begin.frames.append(_driver(core, recursion))
    recursion.base = len(begin.frames)
    machine.recursion = recursion
    arguments = [*bound.values(), *_references(cells)]
    key = _key_of(machine)
    header: State | None = None
    parameters: tuple[Value, ...] = ()
    shape: list[Any] | None = None
    for _ in range(_FIXED_POINT_LIMIT * _SITE_LIMIT):
        del outer.nodes[size:]
        machine.region, machine.state = outer, begin.fork()
        recursion.changed = False
        version = pool_of(machine).version
        try:
            entry = recursion._entry(core, namespace, code, list(bound), _cells(cells))
            recursion.header_of(entry, arguments)
            entered = machine.state
            region = machine.recorded.nested(outer, len(machine.births))
            region.parameters = parameters
            for index, value in enumerate(parameters):
                value.definition, value.index = region, index
                machine.births[value] = len(machine.births)
            recursion.turn_of(entered if header is None else header, region)
        except _Again:
            header, parameters, shape = None, (), None
            continue
        if recursion.changed or pool_of(machine).version != version:
            header, parameters, shape = None, (), None
            continue
        machine.region = outer
        back = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "continue"]
        merger = Merger(machine, [Arm(outer, entered), *back], key)
        merged = merger.merge()
        found: list[Any] = [(slot.location, slot.result.type) for slot in merger.slots]
        found += merger.poisoned + merger.kinds
        if shape is not None and found == shape:
            return _emitted(recursion, region, merger, key, mark)
        header, parameters, shape = merged, tuple(slot.result for slot in merger.slots), found
    raise slots.failure("what it keeps does not settle")


def _emitted(recursion: Recursion, region: Region, header: Merger, key: Any, mark: int) -> AbstractValue:
    """Append the loop, and return the result of the recursion."""
    machine = recursion.machine
    span = machine.span
    initial = tuple(slot.values[0] for slot in header.slots)
    back = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "continue"]
    for position, arm in enumerate(back, start=1):
        values = tuple(slot.values[position] for slot in header.slots)
        arm.region.nodes.append(Node("continue", values, span=span))
    exits = [arrival.arm for arrival in recursion.arrivals if arrival.kind == "break"]
    if not exits:
        raise recursion.slots.failure("it has no way out")
    node = Node("loop", initial, (), {}, span, (region,))
    leaving = Merger(machine, exits, key, mark=mark)
    merged = leaving.merge()
    for position, arm in enumerate(exits):
        values = tuple(slot.values[position] for slot in leaving.slots)
        arm.region.nodes.append(Node("break", values, span=span))
    bind_results(machine, node, leaving)
    machine.append(node)
    machine.state = merged
    (result,) = recursion._pop(recursion.results)
    assert recursion.results.slots is not None
    if any(map(may_be_outside, recursion.results.slots)):
        raise recursion.slots.failure("it may return an array that it has not made")
    merged.frames.pop()
    return result


def _key_of(machine: Machine) -> Any:
    return site_key(machine, "recursion")


def _unused_tape(machine: Machine) -> int:
    """Return the number of a tape that no other recursion of the graph has."""
    machine.recursions += 1
    return _FIRST_TAPE + machine.recursions * 2 * _SITE_LIMIT


def _driver(core: FunctionCore, recursion: Recursion) -> Frame:
    """Return the frame below a recursion, in which nothing but the recursion is run."""
    name = f"{core.name}.recursion"
    own = FunctionCore(name, name, Parameters(), Block(), "function", frozenset(), (), [], core.span)
    entry = GraphLoopEntry(Block(), instruction=None, loop=recursion)  # type: ignore[arg-type]
    return Frame(own, {}, None, {}, {}, [entry])


def keep_from_the_start(machine: Machine) -> None:
    """Keep the recursion of the function that is captured in the graph, if it is one."""
    frames = machine.state.frames
    if len(frames) != 1 or frames[0].blocks[-1].index or frames[0].core not in machine.hosts.recursive:
        return
    frame = frames.pop()
    bound = dict(frame.locals)
    result = keep_recursion(machine, frame.core, frame.namespace, frame.code, bound, frame.cells, settled=False)
    machine.state.frames.append(frame)
    if result is not None:
        settle(machine, [result], lambda values: machine.finish_frame(values[0]))


RECURSION.append(keep_recursion)
