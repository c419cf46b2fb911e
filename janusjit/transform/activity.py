"""Which values of a graph depend, differentiably, on others.

Owns `Activity`. Invariant: a value is active only if a path of ops with gradient rules leads to it from one of the
values asked for; a value with such a path is always active.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from janusjit.ir.graph import TAPE_OPERATIONS, Node, Region, Value
from janusjit.ops import OPS
from janusjit.ops.registry import ZeroGradient


def terminators(region: Region, ops: frozenset[str]) -> Iterator[Node]:
    """Yield the terminators among ``ops`` of a region and of the arms of its ``if``s, nested loops left out."""
    for node in region.nodes:
        if node.op in ops:
            yield node
        elif node.op == "if":
            for arm in node.regions:
                yield from terminators(arm, ops)


CONTINUE, BREAK, ENDS = frozenset({"continue"}), frozenset({"break"}), frozenset({"continue", "break"})


def _is_constant(node: Node) -> bool:
    return isinstance(OPS[node.op].gradient, ZeroGradient)


class Activity:
    """The values that depend on ``sources``.

    Parameters
    ----------
    sources : iterable of Value
        What everything is differentiated by.
    ends : frozenset of str
        Ops whose results depend on nothing here, though they have gradient rules.

    Attributes
    ----------
    tapes : dict
        The active tokens, and the number of the tape of each.
    """

    def __init__(self, sources: Iterable[Value], ends: frozenset[str] = frozenset()) -> None:
        self._active: set[Value] = set(sources)
        self._ends = ends
        self.tapes: dict[Value, int] = {}

    def __contains__(self, value: Value) -> bool:
        return value in self._active

    def add(self, value: Value) -> None:
        """Add a source."""
        self._active.add(value)

    def spread(self, nodes: Sequence[Node]) -> None:
        """Find what is active among the results of nodes, in program order, and inside of them."""
        for node in nodes:
            self._node(node)

    def _node(self, node: Node) -> None:
        if node.op == "if":
            self._if(node)
        elif node.op == "loop":
            self._loop(node)
        elif any(value in self._active for value in node.inputs):
            if node.op in TAPE_OPERATIONS:
                self._active.update(r for r in node.results if r.type.is_float or r.index == 0)
                self.tapes[node.results[0]] = node.attributes["tape"]
                self.tapes[node.inputs[0]] = node.attributes["tape"]
            elif node.op in OPS and node.op not in self._ends and not _is_constant(node):
                self._active.update(result for result in node.results if result.type.is_float)

    def _if(self, node: Node) -> None:
        for arm in node.regions:
            self.spread(arm.nodes)
            if arm.terminator.op == "yield":
                self._flow(arm.terminator.inputs, node.results)

    def _loop(self, node: Node) -> None:
        (body,) = node.regions
        self._flow(node.inputs, body.parameters)
        while True:
            before = len(self._active)
            self.spread(body.nodes)
            for end in terminators(body, CONTINUE):
                self._flow(end.inputs, body.parameters)
            if len(self._active) == before:
                break
        for end in terminators(body, BREAK):
            self._flow(end.inputs, node.results)

    def _flow(self, sources: Sequence[Value], targets: Sequence[Value]) -> None:
        for source, target in zip(sources, targets, strict=True):
            if source in self._active:
                self._active.add(target)
                if source in self.tapes:
                    self.tapes[target] = self.tapes[source]
