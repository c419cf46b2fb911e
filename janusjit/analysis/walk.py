"""Walking Core.

Owns the knowledge of which instructions hold blocks. Invariant: a new instruction with a block inside is added here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator

from janusjit.analysis.core import Assert, Block, For, If, Instruction, Try, While, With


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
    elif isinstance(instruction, With):
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
