"""From a running function to its Core.

Owns finding a function's source, proving that it is the source of the code that runs, and parsing it. Invariant: `load`
either returns the Core of exactly the running code object or raises `SourceError`; only the function's own block is
parsed by libcst, once per code object.
"""

from __future__ import annotations

import ast
import builtins
from types import CodeType, FunctionType, MethodType
from typing import Any

import libcst as cst

from janusjit.analysis.core import FunctionCore, MakeFunction
from janusjit.analysis.lower import Lowering, Unit, comprehension_body, lower_body
from janusjit.analysis.scope import Comprehension
from janusjit.analysis.scope_builder import analyze
from janusjit.analysis.source_files import FUTURE_ANNOTATIONS, Located, locate
from janusjit.analysis.source_positions import Extent, positions_of
from janusjit.analysis.walk import walk
from janusjit.collection import collection_paused
from janusjit.errors import SourceError
from janusjit.pacing import pause
from janusjit.spans import Span

__all__ = ["SourceError", "code_of", "load"]

cst.parse_expression("1 + 0.5")  # what libcst imports and makes when it first parses, it had better not do in a call

_CACHE: dict[int, tuple[CodeType, FunctionCore | SourceError]] = {}


def code_of(function: Any) -> CodeType:
    """Return the code object of a Python function or method.

    Raises
    ------
    SourceError
        ``source.not_python``: a builtin, a C function, a class or another callable without code of its own.
    """
    while isinstance(function, MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise SourceError("source.not_python", f"{name} is not a Python function")
    return function.__code__


def load(function: Any) -> FunctionCore:
    """Return the Core of a Python function or method.

    Parameters
    ----------
    function : function or method
        Anything ``def`` or ``lambda`` made, nested or not; a generator expression's function too.

    Returns
    -------
    FunctionCore
        Cached by code object; ``core.code is function.__code__``.

    Raises
    ------
    SourceError
        ``source.not_python``, ``source.missing`` (no source, as for ``exec`` of a string), ``source.stale`` (the file
        was edited after import, or the code is instrumented), ``source.ambiguous``, ``source.unsupported`` (a form
        the front end does not read).
    """
    code = code_of(function)
    cached = _CACHE.get(id(code))
    if cached is None:
        while isinstance(function, MethodType):
            function = function.__func__
        try:
            with collection_paused():
                found: FunctionCore | SourceError = _load(code, function.__globals__)
        except SourceError as error:
            found = error.with_traceback(None)
            found.__context__ = None  # an exception of the user's that is being handled, and all its frames
        cached = _CACHE.setdefault(id(code), (code, found))
        if isinstance(found, FunctionCore):
            _remember_nested(found)
    outcome = cached[1]
    if isinstance(outcome, SourceError):
        raise SourceError(outcome.code, outcome.reason, outcome.span)
    return outcome


def _remember_nested(function: FunctionCore) -> None:
    for instruction in walk(function.body):
        if isinstance(instruction, MakeFunction):
            inner = instruction.function
            if inner.code is not None:
                _CACHE.setdefault(id(inner.code), (inner.code, inner))
            _remember_nested(inner)


def _load(code: CodeType, global_names: dict[str, Any]) -> FunctionCore:
    place = locate(code, global_names)
    node, module, positions, text, first = _parse(place)
    annotations = not code.co_flags & FUTURE_ANNOTATIONS
    tree = analyze(node, code.co_freevars, place.class_name, annotations)
    unit = Unit(
        module=module,
        positions=positions,
        lines=text,
        file=code.co_filename,
        line_offset=first,
        annotations=annotations,
        tree=tree,
        super_is_builtin=_super_is_builtin(global_names),
    )
    state = Lowering(unit, tree.root, code.co_name, code.co_qualname, code, code)
    if isinstance(node, cst.FunctionDef | cst.Lambda):
        return lower_body(state, node)
    return comprehension_body(state, node)


def _super_is_builtin(global_names: dict[str, Any]) -> bool:
    return global_names.get("super", builtins.super) is builtins.super


def _parse(place: Located) -> tuple[Any, cst.Module, dict[int, Extent], list[str], int]:
    """Parse the function's block; return its node, the module, positions, the parsed lines and the line offset."""
    text, offset = _block(place)
    pause()
    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise SourceError("source.unsupported", f"libcst cannot read it: {error.message}", place.span) from None
    pause()
    positions = positions_of(module)
    outermost: Any = module.body[0]
    if isinstance(outermost, cst.If):
        outermost = outermost.body.body[0]
    if isinstance(outermost, cst.SimpleStatementLine):
        small = outermost.body[0]
        assert isinstance(small, cst.Expr)
        outermost = small.value
    if not isinstance(outermost, cst.FunctionDef | cst.Lambda | Comprehension):
        raise SourceError("source.unsupported", f"unexpected {type(outermost).__name__}", place.span)
    return outermost, module, positions, text.split("\n"), offset


def _block(place: Located) -> tuple[str, int]:
    """Cut the function's block out of its file, columns kept; return it and its line offset."""
    node, lines = place.node, place.lines
    last = node.end_lineno or node.lineno
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        start = _character(lines[node.lineno - 1], node.col_offset)
        end = _character(lines[last - 1], node.end_col_offset or 0)
        body = lines[node.lineno - 1 : last]
        body[-1] = body[-1][:end]
        body[0] = " " * start + body[0][start:]
        return "(\n" + "".join(body) + "\n)\n", node.lineno - 2
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    body = lines[first - 1 : last]
    end = _character(body[-1], node.end_col_offset or 0)
    body[-1] = body[-1][:end] + "\n"  # what follows ";" or "#" on the last line is not ours
    if body[0][:1].isspace():
        return "if 1:\n" + "".join(body), first - 2
    return "".join(body), first - 1


def _character(line: str, byte_offset: int) -> int:
    """Convert the byte offset the ast gives to a character offset."""
    return byte_offset if line.isascii() else len(line.encode()[:byte_offset].decode())


def span_of(code: CodeType) -> Span:
    """Return where a code object says it starts."""
    return Span(code.co_filename, code.co_firstlineno, 1, function=code.co_qualname)
