"""Whether a loop whose trip count is known is unrolled.

Owns that decision. Invariant: it is made before the graph has grown: from the loop's length and the instructions of its
body, and, where the body turns out larger than it looks, from what its first turns emitted.
"""

from __future__ import annotations

from janusjit.analysis.capture.effort import UNROLLED_NODES, too_large, unrolled_loop
from janusjit.analysis.capture.iteration import items_left, length_of
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import IteratorObject, LoopEntry
from janusjit.analysis.capture.values import AbstractValue, Known, Reference
from janusjit.analysis.core import Block, Break, Continue, For, Instruction, Return, While, Yield, YieldFrom

#: a loop of known trip count is unrolled while trips × instructions of its body stay below this
UNROLL_BUDGET = 1_200
#: and this, where it cannot be kept as a loop
UNROLL_MOST = 20_000
#: and never past this many iterations
UNROLL_LIMIT = 4_000
#: iterations that are peeled off a loop whose variables change kind
PEEL_LIMIT = 3
#: turns at which it is looked whether the items of a sequence are alike, so that a loop can be kept
_DECIDING_TURNS = 2
#: turns after which the nodes of a turn tell those of the loop
_TELLING_TURNS = 4


def check_size(machine: Machine, entry: LoopEntry) -> None:
    """Refuse another turn of an unrolled loop whose graph gets too large.

    Where loops stand in each other, it is the outermost whose turns become regions of their own.

    Raises
    ------
    CaptureFailure
        If it does; the loop is what Python goes through.
    """
    if machine.unrolls():
        return
    if entry.iterations > UNROLL_LIMIT:
        raise machine.unsupported("limit.unrolling", "loop", f"more than {UNROLL_LIMIT} iterations would be unrolled")
    if entry.iterations == 1:
        entry.nodes = machine.effort.nodes
    if machine.nested or entry.iterations <= _TELLING_TURNS or unrolled_loop(machine) is None:
        return
    if machine.effort.unrolls_too_far():
        raise too_large(machine, "limit.unrolling", "unrolled, its loops take too many nodes")
    left = _turns_left(machine, entry.instruction)
    each = (machine.effort.nodes - entry.nodes) / (entry.iterations - 1)
    if left * each > UNROLLED_NODES:
        raise machine.unsupported("limit.unrolling", "loop", f"{left} more turns of {each:.0f} nodes would be unrolled")


def _turns_left(machine: Machine, instruction: Instruction) -> int:
    """Return how many more items the iterator of a ``for`` has; 0 where nothing tells."""
    return _items_left(machine, machine.get(instruction.iterator)) if isinstance(instruction, For) else 0


def _items_left(machine: Machine, reference: AbstractValue) -> int:
    iterator = machine.heap(reference) if isinstance(reference, Reference) else None
    if not isinstance(iterator, IteratorObject):
        return 0
    if iterator.kind in ("zip", "enumerate", "map"):
        return min((_items_left(machine, source) for source in iterator.sources), default=0)
    total = length_of(machine, iterator)
    if isinstance(total, Known) and isinstance(iterator.position, Known):
        return int(total.value - iterator.position.value)
    return 0


def keeps_known_loop(machine: Machine, entry: LoopEntry) -> bool:
    """Whether a loop whose trip count is known is better kept as a loop than unrolled."""
    instruction = entry.instruction
    if machine.unrolls() or suspends(instruction.body):  # type: ignore[attr-defined]
        return False
    if entry.iterations == 1:
        entry.forks = machine.forks
    elif entry.iterations == 2 and machine.forks > entry.forks and entry.attempts == 0:
        # its body branches at run time: one copy of it is enough
        return remaining(machine, instruction) > 2 or _left(machine, instruction) > 2
    elif not 0 < entry.attempts < PEEL_LIMIT:
        return False
    if isinstance(instruction, While):
        trips = machine.profile.trips(machine.frame.code, machine.site).maximum
        return jumps_out(instruction.body) or trips * block_size(instruction.body) > UNROLL_BUDGET
    assert isinstance(instruction, For)
    trips = remaining(machine, instruction)
    if trips == 0 and entry.iterations <= _DECIDING_TURNS:
        trips = _left(machine, instruction)
    large = trips * block_size(instruction.body) > UNROLL_BUDGET
    return bool(trips > 4 and (large or jumps_out(instruction.body)))


def _left(machine: Machine, instruction: Instruction) -> int:
    return items_left(machine, machine.get(instruction.iterator)) if isinstance(instruction, For) else 0


def remaining(machine: Machine, instruction: Instruction) -> int:
    """Return how many iterations of a loop over a range or an array's rows there may still be; 0 for other loops."""
    if isinstance(instruction, While):
        return UNROLL_LIMIT
    assert isinstance(instruction, For)
    reference = machine.get(instruction.iterator)
    iterator = machine.heap(reference) if isinstance(reference, Reference) else None
    if not isinstance(iterator, IteratorObject) or iterator.kind not in ("range", "rows"):
        return 0
    total = length_of(machine, iterator)
    if isinstance(total, Known) and isinstance(iterator.position, Known):
        return int(total.value - iterator.position.value)
    return UNROLL_LIMIT


def jumps_out(block: Block) -> bool:
    """Whether a loop body has a ``break``, ``continue`` or ``return``: unrolled, each iteration could be a way out."""
    for instruction in block.instructions:
        if isinstance(instruction, Break | Continue | Return):
            return True
        inner = (getattr(instruction, name, None) for name in ("then", "orelse", "body", "final"))
        if any(isinstance(part, Block) and jumps_out(part) for part in inner):
            return True
    return False


def suspends(block: Block) -> bool:
    """Whether a ``yield`` or ``await`` is in a block."""
    for instruction in block.instructions:
        if isinstance(instruction, Yield | YieldFrom):
            return True
        inner = (getattr(instruction, name, None) for name in ("then", "orelse", "body", "test", "final"))
        if any(isinstance(part, Block) and suspends(part) for part in inner):
            return True
        if any(suspends(handler.body) for handler in getattr(instruction, "handlers", ())):
            return True
    return False


def block_size(block: Block) -> int:
    """Return the number of instructions in a block and in the blocks nested in it."""
    total = 0
    for instruction in block.instructions:
        total += 1
        for name in ("then", "orelse", "body", "test", "final"):
            inner = getattr(instruction, name, None)
            if isinstance(inner, Block):
                total += block_size(inner) * (4 if isinstance(instruction, For | While) else 1)
    return total


def too_long(machine: Machine, instruction: Instruction) -> bool:
    """Whether a loop had better be interrupted, for Python to run what keeps it from the graph, than be unrolled."""
    if not isinstance(instruction, For):
        return False
    return remaining(machine, instruction) * block_size(instruction.body) > UNROLL_MOST
