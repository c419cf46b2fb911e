"""What is computed for the rows of a product that sums over them stands before it, without anything in between.

Owns `RowSum`, `row_sums` and `bring_together`. A step of gradient descent goes over its data twice: ``e = f(x @ w)``,
and then ``x.T @ e``, which sums over the rows. Where all of it stands together, it is done in one pass over the rows
(`janusjit.backend.row_passes`). Invariant: a step runs after every step that defines what it reads; only steps that
compute, and do nothing else, change places with others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from janusjit.backend import cost
from janusjit.backend.plan import (
    UPDATES,
    FusedStep,
    NodeStep,
    Step,
    is_elementwise,
    is_reduction,
    is_view,
    lowering_of,
    may_fail,
    nodes_of,
    reduced_axes,
    root,
)
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node, Region, Value, walk
from janusjit.ops.registry import Contract, Elementwise
from janusjit.pacing import pause

#: products that sum over fewer rows are not worth a look
_LEAST_ROWS = 64
#: what is computed for rows by more operations than this is not looked at further
_MOST_NODES = 100
#: nor are sums looked at from whose first step to the last there are more than this
_MOST_PASSED = 60


@dataclass(frozen=True, eq=False)
class RowSum:
    """A product that sums over ``rows``, and the ``nodes`` that compute for each row what it sums."""

    product: Node
    rows: int
    nodes: frozenset[Node]


def row_operands(product: Node) -> tuple[Value, Value] | None:
    """Return the two arrays over whose rows, along the first axis, a product of matrices or vectors sums.

    None if it is another product, if sizes are not known, or if the result is a single number.
    """
    if product.op != "matmul":
        return None
    left, right = product.inputs
    ranks = (left.type.rank, right.type.rank)
    if max(ranks) != 2 or not all(isinstance(dim, int) for one in (left, right) for dim in one.type.shape):
        return None
    if left.type.rank == 1:
        return left, right
    turn = left.node
    if turn is None or turn.op != "transpose":
        return None
    return turn.inputs[0], right


def row_sums(region: Region) -> list[RowSum]:
    """Return the products of a region that had better be computed in one pass with what they sum."""
    found = []
    own: set[Node] | None = None
    for node in region.nodes:
        operands = row_operands(node)
        if operands is None or not is_long(operands[0].type.shape[0]):
            continue
        own = own or set(region.nodes)
        rows = operands[0].type.shape[0]
        assert isinstance(rows, int)
        nodes = _computed_by_rows(operands, rows, own)
        if nodes and _pays(node, nodes, operands, rows):
            found.append(RowSum(node, rows, frozenset(nodes)))
    return found


def is_long(rows: Dim) -> bool:
    """Return whether there are enough rows to be worth a pass over blocks of them."""
    return isinstance(rows, int) and rows >= _LEAST_ROWS


def _computed_by_rows(values: Iterable[Value], rows: int, own: set[Node]) -> set[Node]:
    """Return the nodes, of some, that compute arrays row by row, and that values depend on."""
    found: set[Node] = set()
    pending = list(values)
    while pending and len(found) < _MOST_NODES:
        pause()
        value = pending.pop()
        node = value.node
        if node is None or node not in own or node in found or value.type.shape[:1] != (rows,):
            continue
        if is_view(node):
            pending.append(node.inputs[0])
        elif read := read_by_rows(node, rows):
            found.add(node)
            pending += read
    return found


def read_by_rows(node: Node, rows: int) -> list[Value]:
    """Return the arrays of so many rows that a node computes each row of its result from; none if it does not so."""
    rank = node.inputs[0].type.rank if is_reduction(node) else node.results[0].type.rank if node.results else 0
    if is_elementwise(node) or (is_reduction(node) and 0 not in reduced_axes(node)):
        return [v for v in node.inputs if v.type.rank == rank and v.type.shape[0] == rows]
    if node.op == "matmul" and node.inputs[0].type.rank == 2 and node.inputs[1].type.rank <= 2:
        return [node.inputs[0]] if node.inputs[0].type.shape[0] == rows else []
    return []


def _pays(product: Node, nodes: Iterable[Node], operands: Sequence[Value], rows: int) -> bool:
    """Return whether one pass over the rows spares enough of what is read and written otherwise."""
    touched: Counter[Value] = Counter(set(map(root, operands)))
    shared = _bytes(product.result)
    for node in nodes:
        touched.update({root(value) for value in (*read_by_rows(node, rows), *node.results)})
        shared += _bytes(node.inputs[1]) if node.op == "matmul" else 0
    spared = sum((count - 1) * _bytes(value) for value, count in touched.items())
    return cost.pays_in_one_pass(sum(map(_bytes, touched)), spared, shared)


def _bytes(value: Value) -> int:
    dims = [dim for dim in value.type.shape if isinstance(dim, int)]
    return math.prod(dims) * value.type.numpy_dtype.itemsize if len(dims) == value.type.rank else 0


def combines_rows(node: Node) -> bool:
    """Return whether a node reduces an array along its rows."""
    return is_reduction(node) and 0 in reduced_axes(node)


def bring_together(steps: list[Step], sums: Sequence[RowSum]) -> list[Step]:
    """Return the steps of a region in an order in which those of each sum stand together, where that can be."""
    if not sums:
        return steps
    steps = [*steps]
    where = {node: number for number, step in enumerate(steps) for node in nodes_of(step)}
    for one in sums:
        here = [where[node] for node in one.nodes if node in where]  # what is no longer computed is in no step
        first, last = min(here, default=0), where[one.product]
        if not here or max(here) > last or last - first > _MOST_PASSED:
            continue
        arranged = _together(steps[first : last + 1], one)
        steps[first : last + 1] = arranged
        where.update((node, first + n) for n, step in enumerate(arranged) for node in nodes_of(step))
    return steps


def _together(steps: list[Step], one: RowSum) -> list[Step]:
    """Return steps, the last of which is a product, in an order in which those of its sum come one after the other."""
    before: list[Step] = []
    members: list[Step] = []
    after: list[Step] = []
    made: set[Value] = set()
    for step in steps:
        pause()
        if _belongs(step, one):
            if not only_computes(step) or any(not defined_by(o).isdisjoint(_read(step)) for o in after):
                return steps
            members.append(step)
            made |= defined_by(step)
        elif not made.isdisjoint(_read(step)):
            after.append(step)
            made |= defined_by(step)
        elif after and not (only_computes(step) and all(map(only_computes, after))):
            return steps
        else:
            before.append(step)
    return [*before, *members, *after]


def _belongs(step: Step, one: RowSum) -> bool:
    """Return whether a step is a sum, or computes something for it."""
    if isinstance(step, NodeStep):
        return step.node is one.product or step.node in one.nodes
    return isinstance(step, FusedStep) and not one.nodes.isdisjoint(nodes_of(step))


def only_computes(step: Step, lowerings: tuple[type, ...] = (Contract, Elementwise)) -> bool:
    """Return whether all that comes of a step is its results, whenever it runs; of single nodes, of some lowerings."""
    if isinstance(step, NodeStep):
        return isinstance(lowering_of(step.node), lowerings) and not may_fail(step.node)
    return isinstance(step, FusedStep) and not any(node.op in UPDATES for node in step.nodes)


def _read(step: Step) -> set[Value]:
    """Return what a step reads, with what it is a view of."""
    read = {value for node in _all_nodes(step) for value in node.inputs}
    return read | {root(value) for value in read}


def defined_by(step: Step) -> set[Value]:
    """Return the results of a step."""
    return {result for node in nodes_of(step) for result in node.results}


def _all_nodes(step: Step) -> Iterator[Node]:
    for node in nodes_of(step):
        yield node
        for region in node.regions:
            yield from walk(region)
