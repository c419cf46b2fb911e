"""Guards early.

Owns `hoist_guards`. Invariant: a guard stays in its region, so it is checked exactly when it was; it moves to where its
condition is known, so that a call that is going to fail fails soon, and writes after it can be done in place. Guards
on conditions that hold by construction go.
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
    behind: dict[Node | None, list[Node]] = {}
    others: list[Node] = []
    here = set(region.nodes)
    for node in region.nodes:
        if node.op != "guard":
            others.append(node)
        elif not _holds(node.inputs[0]):
            definition = node.inputs[0].node
            behind.setdefault(definition if definition in here else None, []).append(node)
    before = region.nodes
    region.nodes = [*behind.get(None, ()), *(moved for node in others for moved in (node, *behind.get(node, ())))]
    changed = len(before) - len(region.nodes) + sum(a is not b for a, b in zip(before, region.nodes, strict=False))
    return changed + sum(_hoist(inner) for node in others for inner in node.regions)


def _holds(condition: Value) -> bool:
    return bool(constant_of(condition))
