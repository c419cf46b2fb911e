"""Products with windows become convolutions.

Owns `find_convolutions`. Programs write convolutions as windows of an array, arranged as they like, and a contraction
of them; gradients add windows up that are a product. The operations of `janusjit.ops.convolutions` do the same without
windows. Invariants: windows that are wanted for anything else stay, and so do the products with them; what stands for
a contraction is made of the same products, added up in another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from janusjit.ir.dims import Dim, product
from janusjit.ir.graph import Graph, Node, Value
from janusjit.ops.contract import parse_subscripts
from janusjit.transform.dead_code import remove_dead_code
from janusjit.transform.facts import pinned_nodes
from janusjit.transform.replacing import Maker, replace_nodes

Factors = list[tuple[int, ...]]
_GEOMETRY = ("kernel", "stride", "padding", "dilation")
#: operations that only arrange elements
_ARRANGING = frozenset({"reshape", "transpose", "copy"})


def find_convolutions(graph: Graph) -> int:
    """Replace contractions of windows, and windows of products that are added up, by convolutions; return how many."""
    if not any(node.op in ("unfold", "fold") for node in graph.walk()):
        return 0
    remove_dead_code(graph)  # arrangements that rules have left behind are no uses
    finder = _Finder(list(graph.walk()), pinned_nodes(graph))
    found = finder.found()
    if found:
        replace_nodes(graph.body, found)
    return len(found)


# ---------------------------------------------------------------------- contractions


@dataclass(frozen=True)
class _Contraction:
    """A product of two arrays summed over what has the same letter; no letter of both is one of the result."""

    operands: tuple[str, str]
    result: str

    @staticmethod
    def of(node: Node) -> _Contraction | None:
        """Return what a node contracts, if it is of that kind."""
        if len(node.inputs) != 2 or node.guard is not None:
            return None
        ranks = tuple(value.type.rank for value in node.inputs)
        if node.op == "matmul" and ranks in _PRODUCTS:
            return _PRODUCTS[ranks]
        if node.op != "einsum":
            return None
        (left, right), result = parse_subscripts(node.attributes["subscripts"], tuple(v.type for v in node.inputs))
        shared = set(left) & set(right)
        once = len(set(left)) == len(left) and len(set(right)) == len(right)
        if not once or shared & set(result) or set(result) != set(left) ^ set(right):
            return None
        sizes = [dict(zip(part, v.type.shape, strict=True)) for part, v in zip((left, right), node.inputs, strict=True)]
        if any(sizes[0][letter] != sizes[1][letter] for letter in shared):
            return None
        return _Contraction((left, right), result)

    def summed(self, operand: int) -> str:
        """Return the letters of an operand that are summed over, in its order."""
        return "".join(letter for letter in self.operands[operand] if letter not in self.result)

    def free(self, operand: int) -> str:
        """Return the letters of an operand that are the result's, in its order."""
        return "".join(letter for letter in self.operands[operand] if letter in self.result)


#: the products of matrices and vectors, by their ranks
_PRODUCTS = {
    (2, 2): _Contraction(("ik", "kj"), "ij"),
    (2, 1): _Contraction(("ik", "k"), "i"),
    (1, 2): _Contraction(("k", "kj"), "j"),
}


# ---------------------------------------------------------------------- arrangements


def _regrouped(factors: Factors, sizes: Sequence[Dim], shape: Sequence[Dim]) -> Factors | None:
    """Return the axes behind each dimension of a reshape; None if one is divided."""
    left = [axis for group in factors for axis in group]
    found: Factors = []
    for dim in shape:
        group: list[int] = []
        while product(sizes[axis] for axis in group) != dim:
            if not left:
                return None
            group.append(left.pop(0))
        found.append(tuple(group))
    return None if left else found


def _through(node: Node, factors: Factors, sizes: Sequence[Dim]) -> Factors | None:
    """Return the axes behind each dimension of what a node makes of an array."""
    if node.op == "transpose":
        return [factors[axis] for axis in node.attributes["axes"]]
    if node.op == "reshape":
        return _regrouped(factors, sizes, node.result.type.shape)
    return factors


def _back_through(node: Node, factors: Factors, sizes: Sequence[Dim]) -> Factors | None:
    """Return the axes behind each dimension of what a node arranges, given those of its result."""
    if node.op == "transpose":
        axes = node.attributes["axes"]
        return [factors[axes.index(axis)] for axis in range(len(axes))]
    if node.op == "reshape":
        return _regrouped(factors, sizes, node.inputs[0].type.shape)
    return factors


def _axes_of(shape: Sequence[Dim]) -> Factors:
    """Return each axis behind its own dimension; those of length 1 are left out."""
    return [() if dim == 1 else (axis,) for axis, dim in enumerate(shape)]


@dataclass(frozen=True)
class _Windows:
    """The axes of windows: channels, those of the kernel, images, those of the output."""

    shape: tuple[Dim, ...]

    @property
    def _rank(self) -> int:
        return (len(self.shape) - 2) // 2

    @property
    def of_kernel(self) -> tuple[int, ...]:
        """Channels, and the kernel's axes."""
        return tuple(range(1 + self._rank))

    @property
    def of_places(self) -> tuple[int, ...]:
        """Images, and the output's axes."""
        return tuple(range(1 + self._rank, 2 + 2 * self._rank))

    def are(self, factors: Iterable[tuple[int, ...]], axes: tuple[int, ...]) -> bool:
        """Return whether these axes, but for those of length 1, are behind some dimensions."""
        found = [axis for group in factors for axis in group]
        return sorted(found) == [axis for axis in axes if self.shape[axis] != 1]


# ---------------------------------------------------------------------- what is found


def _operand(
    make: Maker, value: Value, letters: tuple[str, str, str], factors: dict[str, tuple[int, ...]], windows: _Windows
) -> Value:
    """Return an operand as ``(all of its own, *axes)``: the letters' axes in their order, those of length 1 too.

    Letters are the operand's, those that are its own, and those that have axes.
    """
    all_letters, own, shared = letters
    value = make.transposed(value, [all_letters.index(letter) for letter in (*own, *shared)])
    order = [axis for letter in shared for axis in factors[letter]]
    rows = product(value.type.shape[: len(own)])
    value = make.reshaped(value, (rows, *(windows.shape[axis] for axis in order)))
    value = make.transposed(value, [0, *(1 + order.index(axis) for axis in sorted(order))])
    axes = windows.of_kernel if set(order) <= set(windows.of_kernel) else windows.of_places
    return make.reshaped(value, (rows, *(windows.shape[axis] for axis in axes)))


@dataclass(frozen=True)
class _Found:
    """A node that a convolution stands for."""

    contraction: _Contraction
    #: the node of windows, which number the operand made of them has, and the axes behind its letters
    windows: Node
    operand: int
    factors: dict[str, tuple[int, ...]]

    @property
    def unwanted(self) -> tuple[Node, ...]:
        """See `Replacement`."""
        return ()

    def made(self, make: Maker, node: Node) -> Value:
        """Return what stands for a contraction of windows."""
        contraction = self.contraction
        windows = _Windows(self.windows.result.type.shape)
        other = 1 - self.operand
        letters = contraction.operands[other]
        own, summed, free = contraction.free(other), contraction.summed(self.operand), contraction.free(self.operand)
        given = _operand(make, node.inputs[other], (letters, own, summed), self.factors, windows)
        x, attributes = self.windows.inputs[0], self.windows.attributes
        geometry = {name: attributes[name] for name in _GEOMETRY}
        if windows.are((self.factors[letter] for letter in summed), windows.of_kernel):
            result = make.emit("convolution", x, given, output=attributes["output"], **geometry)
            result, axes = _with_rows_first(make, result), windows.of_places
        else:
            result = make.emit("convolution_by_kernel", x, _with_rows_first(make, given), **geometry)
            axes = windows.of_kernel
        sizes = dict(zip(letters, node.inputs[other].type.shape, strict=True))
        kept = [axis for axis in axes if windows.shape[axis] != 1]
        result = make.reshaped(result, [*(sizes[letter] for letter in own), *(windows.shape[axis] for axis in kept)])
        places = {axis: len(own) + number for number, axis in enumerate(kept)}
        order: list[int] = []
        for letter in contraction.result:
            order += [own.index(letter)] if letter in own else [places[axis] for axis in self.factors[letter]]
        assert set(free) <= set(contraction.result)
        return make.reshaped(make.transposed(result, order), node.result.type.shape)


def _with_rows_first(make: Maker, value: Value) -> Value:
    """Return an array with its first two axes exchanged."""
    return make.transposed(value, [1, 0, *range(2, value.type.rank)])


@dataclass(frozen=True)
class _FoundSum(_Found):
    """A ``fold`` of a product: ``operand`` is the number of the one with the kernel's axes."""

    product: Node
    arranging: tuple[Node, ...]

    @property
    def unwanted(self) -> tuple[Node, ...]:
        return (self.product, *self.arranging)

    def made(self, make: Maker, node: Node) -> Value:
        """Return what stands for windows that are added up."""
        contraction = self.contraction
        windows = _Windows(node.inputs[0].type.shape)
        summed = contraction.summed(self.operand)
        parts = []
        for number in (self.operand, 1 - self.operand):
            letters = (contraction.operands[number], summed, contraction.free(number))
            parts.append(_operand(make, self.product.inputs[number], letters, self.factors, windows))
        geometry = {name: node.attributes[name] for name in _GEOMETRY}
        w, g = parts[0], _with_rows_first(make, parts[1])
        return make.emit("convolution_by_input", w, g, size=node.attributes["size"], **geometry)


class _Finder:
    def __init__(self, nodes: list[Node], pinned: set[Node]) -> None:
        self._nodes, self._pinned = nodes, pinned
        self._uses = Counter(value for node in nodes for value in node.inputs)
        self._arranged: dict[Value, tuple[Node, Factors]] = {}
        self._spoilt: set[Node] = set()

    def found(self) -> dict[Node, _Found]:
        """Return what is found, by the node it stands for."""
        found: dict[Node, _Found] = {}
        for node in self._nodes:
            if node.op == "unfold" and node not in self._pinned:
                self._arranged[node.result] = (node, _axes_of(node.result.type.shape))
                continue
            known = [value in self._arranged for value in node.inputs]
            if not any(known):
                if node.op == "fold" and (whole := self._sum(node)) is not None:
                    found[node] = whole
                continue
            if node.op in _ARRANGING and self._arrange(node):
                continue
            one = self._contraction(node) if known.count(True) == 1 else None
            if one is None:
                self._spoilt |= {self._arranged[value][0] for value in node.inputs if value in self._arranged}
            else:
                found[node] = one
        return {
            node: one for node, one in found.items() if isinstance(one, _FoundSum) or one.windows not in self._spoilt
        }

    def _arrange(self, node: Node) -> bool:
        base, factors = self._arranged[node.inputs[0]]
        after = None if node in self._pinned else _through(node, factors, base.result.type.shape)
        if after is None:
            return False
        self._arranged[node.result] = (base, after)
        return True

    def _contraction(self, node: Node) -> _Found | None:
        contraction = _Contraction.of(node)
        if contraction is None or node in self._pinned:
            return None
        operand = 0 if node.inputs[0] in self._arranged else 1
        base, factors = self._arranged[node.inputs[operand]]
        by_letter = dict(zip(contraction.operands[operand], factors, strict=True))
        windows = _Windows(base.result.type.shape)
        summed, free = ([by_letter[x] for x in part(operand)] for part in (contraction.summed, contraction.free))
        for one, other in ((windows.of_kernel, windows.of_places), (windows.of_places, windows.of_kernel)):
            if windows.are(summed, one) and windows.are(free, other):
                return _Found(contraction, base, operand, by_letter)
        return None

    def _sum(self, node: Node) -> _FoundSum | None:
        """Return the product whose elements are windows that a ``fold`` adds up."""
        value, shape = node.inputs[0], node.inputs[0].type.shape
        factors: Factors | None = _axes_of(shape)
        arranging: list[Node] = []
        while factors is not None and self._uses[value] == 1 and value.node is not None:
            source = value.node
            if source in self._pinned or node in self._pinned:
                return None
            contraction = _Contraction.of(source)
            if contraction is not None:
                return self._product(node, (source, *arranging), contraction, factors)
            if source.op not in _ARRANGING:
                return None
            factors = _back_through(source, factors, shape)
            arranging.append(source)
            value = source.inputs[0]
        return None

    def _product(
        self, node: Node, sources: tuple[Node, ...], contraction: _Contraction, factors: Factors
    ) -> _FoundSum | None:
        windows = _Windows(node.inputs[0].type.shape)
        by_letter = dict(zip(contraction.result, factors, strict=True))
        for operand in (0, 1):
            of_kernel = [by_letter[letter] for letter in contraction.free(operand)]
            of_places = [by_letter[letter] for letter in contraction.free(1 - operand)]
            if windows.are(of_kernel, windows.of_kernel) and windows.are(of_places, windows.of_places):
                return _FoundSum(contraction, node, operand, by_letter, sources[0], sources[1:])
        return None
