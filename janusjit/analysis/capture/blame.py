"""What Python has to run where a statement cannot be captured.

Owns `blamed_for`. Invariant: a library is left to Python as a whole, since only user code is profiled, and gone on with
in the middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from janusjit.analysis.core import Instruction
from janusjit.analysis.twin import is_user_code

if TYPE_CHECKING:
    from janusjit.analysis.capture.machine import Machine
    from janusjit.analysis.capture.state import Frame


def blamed_for(machine: Machine, statement: Instruction, frame: Frame) -> Instruction | None:
    """Return what Python has to run if it is to run a statement of a frame: that, or the call that led there."""
    depth = next(i for i, other in enumerate(machine.state.frames) if other is frame)
    library = any(f.code is not None and not is_user_code(f.code) for f in machine.state.frames[1 : depth + 1])
    return machine.blamed() if library else statement
