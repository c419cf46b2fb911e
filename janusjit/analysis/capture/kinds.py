"""Instructions on values that are of one of several kinds.

Owns `step_by_kind`. Invariant: an instruction whose rule looks into an `EitherValue` is captured once for each of its
kinds, each time under the condition that the value is of that kind, and what it leaves is joined like the arms of a
branch; so it does what Python does with a value of the kind there is, and fails where that would.
"""

from __future__ import annotations

from collections.abc import Sequence

from janusjit.analysis.capture.arrays import constant
from janusjit.analysis.capture.control import fork, site_key
from janusjit.analysis.capture.machine import STEP_BY_KIND, Machine
from janusjit.analysis.capture.signals import EitherUsed, PythonRaise, Unwinding
from janusjit.analysis.capture.values import AbstractValue, EitherValue


def step_by_kind(machine: Machine) -> None:
    """Execute one instruction, or leave a finished block; once for each kind of a value that it needs the kind of."""
    region, size, born = machine.region, len(machine.region.nodes), len(machine.births)
    before = machine.state.remember()
    try:
        machine.step()
    except EitherUsed as used:
        if machine.born_since(used.value.which, born):
            before.forget()
            raise  # it was made by what the instruction has run so far, and that would be run again
        del region.nodes[size:]
        machine.state, machine.region = before.state(), region
        _follow(machine, used.value, used.value.options)
    except BaseException:
        before.forget()
        raise
    else:
        before.forget()


def _follow(machine: Machine, value: EitherValue, options: Sequence[tuple[int, AbstractValue]]) -> None:
    """Take the step that is due for a value that is one of some options."""
    (number, option), *others = options
    if not others:
        _step_with(machine, value, option)
        return
    entry = machine.frame.blocks[-1]
    finished = entry.index == len(entry.block.instructions)
    due = getattr(entry, "instruction", None) if finished else entry.block.instructions[entry.index]
    if due is not None:
        machine.span, machine.site = due.span, due.site
    key = (*site_key(machine, "branch"), "kind", number)
    decision = machine.decisions.get(key)
    if decision == "guard":
        raise machine.unsupported("python.join", machine.span.text or "operation", "its result is of several kinds")
    fork(
        machine,
        machine.emit("equal", value.which, constant(machine, number, "i64")),
        lambda: _step_with(machine, value, option),
        lambda: _follow(machine, value, others),
        key,
        (int(number != 0), 1),  # most operations on None raise: that none has been seen
        decision == "split",
    )


def _step_with(machine: Machine, value: EitherValue, option: AbstractValue) -> None:
    machine.state.refined[value.identity] = option
    try:
        step_by_kind(machine)
    except PythonRaise as raised:
        machine.unwind(Unwinding("raise", raised))


STEP_BY_KIND.append(step_by_kind)
