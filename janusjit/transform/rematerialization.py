"""Less memory for more work: values computed again near their use.

Owns `rematerialize`, the pass of ``jit(memory_limit=…)``. Invariant: what is computed again has the bits it had, since
the same operations are done on the same values; nothing that can fail, has an effect or binds a dimension is repeated.

Greedy, in the manner of Kumar et al. (2019): while the arrays that are alive at the fullest moment take more than the
limit, the one of them is dropped that gives most bytes for each operation it takes to make it again, before its next
use, from what is alive there anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from janusjit.ir.dims import Dim, DimExpr, evaluate
from janusjit.ir.graph import Graph, Node, Value, walk
from janusjit.transform.facts import is_pure, is_view, pinned_nodes

#: what a dimension known at run time only counts as
TYPICAL = 64
#: values made again at most
ROUNDS = 400
#: operations done again for one value at most
LONGEST = 16


def rematerialize(graph: Graph, limit: int) -> int:
    """Compute values again so that at most ``limit`` bytes of intermediate arrays are alive; return how many were.

    Where the limit cannot be kept, as little as was found is used.
    """
    pinned = pinned_nodes(graph)
    for done in range(ROUNDS):
        lives = _Lives(graph)
        moment, most = lives.fullest()
        if most <= limit:
            return done
        best = max(lives.droppable(moment, pinned), key=lambda recipe: recipe.gain, default=None)
        if best is None:
            return done
        lives.make_again(best)
    return ROUNDS


@dataclass
class _Life:
    """From when to when an array is in memory, and when it is used; moments are positions in the graph's body."""

    begin: int
    uses: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.uses[-1] if self.uses else self.begin


class _Lives:
    """The lives of the arrays made in the body of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = graph.body.nodes
        self._lives: dict[Value, _Life] = {}
        self._inputs = {given.value for given in graph.inputs}
        self._positions = {node: moment for moment, node in enumerate(self._nodes)}
        for moment, node in enumerate(self._nodes):
            for value in dict.fromkeys(_uses(node)):
                life = self._lives.get(_base(value))
                if life is not None and (not life.uses or life.uses[-1] != moment):
                    life.uses.append(moment)
            if not is_view(node):
                self._lives.update((result, _Life(moment)) for result in node.results if result.type.rank)

    def bytes(self, value: Value) -> int:
        size: Dim = value.type.size
        if isinstance(size, DimExpr):
            size = evaluate(size, dict.fromkeys(size.symbols(), TYPICAL))
        return size * value.type.numpy_dtype.itemsize

    def fullest(self) -> tuple[int, int]:
        """Return the moment when most bytes are alive, and how many."""
        change = [0] * (len(self._nodes) + 2)
        for value, life in self._lives.items():
            change[life.begin] += self.bytes(value)
            change[life.end + 1] -= self.bytes(value)
        most, moment, now = 0, 0, 0
        for position, difference in enumerate(change):
            now += difference
            if now > most:
                most, moment = now, position
        return moment, most

    def droppable(self, moment: int, pinned: set[Node]) -> Iterator[Recipe]:
        """Yield the arrays that need not be alive at a moment, with what makes them again before their next use."""
        for value, life in self._lives.items():
            if life.begin < moment < life.end and moment not in life.uses:
                following = next(use for use in life.uses if use > moment)
                nodes = self._making(value, following, pinned)
                if nodes is not None:
                    yield Recipe(value, following, nodes, self.bytes(value))

    def _making(self, value: Value, following: int, pinned: set[Node]) -> list[Node] | None:
        """Return the nodes, in order, that make an array from what is alive at a moment anyway."""
        nodes: dict[Node, None] = {}
        pending = [value]
        while pending:
            one = pending.pop()
            node = one.node
            if one is not value and self._is_there(one, following):
                continue
            if node is None or node.regions or len(node.results) != 1 or node in pinned or not is_pure(node):
                return None
            if node not in nodes and len(nodes) == LONGEST:
                return None
            nodes[node] = None
            pending += node.inputs
        return sorted(nodes, key=self._positions.__getitem__)

    def _is_there(self, value: Value, moment: int) -> bool:
        base = _base(value)
        if not base.type.rank or base in self._inputs:
            return True
        life = self._lives.get(base)
        return life is not None and life.begin < moment <= life.end

    def make_again(self, recipe: Recipe) -> None:
        """Put copies of the nodes that make an array before its first use behind a moment, for all uses from there."""
        following, user = recipe.following, self._nodes[recipe.following]
        again: dict[Value, Value] = {}
        added = [_copied(node, again, user) for node in recipe.nodes]
        again = {recipe.value: again[recipe.value]}  # what else was made again has its first copy where it is used
        for node in self._nodes[:following]:  # views of it are of the copy from here on
            if is_view(node) and node.inputs[0] in again:
                added.append(_copied(node, again, user))
        for later in self._nodes[following:]:
            _replace(later, again)
        self._nodes[following:following] = added


@dataclass(frozen=True)
class Recipe:
    """An array, the position of its next use, and the nodes that make it from what is alive there."""

    value: Value
    following: int
    nodes: list[Node]
    bytes: int

    @property
    def gain(self) -> float:
        """Bytes for each operation that is done again."""
        return self.bytes / len(self.nodes)


def _copied(node: Node, again: dict[Value, Value], user: Node) -> Node:
    inputs = tuple(again.get(given, given) for given in node.inputs)
    copy = Node(node.op, inputs, (node.result.type,), dict(node.attributes), user.span)
    again[node.result] = copy.result
    return copy


def _base(value: Value) -> Value:
    while value.node is not None and is_view(value.node):
        value = value.node.inputs[0]
    return value


def _uses(node: Node) -> Iterator[Value]:
    yield from node.inputs
    for region in node.regions:
        for inner in walk(region):
            yield from inner.inputs


def _replace(node: Node, again: dict[Value, Value]) -> None:
    node.inputs = tuple(again.get(value, value) for value in node.inputs)
    for region in node.regions:
        for inner in walk(region):
            inner.inputs = tuple(again.get(value, value) for value in inner.inputs)
