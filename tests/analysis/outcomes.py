"""Running a function and its generated forms side by side."""

from __future__ import annotations

import contextlib
import copy
import io
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from janusjit.analysis.generate import generate, instantiate
from janusjit.analysis.source import load
from janusjit.analysis.twin import make_twin
from janusjit.profiler.profile import Profile

# frames that the original has for a comprehension, which generated code runs in the frame around it
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")


@dataclass(frozen=True)
class Outcome:
    """What a call showed: its result or exception, the exception's lines, the arguments after it, what it printed."""

    kind: str
    value: str
    lines: tuple[tuple[str, int], ...]
    arguments: str
    printed: str


def outcome(function: Callable[..., Any], file: str, arguments: tuple[Any, ...]) -> Outcome:
    """Call ``function`` on a copy of the arguments; lines are those of frames in ``file``."""
    own = copy.deepcopy(arguments)
    lines: tuple[tuple[str, int], ...] = ()
    with contextlib.redirect_stdout(io.StringIO()) as printed, np.errstate(all="ignore"):
        try:
            result = function(*own)
            if hasattr(result, "__next__"):
                result = list(result)
            kind, value = "returns", f"{type(result).__name__} {result!r}"
        except Exception as error:  # noqa: BLE001 (any exception is an outcome)
            kind, value = "raises", f"{_described(error)} from {error.__cause__!r}, {_described(error.__context__)}"
            lines = _lines(error, file)
    return Outcome(kind, value, lines, repr(own), printed.getvalue())


def _described(error: BaseException | None) -> str:
    """Return type and message; a name that is not bound may be told of in the words of a comprehension's frame."""
    if isinstance(error, NameError) and "cannot access" in str(error):
        return "NameError"
    return f"{type(error).__name__}: {error}"


def _lines(error: BaseException, file: str) -> tuple[tuple[str, int], ...]:
    """Return function and line of the frames in ``file``; a comprehension's frame tells where the one around it is."""
    lines: list[tuple[str, int]] = []
    for frame in traceback.extract_tb(error.__traceback__)[1:]:
        if frame.filename == file and frame.name in _COMPREHENSIONS and lines:
            lines[-1] = (lines[-1][0], frame.lineno or 0)
        elif frame.filename == file:
            lines.append((frame.name, frame.lineno or 0))
    return tuple(lines)


def regenerated(function: FunctionType) -> FunctionType:
    """Return the function as generated from its Core, without probes, nested functions generated too."""
    return instantiate(generate(load(function)), function)


def forms(function: FunctionType) -> dict[str, Callable[..., Any]]:
    """Return what has to behave as the function does."""
    return {"generated": regenerated(function), "twin": make_twin(function, Profile())}


def assert_same(function: FunctionType, *calls: tuple[Any, ...]) -> None:
    """Check every form of a function on every call."""
    file = function.__code__.co_filename
    for name, form in forms(function).items():
        for arguments in calls:
            found, expected = outcome(form, file, arguments), outcome(function, file, arguments)
            assert found == expected, (name, arguments)
