"""NumPy's floating-point errors, and the guard that speaks of them.

Owns `FlagsGuard` and what its text means. Invariant: compiled code of a graph depends on the guard's text alone, since
that is what two processes compare; where the code of the functions stands is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from janusjit.ir.guards import InGraphGuard
from janusjit.ir.types import TensorType

#: the code of the guard by which a graph promises to deoptimize where NumPy would warn, or raise
FLAGS_CODE = "fp.flags"
#: NumPy's names of the errors, as in ``np.seterr``, and its words for them in messages
ERRORS = {
    "divide": "divide by zero",
    "over": "overflow",
    "under": "underflow",
    "invalid": "invalid value",
}
_WORDS = re.compile(r"\w+")
_USUAL = ("divide", "over", "invalid")
#: so many bytes of backups are not felt in a call
_BACKUP_BYTES = 8192
_APART = "by operation"


@dataclass(frozen=True, eq=False)
class FlagsGuard(InGraphGuard):
    """No floating-point error happens that NumPy is to act on.

    ``namespaces`` are the globals of the functions in each source file, where warnings that were given are remembered.
    """

    namespaces: Mapping[str, dict[str, Any]] = field(default_factory=dict, kw_only=True, compare=False)


def may_be_backed_up(arrays: Iterable[TensorType]) -> bool:
    """Return whether copies of some arrays are so small that nobody notices."""
    total = 0
    for type_ in arrays:
        if not isinstance(type_.size, int):
            return False
        total += type_.size * type_.numpy_dtype.itemsize
    return total <= _BACKUP_BYTES


def flags_text(modes: Mapping[str, str], apart: bool) -> str:
    """Return the text of a guard under error ``modes`` (``np.geterr()``); ``apart`` as in `is_told_apart`."""
    listed = ", ".join(f"{name} ({mode})" for name, mode in modes.items() if mode != "ignore")
    return f"no floating-point error: {listed}{f', {_APART}' if apart else ''}"


def watched_errors(guard: InGraphGuard) -> tuple[str, ...]:
    """Return the errors a guard speaks of; those NumPy warns of by default where it names none."""
    words = set(_WORDS.findall(guard.expected))
    return tuple(name for name in ERRORS if name in words) or _USUAL


def warned_errors(guard: InGraphGuard) -> tuple[str, ...]:
    """Return the errors of which NumPy only warns."""
    return tuple(name for name in ERRORS if f"{name} (warn)" in guard.expected)


def is_told_apart(guard: InGraphGuard) -> bool:
    """Return whether compiled code finds out which operation met an error."""
    return guard.expected.endswith(_APART)
