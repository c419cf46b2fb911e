"""The rewrite engine.

Owns `rewrite`, which applies the rules that `janusjit.transform.rules` lists. Invariants: a node is replaced by one of
the same type, with the location of the node it stands for; nodes that returned views rely on are left alone; each node
is looked at once, and each node a rule makes once more, so the cost is linear.
"""

from __future__ import annotations

from collections.abc import Iterable

from janusjit.ir.builder import Substitution, carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.types import TensorType
from janusjit.ops.type_rules import TypeRuleError
from janusjit.pacing import pause
from janusjit.spans import NotedSpan
from janusjit.transform.facts import pinned_nodes
from janusjit.transform.patterns import Apply, Bindings, Number, Operation, Pattern, Variable, evaluate, match
from janusjit.transform.rules import FUNCTIONS, RULES, Rule
from janusjit.transform.typed import infer


def rules_for(exact: bool) -> tuple[Rule, ...]:
    """Return the rules that may be applied: all, or those that keep what ``exact=True`` promises."""
    return tuple(rule for rule in RULES if not exact or rule.exactness != "relaxed")


def rewrite(graph: Graph, rules: Iterable[Rule]) -> int:
    """Apply rules, earlier ones first, until none applies; return how often one did."""
    carried = carried_guards(graph)
    rewriter = _Rewriter(rules, pinned_nodes(graph))
    rewriter.region(graph.body)
    drop_guards(graph, carried)
    return rewriter.count


class _Rewriter:
    def __init__(self, rules: Iterable[Rule], pinned: set[Node]) -> None:
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.left.op, []).append(rule)
        self._pinned = pinned
        self._substitution = Substitution()
        self.count = 0

    def region(self, region: Region) -> None:
        nodes, region.nodes = region.nodes, []
        for node in nodes:
            pause()
            self._substitution.apply(node)
            self._node(node, region.nodes)
            for inner in node.regions:
                self.region(inner)

    def _node(self, node: Node, done: list[Node]) -> None:
        """Append ``node``, or the nodes of what it is rewritten to, to ``done``."""
        if node not in self._pinned:
            for rule in self._rules.get(node.op, ()):
                built = _apply(rule, node)
                if built is None:
                    continue
                made, replacement = built
                self.count += 1
                for new in made:
                    self._substitution.apply(new)
                    self._node(new, done)
                self._substitution.set(node.result, replacement)
                return
        done.append(node)


def _apply(rule: Rule, node: Node) -> tuple[list[Node], Value] | None:
    """Return the new nodes and the value that stands for the node's result, if the rule applies."""
    if node.guard is not None and not rule.drops_guard:
        return None
    bindings = match(rule.left, node.result, {})
    if bindings is None or bindings["x"].type.dtype not in rule.dtypes:
        return None
    if not all(condition.evaluate(bindings, FUNCTIONS) for condition in rule.conditions):
        return None
    made: list[Node] = []
    try:
        value = build(rule.right, bindings, node, made)
    except TypeRuleError:
        return None
    return (made, value) if value.type == node.result.type else None


def build(pattern: Pattern, bindings: Bindings, origin: Node, made: list[Node], dtype: str = "f64") -> Value:
    """Return the value a right side stands for; the nodes it needs are appended to ``made``.

    Parameters
    ----------
    pattern
        The right side, or a part of it.
    bindings
        What the names stand for.
    origin : Node
        The node whose location the new ones inherit.
    made : list of Node
        Receives the new nodes.
    dtype : str
        The element type of a number.

    Raises
    ------
    TypeRuleError
        If an operation is not defined for its inputs.
    """
    if isinstance(pattern, Variable):
        found: Value = bindings[pattern.name]
        return found
    if isinstance(pattern, (Number, Apply)):
        attributes = {"value": evaluate(pattern, bindings, FUNCTIONS), "dtype": dtype}
        made.append(Node("constant", (), (TensorType(dtype),), attributes, origin.span))
        return made[-1].result
    inputs = _build_inputs(pattern, bindings, origin, made, dtype)
    given = {name: evaluate(item, bindings, FUNCTIONS) for name, item in pattern.attributes}
    types = infer(pattern.op, tuple(value.type for value in inputs), given)
    span = NotedSpan.of(origin.span, is_replaced=True)
    made.append(Node(pattern.op, inputs, types, given, span))
    return made[-1].result


def _build_inputs(
    pattern: Operation, bindings: Bindings, origin: Node, made: list[Node], dtype: str
) -> tuple[Value, ...]:
    """Build values before numbers, which take the element type of the first value."""
    values: dict[int, Value] = {}
    numbers = [isinstance(item, (Number, Apply)) for item in pattern.inputs]
    for position in sorted(range(len(numbers)), key=lambda position: numbers[position]):
        values[position] = build(pattern.inputs[position], bindings, origin, made, dtype)
        dtype = values[position].type.dtype if not numbers[position] else dtype
    return tuple(values[position] for position in range(len(numbers)))
