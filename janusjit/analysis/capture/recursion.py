"""Recursions kept in the graph.

Owns `Recursion`, which makes a function that calls itself a loop over stacks of its own. Every turn of the loop runs
the function from a *site*, its beginning or what follows one of its recursive calls, to the next call or return; what
the frames keep meanwhile is on tapes. Invariant: what a site finds on its tape is what was pushed there, in the form
that `janusjit.analysis.capture.recursion_slots` has for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from janusjit.analysis.capture.arrays import constant
from janusjit.analysis.capture.loops import Arrival
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.merge import Arm
from janusjit.analysis.capture.recursion_slots import Object, Slot, Slots
from janusjit.analysis.capture.recursion_tape import parts_of, rebuilt, settle, types_of
from janusjit.analysis.capture.signals import PythonRaise, Terminated, Unwinding
from janusjit.analysis.capture.state import Frame, GraphLoopEntry, State
from janusjit.analysis.capture.suspension import FrameStates, push_frame
from janusjit.analysis.capture.values import AbstractValue, ArrayValue, Reference, Scalar, TupleValue
from janusjit.analysis.continuation import PLAIN, BlockStep, FrameShape
from janusjit.analysis.core import FunctionCore, Instruction
from janusjit.ir.graph import Node, Region, Value
from janusjit.ir.types import INT

#: places at which the function may go on
SITE_LIMIT = 24
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


class Again(Exception):
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

    def pop(self, stack: Stack) -> list[AbstractValue]:
        """Take off a tape what was pushed last."""
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
            if len(self.sites) == SITE_LIMIT:
                raise self.slots.failure(f"it goes on at more than {SITE_LIMIT} places")
            self.sites[key] = Site(len(self.sites), frames, outcome, self._new_stack())
            raise Again
        return self.sites[key]

    def entry(
        self, core: FunctionCore, namespace: dict[str, Any], code: CodeType | None, names: Sequence[str], cells: Any
    ) -> Site:
        """Return the site at which a function begins."""
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
                        raise Again
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
        entry = self.entry(core, namespace, code, list(bound), cells_of(cells))
        behind, kept = self._suspended(target, arguments)
        self._bound_depth(core, len(machine.state.frames) - self.base)
        lent = frozenset(_storages(machine, arguments))
        self._push(entry.stack, [*arguments, *references(cells)], lent)
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
        (site,) = self.pop(self.ways_back)
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
        outcome = self.pop(self.results) if site.outcome is not None else []

        def push(values: list[AbstractValue]) -> None:
            arguments = _Kept(machine, values[len(outcome) :])
            for shape in site.frames:
                push_frame(machine, shape, arguments)
            if site.outcome is not None:
                machine.set(site.outcome, values[0])

        with contextlib.suppress(Terminated):
            settle(machine, [*outcome, *self.pop(site.stack)], push)
            machine.run((0, 0))

    def walked(self, entry: Site) -> list[int]:
        """Return the positions of the arguments that are other objects in other calls."""
        return [position for position, slot in enumerate(entry.stack.slots or ()) if isinstance(slot, Object)]

    def header_of(self, entry: Site, arguments: Sequence[AbstractValue], walked: frozenset[int]) -> None:
        """Make the variables of the loop as they are before it; arguments that are ``walked`` through may vary."""
        machine = self.machine
        if entry.stack.slots is None and walked:
            entry.stack.slots = tuple(
                self.slots.varying(value) if position in walked else self.slots.widened(None, value)
                for position, value in enumerate(arguments)
            )
        for stack in self.stacks:
            made = machine.emit("tape_new", types=(INT,), tape=stack.number)
            self.driver.locals[stack.variable] = Scalar(made, "int")
        self._set(_DEPTH, 0)
        self._set(_SITE, entry.number)
        self._push(entry.stack, arguments, frozenset(_storages(machine, arguments)))
        fixed = [value for stack in self.stacks for value in stack.fixed]
        self.driver.locals[_FIXED] = TupleValue(tuple(fixed))  # what they refer to is kept


def cells_of(cells: dict[str, AbstractValue]) -> tuple[tuple[str, None], ...]:
    """Return the cells of a frame, none of them known beforehand."""
    return tuple((name, None) for name in sorted(cells))


def references(cells: dict[str, AbstractValue]) -> list[AbstractValue]:
    """Return the cells of a function in the order in which its frame has them."""
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
