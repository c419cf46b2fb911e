"""The steps of a region while they are put together.

Owns `Scheduled`. Invariants: what a step computes in registers is computed from values in memory before it, or in the
step itself; a value is stored by exactly one step, and only if some reader has to find it in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from janusjit.backend import cost
from janusjit.backend.plan import (
    UPDATES,
    FusedStep,
    RegionStep,
    Step,
    element_inputs,
    is_reduction,
    nodes_of,
    root,
)
from janusjit.backend.row_order import combines_rows, row_sums
from janusjit.backend.separation import Separation
from janusjit.ir.dims import Dim
from janusjit.ir.graph import Node, Region, Value, walk
from janusjit.ir.types import DTYPES
from janusjit.pacing import pause


def used_by(node: Node) -> Iterator[Value]:
    """Yield the values a node uses, those used in its regions included."""
    pause()
    yield from node.inputs
    for region in node.regions:
        for inner in walk(region):
            yield from inner.inputs


def users_in(region: Region) -> dict[Value, list[Node]]:
    """Return the nodes of a region that use each value; a node with regions uses what is used inside."""
    users: dict[Value, list[Node]] = {}
    for node in region.nodes:
        for value in dict.fromkeys(used_by(node)):
            users.setdefault(value, []).append(node)
    return users


def wastes_lanes(shape: tuple[Dim, ...], nodes: Sequence[Node]) -> bool:
    """Return whether nodes compute functions of short rows in a loop that has to go row by row.

    By itself, a function goes over all rows as if they were one, and no vector is filled in part only.
    """
    if len(shape) < 2 or not isinstance(shape[-1], int) or not 1 < shape[-1] < cost.SHORT_ROW:
        return False
    functions = [node for node in nodes if cost.element_cost(node) >= cost.FUNCTION and node.result.type.shape == shape]
    if not functions:
        return False
    row, lanes = shape[-1], cost.VECTOR_BYTES // DTYPES[functions[0].result.type.dtype].itemsize
    filled_up = -(-row // lanes) * lanes / row
    if filled_up < cost.FILLED_UP:
        return False
    if any(map(is_reduction, nodes)):
        return row >= cost.SHORT_SUM
    made = {node.result for node in nodes}
    read = (value for node in nodes for value in element_inputs(node) if value not in made and value.type.rank > 0)
    return (row < lanes or filled_up >= cost.MOSTLY_FILLED_UP) and any(value.type.shape != shape for value in read)


class Scheduled:
    """The steps of one region.

    Attributes
    ----------
    steps : list of Step
        In execution order.
    position : dict
        Where in ``steps`` each fused step stands.
    home : dict
        The fused step that computes, and if need be stores, each elementwise value.
    holders : dict
        The fused steps that compute each node: more than one where it is computed again.
    users : dict
        The nodes of the region that use each value.
    available : dict
        The position of the step after which each value of the region is there.
    separation : Separation or None
        Which nodes are not to be in one step.
    row_sums : list of RowSum
        The products that are to be computed in one pass with what they sum; what combines rows otherwise is apart.
    alone : dict
        The positions of the nodes that are steps by themselves.
    """

    def __init__(self, region: Region, separation: Separation | None = None) -> None:
        self.separation = separation
        self.row_sums = row_sums(region)
        self._by_rows = frozenset(node for one in self.row_sums for node in one.nodes)
        self.users = users_in(region)
        self._order = {node: index for index, node in enumerate(region.nodes)}
        self.steps: list[Step] = []
        self.position: dict[FusedStep, int] = {}
        self.home: dict[Value, FusedStep] = {}
        self.holders: dict[Node, list[FusedStep]] = {}
        self.available: dict[Value, int] = {}
        self.alone: dict[Node, int] = {}
        self._overwritten: dict[Value, list[FusedStep | int]] = {}

    def append(self, step: Step) -> int:
        """Add a step at the end; return its position."""
        here = len(self.steps)
        self.steps.append(step)
        if isinstance(step, FusedStep):
            self.position[step] = here
            return here
        (node,) = nodes_of(step)
        self.alone[node] = here
        if isinstance(step, RegionStep):
            inside = (inner for region in node.regions for inner in walk(region))
            for value in (*(inner.inputs[0] for inner in inside if inner.op in UPDATES), *node.inputs):
                self._note_overwritten(value, here)
        elif node.op in UPDATES:
            self._note_overwritten(node.inputs[0], here)
        return here

    def _note_overwritten(self, base: Value, where: FusedStep | int) -> None:
        self._overwritten.setdefault(root(base), []).append(where)

    def place(self, node: Node, step: FusedStep) -> None:
        """Let ``step`` compute ``node``."""
        self.holders.setdefault(node, []).append(step)
        self.available[node.result] = self.position[step]
        if is_reduction(node):
            step.reductions.append(node)
            return
        step.nodes.append(node)
        self.home[node.result] = step
        if node.op == "update":
            self._note_overwritten(node.inputs[0], step)
        if node.op != "update" or node.attributes["path"] == ():
            step.values.add(node.result)

    def withdraw(self, node: Node, step: FusedStep) -> None:
        """Let ``step`` no longer compute ``node``, before another one does."""
        self.holders[node].remove(step)
        if node.op == "update":
            self._overwritten[root(node.inputs[0])].remove(step)

    def separates(self, nodes: Iterable[Node], step: FusedStep) -> bool:
        """Return whether one of some nodes is not to be in one step with those that ``step`` computes."""
        rule, nodes = self.separation, list(nodes)
        if rule is not None and rule.parts(nodes, nodes_of(step)):
            return True
        if self._by_rows and self._mixes_rows(nodes, nodes_of(step)):
            return True
        return wastes_lanes(step.shape, [*nodes, *nodes_of(step)])

    def _mixes_rows(self, nodes: Sequence[Node], others: Sequence[Node]) -> bool:
        """Return whether some nodes combine rows, and others compute them for a product that sums over them."""
        for one, other in ((nodes, others), (others, nodes)):
            if any(map(combines_rows, one)) and not self._by_rows.isdisjoint(other):
                return True
        return False

    def leaves(self, step: FusedStep) -> list[Value]:
        """Return the arrays a step reads from memory."""
        read = (value for node in [*step.nodes, *step.reductions] for value in element_inputs(node))
        return [v for v in dict.fromkeys(read) if v.type.rank > 0 and v not in step.values]

    def overwritten_between(self, value: Value, first: int, last: int) -> bool:
        """Return whether an update may overwrite ``value`` after position ``first`` and before ``last``."""
        steps = self._overwritten.get(root(value), ())
        return any(first < (s if isinstance(s, int) else self.position[s]) < last for s in steps)

    def memory_users(self, value: Value) -> Iterator[Node]:
        """Yield the users that have to find ``value`` in memory."""
        for user in self.users[value]:
            if only_overwrites(user, value):
                continue
            holders = self.holders.get(user, ())
            in_registers = bool(holders) and reads_elements_only(user, value)
            if not in_registers or any(value not in step.values for step in holders):
                yield user

    def settled(self) -> list[Step]:
        """Return the steps that are left, with what each has to store."""
        for step in self.position:
            step.nodes.sort(key=self._order.__getitem__)
            step.stores = [n.result for n in step.nodes if self.home[n.result] is step and self._is_stored(n)]
        return [s for s in self.steps if not isinstance(s, FusedStep) or s.stores or s.reductions]

    def _is_stored(self, node: Node) -> bool:
        if node.op == "update" and node.attributes["path"] != ():
            return True
        return next(self.memory_users(node.result), None) is not None


def only_overwrites(user: Node, value: Value) -> bool:
    """Whether ``user`` replaces all of ``value`` without reading it."""
    if user.op != "update" or user.attributes["path"] != () or user.inputs[0] is not value:
        return False
    return user.inputs.count(value) == 1


def reads_elements_only(user: Node, value: Value) -> bool:
    """Whether ``user`` reads ``value`` element by element, and for nothing else."""
    if user.op == "update" and user.inputs[0] is value:
        return user.inputs.count(value) == 2 and user.attributes["path"] == ()
    return value in element_inputs(user)
