"""What is known of the runs so far.

Owns `Profile` and the observations it hands out. Invariant: an observation is a snapshot; it does not change while
capture looks at it, even if another thread runs a twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from janusjit.profiler.recorder import Layout, Recorder, SiteCounters


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


@dataclass(frozen=True, slots=True)
class ScalarObservations:
    """Python numbers and NumPy scalars seen at a site.

    Attributes
    ----------
    kinds : dict
        Type to number of times.
    distinct : tuple
        The different values (by type and ``repr``), at most 8, in order of appearance.
    overflow : bool
        Whether there were more than that.
    minimum, maximum : int or None
        Of the Python ints.
    """

    count: int
    kinds: dict[type, int]
    distinct: tuple[Any, ...]
    overflow: bool
    minimum: int | None
    maximum: int | None

    @property
    def is_constant(self) -> bool:
        """Whether one value of one type was seen each time."""
        return len(self.distinct) == 1 and not self.overflow

    @property
    def constant(self) -> Any:
        """The value, if it was always the same, else None."""
        return self.distinct[0] if self.is_constant else None

    @property
    def evidence(self) -> str:
        """The observation in words."""
        kinds = " or ".join(sorted(kind.__name__ for kind in self.kinds))
        if self.is_constant:
            return f"always {kinds} {self.distinct[0]!r}, {self.count} of {self.count}"
        number = f"more than {len(self.distinct)}" if self.overflow else str(len(self.distinct))
        return f"always {kinds}, {number} values in {self.count}"


@dataclass(frozen=True, slots=True)
class ArrayObservations:
    """Arrays seen at a site: (dtype string, shape, C-contiguous) to number of times, at most 32 of them."""

    count: int
    layouts: dict[Layout, int]
    overflow: bool

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The different dtypes, as ``dtype.str``."""
        return tuple(dict.fromkeys(layout[0] for layout in self.layouts))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The different shapes."""
        return tuple(dict.fromkeys(layout[1] for layout in self.layouts))

    @property
    def evidence(self) -> str:
        """The observation in words."""
        dtypes = " or ".join(self.dtypes)
        if len(self.shapes) == 1:
            return f"always {dtypes} {self.shapes[0]}, {self.count} of {self.count}"
        more = "more than " if self.overflow else ""
        return f"{dtypes}, {more}{len(self.shapes)} shapes in {self.count}"


@dataclass(frozen=True, slots=True)
class Callee:
    """A callee of a site: a code object, a builtin, a type, or the type of another callable; and how often."""

    identity: Any
    count: int


class Profile:
    """Observations of a function and of everything it calls, by code object and site.

    Sites are those of the `FunctionCore` of the code object; parameter ``i`` is site ``-1 - i``. The observations are
    snapshots of `recorder`, which the twins go on writing to.
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

    def scalar(self, code: Any, site: int) -> ScalarObservations | None:
        """Numbers seen as the result of an instruction, or None if none was."""
        known = self._known(code)
        seen = None if known is None else known.scalars.get(site)
        if seen is None:
            return None
        values = tuple(seen.distinct.values())
        return ScalarObservations(seen.count, dict(seen.kinds), values, seen.overflow, seen.minimum, seen.maximum)

    def array(self, code: Any, site: int) -> ArrayObservations | None:
        """Arrays seen as the result of an instruction, or None if none was."""
        known = self._known(code)
        seen = None if known is None else known.arrays.get(site)
        return None if seen is None else ArrayObservations(seen.count, dict(seen.layouts), seen.overflow)

    def types(self, code: Any, site: int) -> dict[type, int]:
        """Types of the other values seen as the result of an instruction, with how often each."""
        known = self._known(code)
        return {} if known is None else dict(known.others.get(site, {}))

    def callees(self, code: Any, site: int) -> tuple[Callee, ...]:
        """What a Call called."""
        known = self._known(code)
        seen = {} if known is None else known.callees.get(site, {})
        return tuple(Callee(identity, count) for identity, count in list(seen.values()))
