"""Guards early.

Owns `hoist_guards`. Invariant: a guard is checked whenever it was, and then only: it stays in its region, and behind
nodes by which control may leave. It moves to where its condition is known, so that a call that is going to fail fails
soon, and writes behind it can be done in place. Guards on conditions that hold by construction go.
"""

from __future__ import annotations

from janusjit.ir.builder import carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.transform.facts import constant_of


def hoist_guards(graph: Graph) -> int:
    """Move every guard up to right behind the definition of its condition; return how many moved or went."""
    carried = carried_guards(graph)
    hoister = _Hoister()
    hoister.region(graph.body)
    drop_guards(graph, carried)
    return hoister.changed


class _Hoister:
    def __init__(self) -> None:
        self.changed = 0

    def region(self, region: Region) -> frozenset[str]:
        """Hoist in a region; return the terminators that take control elsewhere than behind its owner."""
        before, after = region.nodes, []
        segment: list[Node] = []
        ways_out: frozenset[str] = frozenset()
        for node in before:
            segment.append(node)
            found = frozenset({node.op} & {"exit", "break", "continue"}).union(*map(self.region, node.regions))
            if node.op == "loop":
                found &= {"exit"}
            if node.regions and found:
                after += _early(segment)  # a guard behind it is checked only if control comes by
                segment = []
            ways_out |= found
        after += _early(segment)
        region.nodes = after
        self.changed += len(before) - len(after) + sum(a is not b for a, b in zip(before, after, strict=False))
        return ways_out


def _early(nodes: list[Node]) -> list[Node]:
    """Return nodes that run one after the other with each guard right behind the definition of its condition."""
    behind: dict[Node | None, list[Node]] = {}
    others: list[Node] = []
    here = set(nodes)
    for node in nodes:
        if node.op != "guard":
            others.append(node)
        elif not _holds(node.inputs[0]):
            definition = node.inputs[0].node
            behind.setdefault(definition if definition in here else None, []).append(node)
    return [*behind.get(None, ()), *(moved for node in others for moved in (node, *behind.get(node, ())))]


def _holds(condition: Value) -> bool:
    return bool(constant_of(condition))
