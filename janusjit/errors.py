"""What can go wrong, by class.

Owns every exception and warning that janusjit raises itself. Invariant: each carries a stable ``code`` that is never
empty, so that reports, tests and users can tell causes apart without reading the text. None of these is ever raised to
a user by a jitted call under the default policy: there, failure means plain Python.
"""

from __future__ import annotations

from typing import Any, Literal

from janusjit.spans import UNKNOWN_SPAN, Span

#: who would have to change something for a construct to be captured
Category = Literal["user", "supportable", "fundamental", "cost", "bug"]

#: each category in words, as the report prints it
CATEGORY_TEXT: dict[str, str] = {
    "user": "your code",
    "supportable": "not supported yet",
    "fundamental": "cannot be compiled",
    "cost": "does not pay",
    "bug": "a bug of janusjit",
}


class JanusError(Exception):
    """Base of janusjit's exceptions.

    Parameters
    ----------
    code : str
        Stable identifier of the cause, as ``"capture.yield"``.
    message : str
        The cause in words.
    """

    def __init__(self, code: str, message: str) -> None:
        if not code:
            raise ValueError("an error of janusjit has a code")
        super().__init__(message)
        self.code = code


class SourceError(JanusError):
    """The source of a function cannot be had, or is not the source of the code that runs.

    Parameters
    ----------
    code : str
        Stable identifier, as ``"source.missing"``.
    reason : str
        The cause in words.
    span : Span
        Where the function claims to be.
    """

    def __init__(self, code: str, reason: str, span: Span = UNKNOWN_SPAN) -> None:
        super().__init__(code, f"{span}: {reason}")
        self.reason = reason
        self.span = span


class CaptureFailure(JanusError):
    """A function cannot become a graph; it stays in plain Python.

    Parameters
    ----------
    code : str
        Stable identifier, as ``"capture.yield"``.
    category : {"user", "supportable", "fundamental", "cost", "bug"}
        Who would have to change something.
    span : Span
        The construct's place in the user's source.
    construct : str
        What stands there, as the user would name it.
    reason : str
        Why it cannot be captured.
    hint : str
        What the user can do about it; may be empty.
    """

    def __init__(
        self, code: str, category: Category, span: Span, construct: str, reason: str, hint: str = ""
    ) -> None:
        super().__init__(code, f"{span}: {construct}: {reason}" + (f" ({hint})" if hint else ""))
        if category not in CATEGORY_TEXT:
            raise ValueError(f"unknown category {category!r}; one of {', '.join(CATEGORY_TEXT)}")
        self.category = category
        self.span = span
        self.construct = construct
        self.reason = reason
        self.hint = hint
        self.instruction: Any = None  # what Python would have to run, for capture's own use


class CompileError(JanusError):
    """A graph cannot be compiled: always janusjit's own bug, or a limit of it."""


class ConfigurationError(JanusError):
    """A ``JANUSJIT_*`` environment variable or an option of `janusjit.jit` has no meaning."""

    def __init__(self, message: str) -> None:
        super().__init__("configuration", message)


class GuardError(JanusError):
    """Under ``policy="raise"``: a call would have run in plain Python.

    Nothing of the call has run. ``report`` is the event that would have been recorded, as a dict.

    Parameters
    ----------
    code : str
        The code of the guard or capture failure.
    message : str
        What was assumed, where, and what was found.
    report : dict
        The whole event.
    """

    def __init__(self, code: str, message: str, report: dict[str, Any]) -> None:
        super().__init__(code, message)
        self.report = report


class JanusWarning(UserWarning):
    """Base of janusjit's warnings."""


class DegradedWarning(JanusWarning):
    """Under ``policy="warn"``: a call ran in plain Python that was meant to run in a graph."""
