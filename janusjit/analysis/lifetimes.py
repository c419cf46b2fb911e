"""How far on in a block a generator lives that only temporaries refer to.

Owns `end_of_use`: up to where Python has to run a block for a generator made in it to be dropped when it is in plain
Python. Invariant: behind that end, no variable or temporary of the function's refers to the generator, unless it is
what the last of the instructions has bound, which is looked at when it is there.
"""

from __future__ import annotations

import builtins
import collections
import functools
import inspect
import math
from typing import Any

import numpy as np

from janusjit.analysis.core import (
    Block,
    Break,
    Build,
    Call,
    Continue,
    DeleteCell,
    FunctionCore,
    GetIterator,
    Instruction,
    LoadAttribute,
    LoadGlobal,
    Local,
    MakeFunction,
    Opaque,
    Operate,
    Raise,
    Return,
    Unpack,
    Yield,
    YieldFrom,
)
from janusjit.analysis.finalization import DRAWING, stays_in_frame
from janusjit.analysis.loop_iterators import COMBINATIONS
from janusjit.analysis.walk import reads_of, walk

#: what Python cannot run apart from what follows
_JUMPS = (Break, Continue, DeleteCell, Opaque, Raise, Return, Yield, YieldFrom)
#: functions that draw from their arguments, and keep none of the iterators
_EXHAUSTING = frozenset(
    (
        *(getattr(builtins, name) for name in DRAWING),
        *(collections.Counter, collections.deque, frozenset, functools.reduce, math.fsum, math.prod),
        np.fromiter,
    )
)
#: methods that draw from their arguments
_EXHAUSTING_METHODS = frozenset({"extend", "fromkeys", "intersection", "join", "union", "update"})


def end_of_use(core: FunctionCore, namespace: dict[str, Any], block: Block, position: int) -> tuple[int, bool] | None:
    """Return up to which position Python has to run a block, and whether what it has then is let go of in time.

    None if Python has to run all that is left of the function.

    Parameters
    ----------
    core, namespace : FunctionCore, dict
        The function, and its globals.
    block : Block
        A block of it.
    position : int
        Where in the block the call stands that makes the generator.
    """
    referring: set[str] = set()
    end, at, in_time = position, position, True
    while at < len(block.instructions):
        instruction = block.instructions[at]
        inside = list(walk(Block([instruction])))
        at += 1
        if referring and referring.isdisjoint(name for item in inside for name in reads_of(item)):
            continue
        if any(isinstance(item, _JUMPS) for item in inside):
            return None
        end = at
        if referring and _lets_go(core, namespace, instruction, referring):
            continue
        if isinstance(instruction, Call):
            goes_on = not referring or _goes_on(core, namespace, instruction)
            taking = stays_in_frame(core, instruction) if goes_on else None  # others may keep what they are given
            in_time = taking is not None and taking.isdisjoint(namespace)
            if in_time or not goes_on or not instruction.target.startswith("."):
                break
        elif not isinstance(instruction, Build | GetIterator | LoadAttribute) or not instruction.target.startswith("."):
            return None
        referring.add(instruction.target)
    done = {id(item) for instruction in block.instructions[:end] for item in walk(Block([instruction]))}
    later = (name for item in walk(core.body) if id(item) not in done for name in reads_of(item))
    return (end, in_time) if referring.isdisjoint(later) else None


def _lets_go(core: FunctionCore, namespace: dict[str, Any], instruction: Instruction, referring: set[str]) -> bool:
    """Whether an instruction refers to the iterators that it reads only while it runs."""
    if isinstance(instruction, Unpack):
        return True
    if isinstance(instruction, Operate):
        return instruction.operator in ("in", "not in", "is", "is not")
    if isinstance(instruction, Build):
        kept = [item for item, starred in zip(instruction.items, instruction.starred, strict=True) if not starred]
        return not any(isinstance(item, Local) and item.name in referring for item in kept)
    if not isinstance(instruction, Call):
        return False
    loaded = _definition(core, instruction)
    if isinstance(loaded, LoadAttribute) and loaded.name in _EXHAUSTING_METHODS and loaded.target not in referring:
        return True
    return any(_value(core, namespace, loaded) is function for function in _EXHAUSTING)


def _goes_on(core: FunctionCore, namespace: dict[str, Any], call: Call) -> bool:
    """Whether what a call returns is an iterator that draws from what it is given."""
    loaded = _definition(core, call)
    found = _value(core, namespace, loaded)
    if isinstance(loaded, MakeFunction):
        return loaded.function.kind == "generator"
    return found is iter or inspect.isgeneratorfunction(found) or (isinstance(found, type) and found in COMBINATIONS)


def _definition(core: FunctionCore, call: Call) -> Instruction | None:
    """Return the instruction that binds the function of a call, if there is one alone."""
    name = call.function.name if isinstance(call.function, Local) else None
    found = [item for item in walk(core.body) if getattr(item, "target", None) == name]
    return found[0] if len(found) == 1 else None


def _value(core: FunctionCore, namespace: dict[str, Any], loaded: Instruction | None) -> Any:
    """Return the function that an instruction loads: a global one, or one of a module."""
    if isinstance(loaded, LoadGlobal):
        return namespace.get(loaded.name, getattr(builtins, loaded.name, None))
    if isinstance(loaded, LoadAttribute) and isinstance(loaded.owner, Local):
        owners = [item for item in walk(core.body) if getattr(item, "target", None) == loaded.owner.name]
        owner = _value(core, namespace, owners[0]) if len(owners) == 1 else None
        return getattr(owner, loaded.name, None) if inspect.ismodule(owner) else None
    return None
