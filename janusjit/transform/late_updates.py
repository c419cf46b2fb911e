"""Updates behind the ways out that hand over the array as it was before.

Owns `delay_updates`. Where a turn of a loop is left, for an index out of bounds say, Python goes on from the turn's
begin, with the array that the turn began with. An update before such a way out cannot be made in place, and copies the
array in every turn; behind it, it can. Invariant: what is moved has no effect, and the way out does not depend on it.
"""

from __future__ import annotations

from janusjit.ir.graph import TAPE_OPERATIONS, Graph, Node, Region, Value, walk
from janusjit.pacing import pause
from janusjit.transform.facts import is_operation, is_stateful, reads_object

_UPDATES = frozenset({"update", "update_take", "update_mask"})
_CONTROL = frozenset({"if", "yield", "exit", "unreachable"})


def delay_updates(graph: Graph) -> int:
    """Move updates in loops behind ways out that hand over what they update; return how many."""
    loops = [node for node in graph.walk() if node.op == "loop"]
    return sum(_in_region(region) for loop in loops for region in loop.regions)


def _in_region(region: Region) -> int:
    moved = 0
    for position in reversed(range(len(region.nodes))):
        node = region.nodes[position]
        if node.op == "if":
            moved += sum(_in_region(arm) for arm in node.regions)
        pause()
        moved += _changes_array(node) and _move(region, position)
    return moved


def _changes_array(node: Node) -> bool:
    arrays = any(value.type.rank > 0 for value in node.results)
    return node.op in _UPDATES or (node.op == "if" and arrays)


def _move(region: Region, position: int) -> bool:
    """Move a node, and what depends on it, behind the last way out that hands over what it changes."""
    node = region.nodes[position]
    before = {value for value in _inputs(node) if value.type.rank > 0}
    moving, made = [node], set(node.results)
    found = None
    for place in range(position + 1, len(region.nodes) - 1):
        other = region.nodes[place]
        inputs = set(_inputs(other))
        if not made.isdisjoint(inputs):
            if _leaves(other) and not other.results:
                break
            moving.append(other)
            made.update(other.results)
        elif _leaves(other) and not before.isdisjoint(inputs):
            found = place
    if found is None:
        return False
    passed = region.nodes[position : found + 1]
    late = [one for one in moving if one in passed]
    if not all(map(_may_be_late, late)):
        return False
    region.nodes[position : found + 1] = [one for one in passed if one not in late] + late
    return True


def _inputs(node: Node) -> list[Value]:
    inside = (node, *(inner for region in node.regions for inner in walk(region)))
    return [value for one in inside for value in one.inputs]


def _leaves(node: Node) -> bool:
    """Return whether a branch may leave the graph."""
    return node.op == "if" and any(inner.op == "exit" for region in node.regions for inner in walk(region))


def _may_be_late(node: Node) -> bool:
    inside = (node, *(inner for region in node.regions for inner in walk(region)))
    return all(
        one.op in _CONTROL
        or (is_operation(one) and not is_stateful(one) and not reads_object(one) and one.op not in TAPE_OPERATIONS)
        for one in inside
    )
