"""Which operations are not to be computed in one loop, for the sake of floating-point errors.

Owns `Separation`. The flags tell that an operation of a loop has met an error, not which. Invariant: what must be told
from each other by the flags alone is never in one loop. Up to the first write to the caller's memory, where an error
makes plain Python do the call again, nothing must be. Which steps come before that write is known when all have been
gathered only: that what stands before it in the program does is an assumption, which `Separation.is_kept` looks at.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from janusjit.backend.plan import UPDATES, Step, nodes_of, root, walk
from janusjit.ir.floating_point import is_told_apart, watched_errors
from janusjit.ir.graph import Graph, Node, Value
from janusjit.transform.facts import errors_of, flags_guard, may_raise, promises_mere_warnings

#: of a node that may raise a flag: whether plain Python may act on it
_HEARD, _UNHEARD = 1, 2


@dataclass(frozen=True)
class Separation:
    """The rule of one graph.

    Attributes
    ----------
    errors : tuple of str
        The errors that NumPy is to act on.
    wholly : bool
        Whether operations are told apart by the flags alone. If not, only those of which nobody hears are told from
        others: when a loop has overwritten what it computed from, their errors would seem the others'.
    early : frozenset of Node
        Those that are assumed to be over before the caller's memory is written, and need not be told apart.
    writes : frozenset of Node
        Those that may write it, but for what there is a backup of.
    """

    errors: tuple[str, ...]
    wholly: bool
    early: frozenset[Node] = frozenset()
    writes: frozenset[Node] = frozenset()
    _known: dict[Node, int] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(graph: Graph, backups: Collection[int] = ()) -> Separation | None:
        """Return the rule of a graph, of whose inputs some have backups; None if anything may be in one loop."""
        guard = flags_guard(graph)
        if guard is None or not (is_told_apart(guard) or promises_mere_warnings(graph)):
            return None
        if is_told_apart(guard):
            return Separation(watched_errors(guard), True)
        kept = {graph.inputs[index].value for index in backups}
        writes = [node for node in graph.walk() if node.op in UPDATES and _base(node) not in kept]
        writes = [node for node in writes if (made := _base(node).node) is None or made.regions]
        early = itertools.takewhile(lambda node: not node.regions and node not in writes, graph.body.nodes)
        return Separation(watched_errors(guard), False, frozenset(early), frozenset(writes))

    def parts(self, nodes: Iterable[Node], others: Iterable[Node]) -> bool:
        """Return whether one of some operations is not to be in one loop with one of others."""
        nodes, others = list(nodes), list(others)
        if self.early and self.early.issuperset(nodes) and self.early.issuperset(others):
            return False
        mine, theirs = self._traits_of(nodes), self._traits_of(others)
        if self.early:  # there may be some already that are not told apart
            mine = theirs = mine | theirs
        return any(mine & one and theirs & other for one, other in self._confused)

    def is_kept(self, steps: list[Step]) -> bool:
        """Return whether in a schedule all is told apart that comes with the first write, or after it."""
        late = itertools.dropwhile(lambda step: self.writes.isdisjoint(_all_nodes(step)), steps)
        strict = replace(self, early=frozenset())
        return not any(
            mine & one and mine & other
            for step in (late if self.early else ())
            for part in walk([step])
            for mine in [strict._traits_of(nodes_of(part))]
            for one, other in self._confused
        )

    @functools.cached_property
    def _confused(self) -> list[tuple[int, int]]:
        """Which traits two operations have, as bits, that must not be in one loop.

        Both may raise the flag of an error that somebody hears of: of one of them, or of any if they are told apart.
        """
        pairs = []
        for number in range(len(self.errors)):
            heard, unheard = _HEARD << 2 * number, _UNHEARD << 2 * number
            pairs += [(heard, unheard), (unheard, heard)]
            if self.wholly:
                pairs.append((heard, heard))
        return pairs

    def _traits_of(self, nodes: Iterable[Node]) -> int:
        return functools.reduce(operator.or_, map(self._traits, nodes), 0)

    def _traits(self, node: Node) -> int:
        """Return, for each error that the node may raise the flag of, whether it is heard of, as bits."""
        known = self._known.get(node)
        if known is None:
            heard, known = errors_of(node), 0
            for number, error in enumerate(self.errors):
                if may_raise(node, error):
                    known |= (_HEARD if error in heard else _UNHEARD) << 2 * number
            self._known[node] = known
        return known


def _base(node: Node) -> Value:
    """Return the array whose memory an update may be made in."""
    value = root(node.inputs[0])
    while value.node is not None and value.node.op in UPDATES:
        value = root(value.node.inputs[0])
    return value


def _all_nodes(step: Step) -> Iterator[Node]:
    return (node for part in walk([step]) for node in nodes_of(part))
