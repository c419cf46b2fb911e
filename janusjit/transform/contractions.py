"""Contractions of two arrays that are matrix products, and of more arrays that are several.

Owns `find_products`. Contractions of more than two arrays are done two by two where that takes less, from left to
right, as ``einsum`` multiplies: so no product is made that it does not begin with. ``einsum`` adds up element by
element; where each letter of two arrays of floats is one of the sum, of one operand and the result, or of all three, it
is a product of matrices, or of a stack of them. Invariant: what is added up is the same, in
another order; a contraction that returned views rely on is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.contract import parse_subscripts
from janusjit.transform.facts import pinned_nodes
from janusjit.transform.replacing import Maker, Replacement, replace_nodes

_FLOATS = ("f32", "f64")


def find_products(graph: Graph) -> int:
    """Replace contractions by others of two arrays, and those by matrix products; return how many."""
    return _replace(graph, _Chain.of) + _replace(graph, _Product.of)


def _replace(graph: Graph, of: Callable[[Node], Replacement | None]) -> int:
    nodes = [node for node in graph.walk() if node.op == "einsum" and node.guard is None]
    if not nodes:
        return 0
    pinned = pinned_nodes(graph)
    found = {node: one for node in nodes if node not in pinned and (one := of(node)) is not None}
    replace_nodes(graph.body, found)
    return len(found)


@dataclass(frozen=True)
class _Chain:
    """Contractions of two operands each, the first of which is what the one before gives: the letters of its result."""

    operands: tuple[str, ...]
    results: tuple[str, ...]

    @staticmethod
    def of(node: Node) -> _Chain | None:
        """Return the chain that a contraction of several arrays is, if that takes less."""
        types = tuple(value.type for value in node.inputs)
        if len(types) < 3 or types[0].dtype not in _FLOATS:
            return None
        labels, result = parse_subscripts(node.attributes["subscripts"], types)
        sizes: dict[str, Dim] = {}
        for part, type_ in zip(labels, types, strict=True):
            if len(set(part)) != len(part) or any(
                sizes.setdefault(letter, dim) != dim for letter, dim in zip(part, type_.shape, strict=True)
            ):
                return None
        lengths = {letter: size for letter, size in sizes.items() if isinstance(size, int)}
        if len(lengths) < len(sizes):
            return None
        results, done, work = [], labels[0], 0
        for number, part in enumerate(labels[1:], 1):
            both = "".join(dict.fromkeys(done + part))
            work += math.prod(lengths[letter] for letter in both)
            wanted = set(result).union(*labels[number + 1 :])
            done = result if number == len(labels) - 1 else "".join(letter for letter in both if letter in wanted)
            results.append(done)
        at_once = (len(labels) - 1) * math.prod(lengths.values())
        return _Chain(tuple(labels), tuple(results)) if work < at_once else None

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `Replacement`."""
        letters, found = self.operands[0], node.inputs[0]
        for part, value, result in zip(self.operands[1:], node.inputs[1:], self.results, strict=True):
            if set(letters) == set(part):
                value = make.transposed(value, [part.index(letter) for letter in letters])
                found = _summed(make, found, value, letters, result)
            else:
                found = make.emit("einsum", found, value, subscripts=f"{letters},{part}->{result}")
            letters = result
        return found


def _summed(make: Maker, left: Value, right: Value, letters: str, result: str) -> Value:
    """Return the sums of the products of two arrays of the same letters."""
    found = make.emit("multiply", left, right)
    axes = tuple(axis for axis, letter in enumerate(letters) if letter not in result)
    if axes:
        found = make.emit("sum", found, axes=axes, keepdims=False)
    kept = [letter for letter in letters if letter in result]
    return make.transposed(found, [kept.index(letter) for letter in result])


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
        if len(types) != 2 or types[0].dtype not in _FLOATS:
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
