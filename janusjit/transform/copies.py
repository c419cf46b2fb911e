"""Copies that are made anyway.

Owns `skip_copies`. A program copies an array to change part of the copy, or to keep it for the next turn of a loop
while it changes the array; in a graph arrays are values, and an update is a new one, made in place only where nobody
wants the old one. Invariant: only copies that no exit hands out are skipped, and none that puts the elements of a view
in an order of their own: a loop that hands a view of its own array on has no memory that holds it.
"""

from __future__ import annotations

from janusjit.ir.builder import Substitution
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.transform.facts import is_view

_ENDS = frozenset({"continue", "break"})


def skip_copies(graph: Graph) -> int:
    """Use what was copied where a copy is for one update alone, or for the ends of turns of a loop; return how many."""
    users: dict[Value, list[tuple[Node, int]]] = {}
    for node in graph.walk():
        for position, value in enumerate(node.inputs):
            users.setdefault(value, []).append((node, position))
    skipped = {
        node
        for node in graph.walk()
        if node.op == "copy" and _is_as_it_lies(node) and _is_made_anyway(users.get(node.result, []))
    }
    if skipped:
        _skip(graph.body, skipped, Substitution())
    return len(skipped)


def _is_as_it_lies(copy: Node) -> bool:
    """Return whether a copy is of an array as it lies in memory, not of a view of one."""
    (source,) = copy.inputs
    return source.type == copy.result.type and (source.node is None or not is_view(source.node))


def _is_made_anyway(users: list[tuple[Node, int]]) -> bool:
    updates = [node for node, position in users if node.op == "update" and position == 0]
    return bool(users) and len(updates) <= 1 and all(node in updates or node.op in _ENDS for node, _ in users)


def _skip(region: Region, skipped: set[Node], substitution: Substitution) -> None:
    nodes, region.nodes = region.nodes, []
    for node in nodes:
        substitution.apply(node)
        if node in skipped:
            substitution.update(node.results, node.inputs)
            continue
        for inner in node.regions:
            _skip(inner, skipped, substitution)
        region.nodes.append(node)
