"""Sinking: elementwise work moves to the loop nest that wants its result, where that saves a store and a load.

Owns `Scheduled`, the steps of a region under construction, and `sink`. Invariants: what a step computes in registers is
computed from values in memory before it, or in the step itself; a value is stored by exactly one step, and only if
some reader has to find it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from janusjit.backend import cost
from janusjit.backend.plan import (
    FusedStep,
    RegionStep,
    Step,
    element_inputs,
    is_reduction,
    is_splat,
    root,
)
from janusjit.ir.graph import Node, Region, Value, walk

_UPDATES = frozenset({"update", "update_take", "update_mask"})


def used_by(node: Node) -> Iterator[Value]:
    """Yield the values a node uses, those used in its regions included."""
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
    """

    def __init__(self, region: Region) -> None:
        self.users = users_in(region)
        self._order = {node: index for index, node in enumerate(region.nodes)}
        self.steps: list[Step] = []
        self.position: dict[FusedStep, int] = {}
        self.home: dict[Value, FusedStep] = {}
        self.holders: dict[Node, list[FusedStep]] = {}
        self._overwritten: dict[Value, list[int]] = {}

    def append(self, step: Step) -> int:
        """Add a step at the end; return its position."""
        here = len(self.steps)
        self.steps.append(step)
        if isinstance(step, FusedStep):
            self.position[step] = here
        elif isinstance(step, RegionStep):
            for inner in (n for region in step.node.regions for n in walk(region)):
                if inner.op in _UPDATES:
                    self._note_overwritten(inner.inputs[0], here)
            for value in step.node.inputs:
                self._note_overwritten(value, here)
        elif (node := getattr(step, "node", None)) is not None and node.op in _UPDATES:
            self._note_overwritten(node.inputs[0], here)
        return here

    def _note_overwritten(self, base: Value, position: int) -> None:
        self._overwritten.setdefault(root(base), []).append(position)

    def place(self, node: Node, step: FusedStep) -> None:
        """Let ``step`` compute ``node``."""
        self.holders.setdefault(node, []).append(step)
        if is_reduction(node):
            step.reductions.append(node)
            return
        step.nodes.append(node)
        self.home[node.result] = step
        if node.op == "update":
            self._note_overwritten(node.inputs[0], self.position[step])
        if node.op != "update" or node.attributes["path"] == ():
            step.values.add(node.result)

    def leaves(self, step: FusedStep) -> list[Value]:
        """Return the arrays a step reads from memory."""
        read = (value for node in [*step.nodes, *step.reductions] for value in element_inputs(node))
        return [v for v in dict.fromkeys(read) if v.type.rank > 0 and v not in step.values]

    def overwritten_between(self, value: Value, first: int, last: int) -> bool:
        """Return whether an update may overwrite ``value`` after position ``first`` and before ``last``."""
        return any(first < position < last for position in self._overwritten.get(root(value), ()))

    def memory_users(self, value: Value) -> Iterator[Node]:
        """Yield the users that have to find ``value`` in memory."""
        for user in self.users[value]:
            if _only_overwrites(user, value):
                continue
            holders = self.holders.get(user, ())
            in_registers = bool(holders) and _reads_elements_only(user, value)
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


def _only_overwrites(user: Node, value: Value) -> bool:
    """Whether ``user`` replaces all of ``value`` without reading it."""
    if user.op != "update" or user.attributes["path"] != () or user.inputs[0] is not value:
        return False
    return user.inputs.count(value) == 1


def _reads_elements_only(user: Node, value: Value) -> bool:
    if user.op == "update" and user.inputs[0] is value:
        return user.inputs.count(value) == 2 and user.attributes["path"] == ()
    return value in element_inputs(user)


def sink(scheduled: Scheduled) -> None:
    """Move or repeat elementwise nodes in the later steps that use them, from the last step to the first."""
    for step in sorted(scheduled.position, key=scheduled.position.__getitem__, reverse=True):
        for node in reversed(step.nodes):
            if node.op != "update" and node in step.nodes:
                _try_to_sink(scheduled, node, step)


def _try_to_sink(scheduled: Scheduled, node: Node, step: FusedStep) -> None:
    targets = _targets(scheduled, node, step)
    if not targets:
        return
    inside = any(step in scheduled.holders.get(user, ()) for user in scheduled.users[node.result])
    if len(targets) == 1 and not inside:
        taken = _exclusive_tree(scheduled, node, step)
        if taken is not None and _may_read_in(scheduled, taken, step, targets[0]):
            _compute_in(scheduled, taken, step, targets[0])
            _remove(scheduled, taken, step)
            return
    taken = _cheap_tree(scheduled, node, step)
    if taken is None or not all(_may_read_in(scheduled, taken, step, target) for target in targets):
        return
    for target in targets:
        _compute_in(scheduled, taken, step, target)
    if not inside:
        _remove(scheduled, [node], step)


def _targets(scheduled: Scheduled, node: Node, step: FusedStep) -> list[FusedStep]:
    """Return the later steps that read the node's result, if they all can compute it; else none."""
    found: dict[FusedStep, None] = {}
    for user in scheduled.users[node.result]:
        if _only_overwrites(user, node.result):
            continue
        holders = scheduled.holders.get(user)
        if not holders or not _reads_elements_only(user, node.result):
            return []
        for holder in holders:
            if node.result in holder.values:
                continue
            if holder.shape != step.shape and not is_splat(node):
                return []
            found[holder] = None
    return list(found)


def _exclusive_tree(scheduled: Scheduled, node: Node, step: FusedStep) -> list[Node] | None:
    """Return the nodes of ``step`` that only serve ``node``, and itself; None if others' results would be stored."""
    taken = {node}
    for candidate in reversed(step.nodes):
        users = scheduled.users[candidate.result]
        if candidate.op != "update" and candidate not in taken and all(user in taken for user in users):
            taken.add(candidate)
    for one in taken:
        for value in element_inputs(one):
            left_behind = value in step.values and value.node not in taken
            if left_behind and next(scheduled.memory_users(value), None) is None:
                return None
    return [candidate for candidate in step.nodes if candidate in taken]


def _cheap_tree(scheduled: Scheduled, node: Node, step: FusedStep) -> list[Node] | None:
    """Return ``node`` and what of its step it is computed from, if that is worth repeating; else None."""
    taken: set[Node] = set()
    arrays: set[Value] = set()
    pending, total = [node], 0
    while pending:
        one = pending.pop()
        if one in taken:
            continue
        taken.add(one)
        total += 0 if is_splat(one) else cost.element_cost(one)
        for value in element_inputs(one):
            stored = value in step.values and next(scheduled.memory_users(value), None) is not None
            if value in step.values and not stored and value.node is not None:
                pending.append(value.node)
            elif value.type.shape == step.shape:
                arrays.add(value)
        if total > cost.RECOMPUTE_LIMIT or len(arrays) > 1 or one.op == "update":
            return None
    return [candidate for candidate in step.nodes if candidate in taken]


def _may_read_in(scheduled: Scheduled, taken: list[Node], step: FusedStep, target: FusedStep) -> bool:
    """Return whether what ``taken`` reads is still there when ``target`` runs, and ``target`` has room."""
    first, last = scheduled.position[step], scheduled.position[target]
    leaves = {value for node in taken for value in element_inputs(node) if value.type.rank > 0}
    arrays = len(scheduled.leaves(target)) + len(leaves)
    if arrays > cost.KERNEL_ARRAYS or len(target.nodes) + len(taken) > cost.KERNEL_OPERATIONS:
        return False
    return not any(scheduled.overwritten_between(value, first - 1, last) for value in leaves)


def _compute_in(scheduled: Scheduled, taken: list[Node], step: FusedStep, target: FusedStep) -> None:
    new = [node for node in taken if node.result not in target.values]
    target.nodes[:0] = new
    for node in new:
        target.values.add(node.result)
        scheduled.holders[node].append(target)


def _remove(scheduled: Scheduled, taken: list[Node], step: FusedStep) -> None:
    for node in taken:
        step.nodes.remove(node)
        step.values.discard(node.result)
        scheduled.holders[node].remove(step)
        scheduled.home[node.result] = scheduled.holders[node][0]
