"""Source positions.

Owns `Span`, the piece of the user's source that a node, a guard or an event speaks of. Invariant: lines and columns
are 1-based and point into the file the user sees, never into generated code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A range of source text.

    Attributes
    ----------
    file : str
        Path (or pseudo file name, as ``<stdin>``) the code object names.
    line, column, end_line, end_column : int
        1-based; ``end_column`` is one past the last character.
    function : str
        Qualified name of the enclosing function.
    text : str
        The source text itself, on one line, for messages.
    """

    file: str
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0
    function: str = ""
    text: str = ""

    def __str__(self) -> str:
        """Return ``file.py:line:column`` with the directory left out."""
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class BackwardSpan(Span):
    """The source of a node of a backward pass: what it goes back through."""

    @classmethod
    def of(cls, span: Span) -> BackwardSpan:
        """Return a span as one of the backward pass."""
        if isinstance(span, cls):
            return span
        return cls(span.file, span.line, span.column, span.end_line, span.end_column, span.function, span.text)


UNKNOWN_SPAN = Span("<unknown>", 0, 0)
#: of what a backward pass does that stands for no line
BACKWARD = BackwardSpan.of(UNKNOWN_SPAN)
