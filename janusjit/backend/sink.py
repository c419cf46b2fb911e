"""Sinking: elementwise work moves to the loop nest that wants its result, where that saves a store and a load.

Owns `sink`. Invariant: work is moved or repeated where that costs less traffic with memory than storing its result, and
never past an update that would overwrite what it reads.
"""

from __future__ import annotations

from janusjit.backend import calibration, cost
from janusjit.backend.plan import FusedStep, element_inputs, is_splat
from janusjit.backend.scheduled import Scheduled, only_overwrites, reads_elements_only
from janusjit.ir.graph import Node, Value
from janusjit.pacing import pause


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
    pause()
    found: dict[FusedStep, None] = {}
    for user in scheduled.users[node.result]:
        if only_overwrites(user, node.result):
            continue
        holders = scheduled.holders.get(user)
        if not holders or not reads_elements_only(user, node.result):
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
    pending, total, limit = [node], 0, calibration.current().recompute_limit
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
        if total > limit or len(arrays) > 1 or one.op == "update":
            return None
    return [candidate for candidate in step.nodes if candidate in taken]


def _may_read_in(scheduled: Scheduled, taken: list[Node], step: FusedStep, target: FusedStep) -> bool:
    """Return whether what ``taken`` reads is still there when ``target`` runs, and ``target`` has room."""
    first, last = scheduled.position[step], scheduled.position[target]
    leaves = {value for node in taken for value in element_inputs(node) if value.type.rank > 0}
    arrays = len(scheduled.leaves(target)) + len(leaves)
    if arrays > cost.KERNEL_ARRAYS or cost.is_too_much(target.nodes, taken):
        return False
    if scheduled.separates(taken, target):
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
