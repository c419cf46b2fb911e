"""The cotangents of a backward pass, region by region.

Owns `Cotangents` and its kinds for an arm of an ``if`` and the body of a ``loop``. Invariant: within a nested region
of the backward pass, cotangents of values from outside the forward region it belongs to start from what they are there,
and are handed out in the end, so that adding to them happens in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from janusjit.ir.graph import Region, Value
from janusjit.ops.gradient import Emit, Part, Term, fitted


def added(so_far: Term | None, contribution: Term | Part, value: Value) -> Term:
    """Return the sum of cotangents of ``value``."""
    if isinstance(contribution, Part):
        return contribution.add_to(so_far)
    contribution = fitted(contribution, value.type)
    return contribution if so_far is None else so_far + contribution


class Cotangents:
    """The cotangents so far of the values of one region and of those around it."""

    def __init__(self) -> None:
        self.terms: dict[Value, Term] = {}

    def get(self, value: Value) -> Term | None:
        """Return the cotangent of a value; None if it is zero."""
        return self.terms.get(value)

    def set(self, value: Value, term: Term) -> None:
        """Let a value have a cotangent, instead of the one it has."""
        self.terms[value] = term

    def keep(self, values: Iterable[Value]) -> None:
        """Note that values made meanwhile belong to this region."""

    def add(self, value: Value, contribution: Term | Part) -> None:
        """Add to the cotangent of a value."""
        self.set(value, added(self.get(value), contribution, value))


class ArmCotangents(Cotangents):
    """The cotangents in one arm of an ``if`` of the backward pass.

    Parameters
    ----------
    around : Cotangents
        Those outside.
    inside : set of Value
        The values that are the arm's own.
    """

    def __init__(self, around: Cotangents, inside: Set[Value]) -> None:
        super().__init__()
        self._around, self._inside = around, set(inside)

    def keep(self, values: Iterable[Value]) -> None:
        """Note that values made meanwhile belong to this region."""
        self._inside.update(values)

    def get(self, value: Value) -> Term | None:
        """Return the cotangent of a value; None if it is zero."""
        own = self.terms.get(value)
        return own if own is not None or value in self._inside else self._around.get(value)

    def changed(self) -> list[Value]:
        """Return the values from outside whose cotangents are others than there."""
        return [value for value in self.terms if value not in self._inside]


class LoopCotangents(Cotangents):
    """The cotangents in the body of a ``loop`` of the backward pass: those of values from outside are carried.

    Parameters
    ----------
    around : Cotangents
        Those outside.
    inside : set of Value
        The values that are the forward loop's own.
    region : Region
        The body; it gets a parameter for each value from outside when its cotangent is first asked for.
    zero : callable
        Emits, outside of the loop, a zero cotangent of a value.
    """

    def __init__(self, around: Cotangents, inside: Set[Value], region: Region, zero: Callable[[Value], Term]) -> None:
        super().__init__()
        self._around, self._inside, self._region, self._zero = around, set(inside), region, zero
        self.carried: dict[Value, Term] = {}

    def keep(self, values: Iterable[Value]) -> None:
        """Note that values made meanwhile belong to this region."""
        self._inside.update(values)

    def get(self, value: Value) -> Term | None:
        """Return the cotangent of a value; None if it is zero."""
        if value in self._inside or value in self.terms:
            return self.terms.get(value)
        start = self._around.get(value)
        self.carried[value] = start = self._zero(value) if start is None else start
        parameter = Value(start.type, self._region, len(self._region.parameters))
        self._region.parameters += (parameter,)
        self.terms[value] = Term(Emit(start.emit.builder, start.emit.span), parameter)
        return self.terms[value]
