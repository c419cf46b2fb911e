"""Turning Core back into nested Python expressions.

Owns the stack of pending expressions. Invariants: expressions are evaluated in instruction order, whatever is nested
and whatever is assigned to a temporary; a temporary that had to be assigned is cleared after its last use, so objects
live no longer than in the original function.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from janusjit.analysis.core import Atom, Block, Call, Constant, FunctionCore, Instruction, Local
from janusjit.analysis.walk import reads_of, walk, writes_of
from janusjit.pacing import pause
from janusjit.spans import Span

#: the variable through which generated code reaches the recorder, the intrinsics and the makers of functions
RUNTIME = ".janus"

BuildExpression = Callable[["Emitter", Any], ast.expr]
EmitStatement = Callable[["Emitter", Any], None]
EXPRESSIONS: dict[type, BuildExpression] = {}
STATEMENTS: dict[type, EmitStatement] = {}


class Instrumentation(Protocol):
    """Which probes the generated code calls; see `janusjit.profiler.recorder.Probe` for what they do."""

    @property
    def probes(self) -> bool:
        """Whether probes are written."""

    @property
    def replaces(self) -> bool:
        """Whether loops may be left at a back edge for compiled code."""

    @property
    def records(self) -> bool:
        """Whether objects and containers are made known before they are written."""


@dataclass(slots=True)
class Turning:
    """A loop whose body is being written: its counter, and whether it may be left at a back edge."""

    site: int
    counter: str
    iterator: Atom | None
    replaceable: bool


@dataclass(slots=True)
class Pending:
    """An expression whose value a temporary stands for, not evaluated yet."""

    name: str
    node: ast.expr
    iterable: ast.expr | None = None


@dataclass(eq=False)
class Emitter:
    """Emits the body of one function.

    Attributes
    ----------
    statements : list of ast.stmt
        The block that is being written.
    pending : list of Pending
        Expressions not evaluated yet, in evaluation order.
    protected : int
        How many ``try`` and ``with`` statements are around.
    uses, definitions : Counter
        How often each name is read and bound, by instructions.
    returning : int or None
        The site of the statement that is left by ``break`` where it would return.
    functions : list of FunctionCore
        Nested functions that generated code makes through `RUNTIME`.
    unbound : frozenset of str
        Variables of the function's own that may not be bound where they are read, and are free ones in generated code.
    """

    core: FunctionCore
    instrumentation: Instrumentation
    functions: list[FunctionCore]
    statements: list[ast.stmt] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)
    definitions: Counter[str] = field(default_factory=Counter)
    remaining: Counter[str] = field(default_factory=Counter)
    called: set[str] = field(default_factory=set)
    assigned: list[set[str]] = field(default_factory=lambda: [set()])
    loops: list[Turning] = field(default_factory=list)
    protected: int = 0
    returning: int | None = None
    unbound: frozenset[str] = frozenset()
    span: Span = field(init=False)
    _counted: set[Instruction] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.span = self.core.span
        self.count([self.core.body])

    def count(self, blocks: Iterable[Block]) -> None:
        """Take note of what reads and binds which name, in blocks that may stand in no source."""
        for block in blocks:
            for instruction in walk(block):
                pause()
                if instruction in self._counted:
                    continue
                self._counted.add(instruction)
                reads = list(reads_of(instruction))
                self.uses.update(reads)
                self.remaining.update(reads)
                self.definitions.update(writes_of(instruction))
                if isinstance(instruction, Call) and isinstance(instruction.function, Local):
                    self.called.add(instruction.function.name)

    # positions

    def at(self, node: Any, span: Span | None = None) -> Any:
        """Give a node the place of the current instruction."""
        pause()
        place = self.span if span is None else span
        node.lineno, node.col_offset = place.line, place.column - 1
        node.end_lineno, node.end_col_offset = place.end_line, place.end_column - 1
        return node

    def name(self, name: str) -> ast.expr:
        """Return a read of a variable."""
        node: ast.expr = self.at(ast.Name(name, ast.Load()))
        return node

    def target(self, name: str) -> ast.Name:
        """Return a variable to be written."""
        node: ast.Name = self.at(ast.Name(name, ast.Store()))
        return node

    def constant(self, value: Any) -> ast.expr:
        """Return a literal."""
        node: ast.expr = self.at(ast.Constant(value))
        return node

    def constant_or_name(self, atom: Atom) -> ast.expr:
        """Return the read of an atom that is assigned already."""
        return self.constant(atom.value) if isinstance(atom, Constant) else self.name(atom.name)

    def runtime(self, method: str, *arguments: ast.expr) -> ast.expr:
        """Return a call of a method of the runtime object."""
        function = self.at(ast.Attribute(self.name(RUNTIME), method, ast.Load()))
        node: ast.expr = self.at(ast.Call(function, list(arguments), []))
        return node

    # expressions

    def take(self, atoms: Iterable[Atom | None]) -> list[ast.expr]:
        """Return the expressions of operands that are evaluated in this order, right here.

        Operands that are the top of the pending stack, in order, are nested; otherwise everything pending is assigned.
        """
        operands = [atom for atom in atoms if atom is not None]
        return [pending.node for pending in self.take_pending(operands)]

    def take_pending(self, operands: Sequence[Atom]) -> list[Pending]:
        """Do what `take` does, keeping what is known of each operand."""
        waiting = {pending.name for pending in self.pending}
        wanted = [atom.name for atom in operands if isinstance(atom, Local) and atom.name in waiting]
        nested: dict[str, Pending] = {}
        if wanted and [pending.name for pending in self.pending[-len(wanted) :]] == wanted:
            nested = {pending.name: pending for pending in self.pending[-len(wanted) :]}
            del self.pending[-len(wanted) :]
        elif wanted:
            self.flush()
        taken = []
        for atom in operands:
            if isinstance(atom, Constant):
                taken.append(Pending("", self.constant(atom.value)))
                continue
            self.remaining[atom.name] -= 1
            taken.append(nested.get(atom.name) or Pending(atom.name, self.name(atom.name)))
        return taken

    def bind(self, name: str, node: ast.expr, iterable: ast.expr | None = None) -> None:
        """Let ``name`` stand for the value of an expression that is evaluated now."""
        if not name.startswith("."):
            self.statement(ast.Assign([self.target(name)], node))
        elif self.uses[name] == 0:
            self.statement(ast.Expr(node))
        elif self.uses[name] == 1 or self.is_kept(name):
            self.pending.append(Pending(name, node, iterable))
        else:
            self.assign(name, node)

    def is_kept(self, name: str) -> bool:
        """Whether the name is the left side of ``and``/``or``: read by the branch and by what follows."""
        return self.uses[name] == 2 and self.definitions[name] == 2

    def assign(self, name: str, node: ast.expr) -> None:
        """Assign a temporary by a statement."""
        self.statement(ast.Assign([self.target(name)], node))
        self.assigned[-1].add(name)

    def flush(self) -> None:
        """Assign everything pending to its temporary."""
        waiting, self.pending = self.pending, []
        for pending in waiting:
            self.statements.append(self.at(ast.Assign([self.target(pending.name)], pending.node)))
            self.assigned[-1].add(pending.name)

    # statements

    def statement(self, node: ast.stmt) -> None:
        """Write a statement after everything pending."""
        self.flush()
        self.statements.append(self.at(node))

    def release(self) -> None:
        """Clear the temporaries of this block that nothing reads any more."""
        if not self.assigned[-1]:
            return
        waiting = {pending.name for pending in self.pending}
        for name in sorted(self.assigned[-1]):
            if self.remaining[name] <= 0 and name not in waiting and not self.pending:
                self.assigned[-1].discard(name)
                self.statements.append(self.at(ast.Assign([self.target(name)], self.constant(None))))

    def block(self, block: Block) -> tuple[list[ast.stmt], list[Pending]]:
        """Emit a block apart; return its statements and what is pending at its end."""
        outer = self.statements, self.pending
        self.statements, self.pending = [], []
        self.assigned.append(set())
        try:
            for instruction in block.instructions:
                self.instruction(instruction)
            return self.statements, self.pending
        finally:
            kept = self.assigned.pop()
            if self.pending:  # they may become part of an expression around this block
                self.assigned[-1] |= kept
            self.statements, self.pending = outer

    def suite(self, block: Block, *, prologue: Sequence[ast.stmt] = ()) -> list[ast.stmt]:
        """Emit a block as a suite of statements."""
        statements, pending = self.block(block)
        return self.closed([*prologue, *statements], pending)

    def closed(self, statements: list[ast.stmt], pending: Sequence[Pending]) -> list[ast.stmt]:
        """Return the statements with what is pending assigned; never an empty suite."""
        suite = list(statements)
        for item in pending:
            suite.append(self.at(ast.Assign([self.target(item.name)], item.node)))
        return suite or [self.at(ast.Pass())]

    def instruction(self, instruction: Instruction) -> None:
        """Emit one instruction."""
        self.span = instruction.span
        build = EXPRESSIONS.get(type(instruction))
        if build is not None:
            self.bind(instruction.target, build(self, instruction))  # type: ignore[attr-defined]
        else:
            STATEMENTS[type(instruction)](self, instruction)
        self.release()

    @property
    def probes(self) -> bool:
        """Whether probes are written."""
        return self.instrumentation.probes


def builds(kind: type) -> Callable[[BuildExpression], BuildExpression]:
    """Register how an instruction with a target becomes an expression."""

    def register(function: BuildExpression) -> BuildExpression:
        EXPRESSIONS[kind] = function
        return function

    return register


def emits(*kinds: type) -> Callable[[EmitStatement], EmitStatement]:
    """Register how an instruction becomes statements."""

    def register(function: EmitStatement) -> EmitStatement:
        STATEMENTS.update(dict.fromkeys(kinds, function))
        return function

    return register


def reads_inside(blocks: Iterable[Block]) -> set[str]:
    """Return the names that instructions of these blocks read."""
    return {name for block in blocks for instruction in walk(block) for name in reads_of(instruction)}
