"""What run-time numbers are in the call that capture looks at.

Owns how that is followed through arithmetic (`followed`), and the making of a constant of such a number (`specialize`).
Invariant: a number is only taken for a constant where a guard holds it, or the numbers from outside that it is computed
from, to what they are now.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from janusjit.analysis.capture.values import AbstractValue, Known, Scalar

if TYPE_CHECKING:
    from janusjit.analysis.capture.machine import Machine

#: operators through which it is followed of which numbers from outside a number is made; what others give, as ``%``,
#: may stay the same where those vary
_TRACED = frozenset(("+", "-", "*", "/", "//", "**"))


def followed(function: Callable[..., Any], *operands: AbstractValue, symbol: str = "+") -> dict[str, Any]:
    """Return the fields of a `Scalar` that say what a function of Python numbers is in this call.

    Parameters
    ----------
    function : callable
        What computes it.
    *operands : AbstractValue
        The numbers.
    symbol : str
        The operator.
    """
    samples = [_sample_of(operand) for operand in operands]
    if any(type(sample) not in (int, bool, float) for sample in samples):
        return {}
    try:
        sample = function(*samples)
    except (ArithmeticError, ValueError, TypeError):  # raised where it is run
        return {}
    if type(sample) is float:
        fits = math.isfinite(sample)
    else:
        fits = type(sample) in (int, bool) and -(2**63) <= sample < 2**63
    return {"sample": sample, "origins": _together(operands) if symbol in _TRACED else None} if fits else {}


def _sample_of(value: AbstractValue) -> Any:
    """Return what a number is in this call; floats from outside are taken to vary."""
    if isinstance(value, Known):
        return value.value
    if not isinstance(value, Scalar) or (value.place is not None and type(value.sample) is float):
        return None
    return value.sample


def _origins_of(value: AbstractValue) -> tuple[Any, ...] | None:
    if isinstance(value, Scalar):
        return ((value.place, value.sample),) if value.place is not None else value.origins
    return ()


def _together(operands: tuple[AbstractValue, ...]) -> tuple[Any, ...] | None:
    found = {}
    for operand in operands:
        origins = _origins_of(operand)
        if origins is None:
            return None
        found.update({id(place): (place, live) for place, live in origins})
    return tuple(found.values())


def may_specialize(machine: Machine, value: Scalar) -> bool:
    """Whether a run-time number may be assumed to be what it is in the call capture looks at."""
    if value.sample is None or isinstance(value.sample, float):
        return False
    if value.place is not None:
        return machine.externals.may_assume_value(value.place)
    return _origins_may_be_assumed(machine, value) or machine.value_key() not in machine.relaxations


def _origins_may_be_assumed(machine: Machine, value: Scalar) -> bool:
    return bool(value.origins) and all(machine.externals.may_assume_value(place) for place, _ in value.origins or ())


def specialize(machine: Machine, value: Scalar) -> Any:
    """Guard that a run-time number has the value it has now, and return that value."""
    if value.place is not None:
        machine.externals.guard_value(value.place, value.sample)
        return value.sample
    if _origins_may_be_assumed(machine, value):
        for place, live in value.origins or ():
            machine.externals.guard_value(place, live)
        return value.sample
    wanted = machine.emit("constant", value=int(value.sample), dtype=value.value.type.dtype)
    guard = machine.guard("value", machine.span.text or "value", repr(value.sample), machine.value_key())
    machine.require(machine.emit("equal", value.value, wanted), guard)
    return value.sample


def assumed(machine: Machine, value: AbstractValue) -> AbstractValue:
    """Return a number as a constant where guards hold it, or what it is computed from, to what it is now already."""
    if not isinstance(value, Scalar) or type(value.sample).__name__ != value.kind:
        return value
    origins = _origins_of(value)
    if origins and all(machine.externals.is_assumed(place) for place, _ in origins):
        return Known(value.sample)
    return value
