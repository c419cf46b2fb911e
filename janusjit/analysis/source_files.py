"""Finding the source of a code object.

Owns the cache of parsed and compiled files. Invariant: `locate` returns a syntax tree node only if compiling the file's
present text gives the running code object again, so stale or instrumented source is never read. Of most functions, only
the definition at the left margin that they are in is parsed and compiled: that gives the code that the whole file does.
"""

from __future__ import annotations
import __future__

import ast
import keyword
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from janusjit.errors import SourceError
from janusjit.pacing import pause
from janusjit.spans import Span

FunctionNode = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
)
Candidate = tuple[FunctionNode, str | None]
FUTURE_ANNOTATIONS = __future__.annotations.compiler_flag
_FUTURE_FLAGS = 0
for _feature in __future__.all_feature_names:
    _FUTURE_FLAGS |= getattr(__future__, _feature).compiler_flag
_NESTED_FLAG = 0x10  # CO_NESTED has the value of an obsolete compiler flag
_FUTURE_FLAGS &= ~_NESTED_FLAG

_KINDS: dict[str, type] = {
    "<lambda>": ast.Lambda, "<listcomp>": ast.ListComp, "<setcomp>": ast.SetComp, "<dictcomp>": ast.DictComp,
    "<genexpr>": ast.GeneratorExp,
}  # fmt: skip


@dataclass(frozen=True)
class Located:
    """Where a function stands.

    Attributes
    ----------
    node : ast node
        The function.
    lines : list of str
        The lines of its file.
    class_name : str or None
        The innermost class around it.
    span : Span
        Its first line.
    """

    node: FunctionNode
    lines: list[str]
    class_name: str | None
    span: Span


@dataclass(frozen=True)
class _File:
    """A file, or one definition of it, as read, parsed and compiled once."""

    lines: list[str]
    tree: ast.Module
    code: CodeType


_FILES: dict[tuple[str, int], _File] = {}
#: the definitions of files, by the line they begin at
_DEFINITIONS: dict[tuple[str, int, int], _File] = {}
_DEFINITION = re.compile(r"(?:def|class|async)\b")
_NAME = re.compile(r"[^\W\d]\w*")
_AT_MARGIN = re.compile(r"[^\s#)\]}]")


def locate(code: CodeType, global_names: dict[str, Any]) -> Located:
    """Find the syntax tree node that a code object was compiled from.

    Raises
    ------
    SourceError
        See `janusjit.analysis.source.load`.
    """
    span = Span(code.co_filename, code.co_firstlineno, 1, function=code.co_qualname)
    lines = linecache.getlines(code.co_filename, global_names)
    found = _search(code, lines) if lines else None
    if found is None:
        linecache.checkcache(code.co_filename)
        fresh = linecache.getlines(code.co_filename, global_names)
        if not fresh:
            raise SourceError("source.missing", f"no source for {code.co_qualname}", span)
        if fresh is not lines:
            found = _search(code, fresh)
            lines = fresh
    if found is None:
        reason = f"the source of {code.co_qualname} is not the source of the code that runs (edited since import?)"
        raise SourceError("source.stale", reason, span)
    nodes = list(_nodes(found.tree, code))
    if len(nodes) > 1:
        nodes = _innermost(code, nodes)
    if len(nodes) != 1:
        raise SourceError("source.ambiguous", f"{len(nodes)} functions could be {code.co_qualname}", span)
    return Located(nodes[0][0], lines, nodes[0][1], span)


def _search(code: CodeType, lines: list[str]) -> _File | None:
    """Return what of the file compiles to ``code``: the definition it is in, or the whole file; None for neither."""
    for find in (_definition, _file):
        found = find(code, lines)
        if found is not None and any(_same(candidate, code) for candidate in _codes(found.code)):
            return found
    return None


def _file(code: CodeType, lines: list[str]) -> _File | None:
    key = (code.co_filename, code.co_flags & _FUTURE_FLAGS)
    known = _FILES.get(key)
    if known is None or not (known.lines is lines or known.lines == lines):
        known = _compiled(code, lines, "".join(lines))
        if known is not None:
            _FILES[key] = known
    return known


def _definition(code: CodeType, lines: list[str]) -> _File | None:
    """Return the definition at the left margin that a code object seems to be in, or None if there is none.

    Lines within brackets and strings may begin at the margin too. What is found then is no definition, or another one,
    and does not compile to the code that is looked for. Attributes of imported modules are compiled in a way of their
    own, so it comes after imports of all names that stand in imports at the margin.
    """
    begin = _margin(lines, min(code.co_firstlineno, len(lines)) - 1, -1)
    first = begin
    while 0 <= first < len(lines) and lines[first][0] == "@":
        first = _margin(lines, first + 1, 1)
    if not 0 <= first < len(lines) or not _DEFINITION.match(lines[first]):
        return None
    own = [_imports(lines) if begin else "", *lines[begin : _margin(lines, first + 1, 1)]]
    key = (code.co_filename, code.co_flags & _FUTURE_FLAGS, begin)
    known = _DEFINITIONS.get(key)
    if known is None or known.lines != own:
        known = _compiled(code, own, ("\n" * begin).join(own[:2]) + "".join(own[2:]))
        if known is not None:
            _DEFINITIONS[key] = known
    return known


def _imports(lines: list[str]) -> str:
    """Return an import of each name that stands in an import at the margin."""
    names: dict[str, None] = {}
    for index, line in enumerate(lines):
        if line.startswith(("import ", "from ")):
            text = "".join(lines[index : _margin(lines, index + 1, 1)])
            names |= dict.fromkeys(name for name in _NAME.findall(text) if not keyword.iskeyword(name))
    return f"import {', '.join(names)}" if names else ""


def _margin(lines: list[str], index: int, step: int) -> int:
    """Return the first index from ``index`` on, or back, of a line that begins at the margin, not with a bracket."""
    while 0 <= index < len(lines) and not _AT_MARGIN.match(lines[index]):
        index += step
    return index


def _compiled(code: CodeType, lines: list[str], text: str) -> _File | None:
    try:
        tree = ast.parse(text, code.co_filename)
        pause()
        compiled = compile(tree, code.co_filename, "exec", flags=code.co_flags & _FUTURE_FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    return _File(lines, tree, compiled)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _same(candidate: CodeType, code: CodeType) -> bool:
    """Whether compiling the source gave the code that runs."""
    if candidate.co_name != code.co_name or candidate.co_firstlineno != code.co_firstlineno:
        return False
    if candidate == code:
        return list(candidate.co_positions()) == list(code.co_positions())
    return _has_rewritten_asserts(code) and _same_but_asserts(candidate, code)


def _has_rewritten_asserts(code: CodeType) -> bool:
    """Whether pytest has rewritten the function's ``assert`` statements, which changes their message and no more."""
    return any(name.startswith("@py_assert") for name in code.co_varnames) or "@pytest_ar" in code.co_names


def _same_but_asserts(candidate: CodeType, code: CodeType) -> bool:
    count = candidate.co_argcount + candidate.co_kwonlyargcount
    return (
        candidate.co_argcount == code.co_argcount
        and candidate.co_kwonlyargcount == code.co_kwonlyargcount
        and candidate.co_varnames[:count] == code.co_varnames[:count]
        and candidate.co_freevars == code.co_freevars
        and set(candidate.co_varnames) <= set(code.co_varnames)
        and set(candidate.co_names) - {"AssertionError"} <= set(code.co_names)
    )


def _nodes(tree: ast.Module, code: CodeType) -> Iterator[Candidate]:
    """Yield the nodes of the code's name that start on its first line, each with the class around it."""
    kind = _KINDS.get(code.co_name)
    pending: list[tuple[ast.AST, str | None]] = [(tree, None)]
    while pending:
        node, class_name = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == code.co_name and _first_line(node) == code.co_firstlineno:
                yield node, class_name
        elif kind is not None and isinstance(node, kind) and node.lineno == code.co_firstlineno:  # type: ignore[attr-defined]
            yield node, class_name  # type: ignore[misc]
        inside = node.name if isinstance(node, ast.ClassDef) else class_name
        for child in ast.iter_child_nodes(node):
            if _reaches(child, code.co_firstlineno):
                pending.append((child, inside))


def _reaches(node: ast.AST, line: int) -> bool:
    """Whether a node may contain something that starts on ``line``."""
    end = getattr(node, "end_lineno", None)
    if end is None:
        return True
    return bool(_first_line(node) <= line <= end)


def _first_line(node: Any) -> int:
    return int(min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))]))


def _innermost(code: CodeType, found: list[Candidate]) -> list[Candidate]:
    """Keep the nodes whose body the code's instructions lie in, or the innermost of them.

    That tells lambdas on one line apart, beside and inside each other.
    """
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column is not None]
    places = [place for place in places if place != (code.co_firstlineno, 0)]
    if not places:
        return found
    bodies = [_extent(node) for node, _ in found]
    around = [index for index, (first, last) in enumerate(bodies) if all(first <= place < last for place in places)]
    return [found[max(around, key=lambda index: bodies[index][0])]] if around else []


def _extent(node: FunctionNode) -> tuple[tuple[int, int], tuple[int, int]]:
    inside = node.body if isinstance(node, ast.Lambda) else node
    return (inside.lineno, inside.col_offset), (inside.end_lineno or 0, inside.end_col_offset or 0)
