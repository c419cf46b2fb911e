"""Functions that one definition makes again and again, each of which is jitted.

Owns `Generations`. Invariant: past the first few functions of a definition, what it takes to begin with another one is
a small part of the time that passes, unless the graphs of those before have saved as much as they took.
"""

from __future__ import annotations

import math
import time
import types
import weakref
from typing import Protocol

#: functions of a definition that begin at once
_FREE = 8
#: the part of the passing time that beginnings may take in the end: one in so many
_LEAST_PART = 64
#: how long it is not looked again what the functions before have saved
_LOOK_SECONDS = 0.05


class Beginning(Protocol):
    """The life of a function, as far as it is looked at here."""

    def paid(self) -> tuple[float, float]:
        """Return the seconds that profiling and compilation have taken, and those that graphs have saved."""


class Generations:
    """The functions that one definition has made."""

    def __init__(self) -> None:
        self._begun = 0
        self._last = self._again = -math.inf
        self._lives: list[tuple[weakref.ref[Beginning], tuple[float, float]]] = []
        self._gone = (0.0, 0.0)

    def may_begin(self) -> bool:
        """Whether one more of the functions may be profiled and compiled now."""
        if self._begun < _FREE:
            return True
        now = time.perf_counter()
        if now < self._again:
            return False
        taken, saved = self._paid()
        earned = self._last + min(2 ** (self._begun - _FREE + 1), _LEAST_PART) * taken / self._begun
        if saved >= taken or now >= earned:
            return True
        self._again = min(earned, now + _LOOK_SECONDS)
        return False

    def began(self, life: Beginning) -> None:
        """Take note that a function's life has begun: it is run under the profiler."""
        self._paid()
        self._begun += 1
        self._last = time.perf_counter()
        self._lives.append((weakref.ref(life), (0.0, 0.0)))

    def _paid(self) -> tuple[float, float]:
        """Return what all lives have taken and saved; of one that is gone, as far as it was looked at before."""
        lives, self._lives = self._lives, []
        found = self._gone
        for reference, before in lives:
            life = reference()
            now = before if life is None else life.paid()
            if life is None:
                self._gone = (self._gone[0] + now[0], self._gone[1] + now[1])
            else:
                self._lives.append((reference, now))
            found = (found[0] + now[0], found[1] + now[1])
        return found


_KNOWN: weakref.WeakKeyDictionary[types.CodeType, Generations] = weakref.WeakKeyDictionary()


def generations_of(function: types.FunctionType) -> Generations | None:
    """Return what is known of the functions of the same definition; None where it makes a single one."""
    if "<locals>" not in function.__qualname__:
        return None
    return _KNOWN.setdefault(function.__code__, Generations())
