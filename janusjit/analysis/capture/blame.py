"""What Python has to run where a statement cannot be captured.

Owns `blamed_by` and `blamed_for`. Invariant: a library is left to Python as a whole, since only user code is profiled,
and gone on with in the middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from janusjit.analysis.core import Instruction
from janusjit.analysis.twin import is_user_code

if TYPE_CHECKING:
    from janusjit.analysis.capture.machine import Machine
    from janusjit.analysis.capture.state import Frame


def blamed_by(machine: Machine) -> Instruction | None:
    """Return the instruction that Python would have to run if the present one cannot be captured.

    That is the innermost one in user code whose frames are all on the stack; inside a generator it is the one that
    made the generator, which is then run by Python.
    """
    if machine.outermost is None:
        return None
    count, instruction = machine.outermost
    running = next((frame for frame in machine.state.frames[count:] if frame.generator is not None), None)
    if running is not None and running.generator is not None:
        maker: Instruction | None = machine.state.at(running.generator).maker
        if maker is not None and maker not in machine.hosts.instructions:
            return maker
    frames = machine.state.frames[:count]
    for position, frame in enumerate(frames[1:]):
        if frame.code is not None and not is_user_code(frame.code):
            caller = frames[position].blocks[-1]
            return caller.block.instructions[caller.index - 1] if caller.index else None
    return instruction


def blamed_for(machine: Machine, statement: Instruction, frame: Frame) -> Instruction | None:
    """Return what Python has to run if it is to run a statement of a frame: that, or the call that led there."""
    depth = next(i for i, other in enumerate(machine.state.frames) if other is frame)
    library = any(f.code is not None and not is_user_code(f.code) for f in machine.state.frames[1 : depth + 1])
    return machine.blamed() if library else statement
