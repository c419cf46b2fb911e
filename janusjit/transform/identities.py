"""What is left of identities when gradients have been taken: nothing.

Owns `remove_marks` and `remove_barriers`. Invariant: barriers stay until nothing looks for common subexpressions any
more.
"""

from __future__ import annotations

from janusjit.ir.builder import Substitution
from janusjit.ir.graph import Graph, Region
from janusjit.ops.identities import IDENTITIES

BARRIERS = frozenset({"barrier"})


def remove_marks(graph: Graph) -> int:
    """Let the inputs of identities other than barriers stand for their results; return how many went."""
    return _remove(graph.body, IDENTITIES - BARRIERS, Substitution())


def remove_barriers(graph: Graph) -> int:
    """Let the inputs of barriers stand for their results; return how many went."""
    return _remove(graph.body, BARRIERS, Substitution())


def _remove(region: Region, ops: frozenset[str], substitution: Substitution) -> int:
    kept, removed = [], 0
    for node in region.nodes:
        substitution.apply(node)
        if node.op in ops:
            substitution.update(node.results, node.inputs[: len(node.results)])
            removed += 1
            continue
        kept.append(node)
        removed += sum(_remove(inner, ops, substitution) for inner in node.regions)
    region.nodes = kept
    return removed
