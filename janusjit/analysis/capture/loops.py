"""Loops.

Owns the capture rules of `For` and `While`: unrolling, and loops kept in the graph with their carried values found by
a fixed point. Invariant: a loop in the graph is entered with its first test known true (guarded or branched on
before), so its body runs at least once, and every way out of it carries what the code after it can see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from janusjit.analysis.capture import numbers
from janusjit.analysis.capture.containers import ITEM_AT
from janusjit.analysis.capture.control import assume, bind_results, fork, site_key
from janusjit.analysis.capture.growing import Growth, give_again, give_buffers, loop_is_over, turn_begins
from janusjit.analysis.capture.iteration import draw, has_next, next_item
from janusjit.analysis.capture.known_trips import assumable_range
from janusjit.analysis.capture.loop_commits import commit_turns
from janusjit.analysis.capture.machine import FINISH, Machine, executes
from janusjit.analysis.capture.merge import Arm, Merger
from janusjit.analysis.capture.protocols import truth
from janusjit.analysis.capture.settled_loops import Header, Recalled, holds
from janusjit.analysis.capture.signals import PoisonUsed, PythonRaise, Terminated, Unmergeable, Unwinding
from janusjit.analysis.capture.state import GraphLoopEntry, IteratorObject, LoopEntry, State, TestEntry
from janusjit.analysis.capture.suspension import REGIONS, commit_behind, suspend
from janusjit.analysis.capture.unrolling import PEEL_LIMIT, check_size, keeps_known_loop, suspends, too_long
from janusjit.analysis.capture.values import AbstractValue, HostValue, Known, RangeValue, Reference
from janusjit.analysis.continuation import BlockStep
from janusjit.analysis.core import Block, For, Instruction, While
from janusjit.errors import CaptureFailure
from janusjit.ir.graph import Node, Region, Value

_FIXED_POINT_LIMIT = 6
_EMPTY = Block()


@executes(While)
def execute_while(machine: Machine, instruction: While) -> None:
    """``while``: push the loop and test."""
    machine.frame.blocks.append(LoopEntry(_EMPTY, instruction=instruction))


@executes(For)
def execute_for(machine: Machine, instruction: For) -> None:
    """``for``: push the loop and test."""
    machine.frame.blocks.append(LoopEntry(_EMPTY, instruction=instruction))


def _finish_loop(machine: Machine, entry: LoopEntry) -> None:
    """The next iteration of a loop is due."""
    instruction = entry.instruction = machine.hosts.made.get((entry.instruction, "truth"), entry.instruction)
    machine.span, machine.site = instruction.span, instruction.site
    entry.iterations += 1
    if machine.nested == 0:
        machine.outermost = (len(machine.state.frames), instruction)
    recursion = machine.recursion
    separate = instruction in (machine.hosts.loops if recursion is None else recursion.loops)
    if not separate:
        check_size(machine, entry)
    if isinstance(instruction, For) and isinstance(machine.get(instruction.iterator), HostValue):
        raise _draw_by_python(machine, instruction)
    if separate:
        _finish_separate_turn(machine, entry)
        return
    if isinstance(instruction, For) and has_next(machine, machine.get(instruction.iterator)) is None:
        _draw_one(machine, instruction)
        return
    condition = test(machine, instruction)
    machine.span, machine.site = instruction.span, instruction.site
    if isinstance(condition, Value) and suspends(instruction.body):
        # a generator is resumed by rules that go on when it yields: the loop cannot be a node around them
        if not _fix_trip_count(machine, instruction):
            raise machine.unsupported(
                "python.generator", "yield", "how often the loop yields is known at run time only"
            )
        condition = test(machine, instruction)
    if condition is False:
        _leave(machine, instruction)
    elif condition is True and not keeps_known_loop(machine, entry):
        _begin_iteration(machine, instruction)
    else:
        _graph_loop(machine, entry, condition)


FINISH[LoopEntry] = _finish_loop


def _draw_by_python(machine: Machine, instruction: For) -> Terminated:
    """End the path where the next item comes from an iterator that capture cannot enter."""
    if machine.nested:
        raise machine.unsupported("python.iterator", "for", "an iterator that capture cannot enter is drawn from")
    steps = (BlockStep(instruction.body, 0),)
    return suspend(machine, "draw", instruction, "the iterator is Python's", "python.iterator", steps)


def _finish_separate_turn(machine: Machine, entry: LoopEntry) -> None:
    """The next turn is due of a loop whose turns are regions of their own: after one turn, commit."""
    instruction = entry.instruction
    if machine.nested:
        raise machine.unsupported("python.loop", "loop", "what the loop carries keeps changing kind")
    if entry.iterations > 1 and machine.recursion is not None:
        raise machine.recursion.turn(instruction)
    if entry.iterations > 1:
        raise suspend(machine, "commit", instruction, REGIONS, "python.loop")
    if isinstance(instruction, While):
        machine.frame.blocks.append(TestEntry(_EMPTY, instruction=instruction))
        machine.push(instruction.test)
        return
    assert isinstance(instruction, For)
    answer = has_next(machine, machine.get(instruction.iterator))
    if answer is None:
        _draw_one(machine, instruction)
    else:
        _turn_or_leave(machine, instruction, answer)


def _turn_or_leave(machine: Machine, instruction: Instruction, answer: bool | Value) -> None:
    """Begin the next turn or leave the loop; where only run time tells, both, apart from each other."""
    if isinstance(answer, Value):
        enter, leave = (lambda: _begin_iteration(machine, instruction)), (lambda: _leave_turns(machine, instruction))
        fork(machine, answer, enter, leave, site_key(machine, "trips"), (1, 1), True)
    elif answer:
        _begin_iteration(machine, instruction)
    else:
        _leave_turns(machine, instruction)


def _leave_turns(machine: Machine, instruction: Instruction) -> None:
    _leave(machine, instruction)
    commit_behind(machine, instruction)


def _finish_test(machine: Machine, entry: TestEntry) -> None:
    """The test of a ``while`` has run on the stack."""
    instruction = entry.instruction
    assert isinstance(instruction, While)
    machine.frame.blocks.pop()
    machine.span, machine.site = instruction.span, instruction.site
    _turn_or_leave(machine, instruction, truth(machine, machine.hand_on(instruction.condition)))


FINISH[TestEntry] = _finish_test


def _draw_one(machine: Machine, instruction: For) -> None:
    """Iterate over a generator or filter: the next item is found by running it."""
    item = draw(machine, machine.get(instruction.iterator))
    if item is None:
        _leave(machine, instruction)
    else:
        machine.set(instruction.target, item)
        machine.push(instruction.body)


def _leave(machine: Machine, instruction: Instruction) -> None:
    machine.frame.blocks.pop()
    machine.push(instruction.orelse)  # type: ignore[attr-defined]


def test(machine: Machine, instruction: Instruction) -> bool | Value:
    """Evaluate whether a loop goes on."""
    if isinstance(instruction, While):
        machine.run_block(instruction.test)
        machine.span, machine.site = instruction.span, instruction.site
        return truth(machine, machine.hand_on(instruction.condition))
    assert isinstance(instruction, For)
    answer = has_next(machine, machine.get(instruction.iterator))
    if answer is None:
        raise machine.unsupported("python.iterator", "for", "a generator's end is not known before it is drawn from")
    return answer


def _begin_iteration(machine: Machine, instruction: Instruction) -> None:
    if isinstance(instruction, For):
        reference = machine.get(instruction.iterator)
        iterator = machine.heap(reference) if isinstance(reference, Reference) else None
        if isinstance(iterator, IteratorObject) and iterator.kind == "objects":
            _begin_with_object(machine, instruction, iterator)
            return
        machine.set(instruction.target, next_item(machine, reference))
    machine.push(instruction.body)  # type: ignore[attr-defined]


def _begin_with_object(machine: Machine, instruction: For, iterator: IteratorObject) -> None:
    """Begin a turn with an item of a list or tuple that is known at run time only."""
    position, (source,) = iterator.position, iterator.sources
    iterator.position = numbers.binary(machine, "+", position, Known(1))

    def begin(value: AbstractValue) -> None:
        machine.set(instruction.target, value)
        machine.push(instruction.body)

    ITEM_AT[0][0](machine, source, position, begin)


# ---------------------------------------------------------------------- loops in the graph


@dataclass(slots=True)
class Arrival:
    """A control path that reached the end of a loop's body (``continue``) or left the loop (``break``)."""

    kind: str
    arm: Arm


@dataclass(slots=True)
class GraphLoop:
    """One attempt at capturing a loop body: the ways in which control arrived at its end.

    ``outer`` is the region the loop will stand in: what is emitted there now is computed before the loop. It is
    ``within_inner`` while the ``else`` of a loop inside it is captured: in the region of that loop, out of which
    nothing leads to the ends of this one.
    """

    instruction: Instruction
    outer: Region
    arrivals: list[Arrival] = field(default_factory=list)
    finishing: bool = False
    within_inner: bool = False

    def leave(self, machine: Machine, unwinding: Unwinding) -> None:
        """Control unwinds to the loop."""
        if unwinding.kind == "continue":
            machine.frame.blocks[-1].index = 0
            self.finish(machine)
        if unwinding.kind == "break":
            machine.frame.blocks.pop()
            self.arrive(machine, "break")
        if unwinding.kind == "raise":
            raised: PythonRaise = unwinding.value
            raise machine.fail("python.exception", f"raise {raised.type_.__name__}", "no exception")
        if len(machine.state.frames) == 1:
            machine.frame.blocks.pop()
            machine.unwind(unwinding)
            return
        raise machine.unsupported(
            "python.return", "return", "a called function returns out of a loop kept in the graph"
        )

    def arrive(self, machine: Machine, kind: str) -> None:
        """Record the present path as one that ends here, and end it."""
        self._refuse_jump(machine)
        self.arrivals.append(Arrival(kind, Arm(machine.region, machine.state)))
        raise Terminated

    def finish(self, machine: Machine) -> None:
        """The body has run: test whether the loop goes on."""
        self._refuse_jump(machine)
        condition = test(machine, self.instruction)
        if condition is True:
            self.arrive(machine, "continue")
        if condition is False:
            self._exhausted(machine)
        assert isinstance(condition, Value)
        going, leaving = (machine.recorded.nested(machine.region, len(machine.births)) for _ in range(2))
        node = Node("if", (condition,), (), {}, machine.span, (going, leaving))
        machine.append(node)
        machine.region.nodes.append(Node("unreachable", span=machine.span))
        stays, machine.state = machine.state, machine.state.fork()
        self.arrivals.append(Arrival("continue", Arm(going, stays)))
        machine.region = leaving
        self._exhausted(machine)

    def _exhausted(self, machine: Machine) -> None:
        machine.frame.blocks.pop()
        around = next((e.loop for e in reversed(machine.frame.blocks) if isinstance(e, GraphLoopEntry)), None)
        if around is not None:
            around.within_inner = True
        try:
            machine.run_block(self.instruction.orelse)  # type: ignore[attr-defined]
        finally:
            if around is not None:
                around.within_inner = False
        self.arrive(machine, "break")

    def _refuse_jump(self, machine: Machine) -> None:
        if self.within_inner:
            raise machine.unsupported("python.loop", "else", "the else of a loop goes on with one around it")


def _finish_graph_loop(machine: Machine, entry: GraphLoopEntry) -> None:
    entry.loop.finish(machine)


FINISH[GraphLoopEntry] = _finish_graph_loop


def _graph_loop(machine: Machine, entry: LoopEntry, condition: bool | Value) -> None:
    """Capture the loop that goes on if ``condition`` holds; fall back on unrolling where the trip count is known."""
    key = site_key(machine, "trips")
    if isinstance(condition, Value):
        skipped = machine.profile.trips(machine.frame.code, machine.site).minimum == 0
        if machine.decisions.get(key) != "guard" and (skipped or key in machine.relaxations):
            _branch_into_loop(machine, entry, condition, key)
            return
        assume(machine, condition, True, key, "the loop ran at least once each time")
    _capture_or_unroll(machine, entry, condition)


def _branch_into_loop(machine: Machine, entry: LoopEntry, condition: Value, key: Any) -> None:
    instruction = entry.instruction

    def enter() -> None:
        _capture_or_unroll(machine, machine.frame.blocks[-1], condition)  # type: ignore[arg-type]

    def skip() -> None:
        _leave(machine, instruction)

    fork(machine, condition, enter, skip, key, (1, 1), machine.decisions.get(key) == "split")


def _capture_or_unroll(machine: Machine, entry: LoopEntry, condition: bool | Value) -> None:
    region, size, state = machine.region, len(machine.region.nodes), machine.state.fork()
    instruction, attempt = entry.instruction, entry.attempts
    may_peel = _may_peel(attempt)
    recalled = machine.settled.recall(instruction, attempt, state)
    if recalled is not None and recalled.peels:
        entry.attempts += 1
        _begin_iteration(machine, instruction)
        return
    try:
        if recalled is None or not _settles_as_before(machine, instruction, attempt, state, recalled):
            _fixed_point(machine, instruction, attempt, state)
    except (CaptureFailure, PoisonUsed, Unmergeable) as failure:
        if isinstance(failure, PoisonUsed) and failure.fork[0] == "branch":
            raise
        del region.nodes[size:]
        machine.region, machine.state = region, state
        machine.span, machine.site = instruction.span, instruction.site
        top = machine.frame.blocks[-1]
        assert isinstance(top, LoopEntry)
        if may_peel and isinstance(failure, PoisonUsed):
            machine.settled.note(instruction, attempt, state.fork(), None)
        # a variable may only have its final kind after an iteration: that one is peeled
        top.attempts = top.attempts + 1 if isinstance(failure, PoisonUsed) else PEEL_LIMIT
        interrupted = condition is True and top.attempts >= PEEL_LIMIT and too_long(machine, instruction)
        if (condition is not True or interrupted) and top.attempts >= PEEL_LIMIT:
            if isinstance(failure, CaptureFailure | Unmergeable) and _fix_trip_count(machine, instruction):
                return
            raise _loop_failure(machine, instruction, failure) from failure
        _begin_iteration(machine, instruction)


def _fix_trip_count(machine: Machine, instruction: Instruction) -> bool:
    """Assume the present number of iterations of a loop over a range, so that it can be unrolled."""
    found = assumable_range(machine, instruction)
    if found is None or not isinstance(found[0].position, Known):
        return False
    iterator, source = found
    parts = (source.start, source.stop, source.step)
    iterator.sources = (RangeValue(*(Known(machine.constant(part, "a trip count")) for part in parts)),)
    return True


def _loop_failure(machine: Machine, instruction: Instruction, failure: Exception) -> CaptureFailure:
    if isinstance(failure, CaptureFailure):
        return failure
    raised = machine.unsupported("python.loop", "loop", f"what the loop carries keeps changing kind: {failure}")
    raised.instruction = instruction
    return raised


def _fixed_point(machine: Machine, instruction: Instruction, attempt: int, before: State) -> None:
    """Find what the loop carries, emit it, and continue after it; ``before`` is a copy of the present state."""
    outer, entry_state, mark, entry = machine.region, machine.state, len(machine.births), before
    header, peels, growths = Header(entry_state), _may_peel(attempt), dict[int, Growth]()
    for _ in range(_FIXED_POINT_LIMIT):
        region, loop, back = _turn(machine, instruction, header)
        given = give_buffers(machine, instruction, entry_state, _ends(back), outer, mark)
        if given:
            mark, header, entry = len(machine.births), Header(entry_state), entry_state.fork()
            growths |= given
            continue
        merger = Merger(machine, [Arm(outer, entry_state), *back], site_key_of(machine, instruction), peels=peels)
        found = Header.of(merger)
        if found.shape == header.shape:
            machine.settled.note(instruction, attempt, before, header.state, growths, entry)
            commit_turns(machine, instruction, region, header.state)
            _emit(machine, instruction, region, loop, merger, mark)
            return
        header = found
    raise _loop_failure(machine, instruction, Unmergeable("it does not settle"))


def _settles_as_before(
    machine: Machine, instruction: Instruction, attempt: int, before: State, recalled: Recalled
) -> bool:
    """Whether a loop carries what it did when it was met before; if so, it is emitted."""
    outer, size, peels, held = machine.region, len(machine.region.nodes), _may_peel(attempt), False
    entry_state, key, growths = machine.state, site_key_of(machine, instruction), recalled.growths
    try:
        given = not growths or give_again(machine, instruction, entry_state, growths, outer)
        mark, entry = len(machine.births), entry_state.fork() if growths else before
        guess = recalled.guess(entry) if given else None
        if guess is not None:
            paths = [Arm(outer, entry_state), Arm(Region(), guess.state)]
            header = Header.of(Merger(machine, paths, key, peels=peels))
            region, loop, back = _turn(machine, instruction, header)
            merger = Merger(machine, [Arm(outer, entry_state), *back], key, peels=peels)
            held = not give_buffers(machine, instruction, entry_state, _ends(back), outer, mark)
            held = held and holds(Header.of(merger), header, merger, guess)
    except (CaptureFailure, PoisonUsed, Unmergeable):
        held = False  # if it is not for the guess, it will come again
    if not held:
        del outer.nodes[size:]
        machine.region, machine.state = outer, before.fork()
        machine.span, machine.site = instruction.span, instruction.site
        return False
    machine.settled.note(instruction, attempt, before, header.state, growths, entry)
    commit_turns(machine, instruction, region, header.state)
    _emit(machine, instruction, region, loop, merger, mark)
    return True


def _may_peel(attempt: int) -> bool:
    """Whether a turn of a loop may still be peeled off after so many attempts."""
    return attempt < PEEL_LIMIT - 1


def _ends(arms: list[Arm]) -> list[State]:
    return [arm.state for arm in arms if arm.state is not None]


def _turn(machine: Machine, instruction: Instruction, header: Header) -> tuple[Region, GraphLoop, list[Arm]]:
    """Capture a turn that begins in a state; return its region, its ends, and which of these go on to another turn."""
    outer, state = machine.region, machine.state
    region = machine.recorded.nested(outer, len(machine.births))
    region.parameters = header.parameters
    for index, value in enumerate(header.parameters):
        value.definition, value.index = region, index
        machine.births[value] = len(machine.births)
    loop = _run_body(machine, GraphLoop(instruction, outer), turn_begins(header.state.fork(), instruction), region)
    machine.region, machine.state = outer, state  # the last path through the body may have left its frames
    return region, loop, [arrival.arm for arrival in loop.arrivals if arrival.kind == "continue"]


def site_key_of(machine: Machine, instruction: Instruction) -> Any:
    """Return the name under which a loop's unmergeable variables are remembered."""
    machine.span, machine.site = instruction.span, instruction.site
    key = site_key(machine, "loop")
    machine.hosts.forks[key] = instruction
    return key


def _run_body(machine: Machine, loop: GraphLoop, state: State, region: Region) -> GraphLoop:
    instruction = loop.instruction
    machine.state, machine.region = state, region
    blocks = machine.frame.blocks
    blocks.pop()  # the LoopEntry: while the body runs, the barrier stands in its place
    blocks.append(GraphLoopEntry(_EMPTY, instruction=instruction, loop=loop))
    try:
        _begin_iteration(machine, instruction)
        machine.run((0, 0))
    except Terminated:
        pass
    return loop


def _emit(
    machine: Machine, instruction: Instruction, region: Region, loop: GraphLoop, header: Merger, mark: int
) -> None:
    """Close the loop's region, append the node and continue with the merged state of the ways out."""
    initial = tuple(slot.values[0] for slot in header.slots)
    back = [arrival.arm for arrival in loop.arrivals if arrival.kind == "continue"]
    for position, arm in enumerate(back, start=1):
        values = tuple(slot.values[position] for slot in header.slots)
        arm.region.nodes.append(Node("continue", values, span=instruction.span))
    exits = [arrival.arm for arrival in loop.arrivals if arrival.kind == "break"]
    node = Node("loop", initial, (), {}, instruction.span, (region,))
    if not exits:
        machine.append(node)
        machine.region.nodes.append(Node("unreachable", span=instruction.span))
        raise Terminated
    leaving = Merger(
        machine,
        exits,
        site_key_of(machine, instruction),
        mark=mark,
    )
    merged = leaving.merge()
    loop_is_over(merged, instruction)
    for position, arm in enumerate(exits):
        values = tuple(slot.values[position] for slot in leaving.slots)
        arm.region.nodes.append(Node("break", values, span=instruction.span))
    bind_results(machine, node, leaving)
    machine.append(node)
    machine.state = merged
