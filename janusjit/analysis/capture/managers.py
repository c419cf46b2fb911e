"""Context managers that Python enters and leaves.

Owns `suspend_to_enter` and `suspend_to_leave`, the commit points around the body of a ``with`` whose manager capture
cannot enter. Invariant: the body in between is captured like any other code, and whatever leaves it, the ``__exit__``
that Python found on entering is called once.
"""

from __future__ import annotations

from janusjit.analysis.capture.dropped import check_generators
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.signals import Terminated, Unwinding
from janusjit.analysis.capture.suspension import FrameStates
from janusjit.analysis.capture.values import AbstractValue
from janusjit.analysis.continuation import BlockStep, CommitPoint, TryStep
from janusjit.analysis.core import Block, Break, Call, Continue, Instruction, Local, Return, With

#: what is called at the commit point: the manager's ``__enter__`` or the ``__exit__`` found then
ENTER, LEAVE = ".enter", ".leave"


def suspend_to_enter(machine: Machine, instruction: With, reason: str, code: str) -> Terminated:
    """End the path before a ``with``, which Python enters; the caller raises what is returned."""
    check_generators(machine, machine.state)
    states = FrameStates(machine)
    target = instruction.target
    outcome = (target,) if target is not None and target not in machine.frame.cells else ()
    manager = machine.get(instruction.manager)
    states.read(outcome, False, (manager,), entering=True)
    inside = (TryStep(instruction, "body"), BlockStep(instruction.body, 0))
    after = states.continuation(outcome, inside, instruction.span)
    outside = states.continuation((), (), instruction.span, not_entered=True)
    call, core = _call(machine, instruction, ENTER), machine.frame.core
    point = CommitPoint("enter", call, (ENTER,), after, outside, core, reason, code, slot=states.slot)
    return states.finish(point, [manager])


def suspend_to_leave(
    machine: Machine, instruction: With, leave: AbstractValue, unwinding: Unwinding | None
) -> Terminated:
    """End the path where the body of such a ``with`` is left; the caller raises what is returned.

    Parameters
    ----------
    machine : Machine
        Its control entry for the ``with`` has been popped.
    instruction : With
        The statement.
    leave : AbstractValue
        The ``__exit__``.
    unwinding : Unwinding or None
        The return, break or continue that goes on afterwards.
    """
    if unwinding is not None:
        if unwinding.kind == "return":
            machine.set(_returned(instruction), unwinding.value)
        machine.push(_jump(machine, instruction, unwinding.kind))
    states = FrameStates(machine)
    states.read((), False, (leave,))
    after = states.continuation((), (), instruction.span)
    call, core = _call(machine, instruction, LEAVE), machine.frame.core
    reason, code = "the context manager is Python's", "python.context_manager"
    point = CommitPoint("leave", call, (LEAVE,), after, None, core, reason, code)
    return states.finish(point, [leave])


def _call(machine: Machine, instruction: With, name: str) -> Call:
    """Return the one call instruction of a ``with`` that enters or leaves, on the line of the statement."""
    target = (instruction.target if name == ENTER else None) or ".entered"
    call = Call(instruction.site, instruction.span, target, Local(name), (), (), ())
    made: Call = machine.hosts.made.setdefault((instruction, name), call)
    return made


def _returned(instruction: With) -> str:
    return f".returned_{instruction.site}"


def _jump(machine: Machine, instruction: With, kind: str) -> Block:
    """Return the block that goes on with a jump out of a ``with``."""
    site, span = instruction.site, instruction.span
    jump: Instruction
    if kind == "return":
        jump = Return(site, span, Local(_returned(instruction)))
    else:
        jump = Break(site, span) if kind == "break" else Continue(site, span)
    made: Block = machine.hosts.made.setdefault((instruction, kind), Block([jump]))
    return made
