"""What a plan's steps are expected to take.

Owns `Kernel`, `PlanNotes` and `KernelTimes`. Invariant: an estimate says what the cost model expected when it chose;
what was measured stands beside it and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """A step of a plan that does some work.

    Attributes
    ----------
    step : int
        Its number in the plan.
    text : str
        What it computes and how: the physical operator that was chosen.
    where : str
        The line of source of its last operation.
    nanoseconds : float or None
        What it is expected to take; None where sizes are known at run time only, or nothing is known of it.
    """

    step: int
    text: str
    where: str
    nanoseconds: float | None = None


@dataclass(frozen=True, slots=True)
class PlanNotes:
    """What there is to say of a plan: its text, and the kernels in it."""

    text: str
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """What a kernel took when it was measured.

    Attributes
    ----------
    count : int
        How often it has run to its end.
    total, least : int
        Nanoseconds of all runs, and of the quickest.
    """

    count: int
    total: int
    least: int
