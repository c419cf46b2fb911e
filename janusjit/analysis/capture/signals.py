"""How control leaves the ordinary path of the abstract machine.

Owns the exceptions capture raises to itself. None of them ever reaches the user: `janusjit.analysis.capture.capture`
turns what is left into a `CaptureFailure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from janusjit.analysis.capture.values import AbstractValue, EitherValue


class Terminated(Exception):
    """The control path ended: its region has a terminator."""


class PythonRaise(Exception):
    """The program raises an exception whose raising is known at capture.

    ``exception`` is the abstract instance; ``type_`` its class; ``approximate`` says that its message is capture's own
    words.
    """

    def __init__(self, type_: type[BaseException], exception: AbstractValue, approximate: bool = False) -> None:
        super().__init__(type_.__name__)
        self.type_ = type_
        self.exception = exception
        self.approximate = approximate


class PoisonUsed(Exception):
    """A value was needed that the join at ``fork`` could not merge."""

    def __init__(self, fork: Any, reason: str) -> None:
        super().__init__(reason)
        self.fork = fork
        self.reason = reason


class GrowthSeen(Exception):
    """Lists from outside whose lengths were assumed have grown: they have other lengths in the next call."""


class EitherUsed(PoisonUsed):
    """A rule needed a value that is of one of several kinds: it has to be applied for each kind by itself."""

    def __init__(self, value: EitherValue) -> None:
        super().__init__(value.fork, "a number is of one of several kinds")
        self.value = value


class Unmergeable(Exception):
    """Two control paths left heaps of different structure."""


@dataclass(frozen=True, slots=True)
class Unwinding:
    """A ``break``, ``continue``, ``return`` or ``raise`` on its way out."""

    kind: str
    value: Any = None
