"""Commit points at the back edges of loops in the graph.

Owns `commit_turns`, which makes a guard that fails inside a long loop leave the graph with the state at the begin of
the present turn, instead of discarding all turns. Invariant: the state at a turn's begin is what the loop carries, so
it is there unchanged until the turn's last guard has held; but for random number generators, which are put back.

An operation that can fail is asked first whether it would (`_condition`), where that is less work than doing it: a
checked op of numbers, what takes positions, a reduction. Others (a decomposition, a draw) are asked afterwards.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from janusjit.analysis.capture.arrays import constant
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_dimensions import size_value
from janusjit.analysis.capture.random_states import drawn_states
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.state import State
from janusjit.analysis.capture.suspension import suspend
from janusjit.analysis.core import Instruction, While
from janusjit.errors import CaptureFailure
from janusjit.ir.boxes import ChoiceBox, ConstantBox, ExitRecipe, SequenceBox
from janusjit.ir.graph import Node, Region, Value
from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import BOOL, INT
from janusjit.ops import OPS
from janusjit.ops.registry import Checked, Library, ObjectCall, ObjectRead, Reduce, Structured

#: the guard by which a loop leaves the graph because something else waits for the interpreter
INTERPRETER_CODE = "environment.interpreter"
#: loops that made at least this many trips are long
LONG = 64
#: guards times variables, at most, where each guard needs code of its own that hands over the variables
_BUDGET = 1_000


def commit_turns(machine: Machine, instruction: Instruction, region: Region, header: State) -> None:
    """Let the guards in a loop's body leave the graph for the begin of the turn.

    Parameters
    ----------
    machine : Machine
        Its state is kept.
    instruction : Instruction
        The loop.
    region : Region
        The body, complete.
    header : State
        The state at the begin of a turn, in terms of the region's parameters.
    """
    if machine.nested or not machine.hosts.commits_turns:
        return
    states = drawn_states(machine, region)
    if states is None:
        return
    looks = _look_around(machine, region) if isinstance(instruction, While) else []
    guards = list(_guards(region)) if _is_long(machine, instruction) else looks
    if not guards:
        return
    region.nodes[:0] = saves = [Node("random.save", (a,), (INT,), dict(t), instruction.span) for a, t in states]
    restores = [Node("random.restore", (s.inputs[0], s.result), (), dict(s.attributes), s.span) for s in saves]
    leaving = _Leaving(machine, instruction, header, restores)
    kept = machine.state, machine.region, machine.span, machine.site
    try:
        shared = leaving.shared([node.guard for _, node in guards], kept[1])
        if shared is None and len(guards) * (1 + len(region.parameters)) > _BUDGET:
            return
        for number, (inside, node) in enumerate(guards):
            arm = leaving.alone(node.guard) if shared is None else leaving.arm(shared, number)
            _leave(machine, arm, inside, node)
    except CaptureFailure:
        return  # a variable that Python could not be given: the guards that are left discard the whole loop
    finally:
        machine.state, machine.region, machine.span, machine.site = kept


class _Leaving:
    """Makes the exits of a loop that leave for the begin of the present turn."""

    def __init__(self, machine: Machine, instruction: Instruction, header: State, restores: list[Node]) -> None:
        self._machine, self._instruction, self._header = machine, instruction, header
        self._restores = restores

    def alone(self, guard: InGraphGuard | None) -> Region:
        """Return an exit for one guard."""
        machine = self._machine
        machine.state, machine.region = self._header.fork(), Region()
        machine.region.nodes += self._copied(self._restores)
        machine.span, machine.site = self._instruction.span, self._instruction.site
        with contextlib.suppress(Terminated):
            raise suspend(machine, "guard", self._instruction, "", "", guard=guard)
        return machine.region

    def shared(self, guards: list[InGraphGuard | None], outer: Region) -> Node | None:
        """Return the exit of all guards, lacking its last operand, the guard's number; None if they need their own.

        Constants it needs are put before the loop.
        """
        first = self.alone(guards[0])
        *others, leaving = first.nodes[len(self._restores) :]
        recipe = leaving.attributes["recipe"]
        if any(node.op != "constant" for node in others) or not isinstance(recipe.result, SequenceBox):
            return None
        outer.nodes += others
        point, *state = recipe.result.items
        assert isinstance(point, ConstantBox)
        points = tuple(point.value.failed_by(guard) for guard in guards)
        result = SequenceBox(tuple, (ChoiceBox(len(leaving.inputs), points), *state))
        attributes = {**leaving.attributes, "recipe": ExitRecipe(result, recipe.effects)}
        return Node("exit", leaving.inputs, (), attributes, leaving.span)

    def arm(self, shared: Node, number: int) -> Region:
        """Return the way to a shared exit for guard ``number``."""
        which = Node("constant", (), (INT,), {"value": number, "dtype": "i64"}, shared.span)
        arm = Region()
        arm.nodes += [*self._copied(self._restores), which]
        arm.nodes.append(Node("exit", (*shared.inputs, which.result), (), dict(shared.attributes), shared.span))
        return arm

    def _copied(self, nodes: list[Node]) -> list[Node]:
        return [Node(node.op, node.inputs, (), dict(node.attributes), node.span) for node in nodes]


def _look_around(machine: Machine, region: Region) -> list[tuple[Region, Node]]:
    """Let each turn of a ``while`` look whether something waits for the interpreter; return the guard.

    A signal's handler or another thread may be what ends the loop, or the program.
    """
    around, machine.region = machine.region, Region()
    try:
        free = machine.emit("interpreter.is_free", constant(machine, 0, "i64"))
        machine.require(free, machine.guard(INTERPRETER_CODE, "the interpreter", "asked for by nobody"))
        nodes = machine.region.nodes
    finally:
        machine.region = around
    region.nodes[:0] = nodes
    return [(region, nodes[-1])]


def _is_long(machine: Machine, instruction: Instruction) -> bool:
    """Whether a loop makes many trips: as far as the profile knows, or since no turn of it was the last one yet."""
    trips = machine.profile.trips(machine.frame.code, instruction.site)
    return bool(trips.maximum >= LONG or trips.loops == 0)


def _guards(region: Region) -> Iterator[tuple[Region, Node]]:
    """Yield the guards in a region and the regions inside it, and what can be asked first, each with its region."""
    for node in region.nodes:
        if node.op in ("guard", "fail") or (node.guard is not None and (_is_asked_first(node) or _is_attempted(node))):
            yield region, node
        for inner in node.regions:
            yield from _guards(inner)


def _is_asked_first(node: Node) -> bool:
    op = OPS[node.op]
    return op.positions is not None or isinstance(op.lowering, (Checked, Reduce))


def _is_attempted(node: Node) -> bool:
    """Whether a node is done, and asked then whether it could be; not if its count is an operation of its own."""
    lowering = OPS[node.op].lowering
    return isinstance(lowering, (Library, ObjectCall, ObjectRead)) or (
        isinstance(lowering, Structured) and "symbol" not in node.attributes
    )


def _leave(machine: Machine, arm: Region, region: Region, node: Node) -> None:
    """Put a branch to an exit in the place of a guard, or before or behind an operation that can fail."""
    position = region.nodes.index(node)
    if node.op == "fail":
        region.nodes[position:] = arm.nodes
        return
    if node.op == "guard":
        region.nodes[position] = _branch(node.inputs[0], arm, node)
        return
    if not _is_asked_first(node):
        asking = Node("succeeded", node.results[:1], (BOOL,), {}, node.span)
        region.nodes[position + 1 : position + 1] = [asking, _branch(asking.result, arm, node)]
        return
    condition = _condition(machine, node)
    region.nodes[position:position] = [*machine.region.nodes, _branch(condition, arm, node)]


def _condition(machine: Machine, node: Node) -> Value:
    """Emit, into a region of its own, the condition under which an operation can be done."""
    op = OPS[node.op]
    machine.region, machine.span = Region(), node.span
    if isinstance(op.lowering, Reduce):
        reduced = node.attributes.get("axes", node.attributes.get("axis"))
        shape = node.inputs[0].type.shape
        axes = range(len(shape)) if reduced is None else reduced if isinstance(reduced, tuple) else (reduced,)
        sizes = [size_value(machine, shape[axis]) for axis in axes]
        return _all(machine, [machine.emit("greater", size, constant(machine, 0, "i64")) for size in sizes])
    if op.positions is None:
        return machine.emit("is_defined", *node.inputs, of=node.op)
    conditions = []
    for number, axis in op.positions(node.attributes):
        index, size = node.inputs[number], size_value(machine, node.inputs[0].type.shape[axis])
        not_below = machine.emit("greater_equal", index, machine.emit("negative", size))
        inside = machine.emit("logical_and", not_below, machine.emit("less", index, size))
        axes = tuple(range(inside.type.rank))
        conditions.append(machine.emit("all", inside, axes=axes, keepdims=False) if axes else inside)
    return _all(machine, conditions)


def _all(machine: Machine, conditions: list[Value]) -> Value:
    return functools.reduce(lambda one, other: machine.emit("logical_and", one, other), conditions)


def _branch(condition: Value, arm: Region, node: Node) -> Node:
    """Return the branch that goes on if a condition holds, and else leaves the graph."""
    going = Region()
    going.nodes.append(Node("yield", span=node.span))
    return Node("if", (condition,), (), {}, node.span, (going, arm))
