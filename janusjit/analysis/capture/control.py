"""Branches.

Owns `branch`, which decides between a guard and an ``if`` node and joins or splits the two paths, and the capture
rule of `If`. Invariant: after a fork the machine continues exactly one path; the others have ended in a terminator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from janusjit.analysis.capture.effort import SPLITS_OF_MESSAGES
from janusjit.analysis.capture.machine import Machine, executes
from janusjit.analysis.capture.merge import Arm, Merger
from janusjit.analysis.capture.protocols import truth
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable, Unwinding
from janusjit.analysis.capture.state import LoopEntry, State
from janusjit.analysis.capture.values import Scalar
from janusjit.analysis.core import Assert, If
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Node, Region, Value
from janusjit.ir.relaxations import OUTLINED
from janusjit.spans import Span

Continuation = Callable[[], None]


def site_key(machine: Machine, kind: str) -> tuple[str, str, str, int, int]:
    """Return the stable name of the present instruction, for relaxations and decisions."""
    frame = machine.frame
    return (kind, machine.span.file, frame.core.qualified_name, frame.core.span.line, machine.site)


@executes(If)
def execute_if(machine: Machine, instruction: If) -> None:
    """Follow one arm when the condition is known or speculated on, else both."""
    value = machine.hand_on(instruction.condition)
    condition = truth(machine, value)
    if isinstance(condition, bool):
        machine.push(instruction.then if condition else instruction.orelse)
        return
    sample = value.sample if isinstance(value, Scalar) and isinstance(value.sample, bool) else None
    if sample is not None and _recursing(machine):
        # forks would unfold a recursion without end; Python numbers tell how deep this call goes
        assume(machine, condition, sample, OUTLINED, "the recursion of this call")
        machine.push(instruction.then if sample else instruction.orelse)
        return
    branch(
        machine,
        condition,
        lambda: machine.push(instruction.then),
        lambda: machine.push(instruction.orelse),
    )


def _recursing(machine: Machine) -> bool:
    return sum(frame.core is machine.frame.core for frame in machine.state.frames) > 1


@executes(Assert)
def execute_assert(machine: Machine, instruction: Assert) -> None:
    """A failed assertion deoptimizes: Python evaluates the message and raises."""
    condition = truth(machine, machine.hand_on(instruction.condition))
    if condition is True:
        return
    if condition is False:
        raise machine.python_error(AssertionError, "")
    machine.require(condition, machine.guard("assert", machine.span.text or "assert", "true"))


def branch(machine: Machine, condition: Value, then: Continuation, orelse: Continuation) -> None:
    """Continue with ``then`` or ``orelse``, whichever the condition chooses at run time.

    A branch the profile saw go one way only becomes a guard; one that failed before or went both ways forks.
    """
    key = site_key(machine, "branch")
    counts = machine.profile.branch(machine.frame.code, machine.site)
    decision = machine.decisions.get(key)
    one_sided = (counts.true == 0) != (counts.false == 0)
    if decision == "guard" and key in machine.relaxations and not (counts.true or counts.false):
        raise machine.unsupported("python.branch", machine.span.text or "if", "which way it goes varies")
    if decision == "guard" or (one_sided and key not in machine.relaxations):
        assume(machine, condition, counts.true >= counts.false, key, str(counts.evidence))
        (then if counts.true >= counts.false else orelse)()
        return
    fork(machine, condition, then, orelse, key, (counts.true, counts.false), decision == "split")


def assume(machine: Machine, condition: Value, expected: bool, key: Any, evidence: str) -> None:
    """Guard that a condition has the value the profile saw."""
    text = machine.span.text or "condition"
    guard = machine.guard("branch", text, str(expected), key, evidence)
    machine.require(condition if expected else machine.emit("logical_not", condition), guard)


def fork(
    machine: Machine,
    condition: Value,
    then: Continuation,
    orelse: Continuation,
    key: Any,
    counts: tuple[int, int],
    split: bool,
    relaxable: bool = True,
) -> None:
    """Follow both paths in the two regions of an ``if`` node, then join them or let them end separately.

    A path that was never taken, by ``counts``, and cannot be captured is one that Python takes: until it has been
    taken, or for ever if that is not ``relaxable``. Where neither can be captured, Python takes what is around them.
    """
    if split and machine.nested:
        raise PoisonUsed(key, "a rule of capture goes on after the join")
    if split:
        machine.effort.split(machine, machine.state)
    machine.forks += 1
    outer, origin, span, site = machine.region, machine.state, machine.span, machine.site
    stop = origin.depth
    arms: list[Arm] = []
    failures: list[CaptureFailure] = []
    for start, count in zip((then, orelse), counts, strict=True):
        arm = Arm(machine.recorded.nested(outer, len(machine.births)), origin.fork())
        arms.append(arm)
        machine.state, machine.region, machine.span, machine.site = arm.state, arm.region, span, site  # type: ignore[assignment]
        unseen = ("unseen", *key[1:], start is then)
        needed = count > 0 or (relaxable and unseen in machine.relaxations)
        optional = None if needed else _Unseen(unseen if relaxable else None)
        failure = _start(machine, arm, start, (0, 0) if split else stop, optional)
        failures += [] if failure is None else [failure]
    if len(failures) == len(arms):
        raise failures[0]
    _settle(machine, arms, key)
    machine.region, machine.span, machine.site = outer, span, site
    if machine.effort.splits >= SPLITS_OF_MESSAGES:
        _check_effects(origin, arms)
    _join(machine, outer, condition, arms, key, span, origin)


def _check_effects(origin: State, arms: list[Arm]) -> None:
    """Refuse a branch in an unrolled loop whose arms leave effects of their own: Python had better see to those.

    Each turn leaves another path that nothing joins with the others.
    """
    first, second = ([] if arm.state is None else arm.state.effects for arm in arms)
    if any(arm.state is None for arm in arms) or not any(
        isinstance(entry, LoopEntry) for frame in origin.frames for entry in frame.blocks
    ):
        return
    for call in (*first, *second):
        if (call not in first or call not in second) and call.by_python is not None:
            raise call.by_python


@dataclass(frozen=True, slots=True)
class _Unseen:
    """A path that was never taken; ``relaxation`` is the key by which it is known that it has been."""

    relaxation: Any


def _start(
    machine: Machine, arm: Arm, start: Continuation, stop: tuple[int, int], unseen: _Unseen | None
) -> CaptureFailure | None:
    """Run one arm; one that is ``unseen`` and cannot be captured becomes a deoptimization, and the reason is returned.

    A failure of a loop around the branch is none of the arm.
    """
    span, site = machine.span, machine.site
    around = {getattr(entry, "instruction", None) for frame in machine.state.frames for entry in frame.blocks} - {None}
    try:
        start()
        machine.run(stop)
        arm.state = machine.state
    except Terminated:
        arm.state = None
    except PythonRaise as raised:
        _raise_in_arm(machine, arm, raised)
    except CaptureFailure as failure:
        if unseen is None or failure.instruction in around:
            raise
        machine.span, machine.site = span, site
        arm.region.nodes.clear()
        machine.region, arm.state = arm.region, None
        expected = f"the branch not seen before ({failure.reason})"
        machine.fail("branch", span.text or "condition", expected, unseen.relaxation)
        return failure
    return None


def _raise_in_arm(machine: Machine, arm: Arm, raised: PythonRaise) -> None:
    """An exception leaves the arm through an invoked frame: only Python can go on from there."""
    machine.fail("python.exception", f"raise {raised.type_.__name__}", "no exception")
    arm.state = None


def _resume(machine: Machine, arm: Arm, stop: tuple[int, int]) -> None:
    assert arm.state is not None
    machine.state, machine.region = arm.state, arm.region
    try:
        machine.run(stop)
    except Terminated:
        arm.state = None
    else:
        arm.state = machine.state


def _settle(machine: Machine, arms: list[Arm], key: Any) -> None:
    """Run the arms on until those alive stand at the same control position."""
    while True:
        alive = [arm for arm in arms if arm.state is not None]
        if len(alive) < 2:
            return
        first, second = (arm.state.depth for arm in alive)  # type: ignore[union-attr]
        if first == second:
            return
        deeper = alive[0] if first > second else alive[1]
        _resume(machine, deeper, min(first, second))


def _join(
    machine: Machine, outer: Region, condition: Value, arms: list[Arm], key: Any, span: Span, origin: State
) -> None:
    roots = list(arms)
    alive = [arm for arm in roots if arm.state is not None]
    if len(alive) == 2:
        _merge_both(machine, outer, condition, arms, key, span, origin)
        return
    regions = []
    for arm in roots:
        region = arm.region
        if arm.state is not None:
            region = Region()
            region.nodes.append(Node("yield", span=span))
        regions.append(region)
    machine.append(Node("if", (condition,), (), {}, span, tuple(regions)))
    if not alive:
        machine.region.nodes.append(Node("unreachable", span=span))
        raise Terminated
    outer.nodes.extend(alive[0].region.nodes)
    machine.state = alive[0].state  # type: ignore[assignment]


def _merge_both(
    machine: Machine, outer: Region, condition: Value, arms: list[Arm], key: Any, span: Span, origin: State
) -> None:
    merger = Merger(machine, arms, key)
    try:
        merged = merger.merge()
    except Unmergeable as difference:
        if machine.nested:
            raise PoisonUsed(key, str(difference)) from difference
        machine.effort.split(machine, origin)
        for arm in arms:
            _resume(machine, arm, (0, 0))
        machine.region = outer
        _join(machine, outer, condition, arms, key, span, origin)
        return
    for position, arm in enumerate(arms):
        arm.region.nodes.append(Node("yield", tuple(slot.values[position] for slot in merger.slots), span=span))
    node = Node("if", (condition,), (), {}, span, tuple(arm.region for arm in arms))
    bind_results(machine, node, merger)
    machine.append(node)
    machine.state = merged


def bind_results(machine: Machine, node: Node, merger: Merger) -> None:
    """Make the slots' result values the results of a node."""
    node.results = tuple(slot.result for slot in merger.slots)
    for index, value in enumerate(node.results):
        value.definition, value.index = node, index


__all__ = ["Unwinding", "assume", "bind_results", "branch", "fork", "site_key"]
