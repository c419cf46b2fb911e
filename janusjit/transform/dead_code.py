"""Dead code elimination.

Owns `remove_dead_code`. Invariant: what can be seen from outside stays: exits, guards, operations that can fail (they
raise what eager raises) or have effects, dimensions bound, and, in a graph that deoptimizes where NumPy would warn,
operations that may warn. Linear in the size of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.ir.graph import TERMINATORS, Graph, Node, Region, Value
from janusjit.pacing import pause
from janusjit.transform.facts import errors_of, is_stateful, promises_warnings


def remove_dead_code(graph: Graph) -> int:
    """Remove nodes, results of ``if`` and ``loop``, and carried values that nothing needs; return how many nodes."""
    return _Sweeper(_Liveness(graph)).region(graph.body)


class _Liveness:
    """The nodes and values that are needed: marked from the roots through a worklist."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: set[Node] = set()
        self.values: set[Value] = set()
        self.leaving: dict[Node, list[Node]] = {}
        self._keep_warnings = promises_warnings(graph)
        self._owner: dict[Node, Node] = {}
        self._loop_of: dict[Region, Node] = {}
        self._pending: list[Node | Value] = []
        self._index(graph.body, None, None)
        while self._pending:
            item = self._pending.pop()
            if isinstance(item, Value):
                self._need_value(item)
            else:
                self._need_node(item)

    def _index(self, region: Region, owner: Node | None, loop: Node | None) -> None:
        """Find the roots, each node's owner, and the terminators by which ``if`` and ``loop`` are left or turned."""
        for node in region.nodes:
            if owner is not None:
                self._owner[node] = owner
            target = owner if node.op == "yield" else loop if node.op in ("break", "continue") else None
            if target is not None:
                self.leaving.setdefault(target, []).append(node)
            elif self._is_root(node):
                self._pending.append(node)
            for inner in node.regions:
                if node.op == "loop":
                    self._loop_of[inner] = node
                self._index(inner, node, node if node.op == "loop" else loop)

    def _is_root(self, node: Node) -> bool:
        if node.guard is not None or node.op in ("exit", "bind_dim") or "symbol" in node.attributes:
            return True
        if is_stateful(node):
            return True
        return self._keep_warnings and bool(errors_of(node))

    def _need_node(self, node: Node) -> None:
        pause()
        if node in self.nodes:
            return
        self.nodes.add(node)
        if (owner := self._owner.get(node)) is not None:
            self._pending.append(owner)
        if node.op == "loop":  # its carried values are needed one by one
            self._pending += self.leaving.get(node, [])
        elif node.op not in ("yield", "break", "continue"):
            self._pending += node.inputs

    def _need_value(self, value: Value) -> None:
        if value in self.values:
            return
        self.values.add(value)
        if isinstance(value.definition, Node):
            self._pending.append(value.definition)
            self._need_operand(value.definition, {"if": "yield", "loop": "break"}.get(value.definition.op), value.index)
        elif value.definition in self._loop_of:
            loop = self._loop_of[value.definition]
            self._pending.append(loop.inputs[value.index])
            self._need_operand(loop, "continue", value.index)

    def _need_operand(self, target: Node, terminator: str | None, index: int) -> None:
        self._pending += [node.inputs[index] for node in self.leaving.get(target, ()) if node.op == terminator]


class _Sweeper:
    def __init__(self, live: _Liveness) -> None:
        self._live = live

    def region(self, region: Region) -> int:
        kept = [node for node in region.nodes if node in self._live.nodes or node.op in TERMINATORS]
        removed = len(region.nodes) - len(kept)
        region.nodes = kept
        for node in kept:
            if node.op in ("if", "loop"):
                self._prune(node)
            for inner in node.regions:
                removed += self.region(inner)
        return removed

    def _prune(self, node: Node) -> None:
        """Drop the results and carried values that nothing needs."""
        leaving = self._live.leaving.get(node, [])
        results = [value in self._live.values for value in node.results]
        if not all(results):
            node.results = _numbered(_chosen(node.results, results))
            for terminator in leaving:
                if terminator.op != "continue":
                    terminator.inputs = tuple(_chosen(terminator.inputs, results))
        if node.op == "loop":
            (body,) = node.regions
            carried = [value in self._live.values for value in body.parameters]
            if not all(carried):
                body.parameters = _numbered(_chosen(body.parameters, carried))
                for turning in (node, *(terminator for terminator in leaving if terminator.op == "continue")):
                    turning.inputs = tuple(_chosen(turning.inputs, carried))


def _chosen(values: Sequence[Value], wanted: Sequence[bool]) -> list[Value]:
    return [value for value, chosen in zip(values, wanted, strict=True) if chosen]


def _numbered(values: list[Value]) -> tuple[Value, ...]:
    for index, value in enumerate(values):
        value.index = index
    return tuple(values)
