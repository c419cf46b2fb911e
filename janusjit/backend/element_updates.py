"""What loops over single elements do to the caller's arrays, and what of it can be done again.

Owns `written_again` and `gone_over`. Where a floating-point error is met, plain Python does the call again, which takes
that the arrays are as they were; or that nothing was read of them that has been written since, for then Python writes
the same once more. Invariant: an input is `written_again` only if no step reads what a later one, or a later turn of a
loop around both, overwrites. How many turns loops have is an estimate, on which nothing but the time depends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from janusjit.backend.plan import UPDATES, updated_shape
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.transform.facts import constant_of

#: with updates of so many elements, looking for floating-point errors after each is not felt
_LARGE_PART = 8192
#: of arrays that are written in loops for the most part, so much is copied
_MOST_BYTES = 1 << 25
#: the part of an array that loops are to write if the copy is not to be felt
_PART_WRITTEN = 0.25
#: that many definitions are looked through for an estimate
_DEPTH = 8


def written_again(graph: Graph) -> frozenset[int]:
    """Return the inputs that loops write bit by bit, and that plain Python would write in the same way again."""
    versions = _Versions(graph)
    return frozenset(i for i in versions.updates if versions.are_in_loops(i) and versions.are_read_at_last(i))


def gone_over(graph: Graph) -> frozenset[int]:
    """Return the inputs so large a part of which is written in loops, bit by bit, that a copy of them is not felt."""
    versions, found = _Versions(graph), set()
    for index, updates in versions.updates.items():
        type_ = graph.inputs[index].value.type
        if isinstance(type_.size, int) and versions.are_in_loops(index):
            written = sum(map(versions.elements_written, updates))
            bytes_ = type_.size * type_.numpy_dtype.itemsize
            if written >= _PART_WRITTEN * type_.size and bytes_ <= _MOST_BYTES:
                found.add(index)
    return frozenset(found)


class _Versions:
    """What becomes of the arrays that come from outside: updates, and what carries them through regions."""

    def __init__(self, graph: Graph) -> None:
        self._around: dict[Node, tuple[Node, ...]] = {}
        self._position: dict[Node, int] = {}
        self._end: dict[Node, int] = {}
        self._users: dict[Value, list[Node]] = {}
        self._number(graph.body, ())
        self.updates: dict[int, list[Node]] = {}
        self._reads: dict[int, list[Node]] = {}
        for index, given in enumerate(graph.inputs):
            if given.value.type.rank > 0:
                self._follow(index, given.value)

    def _number(self, region: Region, around: tuple[Node, ...]) -> None:
        for node in region.nodes:
            self._position[node] = len(self._position)
            self._around[node] = around
            for value in dict.fromkeys(node.inputs):
                self._users.setdefault(value, []).append(node)
            for inner in node.regions:
                self._number(inner, (*around, node))
            self._end[node] = len(self._position)

    def _follow(self, index: int, given: Value) -> None:
        """Note the updates of an input and of what it has become, and what else reads any of them."""
        pending, seen = [given], {given}
        updates, reads = [], []
        while pending:
            version = pending.pop()
            for node in self._users.get(version, ()):
                following = list(self._carried(version, node))
                if node.op in UPDATES and node.inputs[0] is version:
                    following.append(node.result)
                    updates.append(node)
                    if version in node.inputs[1:]:
                        reads.append(node)
                elif not following and node.op != "exit":
                    reads.append(node)
                pending += [value for value in following if value not in seen]
                seen.update(following)
        if updates:
            self.updates[index], self._reads[index] = updates, reads

    def _carried(self, version: Value, node: Node) -> Iterator[Value]:
        """Yield what a loop, or a terminator, makes of a value that it is given."""
        positions = [position for position, value in enumerate(node.inputs) if value is version]
        if node.op == "loop":
            yield from (node.regions[0].parameters[position] for position in positions)
        elif node.op in ("continue", "break"):
            loop = next(one for one in reversed(self._around[node]) if one.op == "loop")
            taken = loop.regions[0].parameters if node.op == "continue" else loop.results
            yield from (taken[position] for position in positions)
        elif node.op == "yield":
            yield from (self._around[node][-1].results[position] for position in positions)

    def are_in_loops(self, index: int) -> bool:
        """Return whether small parts of an input are updated in a loop."""
        return any(self._loops(node) and part_size(node) < _LARGE_PART for node in self.updates[index])

    def are_read_at_last(self, index: int) -> bool:
        """Return whether nothing reads an input, or what it has become, that may be written afterwards."""
        ends = [self._end[next(iter(self._loops(node)), node)] for node in self.updates[index]]
        return all(self._position[node] >= max(ends) for node in self._reads[index])

    def elements_written(self, update: Node) -> float:
        """Return how many elements an update writes in all turns of the loops around it."""
        turns: dict[Node, float] = {}
        for loop in self._loops(update):
            turns[loop] = max(_turns(loop, turns), 1)
        return part_size(update) * math.prod(turns.values())

    def _loops(self, node: Node) -> list[Node]:
        return [one for one in self._around[node] if one.op == "loop"]


def part_size(update: Node) -> int:
    """Return how many elements an update sets at a time; 1 if that is not known."""
    shape = updated_shape(update) if update.op == "update" else update.inputs[1].type.shape
    return math.prod(dim if isinstance(dim, int) else 1 for dim in shape)


def _turns(loop: Node, outer: dict[Node, float]) -> float:
    """Return how many turns a loop that counts probably has, 0 if it does not count up to something known."""
    (region,) = loop.regions
    counters = {parameter: position for position, parameter in enumerate(region.parameters)}
    found = 0.0
    for node in region.nodes:
        if node.op == "less" and not node.result.type.rank:
            counter, limit = node.inputs
            while counter not in counters and counter.node is not None and counter.node.op.endswith("add"):
                counter = counter.node.inputs[0]
            if counter in counters:
                first, last = _estimate(loop.inputs[counters[counter]], outer), _estimate(limit, outer)
                found = max(found, (last or 0) - (first or 0)) if None not in (first, last) else found
    return found


def _estimate(number: Value, turns: dict[Node, float], depth: int = _DEPTH) -> float | None:
    """Return about what a number is: of what counts the turns of a loop, that in the middle."""
    if (known := constant_of(number)) is not None:
        return float(known)
    if isinstance(number.definition, Region):
        loop = next((one for one in turns if number.definition in one.regions), None)
        return None if loop is None else turns[loop] / 2
    node = number.node
    if node is None or depth == 0 or len(node.inputs) != 2 or node.inputs[0].type.rank:
        return None
    left, right = (_estimate(value, turns, depth - 1) for value in node.inputs)
    if left is None or right is None:
        return None
    operations = {"add": left + right, "subtract": left - right, "maximum": max(left, right)}
    return operations.get(node.op.removeprefix("checked_"))
