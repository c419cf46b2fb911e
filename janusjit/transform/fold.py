"""Constant folding.

Owns `fold_constants`. Invariant: a folded value has the bits the eager function gives; nothing is folded that would
fail or warn; views that a returned view relies on stay views. What a branch or a guard has found out about its
condition is known wherever control comes only behind it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.ir.builder import Substitution, carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.types import DTYPES, TensorType, dtype_name
from janusjit.ir.verify import falls_through
from janusjit.ops import OPS
from janusjit.ops.indexing import FrozenArray
from janusjit.transform.facts import constant_of, is_operation, is_stateful, pinned_nodes, reads_object

#: arrays of more elements are computed when the graph runs
LARGEST_ARRAY = 256
FAILURES = (ArithmeticError, LookupError, ValueError, TypeError)
_SOURCES = frozenset({"constant", "constant_array", "full", "eye", "arange"})


def fold_constants(graph: Graph) -> int:
    """Compute nodes all of whose inputs are constants, and decide branches on what is known; return how many."""
    carried = carried_guards(graph)
    folder = _Folder(pinned_nodes(graph))
    folder.region(graph.body)
    if folder.count:
        drop_guards(graph, carried)
    return folder.count


class _Folder:
    def __init__(self, pinned: set[Node]) -> None:
        self._pinned = pinned
        self._substitution = Substitution()
        self._known: dict[Value, bool] = {}  #: conditions that have been decided where control is
        self._decisions: list[Value] = []
        self.count = 0

    def region(self, region: Region, condition: Value | None = None, holds: bool = True) -> None:
        """Fold in a region, which is come to where a condition holds, or does not."""
        before = len(self._decisions)
        if condition is not None:
            self._decide(condition, holds)
        nodes, region.nodes = region.nodes, []
        self._nodes(nodes, region.nodes)
        while len(self._decisions) > before:
            del self._known[self._decisions.pop()]

    def _nodes(self, nodes: list[Node], done: list[Node]) -> bool:
        """Append what is left of ``nodes`` to ``done``; return whether control can go on behind them."""
        for node in nodes:
            self._substitution.apply(node)
            if node.op == "guard" and self._known.get(node.inputs[0]):
                self.count += 1
                continue
            if node.op == "if" and (condition := self._decided(node.inputs[0])) is not None:
                self.count += 1
                if not self._take_arm(node, node.regions[0 if condition else 1], done):
                    return False
                continue
            constants = self._constants(node)
            if constants is not None:
                self.count += 1
                done += constants
                self._substitution.update(node.results, [constant.result for constant in constants])
                continue
            done.append(node)
            self._inside(node)
            if node.regions and not falls_through(node):
                node.results = ()
                done.append(Node("unreachable", span=node.span))
                return False
        return True

    def _decide(self, condition: Value, holds: bool) -> None:
        if condition not in self._known:
            self._known[condition] = holds
            self._decisions.append(condition)

    def _decided(self, condition: Value) -> Any:
        """Return what a condition is, if that is known; else None."""
        return self._known[condition] if condition in self._known else constant_of(condition)

    def _inside(self, node: Node) -> None:
        """Fold in a node's regions, and note what is known behind it."""
        if node.op == "guard":
            self._decide(node.inputs[0], True)
        if node.op != "if":
            for inner in node.regions:
                self.region(inner)
            return
        (condition,) = node.inputs
        for arm, holds in zip(node.regions, (True, False), strict=True):
            self.region(arm, condition, holds)
        ends = [arm.terminator.op == "yield" for arm in node.regions]
        if ends in ([True, False], [False, True]):
            self._decide(condition, ends[0])

    def _take_arm(self, node: Node, arm: Region, done: list[Node]) -> bool:
        *nodes, terminator = arm.nodes
        if not self._nodes(nodes, done):
            return False
        self._substitution.apply(terminator)
        if terminator.op == "yield":
            self._substitution.update(node.results, terminator.inputs)
            return True
        done.append(terminator)
        return False

    def _constants(self, node: Node) -> list[Node] | None:
        """Return constant nodes for the node's results, or None if it cannot be folded."""
        if node.op == "dim":
            return [_constant(node, np.int64(node.attributes["dim"]))] if type(node.attributes["dim"]) is int else None
        if is_stateful(node) or reads_object(node):
            return None
        if not is_operation(node) or node.op in _SOURCES or "symbol" in node.attributes or node in self._pinned:
            return None
        inputs = [array_of(value.node) for value in node.inputs]
        if not inputs or any(item is None for item in inputs):
            return None
        for result in node.results:
            size = result.type.size
            spread = result.type.rank and not any(value.type.rank for value in node.inputs)
            if not isinstance(size, int) or size > LARGEST_ARRAY or spread:  # one number all over is known as such
                return None
        return _folded(node, inputs)


def _folded(node: Node, inputs: list[Any]) -> list[Node] | None:
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise", under="ignore"):
            computed = OPS[node.op].eager(*inputs, **node.attributes)
    except FAILURES:
        return None  # it fails or warns: when the graph runs
    results = computed if len(node.results) != 1 else (computed,)
    return [_constant(node, result) for result in results]


def array_of(node: Node | None) -> Any:
    """Return the value of a constant's node; None for any other node."""
    if node is not None and node.op == "constant":
        return DTYPES[node.attributes["dtype"]].type(node.attributes["value"])
    return node.attributes["value"].value if node is not None and node.op == "constant_array" else None


def _constant(node: Node, value: Any) -> Node:
    """Return the node of a constant that stands where ``node`` stood."""
    dtype = str(dtype_name(np.asarray(value).dtype))
    if np.ndim(value):
        return Node(
            "constant_array", (), (TensorType(dtype, np.shape(value)),), {"value": FrozenArray(value)}, node.span
        )
    return Node("constant", (), (TensorType(dtype),), {"value": value.item(), "dtype": dtype}, node.span)
