"""Guards early.

Owns `hoist_guards`. Invariant: a guard is checked whenever it was, and then only: it stays in its region, and behind
nodes by which control may leave. It moves to where its condition is known, so that a call that is going to fail fails
soon, and writes behind it can be done in place. Guards on conditions that hold by construction go.
"""

from __future__ import annotations

from janusjit.ir.builder import carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.transform.facts import constant_of


def hoist_guards(graph: Graph) -> int:
    """Move every guard up to right behind the definition of its condition; return how many moved or went."""
    carried = carried_guards(graph)
    changed = _hoist(graph.body)
    drop_guards(graph, carried)
    return changed


def _hoist(region: Region) -> int:
    before, after = region.nodes, []
    segment: list[Node] = []
    changed = 0
    for node in before:
        segment.append(node)
        changed += sum(_hoist(inner) for inner in node.regions)
        if node.regions and any(leaves(inner, inside_loop=node.op == "loop") for inner in node.regions):
            after += _early(segment)  # a guard behind it is checked only if control comes by
            segment = []
    after += _early(segment)
    region.nodes = after
    return changed + len(before) - len(after) + sum(a is not b for a, b in zip(before, after, strict=False))


def _early(nodes: list[Node]) -> list[Node]:
    """Return nodes that run one after the other with each guard right behind the definition of its condition."""
    behind: dict[Node | None, list[Node]] = {}
    others: list[Node] = []
    here = set(nodes)
    for node in nodes:
        if node.op != "guard":
            others.append(node)
        elif not _holds(node.inputs[0]):
            definition = node.inputs[0].node
            behind.setdefault(definition if definition in here else None, []).append(node)
    return [*behind.get(None, ()), *(moved for node in others for moved in (node, *behind.get(node, ())))]


def leaves(region: Region, inside_loop: bool) -> bool:
    """Return whether control may leave the region's owner otherwise than to what follows it or by failing."""
    for node in region.nodes:
        if node.op == "exit" or (node.op in ("break", "continue") and not inside_loop):
            return True
        if any(leaves(inner, inside_loop or node.op == "loop") for inner in node.regions):
            return True
    return False


def _holds(condition: Value) -> bool:
    return bool(constant_of(condition))
