"""When and where the arrays of a plan are read.

Owns `Scope`, `Read` and `Liveness`. Invariant: a read that execution may reach after a given step is never missed:
reads in the other arm of an ``if`` are the only later ones left out, and a read in a loop happens again at its next
turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from janusjit.backend.flag_checks import CHECK
from janusjit.backend.plan import (
    UPDATES,
    FusedStep,
    NodeStep,
    Plan,
    RegionStep,
    Step,
    element_inputs,
    may_fail,
    nodes_of,
    root,
)
from janusjit.ir.graph import Node, Value
from janusjit.pacing import pause


@dataclass(frozen=True, eq=False)
class Scope:
    """A region of the plan: the body, an arm of an ``if``, or the body of a ``loop``."""

    parent: Scope | None = None
    owner: RegionStep | None = None
    arm: int = 0

    def outward(self) -> Iterator[Scope]:
        """Yield this scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            pause()
            yield scope
            scope = scope.parent

    @property
    def is_loop(self) -> bool:
        """Whether this is the body of a loop."""
        return self.owner is not None and self.owner.node.op == "loop"

    def loops(self) -> Iterator[Scope]:
        """Yield the loop bodies this scope lies in, innermost first."""
        return (scope for scope in self.outward() if scope.is_loop)

    def within(self, outer: Scope) -> bool:
        """Return whether this scope is ``outer`` or lies in it."""
        return any(scope is outer for scope in self.outward())

    def excludes(self, other: Scope) -> bool:
        """Return whether the two lie in different arms of one ``if``."""
        arms = {scope.owner: scope.arm for scope in self.outward() if scope.owner is not None}
        return any(arms.get(s.owner, s.arm) != s.arm for s in other.outward() if s.owner is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A step reads an array: ``value`` itself or a view that is ``value``; ``as_base``, to update a part of it."""

    step: Step
    scope: Scope
    value: Value
    as_base: bool = False


class Liveness:
    """The reads of all arrays of a plan.

    Attributes
    ----------
    scopes : dict
        The scope of each step.
    defined_in : dict
        The scope that each value is defined in; the body, if it is not in the dictionary.
    reads : dict
        The reads of each array and of its views, by the array.
    """

    def __init__(self, plan: Plan) -> None:
        self.body = Scope()
        self.scopes: dict[Step, Scope] = {}
        self.defined_in: dict[Value, Scope] = {}
        self.reads: dict[Value, list[Read]] = {}
        self._invariant: dict[Value, Value] = {}
        self._visit(plan.steps, self.body)
        self._fails_after = _followed_by(plan.steps, may_fail)
        self._checked_after = _followed_by(plan.steps, lambda node: node.op == CHECK)

    def root(self, value: Value) -> Value:
        """Return the array whose memory ``value`` addresses; what a loop only passes on is what it began with."""
        value = root(value)
        while (initial := self._invariant.get(value)) is not None:
            value = root(initial)
        return value

    def passed_on(self, value: Value) -> Value | None:
        """Return what a loop began with, if ``value`` is a carried value that it only passes on."""
        return self._invariant.get(value)

    def scope_of(self, value: Value) -> Scope:
        """Return the scope a value is defined in."""
        return self.defined_in.get(value, self.body)

    def fails_after(self, step: Step) -> bool:
        """Return whether a guard may fail after ``step``, or while it runs again."""
        return self._fails_after[step]

    def is_checked_after(self, step: Step) -> bool:
        """Return whether a look at the floating-point flags may follow ``step``, or its next run."""
        return self._checked_after[step]

    def is_read_again(self, value: Value, step: Step, scope: Scope, after: int | None = None) -> bool:
        """Return whether the array ``value`` may be read after ``step``, which lies in ``scope``.

        ``after`` is the time of the step's own end, where that counts.
        """
        time = step.time if after is None else after
        defined = self.scope_of(value)
        around = [loop for loop in scope.loops() if not defined.within(loop)]
        for read in self.reads.get(value, ()):
            if read.step is step:
                continue
            if read.step.time > time and not read.scope.excludes(scope):
                return True
            if any(read.scope.within(loop) for loop in around):
                return True
        return False

    def may_follow(self, other: Step, step: Step, scope: Scope) -> bool:
        """Return whether ``other`` may run after ``step``, which lies in ``scope``, or in the next turn of a loop."""
        place = self.scopes[other]
        later = other.time > step.time and not place.excludes(scope)
        return later or any(place.within(loop) for loop in scope.loops())

    def last_use(self, value: Value) -> int:
        """Return the time until which ``value`` has to stay in memory; -1 if it is never read."""
        defined = self.scope_of(value)
        return max((self._end(read, defined) for read in self.reads.get(value, ())), default=-1)

    def _end(self, read: Read, defined: Scope) -> int:
        time = read.step.time
        for loop in read.scope.loops():
            if not defined.within(loop):
                assert loop.owner is not None
                time = loop.owner.end
        return time

    # -- gathering

    def _visit(self, steps: list[Step], scope: Scope) -> None:
        for step in steps:
            self.scopes[step] = scope
            for value in read_by(step):
                self.reads.setdefault(self.root(value), []).append(Read(step, scope, value))
            for value in bases_of(step):
                self.reads.setdefault(self.root(value), []).append(Read(step, scope, value, as_base=True))
            for node in nodes_of(step):
                self.defined_in.update((result, scope) for result in node.results)
            if isinstance(step, RegionStep):
                for arm, body in enumerate(step.bodies):
                    inner = Scope(scope, step, arm)
                    self._enter(step.node, arm, inner)
                    self._visit(body, inner)

    def _enter(self, node: Node, arm: int, inner: Scope) -> None:
        region = node.regions[arm]
        self.defined_in.update((parameter, inner) for parameter in region.parameters)
        if node.op == "loop":
            following = list(continues(node))
            for index, (parameter, initial) in enumerate(zip(region.parameters, node.inputs, strict=True)):
                if all(end.inputs[index] is parameter for end in following):
                    self._invariant[parameter] = initial


def _followed_by(steps: list[Step], wanted: Callable[[Node], bool]) -> dict[Step, bool]:
    """Return, for each step, whether a node that is wanted may be reached after it."""
    found: dict[Step, bool] = {}

    def visit(steps: list[Step], after: bool, around: bool) -> bool:
        for step in reversed(steps):
            op = step.node.op if isinstance(step, NodeStep) else ""
            if op in ("exit", "fail", "unreachable"):
                after = False
            elif op in ("break", "continue"):  # what stands behind them is not what follows
                after = around
            found[step] = after
            if isinstance(step, RegionStep) and step.node.op == "loop":
                after = found[step] = after or any(wanted(inner) for inner in step.walk_nodes())
                for body in step.bodies:
                    visit(body, after, after)
            elif isinstance(step, RegionStep):
                inside = [visit(body, after, around) for body in step.bodies]
                after = any(inside)
            else:
                after = after or any(wanted(node) for node in nodes_of(step))
        return after

    visit(steps, False, False)
    return found


def continues(loop: Node) -> Iterator[Node]:
    """Yield the terminators that begin the next turn of a loop."""
    return (node for node in _ends(loop) if node.op == "continue")


def breaks(loop: Node) -> Iterator[Node]:
    """Yield the terminators that leave a loop."""
    return (node for node in _ends(loop) if node.op == "break")


def _ends(loop: Node) -> Iterator[Node]:
    pending = list(loop.regions)
    while pending:
        for node in pending.pop().nodes:
            if node.op == "if":
                pending.extend(node.regions)
            yield node


def bases_of(step: Step) -> list[Value]:
    """Return the arrays a part of which a step updates."""
    return [
        node.inputs[0]
        for node in nodes_of(step)
        if node.op in UPDATES and node.attributes.get("path") != () and node.result.type.rank > 0
    ]


def read_by(step: Step) -> list[Value]:
    """Return the arrays a step reads, nested steps not included; what an update replaces a part of is not one."""
    if isinstance(step, FusedStep):
        read = [value for node in nodes_of(step) for value in element_inputs(node) if value not in step.values]
    else:
        (node,) = nodes_of(step)
        read = list(node.inputs[1:] if node.op in UPDATES else node.inputs)
    return [value for value in dict.fromkeys(read) if value.type.rank > 0]
