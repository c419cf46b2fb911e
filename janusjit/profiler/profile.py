"""What is known of the runs so far.

Owns `Profile` and the observations it hands out. Invariant: an observation is a snapshot; it does not change while
capture looks at it, even if another thread runs a twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from janusjit.profiler.recorder import Recorder, SiteCounters


@dataclass(frozen=True, slots=True)
class BranchCounts:
    """How often a branch was taken (``true``) and not (``false``)."""

    true: int = 0
    false: int = 0

    @property
    def total(self) -> int:
        """How often the branch was reached."""
        return self.true + self.false

    @property
    def evidence(self) -> str:
        """The counts in words."""
        if not self.total:
            return "never reached"
        if not self.false:
            return f"always true, {self.true} of {self.total}"
        if not self.true:
            return f"always false, {self.false} of {self.total}"
        return f"true {self.true} of {self.total}"


@dataclass(frozen=True, slots=True)
class TripCounts:
    """Trips of a loop: least, most, how many times the loop ran, and all trips together."""

    minimum: int = 0
    maximum: int = 0
    loops: int = 0
    total: int = 0

    @property
    def constant(self) -> int | None:
        """The trip count, if it was always the same."""
        return self.minimum if self.loops and self.minimum == self.maximum else None

    @property
    def evidence(self) -> str:
        """The counts in words."""
        if not self.loops:
            return "never run"
        if self.minimum == self.maximum:
            return f"always {self.minimum} trips, {self.loops} of {self.loops}"
        return f"{self.minimum} to {self.maximum} trips, {self.loops} loops"


class Profile:
    """Observations of a function and of everything it calls, by code object and site.

    Sites are those of the `FunctionCore` of the code object. The observations are snapshots of `recorder`, which the
    twins go on writing to.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self.recorder = Recorder() if recorder is None else recorder

    def _known(self, code: Any) -> SiteCounters | None:
        return self.recorder.known(code)

    def calls(self, code: Any) -> int:
        """How often the function ran under the profiler."""
        known = self._known(code)
        return 0 if known is None else known.calls

    def branch(self, code: Any, site: int) -> BranchCounts:
        """Observations of an If, While or Assert."""
        known = self._known(code)
        counts = None if known is None else known.branches.get(site)
        return BranchCounts() if counts is None else BranchCounts(*counts)

    def trips(self, code: Any, site: int) -> TripCounts:
        """Observations of a For or While."""
        known = self._known(code)
        counts = None if known is None else known.trips.get(site)
        return TripCounts() if counts is None else TripCounts(*counts)
