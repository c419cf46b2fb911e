"""``with``, ``try``, ``yield``, ``await`` and the statements that stay source.

Owns their lowering, and the read and write sets of opaque statements.
"""

from __future__ import annotations

from typing import Any

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Handler, Local
from janusjit.analysis.lower.assignment import assign
from janusjit.analysis.lower.context import NONE, Lowering, expression, statement, takes_statements
from janusjit.analysis.scope import children, mangle


@statement(cst.With)
def lower_with(state: Lowering, node: cst.With) -> None:
    """Lower ``with``; several managers are nested."""
    if node.asynchronous is not None:
        lower_opaque(state, node, "async with")
    else:
        _with_items(state, node, 0)


def _with_items(state: Lowering, node: cst.With, position: int) -> None:
    item = node.items[position]
    manager = state.expression(item.item)
    target: str | None = None
    with state.into(Block()) as body:
        if item.asname is not None:
            name = item.asname.name
            plain = state.plain_local(name.value) if isinstance(name, cst.Name) else None
            target = plain if plain is not None else state.fresh()
            if plain is None:
                assign(state, name, Local(target))
        if position + 1 < len(node.items):
            _with_items(state, node, position + 1)
        else:
            state.suite(node.body, body)
    state.emit(core.With, item.item, manager, target, body)


@statement(cst.Try)
def lower_try(state: Lowering, node: cst.Try) -> None:
    """Lower ``try`` with its handlers, ``else`` and ``finally``."""
    if any(handler.type is not None and takes_statements(handler.type) for handler in node.handlers):
        lower_opaque(state, node, "try")
        return
    body = state.suite(node.body)
    handlers = [_handler(state, handler) for handler in node.handlers]
    orelse = Block() if node.orelse is None else state.suite(node.orelse.body)
    final = Block() if node.finalbody is None else state.suite(node.finalbody.body)
    state.emit(core.Try, node, body, handlers, orelse, final)


def _handler(state: Lowering, node: cst.ExceptHandler) -> Handler:
    exception_type: Atom | None = None
    with state.into(Block()) as matcher:
        if node.type is not None:
            exception_type = state.expression(node.type)
    if node.name is None:
        return Handler(matcher, exception_type, None, state.suite(node.body))
    identifier = node.name.name
    assert isinstance(identifier, cst.Name)
    plain = state.plain_local(identifier.value)
    if plain is not None:
        return Handler(matcher, exception_type, plain, state.suite(node.body))
    caught = state.fresh()
    with state.into(Block()) as body:
        state.store(identifier, identifier.value, Local(caught))
        inner = state.suite(node.body)
        with state.into(Block()) as final:
            state.store(identifier, identifier.value, NONE)
            state.delete(identifier, identifier.value)
        state.emit(core.Try, node, inner, [], Block(), final)
    return Handler(matcher, exception_type, caught, body)


@expression(cst.Yield)
def lower_yield(state: Lowering, node: cst.Yield) -> Atom:
    """Lower ``yield`` and ``yield from``."""
    if isinstance(node.value, cst.From):
        return state.value(core.YieldFrom, node, state.expression(node.value.item), "yield from")
    return state.value(core.Yield, node, NONE if node.value is None else state.expression(node.value))


@expression(cst.Await)
def lower_await(state: Lowering, node: cst.Await) -> Atom:
    """Lower ``await``."""
    return state.value(core.YieldFrom, node, state.expression(node.expression), "await")


# statements Core has no form for


@statement(cst.ClassDef)
def lower_class(state: Lowering, node: cst.ClassDef) -> None:
    """Keep a class statement as source."""
    lower_opaque(state, node, "class")


@statement(cst.Import, cst.ImportFrom)
def lower_import(state: Lowering, node: cst.Import | cst.ImportFrom) -> None:
    """Keep an import as source."""
    lower_opaque(state, node, "import")


@statement(cst.TryStar)
def lower_try_star(state: Lowering, node: cst.TryStar) -> None:
    """Keep ``except*`` as source."""
    lower_opaque(state, node, "except*")


def lower_opaque(state: Lowering, node: cst.CSTNode, construct: str) -> None:
    """Emit a statement as source, names mangled as the class around spells them."""
    reads: set[str] = set()
    writes: set[str] = set()
    _names(state, node, reads, writes)
    mangled = node.visit(_Mangler(state.scope.class_name)) if state.scope.class_name else node
    assert isinstance(mangled, cst.CSTNode)
    source = _statement_source(state, mangled)
    known = state.scope.own | set(state.scope.free) | state.scope.declared_globals
    state.emit(core.Opaque, node, source, construct, tuple(sorted(reads & known)), tuple(sorted(writes & known)))


def _statement_source(state: Lowering, statement_node: cst.CSTNode) -> str:
    """Return the source of a statement from its first line, not indented."""
    bare: Any = statement_node
    if hasattr(bare, "leading_lines"):
        bare = bare.with_changes(leading_lines=())
    return state.unit.module.code_for_node(bare)


class _Mangler(cst.CSTTransformer):
    """Spells private names as the class around does; inner classes do it for themselves."""

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.class_name = class_name
        self.inner_classes = 0

    def visit_ClassDef_body(self, node: cst.ClassDef) -> None:  # noqa: N802 (libcst's name)
        self.inner_classes += 1

    def leave_ClassDef_body(self, node: cst.ClassDef) -> None:  # noqa: N802
        self.inner_classes -= 1

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:  # noqa: N802
        if self.inner_classes:
            return updated_node
        name = mangle(self.class_name, updated_node.value)
        return updated_node.with_changes(value=name) if name != updated_node.value else updated_node


def _names(state: Lowering, node: cst.CSTNode, reads: set[str], writes: set[str]) -> None:
    """Collect the names a statement may read and bind, over-estimating reads."""
    if isinstance(node, cst.Name):
        reads.add(state.mangled(node.value))
    bound: cst.CSTNode | None = None
    if isinstance(node, cst.ClassDef | cst.FunctionDef):
        bound = node.name
    elif isinstance(node, cst.ImportAlias):
        bound = node.asname.name if node.asname is not None else node.name
        while isinstance(bound, cst.Attribute):
            bound = bound.value
    elif isinstance(node, cst.AssignTarget | cst.AugAssign | cst.AnnAssign | cst.NamedExpr | cst.For | cst.Del):
        bound = node.target
    elif isinstance(node, cst.AsName | cst.MatchAs | cst.MatchStar):
        bound = node.name
    elif isinstance(node, cst.MatchMapping):
        bound = node.rest
    if bound is not None:
        _bound_names(state, bound, writes)
    for child in children(node):
        _names(state, child, reads, writes)


def _bound_names(state: Lowering, target: cst.CSTNode, writes: set[str]) -> None:
    if isinstance(target, cst.Name):
        writes.add(state.mangled(target.value))
    elif isinstance(target, cst.Tuple | cst.List):
        for element in target.elements:
            _bound_names(state, element.value, writes)
