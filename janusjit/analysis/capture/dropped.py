"""Where generators go: when nothing refers to one any more, Python runs what it has left to do.

Owns `check_generators`, for generators made inside, and `is_dropped`, for those of Python that variables refer to.
Invariant: where a variable lets go of a generator of Python's, the graph ends at a commit point that does not know it
any more, so the generator goes after the effects before and ahead of those that follow.
"""

from __future__ import annotations

from collections.abc import Container

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import GeneratorObject, State


def check_generators(machine: Machine, state: State, kept: Container[int] = ()) -> None:
    """Refuse to let go of a generator that Python would run on: all but those at the heap indices ``kept``."""
    for index, item in state.heap.items():
        if isinstance(item, GeneratorObject) and item.unfinished and index not in kept:
            reason = "a generator is left inside a try or with, which Python finishes"
            failure = machine.unsupported("python.generator", "generator", reason)
            if item.maker is not None and item.maker not in machine.hosts.instructions:
                failure.instruction = item.maker
            raise failure
