"""Runs a program in plain Python and under `@jit`, and lists every difference a user could see.

Owns the comparison that the construct, semantics and random-program tests share. Invariant: two outcomes that a
program could tell apart — by value beyond rounding, type, dtype, shape, identity, shared memory, exception or printed
text — are reported as different; nothing is compared through a function that hides one (such as ``nan_to_num``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

#: Relative to the largest magnitude in the array. Elementwise arithmetic is exact and transcendental functions are
#: within 2 ULP, but sums and products of a few hundred terms may be ordered otherwise: some tens of ULP.
TOLERANCE = {"float16": 2e-2, "float32": 5e-6, "float64": 1e-13, "complex64": 5e-6, "complex128": 1e-13}

ATOMS = (bool, int, str, bytes, type(None), type(Ellipsis), slice, range, np.dtype)


@dataclasses.dataclass
class Outcome:
    """What one call did: its result or exception, what it printed, and the state it left."""

    result: Any
    exception: BaseException | None
    printed: str
    state: Any


class Comparison:
    """One walk over two object graphs at once; ``found`` lists the differences.

    Objects met twice must be met twice on the other side too, and arrays that share memory must share it there.
    """

    def __init__(self, tolerance: float | None = None) -> None:
        self.found: list[str] = []
        self._tolerance = tolerance
        self._there: dict[int, Any] = {}
        self._here: dict[int, Any] = {}
        self._arrays: list[tuple[str, np.ndarray, np.ndarray]] = []

    def compare(self, expected: Any, actual: Any, path: str) -> None:
        """Add the differences between two values, and all they hold, to ``found``."""
        if type(expected).__qualname__ != type(actual).__qualname__:
            self._report(path, f"type {type(expected).__qualname__}", f"{type(actual).__qualname__} ({actual!r:.80})")
        elif isinstance(expected, float | complex | np.number | np.bool_):
            self._compare_numbers(np.asarray(expected), np.asarray(actual), path)
        elif isinstance(expected, ATOMS):
            if expected != actual:
                self._report(path, repr(expected), repr(actual))
        elif callable(expected) and hasattr(expected, "__name__"):
            if expected.__name__ != actual.__name__:
                self._report(path, expected.__name__, actual.__name__)
        elif self._met(expected, actual, path):
            return
        elif isinstance(expected, np.ndarray):
            self._compare_arrays(expected, actual, path)
        else:
            self._compare_parts(expected, actual, path)

    def finish(self) -> list[str]:
        """Compare which arrays share memory; return all differences."""
        for (path, one, other), (path2, one2, other2) in itertools.combinations(self._arrays[:24], 2):
            if np.may_share_memory(one, one2) != np.may_share_memory(other, other2):
                self.found.append(f"{path} and {path2}: memory is shared on one side only")
        return self.found

    def _report(self, path: str, expected: str, actual: str) -> None:
        self.found.append(f"{path}: expected {expected}, got {actual}")

    def _met(self, expected: Any, actual: Any, path: str) -> bool:
        """Return whether both were met before; record them, and report one that was met with another partner."""
        if isinstance(expected, tuple | frozenset):
            return False
        known_there, known_here = self._there.get(id(expected)), self._here.get(id(actual))
        if known_there is None and known_here is None:
            self._there[id(expected)] = actual
            self._here[id(actual)] = expected
            return False
        if known_there is not actual or known_here is not expected:
            self.found.append(f"{path}: is the same object as an earlier one on one side only")
        return True

    def _compare_arrays(self, expected: np.ndarray, actual: np.ndarray, path: str) -> None:
        for feature in ("dtype", "shape"):
            if getattr(expected, feature) != getattr(actual, feature):
                self._report(f"{path}.{feature}", str(getattr(expected, feature)), str(getattr(actual, feature)))
                return
        if expected.flags.writeable != actual.flags.writeable:
            self._report(f"{path}.flags.writeable", str(expected.flags.writeable), str(actual.flags.writeable))
        if expected.size:
            self._arrays.append((path, expected, actual))
        if expected.dtype == object:
            for index in np.ndindex(expected.shape):
                self.compare(expected[index], actual[index], f"{path}{list(index)}")
        else:
            self._compare_numbers(expected, actual, path)

    def _compare_numbers(self, expected: np.ndarray, actual: np.ndarray, path: str) -> None:
        if expected.ndim == 0 and expected == actual != 0:
            return
        if expected.dtype.kind not in "fc":
            if not np.array_equal(expected, actual):
                self._report(path, f"{expected!r}", f"{actual!r}")
            return
        finite = np.isfinite(expected)
        same = np.where(finite, True, (expected == actual) | (np.isnan(expected) & np.isnan(actual)))
        magnitude = np.abs(expected[finite]).max(initial=0.0)
        tolerance = self._tolerance if self._tolerance is not None else TOLERANCE[expected.dtype.name]
        with np.errstate(invalid="ignore"):
            close = np.abs(np.where(finite, expected - actual, 0.0)) <= tolerance * magnitude
        signs_matter = (expected == 0) & (actual == 0) & (expected.dtype.kind == "f")
        same_sign = np.where(signs_matter, np.signbit(expected.real) == np.signbit(actual.real), True)
        if not (same & close & same_sign).all():
            self._report(path, f"{expected!r}", f"{actual!r}")

    def _compare_parts(self, expected: Any, actual: Any, path: str) -> None:
        if isinstance(expected, dict):
            self.compare(list(expected), list(actual), f"{path}.keys()")
            for key in expected.keys() & actual.keys():
                self.compare(expected[key], actual[key], f"{path}[{key!r}]")
        elif isinstance(expected, set | frozenset):
            if expected != actual:
                self._report(path, repr(expected), repr(actual))
        elif isinstance(expected, list | tuple):
            if len(expected) != len(actual):
                self._report(f"len({path})", str(len(expected)), str(len(actual)))
            for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
                self.compare(one, other, f"{path}[{index}]")
        elif isinstance(expected, BaseException):
            self.compare(expected.args, actual.args, f"{path}.args")
        elif hasattr(expected, "__dict__"):
            self.compare(vars(expected), vars(actual), f"vars({path})")
        else:
            for name in getattr(type(expected), "__slots__", ()):
                self.compare(getattr(expected, name, None), getattr(actual, name, None), f"{path}.{name}")


def differences(expected: Any, actual: Any, path: str = "result", tolerance: float | None = None) -> list[str]:
    """Return the differences between two values as sentences; empty when a program could not tell them apart."""
    comparison = Comparison(tolerance)
    comparison.compare(expected, actual, path)
    return comparison.finish()


class Side:
    """One side of a comparison: a function, how it is called, and its share of the process-wide random states.

    Parameters
    ----------
    function : callable
        The program, plain or jitted.
    arguments : callable
        Call number to arguments.
    before : callable, optional
        Run before each call, with its number.
    observe : callable, optional
        Returns state outside the arguments to compare after each call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Callable[[int], Iterable[Any]],
        before: Callable[[int], None] | None = None,
        observe: Callable[[], Any] | None = None,
    ) -> None:
        self.function, self._arguments, self._before, self._observe = function, arguments, before, observe
        self._random_states = (random.Random(0).getstate(), np.random.RandomState(0).get_state())

    def call(self, number: int) -> Outcome:
        """Make call ``number`` and record what a user could see of it."""
        random.setstate(self._random_states[0])
        np.random.set_state(self._random_states[1])
        if self._before is not None:
            self._before(number)
        arguments = tuple(self._arguments(number))
        printed = io.StringIO()
        result, exception = None, None
        with contextlib.redirect_stdout(printed):
            try:
                result = self.function(*arguments)
            except Exception as error:  # noqa: BLE001 - the exception is the outcome, and is compared
                exception = error
        state = (arguments, None if self._observe is None else self._observe())
        self._random_states = (random.getstate(), np.random.get_state())
        return Outcome(result, exception, printed.getvalue(), state)


def outcome_differences(expected: Outcome, actual: Outcome, label: str) -> list[str]:
    """Return the differences between two outcomes of the same call."""
    comparison = Comparison()
    comparison.compare(expected.exception, actual.exception, f"{label} exception")
    if not comparison.found:
        comparison.compare(expected.state, actual.state, f"{label} state")
        comparison.compare(expected.result, actual.result, f"{label} result")
        comparison.compare(expected.printed, actual.printed, f"{label} printed")
    return comparison.finish()


def collected(outcomes: list[Outcome]) -> Outcome:
    """Return the results and states of several calls as one outcome: shows an early result that a late call changed."""
    return Outcome([item.result for item in outcomes], None, "", [item.state for item in outcomes])


def run_side_by_side(plain: Side, jitted: Side, calls: int) -> list[str]:
    """Make the same calls on both sides, in turn; return the differences at the first call that shows one."""
    expected: list[Outcome] = []
    actual: list[Outcome] = []
    for number in range(calls):
        expected.append(plain.call(number))
        actual.append(jitted.call(number))
        if found := outcome_differences(expected[-1], actual[-1], f"call {number}"):
            return found
    return outcome_differences(collected(expected), collected(actual), "all calls")
