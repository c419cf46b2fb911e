"""Walking Core.

Owns the knowledge of which instructions hold blocks, read atoms and write locals. Invariant: a new instruction with a
block inside is added here and nowhere else; atoms are found by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from janusjit.analysis.core import (
    Assert,
    Block,
    Constant,
    For,
    Handler,
    If,
    Instruction,
    Local,
    Opaque,
    Several,
    Try,
    Unpack,
    While,
    With,
)

_FIELDS: dict[type, tuple[str, ...]] = {}


def blocks_of(instruction: Instruction) -> Iterator[Block]:
    """Yield the blocks directly inside an instruction, in source order."""
    if isinstance(instruction, If):
        yield instruction.then
        yield instruction.orelse
    elif isinstance(instruction, For):
        yield instruction.body
        yield instruction.orelse
    elif isinstance(instruction, While):
        yield instruction.test
        yield instruction.body
        yield instruction.orelse
    elif isinstance(instruction, Assert):
        yield instruction.message
    elif isinstance(instruction, With | Several):
        yield instruction.body
    elif isinstance(instruction, Try):
        yield instruction.body
        for handler in instruction.handlers:
            yield handler.matcher
            yield handler.body
        yield instruction.orelse
        yield instruction.final


def walk(block: Block) -> Iterator[Instruction]:
    """Yield every instruction of a block and of the blocks inside, nested functions left out."""
    for instruction in block.instructions:
        yield instruction
        for inner in blocks_of(instruction):
            yield from walk(inner)


def reads_of(instruction: Instruction) -> Iterator[str]:
    """Yield the locals and temporaries an instruction itself reads, in field order."""
    names = _FIELDS.get(type(instruction))
    if names is None:
        names = tuple(name for name in type(instruction).__dataclass_fields__ if name not in ("site", "span"))
        _FIELDS[type(instruction)] = names
    for name in names:
        yield from _locals(getattr(instruction, name))


def _locals(value: Any) -> Iterator[str]:
    if isinstance(value, Local):
        yield value.name
    elif isinstance(value, tuple):
        for item in value:
            if not isinstance(item, str | bool | Constant):
                yield from _locals(item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Handler):
                yield from _locals(item.exception_type)


def writes_of(instruction: Instruction) -> tuple[str, ...]:
    """Return the locals and temporaries an instruction itself binds."""
    if isinstance(instruction, Unpack):
        return instruction.targets
    target = getattr(instruction, "target", None)
    return () if target is None else (target,)


def operands_of(instruction: Instruction) -> tuple[str, ...]:
    """Return the locals and temporaries that running an instruction as a whole may read, each once."""
    names = instruction.reads if isinstance(instruction, Opaque) else reads_of(instruction)
    return tuple(dict.fromkeys(names))


def bound_by(instruction: Instruction) -> tuple[str, ...]:
    """Return the locals and temporaries that running an instruction as a whole binds, each once."""
    names = instruction.writes if isinstance(instruction, Opaque) else writes_of(instruction)
    return tuple(dict.fromkeys(names))
