"""Which names of a function are local, cell, free or global.

Owns the scope tree of one function, built from its libcst tree. Invariant: for every function, `Scope.cells` and
`Scope.free` are what CPython's symbol table says, with one deliberate difference: a comprehension that Core inlines
is part of the scope around it, so a variable that only such a comprehension captures is no cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

# Builtins whose answer depends on the frame they are called from: a comprehension that calls one keeps its own frame.
FRAME_SENSITIVE = frozenset({"locals", "vars", "dir", "eval", "exec", "super", "__class__"})

_SKIPPED_FIELDS = frozenset(
    {"lpar", "rpar", "comma", "semicolon", "leading_lines", "lines_after_decorators", "footer", "header", "operator"}
    | {"__slots__"}
)
_FIELDS: dict[type, tuple[str, ...]] = {}
Comprehension = cst.ListComp | cst.SetComp | cst.DictComp | cst.GeneratorExp


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield the direct subnodes that carry meaning (no whitespace, parentheses or punctuation), in source order."""
    names = _FIELDS.get(type(node))
    if names is None:
        names = tuple(
            name
            for name in type(node).__dataclass_fields__
            if name not in _SKIPPED_FIELDS and not name.startswith("whitespace")
        )
        _FIELDS[type(node)] = names
    for name in names:
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            yield value
        elif isinstance(value, tuple | list):
            for item in value:
                if isinstance(item, cst.CSTNode):
                    yield item


def mangle(class_name: str | None, name: str) -> str:
    """Return ``name`` as it is spelled inside ``class class_name`` (Python reference, 6.2.1)."""
    if class_name is None or not name.startswith("__") or name.endswith("__"):
        return name
    stripped = class_name.lstrip("_")
    return f"_{stripped}{name}" if stripped else name


@dataclass(eq=False)
class Scope:
    """One scope.

    Attributes
    ----------
    kind : str
        ``function``, ``lambda``, ``comprehension``, ``generator expression`` or ``class``.
    class_name : str or None
        The innermost class around, for name mangling.
    parameters, bound, used : names
        Parameters in order; names bound here; names read here. All mangled.
    inlined : bool
        A comprehension that is lowered into the scope around it.
    cells, symbol_cells : names
        Variables of this scope that functions inside capture: in Core, and for the symbol table (which counts every
        comprehension as a function).
    free : names
        Variables of enclosing functions that are used here or inside, sorted.
    """

    node: cst.CSTNode | None
    kind: str
    parent: Scope | None
    class_name: str | None
    parameters: list[str] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    declared_globals: set[str] = field(default_factory=set)
    declared_nonlocals: set[str] = field(default_factory=set)
    children: list[Scope] = field(default_factory=list)
    has_yield: bool = False
    has_await: bool = False
    has_walrus: bool = False
    inlined: bool = False
    cells: frozenset[str] = frozenset()
    free: tuple[str, ...] = ()
    symbol_cells: frozenset[str] = frozenset()

    @property
    def own(self) -> set[str]:
        """Names that live in this scope."""
        return self.bound - self.declared_globals - self.declared_nonlocals


@dataclass(eq=False)
class ScopeTree:
    """The scopes of one function; ``of`` finds the scope a libcst node opens."""

    root: Scope
    of: dict[cst.CSTNode, Scope]


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
    _resolve(root, frozenset(outer))
    return ScopeTree(root, builder.of)


def _free_names(scope: Scope) -> set[str]:
    """Names that ``scope`` takes from around it, before it is known whether they are global."""
    free = set(scope.used | scope.declared_nonlocals)
    if scope.kind == "class":
        free -= scope.own - scope.declared_nonlocals  # read here; functions inside do not see them
        inner: set[str] = set()
        for child in scope.children:
            inner |= _free_names(child)
        return (free | (inner - {"__class__"})) - scope.declared_globals
    for child in scope.children:
        free |= _free_names(child)
    return free - scope.own - scope.declared_globals


def _resolve(scope: Scope, visible: frozenset[str]) -> None:
    own = scope.own if scope.kind != "class" else set()
    inside = (visible - scope.declared_globals) | own
    if scope.kind == "class":
        inside = inside | {"__class__"}
    for child in scope.children:
        _resolve(child, frozenset(inside))
    captured: set[str] = set()
    for child in scope.children:
        captured |= set(child.free)
    scope.symbol_cells = frozenset(captured & own)
    scope.cells = frozenset(_captured_by_functions(scope) & own)
    scope.free = tuple(sorted(_free_names(scope) & (visible - own)))


def _captured_by_functions(scope: Scope) -> set[str]:
    """Names that real inner functions take; an inlined comprehension counts as part of ``scope``."""
    captured: set[str] = set()
    for child in scope.children:
        if child.inlined:
            captured |= _captured_by_functions(child) - child.own
        else:
            captured |= set(child.free)
    return captured


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
        method = getattr(self, f"visit_{type(node).__name__}", None)
        if method is not None:
            method(node)
        else:
            for child in children(node):
                self.visit(child)

    def visit_Name(self, node: cst.Name) -> None:
        if node.value not in ("True", "False", "None", "__debug__"):
            self.use(node.value)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.visit(node.value)

    def visit_Arg(self, node: cst.Arg) -> None:
        self.visit(node.value)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        for decorator in node.decorators:
            self.visit(decorator.decorator)
        self._signature(node.params)
        if self.annotations and node.returns is not None:
            self.visit(node.returns.annotation)
        self.bind_name(node.name.value)
        self._function(node)

    def visit_Lambda(self, node: cst.Lambda) -> None:
        self._signature(node.params)
        self._function(node)

    def _signature(self, parameters: cst.Parameters) -> None:
        for parameter in parameter_nodes(parameters):
            if parameter.default is not None:
                self.visit(parameter.default)
            if self.annotations and parameter.annotation is not None:
                self.visit(parameter.annotation.annotation)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        for decorator in node.decorators:
            self.visit(decorator.decorator)
        for argument in (*node.bases, *node.keywords):
            self.visit(argument)
        self.bind_name(node.name.value)
        self._enter(node, "class", node.name.value)
        self.visit(node.body)
        self._leave()

    def visit_ListComp(self, node: cst.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: cst.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: cst.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: cst.GeneratorExp) -> None:
        self._comprehension(node)

    def visit_Assign(self, node: cst.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind(target.target)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        if self.scope.kind == "class" and self.annotations:
            self.visit(node.annotation.annotation)
        self.bind(node.target)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self.visit(node.value)
        self.visit(node.target)
        self.bind(node.target)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self.visit(node.value)
        scope = self.scope
        while scope.kind in ("comprehension", "generator expression") and scope.parent is not None:
            scope.has_walrus = True
            scope.used.add(mangle(scope.class_name, _name(node.target)))
            scope = scope.parent
        scope.bound.add(mangle(scope.class_name, _name(node.target)))
        scope.has_walrus = True

    def visit_For(self, node: cst.For) -> None:
        self.visit(node.iter)
        self.bind(node.target)
        self.visit(node.body)
        if node.orelse is not None:
            self.visit(node.orelse)

    def visit_Del(self, node: cst.Del) -> None:
        self.bind(node.target)

    def visit_AsName(self, node: cst.AsName) -> None:
        self.bind(node.name)

    def visit_Global(self, node: cst.Global) -> None:
        self.scope.declared_globals.update(mangle(self.scope.class_name, item.name.value) for item in node.names)

    def visit_Nonlocal(self, node: cst.Nonlocal) -> None:
        self.scope.declared_nonlocals.update(mangle(self.scope.class_name, item.name.value) for item in node.names)

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        if node.asname is not None:
            self.bind(node.asname.name)
            return
        name: Any = node.name
        while isinstance(name, cst.Attribute):
            name = name.value
        self.bind_name(name.value)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                self.visit(alias)

    def visit_MatchAs(self, node: cst.MatchAs) -> None:
        if node.pattern is not None:
            self.visit(node.pattern)
        if node.name is not None:
            self.bind(node.name)

    def visit_MatchStar(self, node: cst.MatchStar) -> None:
        if node.name is not None:
            self.bind(node.name)

    def visit_MatchMapping(self, node: cst.MatchMapping) -> None:
        for element in node.elements:
            self.visit(element)
        if node.rest is not None:
            self.bind(node.rest)

    def visit_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> None:
        self.visit(node.pattern)

    def visit_Yield(self, node: cst.Yield) -> None:
        self.scope.has_yield = True
        if node.value is not None:
            self.visit(node.value)

    def visit_Await(self, node: cst.Await) -> None:
        self.scope.has_await = True
        self.visit(node.expression)


def parameter_nodes(parameters: cst.Parameters) -> list[cst.Param]:
    """Every parameter: positional-only, positional, ``*args``, keyword-only, ``**kwargs``."""
    found = [*parameters.posonly_params, *parameters.params]
    if isinstance(parameters.star_arg, cst.Param):
        found.append(parameters.star_arg)
    found.extend(parameters.kwonly_params)
    if parameters.star_kwarg is not None:
        found.append(parameters.star_kwarg)
    return found


def _name(node: cst.BaseExpression) -> str:
    assert isinstance(node, cst.Name)
    return node.value


def _inlinable(scope: Scope, node: Comprehension) -> bool:
    """Whether running the comprehension in the frame around it shows no difference."""
    if scope.has_await or scope.has_yield or _uses_frame(scope):
        return False
    if any(_free_names(child) & scope.own for child in scope.children if not child.inlined):
        return False
    if any(_captured_by_unresolved(child) & scope.own for child in scope.children if child.inlined):
        return False
    return _assigned_before_use(node, scope)


def _uses_frame(scope: Scope) -> bool:
    return bool(scope.used & FRAME_SENSITIVE) or any(_uses_frame(child) for child in scope.children)


def _captured_by_unresolved(scope: Scope) -> set[str]:
    captured: set[str] = set()
    for child in scope.children:
        captured |= _captured_by_unresolved(child) if child.inlined else _free_names(child)
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
