"""Nodes that others stand for.

Owns `Maker`, which makes these, `Arranger`, which it shares with others that emit, and `replace_nodes`. Invariant: what
stands for a node has its type, and its location; what it reads was there before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from janusjit.ir.builder import Substitution
from janusjit.ir.dims import Dim
from janusjit.ir.floating_point import ERRORS
from janusjit.ir.graph import Node, Region, Value
from janusjit.pacing import pause
from janusjit.spans import NotedSpan
from janusjit.transform.typed import infer

_EVERY_ERROR = frozenset(ERRORS)
#: NumPy looks for no floating-point errors of these
_UNTOLD = frozenset({"einsum", "convolve"})


class Arranger(ABC):
    """Emits operations, and those that arrange elements only where they do something."""

    @abstractmethod
    def emit(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        """Emit an operation; return its first result."""

    def transposed(self, value: Value, axes: Sequence[int]) -> Value:
        """Return an array with its axes in another order."""
        return value if list(axes) == sorted(axes) else self.emit("transpose", value, axes=tuple(axes))

    def reshaped(self, value: Value, shape: Sequence[Dim]) -> Value:
        """Return an array of another shape."""
        return value if value.type.shape == tuple(shape) else self.emit("reshape", value, shape=tuple(shape))


class Maker(Arranger):
    """Makes the nodes that stand for one."""

    def __init__(self, origin: Node, substitution: Substitution) -> None:
        self._substitution = substitution
        self._span = NotedSpan.of(origin.span, _EVERY_ERROR) if origin.op in _UNTOLD else origin.span
        self.nodes: list[Node] = []

    def emit(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        """Make a node, of values that others may stand for by now; return its first result."""
        inputs = tuple(self._substitution[value] for value in inputs)
        types = infer(op, tuple(value.type for value in inputs), attributes)
        self.nodes.append(Node(op, inputs, types, dict(attributes), self._span))
        return self.nodes[-1].results[0]


class Replacement(Protocol):
    """What stands for a node; ``unwanted`` are nodes that nothing else needs, though they may warn."""

    @property
    def unwanted(self) -> tuple[Node, ...]: ...

    def made(self, make: Maker, node: Node) -> Value:
        """Make the nodes it takes; return the value that stands for the result of a node."""
        ...


def replace_nodes(region: Region, found: Mapping[Node, Replacement]) -> None:
    """Replace nodes of a region, and of those nested in it, by what stands for them."""
    _replace(region, found, {node for one in found.values() for node in one.unwanted}, Substitution())


def _replace(
    region: Region, found: Mapping[Node, Replacement], unwanted: set[Node], substitution: Substitution
) -> None:
    nodes, region.nodes = region.nodes, []
    for node in nodes:
        pause()
        substitution.apply(node)
        if node in found:
            make = Maker(node, substitution)
            substitution.set(node.result, found[node].made(make, node))
            region.nodes += make.nodes
            continue
        if node in unwanted:
            continue
        region.nodes.append(node)
        for inner in node.regions:
            _replace(inner, found, unwanted, substitution)
