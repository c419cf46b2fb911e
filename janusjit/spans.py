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

    @property
    def bare(self) -> Span:
        """The same source, without what a subclass notes of a node there."""
        if type(self) is Span:
            return self
        return Span(self.file, self.line, self.column, self.end_line, self.end_column, self.function, self.text)

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


@dataclass(frozen=True, slots=True)
class NotedSpan(Span):
    """The source of a node with what decides of the warnings it gives.

    Attributes
    ----------
    ignored : frozenset of str
        The floating-point errors, by NumPy's names, that are not acted on there.
    is_replaced : bool
        Whether plain Python does another operation, of which this one is the equivalent.
    is_doubtful : bool
        Whether it depends on more than capture knows if plain Python gives warnings there, and for which line.
    operation : str
        What NumPy's warnings call an operation on numbers; empty where it is none, or one of Python's.
    """

    ignored: frozenset[str] = frozenset()
    is_replaced: bool = False
    is_doubtful: bool = False
    operation: str = ""

    @classmethod
    def of(
        cls,
        span: Span,
        ignored: frozenset[str] = frozenset(),
        *,
        is_replaced: bool = False,
        is_doubtful: bool = False,
        operation: str = "",
    ) -> Span:
        """Return a span with more noted; that of a backward pass as it is, of which nothing is acted on."""
        if isinstance(span, BackwardSpan):
            return span
        if isinstance(span, cls):
            ignored, is_replaced = ignored | span.ignored, is_replaced or span.is_replaced
            is_doubtful, operation = is_doubtful or span.is_doubtful, operation or span.operation
        where = (span.file, span.line, span.column, span.end_line, span.end_column, span.function, span.text)
        return cls(*where, ignored, is_replaced, is_doubtful, operation)


UNKNOWN_SPAN = Span("<unknown>", 0, 0)
#: of what a backward pass does that stands for no line
BACKWARD = BackwardSpan.of(UNKNOWN_SPAN)
