"""Guards that fail because a test wants them to.

Owns `force_failure` and `count_guards`. Invariant: a forced guard fails whenever control comes to it, and nothing else
about the graph changes, so what happens then is what happens when the guard fails by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from janusjit.ir.boxes import ChoiceBox, ConstantBox, SequenceBox
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.types import BOOL


def count_guards(graph: Graph) -> int:
    """Return how many guards inside a graph can be forced to fail."""
    return sum(1 for _ in _guards(graph.body))


def force_failure(graph: Graph, number: int) -> bool:
    """Make guard ``number`` inside a graph, counted in program order, fail; return whether there is one.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    number : int
        Counts guards, operations that can fail, and branches to exits that stand for a guard.
    """
    for position, (region, node) in enumerate(_guards(graph.body)):
        if position == number:
            _force(region, node)
            return True
    return False


def _guards(region: Region) -> Iterator[tuple[Region, Node]]:
    for node in list(region.nodes):
        if (node.guard is not None and node.op != "fail") or _stands_for_a_guard(node):
            yield region, node
        for inner in node.regions:
            yield from _guards(inner)


def _stands_for_a_guard(node: Node) -> bool:
    if node.op != "if":
        return False
    recipe = node.regions[1].terminator.attributes.get("recipe")
    result = getattr(recipe, "result", None)
    if not isinstance(result, SequenceBox) or not result.items:
        return False
    first = result.items[0]
    if isinstance(first, ChoiceBox):
        return True
    return isinstance(first, ConstantBox) and getattr(first.value, "guard", None) is not None


def _force(region: Region, node: Node) -> None:
    false = Node("constant", (), (BOOL,), {"value": False, "dtype": "bool"}, node.span)
    position = region.nodes.index(node)
    if node.op in ("guard", "if"):
        node.inputs = (_only(false), *node.inputs[1:])
        region.nodes.insert(position, false)
    else:
        failing = Node("guard", (_only(false),), (), {}, node.span, (), node.guard)
        region.nodes[position:position] = [false, failing]


def _only(node: Node) -> Value:
    return node.results[0]
