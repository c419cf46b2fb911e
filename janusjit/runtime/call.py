"""A call, and the options it runs under.

Owns `Call`, which the slow path hands from step to step, and `Options`. Invariant: a call's arguments are those given;
nothing here copies or changes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Policy = Literal["fallback", "warn", "raise"]
Entry = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What `janusjit.jit` was asked for; see there."""

    warmup: int = 2
    policy: Policy = "fallback"
    background: bool = False
    static: frozenset[str] = frozenset()
    exact: bool = True
    memory_limit: int | None = None
    threads: int = 1
    measured: bool = False


@dataclass(slots=True)
class Call:
    """One call on the slow path: the arguments as given, and bound to the parameters in order."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    bound: tuple[Any, ...]
    count: Callable[[], int]
    _number: int = 0

    @property
    def number(self) -> int:
        """Which call of the function it is, counted from 1; fixed when it is first asked for."""
        if not self._number:
            self._number = self.count()
        return self._number
