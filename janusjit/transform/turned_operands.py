"""Elementwise work on transposed operands of matrix products is done before they are transposed.

Owns `turn_operands`. ``(0.1 * x.T) @ e`` has NumPy write an array that lies in memory as ``x`` does; done as
``(0.1 * x).T @ e`` it is written in the order in which it is read, and goes by the rows of ``x``, as what comes before
the product mostly does. Invariant: every element is computed as before, from the same elements; only what nobody but
products sees is turned.
"""

from __future__ import annotations

from collections.abc import Collection

from janusjit.ir.dims import Dim
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.pacing import pause
from janusjit.transform.facts import is_elementwise, pinned_nodes
from janusjit.transform.replacing import Maker, replace_nodes

_TURN = (1, 0)


def turn_operands(graph: Graph) -> int:
    """Do elementwise work on transposed operands of products before the transposition; return how many nodes do."""
    users: dict[Value, list[Node]] = {}
    nodes = list(graph.walk())
    if not any(node.op == "matmul" for node in nodes) or not any(map(_is_turn, nodes)):
        return 0
    for node in nodes:
        pause()
        for value in node.inputs:
            users.setdefault(value, []).append(node)
    found = _candidates(graph.body, users, pinned_nodes(graph))
    replace_nodes(graph.body, dict.fromkeys(found, _Turned()))
    return len(found)


def _is_turn(node: Node) -> bool:
    return node.op == "transpose" and tuple(node.attributes["axes"]) == _TURN


def _candidates(body: Region, users: dict[Value, list[Node]], pinned: Collection[Node]) -> set[Node]:
    """Return the nodes that can be turned: all arrays they read can, and nobody but products reads their results."""
    found: set[Node] = set()
    pending = [body]
    while pending:
        region = pending.pop()
        pending += [inner for node in region.nodes for inner in node.regions]
        here: set[Node] = set()
        for node in region.nodes:
            if node not in pinned and _is_turnable(node, here):
                here.add(node)
        kept: set[Node] = set()
        while kept != here:  # what is turned for the sake of others is not, if they are not
            kept, here = here, {node for node in here if _may_stay(node, here, users)}
        found |= here
    return found


def _may_stay(node: Node, turned: Collection[Node], users: dict[Value, list[Node]]) -> bool:
    """Return whether a node can be turned where just some others are."""
    seen_by = users.get(node.result, ())
    return _is_turnable(node, turned) and all(user in turned or _is_product(user, users) for user in seen_by)


def _is_product(user: Node, users: dict[Value, list[Node]]) -> bool:
    """Return whether a user is a product, or transposes what products alone use."""
    if _is_turn(user):
        return all(one.op == "matmul" for one in users.get(user.result, ()))
    return user.op == "matmul"


def _is_turnable(node: Node, turned: Collection[Node]) -> bool:
    """Return whether a node's operands are transposed, or scalars."""
    if not is_elementwise(node) or node.guard is not None or len(node.results) != 1:
        return False
    shape = node.result.type.shape
    whole = [value for value in node.inputs if value.type.shape == shape]
    if len(shape) != 2 or not whole:
        return False
    return all(value.node is not None and (_is_turn(value.node) or value.node in turned) for value in whole)


class _Turned:
    """The same operation on what was there before the transposition."""

    unwanted: tuple[Node, ...] = ()

    def made(self, make: Maker, node: Node) -> Value:
        """See `janusjit.transform.replacing.Replacement`."""
        inputs = [_before(make, value, node.result.type.shape) for value in node.inputs]
        return make.transposed(make.emit(node.op, *inputs, **node.attributes), _TURN)


def _before(make: Maker, value: Value, shape: tuple[Dim, ...]) -> Value:
    """Return what an operand of a node of a ``shape`` was before the transposition; what it stretches is turned."""
    if value.type.rank == 0:
        return value
    if value.type.rank == 1:
        return make.reshaped(value, (*value.type.shape, 1))
    if value.type.shape != shape:
        return make.transposed(value, _TURN)
    node = value.node
    assert node is not None and _is_turn(node)  # nodes that are turned are so by now
    return node.inputs[0]
