"""What Python runs in the middle of a graph.

Owns the decision, after a failed capture, which instruction is left to Python, and how a graph ends before it.
Invariant: an instruction is only left to Python where its whole control path is on the machine's stack; otherwise it is
the instruction around it.
"""

from __future__ import annotations

from janusjit.analysis.capture.calls import OUTLINE
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.machine import SUSPEND, Machine
from janusjit.analysis.capture.managers import suspend_to_enter
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.suspension import suspend, suspend_at_call
from janusjit.analysis.core import (
    Assert,
    Block,
    Break,
    Continue,
    DeleteCell,
    DeleteLocal,
    For,
    If,
    Instruction,
    Local,
    Opaque,
    Operate,
    Raise,
    Return,
    Try,
    While,
    With,
    Yield,
    YieldFrom,
)
from janusjit.analysis.walk import blocks_of, walk, writes_of
from janusjit.errors import CaptureFailure

#: instructions that direct control: Python runs the rest of the call from there
_CONTROL = (Assert, Break, Continue, For, If, Raise, Return, Try, While, With, Yield, YieldFrom)
#: failures that leaving one instruction to Python does not cure
_INCURABLE = frozenset(
    {"limit.graph_size", "limit.recursion", "limit.joins", "python.exception", "limit.hosts", "python.recursion"}
)
#: failures of unfolding a recursion
_ENDLESS = frozenset({"limit.graph_size", "limit.recursion", "python.recursion", "limit.joins"})
#: how many instructions of a function Python may run before the whole function is left to it
HOST_LIMIT = 40


def leave_to_python(hosts: HostSites, failure: CaptureFailure) -> bool:
    """Note that Python runs what could not be captured; False if that is no way out."""
    if hosts.recursive and not hosts.outlined and failure.code in _ENDLESS:
        hosts.outlined = True
        return True
    instruction = failure.instruction
    if instruction is None or failure.code in _INCURABLE or instruction in hosts.instructions:
        return False
    if isinstance(instruction, For | While) and instruction not in hosts.loops:
        hosts.loops.add(instruction)
        return True
    if len(hosts.instructions) >= HOST_LIMIT:
        return False
    hosts.instructions[instruction] = failure
    return True


def suspend_before(machine: Machine, instruction: Instruction) -> Terminated:
    """End the path before an instruction that Python runs."""
    failure = machine.hosts.instructions[instruction]
    if machine.nested:
        raise machine.unsupported(failure.code, failure.construct, failure.reason, failure.category, failure.hint)
    if isinstance(instruction, With):
        return suspend_to_enter(machine, instruction, failure.reason, failure.code)
    if isinstance(instruction, If) and isinstance(instruction.condition, Local):
        return _suspend_at_truth(machine, instruction, instruction.condition, failure)
    if isinstance(instruction, _CONTROL) and not _runs_as_a_whole(machine, instruction):
        return suspend(machine, "python", instruction, failure.reason, failure.code)
    return suspend(machine, "host", instruction, failure.reason, failure.code)


def _runs_as_a_whole(machine: Machine, instruction: Instruction) -> bool:
    """Whether Python can run a ``try`` from its begin to its end and then hand back the variables it binds."""
    if not isinstance(instruction, Try):
        return False
    inside = [instruction, *walk(Block([instruction]))]
    if any(isinstance(item, (Return, Yield, YieldFrom, DeleteLocal, DeleteCell, Opaque)) for item in inside):
        return False
    bound = {name for item in inside for name in writes_of(item) if not name.startswith(".")}
    taken = {handler.name for handler in instruction.handlers if handler.name is not None}  # unbound afterwards
    names = set(machine.frame.locals) | set(machine.frame.cells)
    return bound <= names and not taken & names and not _jumps(instruction)


def _jumps(instruction: Try) -> bool:
    """Whether a ``break`` or ``continue`` leaves a statement."""
    blocks = [instruction.body, instruction.orelse, instruction.final, *(h.body for h in instruction.handlers)]
    return any(_leaves(block) for block in blocks)


def _leaves(block: Block) -> bool:
    for instruction in block.instructions:
        if isinstance(instruction, Break | Continue):
            return True
        if isinstance(instruction, For | While):
            if _leaves(instruction.orelse):
                return True
        elif any(_leaves(inner) for inner in blocks_of(instruction)):
            return True
    return False


def _suspend_at_truth(machine: Machine, instruction: If, condition: Local, failure: CaptureFailure) -> Terminated:
    """Let Python say whether a value is true: ``.not = not condition; .truth = not .not; if .truth: …``."""
    site, span = instruction.site, instruction.span
    no, yes = f".not_{site}", f".truth_{site}"
    asked = If(site, span, Local(yes), instruction.then, instruction.orelse)
    steps = [Operate(site, span, no, "not", condition), Operate(site, span, yes, "not", Local(no)), asked]
    block: Block = machine.hosts.made.setdefault((instruction, "truth"), Block(steps))
    machine.push(block)
    machine.frame.blocks[-1].index = 1
    return suspend(machine, "host", block.instructions[0], failure.reason, failure.code)


SUSPEND.append(suspend_before)
OUTLINE.append(suspend_at_call)
