"""What a function stores while a gradient of it is recorded.

Owns `StoredValues`. Invariant: when the gradient is done, what lives on holds plain arrays and numbers where the
function stored differentiated ones.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from typing import Any

_CONTAINERS = (list, dict, collections.deque)
#: what `sys.getrefcount` counts where nothing but the caller has an object
_ALONE = 2


class StoredValues:
    """The objects and containers that were written.

    Parameters
    ----------
    plain : callable
        Returns the plain value of a differentiated one, and anything else as it is.
    """

    def __init__(self, plain: Callable[[Any], Any]) -> None:
        self._plain = plain
        self._owners: dict[int, Any] = {}
        self._seen: set[int] = set()

    def storing(self, owner: Any) -> Any:
        """Return what is about to be written, and remember it."""
        if type(owner) in _CONTAINERS or hasattr(owner, "__dict__"):
            self._owners[id(owner)] = owner
        return owner

    def settle(self) -> None:
        """Put plain values where differentiated ones were stored."""
        while self._owners:
            _, owner = self._owners.popitem()
            if sys.getrefcount(owner) > _ALONE:
                self._settle(owner)

    def _settle(self, owner: Any) -> None:
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        table = owner if type(owner) in _CONTAINERS else vars(owner)
        for key, value in list(table.items() if isinstance(table, dict) else enumerate(table)):
            settled = self._settled(value)
            if settled is not value:
                table[key] = settled

    def _settled(self, value: Any) -> Any:
        if type(value) in _CONTAINERS:
            self._settle(value)
            return value
        if not isinstance(value, tuple):
            return self._plain(value)
        items = [self._settled(item) for item in value]
        if all(item is before for item, before in zip(items, value, strict=True)):
            return value
        make: Any = getattr(type(value), "_make", type(value))
        return make(items)
