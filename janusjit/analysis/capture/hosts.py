"""What Python runs in the middle of a graph.

Owns the decision, after a failed capture, which instruction is left to Python, and how a graph ends before it.
Invariant: an instruction is only left to Python where its whole control path is on the machine's stack; otherwise it is
the instruction around it.
"""

from __future__ import annotations

from janusjit.analysis.capture.calls import OUTLINE
from janusjit.analysis.capture.host_sites import HostSites
from janusjit.analysis.capture.machine import DROP, SUSPEND, Machine
from janusjit.analysis.capture.managers import suspend_to_enter
from janusjit.analysis.capture.numpy_memory import ORDER_ASKED, ORDER_UNKNOWN, order_asked, order_is_known
from janusjit.analysis.capture.signals import Terminated
from janusjit.analysis.capture.state import ControlEntry
from janusjit.analysis.capture.suspension import suspend, suspend_at_call
from janusjit.analysis.core import (
    Assert,
    Atom,
    Block,
    Break,
    Call,
    Constant,
    Continue,
    DeleteCell,
    For,
    If,
    Instruction,
    Local,
    Opaque,
    Operate,
    Raise,
    Return,
    Several,
    Try,
    While,
    With,
    Yield,
    YieldFrom,
)
from janusjit.analysis.jumps import after, contains, jumps_of
from janusjit.analysis.lifetimes import end_of_use
from janusjit.analysis.walk import operands_of
from janusjit.errors import CaptureFailure

#: instructions that direct control: Python runs the rest of the call from there
_CONTROL = (Assert, Break, Continue, For, If, Raise, Return, Try, While, With, Yield, YieldFrom)
#: instructions of which a host call cannot hand back what they do
_NOT_WHOLE = (Yield, YieldFrom, DeleteCell, Opaque)
#: failures that leaving one instruction to Python does not cure
_INCURABLE = frozenset(
    {
        ORDER_UNKNOWN,
        "gradient.recorded",
        "limit.capture_time",
        "limit.graph_size",
        "limit.hosts",
        "limit.joins",
        "limit.recursion",
        "python.equal_objects",
        "python.exception",
        "python.lifetime",
        "python.recursion",
    }
)
#: failures that making the turns of the loop that is to blame regions of their own may cure
_GROWN = frozenset({"limit.graph_size", "limit.recursion"})
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
    loop = isinstance(instruction, For | While) and instruction not in hosts.loops
    incurable = failure.code in _INCURABLE and not (loop and failure.code in _GROWN)
    if instruction is None or incurable or instruction in hosts.instructions:
        return False
    if loop:
        hosts.loops.add(instruction)
        return True
    if isinstance(instruction, While) and isinstance(instruction.condition, Local) and _asks_apart(hosts, instruction):
        return True
    if len(hosts.instructions) >= HOST_LIMIT:
        return False
    hosts.instructions[instruction] = failure
    return True


def _asks_apart(hosts: HostSites, loop: While) -> bool:
    """Make a loop one whose condition's truth is found by instructions of its test; False if it is one already."""
    if (loop, "truth") in hosts.made:
        return False
    steps, answer = _truth_of(loop, loop.condition)
    made = While(loop.site, loop.span, Block([*loop.test.instructions, *steps]), answer, loop.body, loop.orelse)
    hosts.made[loop, "truth"] = hosts.made[made, "truth"] = made
    hosts.loops.add(made)
    return True


def suspend_before(machine: Machine, instruction: Instruction) -> Terminated:
    """End the path before an instruction that Python runs."""
    failure = machine.hosts.instructions[instruction]
    if failure.code == ORDER_ASKED:
        for name in operands_of(instruction):
            _require_order(machine, name, failure)
    if machine.nested:
        raise machine.unsupported(failure.code, failure.construct, failure.reason, failure.category, failure.hint)
    if isinstance(instruction, With):
        return suspend_to_enter(machine, instruction, failure.reason, failure.code)
    if isinstance(instruction, If) and isinstance(instruction.condition, Local):
        return _suspend_at_truth(machine, instruction, instruction.condition, failure)
    if isinstance(instruction, Try) and _runs_as_a_whole(instruction):
        return _suspend_as_a_whole(machine, instruction, failure)
    if isinstance(instruction, Call) and instruction in machine.hosts.making:
        return _suspend_while_used(machine, instruction, failure)
    if isinstance(instruction, _CONTROL):
        return suspend(machine, "python", instruction, failure.reason, failure.code)
    return suspend(machine, "host", instruction, failure.reason, failure.code)


def _require_order(machine: Machine, name: str, failure: CaptureFailure) -> None:
    """Refuse to let Python look at the memory order of a local that may be another than in eager NumPy."""
    value = machine.frame.locals.get(name)
    if value is not None and not order_is_known(machine, value):
        raise order_asked(machine, value, failure.construct)


def _runs_as_a_whole(instruction: Instruction) -> bool:
    """Whether Python can run a ``try`` from its begin to its end, and hand back what it binds and how it is left."""
    return isinstance(instruction, Try) and not contains(instruction, _NOT_WHOLE)


def _suspend_as_a_whole(machine: Machine, instruction: Try, failure: CaptureFailure) -> Terminated:
    """Let Python run a ``try``; the jumps out of it follow."""
    if jumps_of(instruction):
        block: Block = machine.hosts.made.setdefault((instruction, "jumps"), after(instruction))
        machine.push(block)
        machine.frame.blocks[-1].index = 1
    return suspend(machine, "host", instruction, failure.reason, failure.code)


def _suspend_while_used(machine: Machine, call: Call, failure: CaptureFailure) -> Terminated:
    """Let Python make a generator, and run what follows as long as temporaries refer to it; or all that follows."""
    frame = machine.frame
    entry = frame.blocks[-1]
    first = entry.index - 1
    found: tuple[int, bool] | None = entry.index, False
    if machine.hosts.making[call]:
        found = end_of_use(frame.core, frame.namespace, entry.block, first)
    if found is None:
        return suspend(machine, "python", call, failure.reason, failure.code)
    entry.index, in_time = found
    instructions = entry.block.instructions[first : entry.index]
    made = Several(call.site, call.span, Block(instructions), in_time)
    together: Several = machine.hosts.made.setdefault((call, "several"), made)
    return suspend(machine, "host", together, failure.reason, failure.code)


def _suspend_at_truth(machine: Machine, instruction: If, condition: Local, failure: CaptureFailure) -> Terminated:
    """Let Python say whether a value is true."""
    steps, answer = _truth_of(instruction, condition)
    asked = If(instruction.site, instruction.span, answer, instruction.then, instruction.orelse)
    block: Block = machine.hosts.made.setdefault((instruction, "truth"), Block([*steps, asked]))
    machine.push(block)
    machine.frame.blocks[-1].index = 1
    return suspend(machine, "host", block.instructions[0], failure.reason, failure.code)


def _truth_of(instruction: Instruction, condition: Atom) -> tuple[list[Instruction], Local]:
    """Return instructions that find a value's truth, and where they leave it: ``.no = not value; .yes = not .no``."""
    site, span = instruction.site, instruction.span
    no, yes = f".not_{site}", f".truth_{site}"
    return [Operate(site, span, no, "not", condition), Operate(site, span, yes, "not", Local(no))], Local(yes)


def suspend_to_drop(machine: Machine, entry: ControlEntry) -> Terminated:
    """End the path where a variable has let go of a generator of Python's."""
    machine.dropping = False
    instruction = entry.block.instructions[entry.index - 1] if entry.index else getattr(entry, "instruction", None)
    if instruction is None:
        instruction = Return(-1, machine.span, Constant(None))  # stands for the begin of a block
    return suspend(machine, "commit", instruction, "a generator of Python's is dropped", "python.iterator")


DROP.append(suspend_to_drop)
SUSPEND.append(suspend_before)
OUTLINE.append(suspend_at_call)
