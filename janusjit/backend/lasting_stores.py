"""Which elements that loops store are still there when the loop is left.

Owns `lasting_kernels`. What is stored has to have been computed, even if it is overwritten in the next turn, for the
sake of the floating-point flags; LLVM would leave that out. Invariant: where it is not made sure of that a number is
computed in its turn, it is stored where nothing is stored again before all of memory is looked at behind the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from janusjit.backend.element_updates import part_size
from janusjit.backend.fused import FusedKernel
from janusjit.backend.plan import UPDATES, FusedStep, Plan
from janusjit.ir.graph import Graph, Node, Region, Value, walk
from janusjit.ops.indexing import Operand, Pick
from janusjit.transform.facts import constant_of, may_warn

#: that many definitions are looked through
_DEPTH = 8
_ENDS = ("yield", "continue", "break")


#: arithmetic that is done although nobody wants its result, if that is quicker: it meets errors with huge numbers only
_GUESSED = frozenset({"add", "subtract", "multiply"})


def lasting_kernels(
    plan: Plan, kernels: Mapping[FusedStep, FusedKernel], may_guess: bool = False
) -> list[FusedKernel]:
    """Return the kernels of the steps that do nothing but updates that are `elsewhere_each_turn`."""
    updates = elsewhere_each_turn(plan.graph, may_guess)
    return [kernel for step, kernel in kernels.items() if updates and updates.issuperset(step.nodes)]


def elsewhere_each_turn(graph: Graph, may_guess: bool = False) -> frozenset[Node]:
    """Return the updates of single elements that no later turn of the innermost loop around them writes over.

    All of what is stored is computed then, without being made sure of in every turn. Where branches choose a number,
    that is made sure of, unless what they compute can do no harm where it is not chosen. That is arithmetic that can
    meet no error; and where the call can be given up for an error that Python does not meet, which it then
    `may_guess`, also what does not meet one as a rule.
    """
    found: set[Node] = set()
    users: dict[Value, list[Node]] = {}
    for node in graph.walk():
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    for loop in graph.walk():
        if loop.op == "loop":
            (body,) = loop.regions
            if not all(_is_harmless(node, may_guess) for node in _chosen(body)):
                continue
            counters = set(_counters(body, users))
            inside = set(_without_loops(body))
            for position in range(len(body.parameters)):
                updates = _updates(body, position, users, inside)
                indices = [list(_indices(node)) for node in updates]
                if all(any(_is_counted(i, counters, body, inside) for i in each) for each in indices):
                    found |= updates
    return frozenset(found)


def _without_loops(region: Region) -> Iterator[Node]:
    """Yield the nodes of a loop's body, and those of branches in it, but not those of inner loops."""
    for node in region.nodes:
        yield node
        if node.op == "if":
            for arm in node.regions:
                yield from _without_loops(arm)


def _chosen(body: Region) -> Iterator[Node]:
    """Yield what branches compute of which a result is chosen."""
    for node in _without_loops(body):
        if node.op == "if" and node.results:
            for arm in node.regions:
                yield from walk(arm)


def _is_harmless(node: Node, may_guess: bool) -> bool:
    """Return whether a node of a branch may be done although the branch is not taken."""
    if node.op in ("if", *_ENDS) or not may_warn(node):
        return True
    is_rounded = node.op == "cast" and node.result.type.is_float
    return may_guess and (is_rounded or node.op in _GUESSED)


def _counters(body: Region, users: dict[Value, list[Node]]) -> Iterator[Value]:
    """Yield the numbers that each turn of a loop hands on with one and the same number added."""
    ends = [end for end in _ends(body) if end.op == "continue"]
    for position, parameter in enumerate(body.parameters):
        if parameter.type.dtype == "i64" and not parameter.type.rank and parameter in users:
            following = {end.inputs[position] for end in ends}
            made = next(iter(following)).node if len(following) == 1 else None
            if made is not None and made.op in ("add", "checked_add") and parameter in made.inputs:
                (added,) = [value for value in made.inputs if value is not parameter] or [parameter]
                if constant_of(added):
                    yield parameter


def _ends(region: Region) -> Iterator[Node]:
    """Yield the terminators of a loop's body, those of inner loops left out."""
    for node in region.nodes:
        if node.op == "if":
            for arm in node.regions:
                yield from _ends(arm)
    yield region.terminator


def _updates(body: Region, position: int, users: dict[Value, list[Node]], inside: set[Node]) -> set[Node]:
    """Return the updates of single elements of an array that a loop carries, if a turn does no others.

    They may be in branches; and one may overwrite what another has stored of the same element, if that was only copied.
    The next turn begins with what one of them has made, or with the array as it was.
    """
    base = body.parameters[position]
    passed = _Passed(base)
    ends = [end for end in _ends(body) if end.op == "continue"]
    if base.type.rank == 0 or not all(passed.follow(end, position) for end in ends):
        return set()
    for version in passed.versions:
        for node in users.get(version, ()):
            is_update = node.op in UPDATES and node not in passed.updates
            ends_elsewhere = node.op in ("yield", "continue") and any(
                value is version and (node, place) not in passed.ways for place, value in enumerate(node.inputs)
            )
            if is_update or ends_elsewhere or node.op == "loop" or (node.op == "update" and version in node.inputs[1:]):
                return set()
    return passed.updates if inside.issuperset(passed.updates) else set()


class _Passed:
    """What becomes of an array in a turn of a loop: its versions, the updates that make them, and where they pass."""

    def __init__(self, base: Value) -> None:
        self._base = base
        self.versions, self.updates = {base}, set[Node]()
        self.ways: set[tuple[Node, int]] = set()

    def follow(self, end: Node, position: int, overwriting: Node | None = None) -> bool:
        """Note what a terminator hands on at a position; return whether it is a version of the array."""
        self.ways.add((end, position))
        return self._comes_from_base(end.inputs[position], overwriting)

    def _comes_from_base(self, value: Value, overwriting: Node | None) -> bool:
        """Return whether a value is a version of the array that an update may be ``overwriting``."""
        node = value.node
        if value is self._base:
            return True
        if node is None:
            return False
        self.versions.add(value)
        if node.op == "if":
            yields = [arm.terminator for arm in node.regions if arm.terminator.op == "yield"]
            return all(self.follow(one, value.index, overwriting) for one in yields)
        self.updates.add(node)
        is_single = node.op == "update" and part_size(node) == 1
        if not is_single or (overwriting is not None and not _is_lost_to_nobody(node, overwriting)):
            return False
        return self._comes_from_base(node.inputs[0], node)


def _is_lost_to_nobody(update: Node, following: Node) -> bool:
    """Return whether what an update stores may get lost as another one of the same element follows: it is a copy."""
    same = update.inputs[2:] == following.inputs[2:] and update.attributes["path"] == following.attributes["path"]
    stored = update.inputs[1].node
    return same and stored is not None and stored.op in ("constant", "view")


def _indices(update: Node) -> Iterator[Value]:
    """Yield the numbers that say which element an update sets, each along an axis of its own."""
    (step,) = update.attributes["path"] if len(update.attributes["path"]) == 1 else (None,)
    for pick in dict(step.attributes).get("index", ()) if step is not None and step.op == "view" else ():
        if isinstance(pick, Pick) and isinstance(pick.start, Operand):
            yield update.inputs[2 + pick.start.number]


def _is_counted(index: Value, counters: set[Value], body: Region, inside: set[Node], depth: int = _DEPTH) -> bool:
    """Return whether a number is another one in each turn: a counter and what stays as it is, added up."""
    if index in counters:
        return True
    node = index.node
    if node not in inside or not depth or node.op.removeprefix("checked_") not in ("add", "subtract"):
        return False
    counted = [_is_counted(value, counters, body, inside, depth - 1) for value in node.inputs]
    other = node.inputs[0 if counted[1] else 1]
    stays = constant_of(other) is not None or (other not in body.parameters and other.node not in inside)
    return counted[0] is not counted[1] and stays
