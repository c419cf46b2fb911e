"""The answer to "would this call run in a graph?".

Owns `Explanation`. Invariant: it is data, printed by ``str``; making it runs nothing of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass

from janusjit.runtime.events import Cause, Difference


@dataclass(frozen=True, slots=True)
class SpecializationExplanation:
    """Which of one specialization's entry guards would fail.

    Attributes
    ----------
    number : int
        The specialization.
    guards : int
        How many entry guards it has.
    failing : tuple of Difference
        Those that would fail, in the user's terms; empty where the call would enter the graph.
    """

    number: int
    guards: int
    failing: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        """Whether the call would enter this specialization's graph."""
        return not self.failing


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which specializations would serve a call, and what keeps the others from it.

    Attributes
    ----------
    function : str
        The jitted function.
    specializations : tuple of SpecializationExplanation
        In the order in which they would be tried.
    reason : Cause or None
        Why the function runs in plain Python for good.
    """

    function: str
    specializations: tuple[SpecializationExplanation, ...]
    reason: Cause | None = None

    @property
    def holds(self) -> bool:
        """Whether the call would enter a graph."""
        return any(item.holds for item in self.specializations)

    @property
    def failing(self) -> tuple[Difference, ...]:
        """What keeps the call from the nearest specialization; empty where it would enter one."""
        if not self.specializations or self.holds:
            return ()
        return min((item.failing for item in self.specializations), key=len)

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.function} runs in plain Python: {self.reason.text}"
        if not self.specializations:
            return f"{self.function} has no specialization yet"
        lines = [f"{self.function}:"]
        for item in self.specializations:
            if item.holds:
                lines.append(f"  specialization {item.number}: all {item.guards} entry guards hold")
                continue
            lines.append(f"  specialization {item.number}: {len(item.failing)} of {item.guards} entry guards fail")
            lines += [f"    {_line(difference)}" for difference in item.failing]
        return "\n".join(lines)


def _line(difference: Difference) -> str:
    evidence = f", {difference.evidence}" if difference.evidence else ""
    text = f"{difference.expression}: expected {difference.expected}, got {difference.actual}"
    return f"{text}  [{difference.code}]  assumed at {difference.assumption}{evidence}"
