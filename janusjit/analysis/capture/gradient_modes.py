"""Whether operations on variables are recorded, on a control path.

Owns the models of `no_grad` and what capture knows of the mode. Invariant: the mode of a call's beginning is guarded;
a mode that code enters is a deferred effect while it lasts, so that Python, where it goes on, is in the mode that eager
would be in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janusjit.analysis.capture.attributes import get_attribute
from janusjit.analysis.capture.calls import models
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import DeferredCall, ListObject
from janusjit.analysis.capture.values import NONE, AbstractValue, Known, Reference
from janusjit.analysis.recording_mode import MODE, Mode, mode_with, no_grad
from janusjit.ir.guards import ContextValueIs

_SET = Known(MODE.set)


@dataclass(frozen=True, slots=True, eq=False)
class TapeMode(AbstractValue):
    """A mode in which tapes of the function record: it exists in capture only, so no exit can let Python enter it."""

    value: Mode


def mode(machine: Machine) -> Mode:
    """Return the mode on the present control path.

    Its tapes are the heap indices of tapes made in the function.

    Raises
    ------
    CaptureFailure
        If a tape from outside is recording: it would not see what compiled code does.
    """
    for call in reversed(machine.state.effects):
        if call.function is _SET:
            found: Mode = call.arguments[0].value  # type: ignore[attr-defined]
            return found
    present = MODE.get()
    if present.tapes:
        raise machine.unsupported("gradient.tape", "GradientTape", "a tape from outside the function is recording")
    guard = ContextValueIs(MODE, present, span=machine.span)
    machine.externals.guard(("context", id(MODE)), guard)
    return present


def set_mode(machine: Machine, wanted: Mode) -> None:
    """Let another mode begin."""
    effects = machine.state.effects
    if effects and effects[-1].function is _SET:
        effects.pop()
    if not _same(mode(machine), wanted):
        effects.append(DeferredCall(_SET, (TapeMode(wanted) if wanted.tapes else Known(wanted),)))


def _same(one: Mode, other: Mode) -> bool:
    return one.enabled == other.enabled and one.tapes == other.tapes


@models(no_grad.__enter__)
def _model_enter(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    before = mode(machine)
    _entered(machine, arguments[0]).append(TapeMode(before) if before.tapes else Known(before))
    set_mode(machine, mode_with(False, before.tapes))
    return NONE


@models(no_grad.__exit__)
def _model_exit(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    before = machine.resolve(_entered(machine, arguments[0]).pop())
    assert isinstance(before, Known | TapeMode)
    set_mode(machine, before.value)
    return NONE


def _entered(machine: Machine, manager: AbstractValue) -> list[AbstractValue]:
    """Return the modes that a manager is to restore."""
    held = get_attribute(machine, manager, "_before")
    item = machine.heap(held) if isinstance(held, Reference) else None
    if not isinstance(item, ListObject) or item.place is not None:
        raise machine.unsupported("gradient.mode", "no_grad", "the context manager is from outside the function")
    return item.items
