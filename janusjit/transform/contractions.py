"""Contractions of two arrays that are matrix products.

Owns `find_products`. ``einsum`` adds up element by element; where each letter of two arrays of floats is one of the
sum, of one operand and the result, or of all three, it is a product of matrices, or of a stack of them. Invariant: what
is added up is the same, in another order; a contraction that returned views rely on is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.contract import parse_subscripts
from janusjit.transform.facts import pinned_nodes
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

_FLOATS = ("f32", "f64")


def find_products(graph: Graph) -> int:
    """Replace contractions of two arrays by matrix products; return how many."""
    nodes = [node for node in graph.walk() if node.op == "einsum"]
    if not nodes:
        return 0
    pinned = pinned_nodes(graph)
    found: dict[Node, Replacement] = {
        node: one for node in nodes if node not in pinned and (one := _Product.of(node)) is not None
    }
    replace_nodes(graph.body, found)
    return len(found)


@dataclass(frozen=True)
class _Product:
    """The letters of two operands and of the result, and of these the ones of both, of one, and of the sum."""

    operands: tuple[str, str]
    result: str
    batch: str
    rows: str
    columns: str
    summed: str

    @staticmethod
    def of(node: Node) -> _Product | None:
        """Return the product that a contraction is, if it is one."""
        types = tuple(value.type for value in node.inputs)
        if len(types) != 2 or types[0].dtype not in _FLOATS or node.guard is not None:
            return None
        (left, right), result = parse_subscripts(node.attributes["subscripts"], types)
        once = len(set(left)) == len(left) and len(set(right)) == len(right)
        sizes = [dict(zip(part, type_.shape, strict=True)) for part, type_ in zip((left, right), types, strict=True)]
        shared = [letter for letter in left if letter in right]
        if not once or any(sizes[0][letter] != sizes[1][letter] for letter in shared):
            return None
        if any(letter not in result for part in (left, right) for letter in part if letter not in shared):
            return None
        summed = "".join(letter for letter in shared if letter not in result)
        batch = "".join(letter for letter in result if letter in shared)
        rows, columns = ("".join(x for x in result if x in part and x not in batch) for part in (left, right))
        if not summed or not (rows or columns):
            return None
        return _Product((left, right), result, batch, rows, columns, summed)

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        sizes: dict[str, Dim] = {}
        for part, value in zip(self.operands, node.inputs, strict=True):
            sizes.update(zip(part, value.type.shape, strict=True))
        stack = tuple(sizes[letter] for letter in self.batch)
        shapes = {part: product(sizes[letter] for letter in part) for part in (self.rows, self.columns, self.summed)}
        groups = ((self.rows, self.summed), (self.summed, self.columns))
        matrices = []
        for letters, value, (first, second) in zip(self.operands, node.inputs, groups, strict=True):
            order = [letters.index(letter) for letter in (*self.batch, *first, *second)]
            value = make.transposed(value, order)
            matrices.append(make.reshaped(value, (*stack, shapes[first], shapes[second])))
        found = make.emit("matmul", *matrices)
        own = self.batch + self.rows + self.columns
        found = make.reshaped(found, tuple(sizes[letter] for letter in own))
        return make.transposed(found, [own.index(letter) for letter in self.result])
