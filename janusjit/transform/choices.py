"""Branches that only choose numbers, as choices.

Owns `choose_without_branches`. A branch in a loop over elements that divides, or takes a root, where that may be
done, and stores what came of it, is done without a branch: for elements that are not concerned it computes with an
operand that meets no error, and throws the result away. So the loop is vector code. Invariants: no operation meets a
floating-point error that it would not have met, which LLVM, to whom such errors are nothing, must not see through; and
nothing is read that is not known to be there.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.ir.builder import Substitution
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.types import TensorType
from janusjit.ops.indexing import Operand, Pick
from janusjit.pacing import pause
from janusjit.spans import Span
from janusjit.transform.facts import is_elementwise, is_pure, may_warn

#: the operand that is 1 where an operation is done for nobody: then it meets no error
_HARMLESS = {"add": 0, "subtract": 0, "multiply": 0, "divide": 1, "sqrt": 0}
#: what LLVM does not do of its own accord for elements that are not concerned: that would meet errors
_WORTHWHILE = frozenset({"divide", "sqrt"})
#: operations in both arms, at most
_MOST = 12


def choose_without_branches(graph: Graph) -> int:
    """Replace branches in loops that only choose numbers; return how many."""
    ones = _Ones()
    changed = _visit(graph.body, Substitution(), ones, in_loop=False)
    graph.body.nodes[:0] = ones.nodes
    return changed


class _Ones:
    """The number 1 of each type, and a truth, behind barriers at the beginning of the graph."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[str, Value] = {}

    def _constant(self, number: float, dtype: str, span: Span) -> Value:
        self.nodes.append(Node("constant", (), (TensorType(dtype),), {"value": number, "dtype": dtype}, span))
        return self.nodes[-1].result

    def of(self, dtype: str, span: Span) -> Value:
        """Return the number 1."""
        if dtype not in self._known:
            constant = self._constant(1.0, dtype, span)
            self.nodes.append(Node("barrier", (constant,), (constant.type,), {"number": 0}, span))
            self._known[dtype] = self.nodes[-1].result
        return self._known[dtype]

    def truth(self, span: Span) -> Value:
        """Return what is true."""
        if "bool" not in self._known:
            compared = (self.of("f64", span), self._constant(0.0, "f64", span))
            self.nodes.append(Node("greater", compared, (TensorType("bool"),), {}, span))
            self._known["bool"] = self.nodes[-1].result
        return self._known["bool"]


def _visit(region: Region, substitution: Substitution, ones: _Ones, in_loop: bool) -> int:
    kept: list[Node] = []
    changed = 0
    for node in region.nodes:
        pause()
        substitution.apply(node)
        changed += sum(_visit(inner, substitution, ones, in_loop or node.op == "loop") for inner in node.regions)
        found = _Choice(node, kept, ones).nodes(substitution) if in_loop and node.op == "if" else None
        kept += [node] if found is None else found
        changed += found is not None
    region.nodes = kept
    return changed


class _Choice:
    """One branch, behind what is done ``before`` it in its region."""

    def __init__(self, branch: Node, before: Sequence[Node], ones: _Ones) -> None:
        self._branch, self._before, self._ones = branch, before, ones
        self._arms = [arm.nodes[:-1] for arm in branch.regions]
        self._made: list[Node] = []
        self._conditions: dict[int, Value] = {}

    def nodes(self, substitution: Substitution) -> list[Node] | None:
        """Return the nodes that do without the branch, and let their results stand for its own; None if none can."""
        ends = [arm.terminator for arm in self._branch.regions]
        if not self._branch.results or any(end.op != "yield" for end in ends) or not self._is_possible():
            return None
        for arm, nodes in enumerate(self._arms):
            for node in nodes:
                self._made += [] if node.op == "update" else self._done_anyway(node, arm)
        chosen: list[Value] = []
        for ours, theirs in zip(*(end.inputs for end in ends), strict=True):
            if ours.type.rank and ours is not theirs:
                assert ours.node is not None and theirs.node is not None
                value = self._select(ours.node.inputs[1], theirs.node.inputs[1])
                ours.node.inputs = (ours.node.inputs[0], value, *ours.node.inputs[2:])
                self._made.append(ours.node)
                chosen.append(ours)
            else:
                chosen.append(self._select(ours, theirs))
        substitution.update(self._branch.results, chosen)
        return self._made

    def _is_possible(self) -> bool:
        nodes = [node for arm in self._arms for node in arm]
        worthwhile = any(node.op in _WORTHWHILE for node in nodes)
        if not worthwhile or len(nodes) > _MOST or not all(map(self._may_be_done, nodes)):
            return False
        updates = [[node for node in arm if node.op == "update"] for arm in self._arms]
        if not any(updates):
            return all(value.type.rank == 0 for value in self._branch.results)
        if any(len(some) != 1 for some in updates):
            return False
        ((ours,), (theirs,)) = updates
        pairs = zip(*(arm.terminator.inputs for arm in self._branch.regions), strict=True)
        arrays = [pair for pair in pairs if pair[0].type.rank]
        same_place = _place(ours) == _place(theirs) and ours.inputs[1].type == theirs.inputs[1].type
        return same_place and arrays == [(ours.result, theirs.result)] and ours.inputs[1].type.rank == 0

    def _may_be_done(self, node: Node) -> bool:
        """Return whether a node of an arm may be done, as it stands or with another operand, if it is not chosen."""
        if node.op == "update":
            return True
        if not is_pure(node) or any(value.type.rank for value in node.results):
            return False
        if node.op == "view":
            return self._is_there(node)
        silent = node.op == "constant" or (is_elementwise(node) and not may_warn(node))
        return silent or (node.op in _HARMLESS and node.result.type.is_float)

    def _is_there(self, view: Node) -> bool:
        """Return whether an element that a view picks exists: one of these numbers has been picked of such an array."""
        index = view.attributes["index"]
        if not all(isinstance(pick, Pick) and isinstance(pick.start, Operand) for pick in index):
            return False
        return any(
            node.op == "view"
            and node.attributes["index"] == index
            and node.inputs[1:] == view.inputs[1:]
            and node.inputs[0].type.shape == view.inputs[0].type.shape
            for node in self._before
        )

    def _done_anyway(self, node: Node, arm: int) -> list[Node]:
        """Return a node of an arm, behind the choice of an operand with which it does no harm."""
        if node.op not in _HARMLESS or not may_warn(node):
            return [node]
        position = _HARMLESS[node.op]
        operand = node.inputs[position]
        one = self._ones.of(operand.type.dtype, self._branch.span)
        choice = Node("where", (self._taken(arm), operand, one), (operand.type,), {}, self._branch.span)
        node.inputs = tuple(choice.result if i == position else value for i, value in enumerate(node.inputs))
        return [choice, node]

    def _taken(self, arm: int) -> Value:
        """Return whether an arm is taken, so that nobody sees that it is just the condition."""
        if arm not in self._conditions:
            condition, span = self._branch.inputs[0], self._branch.span
            if arm == 1:
                self._made.append(Node("logical_not", (condition,), (condition.type,), {}, span))
                condition = self._made[-1].result
            inputs = (condition, self._ones.truth(span))
            self._made.append(Node("logical_and", inputs, (condition.type,), {}, span))
            self._conditions[arm] = self._made[-1].result
        return self._conditions[arm]

    def _select(self, ours: Value, theirs: Value) -> Value:
        if ours is theirs:
            return ours
        node = Node("where", (self._branch.inputs[0], ours, theirs), (ours.type,), {}, self._branch.span)
        self._made.append(node)
        return node.result


def _place(update: Node) -> tuple[object, ...]:
    """Return what says where an update stores."""
    return (update.inputs[0], update.inputs[2:], repr(update.attributes.get("path")))
