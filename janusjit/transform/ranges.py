"""What whole numbers can be where control comes to them, and what that decides.

Owns `decide_by_ranges`. The counter of a loop, what is computed of it, and what branches have found out about either
are followed as intervals: so an index known to be within its array is not compared with the array's size in every
turn, and a number that cannot overflow is not looked at. Invariant: an interval holds whatever a call brings. That of a
number carried round a loop is guessed, and believed only if every turn that begins within it hands on one within it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from janusjit.ir.builder import Substitution, carried_guards, drop_guards
from janusjit.ir.graph import Graph, Node, Region, Value
from janusjit.ir.types import TensorType
from janusjit.pacing import pause
from janusjit.transform.facts import constant_of
from janusjit.transform.fold import fold_constants

Interval = tuple[int, int]

_LEAST, _MOST = -(2**63), 2**63 - 1
_FULL: Interval = (_LEAST, _MOST)
_PLAIN = {f"checked_{name}": name for name in ("add", "subtract", "multiply")}
#: comparisons as what is less than what; of ``less_equal`` the negation is, the other way round
_MIRRORED = {"greater": "less", "greater_equal": "less_equal"}
_LEAVING = frozenset({"continue", "break", "unreachable"})
_COMPARISONS = frozenset({"less", "less_equal", "equal", "not_equal", *_MIRRORED})


def decide_by_ranges(graph: Graph) -> int:
    """Replace comparisons that are known beforehand, and operations that cannot fail; return how many."""
    if not any(node.op == "loop" for node in graph.walk()):
        return 0
    analysis = _Analysis()
    analysis.region(graph.body)
    if not analysis.decided and not analysis.harmless:
        return 0
    carried = carried_guards(graph)
    _replace(graph.body, analysis, Substitution())
    drop_guards(graph, carried)
    fold_constants(graph)
    return len(analysis.decided) + len(analysis.harmless)


def _replace(region: Region, analysis: _Analysis, substitution: Substitution) -> None:
    nodes, region.nodes = region.nodes, []
    for node in nodes:
        substitution.apply(node)
        new = node
        if node in analysis.decided:
            value = analysis.decided[node]
            new = Node("constant", (), (TensorType("bool"),), {"value": value, "dtype": "bool"}, node.span)
        elif node in analysis.harmless:
            types = tuple(result.type for result in node.results)
            new = Node(_PLAIN[node.op], node.inputs, types, {}, node.span)
        if new is not node:
            substitution.update(node.results, new.results)
        for inner in node.regions:
            _replace(inner, analysis, substitution)
        region.nodes.append(new)
        if node.op == "where" and (condition := node.inputs[0].node) is not None and condition.op == "constant":
            substitution.update(node.results, [node.inputs[1 if condition.attributes["value"] else 2]])


@dataclass
class _Analysis:
    """The intervals where control is, and what they have decided so far."""

    decided: dict[Node, bool] = field(default_factory=dict)
    harmless: set[Node] = field(default_factory=set)
    _known: dict[Value, Interval] = field(default_factory=dict)
    _truths: dict[Value, bool] = field(default_factory=dict)
    _ends: list[tuple[Node, list[Interval]]] = field(default_factory=list)

    def of(self, value: Value) -> Interval:
        """Return what a whole number can be here."""
        known = self._known.get(value)
        if known is None:
            constant = constant_of(value) if value.type.dtype == "i64" else None
            known = _FULL if constant is None else (constant, constant)
        return known

    def region(self, region: Region, condition: Value | None = None, holds: bool = True) -> list[Interval]:
        """Go through a region, which is come to where a condition holds, or does not; return what it yields."""
        known, truths = self._known, self._truths
        self._known, self._truths = dict(known), dict(truths)
        if condition is not None:
            self._learn(condition, holds)
        yielded: list[Interval] = []
        for node in region.nodes:
            pause()
            self._visit(node)
            if node.op in ("yield", "continue", "break"):
                yielded = [self.of(value) for value in node.inputs]
                if node.op != "yield":
                    self._ends.append((node, yielded))
        self._known, self._truths = known, truths
        return yielded

    def _visit(self, node: Node) -> None:
        if node.op == "if":
            self._branch(node)
        elif node.op == "loop":
            self._loop(node)
        elif node.op == "guard":
            self._learn(node.inputs[0], True)
        elif node.op == "succeeded":
            self.decided.pop(node, None)
            if node.inputs[0].node in self.harmless:
                self.decided[node] = True
        elif len(node.results) == 1 and not node.result.type.rank:
            self._number(node)

    # -- numbers

    def _number(self, node: Node) -> None:
        truth = self._truth(node)
        if truth is not None:
            self.decided[node] = self._truths[node.result] = truth
        elif node.result.type.dtype == "i64" and node.op in _INTERVALS:
            if node.op == "where":
                self._known[node.result] = self._selected(node)
                return
            if any(value.type.dtype != "i64" or value.type.rank for value in node.inputs):
                return
            found = _INTERVALS[node.op](*map(self.of, node.inputs))
            fits = found[0] >= _LEAST and found[1] <= _MOST
            if node.op in _PLAIN:
                found = (max(found[0], _LEAST), min(found[1], _MOST))  # or it has failed
                if fits:
                    self.harmless.add(node)
                else:
                    self.harmless.discard(node)
            self._known[node.result] = found if fits or node.op in _PLAIN else _FULL

    def _selected(self, node: Node) -> Interval:
        condition, *arms = node.inputs
        truth = self._truths.get(condition)
        if truth is not None:
            return self.of(arms[0 if truth else 1])
        return _union(self.of(arms[0]), self.of(arms[1]))

    def _truth(self, node: Node) -> bool | None:
        """Return what a condition is known to be."""
        self.decided.pop(node, None)
        if node.op == "constant":
            return None
        if node.op == "is_defined":
            if (plain := _PLAIN.get(node.attributes["of"])) is None:
                return None
            low, high = _INTERVALS[plain](*map(self.of, node.inputs))
            return True if low >= _LEAST and high <= _MOST else None
        if node.op in ("logical_and", "logical_or") and node.result.type.dtype == "bool":
            return self._connected(node)
        if node.op not in _COMPARISONS or any(v.type.dtype != "i64" or v.type.rank for v in node.inputs):
            return None
        return _compared(node.op, *map(self.of, node.inputs))

    def _connected(self, node: Node) -> bool | None:
        truths = [self._truths.get(value, constant_of(value)) for value in node.inputs]
        decisive = node.op == "logical_or"
        if any(truth is decisive for truth in truths):
            return decisive
        return not decisive if all(truth is (not decisive) for truth in truths) else None

    def _foreseen(self, value: Value, depth: int = 4) -> Interval:
        """Return what a number probably can be that control may not have come to."""
        node = value.node
        if value in self._known or node is None or node.op not in _INTERVALS or node.op == "where" or not depth:
            return self.of(value)
        low, high = _INTERVALS[node.op](*(self._foreseen(given, depth - 1) for given in node.inputs))
        return max(low, _LEAST), min(high, _MOST)

    # -- control flow

    def _learn(self, condition: Value, holds: bool) -> None:
        """Take into account that a condition holds here, or does not."""
        self._truths[condition] = holds
        node = condition.node
        if node is None:
            return
        if node.op == "logical_not":
            self._learn(node.inputs[0], not holds)
        elif (node.op == "logical_and" and holds) or (node.op == "logical_or" and not holds):
            for value in node.inputs:
                self._learn(value, holds)
        elif node.op in _COMPARISONS and all(v.type.dtype == "i64" and not v.type.rank for v in node.inputs):
            self._compare(node.op, node.inputs[0], node.inputs[1], holds)

    def _compare(self, op: str, left: Value, right: Value, holds: bool) -> None:
        if op in _MIRRORED:
            op, left, right = _MIRRORED[op], right, left
        if op in ("less", "less_equal") and not holds:
            op, left, right = "less_equal" if op == "less" else "less", right, left
        (low, high), (other_low, other_high) = self.of(left), self.of(right)
        if op in ("less", "less_equal"):
            gap = 1 if op == "less" else 0
            self._known[left] = (low, min(high, other_high - gap))
            self._known[right] = (max(other_low, low + gap), other_high)
        elif (op == "equal") is holds:
            self._known[left] = self._known[right] = (max(low, other_low), min(high, other_high))

    def _branch(self, node: Node) -> None:
        (condition,) = node.inputs
        found = [self.region(arm, condition, holds) for arm, holds in zip(node.regions, (True, False), strict=True)]
        yields = [arm.terminator.op == "yield" for arm in node.regions]
        if yields in ([True, False], [False, True]):
            self._learn(condition, yields[0])
        arms = [arm for arm, comes in zip(found, yields, strict=True) if comes]
        for position, result in enumerate(node.results):
            if arms and all(len(arm) > position for arm in arms):
                low, high = zip(*(arm[position] for arm in arms), strict=True)
                self._known[result] = (min(low), max(high))

    def _loop(self, node: Node) -> None:
        """Go through a loop's body with guesses of what it carries, which are given up until they are confirmed."""
        (body,) = node.regions
        guesses = dict(_guesses(node, self._foreseen))
        while True:
            before, self._ends = self._ends, []
            known = self._known
            self._known = dict(known)
            for position, guess in guesses.items():
                self._known[body.parameters[position]] = guess
            self.region(body)
            self._known = known
            ends, self._ends = self._ends, before
            wrong = {
                position
                for position, (low, high) in guesses.items()
                for end, values in ends
                if end.op == "continue" and not (low <= values[position][0] and values[position][1] <= high)
            }
            if not wrong:
                break
            for position in wrong:
                del guesses[position]
        for position, result in enumerate(node.results):
            left = [values[position] for end, values in ends if end.op == "break"]
            if left:
                self._known[result] = (min(low for low, _ in left), max(high for _, high in left))


def _guesses(loop: Node, of: Callable[[Value], Interval]) -> Iterator[tuple[int, Interval]]:
    """Yield positions of carried numbers that count upwards, with what they may be."""
    (body,) = loop.regions
    for position, parameter in enumerate(body.parameters):
        if parameter.type.dtype == "i64" and not parameter.type.rank:
            low, high = of(loop.inputs[position])
            limits = [limit for limit in _limits(body, parameter, of) if limit < _MOST]
            if limits:
                yield position, (low, max(high, min(limits)))


def _limits(body: Region, parameter: Value, of: Callable[[Value], Interval]) -> Iterator[int]:
    """Yield what a number that a loop carries, or the number after it, is compared with to leave the loop."""
    for node in body.nodes:
        leaves = node.op == "if" and any(arm.terminator.op in _LEAVING for arm in node.regions)
        condition = node.inputs[0].node if leaves else None
        if condition is None or condition.op not in ("less", "less_equal") or condition.inputs[1].type.rank:
            continue
        compared, limit = condition.inputs
        after = compared.node
        if compared is parameter:
            yield of(limit)[1] + (condition.op == "less_equal")
        elif after is not None and after.op in ("add", "checked_add") and parameter in after.inputs:
            yield of(limit)[1] - (condition.op == "less")


def _union(one: Interval, other: Interval) -> Interval:
    return min(one[0], other[0]), max(one[1], other[1])


def _compared(op: str, left: Interval, right: Interval) -> bool | None:
    """Return what a comparison gives for all numbers of two intervals, if that is the same for all."""
    if op in _MIRRORED:
        op, left, right = _MIRRORED[op], right, left
    (low, high), (other_low, other_high) = left, right
    if op in ("less", "less_equal"):
        if high < other_low or (op == "less_equal" and high <= other_low):
            return True
        return False if low > other_high or (op == "less" and low >= other_high) else None
    if low == high == other_low == other_high:
        return op == "equal"
    return op != "equal" if high < other_low or low > other_high else None


def _product(left: Interval, right: Interval) -> Interval:
    corners = [a * b for a in left for b in right]
    return min(corners), max(corners)


def _quotient(left: Interval, right: Interval) -> Interval:
    return (left[0] // right[0], left[1] // right[0]) if right[0] == right[1] > 0 else _FULL


def _remainder(_: Interval, right: Interval) -> Interval:
    return (0, right[1] - 1) if right[0] > 0 else _FULL


_INTERVALS: dict[str, Callable[..., Interval]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "subtract": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "multiply": _product,
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "where": _union,
    "floor_divide": _quotient,
    "checked_floor_divide": _quotient,
    "remainder": _remainder,
    "checked_remainder": _remainder,
}
_INTERVALS |= {checked: _INTERVALS[plain] for checked, plain in _PLAIN.items()}
