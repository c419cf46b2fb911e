"""Which operations are not to be computed in one loop, for the sake of floating-point errors.

Owns `Separation`. The flags tell that an operation of a loop has met an error, not which. Invariant: what must be told
from each other by the flags alone is never in one loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.ir.floating_point import is_told_apart, watched_errors
from janusjit.ir.graph import Graph, Node
from janusjit.transform.facts import errors_of, flags_guard, may_raise, promises_mere_warnings


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

    @staticmethod
    def of(graph: Graph) -> Separation | None:
        """Return the rule of a graph; None if anything may be in one loop with anything."""
        guard = flags_guard(graph)
        if guard is None or not (is_told_apart(guard) or promises_mere_warnings(graph)):
            return None
        return Separation(watched_errors(guard), is_told_apart(guard))

    def between(self, one: Node, other: Node) -> bool:
        """Return whether two operations are not to be in one loop."""
        return any(self._confused(one, other, error) for error in self.errors)

    def _confused(self, one: Node, other: Node, error: str) -> bool:
        heard = (error in errors_of(one), error in errors_of(other))
        if not any(heard) or (all(heard) and not self.wholly):
            return False
        return may_raise(one, error) and may_raise(other, error)
