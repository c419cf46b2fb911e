"""Elementwise work on convolutions is done before their elements are arranged.

Owns `move_arrangements`. Programs arrange a convolution's elements as a matrix, add to its rows or columns, and arrange
them back: three copies, where elementwise work on the convolution as it is takes none, and can be done while it is in
the cache. Invariant: every element is computed as before, from the same elements.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.ir.builder import Substitution
from janusjit.ir.dims import product
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.pacing import pause
from janusjit.transform.facts import is_elementwise, pinned_nodes
from janusjit.transform.replacing import Maker

_SOURCES = frozenset({"convolution", "convolution_by_input"})
_ARRANGING = frozenset({"reshape", "transpose"})
#: an operand with so many times fewer elements is arranged for nothing
_SMALL = 8


def move_arrangements(graph: Graph) -> int:
    """Put what arranges convolutions behind the elementwise operations on them; return how many these were."""
    if not any(node.op in _SOURCES for node in graph.walk()):
        return 0
    mover = _Mover(graph)
    mover.region(graph.body)
    return mover.count


@dataclass(frozen=True)
class _Arranged:
    """A value that is another one arranged by some nodes, in their order."""

    source: Value
    steps: tuple[Node, ...]

    @property
    def moves(self) -> bool:
        """Whether elements have to be moved: a reshape behind a transpose."""
        ops = [step.op for step in self.steps]
        return "transpose" in ops and "reshape" in ops[ops.index("transpose") :]

    def is_like(self, other: _Arranged) -> bool:
        """Return whether two are arranged alike."""
        mine, others = ([(step.op, step.attributes) for step in one.steps] for one in (self, other))
        return self.source.type.shape == other.source.type.shape and mine == others


class _Mover:
    def __init__(self, graph: Graph) -> None:
        self.count = 0
        self._pinned = pinned_nodes(graph)
        self._arranged: dict[Value, _Arranged] = {}
        self._substitution = Substitution()
        self._users: dict[Value, list[Node]] = {}
        for node in graph.walk():
            for value in node.inputs:
                self._users.setdefault(value, []).append(node)

    def region(self, region: Region) -> None:
        """Go through the nodes of a region, and of those nested in it."""
        nodes, region.nodes = region.nodes, []
        for node in nodes:
            pause()
            users = self._users.get(node.result, []) if len(node.results) == 1 else []
            self._substitution.apply(node)
            made = self._moved(node, users)
            region.nodes += [node] if made is None else made
            if made is None:
                self._follow(node, users)
            for inner in node.regions:
                self.region(inner)

    def _follow(self, node: Node, users: list[Node]) -> None:
        """Note what a node arranges, if nothing but elementwise work and further arrangements looks at it."""
        if node in self._pinned or not all(is_elementwise(user) or user.op in _ARRANGING for user in users):
            return
        if node.op in _SOURCES:
            self._arranged[node.result] = _Arranged(node.result, ())
        elif node.op in _ARRANGING and node.inputs[0] in self._arranged:
            before = self._arranged[node.inputs[0]]
            self._arranged[node.result] = _Arranged(before.source, (*before.steps, node))

    def _moved(self, node: Node, users: list[Node]) -> list[Node] | None:
        """Return the nodes of elementwise work done before its operands are arranged; None where it stays."""
        if not is_elementwise(node) or node.guard is not None or node in self._pinned or len(node.results) != 1:
            return None
        known = [value for value in node.inputs if value in self._arranged]
        first = next((self._arranged[value] for value in known if value.type.shape == node.result.type.shape), None)
        if first is None or not first.steps or not first.moves:
            return None
        make = Maker(node, self._substitution)
        inputs = [self._before(make, value, first) for value in node.inputs]
        if any(value is None for value in inputs):
            return None
        value = make.emit(node.op, *[value for value in inputs if value is not None], **node.attributes)
        if value.type.shape != first.source.type.shape:
            return None
        followed = all(is_elementwise(user) or user.op in _ARRANGING for user in users)
        source, steps = value, list[Node]()
        for step in first.steps:
            value = make.emit(step.op, value, **step.attributes)
            steps.append(make.nodes[-1])
            if followed:
                self._arranged[value] = _Arranged(source, tuple(steps))
        self._substitution.set(node.result, value)
        self._users[value] = users
        self.count += 1
        return make.nodes

    def _before(self, make: Maker, value: Value, arranged: _Arranged) -> Value | None:
        """Return an operand as it has to be for the elements before they are arranged; None if that takes a copy."""
        if value in self._arranged and self._arranged[value].is_like(arranged):
            return self._arranged[value].source
        if value.type.rank == 0:
            return value
        whole = arranged.steps[-1].result.type.shape
        size = value.type.size
        total = product(whole)
        if not isinstance(size, int) or not isinstance(total, int) or size * _SMALL > total:
            return None
        value = make.reshaped(value, (*(1,) * (len(whole) - value.type.rank), *value.type.shape))
        for step in reversed(arranged.steps):
            after = _undone(make, step, value)
            if after is None:
                return None
            value = after
        return value


def _undone(make: Maker, step: Node, value: Value) -> Value | None:
    """Return what broadcasts to a node's input as a value does to its result; None if there is no such thing."""
    if step.op == "transpose":
        axes = step.attributes["axes"]
        return make.transposed(value, [axes.index(axis) for axis in range(len(axes))])
    before, after = list(step.inputs[0].type.shape), list(step.result.type.shape)
    own, shape = list(value.type.shape), list[int]()
    while before or after:
        groups: tuple[list[int], list[int]] = ([], [])
        sizes: list[int] = []
        while not groups[0] or _size(groups[0]) != _size(groups[1]):
            side = 0 if not groups[0] or _size(groups[0]) < _size(groups[1]) else 1
            rest = (before, after)[side]
            if not rest or not isinstance(rest[0], int):
                return None
            groups[side].append(rest.pop(0))  # type: ignore[arg-type]
            if side == 1:
                sizes.append(own.pop(0))  # type: ignore[arg-type]
        while after and after[0] == 1:
            groups[1].append(1)
            after.pop(0)
            sizes.append(own.pop(0))  # type: ignore[arg-type]
        if _size(sizes) == 1:
            shape += [1] * len(groups[0])
        elif sizes == groups[1]:
            shape += groups[0]
        else:
            return None
    return make.reshaped(value, shape)


def _size(sizes: list[int]) -> int:
    return product(sizes) if sizes else 1  # type: ignore[return-value]
