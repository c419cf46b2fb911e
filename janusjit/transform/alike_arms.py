"""Branches whose arms do the same.

Owns `join_alike_arms`. An instruction that is captured for each kind of a number does the same for most kinds, but for
that number: it is done once then, on the number that the condition selects, where it can be fused with what is around
it. Invariants: what is done in the place of a branch is what either arm would have done, on the same operands; only
what belongs to one instruction is joined, so that warnings and guards tell of the right one.
"""

from __future__ import annotations

from janusjit.ir.builder import Substitution, carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.pacing import pause
from janusjit.transform.facts import exact_key, is_pure

#: scalars that are selected in the place of one branch, at most
_SELECTED = 4


def join_alike_arms(graph: Graph) -> int:
    """Replace branches whose arms are alike by what their arms do; return how many."""
    carried = carried_guards(graph)
    joined = _join(graph.body, Substitution())
    drop_guards(graph, carried)
    return joined


def _join(region: Region, substitution: Substitution) -> int:
    kept: list[Node] = []
    joined = 0
    for node in region.nodes:
        pause()
        substitution.apply(node)
        joined += sum(_join(inner, substitution) for inner in node.regions)
        found = _Pairing(node, substitution).joined() if node.op == "if" else None
        if found is None:
            kept.append(node)
        else:
            kept += found
            joined += 1
    region.nodes = kept
    return joined


class _Pairing:
    """What the arms of a branch do, side by side."""

    def __init__(self, branch: Node, substitution: Substitution) -> None:
        self._branch = branch
        self._substitution = substitution
        self._one_for: dict[Value, Value] = {}
        self._selected: dict[tuple[Value, Value], Value] = {}
        self._nodes: list[Node] = []

    def joined(self) -> list[Node] | None:
        """Return the nodes that do what either arm does, and let their results stand for the branch's; else None."""
        (*ours, our_end), (*theirs, their_end) = (arm.nodes for arm in self._branch.regions)
        if our_end.op != "yield" or their_end.op != "yield":
            return None
        self._nodes = [node for node in (*ours, *theirs) if node.op == "constant"]
        ours, theirs = ([node for node in arm if node.op != "constant"] for arm in (ours, theirs))
        if not ours or len(ours) != len(theirs):
            return None
        changed: list[tuple[Node, tuple[Value, ...]]] = []
        for one, other in zip(ours, theirs, strict=True):
            inputs = self._together(one.inputs, other.inputs) if _are_alike(one, other) else None
            if inputs is None:
                return None
            self._one_for.update(zip(other.results, one.results, strict=True))
            self._nodes.append(one)
            changed.append((one, inputs))
        results = self._together(our_end.inputs, their_end.inputs)
        if results is None or len(self._selected) > _SELECTED:
            return None
        for node, inputs in changed:
            node.inputs = inputs
        self._substitution.update(self._branch.results, results)
        return self._nodes

    def _together(self, ours: tuple[Value, ...], theirs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        """Return for each pair the value that is whichever the condition selects; None if one is of two arrays."""
        if len(ours) != len(theirs):
            return None
        found: list[Value] = []
        for one, other in zip(ours, theirs, strict=True):
            if one is other or self._one_for.get(other) is one or _is_same_constant(one, other):
                found.append(one)
            elif one.type == other.type and not one.type.shape:
                found.append(self._select(one, self._one_for.get(other, other)))
            else:
                return None
        return tuple(found)

    def _select(self, one: Value, other: Value) -> Value:
        if (one, other) not in self._selected:
            inputs = (self._branch.inputs[0], one, other)
            node = Node("where", inputs, (one.type,), {}, self._branch.span)
            self._nodes.append(node)
            self._selected[one, other] = node.result
        return self._selected[one, other]


def _are_alike(one: Node, other: Node) -> bool:
    """Whether two nodes belong to one instruction and do the same to what they are given."""
    return (
        one.op == other.op
        and is_pure(one)
        and is_pure(other)
        and one.span == other.span
        and type(one.span) is type(other.span)
        and [value.type for value in one.results] == [value.type for value in other.results]
        and [value.type for value in one.inputs] == [value.type for value in other.inputs]
        and _meaning(one) == _meaning(other)
    )


def _meaning(node: Node) -> list[tuple[str, object]]:
    return [(name, exact_key(item)) for name, item in sorted(node.attributes.items())]


def _is_same_constant(one: Value, other: Value) -> bool:
    first, second = one.node, other.node
    if first is None or second is None or first.op != "constant" or second.op != "constant":
        return False
    return one.type == other.type and _meaning(first) == _meaning(second)
