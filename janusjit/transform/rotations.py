"""Loops that hand arrays on from memory to memory.

Owns `take_turns_together`. A time step that reads neighbours cannot be made in place: what it computes lies elsewhere,
and would be copied to where the next turn expects it. Made twice in a row, the second step's result is back where the
first began; where arrays move on through several names, as many steps as it takes until each is in its place again.
Invariant: every turn is made as before, and left where it was left; which arrays can stay in place is a guess, on which
nothing but the time depends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from janusjit.ir.builder import clone_nodes, clone_region
from janusjit.ir.graph import TAPE_OPERATIONS, Graph, Node, Region, Value
from janusjit.ir.graph import walk as walk_region

_UPDATES = frozenset({"update", "update_take", "update_mask"})
#: nobody notices the copy of an array of fewer elements
_FEWEST = 256
#: the most turns that are made together, and nodes that are added for it
_MOST_TURNS, _MOST_NODES = 4, 160


def take_turns_together(graph: Graph) -> int:
    """Let loops make so many turns in one that arrays are back in place; return how many loops do."""
    loops = [node for node in graph.walk() if node.op == "loop"] if graph.memory_limit is None else []
    count = 0
    for loop in reversed(loops):  # the innermost first
        turns = _period(loop)
        nodes = sum(1 for _ in walk_region(loop.regions[0]))
        if 1 < turns <= _MOST_TURNS and nodes * (turns - 1) <= _MOST_NODES:
            _repeat(loop, turns)
            count += 1
    return count


def _repeat(loop: Node, turns: int) -> None:
    """Let a loop that goes on at one place only make further turns there."""
    (body,) = loop.regions
    turn = clone_region(body, {})
    for _ in range(turns - 1):
        ((region, end),) = _continues(body)
        region.nodes.pop()
        clone_nodes(turn, region, dict(zip(turn.parameters, end.inputs, strict=True)))


def _continues(region: Region) -> Iterator[tuple[Region, Node]]:
    """Yield where a loop goes on to its next turn, inner loops left out, and the regions that end there."""
    for node in region.nodes:
        if node.op == "if":
            for arm in node.regions:
                yield from _continues(arm)
        elif node.op == "continue":
            yield region, node


def _period(loop: Node) -> int:
    """Return after how many turns each array that a loop carries is where it was, as far as that can be foreseen."""
    (body,) = loop.regions
    ends = list(_continues(body))
    if len(ends) != 1 or any(node.op in TAPE_OPERATIONS or node.op == "bind_dim" for node in walk_region(body)):
        return 1
    ((_, end),) = ends
    users: dict[Value, list[Node]] = {}
    for node in walk_region(body):
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    comes_from: dict[int, int | None] = {}
    for position, (parameter, following) in enumerate(zip(body.parameters, end.inputs, strict=True)):
        if parameter.type.rank and following is not parameter and _is_large(parameter):
            origin = _origin(following, users)
            if origin is not None and origin in body.parameters:
                comes_from[position] = body.parameters.index(origin)
            elif origin is None and any(user.op == "view" for user in users.get(parameter, ())):
                comes_from[position] = None
    return _length(comes_from)


def _length(comes_from: dict[int, int | None]) -> int:
    """Return after how many turns everything is in its place; None stands for memory that was free."""
    moved = {position: origin for position, origin in comes_from.items() if origin != position}
    origins = [origin for origin in moved.values() if origin is not None]
    if not moved or len(set(origins)) < len(origins):
        return 1
    goes_to = {origin: position for position, origin in moved.items() if origin is not None}
    lengths, seen = [], set()
    for start in [p for p, origin in moved.items() if origin not in moved] + list(moved):
        if start in seen:
            continue
        length, position = 0, start
        while position in moved and position not in seen:
            seen.add(position)
            length, position = length + 1, goes_to.get(position, -1)
        lengths.append(length if position == start else length + 1)
    return math.lcm(*lengths)


def _origin(value: Value, users: dict[Value, list[Node]], elsewhere: tuple[str, ...] = ()) -> Value | None:
    """Return whose memory an array is probably made in, by updates in place; None if in memory of its own.

    What is ``elsewhere``, in branches that are not taken then, does not stand against it.
    """
    while (node := value.node) is not None:
        if node.op == "if":
            yielded = [arm.terminator.inputs[value.index] for arm in node.regions if arm.terminator.op == "yield"]
            origins = {_origin(one, users, ("yield", *_UPDATES)) for one in yielded}
            return origins.pop() if len(origins) == 1 else None
        if node.op not in _UPDATES:
            return None
        base = node.inputs[0]
        others = (user for user in users.get(base, ()) if user is not node and user.op not in elsewhere)
        if not all(_reads_the_part(user, node) for user in others):
            return None
        value = base
    return value


def _reads_the_part(reader: Node, update: Node) -> bool:
    """Return whether a node reads the very elements that an update replaces."""
    path = update.attributes.get("path", ())
    index = dict(path[0].attributes).get("index") if len(path) == 1 else None
    return reader.op == "view" and index == reader.attributes["index"]


def _is_large(array: Value) -> bool:
    size = array.type.size
    return not isinstance(size, int) or size >= _FEWEST
