"""From a failed guard to its cause, in the user's terms.

Owns the refinement of guard codes (an array's layout guard fails by its dtype, its rank, one of its dimensions, …),
the categories of codes, which specialization is nearest to a call, and which assumptions to relax. Invariant: every
cause has a code and a category; what this module does not know is called ``unknown``.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from janusjit.analysis.capture.entry_guards import data_key
from janusjit.analysis.capture.outside_functions import same_definition
from janusjit.errors import CATEGORY_TEXT
from janusjit.ir.dims import DimExpr
from janusjit.ir.floating_point import FLAGS_CODE
from janusjit.ir.guards import ArrayLayout, EntryGuard, IdentityIs, InGraphGuard, ValueEquals
from janusjit.ir.memory import lies_apart
from janusjit.ir.places import AttributePlace, CellPlace, GlobalPlace, Place
from janusjit.ir.types import DTYPES, is_writeable
from janusjit.runtime.building import Failure, guarded
from janusjit.runtime.events import Difference
from janusjit.runtime.specialization import Specialization
from janusjit.spans import UNKNOWN_SPAN

#: codes of in-graph guards whose failure means that eager may raise: Python runs the call, whatever the policy
EXCEPTIONAL = frozenset(
    {
        *("index.bounds", "int.overflow", "python.exception", "numpy.exception", "fp.flags", "assert"),
        *("python.recursion_depth", "environment.interpreter"),
    }
)

#: so many items of a list that are other strings at once are data
_MANY_WORDS = 4
#: floating-point errors in calls before code is compiled that finds out which operation meets them
_RARE = 3

_CATEGORIES = {
    "branch": "python",
    "value": "python",
    "trip_count": "python",
    "index.bounds": "python",
    "int.overflow": "python",
    "assert": "python",
    "numpy.exception": "array",
    "fp.flags": "environment",
    "unknown": "bug",
}


def category(code: str) -> str:
    """Return the category of a cause code: the word before the first dot, for codes that have no other."""
    found = _CATEGORIES.get(code)
    if found is not None:
        return found
    head = code.partition(".")[0]
    return head if head in ("array", "python", "environment", *CATEGORY_TEXT) else "bug"


def entry_differences(guard: EntryGuard, found: str, arguments: Sequence[Any]) -> list[Difference]:
    """Return what differs from a failed entry guard, one item for each dimension or property that does.

    Parameters
    ----------
    guard : EntryGuard
        The guard that failed.
    found : str
        What its check found.
    arguments : sequence
        The call's arguments, in parameter order.
    """
    if isinstance(guard, ArrayLayout):
        value = guard.place.read(arguments)
        if type(value) is np.ndarray:
            return _array_differences(guard, value)
        return [_difference(guard, "python.type", guard.subject, "ndarray", found)]
    code = guard.code or "unknown"
    if isinstance(guard, IdentityIs | ValueEquals):
        code = _place_code(guard.place, code)
    return [_difference(guard, code, guard.subject, guard.expected, found)]


def graph_difference(guard: InGraphGuard, actual: str = "") -> Difference:
    """Return what differs from a failed in-graph guard; ``actual`` where it is known, else what follows from it."""
    opposite = {"true": "false", "false": "true", "True": "False", "False": "True"}.get(guard.expected)
    found = actual or opposite or f"not {guard.expected}"
    return _difference(guard, guard.code or "unknown", guard.subject, guard.expected, found)


def unexplained(guard: EntryGuard | InGraphGuard | None) -> Difference:
    """Return the difference for a guard that native code calls failed, and Python does not: our own bug."""
    subject = "" if guard is None else guard.subject
    expected = "" if guard is None else guard.expected
    span = UNKNOWN_SPAN if guard is None else guard.span.bare
    return Difference("unknown", "bug", subject, expected, "unexplained, please report", span)


def _difference(
    guard: EntryGuard | InGraphGuard, code: str, expression: str, expected: str, actual: str
) -> Difference:
    return Difference(code, category(code), expression, expected, actual, guard.span.bare, guard.evidence)


def _place_code(place: Place, code: str) -> str:
    if isinstance(place, GlobalPlace):
        return "python.global"
    if isinstance(place, CellPlace):
        return "python.closure"
    if isinstance(place, AttributePlace):
        return "python.attribute"
    return code


def _array_differences(guard: ArrayLayout, value: np.ndarray) -> list[Difference]:
    name = guard.subject
    flags = value.flags
    wanted = DTYPES[guard.dtype]
    if value.dtype != wanted or not value.dtype.isnative:
        return [_difference(guard, "array.dtype", f"{name}.dtype", wanted.name, str(value.dtype))]
    if value.ndim != len(guard.shape):
        return [_difference(guard, "array.rank", f"{name}.ndim", str(len(guard.shape)), str(value.ndim))]
    differences = [
        _difference(guard, "array.shape", f"{name}.shape[{axis}]", _dimension_text(dim), str(size))
        for axis, (dim, size) in enumerate(zip(guard.shape, value.shape, strict=True))
        if dim != size and (not isinstance(dim, DimExpr) or not _admits(dim, size))
    ]
    if guard.layout != "any" and not (flags.c_contiguous if guard.layout == "C" else flags.f_contiguous):
        found = "C-contiguous" if flags.c_contiguous else "F-contiguous" if flags.f_contiguous else "strided"
        differences.append(_difference(guard, "array.layout", f"{name}.strides", f"{guard.layout}-contiguous", found))
    if not flags.aligned:
        differences.append(_difference(guard, "array.alignment", f"{name}.flags.aligned", "True", "False"))
    if guard.writeable and not is_writeable(value):
        differences.append(_difference(guard, "array.writeable", f"{name}.flags.writeable", "True", "False"))
    if guard.writeable and not lies_apart(value):
        subject = f"np.may_share_memory(elements of {name})"
        differences.append(_difference(guard, "array.aliasing", subject, "False", "True"))
    if not differences:  # each dimension is possible by itself, but two that were one symbol differ
        differences = [
            _difference(guard, "array.shape", f"{name}.shape[{axis}]", f"{dim}, as elsewhere", str(size))
            for axis, (dim, size) in enumerate(zip(guard.shape, value.shape, strict=True))
            if isinstance(dim, DimExpr)
        ]
    return differences


def _admits(dim: DimExpr, size: int) -> bool:
    """Whether a symbolic dimension admits a size, taken by itself."""
    return all(size >= symbol.minimum for symbol in dim.symbols())


def _dimension_text(dim: int | DimExpr) -> str:
    if isinstance(dim, int):
        return str(dim)
    return f"at least {max(symbol.minimum for symbol in dim.symbols())}"


def relaxation_keys(failed: Sequence[EntryGuard], arguments: Sequence[Any]) -> frozenset[Hashable] | None:
    """Return the keys that make failed entry guards hold, or None where one of them cannot be relaxed.

    A dimension that differs becomes symbolic (key ``("dim", place, axis)``); one that already was, but was taken for
    equal to another, becomes a symbol of its own (key ``("own", "dim", place, axis)``). Sizes 0 and 1 are not relaxed
    to: they have specializations of their own, because 1 broadcasts. Strings keep theirs, but for long ones, and for
    many items of one list.
    """
    keys: set[Hashable] = set()
    words = Counter(data_key(guard.place) for guard in failed if isinstance(guard, ValueEquals) and _is_text(guard))
    keys.update(key for key, count in words.items() if count >= _MANY_WORDS)
    for guard in failed:
        if isinstance(guard, ArrayLayout):
            dimensions = _dimension_keys(guard, guard.place.read(arguments))
            if dimensions is None:
                return None
            keys |= dimensions
        elif guard.relaxation is None or not _is_relaxed_by(guard, arguments):
            return None
        else:
            keys.add(guard.relaxation)
    return frozenset(keys)


def _is_text(guard: ValueEquals) -> bool:
    return isinstance(guard.value, str | bytes)


def _is_relaxed_by(guard: EntryGuard, arguments: Sequence[Any]) -> bool:
    """Whether giving up an assumption lets in what was found: of functions, only one of the same definition."""
    if not isinstance(guard, IdentityIs) or type(guard.value) is not types.FunctionType:
        return True
    return same_definition(guard.value, guard.place.read(arguments))


def relaxation_key(guard: InGraphGuard, failures: int) -> Any:
    """Return the key of the assumption that a guard inside a graph makes, if it is to be given up.

    ``failures`` is how often its specialization has been left before.
    """
    return None if guard.code == FLAGS_CODE and failures < _RARE else guard.relaxation


def are_flags(failed: Sequence[EntryGuard]) -> bool:
    """Whether all that failed are assumptions on ``True`` and ``False``: two values, worth a specialization each.

    Not so where they are items of lists and tuples: there may be many of them.
    """
    keys = [guard.relaxation for guard in failed if isinstance(guard, IdentityIs) and type(guard.value) is bool]
    return len(keys) == len(failed) and not any(isinstance(key, tuple) and key[0] == "flags" for key in keys)


def are_iterated(keys: Iterable[Hashable]) -> bool:
    """Whether giving up an assumption means that a loop asks Python for each item of a list."""
    return any(isinstance(key, tuple) and key[0] == "iterated" for key in keys)


def _dimension_keys(guard: ArrayLayout, value: Any) -> set[Hashable] | None:
    if type(value) is not np.ndarray or any(d.code != "array.shape" for d in _array_differences(guard, value)):
        return None
    keys: set[Hashable] = set()
    for axis, (dim, size) in enumerate(zip(guard.shape, value.shape, strict=True)):
        key = ("dim", str(guard.place), axis)
        if isinstance(dim, DimExpr):
            if not _admits(dim, size):
                return None
            keys.add(("own", *key))
        elif dim != size:
            if size < 2 or dim < 2:
                return None
            keys.add(key)
    return keys


def nearest(
    specializations: Iterable[Specialization], arguments: Sequence[Any]
) -> tuple[Specialization, list[tuple[EntryGuard, str]], tuple[Difference, ...]]:
    """Return the specialization nearest to a call, its entry guards that fail, and these in the user's terms.

    One that admits the call after a relaxation is nearer than any that does not.
    """
    failures = [(specialization, _failures_of(specialization, arguments)) for specialization in specializations]

    def distance(item: tuple[Specialization, list[tuple[EntryGuard, str]]]) -> tuple[bool, int]:
        failed = [guard for guard, _ in item[1]]
        relaxable = bool(failed) and not are_flags(failed) and relaxation_keys(failed, arguments)
        return not relaxable, len(failed)

    found, failed = min(failures, key=distance)
    differences = [
        difference for guard, text in failed for difference in entry_differences(guard, text, arguments)
    ]
    if not differences:
        differences = [unexplained(found.failed_guard(found.compiled.status.failed))]
    return found, failed, tuple(differences)


def _failures_of(specialization: Specialization, arguments: Sequence[Any]) -> list[tuple[EntryGuard, str]]:
    outcome = guarded(lambda: specialization.failures_for(arguments))
    return [] if isinstance(outcome, Failure) else outcome
