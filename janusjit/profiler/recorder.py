"""Counting what happens at the sites of a function.

Owns the mutable counters and the probe, the object that generated code calls. Invariants: a probe returns its argument
itself, raises nothing, runs no code of the user's objects and keeps no array alive; the memory a site takes is bounded,
however long the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

#: distinct values, layouts and callees kept for a site; past them, only that there were more
DISTINCT_VALUES = 8
DISTINCT_LAYOUTS = 32
DISTINCT_CALLEES = 8

Layout = tuple[str, tuple[int, ...], bool]
CalleeSubstitute = Callable[[Any], Any]


class ScalarCounter:
    """Python numbers and NumPy scalars seen at a site."""

    __slots__ = ("count", "distinct", "kinds", "maximum", "minimum", "overflow")

    def __init__(self) -> None:
        self.count = 0
        self.kinds: dict[type, int] = {}
        self.distinct: dict[tuple[type, Any], Any] = {}
        self.overflow = False
        self.minimum: Any = None
        self.maximum: Any = None

    def add(self, value: Any) -> None:
        """Count one value."""
        kind = type(value)
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if not self.overflow:
            key = (kind, value if kind is int else repr(value))
            if key not in self.distinct:
                if len(self.distinct) == DISTINCT_VALUES:
                    self.overflow = True
                else:
                    self.distinct[key] = value
        if kind is int:
            if self.minimum is None or value < self.minimum:
                self.minimum = value
            if self.maximum is None or value > self.maximum:
                self.maximum = value


class ArrayCounter:
    """Arrays seen at a site: dtype, shape and C-contiguity, with how often each."""

    __slots__ = ("count", "layouts", "overflow")

    def __init__(self) -> None:
        self.count = 0
        self.layouts: dict[Layout, int] = {}
        self.overflow = False

    def add(self, array: np.ndarray[Any, Any]) -> None:
        """Count one array."""
        self.count += 1
        layout = (array.dtype.str, array.shape, array.flags.c_contiguous)
        seen = self.layouts.get(layout)
        if seen is not None:
            self.layouts[layout] = seen + 1
        elif len(self.layouts) < DISTINCT_LAYOUTS:
            self.layouts[layout] = 1
        else:
            self.overflow = True


class SiteCounters:
    """Everything counted in one code object; parameter ``i`` is site ``-1 - i``."""

    __slots__ = ("arrays", "branches", "callees", "calls", "others", "scalars", "trips")

    def __init__(self) -> None:
        self.calls = 0
        self.branches: dict[int, list[int]] = {}
        self.trips: dict[int, list[int]] = {}
        self.scalars: dict[int, ScalarCounter] = {}
        self.arrays: dict[int, ArrayCounter] = {}
        self.others: dict[int, dict[type, int]] = {}
        self.callees: dict[int, dict[int, list[Any]]] = {}


_SCALARS = frozenset({int, float, bool, complex})
_NUMPY_SCALARS = (np.number, np.bool_)


class Probe:
    """What the generated code of one function calls.

    Parameters
    ----------
    counters : SiteCounters
        Where to count.
    substitute : callable
        Gives the profiled twin of a callee, or the callee itself.
    """

    __slots__ = ("counters", "substitute")

    def __init__(self, counters: SiteCounters, substitute: CalleeSubstitute) -> None:
        self.counters = counters
        self.substitute = substitute

    def enter(self, *arguments: Any) -> None:
        """Count a call and observe its arguments."""
        self.counters.calls += 1
        for position, argument in enumerate(arguments):
            self.value(-1 - position, argument)

    def branch(self, site: int, truth: bool) -> bool:
        """Count a branch; ``truth`` has been asked by the user's frame."""
        counts = self.counters.branches.get(site)
        if counts is None:
            counts = self.counters.branches[site] = [0, 0]
        counts[not truth] += 1
        return truth

    def trips(self, site: int, count: int) -> None:
        """Count one run of a loop that made ``count`` trips."""
        counts = self.counters.trips.get(site)
        if counts is None:
            self.counters.trips[site] = [count, count, 1, count]
            return
        if count < counts[0]:
            counts[0] = count
        elif count > counts[1]:
            counts[1] = count
        counts[2] += 1
        counts[3] += count

    def value(self, site: int, value: Any) -> Any:
        """Observe a value."""
        kind = type(value)
        if kind in _SCALARS or issubclass(kind, _NUMPY_SCALARS):
            scalars = self.counters.scalars.get(site)
            if scalars is None:
                scalars = self.counters.scalars[site] = ScalarCounter()
            scalars.add(value)
        elif kind is np.ndarray:
            arrays = self.counters.arrays.get(site)
            if arrays is None:
                arrays = self.counters.arrays[site] = ArrayCounter()
            arrays.add(value)
        else:
            kinds = self.counters.others.setdefault(site, {})
            if kind in kinds or len(kinds) < DISTINCT_VALUES:
                kinds[kind] = kinds.get(kind, 0) + 1
        return value

    def callee(self, site: int, function: Any) -> Any:
        """Observe a callee; return what to call in its place."""
        identity = callee_identity(function)
        seen = self.counters.callees.setdefault(site, {})
        entry = seen.get(id(identity))
        if entry is not None:
            entry[1] += 1
        elif len(seen) < DISTINCT_CALLEES:
            seen[id(identity)] = [identity, 1]
        return self.substitute(function)


def callee_identity(function: Any) -> Any:
    """Return what a callee is known by, without keeping an instance alive.

    The code object of a Python function or method, a builtin function or type itself, and the type of anything else.
    """
    kind = type(function)  # never isinstance, which asks objects for their __class__
    if kind is MethodType:
        function = function.__func__
        kind = type(function)
    if kind is FunctionType:
        return function.__code__
    if kind is np.ufunc or issubclass(kind, type):
        return function
    if kind is BuiltinFunctionType:
        owner = function.__self__
        return function if owner is None or type(owner) is ModuleType else type(owner)
    return kind


class Recorder:
    """Counters by code object."""

    def __init__(self) -> None:
        self._counters: dict[int, tuple[CodeType, SiteCounters]] = {}

    def counters(self, code: CodeType) -> SiteCounters:
        """Return the counters of a code object, making them if they are new."""
        found = self._counters.get(id(code))
        if found is None:
            found = self._counters.setdefault(id(code), (code, SiteCounters()))
        return found[1]

    def known(self, code: Any) -> SiteCounters | None:
        """Return the counters of a code object, or None if it never ran."""
        found = self._counters.get(id(code))
        return None if found is None else found[1]

    def codes(self) -> list[CodeType]:
        """Return the code objects that ran."""
        return [code for code, _ in self._counters.values()]
