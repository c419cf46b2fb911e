"""Determinants and inverses of small matrices are computed by compiled code.

Owns `compute_small_matrices`. NumPy calls LAPACK for each matrix of a stack; where matrices have two to four rows, that
takes longer than what it does. Invariants: a matrix has no inverse where LAPACK finds none; determinants are
computed only where the graph is given up for an invalid value, since infinite elements meet in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.ir.floating_point import watched_errors
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.small_matrices import SIZES
from janusjit.transform.facts import flags_guard, pinned_nodes
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

_OPS = {"linalg.det": "small_det", "linalg.inv": "small_inv"}


def compute_small_matrices(graph: Graph) -> int:
    """Replace NumPy's determinants and inverses of small matrices; return how many."""
    nodes = [node for node in graph.walk() if node.op in _OPS and node.inputs[0].type.shape[-1] in SIZES]
    if not nodes:
        return 0
    pinned, guard = pinned_nodes(graph), flags_guard(graph)
    ops = {"linalg.inv", "linalg.det"} if guard and "invalid" in watched_errors(guard) else {"linalg.inv"}
    found: dict[Node, Replacement] = {node: _Computed() for node in nodes if node not in pinned and node.op in ops}
    replace_nodes(graph.body, found)
    return len(found)


@dataclass(frozen=True)
class _Computed:
    """The determinants, or the inverses, of a stack."""

    unwanted: tuple[Node, ...] = ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        (x,) = node.inputs
        result = make.emit(_OPS[node.op], x, size=x.type.shape[-1])
        make.nodes[-1].guard = node.guard
        return result
