"""Finding what a function binds and reads.

Owns the walk over a libcst tree that builds its scopes, and the decision which comprehensions are inlined. Invariant:
names are recorded as Python's symbol table records them, private names mangled.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import libcst as cst

from janusjit.analysis.scope import (
    Comprehension,
    Scope,
    ScopeTree,
    children,
    free_names,
    mangle,
    parameter_nodes,
    resolve,
)
from janusjit.pacing import pause

# Builtins whose answer depends on the frame they are called from: a comprehension that calls one keeps its own frame,
# or cannot be read where CPython itself has no frame for it (3.12 and later, PEP 709).
FRAME_SENSITIVE = frozenset({"locals", "vars", "dir", "eval", "exec"})
if sys.version_info < (3, 12):
    FRAME_SENSITIVE |= {"super", "__class__"}


def analyze(
    node: cst.FunctionDef | cst.Lambda | Comprehension, outer: Sequence[str], class_name: str | None, annotations: bool
) -> ScopeTree:
    """Build the scope tree of a function.

    Parameters
    ----------
    node : libcst node
        The function (or lambda, or comprehension that is a function of its own).
    outer : sequence of str
        Variables of enclosing functions (``co_freevars`` of the code object).
    class_name : str or None
        The class whose body the function is written in, for name mangling.
    annotations : bool
        Whether annotations are evaluated (no ``from __future__ import annotations``).
    """
    builder = _Builder(class_name, annotations)
    root = builder.open_function(node)
    resolve(root, frozenset(outer))
    return ScopeTree(root, builder.of)


@functools.cache
def _visitor_name(kind: type) -> str:
    return "visit" + "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)


class _Builder:
    """Walks a libcst tree and records bindings and uses."""

    def __init__(self, class_name: str | None, annotations: bool) -> None:
        self.of: dict[cst.CSTNode, Scope] = {}
        self.scope = Scope(None, "module", None, class_name)
        self.annotations = annotations

    # scopes

    def open_function(self, node: cst.FunctionDef | cst.Lambda | Comprehension) -> Scope:
        if isinstance(node, cst.FunctionDef | cst.Lambda):
            return self._function(node)
        return self._comprehension(node, first_outside=False)

    def _enter(self, node: cst.CSTNode, kind: str, class_name: str | None) -> Scope:
        scope = Scope(node, kind, self.scope, class_name)
        self.scope.children.append(scope)
        self.of[node] = scope
        self.scope = scope
        return scope

    def _leave(self) -> None:
        assert self.scope.parent is not None
        self.scope = self.scope.parent

    def _function(self, node: cst.FunctionDef | cst.Lambda) -> Scope:
        kind = "function" if isinstance(node, cst.FunctionDef) else "lambda"
        scope = self._enter(node, kind, self.scope.class_name)
        for parameter in parameter_nodes(node.params):
            name = mangle(scope.class_name, parameter.name.value)
            scope.parameters.append(name)
            scope.bound.add(name)
        self.visit(node.body)
        self._leave()
        return scope

    def _comprehension(self, node: Comprehension, first_outside: bool = True) -> Scope:
        kind = "generator expression" if isinstance(node, cst.GeneratorExp) else "comprehension"
        clause: cst.CompFor | None = node.for_in
        if first_outside:
            self.visit(node.for_in.iter)
        scope = self._enter(node, kind, self.scope.class_name)
        while clause is not None:
            if clause is not node.for_in:
                self.visit(clause.iter)
            self.bind(clause.target)
            for condition in clause.ifs:
                self.visit(condition.test)
            if clause.asynchronous is not None:
                scope.has_await = True
            clause = clause.inner_for_in
        for part in (node.key, node.value) if isinstance(node, cst.DictComp) else (node.elt,):
            self.visit(part)
        self._leave()
        if kind == "comprehension":
            scope.inlined = _inlinable(scope, node)
        return scope

    # names

    def use(self, name: str) -> None:
        scope = self.scope
        name = mangle(scope.class_name, name)
        scope.used.add(name)
        if name == "super" and scope.kind != "class":
            scope.used.add("__class__")

    def bind_name(self, name: str) -> None:
        self.scope.bound.add(mangle(self.scope.class_name, name))

    def bind(self, target: cst.CSTNode) -> None:
        """Record an assignment target."""
        if isinstance(target, cst.Name):
            self.bind_name(target.value)
        elif isinstance(target, cst.Tuple | cst.List):
            for element in target.elements:
                self.bind(element.value)
        elif isinstance(target, cst.StarredElement):
            self.bind(target.value)
        else:
            self.visit(target)

    # nodes

    def visit(self, node: cst.CSTNode) -> None:
        pause()
        method = getattr(self, _visitor_name(type(node)), None)
        if method is not None:
            method(node)
        else:
            for child in children(node):
                self.visit(child)

    def visit_name(self, node: cst.Name) -> None:
        if node.value not in ("True", "False", "None", "__debug__"):
            self.use(node.value)

    def visit_attribute(self, node: cst.Attribute) -> None:
        self.visit(node.value)

    def visit_arg(self, node: cst.Arg) -> None:
        self.visit(node.value)

    def visit_function_def(self, node: cst.FunctionDef) -> None:
        for decorator in node.decorators:
            self.visit(decorator.decorator)
        self._signature(node.params)
        if self.annotations and node.returns is not None:
            self.visit(node.returns.annotation)
        self.bind_name(node.name.value)
        self._function(node)

    def visit_lambda(self, node: cst.Lambda) -> None:
        self._signature(node.params)
        self._function(node)

    def _signature(self, parameters: cst.Parameters) -> None:
        for parameter in parameter_nodes(parameters):
            if parameter.default is not None:
                self.visit(parameter.default)
            if self.annotations and parameter.annotation is not None:
                self.visit(parameter.annotation.annotation)

    def visit_class_def(self, node: cst.ClassDef) -> None:
        for decorator in node.decorators:
            self.visit(decorator.decorator)
        for argument in (*node.bases, *node.keywords):
            self.visit(argument)
        self.bind_name(node.name.value)
        self._enter(node, "class", node.name.value)
        self.visit(node.body)
        self._leave()

    def visit_list_comp(self, node: cst.ListComp) -> None:
        self._comprehension(node)

    def visit_set_comp(self, node: cst.SetComp) -> None:
        self._comprehension(node)

    def visit_dict_comp(self, node: cst.DictComp) -> None:
        self._comprehension(node)

    def visit_generator_exp(self, node: cst.GeneratorExp) -> None:
        self._comprehension(node)

    def visit_assign(self, node: cst.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind(target.target)

    def visit_ann_assign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        if self.scope.kind == "class" and self.annotations:
            self.visit(node.annotation.annotation)
        self.bind(node.target)

    def visit_aug_assign(self, node: cst.AugAssign) -> None:
        self.visit(node.value)
        self.visit(node.target)
        self.bind(node.target)

    def visit_named_expr(self, node: cst.NamedExpr) -> None:
        self.visit(node.value)
        scope = self.scope
        while scope.kind in ("comprehension", "generator expression") and scope.parent is not None:
            scope.has_walrus = True
            scope.used.add(mangle(scope.class_name, _name(node.target)))
            scope = scope.parent
        scope.bound.add(mangle(scope.class_name, _name(node.target)))
        scope.has_walrus = True

    def visit_for(self, node: cst.For) -> None:
        self.visit(node.iter)
        self.bind(node.target)
        self.visit(node.body)
        if node.orelse is not None:
            self.visit(node.orelse)

    def visit_del(self, node: cst.Del) -> None:
        before = set(self.scope.bound)
        self.scope.bound.clear()
        self.bind(node.target)
        self.scope.unbound |= self.scope.bound
        self.scope.bound |= before

    def visit_except_handler(self, node: cst.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        if node.name is not None and isinstance(node.name.name, cst.Name):
            self.bind(node.name.name)
            self.scope.unbound.add(mangle(self.scope.class_name, node.name.name.value))
        self.visit(node.body)

    def visit_as_name(self, node: cst.AsName) -> None:
        self.bind(node.name)

    def visit_global(self, node: cst.Global) -> None:
        self.scope.declared_globals.update(mangle(self.scope.class_name, item.name.value) for item in node.names)

    def visit_nonlocal(self, node: cst.Nonlocal) -> None:
        self.scope.declared_nonlocals.update(mangle(self.scope.class_name, item.name.value) for item in node.names)

    def visit_import_alias(self, node: cst.ImportAlias) -> None:
        if node.asname is not None:
            self.bind(node.asname.name)
            return
        name: Any = node.name
        while isinstance(name, cst.Attribute):
            name = name.value
        self.bind_name(name.value)

    def visit_import_from(self, node: cst.ImportFrom) -> None:
        if not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                self.visit(alias)

    def visit_match_as(self, node: cst.MatchAs) -> None:
        if node.pattern is not None:
            self.visit(node.pattern)
        if node.name is not None:
            self.bind(node.name)

    def visit_match_star(self, node: cst.MatchStar) -> None:
        if node.name is not None:
            self.bind(node.name)

    def visit_match_mapping(self, node: cst.MatchMapping) -> None:
        for element in node.elements:
            self.visit(element)
        if node.rest is not None:
            self.bind(node.rest)

    def visit_match_keyword_element(self, node: cst.MatchKeywordElement) -> None:
        self.visit(node.pattern)

    def visit_yield(self, node: cst.Yield) -> None:
        self.scope.has_yield = True
        if node.value is not None:
            self.visit(node.value)

    def visit_await(self, node: cst.Await) -> None:
        self.scope.has_await = True
        self.visit(node.expression)


def _name(node: cst.BaseExpression) -> str:
    assert isinstance(node, cst.Name)
    return node.value


def _inlinable(scope: Scope, node: Comprehension) -> bool:
    """Whether running the comprehension in the frame around it shows no difference."""
    if scope.has_await or scope.has_yield or uses_frame(scope):
        return False
    if any(free_names(child) & scope.own for child in scope.children if not child.inlined):
        return False
    if any(_captured_by_unresolved(child) & scope.own for child in scope.children if child.inlined):
        return False
    return _assigned_before_use(node, scope)


def uses_frame(scope: Scope) -> bool:
    """Whether a comprehension calls a builtin that looks at its caller's frame."""
    return bool(scope.used & FRAME_SENSITIVE) or any(uses_frame(child) for child in scope.children)


def _captured_by_unresolved(scope: Scope) -> set[str]:
    captured: set[str] = set()
    for child in scope.children:
        captured |= _captured_by_unresolved(child) if child.inlined else free_names(child)
    return captured - scope.own


def _assigned_before_use(node: Comprehension, scope: Scope) -> bool:
    """Whether no clause can read a comprehension variable that a later clause binds."""
    pending = set(scope.own)
    clause: cst.CompFor | None = node.for_in
    while clause is not None:
        if clause is not node.for_in and _mentioned(clause.iter) & pending:
            return False
        if not _plain_target(clause.target):
            return False
        pending -= _mentioned(clause.target)
        if any(_mentioned(condition.test) & pending for condition in clause.ifs):
            return False
        clause = clause.inner_for_in
    return True


def _plain_target(target: cst.CSTNode) -> bool:
    if isinstance(target, cst.Tuple | cst.List):
        return all(_plain_target(element.value) for element in target.elements)
    return isinstance(target, cst.Name)


def _mentioned(node: cst.CSTNode) -> set[str]:
    if isinstance(node, cst.Name):
        return {node.value}
    found: set[str] = set()
    for child in children(node):
        found |= _mentioned(child)
    return found
