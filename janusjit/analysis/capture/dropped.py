"""Where generators and objects go: when nothing refers to one any more, Python runs what it has left to do.

Owns `check_generators`, for generators made inside, and `lifetime_seen`, for objects of which a program can see when
they are dropped. Invariants: where a variable lets go of a generator of Python's, the graph ends at a commit point that
does not know it any more, so the generator goes after the effects before and ahead of those that follow. A function
that makes an object with a finalizer, or a weak reference to anything but a constant, is Python's as a whole: compiled
code makes only objects that something refers to, and lets go of them when they are not needed any more.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Sequence

from janusjit.analysis.capture.calls import models, unknown_callee
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.state import GeneratorObject, State
from janusjit.analysis.capture.values import AbstractValue, Known
from janusjit.errors import CaptureFailure

REFERRED = "a weak reference tells when an object is dropped"


def check_generators(machine: Machine, state: State, kept: Container[int] = ()) -> None:
    """Refuse to let go of a generator that Python would run on: all but those at the heap indices ``kept``."""
    for index, item in state.heap.items():
        if isinstance(item, GeneratorObject) and item.unfinished and index not in kept:
            reason = "a generator is left inside a try or with, which Python finishes"
            failure = machine.unsupported("python.generator", "generator", reason)
            if item.maker is not None and item.maker not in machine.hosts.instructions:
                failure.instruction = item.maker
            raise failure


def lifetime_seen(machine: Machine, name: str, reason: str) -> CaptureFailure:
    """Return the failure that leaves a function to Python as a whole."""
    return machine.unsupported("python.lifetime", f"{name}()", reason)


@models(weakref.ref, weakref.proxy)
def _model_weak_reference(
    machine: Machine, arguments: Sequence[AbstractValue], keywords: dict[str, AbstractValue]
) -> AbstractValue:
    if arguments and isinstance(machine.resolve(arguments[0]), Known):
        raise unknown_callee(machine, "weakref.ref")
    raise lifetime_seen(machine, "weakref.ref", REFERRED)
