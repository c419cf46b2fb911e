"""Loops and jumps as statements.

Owns the emitters of ``for``, ``while``, ``break``, ``continue`` and ``return``. Invariant: in a twin, each turn is
counted once, however it ends, and where hot loops may be taken over, every back edge asks.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from janusjit.analysis import core
from janusjit.analysis.core import Block, Local
from janusjit.analysis.finalization import bound_again
from janusjit.analysis.generate.emitter import Emitter, Turning, emits
from janusjit.analysis.generate.statements import apart, truth, unpack_target
from janusjit.analysis.jumps import RETURNED


@emits(core.For)
def emit_for(emitter: Emitter, instruction: core.For) -> None:
    """Emit a ``for`` statement."""
    (iterator,) = emitter.take_pending([instruction.iterator])
    emitter.flush()
    iterable = emitter.runtime("turns", iterator.node) if iterator.iterable is None else iterator.iterable
    loop_start(emitter, instruction.site)
    if emitter.instrumentation.replaces and isinstance(instruction.iterator, Local):
        iterable = _kept_iterator(emitter, instruction, iterator.node if iterator.iterable is None else iterable)
    target, block = _loop_target(emitter, instruction)
    first: list[ast.stmt] = []
    if emitter.instrumentation.records and isinstance(target, ast.Name):
        site, item = emitter.constant(instruction.site), emitter.name(instruction.target)
        first.append(emitter.at(ast.Expr(emitter.runtime("value", site, item))))
    body = loop_body(emitter, instruction, block, first)
    orelse = emitter.suite(instruction.orelse) if instruction.orelse.instructions else []
    emitter.span = instruction.span
    emitter.statement(ast.For(target, iterable, body, orelse))
    loop_end(emitter, instruction.site)
    if isinstance(target, ast.Name) and target.id.startswith("."):
        emitter.statement(ast.Assign([emitter.target(instruction.target)], emitter.constant(None)))


def _loop_target(emitter: Emitter, instruction: core.For) -> tuple[ast.expr, Block]:
    """Return the loop's target and the rest of its body; an item that is only unpacked is unpacked by the loop."""
    instructions = instruction.body.instructions
    first = instructions[0] if instructions else None
    item = instruction.target
    if not isinstance(first, core.Unpack) or first.value != Local(item) or emitter.uses[item] != 1:
        return emitter.target(item), instruction.body
    if any(name.startswith(".") for name in first.targets):
        return emitter.target(item), instruction.body
    emitter.remaining[item] -= 1
    emitter.span = first.span
    target = unpack_target(emitter, first)
    emitter.span = instruction.span
    return target, Block(instructions[1:])


@emits(core.While)
def emit_while(emitter: Emitter, instruction: core.While) -> None:
    """Emit a ``while`` statement; a test that needs statements runs inside ``while True``."""
    emitter.flush()
    loop_start(emitter, instruction.site)
    body = loop_body(emitter, instruction, instruction.body, [])
    orelse = emitter.suite(instruction.orelse) if instruction.orelse.instructions else []
    emitter.span = instruction.span
    statements, test = apart(emitter, instruction.test, instruction.condition)
    emitter.span = instruction.span
    condition = truth(emitter, instruction.site, test)
    if not statements:
        emitter.statement(ast.While(condition, body, orelse))
    else:
        _while_true(emitter, instruction.site, statements, condition, body, orelse)
    loop_end(emitter, instruction.site)


def _while_true(
    emitter: Emitter,
    site: int,
    statements: list[ast.stmt],
    condition: ast.expr,
    body: list[ast.stmt],
    orelse: list[ast.stmt],
) -> None:
    flag = f".exhausted_{site}"
    leave: list[ast.stmt] = [emitter.at(ast.Break())]
    if orelse:
        emitter.statement(ast.Assign([emitter.target(flag)], emitter.constant(False)))
        leave.insert(0, emitter.at(ast.Assign([emitter.target(flag)], emitter.constant(True))))
    test = emitter.at(ast.If(condition, [emitter.at(ast.Pass())], leave))
    emitter.statement(ast.While(emitter.constant(True), [*statements, test, *body], []))
    if orelse:
        emitter.statement(ast.If(emitter.name(flag), orelse, []))


def loop_start(emitter: Emitter, site: int) -> None:
    """Start counting trips, where there are probes."""
    if emitter.probes:
        emitter.statement(ast.Assign([emitter.target(f".trips_{site}")], emitter.constant(0)))
    if emitter.instrumentation.replaces:
        emitter.statement(ast.Assign([emitter.target(f".began_{site}")], emitter.runtime("clock")))


def loop_body(
    emitter: Emitter, loop: core.For | core.While, block: Block, prologue: list[ast.stmt]
) -> list[ast.stmt]:
    """Emit the body of a loop."""
    return loop_turn(emitter, loop, lambda: emitter.suite(block, prologue=prologue))


def loop_turn(
    emitter: Emitter, loop: core.For | core.While, emit: Callable[[], list[ast.stmt]]
) -> list[ast.stmt]:
    """Emit one turn of a loop by ``emit``: counted where there are probes, and left at its end for compiled code."""
    if not emitter.probes:
        return emit()
    counter = f".trips_{loop.site}"
    span = emitter.span
    count = emitter.at(ast.AugAssign(emitter.target(counter), ast.Add(), emitter.constant(1)))
    iterator = loop.iterator if isinstance(loop, core.For) else None
    replaceable = emitter.instrumentation.replaces and not emitter.protected and emitter.core.kind == "function"
    emitter.loops.append(Turning(loop.site, counter, iterator, replaceable))
    try:
        statements = [count, *emit()]
        emitter.span = span
        return [*statements, *back_edge(emitter)]
    finally:
        emitter.loops.pop()
        emitter.span = span


def _kept_iterator(emitter: Emitter, instruction: core.For, iterable: ast.expr) -> ast.expr:
    """Keep a loop's iterator in its variable, and whether nobody else can have it."""
    assert isinstance(instruction.iterator, Local)
    site, name = instruction.site, instruction.iterator.name
    source = f".source_{site}"
    emitter.statement(ast.Assign([emitter.target(source)], iterable))
    emitter.assign(name, emitter.runtime("iter_of_loop", emitter.name(source)))
    private = emitter.runtime("is_private", emitter.name(source), emitter.name(name))
    emitter.statement(ast.Assign([emitter.target(f".private_{site}")], private))
    emitter.statement(ast.Assign([emitter.target(source)], emitter.constant(None)))
    return emitter.runtime("turns", emitter.name(name))


def back_edge(emitter: Emitter) -> list[ast.stmt]:
    """Return the statements at a back edge: where the loop has become hot, the rest of the call is compiled code's.

    Whether it has is asked at every power of two of its trips.
    """
    turning = emitter.loops[-1] if emitter.loops else None
    if turning is None or not turning.replaceable:
        return []
    site, counter = emitter.constant(turning.site), turning.counter
    less = emitter.at(ast.BinOp(emitter.name(counter), ast.Sub(), emitter.constant(1)))
    power = emitter.at(ast.UnaryOp(ast.Not(), emitter.at(ast.BinOp(emitter.name(counter), ast.BitAnd(), less))))
    iterator = emitter.constant(None) if turning.iterator is None else emitter.constant_or_name(turning.iterator)
    began = emitter.name(f".began_{turning.site}")
    hot = emitter.runtime("is_hot", site, emitter.name(counter), began, iterator)
    test = emitter.at(ast.BoolOp(ast.And(), [power, hot]))
    shared = [emitter.name(name) for name in sorted(emitter.core.cells | set(emitter.core.free))]
    empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    cells = emitter.at(ast.Lambda(empty, emitter.at(ast.Tuple(shared, ast.Load()))))
    entered = emitter.target(".entered")
    taking = emitter.at(ast.Assign([entered], emitter.runtime("replace", emitter.constant(turning.site), cells)))
    variables: list[ast.expr] = [emitter.target(name) for name in bound_again(emitter.core)]
    forget = [emitter.at(ast.Assign(variables, emitter.constant(None)))] if variables else []
    returned = emitter.at(ast.Return(emitter.at(ast.Call(emitter.name(".entered"), [], []))))
    return [emitter.at(ast.If(test, [taking, *forget, returned], []))]


def loop_end(emitter: Emitter, site: int) -> None:
    """Report the trips, where there are probes."""
    if emitter.probes:
        emitter.statement(_trips(emitter, site, f".trips_{site}"))


def _trips(emitter: Emitter, site: int, counter: str) -> ast.stmt:
    node: ast.stmt = emitter.at(ast.Expr(emitter.runtime("trips", emitter.constant(site), emitter.name(counter))))
    return node


@emits(core.Break)
def emit_break(emitter: Emitter, instruction: core.Break) -> None:
    """Leave the loop."""
    emitter.statement(ast.Break())


@emits(core.Continue)
def emit_continue(emitter: Emitter, instruction: core.Continue) -> None:
    """Go to the next iteration."""
    emitter.flush()
    emitter.statements.extend(back_edge(emitter))
    emitter.statement(ast.Continue())


@emits(core.Return)
def emit_return(emitter: Emitter, instruction: core.Return) -> None:
    """Return; the loops that this leaves have run their trips."""
    (value,) = emitter.take([instruction.value])
    emitter.flush()
    if emitter.returning is not None:
        site = emitter.returning
        emitter.statement(ast.Assign([emitter.target(RETURNED.format(site))], value))  # may raise
        emitter.statement(ast.Return(None))
        return
    if emitter.probes:
        for turning in emitter.loops:
            emitter.statement(_trips(emitter, turning.site, turning.counter))
    emitter.statement(ast.Return(value))
