"""Common subexpression elimination.

Owns `merge_common_subexpressions` and `compute_the_same`. Invariants: a merged node is dominated by the one that stands
for it; a node that can fail is merged only with the same node on the same inputs, which would have failed before it.
Values are SSA, so no update can come between two equal nodes. Linear in the size of the graph.
"""

from __future__ import annotations

from collections.abc import Hashable

from janusjit.ir.builder import Substitution, carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ops import OPS
from janusjit.pacing import pause
from janusjit.transform.facts import errors_of, exact_key, is_operation, is_stateful

#: how many nodes deep two values are compared
_DEPTH = 6


def compute_the_same(first: Value, second: Value, depth: int = _DEPTH) -> bool:
    """Whether two values are the same by what they are computed of; False where that is not seen at a glance."""
    if first is second:
        return True
    one, other = first.node, second.node
    if one is None or other is None or one.op != other.op or first.index != second.index or not depth:
        return False
    if one.op == "dim":
        return bool(one.attributes["dim"] == other.attributes["dim"])
    if is_stateful(one) or not is_operation(one) or len(one.inputs) != len(other.inputs) or _does(one) != _does(other):
        return False
    return all(compute_the_same(a, b, depth - 1) for a, b in zip(one.inputs, other.inputs, strict=True))


def merge_common_subexpressions(graph: Graph) -> int:
    """Replace nodes, guards included, that do what a dominating node has done; return how many."""
    carried = carried_guards(graph)
    merged = _Merger().region(graph.body)
    drop_guards(graph, carried)
    return merged


class _Merger:
    def __init__(self) -> None:
        self._substitution = Substitution()
        self._known: dict[Hashable, Node] = {}

    def region(self, region: Region) -> int:
        added: list[Hashable] = []
        kept: list[Node] = []
        merged = 0
        for node in region.nodes:
            pause()
            self._substitution.apply(node)
            key = _key(node)
            earlier = self._known.get(key) if key is not None else None
            if earlier is not None:
                self._substitution.update(node.results, earlier.results)
                if errors_of(node) > errors_of(earlier):
                    earlier.span = node.span  # the warnings are those of either
                merged += 1
                continue
            kept.append(node)
            if key is not None:
                self._known[key] = node
                added.append(key)
            for inner in node.regions:
                merged += self.region(inner)
        region.nodes = kept
        for key in added:  # what a region computes is not known behind it
            del self._known[key]
        return merged


def _key(node: Node) -> Hashable | None:
    """Return what a node does, or None if it is not to be merged."""
    if node.op == "guard":
        return (node.op, node.inputs)
    if node.op == "dim":
        return (node.op, exact_key(node.attributes["dim"]))
    if is_stateful(node):
        return None
    if not is_operation(node) or "symbol" in node.attributes:  # each symbol is a dimension of its own
        return None
    inputs = node.inputs
    if OPS[node.op].commutative and len(inputs) == 2 and id(inputs[0]) > id(inputs[1]):
        inputs = inputs[::-1]
    return (node.op, inputs, _does(node))


def _does(node: Node) -> Hashable:
    """Return what a node's attributes say that it does."""
    return tuple((name, exact_key(item)) for name, item in sorted(node.attributes.items()))
