"""Making a function ready for its profiled calls while others go on in Python.

Owns `Preparation`. Invariants: nothing is made ready beside calls unless the call that asks for it is one of many, so
that what it misses, a loop that is taken over while it runs, another one has; a profiled call that had to leave out
functions whose twins were not ready is not one of those that capture waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import FunctionType
from typing import Protocol

from janusjit.analysis.twin import Twins
from janusjit.pacing import is_paced
from janusjit.runtime.building import Builder
from janusjit.runtime.surroundings import is_one_of_many

#: profiled calls that may leave out functions; one that has new functions to call each time gets their twins at once
_MOST_PARTIAL = 8


class Prepared(Protocol):
    """A function made ready, as far as it is looked at here."""

    @property
    def twins(self) -> Twins | None:
        """All the twins that write to the profile."""


class Preparation:
    """The preparation of one function.

    Parameters
    ----------
    builder : Builder
        Has the thread that works beside the program.
    prepare : callable
        Makes the function's own twin, and keeps it; None if that cannot be done.
    rest, resume : callable
        Let calls run in plain Python, and end that.
    allowed : bool
        Whether anything may be made ready beside calls at all.

    Attributes
    ----------
    under_way : bool
        Whether something is being made ready.
    partial_calls : int
        How many profiled calls have left out functions.
    future : Future or None
        The last work that was begun.
    """

    def __init__(
        self,
        builder: Builder,
        prepare: Callable[[], Prepared | None],
        rest: Callable[[], None],
        resume: Callable[[], None],
        allowed: bool,
    ) -> None:
        self._builder, self._prepare, self._rest, self._resume = builder, prepare, rest, resume
        self._allowed = allowed
        self._decided = not allowed
        self._twins: Twins | None = None
        self._missing: list[FunctionType] = []
        self._left_out = 0
        self._lock = threading.Lock()
        self.under_way = False
        self.partial_calls = 0
        self.future: Future[None] | None = None

    def puts_off(self) -> bool:
        """Whether a call has to run in plain Python because the function is not ready; begin with that if need be."""
        if not self._decided:
            self._decided = True
            if is_one_of_many():
                self._begin()
        return self.rests()

    def rests(self) -> bool:
        """Let calls run in plain Python while something is being made ready; return whether it is."""
        if self.under_way:
            self._rest()
            if not self.under_way:  # it was done before calls began to rest
                self._resume()
        return self.under_way

    def _begin(self) -> None:
        """Have done on the other thread what there is to do."""
        self.under_way, self.future = True, None
        try:
            self.future = self._builder.beside(self._work)
        finally:
            if self.future is None:  # no thread is to be had
                self.under_way = self._allowed = False

    def _work(self) -> None:
        try:
            if self._twins is None:
                self._make_ready()
            while (function := self._next_missing()) is not None:
                assert self._twins is not None
                self._twins.of(function)
        finally:
            self.under_way = False
            self._resume()

    def _make_ready(self) -> None:
        prepared = self._prepare()
        self._twins = None if prepared is None else prepared.twins
        if self._twins is not None:
            self._twins.later = self._leave_out

    # ------------------------------------------------------------------ functions that are called

    def _leave_out(self, function: FunctionType) -> bool:
        """Whether to run a function of which there is no twin as it is; its twin is made meanwhile."""
        if is_paced() or not self._allowed:
            return False
        with self._lock:
            self._left_out += 1
            self._missing.append(function)
            begins, self.under_way = not self.under_way, True
        if begins:
            self._begin()
        return self._allowed

    def _next_missing(self) -> FunctionType | None:
        with self._lock:
            self.under_way = bool(self._missing)
            return self._missing.pop() if self._missing else None

    def begin_call(self) -> int:
        """Return what `end_call` has to be told of a profiled call."""
        return self._left_out

    def end_call(self, before: int) -> None:
        """Take note of the end of a profiled call, which may have left out functions."""
        if self._left_out == before:
            return
        self.partial_calls += 1
        if self.partial_calls == _MOST_PARTIAL and self._twins is not None:
            self._twins.later = None
        self.rests()

    def forget_thread(self) -> None:
        """Forget, in a forked child, what the other thread was doing."""
        self._lock = threading.Lock()
        self._missing.clear()
        if self.under_way:
            self.under_way, self.future = False, None
            self._decided = not self._allowed or self._twins is not None
            self._resume()
