"""What a graph keeps for its backward pass.

Owns `kept_values`. Invariant: it is read from the graph that is compiled, after all transforms, so what is computed
again is not in it. An array that one kernel makes and uses takes no memory, though it is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from janusjit.ir.graph import Graph, Region, Value, walk
from janusjit.ir.types import TensorType
from janusjit.spans import BackwardSpan, Span
from janusjit.transform.facts import is_view

_MADE_OF_NOTHING = frozenset({"constant", "constant_array", "full", "eye", "arange"})


@dataclass(frozen=True, slots=True)
class Kept:
    """An intermediate array that lives until the backward pass has read it.

    Attributes
    ----------
    span : Span
        Where it is computed.
    type : TensorType
        Its dtype and shape.
    each_turn : bool
        Whether one is kept for each turn of a loop.
    """

    span: Span
    type: TensorType
    each_turn: bool = False

    @property
    def bytes(self) -> int | None:
        """Its size, or that of one turn's; None where dimensions are known at run time only."""
        size = self.type.size
        return size * self.type.numpy_dtype.itemsize if isinstance(size, int) else None

    def __str__(self) -> str:
        size = "" if self.bytes is None else f", {self.bytes:,} bytes"
        turn = " each turn" if self.each_turn else ""
        return f"{self.span.text or 'a value'}  {self.type}{size}{turn}  @{self.span}"


def kept_values(graph: Graph) -> tuple[Kept, ...]:
    """Return the arrays, and what is on tapes, that the forward part leaves to the backward part of a graph."""
    found: dict[Value, Kept] = {}
    for value in _handed_over(graph.body):
        base = _base(value)
        if base.node is not None and base.type.rank and base.node.op not in _MADE_OF_NOTHING:
            found.setdefault(base, Kept(base.node.span, base.type))
    for node in graph.walk():
        if node.op == "tape_push" and not isinstance(node.span, BackwardSpan):
            for value in node.inputs[1:]:
                if value.type.is_float:
                    span = node.span if value.node is None else value.node.span
                    found[value] = Kept(span, value.type, each_turn=True)
    return tuple(found.values())


def _base(value: Value) -> Value:
    while value.node is not None and is_view(value.node):
        value = value.node.inputs[0]
    return value


def _handed_over(region: Region) -> Iterator[Value]:
    """Yield what nodes of the backward part use of the forward part, in a region and those nested in it."""
    for node in region.nodes:
        inside = [inner for part in node.regions for inner in walk(part)]
        if isinstance(node.span, BackwardSpan):
            yield from _forward(node.inputs)
            for inner in inside:
                yield from _forward(inner.inputs)
        else:
            for part in node.regions:
                yield from _handed_over(part)


def _forward(values: Sequence[Value]) -> Iterator[Value]:
    made = (value for value in values if value.node is not None)
    return (value for value in made if value.node is not None and not isinstance(value.node.span, BackwardSpan))
