"""Generators that have something left to do when they are dropped.

Owns `is_finalized`, and `feeds_loop` for those that only a loop refers to. Invariant: they err on the safe side: a
generator that is dropped early runs its ``finally`` blocks and leaves its ``with`` statements at that moment, which is
later where others still refer to it.
"""

from __future__ import annotations

import functools

from janusjit.analysis.core import (
    Block,
    Call,
    For,
    FunctionCore,
    GetIterator,
    Instruction,
    LoadCell,
    LoadGlobal,
    Local,
    Try,
    With,
    Yield,
    YieldFrom,
)
from janusjit.analysis.jumps import jumps_in
from janusjit.analysis.walk import reads_of, walk


@functools.lru_cache(maxsize=256)
def is_finalized(core: FunctionCore) -> bool:
    """Whether dropping a generator of this function before its end may run code of it, or of one it delegates to."""
    everything = list(walk(core.body))
    protected = [instruction for instruction in everything if isinstance(instruction, Try | With)]
    if any(isinstance(inner, Yield | YieldFrom) for outer in protected for inner in walk(Block([outer]))):
        return True
    makers: dict[str, Instruction] = {i.target: i for i in everything if isinstance(i, Call | LoadGlobal | LoadCell)}
    return any(not _is_itself(core, i, makers) for i in everything if isinstance(i, YieldFrom))


def _is_itself(core: FunctionCore, delegation: YieldFrom, makers: dict[str, Instruction]) -> bool:
    """Whether a ``yield from`` is over a call of the generator function itself."""
    made = makers.get(delegation.value.name) if isinstance(delegation.value, Local) else None
    function = makers.get(made.function.name) if isinstance(made, Call) and isinstance(made.function, Local) else None
    return isinstance(function, LoadGlobal | LoadCell) and function.name == core.name


@functools.lru_cache(maxsize=256)
def feeds_loop(core: FunctionCore, call: Call) -> bool:
    """Whether what a call returns is only gone through by a loop: if that is left before its end, it is dropped there.

    A variable would keep it for longer.
    """
    everything = list(walk(core.body))
    readers = [instruction for instruction in everything if call.target in reads_of(instruction)]
    if len(readers) != 1 or not isinstance(readers[0], GetIterator):
        return False
    loops = [i for i in everything if isinstance(i, For) and i.iterator == Local(readers[0].target)]
    return len(loops) == 1 and (call.target.startswith(".") or jumps_in(loops[0].body) <= {"continue"})
