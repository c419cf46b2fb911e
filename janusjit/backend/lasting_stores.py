"""Which elements that loops store are still there when the loop is left.

Owns `lasting_kernels`. What is stored has to have been computed, even if it is overwritten in the next turn, for the
sake of the floating-point flags; LLVM would leave that out. Invariant: where it is not made sure of that a number is
computed in its turn, it is stored where nothing is stored again before all of memory is looked at behind the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from janusjit.backend.element_updates import part_size
from janusjit.backend.fused import FusedKernel
from janusjit.backend.plan import UPDATES, FusedStep, Plan
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ops.indexing import Operand, Pick
from janusjit.transform.facts import constant_of

#: that many definitions are looked through
_DEPTH = 8


def lasting_kernels(plan: Plan, kernels: Mapping[FusedStep, FusedKernel]) -> list[FusedKernel]:
    """Return the kernels of the steps that do nothing but updates that are `elsewhere_each_turn`."""
    updates = elsewhere_each_turn(plan.graph)
    return [kernel for step, kernel in kernels.items() if updates and updates.issuperset(step.nodes)]


def elsewhere_each_turn(graph: Graph) -> frozenset[Node]:
    """Return the updates of single elements that no later turn of the innermost loop around them writes over.

    All of what is stored is computed then, without being made sure of in every turn. Where branches choose a number,
    that is made sure of: nothing is to be computed of what is not chosen.
    """
    found: set[Node] = set()
    users: dict[Value, list[Node]] = {}
    for node in graph.walk():
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    for loop in graph.walk():
        if loop.op == "loop":
            (body,) = loop.regions
            if any(node.op == "if" and node.results for node in body.nodes):
                continue
            counters, inside = set(_counters(body, users)), set(body.nodes)
            for node in body.nodes:
                single = node.op == "update" and part_size(node) == 1 and _is_only_update(node, body, users)
                if single and any(_is_counted(index, counters, body, inside) for index in _indices(node)):
                    found.add(node)
    return frozenset(found)


def _counters(body: Region, users: dict[Value, list[Node]]) -> Iterator[Value]:
    """Yield the numbers that each turn of a loop hands on with one and the same number added."""
    ends = [end for end in _ends(body) if end.op == "continue"]
    for position, parameter in enumerate(body.parameters):
        if parameter.type.dtype == "i64" and not parameter.type.rank and parameter in users:
            following = {end.inputs[position] for end in ends}
            made = next(iter(following)).node if len(following) == 1 else None
            if made is not None and made.op in ("add", "checked_add") and parameter in made.inputs:
                (added,) = [value for value in made.inputs if value is not parameter] or [parameter]
                if constant_of(added):
                    yield parameter


def _ends(region: Region) -> Iterator[Node]:
    """Yield the terminators of a loop's body, those of inner loops left out."""
    for node in region.nodes:
        if node.op == "if":
            for arm in node.regions:
                yield from _ends(arm)
    yield region.terminator


def _is_only_update(update: Node, body: Region, users: dict[Value, list[Node]]) -> bool:
    """Return whether a turn of a loop updates an array that it carries once, and hands that on."""
    base, result = update.inputs[0], update.result
    if base not in body.parameters or update.result.type.rank == 0:
        return False
    position = body.parameters.index(base)
    for node in users[base]:
        if node is not update and (node.op in UPDATES or node.op in ("loop", "continue", "break", "yield")):
            return False
    ends = [end for end in _ends(body) if end.op == "continue"]
    passed = [node for node in users.get(result, ()) if node.op in UPDATES or node.op in ("loop", "yield")]
    return not passed and all(end.inputs[position] is result for end in ends)


def _indices(update: Node) -> Iterator[Value]:
    """Yield the numbers that say which element an update sets, each along an axis of its own."""
    (step,) = update.attributes["path"] if len(update.attributes["path"]) == 1 else (None,)
    for pick in dict(step.attributes).get("index", ()) if step is not None and step.op == "view" else ():
        if isinstance(pick, Pick) and isinstance(pick.start, Operand):
            yield update.inputs[2 + pick.start.number]


def _is_counted(index: Value, counters: set[Value], body: Region, inside: set[Node], depth: int = _DEPTH) -> bool:
    """Return whether a number is another one in each turn: a counter and what stays as it is, added up."""
    if index in counters:
        return True
    node = index.node
    if node not in inside or not depth or node.op.removeprefix("checked_") not in ("add", "subtract"):
        return False
    counted = [_is_counted(value, counters, body, inside, depth - 1) for value in node.inputs]
    other = node.inputs[0 if counted[1] else 1]
    stays = constant_of(other) is not None or (other not in body.parameters and other.node not in inside)
    return counted[0] is not counted[1] and stays
