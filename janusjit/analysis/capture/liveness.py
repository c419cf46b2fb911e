"""Live locals.

Owns `live_names`: which locals of a frame may still be read, and `bound_in`. Invariant: it errs on the side of live;
joins of control paths leave out what is dead, so that leftovers of one path neither keep a loop from settling nor cost
a copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from janusjit.analysis.capture.state import Frame, GraphLoopEntry, LoopEntry
from janusjit.analysis.core import (
    Block,
    Break,
    Continue,
    DeleteLocal,
    For,
    FunctionCore,
    If,
    Instruction,
    Local,
    Opaque,
    Raise,
    Return,
    Try,
    Unpack,
    While,
    With,
)

Names = frozenset[str]
_EMPTY: Names = frozenset()
_CACHE: dict[int, tuple[FunctionCore, _Analysis]] = {}


def live_names(frame: Frame) -> Names | None:
    """Return the locals that may be read from where a frame's control stands on; None if all of them may."""
    cached = _CACHE.get(id(frame.core))
    if cached is None:
        cached = _CACHE[id(frame.core)] = (frame.core, _Analysis(frame.core))
    analysis = cached[1]
    top = frame.blocks[-1]
    if isinstance(top, LoopEntry | GraphLoopEntry):
        return analysis.header.get(id(top.instruction))
    if top.index == 0 or not top.block.instructions:
        return None
    return analysis.after.get(id(top.block.instructions[top.index - 1]))


def live_after(frame: Frame, at: bool) -> Names | None:
    """Return the locals that may be read behind the instruction a frame is stopped at; with ``at``, by it as well."""
    names = live_names(frame)
    top = frame.blocks[-1]
    if not at or names is None or isinstance(top, LoopEntry | GraphLoopEntry):
        return names
    return names | _all_uses(top.block.instructions[top.index - 1])


def live_at_header(core: FunctionCore, loop: Instruction) -> Names:
    """Return the locals that may be read once the next turn of a loop is due."""
    cached = _CACHE.get(id(core))
    if cached is None:
        cached = _CACHE[id(core)] = (core, _Analysis(core))
    return cached[1].header[id(loop)]


@dataclasses.dataclass(slots=True)
class _Context:
    """Where jumps go: the names live after the loop and at its header, at handlers, and at the function's end."""

    leave: Names = _EMPTY
    again: Names = _EMPTY
    always: Names = _EMPTY


class _Analysis:
    """Backward data flow over the structured form; loops are iterated to a fixed point."""

    def __init__(self, core: FunctionCore) -> None:
        self.after: dict[int, Names] = {}
        self.header: dict[int, Names] = {}
        self._block(core.body, _EMPTY, _Context())

    def _block(self, block: Block, live: Names, context: _Context) -> Names:
        for instruction in reversed(block.instructions):
            live = live | context.always
            self.after[id(instruction)] = live
            live = self._before(instruction, live, context)
        return live

    def _before(self, instruction: Instruction, live: Names, context: _Context) -> Names:
        if isinstance(instruction, If):
            arms = self._block(instruction.then, live, context) | self._block(instruction.orelse, live, context)
            return arms | _uses(instruction)
        if isinstance(instruction, While | For):
            return self._loop(instruction, live, context)
        if isinstance(instruction, Try | With):
            return self._protected(instruction, live, context)
        if isinstance(instruction, Break):
            return context.leave | context.always
        if isinstance(instruction, Continue):
            return context.again | context.always
        if isinstance(instruction, Return | Raise):
            return _uses(instruction) | context.always
        return (live - _definitions(instruction)) | _uses(instruction)

    def _loop(self, loop: While | For, live: Names, context: _Context) -> Names:
        done = self._block(loop.orelse, live, context)
        header: Names = done | self.header.get(id(loop), _EMPTY)  # as found in an earlier round of a loop around
        while True:
            inner = _Context(live, header, context.always)
            body = self._block(loop.body, header, inner)
            if isinstance(loop, While):
                found = self._block(loop.test, body | done | _uses(loop), context)
            else:
                found = (body - {loop.target}) | done | _uses(loop)
            if found <= header:
                break
            header = header | found
        self.header[id(loop)] = header
        return header

    def _protected(self, instruction: Try | With, live: Names, context: _Context) -> Names:
        """Anything a handler or final block may read is live all through; temporaries of the body are not."""
        own = frozenset(name for name in _all_uses(instruction.body) if name.startswith("."))
        if isinstance(instruction, Try):
            own -= _all_uses([*instruction.handlers, instruction.orelse, instruction.final])
        else:
            own -= _uses(instruction)
        elsewhere = _Context(context.leave, context.again, context.always | live | (_all_uses(instruction) - own))
        if isinstance(instruction, With):
            inside = self._block(instruction.body, live, elsewhere) | elsewhere.always
            bound = frozenset() if instruction.target is None else frozenset((instruction.target,))
            return (inside - bound) | context.always | _uses(instruction)  # what raises on entering goes further out
        blocks = [instruction.final, instruction.orelse, instruction.body]
        for handler in instruction.handlers:
            blocks += [handler.matcher, handler.body]
        begins = [self._block(block, live, elsewhere) for block in blocks]
        return elsewhere.always.union(*begins)


def _uses(instruction: Instruction) -> Names:
    if isinstance(instruction, Opaque):
        return frozenset(instruction.reads)
    if isinstance(instruction, DeleteLocal):  # of a name that is not bound it raises an exception
        return frozenset({instruction.name})
    return frozenset(_locals(instruction))


def _locals(value: Any) -> Iterator[str]:
    """Yield the names of the locals an instruction reads itself (not those of blocks nested in it)."""
    if isinstance(value, Local):
        yield value.name
    elif isinstance(value, tuple):
        for item in value:
            yield from _locals(item)
    elif isinstance(value, Instruction):
        for field in dataclasses.fields(value):
            yield from _locals(getattr(value, field.name))


def bound_in(value: Any) -> Names:
    """Return every local bound anywhere inside an instruction or block, nested blocks and handlers included."""
    found: set[str] = set(_definitions(value)) if isinstance(value, Instruction) else set()
    for part in _parts(value):
        found |= bound_in(part)
    return frozenset(found)


def _parts(value: Any) -> Iterator[Any]:
    """Yield the instructions, blocks and what else is taken apart that stand in an instruction or block."""
    if isinstance(value, Block | list):
        yield from value.instructions if isinstance(value, Block) else value
    elif dataclasses.is_dataclass(value) and not isinstance(value, FunctionCore | type):
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if isinstance(part, Instruction | Block | list) or dataclasses.is_dataclass(part):
                yield part


def _all_uses(value: Any) -> Names:
    """Return every local read anywhere inside an instruction, nested blocks and handlers included."""
    found: set[str] = set(_locals(value)) if isinstance(value, Instruction) else set()
    if isinstance(value, Opaque | DeleteLocal):
        found |= _uses(value)
    parts: list[Any] = []
    if isinstance(value, Block):
        parts = value.instructions
    elif isinstance(value, list):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, FunctionCore | type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        found |= {part.name for part in parts if isinstance(part, Local)}
    for part in parts:
        if isinstance(part, Instruction | Block | list) or dataclasses.is_dataclass(part):
            found |= _all_uses(part)
    return frozenset(found)


def _definitions(instruction: Instruction) -> Names:
    if isinstance(instruction, Unpack):
        return frozenset(instruction.targets)
    target = getattr(instruction, "target", None)
    return frozenset({target}) if isinstance(target, str) else _EMPTY
