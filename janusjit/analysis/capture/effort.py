"""What a capture may take.

Owns `Effort`, which counts the nodes and the steps of one attempt at a capture and ends it where it has got too large,
or has run out of time. Invariant: every failure says which unrolled loop its graph has grown in, if there is one, so
that the next attempt can make the turns of that loop regions of their own.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from janusjit.analysis.capture.blame import blamed_for
from janusjit.analysis.capture.state import LoopEntry, State
from janusjit.analysis.core import Instruction
from janusjit.errors import CaptureFailure

if TYPE_CHECKING:
    from janusjit.analysis.capture.machine import Machine

#: nodes one capture may emit before it is given up as too large
NODE_LIMIT = 40_000
#: nodes, and steps, that unrolled loops may take if their turns can be regions of their own
UNROLLED_NODES = 12_000
UNROLLED_STEPS = 60_000
#: nodes, and steps, that a recursion may be unfolded to if its calls can run in code of their own
UNFOLDED_NODES = 6_000
UNFOLDED_STEPS = 15_000
#: branches behind which paths may stay apart: each path has exits of its own, and doubles with every further branch
SPLIT_LIMIT = 40
#: such branches in unrolled loops after which a message that keeps paths apart is left to Python
SPLITS_OF_MESSAGES = 4
#: steps between two looks at the clock
_STEPS_A_LOOK = 64


class Effort:
    """What one attempt at a capture has taken so far.

    Parameters
    ----------
    deadline : float
        When to stop, as `time.perf_counter` tells time.

    Attributes
    ----------
    nodes, steps, splits : int
        Emitted nodes, instructions that were executed or left, and branches behind which paths stay apart.
    """

    __slots__ = ("deadline", "nodes", "splits", "steps")

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.nodes = self.steps = self.splits = 0

    def step(self, machine: Machine) -> None:
        """Count a step, and look at the clock now and then."""
        self.steps += 1
        if self.steps % _STEPS_A_LOOK == 0 and time.perf_counter() > self.deadline:
            text = "capturing it takes longer than its calls have earned so far"
            raise machine.unsupported("limit.capture_time", "function", text, "cost")

    def node(self, machine: Machine) -> None:
        """Count a node."""
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            raise too_large(machine, "limit.graph_size", f"its graph has more than {NODE_LIMIT} nodes")

    def split(self, machine: Machine, origin: State) -> None:
        """Count a branch behind which paths stay apart; ``origin`` is the state they come from."""
        self.splits += 1
        if self.splits > SPLIT_LIMIT and not machine.hosts.recursive:  # recursions have limits of their own
            text = f"more than {SPLIT_LIMIT} branches leave what cannot be joined, and paths that stay apart"
            machine.state = origin  # the paths may have left the loop that is to blame
            failure = machine.unsupported("limit.paths", machine.span.text or "if", text, "cost")
            failure.instruction = unrolled_loop(machine) or failure.instruction
            raise failure

    def unfolds_too_far(self) -> bool:
        """Whether a recursion had better run in code of its own."""
        return self.nodes > UNFOLDED_NODES or self.steps > UNFOLDED_STEPS

    def unrolls_too_far(self) -> bool:
        """Whether the turns of a loop had better be regions of their own."""
        return self.nodes > UNROLLED_NODES or self.steps > UNROLLED_STEPS


def too_large(machine: Machine, code: str, reason: str) -> CaptureFailure:
    """Return the failure of a capture that has grown too large; what is to blame is an unrolled loop, or nothing."""
    failure = machine.unsupported(code, "function", reason)
    failure.instruction = unrolled_loop(machine)
    return failure


def unrolled_loop(machine: Machine) -> Instruction | None:
    """Return the outermost loop being unrolled whose turns can be regions of their own."""
    count = machine.outermost[0] if machine.outermost is not None else 0
    for frame in machine.state.frames[:count]:
        for entry in frame.blocks:
            if isinstance(entry, LoopEntry) and entry.iterations > 1 and entry.instruction not in machine.hosts.loops:
                return blamed_for(machine, entry.instruction, frame)
    return None
