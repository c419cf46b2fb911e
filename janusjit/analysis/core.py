"""Core: a Python function in a small, desugared, A-normal form.

Owns the Core node kinds. Invariants: every operand is an atom (`Local` or `Constant`), so each instruction does one
thing, evaluation order is instruction order, and a site (a number unique in its `FunctionCore`) names one
instruction; temporaries are locals whose names start with ``"."``, are assigned exactly where the expression was
evaluated, and never collide with the user's names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Union

from janusjit.spans import Span


@dataclass(frozen=True, slots=True)
class Local:
    """A local variable (user's, or temporary: ``.0``, ``.1``, …)."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: int, float, complex, str, bytes, bool, None, Ellipsis, or a tuple of literals."""

    value: Any


Atom = Union[Local, Constant]


@dataclass(slots=True, eq=False)
class Instruction:
    """Base: site number and source span."""

    site: int
    span: Span


@dataclass(slots=True, eq=False)
class Block:
    """A sequence of instructions."""

    instructions: list[Instruction] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Move(Instruction):
    """``target = value``."""

    target: str
    value: Atom


@dataclass(slots=True, eq=False)
class DeleteLocal(Instruction):
    """``del name`` of a plain local."""

    name: str


@dataclass(slots=True, eq=False)
class LoadGlobal(Instruction):
    """Read a name from the function's globals, then builtins."""

    target: str
    name: str


@dataclass(slots=True, eq=False)
class StoreGlobal(Instruction):
    """Write a ``global`` name."""

    name: str
    value: Atom


@dataclass(slots=True, eq=False)
class DeleteGlobalName(Instruction):
    """``del`` of a ``global`` name."""

    name: str


@dataclass(slots=True, eq=False)
class LoadCell(Instruction):
    """Read a cell variable (captured by an inner function) or a free variable."""

    target: str
    name: str


@dataclass(slots=True, eq=False)
class StoreCell(Instruction):
    """Write a cell or free variable."""

    name: str
    value: Atom


@dataclass(slots=True, eq=False)
class DeleteCell(Instruction):
    """``del`` of a cell or free variable."""

    name: str


@dataclass(slots=True, eq=False)
class Operate(Instruction):
    """``target = left OP right``; unary operators have ``right`` None.

    ``operator``: ``+ - * / // % ** @ & | ^ << >>``, unary ``u+ u- ~ not``, comparisons ``== != < <= > >= is``,
    ``is not``, ``in``, ``not in``.
    """

    target: str
    operator: str
    left: Atom
    right: Atom | None = None


@dataclass(slots=True, eq=False)
class OperateInPlace(Instruction):
    """``target = left OP= right`` (``__iadd__`` first); the store to attribute or item is a further instruction."""

    target: str
    operator: str
    left: Atom
    right: Atom


@dataclass(slots=True, eq=False)
class LoadAttribute(Instruction):
    target: str
    owner: Atom
    name: str


@dataclass(slots=True, eq=False)
class StoreAttribute(Instruction):
    owner: Atom
    name: str
    value: Atom


@dataclass(slots=True, eq=False)
class RemoveAttribute(Instruction):
    owner: Atom
    name: str


@dataclass(slots=True, eq=False)
class LoadItem(Instruction):
    target: str
    owner: Atom
    index: Atom


@dataclass(slots=True, eq=False)
class StoreItem(Instruction):
    owner: Atom
    index: Atom
    value: Atom


@dataclass(slots=True, eq=False)
class RemoveItem(Instruction):
    owner: Atom
    index: Atom


@dataclass(slots=True, eq=False)
class BuildSlice(Instruction):
    target: str
    start: Atom
    stop: Atom
    step: Atom


@dataclass(slots=True, eq=False)
class Build(Instruction):
    """A display. ``kind``: ``tuple``, ``list``, ``set``; ``starred[i]`` marks ``*item``."""

    target: str
    kind: str
    items: tuple[Atom, ...]
    starred: tuple[bool, ...]


@dataclass(slots=True, eq=False)
class BuildDict(Instruction):
    """A dict display; a None key marks ``**value``."""

    target: str
    items: tuple[tuple[Atom | None, Atom], ...]


@dataclass(slots=True, eq=False)
class ListAppend(Instruction):
    """Append to a list a comprehension is building (an exact ``list`` no one else has seen yet)."""

    owner: Atom
    value: Atom


@dataclass(slots=True, eq=False)
class SetAdd(Instruction):
    """Add to a set a comprehension is building."""

    owner: Atom
    value: Atom


@dataclass(slots=True, eq=False)
class DictInsert(Instruction):
    """Insert into a dict a comprehension is building."""

    owner: Atom
    key: Atom
    value: Atom


@dataclass(slots=True, eq=False)
class Intrinsic(Instruction):
    """``target = name(*arguments)`` for a step of ``match`` that Python code cannot name; see `analysis.intrinsics`."""

    target: str
    name: str
    arguments: tuple[Atom, ...]


@dataclass(slots=True, eq=False)
class BuildString(Instruction):
    """An f-string: parts in order; each a literal ``Constant`` or a formatted temporary, all str, joined."""

    target: str
    parts: tuple[Atom, ...]


@dataclass(slots=True, eq=False)
class Format(Instruction):
    """One replacement field: ``format(conversion(value), specification)``; conversion ``""``, ``r``, ``s`` or ``a``."""

    target: str
    value: Atom
    conversion: str
    specification: Atom


@dataclass(slots=True, eq=False)
class Call(Instruction):
    """``target = function(*positional, **keywords)``; a None keyword name marks ``**value``.

    ``super()`` without arguments arrives as ``super(__class__ cell value, first parameter)`` already.
    """

    target: str
    function: Atom
    positional: tuple[Atom, ...]
    starred: tuple[bool, ...]
    keywords: tuple[tuple[str | None, Atom], ...]


@dataclass(slots=True, eq=False)
class MakeFunction(Instruction):
    """A nested ``def``, ``lambda`` or generator expression; decorators are `Call`s that follow.

    ``annotations`` are the evaluated ones (``return`` among them), in order.
    """

    target: str
    function: FunctionCore
    defaults: tuple[Atom, ...]
    keyword_defaults: tuple[tuple[str, Atom], ...]
    annotations: tuple[tuple[str, Atom], ...] = ()


@dataclass(slots=True, eq=False)
class GetIterator(Instruction):
    """``target = iter(value)``."""

    target: str
    value: Atom


@dataclass(slots=True, eq=False)
class Unpack(Instruction):
    """``a, b, *c = value`` into plain locals/temporaries; ``star`` is the index of the starred target, or -1."""

    targets: tuple[str, ...]
    star: int
    value: Atom


@dataclass(slots=True, eq=False)
class If(Instruction):
    """Branch on the truth of an atom (``bool()`` is applied here)."""

    condition: Atom
    then: Block
    orelse: Block


@dataclass(slots=True, eq=False)
class For(Instruction):
    """Draw from ``iterator`` (of `GetIterator`) into ``target`` and run ``body``; ``orelse`` when it is exhausted."""

    target: str
    iterator: Atom
    body: Block
    orelse: Block


@dataclass(slots=True, eq=False)
class While(Instruction):
    """Run ``test``, whose last value is ``condition``; while true, run ``body``; ``orelse`` when it is false."""

    test: Block
    condition: Atom
    body: Block
    orelse: Block


@dataclass(slots=True, eq=False)
class Break(Instruction):
    pass


@dataclass(slots=True, eq=False)
class Continue(Instruction):
    pass


@dataclass(slots=True, eq=False)
class Return(Instruction):
    value: Atom


@dataclass(slots=True, eq=False)
class Raise(Instruction):
    """``raise exception from cause``; both None re-raises."""

    exception: Atom | None
    cause: Atom | None


@dataclass(slots=True, eq=False)
class Assert(Instruction):
    """``assert condition, message``: ``message`` block is run, and its ``message_value`` used, only on failure.

    ``message_value`` is None when there is no message.
    """

    condition: Atom
    message: Block
    message_value: Atom | None


@dataclass(slots=True, eq=False)
class Handler:
    """``except exception_type as name``: ``matcher`` evaluates the type expression (empty: bare except).

    ``name``, a plain local or a temporary, is unbound when the handler is left.
    """

    matcher: Block
    exception_type: Atom | None
    name: str | None
    body: Block


@dataclass(slots=True, eq=False)
class Try(Instruction):
    """``try``; an empty ``final`` block means there is no ``finally``."""

    body: Block
    handlers: list[Handler]
    orelse: Block
    final: Block


@dataclass(slots=True, eq=False)
class With(Instruction):
    """One context manager (several are nested); ``target`` receives ``__enter__``'s result (a temporary, or None)."""

    manager: Atom
    target: str | None
    body: Block


@dataclass(slots=True, eq=False)
class Yield(Instruction):
    target: str
    value: Atom


@dataclass(slots=True, eq=False)
class YieldFrom(Instruction):
    """``yield from`` and ``await`` (``kind`` tells which)."""

    target: str
    value: Atom
    kind: str = "yield from"


@dataclass(slots=True, eq=False)
class Several(Instruction):
    """Instructions that follow each other and that Python runs as one; it stands in no source.

    ``in_time`` tells whether a generator that the last of them gives is dropped where the graph can tell.
    """

    body: Block
    in_time: bool


@dataclass(slots=True, eq=False)
class Opaque(Instruction):
    """A statement Core has no form for (``class``, ``import``, ``async for``, …), kept as source.

    ``source`` is the statement, dedented; ``reads``/``writes`` the local names it may use and bind.
    """

    source: str
    construct: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Parameters:
    """The signature: names by kind; defaults live on the function object."""

    positional_only: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    variadic: str | None = None
    keyword_only: tuple[str, ...] = ()
    variadic_keyword: str | None = None


@dataclass(slots=True, eq=False)
class FunctionCore:
    """One function in Core.

    ``cells`` are locals captured by inner functions (parameters among them start as cells), ``free`` the variables
    captured from outside, in the order of ``__code__.co_freevars``. ``kind``: ``function``, ``generator``,
    ``coroutine``, ``async generator``. ``sites[i]`` is the span of site ``i``; numbering depends on the function's own
    source alone. ``variables`` are the names that live in the function, ``declared_globals`` those a ``global``
    statement names. ``code`` is the code object CPython made of this function: what profiles are keyed by (None for a
    comprehension CPython has inlined). Reaching the end of the body returns None.
    """

    name: str
    qualified_name: str
    parameters: Parameters
    body: Block
    kind: str
    cells: frozenset[str]
    free: tuple[str, ...]
    sites: list[Span]
    span: Span
    variables: frozenset[str] = frozenset()
    declared_globals: frozenset[str] = frozenset()
    code: CodeType | None = None
