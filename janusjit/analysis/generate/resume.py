"""Functions that go on in the middle of a function.

Owns `generate_resume`, the Python code of one frame of a continuation, and `generate_host`, that of one instruction.
Invariants: what is generated does from there on what the original does, through loops, ``else``, ``try`` and
``with``; tracebacks show the user's lines; every copy of an instruction is emitted with the same knowledge of what is
read later.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Sequence

from janusjit.analysis import core
from janusjit.analysis.continuation import (
    PASSED,
    PLAIN,
    BlockStep,
    FrameShape,
    LoopStep,
    Step,
    TestStep,
    TryStep,
)
from janusjit.analysis.core import Block, FunctionCore, Instruction
from janusjit.analysis.generate import loops, statements
from janusjit.analysis.generate.emitter import Emitter
from janusjit.analysis.jumps import RETURNED, TAKEN, jumps_of
from janusjit.analysis.walk import reads_of, walk, writes_of
from janusjit.spans import Span

#: the parameter that is called first: it returns or raises what the instruction before the resumption point did
PENDING = ".pending"
#: the parameters that hold the ``__exit__`` of each ``with`` that is resumed, outermost first
MANAGER = ".manager_{}"


def resume_body(emitter: Emitter, shape: FrameShape, bound: Sequence[str], span: Span) -> list[ast.stmt]:
    """Return the statements of a frame from a resumption point on.

    Parameters
    ----------
    emitter : Emitter
        Of the frame's function.
    shape : FrameShape
        Where control stands, outermost step first.
    bound : sequence of str
        The locals that the pending instruction binds. Where there is none, nothing is pending.
    span : Span
        Of the pending instruction.
    """
    resumption = _Resumption(emitter, shape, bound, span)
    emitter.count(step.block if isinstance(step, BlockStep) else Block([step.instruction]) for step in shape.steps)
    return _suite(emitter, lambda: resumption.go_on(shape.steps))


class _Resumption:
    def __init__(self, emitter: Emitter, shape: FrameShape, bound: Sequence[str], span: Span) -> None:
        self.emitter = emitter
        self.bound = bound
        self.span = span
        self.managers = 0
        self.variables = dict(shape.variables)
        self.temporaries = {name for name in self.variables if name.startswith(".")} | set(bound)

    def go_on(self, steps: Sequence[Step]) -> None:
        """Emit what is left of the block in front and of everything inside it that has begun."""
        step, *inner = steps
        assert isinstance(step, BlockStep)
        self._take_over(step.block.instructions[: step.index - 1 if inner else step.index])
        if inner:
            self._inside(inner)
        else:
            self._pending(step.block.instructions[step.index - 1] if step.index else None)
        for instruction in step.block.instructions[step.index :]:
            self.emitter.instruction(instruction)

    def _take_over(self, done: Sequence[Instruction]) -> None:
        """Let the temporaries that instructions of a block have bound be cleared after what is still to read them."""
        own = {name for item in done for name in writes_of(item) if name in self.temporaries and name.startswith(".")}
        self.emitter.assigned[-1] |= own
        reads = (name for item in walk(Block(list(done))) for name in reads_of(item) if name in own)
        self.emitter.remaining.subtract(Counter(reads))

    def _pending(self, instruction: Instruction | None = None) -> None:
        """Let the pending instruction return or raise, on its own line."""
        emitter = self.emitter
        emitter.span = self.span
        if self.span.line == 0:
            return
        called = emitter.at(ast.Call(emitter.name(PENDING), [], []))
        if not self.bound:
            emitter.statement(ast.Expr(called))
        elif len(self.bound) == 1:
            emitter.statement(ast.Assign([emitter.target(self.bound[0])], called))
        else:
            names: list[ast.expr] = [emitter.target(name) for name in self.bound]
            emitter.statement(ast.Assign([emitter.at(ast.Tuple(names, ast.Store()))], called))
        for name in self.bound if isinstance(instruction, core.Try) else ():
            unbound = emitter.runtime("is_unbound", emitter.name(name))
            delete = emitter.at(ast.Delete([emitter.at(ast.Name(emitter.target(name).id, ast.Del()))]))
            emitter.statement(ast.If(unbound, [delete], []))
        if self.bound and isinstance(instruction, core.Try):  # the exception comes behind what was bound before it
            emitter.statement(ast.Expr(emitter.at(ast.Call(emitter.name(PENDING), [], []))))

    def _inside(self, steps: Sequence[Step]) -> None:
        first, *rest = steps
        if isinstance(first, BlockStep):
            self.go_on(steps)
        elif isinstance(first, LoopStep):
            self._loop(first.instruction, rest)
        elif isinstance(first, TestStep):
            assert isinstance(first.instruction, core.While)
            self._while(first.instruction, rest, in_test=True)
        else:
            self._protected(first, rest)

    # ------------------------------------------------------------------ loops

    def _loop(self, instruction: Instruction, rest: Sequence[Step]) -> None:
        if not rest:
            self._pending()
            self.emitter.instruction(instruction)
        elif isinstance(rest[0], TestStep):  # of the same loop, before a turn that is a region of its own
            self._inside(rest)
        elif isinstance(instruction, core.For):
            self._for(instruction, rest)
        else:
            assert isinstance(instruction, core.While)
            self._while(instruction, rest, in_test=False)

    def _first_turn(self, instruction: core.For | core.While, rest: Sequence[Step]) -> list[ast.stmt]:
        """Emit what is left of the turn that has begun; what follows may emit the same instructions again."""
        emitter, site = self.emitter, instruction.site
        remaining = Counter(emitter.remaining)
        clear = emitter.at(ast.Assign([emitter.target(f".resumed_{site}")], emitter.constant(False)))
        statements_ = loops.loop_turn(emitter, instruction, lambda: _suite(emitter, lambda: self.go_on(rest)))
        emitter.remaining = remaining
        return [clear, *statements_]

    def _begin(self, instruction: Instruction) -> None:
        emitter = self.emitter
        emitter.span = instruction.span
        loops.loop_start(emitter, instruction.site)
        flag = emitter.target(f".resumed_{instruction.site}")
        emitter.statement(ast.Assign([flag], emitter.constant(True)))

    def _for(self, instruction: core.For, rest: Sequence[Step]) -> None:
        emitter, site = self.emitter, instruction.site
        self._begin(instruction)
        iterator = self._iterator(instruction)
        if emitter.instrumentation.replaces:
            private = emitter.constant(self._made_for_loop(instruction))
            emitter.statement(ast.Assign([emitter.target(f".private_{site}")], private))
        first = self._first_turn(instruction, rest)
        emitter.span = instruction.span
        item = f".item_{site}"
        take = emitter.at(ast.Assign([emitter.target(instruction.target)], emitter.name(item)))
        later = [take, *loops.loop_body(emitter, instruction, instruction.body, [])]
        orelse = emitter.suite(instruction.orelse) if instruction.orelse.instructions else []
        emitter.span = instruction.span
        turn = emitter.at(ast.If(emitter.name(f".resumed_{site}"), first, later))
        emitter.statement(ast.For(emitter.target(item), emitter.runtime("resumed", iterator), [turn], orelse))
        loops.loop_end(emitter, site)

    def _made_for_loop(self, instruction: core.For) -> bool:
        """Whether nobody else can have the iterator of a loop: it was put together where the loop goes on."""
        atom = instruction.iterator
        return isinstance(atom, core.Local) and self.variables.get(atom.name, PLAIN) not in (PLAIN, PASSED)

    def _iterator(self, instruction: core.For) -> ast.expr:
        """Return what a loop draws its next items from: nothing, where each way ahead leaves the loop."""
        atom = instruction.iterator
        if isinstance(atom, core.Local) and atom.name not in self.variables:
            return self.emitter.constant(())
        (iterator,) = self.emitter.take([atom])
        return iterator

    def _while(self, instruction: core.While, rest: Sequence[Step], in_test: bool) -> None:
        """Emit ``while True`` with the test inside, since the first turn has begun behind it or within it."""
        emitter, site = self.emitter, instruction.site
        self._begin(instruction)
        first = self._first_turn(instruction, rest)
        body = loops.loop_body(emitter, instruction, instruction.body, [])
        orelse = emitter.suite(instruction.orelse) if instruction.orelse.instructions else []
        emitter.span = instruction.span
        test, condition = statements.apart(emitter, instruction.test, instruction.condition)
        emitter.span = instruction.span
        leave: list[ast.stmt] = [emitter.at(ast.Break())]
        flag = f".exhausted_{site}"
        if orelse:
            emitter.statement(ast.Assign([emitter.target(flag)], emitter.constant(False)))
            leave.insert(0, emitter.at(ast.Assign([emitter.target(flag)], emitter.constant(True))))
        if in_test:  # both turns leave the condition in one variable, then ask for its truth
            answer = f".condition_{site}"
            read = emitter.constant_or_name(instruction.condition)
            first.append(emitter.at(ast.Assign([emitter.target(answer)], read)))
            later = [*test, emitter.at(ast.Assign([emitter.target(answer)], condition))]
            turn = emitter.at(ast.If(emitter.name(f".resumed_{site}"), first, later))
            truth = statements.truth(emitter, site, emitter.name(answer))
            check = emitter.at(ast.If(truth, [emitter.at(ast.Pass())], leave))
            block = [turn, check, *body]
        else:
            truth = statements.truth(emitter, site, condition)
            check = emitter.at(ast.If(truth, [emitter.at(ast.Pass())], leave))
            block = [emitter.at(ast.If(emitter.name(f".resumed_{site}"), first, [*test, check, *body]))]
        emitter.statement(ast.While(emitter.constant(True), block, []))
        if orelse:
            emitter.statement(ast.If(emitter.name(flag), orelse, []))
        loops.loop_end(emitter, site)

    # ------------------------------------------------------------------ try and with

    def _protected(self, step: TryStep, rest: Sequence[Step]) -> None:
        if isinstance(step.instruction, core.With):
            self._with(step.instruction, rest)
        else:
            assert isinstance(step.instruction, core.Try)
            self._try(step.instruction, step.phase, rest)

    def _with(self, instruction: core.With, rest: Sequence[Step]) -> None:
        emitter = self.emitter
        name = MANAGER.format(self.managers)
        self.managers += 1
        emitter.protected += 1
        body = _suite(emitter, lambda: self.go_on(rest))
        emitter.span = instruction.span
        manager = emitter.runtime("entered", emitter.name(name))
        emitter.protected -= 1
        emitter.statement(ast.With([ast.withitem(manager, None)], body))

    def _try(self, instruction: core.Try, phase: str, rest: Sequence[Step]) -> None:
        emitter = self.emitter
        if phase == "final":
            self.go_on(rest)
            return
        emitter.protected += 1
        body = _suite(emitter, lambda: self.go_on(rest))
        emitter.protected -= 1
        if phase == "body":
            statements.emit_try_around(emitter, instruction, body)
        elif instruction.final.instructions:
            final = emitter.suite(instruction.final)
            emitter.span = instruction.span
            emitter.statement(ast.Try(body, [], [], final))
        else:
            emitter.statements.extend(body)


def _suite(emitter: Emitter, emit: Callable[[], None]) -> list[ast.stmt]:
    """Return what ``emit`` writes as a suite of statements."""
    outer = emitter.statements, emitter.pending
    emitter.statements, emitter.pending = [], []
    emitter.assigned.append(set())
    try:
        emit()
        emitter.flush()
        return emitter.statements or [emitter.at(ast.Pass())]
    finally:
        emitter.assigned.pop()
        emitter.statements, emitter.pending = outer


def host_body(
    emitter: Emitter, instruction: Instruction, results: Sequence[str], protected: bool
) -> list[ast.stmt]:
    """Return the statements that run one instruction and return the locals it binds: one as it is, more as a tuple.

    Where an exception is ``protected``, a ``try`` that raises returns it, with the locals it has bound before.
    """
    found = _host_statements(emitter, instruction, results)
    if not (protected and results and isinstance(instruction, core.Try)):
        return found
    emitter.span = instruction.span
    together = _results(emitter, instruction, results)
    assert together is not None
    left: ast.stmt = emitter.at(ast.Return(emitter.runtime("raised", together)))
    handler = emitter.at(ast.ExceptHandler(None, None, [left]))
    return [emitter.at(ast.Try(found, [handler], [], []))]


def _host_statements(emitter: Emitter, instruction: Instruction, results: Sequence[str]) -> list[ast.stmt]:
    emitter.uses.update(results)  # they are read by the return
    emitter.remaining.update(results)
    jumps = jumps_of(instruction) if isinstance(instruction, core.Try) else None
    if isinstance(instruction, core.Try) and jumps:
        found = _suite(emitter, lambda: _with_jumps(emitter, instruction))
    else:
        found = _suite(emitter, lambda: emitter.instruction(instruction))
    emitter.span = instruction.span
    handed: ast.stmt = emitter.at(ast.Return(_results(emitter, instruction, results)))
    return _even_if_it_returns(emitter, found, handed) if jumps and "return" in jumps else [*found, handed]


def _results(emitter: Emitter, instruction: Instruction, results: Sequence[str]) -> ast.expr | None:
    if not results:
        return None
    if isinstance(instruction, core.Try):  # not all of its ways bind what one of them does
        items = [emitter.runtime("local", emitter.constant(name)) for name in results]
    else:
        items = [emitter.name(name) for name in results]
    together: ast.expr = items[0] if len(results) == 1 else emitter.at(ast.Tuple(items, ast.Load()))
    return together


def _even_if_it_returns(emitter: Emitter, found: list[ast.stmt], handed: ast.stmt) -> list[ast.stmt]:
    """Return statements that hand back the results where a statement ends or returns, but not where it raises."""
    name = ".raises"

    def assign(value: bool) -> ast.stmt:
        node: ast.stmt = emitter.at(ast.Assign([emitter.target(name)], emitter.constant(value)))
        return node

    raised = emitter.at(ast.ExceptHandler(None, None, [assign(True), emitter.at(ast.Raise(None, None))]))
    inner = emitter.at(ast.Try(found, [raised], [], []))
    asked = emitter.at(ast.If(emitter.name(name), [emitter.at(ast.Pass())], [handed]))
    return [assign(False), emitter.at(ast.Try([inner], [], [], [asked]))]


def _with_jumps(emitter: Emitter, statement: core.Try) -> None:
    """Emit a statement inside a loop of one turn, and leave behind which jump out of it was taken.

    Only ``break`` skips the loop's ``else``; where the statement was not left behind its end, it was by ``continue``.
    What returns does not come behind the loop.
    """
    site = statement.site
    names = {kind: name.format(site) for kind, name in TAKEN.items()}

    def assign(kind: str, value: bool) -> ast.stmt:
        node: ast.stmt = emitter.at(ast.Assign([emitter.target(names[kind])], emitter.constant(value)))
        return node

    for kind in TAKEN:
        emitter.statement(assign(kind, kind == "return"))
    emitter.statement(ast.Assign([emitter.target(RETURNED.format(site))], emitter.constant(None)))
    emitter.returning = site
    body = _suite(emitter, lambda: emitter.instruction(statement))
    emitter.returning = None
    emitter.span = statement.span
    continued = [assign("break", False), assign("continue", True)]
    orelse = [emitter.at(ast.If(emitter.name(names["break"]), continued, []))]
    turns = emitter.at(ast.Tuple([emitter.constant(None)], ast.Load()))
    turn = [assign("break", True), *body, assign("break", False)]
    emitter.statement(ast.For(emitter.target(f".once_{site}"), turns, turn, orelse))
    emitter.statement(assign("return", False))


def host_core(function: FunctionCore, instruction: Instruction) -> FunctionCore:
    """Return Core of a function made of one instruction of another."""
    return FunctionCore(
        name=function.name,
        qualified_name=function.qualified_name,
        parameters=core.Parameters(),
        body=Block([instruction]),
        kind="function",
        cells=function.cells,
        free=function.free,
        sites=function.sites,
        span=function.span,
        variables=function.variables,
        declared_globals=function.declared_globals,
        code=function.code,
    )
