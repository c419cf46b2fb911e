"""Merging: loop nests over one shape that work on the same arrays become one.

Owns `merge`. Invariant: a step moves only where every value it needs is there, and nobody wants its results before.
"""

from __future__ import annotations

from janusjit.backend import cost
from janusjit.backend.plan import UPDATES, FusedStep, is_view, nodes_of, root
from janusjit.backend.scheduled import Scheduled, only_overwrites, reads_elements_only
from janusjit.ir.graph import Node, Value
from janusjit.pacing import pause

#: how many steps that read an array are considered for another that does: merging stays linear in the graph's size
RECENT = 4


def merge(scheduled: Scheduled) -> None:
    """Move every fused step that can wait into the latest step that uses or shares its arrays."""
    readers: dict[Value, list[FusedStep]] = {}
    for step in sorted(scheduled.position, key=scheduled.position.__getitem__):
        candidates: dict[FusedStep, None] = {}
        for value in scheduled.leaves(step):
            home = scheduled.home.get(value)
            candidates.update(dict.fromkeys([home] if home else []))
            candidates.update(dict.fromkeys(readers.get(value, [])[-RECENT:]))
        for earlier in sorted(candidates, key=scheduled.position.__getitem__, reverse=True):
            pause()
            if _may_move(scheduled, earlier, step):
                _move(scheduled, earlier, step)
        for value in scheduled.leaves(step):
            readers.setdefault(value, []).append(step)


def _may_move(scheduled: Scheduled, step: FusedStep, target: FusedStep) -> bool:
    """Return whether all that ``step`` computes can as well be computed in ``target``, which is later."""
    nodes = nodes_of(step)
    reduced = {axes for axes in (step.axes, target.axes) if axes is not None}
    if not nodes or step.shape != target.shape or len(reduced) > 1:
        return False
    arrays = {*scheduled.leaves(step), *scheduled.leaves(target)}
    if cost.is_too_much(target.nodes, nodes) or len(arrays) > cost.KERNEL_ARRAYS:
        return False
    if scheduled.separates(nodes, target):
        return False
    first, last = scheduled.position[step], scheduled.position[target]
    overwritten = {root(node.inputs[0]) for node in target.nodes if node.op in UPDATES}
    for value in scheduled.leaves(step):
        part_of_overwritten = root(value) is not value and root(value) in overwritten
        if part_of_overwritten or scheduled.overwritten_between(value, first, last):
            return False
    return all(_may_wait(scheduled, node, step, target) for node in nodes)


def _may_wait(scheduled: Scheduled, node: Node, step: FusedStep, target: FusedStep) -> bool:
    """Return whether nobody wants the result of ``node`` before ``target`` or, but in registers, in it."""
    value = node.result
    for user in scheduled.users.get(value, ()):
        if is_view(user):
            if not _is_used_after(scheduled, user.result, target):
                return False
        elif target in scheduled.holders.get(user, ()):
            if value not in step.values or not (reads_elements_only(user, value) or only_overwrites(user, value)):
                return False
        elif any(position < scheduled.position[target] for position in _positions(scheduled, user, step)):
            return False
    return True


def _is_used_after(scheduled: Scheduled, value: Value, target: FusedStep) -> bool:
    """Return whether all uses of a view are behind ``target``."""
    return all(
        _is_used_after(scheduled, user.result, target)
        if is_view(user)
        else all(position > scheduled.position[target] for position in _positions(scheduled, user))
        for user in scheduled.users.get(value, ())
    )


def _positions(scheduled: Scheduled, node: Node, but: FusedStep | None = None) -> list[int]:
    """Return where a node is computed, ``but`` left out."""
    fused = [scheduled.position[holder] for holder in scheduled.holders.get(node, ()) if holder is not but]
    return [*fused, scheduled.alone[node]] if node in scheduled.alone else fused


def _move(scheduled: Scheduled, step: FusedStep, target: FusedStep) -> None:
    """Let ``target`` compute what ``step`` does."""
    for node in nodes_of(step):
        scheduled.withdraw(node, step)
        scheduled.place(node, target)
    step.nodes, step.reductions, step.values = [], [], set()
