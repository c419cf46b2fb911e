"""Python functions as they run while a gradient is recorded.

Owns `RecordingTwins`. Invariant: such a twin does what the function does, but that an array it has just made, which
nothing else refers to, may come to hold differentiated values, and that builtins that would turn a differentiated value
into a plain one are recorded.
"""

from __future__ import annotations

import builtins
import collections
import math
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any, Protocol

import numpy as np

from janusjit.analysis.capture.calls import MODELS
from janusjit.analysis.core import FunctionCore
from janusjit.analysis.generate import Generated, Mode
from janusjit.analysis.generate.emitter import RUNTIME
from janusjit.analysis.stored_values import StoredValues
from janusjit.analysis.twin import Twins
from janusjit.analysis.variables import plain
from janusjit.profiler.profile import Profile
from janusjit.profiler.recorder import CalleeSubstitute, Probe, SiteCounters


class Recorder(Protocol):
    """The recording of a gradient."""

    def constant(self, array: np.ndarray[Any, Any]) -> Any:
        """Return an array that nothing else refers to as one that may come to hold differentiated values."""

    def holds(self, value: Any) -> bool:
        """Whether a value is being differentiated, or is a list or tuple of such."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record a call."""

    @property
    def stored(self) -> StoredValues:
        """What the function stores."""


Active = Callable[[], Recorder | None]

#: what makes a number of a variable
_NUMBERS = frozenset({
    float,
    builtins.round,
    np.float64,
    np.float32,
    *(value for name, value in vars(math).items() if callable(value) and not name.startswith("_")),
})  # fmt: skip
#: what looks at its arguments' type or memory: called as it is, it would lose the gradient or raise TypeError
_ROUTED = (
    *_NUMBERS,
    isinstance,
    type,
    # NumPy's functions that do not ask their arguments to override them
    *(made for made in vars(np).values() if isinstance(made, BuiltinFunctionType | FunctionType) and made in MODELS),
)
#: the types of callables that may be routed
_KINDS = frozenset({np.ufunc, type(np.sum), BuiltinFunctionType, FunctionType, type})


class RecordingProbe(Probe):
    """A probe that makes fresh arrays part of the recording; it counts only for a profile."""

    __slots__ = ("active", "counts")

    def __init__(self, counters: SiteCounters, substitute: CalleeSubstitute, active: Active, counts: bool) -> None:
        super().__init__(counters, substitute)
        self.active = active
        self.counts = counts

    def enter(self) -> None:
        """Count a call."""
        if self.counts:
            super().enter()

    def branch(self, site: int, truth: bool) -> bool:
        """Count a branch."""
        return super().branch(site, truth) if self.counts else truth

    def trips(self, site: int, count: int) -> None:
        """Count one run of a loop."""
        if self.counts:
            super().trips(site, count)

    def value(self, site: int, value: Any) -> Any:
        """Return a value; an array of floats that nobody else can have seen as part of the recording."""
        if type(value) is np.ndarray and sys.getrefcount(value) <= _FRESH and value.base is None:
            recording = self.active()
            if recording is not None and value.dtype in (np.float64, np.float32) and value.flags.owndata:
                return recording.constant(value)
        return value

    def callee(self, function: Any) -> Any:
        """Return what to call in place of a callee."""
        owner = getattr(function, "__self__", None) if type(function) is BuiltinFunctionType else None
        if owner is not None and type(owner) in (list, dict, collections.deque):
            self.storing(owner)
        return super().callee(function) if self.counts else self.substitute(function)

    def storing(self, owner: Any) -> Any:
        """Return what is about to be written; the recording gives it plain values in the end."""
        recording = self.active()
        return owner if recording is None else recording.stored.storing(owner)


class RecordingTwins(Twins):
    """The twins of functions that run while a gradient is recorded.

    Parameters
    ----------
    active : callable
        Returns the recording under way.
    profile : Profile, optional
        Where observations go; without, nothing is counted.
    """

    def __init__(self, active: Active, profile: Profile | None = None) -> None:
        super().__init__(Profile() if profile is None else profile)
        self.mode = Mode(probes=True, original_functions=True, records=True)
        self._active = active
        self._counts = profile is not None
        self._routed = {function: self._route(function) for function in _ROUTED}

    def attach(self, generated: Generated, core: FunctionCore, code: CodeType) -> None:
        """Connect generated code with the recording."""
        counters = self.profile.recorder.counters(code)
        probe = RecordingProbe(counters, self.substitute, self._active, self._counts)
        generated.runtime.attach(probe, self.overloads)
        generated.runtime.attach_recording(probe.value, probe.storing)

    def substitute(self, callee: Any) -> Any:
        """Return what to call in place of a callee."""
        kind = type(callee)
        if kind in _KINDS:
            if callee in self._routed:
                return self._routed[callee]
            # those of NumPy's ask their arguments to override them, but do not look into lists
            owner = getattr(callee, "__self__", None)
            if kind is np.ufunc or kind is type(np.sum) or type(owner) is np.ufunc:
                return self._route(callee)
        if RUNTIME in getattr(getattr(callee, "__code__", None), "co_freevars", ()):
            return callee  # a twin already
        return super().substitute(callee)

    def _route(self, function: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            recording = self._active()
            if recording is not None and function in _NUMBERS:
                args = tuple(map(plain, args))
            if recording is None or not (recording.holds(args) or recording.holds(tuple(kwargs.values()))):
                return function(*args, **kwargs)
            return recording.call(function, args, kwargs)

        return call


class _Calibration:
    """How many references there are to a value that only its probe has."""

    def value(self, site: int, value: Any) -> int:
        return sys.getrefcount(value)


def _references() -> int:
    probe = _Calibration()
    return min(probe.value(0, np.zeros(1)) for _ in range(3))


_FRESH = _references()
