"""Loops over ranges of which the number of turns may be assumed.

Owns `assumable_range`. Invariant: it assumes nothing; who unrolls the loop does.
"""

from __future__ import annotations

from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import IteratorObject
from janusjit.analysis.capture.values import Known, RangeValue, Reference, Scalar
from janusjit.analysis.core import For, Instruction


def assumable_range(machine: Machine, loop: Instruction) -> tuple[IteratorObject, RangeValue] | None:
    """Return the iterator and the range of a ``for`` loop whose number of turns is known, or may be assumed."""
    reference = machine.get(loop.iterator) if isinstance(loop, For) else None
    iterator = machine.heap(reference) if isinstance(reference, Reference) else None
    if not isinstance(iterator, IteratorObject) or iterator.kind != "range":
        return None
    source = iterator.sources[0]
    assert isinstance(source, RangeValue)
    parts = (source.start, source.stop, source.step)
    here = machine.span, machine.site
    machine.span, machine.site = loop.span, loop.site  # it is of the loop that an assumption may have been given up
    known = [isinstance(part, Known) or (isinstance(part, Scalar) and machine.may_specialize(part)) for part in parts]
    machine.span, machine.site = here
    return (iterator, source) if all(known) else None
