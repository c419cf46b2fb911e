"""Which names of a function are local, cell, free or global.

Owns the scopes of one function and the resolution of its names (`scope_builder` finds the bindings and uses).
Invariant: for every function, `Scope.cells` and `Scope.free` are what CPython's symbol table says, with one deliberate
difference: a comprehension that Core inlines is part of the scope around it, so a variable that only such a
comprehension captures is no cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

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
        if _is_node(value):
            yield value
        elif isinstance(value, tuple | list):
            yield from filter(_is_node, value)


def _is_node(value: Any) -> bool:
    """Whether a field is a node; to ask `isinstance` of another type makes it ask some two hundred types of nodes."""
    return cst.CSTNode in type(value).__mro__


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
    unbound : names
        Names that a ``del`` or the end of an ``except`` clause unbinds.
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
    unbound: set[str] = field(default_factory=set)
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


def free_names(scope: Scope) -> set[str]:
    """Names that ``scope`` takes from around it, before it is known whether they are global."""
    free = set(scope.used | scope.declared_nonlocals)
    if scope.kind == "class":
        free -= scope.own - scope.declared_nonlocals  # read here; functions inside do not see them
        inner: set[str] = set()
        for child in scope.children:
            inner |= free_names(child)
        return (free | (inner - {"__class__"})) - scope.declared_globals
    for child in scope.children:
        free |= free_names(child)
    return free - scope.own - scope.declared_globals


def resolve(scope: Scope, visible: frozenset[str]) -> None:
    """Fill in cells and free variables of ``scope`` and of those inside; ``visible`` are the variables around it."""
    own = scope.own if scope.kind != "class" else set()
    inside = (visible - scope.declared_globals) | own
    if scope.kind == "class":
        inside = inside | {"__class__"}
    for child in scope.children:
        resolve(child, frozenset(inside))
    captured: set[str] = set()
    for child in scope.children:
        captured |= set(child.free)
    scope.symbol_cells = frozenset(captured & own)
    scope.cells = frozenset(_captured_by_functions(scope) & own)
    scope.free = tuple(sorted(free_names(scope) & (visible - own)))


def _captured_by_functions(scope: Scope) -> set[str]:
    """Names that real inner functions take; an inlined comprehension counts as part of ``scope``."""
    captured: set[str] = set()
    for child in scope.children:
        if child.inlined:
            captured |= _captured_by_functions(child) - child.own
        else:
            captured |= set(child.free)
    return captured


def parameter_nodes(parameters: cst.Parameters) -> list[cst.Param]:
    """Every parameter: positional-only, positional, ``*args``, keyword-only, ``**kwargs``."""
    found = [*parameters.posonly_params, *parameters.params]
    if isinstance(parameters.star_arg, cst.Param):
        found.append(parameters.star_arg)
    found.extend(parameters.kwonly_params)
    if parameters.star_kwarg is not None:
        found.append(parameters.star_kwarg)
    return found
