"""The state of lowering one function.

Owns emission (sites, spans, temporaries, the current block) and names (local, cell, global, renamed comprehension
variable). Invariant: every instruction is emitted through `Lowering.emit`, so `sites[i]` is the span of site `i`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, TypeVar

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Constant, FunctionCore, Instruction, Local, Parameters
from janusjit.analysis.scope import Scope, ScopeTree, children, mangle
from janusjit.analysis.source_positions import Extent
from janusjit.errors import SourceError
from janusjit.pacing import pause
from janusjit.spans import Span

I = TypeVar("I", bound=Instruction)  # noqa: E741
Place = cst.CSTNode | tuple[cst.CSTNode, cst.CSTNode]
Expression = Callable[["Lowering", Any], Atom]
Statement = Callable[["Lowering", Any], None]
EXPRESSIONS: dict[type, Expression] = {}
STATEMENTS: dict[type, Statement] = {}
CONDITIONS: dict[type, Expression] = {}

NONE = Constant(None)
TRUE = Constant(True)
FALSE = Constant(False)

_RETARGETABLE = (
    core.Move | core.Operate | core.OperateInPlace | core.LoadAttribute | core.LoadItem | core.LoadGlobal
    | core.LoadCell | core.BuildSlice | core.Build | core.BuildDict | core.BuildString | core.Format | core.Call
    | core.MakeFunction | core.Yield | core.YieldFrom | core.Intrinsic
)  # fmt: skip


def expression(*kinds: type) -> Callable[[Expression], Expression]:
    """Register the lowering of expression nodes of these kinds."""

    def register(function: Expression) -> Expression:
        EXPRESSIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


def statement(*kinds: type) -> Callable[[Statement], Statement]:
    """Register the lowering of statement nodes of these kinds."""

    def register(function: Statement) -> Statement:
        STATEMENTS.update(dict.fromkeys(kinds, function))
        return function

    return register


def condition(*kinds: type) -> Callable[[Expression], Expression]:
    """Register the lowering of nodes whose value is only asked for its truth."""

    def register(function: Expression) -> Expression:
        CONDITIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


@dataclass(eq=False)
class Unit:
    """What all functions of one parsed block share.

    Attributes
    ----------
    line_offset : int
        File line = line in the parsed block + ``line_offset``.
    lines : list of str
        The lines of the parsed block.
    super_is_builtin : bool
        Whether ``super`` means the builtin in the function's globals.
    """

    module: cst.Module
    positions: Mapping[int, Extent]
    lines: list[str]
    file: str
    line_offset: int
    annotations: bool
    tree: ScopeTree
    super_is_builtin: bool = True
    debug: bool = __debug__


@dataclass(eq=False)
class Lowering:
    """Lowers one function.

    ``code`` is its code object, ``container`` the one that holds those of the functions inside: the same, or that of
    the function around a comprehension CPython has inlined.
    """

    unit: Unit
    scope: Scope
    name: str
    qualified_name: str
    code: CodeType | None
    container: CodeType | None
    block: Block = field(default_factory=Block)
    sites: list[Span] = field(default_factory=list)
    renames: list[dict[str, str]] = field(default_factory=list)
    renamed: set[str] = field(default_factory=set)
    temporaries: int = 0

    # positions

    def span(self, node: Place) -> Span:
        """Return the span of a node, or from the start of one to the end of another, in the user's file."""
        first_node, last_node = node if isinstance(node, tuple) else (node, node)
        line, column = self.unit.positions[id(first_node)].start
        last_line, last_column = self.unit.positions[id(last_node)].end
        first = self.unit.lines[line - 1]
        return Span(
            self.unit.file,
            line + self.unit.line_offset,
            column + 1,
            last_line + self.unit.line_offset,
            last_column + 1,
            self.qualified_name,
            first[column:last_column] if line == last_line else first[column:].rstrip() + " …",
        )

    def unsupported(self, node: cst.CSTNode, reason: str) -> SourceError:
        """Return the error that says why ``node`` cannot be read."""
        return SourceError("source.unsupported", reason, self.span(node))

    # emission

    def emit(self, kind: type[I], node: Place, *fields: Any, **named: Any) -> I:
        """Append an instruction for ``node`` to the current block."""
        pause()
        span = self.span(node)
        instruction = kind(len(self.sites), span, *fields, **named)
        self.sites.append(span)
        self.block.instructions.append(instruction)
        return instruction

    def fresh(self) -> str:
        """Return the name of a new temporary."""
        self.temporaries += 1
        return f".{self.temporaries - 1}"

    def value(self, kind: type[Instruction], node: cst.CSTNode, *fields: Any, **named: Any) -> Local:
        """Emit an instruction whose first field is its target, a new temporary; return that temporary."""
        target = self.fresh()
        self.emit(kind, node, target, *fields, **named)
        return Local(target)

    @contextmanager
    def into(self, block: Block) -> Iterator[Block]:
        """Emit into ``block`` meanwhile."""
        outer, self.block = self.block, block
        try:
            yield block
        finally:
            self.block = outer

    def finish(self, node: cst.CSTNode, parameters: Parameters, kind: str) -> FunctionCore:
        """Return the Core of the function whose body has been lowered."""
        return FunctionCore(
            name=self.name,
            qualified_name=self.qualified_name,
            parameters=parameters,
            body=self.block,
            kind=kind,
            cells=self.scope.cells,
            free=self.scope.free if self.code is None else self.code.co_freevars,
            sites=self.sites,
            span=self.span(node),
            variables=frozenset(self.scope.own),
            declared_globals=frozenset(self.scope.declared_globals),
            code=self.code,
        )

    # dispatch

    def expression(self, node: cst.CSTNode) -> Atom:
        """Lower an expression; return the atom that holds its value."""
        lower = EXPRESSIONS.get(type(node))
        if lower is None:
            raise self.unsupported(node, f"the expression {type(node).__name__} is not known")
        return lower(self, node)

    def condition(self, node: cst.CSTNode) -> Atom:
        """Lower an expression of which only the truth counts, which is then asked exactly once."""
        lower = CONDITIONS.get(type(node))
        return lower(self, node) if lower is not None else self.expression(node)

    def suite(self, node: cst.CSTNode, block: Block | None = None) -> Block:
        """Lower an indented block or a one-line suite into ``block``."""
        with self.into(Block() if block is None else block) as target:
            for inner in node.body:  # type: ignore[attr-defined]
                self.statement(inner)
        return target

    def statement(self, node: cst.CSTNode) -> None:
        """Lower one statement (or a line of small statements)."""
        if isinstance(node, cst.SimpleStatementLine):
            for inner in node.body:
                self.statement(inner)
            return
        lower = STATEMENTS.get(type(node))
        if lower is None:
            raise self.unsupported(node, f"the statement {type(node).__name__} is not known")
        lower(self, node)

    def operands(self, nodes: Sequence[cst.CSTNode]) -> list[Atom]:
        """Lower several expressions, left to right, and keep the earlier values if a later one rebinds a name."""
        atoms: list[Atom] = []
        for index, node in enumerate(nodes):
            atom = self.expression(node)
            if index + 1 < len(nodes):
                atom = self.settled(atom, node, nodes[index + 1 :])
            atoms.append(atom)
        return atoms

    def settled(self, atom: Atom, node: cst.CSTNode, later: Sequence[cst.CSTNode]) -> Atom:
        """Copy a user's variable to a temporary if one of the expressions ``later`` must not run before it is read.

        That is so if ``later`` may rebind it, or if it may be unbound and ``later`` takes several statements.
        """
        if not isinstance(atom, Local) or atom.name.startswith("."):
            return atom
        bound = atom.name in self.scope.parameters and atom.name not in self.scope.unbound
        if bound and not self.scope.has_walrus:
            return atom
        disturbs = _binds if bound else _takes_statements
        if any(contains(other, disturbs) for other in later):
            return self.value(core.Move, node, atom)
        return atom

    # names

    def mangled(self, name: str) -> str:
        """Return the spelling of an identifier inside the class around."""
        return mangle(self.scope.class_name, name)

    def is_cell(self, name: str) -> bool:
        """Whether the (mangled) name is a cell or free variable."""
        return name in self.scope.cells or name in self.scope.free

    def is_local(self, name: str) -> bool:
        """Whether the (mangled) name is a plain local."""
        return name in self.scope.own and name not in self.scope.cells

    def renamed_variable(self, name: str) -> str | None:
        """Return the temporary that stands for a variable of an inlined comprehension."""
        for names in reversed(self.renames):
            if name in names:
                return names[name]
        return None

    def load(self, node: cst.CSTNode, identifier: str) -> Atom:
        """Read a name."""
        name = self.mangled(identifier)
        renamed = self.renamed_variable(name)
        if renamed is not None:
            return Local(renamed)
        if self.is_cell(name):
            return self.value(core.LoadCell, node, name)
        if self.is_local(name):
            return Local(name)
        return self.value(core.LoadGlobal, node, name)

    def store(self, node: cst.CSTNode, identifier: str, value: Atom, owned: bool = False) -> None:
        """Write a name; ``owned`` says that nobody else reads the temporary ``value``."""
        name = self.mangled(identifier)
        renamed = self.renamed_variable(name)
        if renamed is not None:
            self.move(node, renamed, value, owned)
        elif self.is_cell(name):
            self.emit(core.StoreCell, node, name, value)
        elif self.is_local(name):
            self.move(node, name, value, owned)
        else:
            self.emit(core.StoreGlobal, node, name, value)

    def move(self, node: cst.CSTNode, target: str, value: Atom, owned: bool = False) -> None:
        """Write a plain local; an instruction that has just made an owned value writes it there itself."""
        instructions = self.block.instructions
        last = instructions[-1] if instructions else None
        if owned and isinstance(last, _RETARGETABLE) and value == Local(last.target) and is_temporary(value):
            last.target = target
            return
        self.emit(core.Move, node, target, value)

    def delete(self, node: cst.CSTNode, identifier: str) -> None:
        """Unbind a name."""
        name = self.mangled(identifier)
        if self.is_cell(name):
            self.emit(core.DeleteCell, node, name)
        elif self.is_local(name):
            self.emit(core.DeleteLocal, node, name)
        else:
            self.emit(core.DeleteGlobalName, node, name)

    def plain_local(self, identifier: str) -> str | None:
        """Return the plain local a target name writes, or None when it is a cell or a global."""
        name = self.mangled(identifier)
        renamed = self.renamed_variable(name)
        if renamed is not None:
            return renamed
        return name if self.is_local(name) else None


def contains(node: cst.CSTNode, wanted: Callable[[cst.CSTNode], bool]) -> bool:
    """Whether evaluating ``node`` evaluates a wanted expression (those of inner functions left out)."""
    if wanted(node):
        return True
    if isinstance(node, cst.Lambda):
        return False
    return any(contains(child, wanted) for child in children(node))


def _binds(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.NamedExpr)


def _takes_statements(node: cst.CSTNode) -> bool:
    """Whether generated code may need several statements for an expression."""
    if isinstance(node, cst.Comparison):
        return len(node.comparisons) > 1
    return isinstance(node, cst.NamedExpr | cst.ListComp | cst.SetComp | cst.DictComp)


def takes_statements(node: cst.CSTNode) -> bool:
    """Whether generated code may need several statements for an expression or for what is inside it."""
    return contains(node, _takes_statements)


def is_temporary(atom: Atom) -> bool:
    """Whether the atom is a numbered temporary (not a variable, renamed or not)."""
    return isinstance(atom, Local) and atom.name.startswith(".") and atom.name[1:].isdigit()
