"""The gradients that are being taken while their functions are followed.

Owns `GradientsUnderWay`. Invariant: a value that a gradient under way may flow through is found; one in a loop that is
still open may be found without need.
"""

from __future__ import annotations

from collections.abc import Iterable

from janusjit.ir.graph import Graph, Value, walk
from janusjit.ops import OPS
from janusjit.ops.registry import ZeroGradient


class GradientsUnderWay:
    """What gradients are taken by at present.

    Attributes
    ----------
    sources : set of Value
        What they are taken by.
    levels : int
        How many there are, one in another.
    forward_passes : int
        How many passes of forward mode are being made.
    forward_functions : int
        How many forward functions of users' gradient rules are being run.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.sources: set[Value] = set()
        self.levels = 0
        self.forward_passes = 0
        self.forward_functions = 0

    def flow_through(self, values: Iterable[Value]) -> bool:
        """Whether any of some values may depend, differentiably, on what gradients are taken by."""
        pending = list(values) if self.sources else []
        seen: set[Value] = set()
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            node = value.node
            if value in self.sources or (node is None and value.definition is not self._graph.body):
                return True  # what a loop that is still open carries may become anything
            if node is not None and not (node.op in OPS and isinstance(OPS[node.op].gradient, ZeroGradient)):
                pending += node.inputs
                pending += [used for region in node.regions for inner in walk(region) for used in inner.inputs]
        return False
