"""Loop-invariant code motion.

Owns `hoist_loop_invariants`. Invariants: only pure nodes move; one that could warn, or costs something, moves only from
the part of a loop's body that runs at least once; a node stays behind what binds the dimensions it speaks of.
"""

from __future__ import annotations

from janusjit.ir.dims import Symbol, symbols_of
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.verify import symbols_in
from janusjit.transform.facts import bound_symbols, is_pure, is_view, may_warn


def hoist_loop_invariants(graph: Graph) -> int:
    """Move nodes whose inputs do not change in a loop in front of it; return how many."""
    return _hoist(graph.body)


def _hoist(region: Region) -> int:
    moved = 0
    nodes: list[Node] = []
    for node in region.nodes:
        for inner in node.regions:
            moved += _hoist(inner)  # inner loops first: what leaves one may leave the next
        if node.op == "loop":
            invariants = _Invariants(node.regions[0]).take()
            nodes += invariants
            moved += len(invariants)
        nodes.append(node)
    region.nodes = nodes
    return moved


class _Invariants:
    """The nodes of a loop's body, arms of its ``if``s included, that do the same at every turn."""

    def __init__(self, body: Region) -> None:
        self._body = body
        self._symbols = bound_symbols(body)
        self._varying: set[Value] = set()
        self._found: list[Node] = []

    def take(self) -> list[Node]:
        """Remove the invariant nodes from the body and return them in order."""
        self._region(self._body, certain=True)
        return self._found

    def _region(self, region: Region, certain: bool) -> None:
        """Look through a region; ``certain`` while what comes next runs at every turn, and so at least once."""
        self._varying.update(region.parameters)
        kept: list[Node] = []
        for node in region.nodes:
            if self._is_invariant(node) and (certain or _is_free(node)):
                self._found.append(node)
                continue
            kept.append(node)
            self._varying.update(node.results)
            if node.regions or node.guard is not None:
                certain = False
            for inner in node.regions:
                self._region(inner, certain=False)
        region.nodes = kept

    def _is_invariant(self, node: Node) -> bool:
        if not is_pure(node) or any(value in self._varying for value in node.inputs):
            return False
        return self._symbols.isdisjoint(_mentioned(node)) if self._symbols else True


def _mentioned(node: Node) -> set[Symbol]:
    types = (symbols_of(value.type.shape) for value in node.results)
    return {symbol for found in (*types, symbols_in(tuple(node.attributes.values()))) for symbol in found}


def _is_free(node: Node) -> bool:
    """Whether running the node once too often costs nearly nothing and shows nowhere."""
    if may_warn(node):
        return False
    return is_view(node) or node.op in ("dim", "constant", "constant_array") or not node.results[0].type.rank
