"""Generators that have something left to do when they are dropped.

Owns `is_finalized`, `feeds_loop` for those that only a loop refers to, and `stays_in_frame` for those that variables
refer to as well. Invariant: they err on the safe side: a generator that is dropped early runs its ``finally`` blocks
and leaves its ``with`` statements at that moment, which is later where others still refer to it.
"""

from __future__ import annotations

import functools
from collections import Counter

from janusjit.analysis.core import (
    Block,
    Call,
    DeleteLocal,
    For,
    FunctionCore,
    GetIterator,
    Instruction,
    LoadAttribute,
    LoadCell,
    LoadGlobal,
    Local,
    Try,
    While,
    With,
    Yield,
    YieldFrom,
)
from janusjit.analysis.walk import reads_of, walk, writes_of


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
    readers = [instruction for instruction in walk(core.body) if call.target in reads_of(instruction)]
    if not call.target.startswith(".") or len(readers) != 1 or not isinstance(readers[0], GetIterator):
        return False
    return len(_loops_over(core, readers[0])) == 1


@functools.lru_cache(maxsize=256)
def stays_in_frame(core: FunctionCore, call: Call) -> frozenset[str] | None:
    """Return the builtins that take what a call returns, if nothing else does but loops and variables; else None.

    Those of ``COMBINING`` go on referring to it; the others only draw from it.
    """
    everything = list(walk(core.body))
    named: dict[str, list[str]] = {}
    for instruction in everything:
        if isinstance(instruction, LoadGlobal):
            named.setdefault(instruction.target, []).append(instruction.name)
    pending, seen, taking = [call.target], {call.target}, set()
    while pending:
        name = pending.pop()
        if name in core.cells or name in core.free:
            return None
        for reader in (instruction for instruction in everything if name in reads_of(instruction)):
            if isinstance(reader, GetIterator):
                if len(_loops_over(core, reader)) != 1:
                    return None
                continue
            if isinstance(reader, LoadAttribute) and _is_called_only(everything, reader):
                continue
            function = reader.function if isinstance(reader, Call) else None
            loaded = named.get(function.name, []) if isinstance(function, Local) and function.name != name else []
            if len(loaded) != 1 or loaded[0] not in COMBINING | DRAWING:
                return None
            taking.add(loaded[0])
            if loaded[0] in COMBINING and isinstance(reader, Call) and reader.target not in seen:
                pending.append(reader.target)
                seen.add(reader.target)
    return frozenset(taking)


#: builtins whose results draw from the iterators they are given, and those that only draw from them
COMBINING = frozenset({"enumerate", "zip", "map", "filter", "iter"})
DRAWING = frozenset({"next", "list", "tuple", "set", "dict", "sum", "sorted", "min", "max", "any", "all"})


#: methods of generators
METHODS = frozenset({"__next__", "close", "send", "throw"})


def _is_called_only(everything: list[Instruction], loaded: LoadAttribute) -> bool:
    """Whether an attribute is a method of a generator that is only called."""
    readers = [reader for reader in everything for name in reads_of(reader) if name == loaded.target]
    called = len(readers) == 1 and isinstance(readers[0], Call) and readers[0].function == Local(loaded.target)
    return called and loaded.name in METHODS


def _loops_over(core: FunctionCore, reader: GetIterator) -> list[For]:
    return [i for i in walk(core.body) if isinstance(i, For) and i.iterator == Local(reader.target)]


@functools.lru_cache(maxsize=256)
def bound_again(core: FunctionCore) -> tuple[str, ...]:
    """Return the variables of a function's own that may let go of what they refer to before it returns."""
    counts: Counter[str] = Counter()
    for instruction in walk(core.body):
        looping = [instruction.body] if isinstance(instruction, For | While) else []
        for inner in (instruction, *(inner for block in looping for inner in walk(block))):
            counts.update(writes_of(inner))
            counts.update([inner.name] * 2 if isinstance(inner, DeleteLocal) else [])
    others = {*core.cells, *core.free, *core.declared_globals}
    return tuple(sorted(n for n, count in counts.items() if count > 1 and not n.startswith(".") and n not in others))
