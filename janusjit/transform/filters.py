"""Filters of long signals are convolutions.

Owns `find_filters`. ``np.convolve`` takes an inner product for each element of its result. Where one operand is short,
those that all of it is there for are a convolution, whose kernels keep sums in registers; along the rows of an image of
one column, which need no windows in memory. Invariant: a sum has the products that NumPy adds up, and no others, since
zeros beside a signal would meet infinite elements of a filter.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.ir.builder import carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.indexing import Range
from janusjit.transform.facts import pinned_nodes
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

#: filters have so many elements at most, and signals at least so many times as many, and so many
MOST, TIMES, LEAST = 64, 4, 64


def find_filters(graph: Graph) -> int:
    """Replace what ``np.convolve`` does of long signals by convolutions; return how many."""
    nodes = [node for node in graph.walk() if node.op == "convolve"]
    if not nodes:
        return 0
    carried, pinned = carried_guards(graph), pinned_nodes(graph)
    found: dict[Node, Replacement] = {
        node: one for node in nodes if node not in pinned and (one := _Filter.of(node)) is not None
    }
    replace_nodes(graph.body, found)
    drop_guards(graph, carried)
    return len(found)


@dataclass(frozen=True)
class _Filter:
    """A signal and a filter: which of the operands they are, and their lengths."""

    operands: tuple[int, int]
    length: int
    taps: int

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    @staticmethod
    def of(node: Node) -> _Filter | None:
        """Return what a node convolves, if it is worth it."""
        first, second = (value.type.shape[0] for value in node.inputs)
        if node.result.type.dtype not in ("f32", "f64") or not (isinstance(first, int) and isinstance(second, int)):
            return None
        operands = (0, 1) if first >= second else (1, 0)
        length, taps = max(first, second), min(first, second)
        fits = 2 <= taps <= MOST and length >= max(TIMES * taps, LEAST + taps)
        return _Filter(operands, length, taps) if fits else None

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        signal, taps = (node.inputs[number] for number in self.operands)
        inside, edge = self._inside(make, signal, taps), self.taps - 1
        mode = node.attributes["mode"]
        if mode == "valid":
            return inside
        before = make.emit("view", signal, index=(Range(0, edge),))
        behind = make.emit("view", signal, index=(Range(self.length - edge, edge),))
        edges = []
        for part, start in ((before, 0), (behind, edge)):
            whole = make.emit("convolve", part, taps, mode="full")
            make.nodes[-1].guard = node.guard
            edges.append(make.emit("view", whole, index=(Range(start, edge),)))
        found = make.emit("concatenate", edges[0], inside, edges[1], axis=0)
        return found if mode == "full" else make.emit("view", found, index=(Range(edge // 2, self.length),))

    def _inside(self, make: Maker, signal: Value, taps: Value) -> Value:
        """Return the sums of as many products as the filter has elements."""
        backwards = make.emit("view", taps, index=(Range(self.taps - 1, self.taps, -1),))
        count = self.length - self.taps + 1
        found = make.emit(
            "convolution",
            make.reshaped(signal, (1, 1, self.length, 1)),
            make.reshaped(backwards, (1, 1, self.taps, 1)),
            output=(count, 1),
            kernel=(self.taps, 1),
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
        )
        return make.reshaped(found, (count,))
