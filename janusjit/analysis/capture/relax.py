"""What to loosen after a guard failed.

Owns `relaxation_keys`. Invariant: the keys it returns make capture take the next looser assumption at the same place, so
that a failure of the same kind does not happen again; no key means that a further specialization is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.ir.guards import ArrayLayout, EntryGuard, Guard
from janusjit.ir.types import DTYPES


def relaxation_keys(guard: Guard, arguments: Sequence[Any]) -> frozenset[Any]:
    """Return the assumptions to give up because ``guard`` failed for a call with these arguments.

    A dimension that differs becomes symbolic; a value or branch direction that differs is no longer assumed.
    """
    if isinstance(guard, ArrayLayout):
        return frozenset(_dimension_keys(guard, arguments))
    if isinstance(guard, EntryGuard) and guard.relaxation is None:
        return frozenset()
    return frozenset() if guard.relaxation is None else frozenset({guard.relaxation})


def _dimension_keys(guard: ArrayLayout, arguments: Sequence[Any]) -> list[Any]:
    live = guard.place.read(arguments)
    if type(live) is not np.ndarray or live.ndim != len(guard.shape) or live.dtype != DTYPES[guard.dtype]:
        return []
    keys: list[Any] = []
    for axis, (dim, size) in enumerate(zip(guard.shape, live.shape, strict=True)):
        key = ("dim", str(guard.place), axis)
        if not isinstance(dim, int):
            keys.append(("own", *key))
        elif dim != size and dim > 1 and size > 1:
            keys.append(key)
    return keys
