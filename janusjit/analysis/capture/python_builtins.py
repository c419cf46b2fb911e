"""Built-in functions as Python code.

Owns the Python that capture follows in place of a built-in whose result may be of one type or another, as run-time
values decide, and which built-ins are pure. Invariant: each function does what the built-in documents, comparisons in
the same order.
"""

from __future__ import annotations

import math
from typing import Any


def greatest(first: Any, *others: Any) -> Any:
    """Return ``max(first, *others)``."""
    best = first
    for item in others:
        if item > best:
            best = item
    return best


def least(first: Any, *others: Any) -> Any:
    """Return ``min(first, *others)``."""
    best = first
    for item in others:
        if item < best:
            best = item
    return best


#: the built-ins capture may follow this way when they get two arguments or more and no keywords
WRITTEN: dict[Any, Any] = {max: greatest, min: least}

#: builtins that depend on nothing but their (immutable) arguments
PURE: set[Any] = {
    *(abs, round, divmod, pow, ord, chr, bin, hex, oct, len, hash, sum, min, max, repr, ascii, format, complex, bytes),
    *(function for name, function in vars(math).items() if callable(function) and not name.startswith("_")),
}
