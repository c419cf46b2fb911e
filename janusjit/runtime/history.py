"""What guarded expressions have been, over the calls at which their guards failed.

Owns `History`, kept for each (expression, code) of a function, and the names of patterns in it. Invariant: memory is
bounded whatever the user's program does.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

from janusjit.runtime.events import Difference, ValueHistory

_DISTINCT = 8
_RECENT = 64


@dataclass(slots=True)
class _Record:
    distinct: dict[str, None] = field(default_factory=dict)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    count: int = 0
    unbounded: bool = False
    first_call: int = 0
    last_call: int = 0
    seconds: float = 0.0


class History:
    """The histories of one function's guarded expressions."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], _Record] = {}

    def add(self, difference: Difference, call: int, seconds: float) -> tuple[ValueHistory, float]:
        """Note a failure; return the expression's history and the seconds it has cost so far."""
        key = (difference.expression, difference.code)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(first_call=call)
        if difference.actual in record.distinct or len(record.distinct) < _DISTINCT:
            record.distinct[difference.actual] = None
        else:
            record.unbounded = True
        record.recent.append(difference.actual)
        record.count += 1
        record.last_call = call
        record.seconds += seconds
        history = ValueHistory(
            tuple(record.distinct), record.count, record.first_call, call, _pattern(record, difference)
        )
        return history, record.seconds


def _pattern(record: _Record, difference: Difference) -> str:
    values = list(record.recent)
    numbers = _numbers(values)
    if record.count == 1:
        return _first_pattern(difference)
    if len(record.distinct) == 1:
        return "repeated"
    if numbers is not None and len(numbers) > 2:
        steps = {b - a for a, b in itertools.pairwise(numbers)}
        if len(steps) == 1:
            return "counter"
        if all(step > 0 for step in steps) or all(step < 0 for step in steps):
            return "schedule"
    if len(record.distinct) == 2 and all(a != b for a, b in itertools.pairwise(values)):
        return "alternating"
    return "unbounded" if record.unbounded else "varying"


def _first_pattern(difference: Difference) -> str:
    expected, actual = _numbers([difference.expected]), _numbers([difference.actual])
    if difference.code == "array.shape" and expected and actual and 0 < actual[0] < expected[0]:
        return "short last batch"
    return "once"


def _numbers(texts: list[str]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None
