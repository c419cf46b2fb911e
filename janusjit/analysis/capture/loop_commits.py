"""Commit points at the back edges of loops in the graph.

Owns `commit_turns`, which makes a guard that fails inside a long loop leave the graph with the state at the begin of
the present turn, instead of discarding all turns. Invariant: the state at a turn's begin is what the loop carries, so
it is there unchanged until the turn's last guard has held; but for random number generators, which are put back.
"""

from __future__ import annotations

from collections.abc import Iterator

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.random_states import drawn_states
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.state import State
from janusjit.analysis.capture.suspension import suspend
from janusjit.analysis.core import Instruction
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Node, Region
from janusjit.ir.types import INT

#: loops that made at least this many trips are long
LONG = 64
#: guards times variables, at most: each guard has code of its own that hands over the variables
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
    if machine.nested or not machine.hosts.commits_turns or not _is_long(machine, instruction):
        return
    states = drawn_states(machine, region)
    guards = list(_guards(region))
    if states is None or not guards or len(guards) * (1 + len(region.parameters)) > _BUDGET:
        return
    region.nodes[:0] = saves = [Node("random.save", (a,), (INT,), dict(t), instruction.span) for a, t in states]
    restores = [Node("random.restore", (s.inputs[0], s.result), (), dict(s.attributes), s.span) for s in saves]
    kept = machine.state, machine.region, machine.span, machine.site
    try:
        for inside, node in guards:
            machine.state, machine.region = header.fork(), Region()
            machine.region.nodes += [Node(r.op, r.inputs, (), dict(r.attributes), r.span) for r in restores]
            machine.span, machine.site = instruction.span, instruction.site
            _leave(machine, instruction, inside, node)
    except CaptureFailure:
        return  # a variable that Python could not be given: the guards that are left discard the whole loop
    finally:
        machine.state, machine.region, machine.span, machine.site = kept


def _is_long(machine: Machine, instruction: Instruction) -> bool:
    """Whether a loop makes many trips: as far as the profile knows, or since it is running now."""
    trips = machine.profile.trips(machine.frame.code, instruction.site)
    return bool(trips.maximum >= LONG or (machine.externals.resumed and trips.loops == 0))


def _guards(region: Region) -> Iterator[tuple[Region, Node]]:
    """Yield the guards in a region and the regions inside it, each with its own region."""
    for node in region.nodes:
        if node.op in ("guard", "fail"):
            yield region, node
        for inner in node.regions:
            yield from _guards(inner)


def _leave(machine: Machine, instruction: Instruction, region: Region, node: Node) -> None:
    """Put a branch to an exit in the place of a guard."""
    arm = machine.region
    try:
        raise suspend(machine, "guard", instruction, "", "", guard=node.guard)
    except Terminated:
        pass
    position = region.nodes.index(node)
    if node.op == "fail":
        region.nodes[position:] = arm.nodes
        return
    going = Region()
    going.nodes.append(Node("yield", span=node.span))
    region.nodes[position] = Node("if", node.inputs, (), {}, node.span, (going, arm))
