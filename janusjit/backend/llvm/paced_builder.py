"""llvmlite's builder of instructions, with pauses.

Owns `PacedBuilder`. Invariant: it emits what llvmlite's builder does. A kernel may be thousands of instructions, which
take milliseconds to emit: far longer than the compiler's thread may keep the program from the interpreter.
"""

from __future__ import annotations

from llvmlite import ir

from janusjit.pacing import pause


class PacedBuilder(ir.IRBuilder):  # type: ignore[misc]
    """Emits instructions, as its base class does, and lets the program run in between."""

    def _insert(self, instruction: ir.Instruction) -> None:
        pause()
        super()._insert(instruction)
