"""Which operations are not to be computed in one loop, for the sake of floating-point errors.

Owns `Separation`. The flags tell that an operation of a loop has met an error, not which. Invariant: what must be told
from each other by the flags alone is never in one loop.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field

from janusjit.ir.floating_point import is_told_apart, watched_errors
from janusjit.ir.graph import Graph, Node
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
    """

    errors: tuple[str, ...]
    wholly: bool
    _known: dict[Node, int] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(graph: Graph) -> Separation | None:
        """Return the rule of a graph; None if anything may be in one loop with anything."""
        guard = flags_guard(graph)
        if guard is None or not (is_told_apart(guard) or promises_mere_warnings(graph)):
            return None
        return Separation(watched_errors(guard), is_told_apart(guard))

    def parts(self, nodes: Iterable[Node], others: Iterable[Node]) -> bool:
        """Return whether one of some operations is not to be in one loop with one of others."""
        mine, theirs = self._traits_of(nodes), self._traits_of(others)
        return any(mine & one and theirs & other for one, other in self._confused)

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
