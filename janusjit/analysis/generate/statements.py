"""Instructions that become statements.

Owns one emitter for each instruction without a value, and folding branches back into expressions.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Constant, Local
from janusjit.analysis.generate import overloads
from janusjit.analysis.generate.emitter import Emitter, Pending, Turning, emits, reads_inside
from janusjit.analysis.generate.expressions import BINARY
from janusjit.analysis.generate.subscripts import index
from janusjit.errors import SourceError


@emits(core.OperateInPlace)
def emit_in_place(emitter: Emitter, instruction: core.OperateInPlace) -> None:
    """Emit ``target OP= right``; through a temporary if the left side is another variable."""
    target, left = instruction.target, instruction.left
    if not (isinstance(left, Local) and left.name == target and not target.startswith(".")):
        target = f".in_place_{instruction.site}"
        start, right = emitter.take([left, instruction.right])
        emitter.assign(target, start)
    else:
        emitter.remaining[target] -= 1
        (right,) = emitter.take([instruction.right])
    plain = BINARY[instruction.operator]()
    if emitter.probes:
        symbol = instruction.operator
        emitter.statement(overloads.in_place(emitter, instruction.site, symbol, target, right, plain))
    else:
        emitter.statement(ast.AugAssign(emitter.target(target), plain, right))
    _bind_in_place(emitter, instruction, target)


def _bind_in_place(emitter: Emitter, instruction: core.OperateInPlace, target: str) -> None:
    if target == instruction.target:
        if emitter.probes:
            site = emitter.constant(instruction.site)
            emitter.statement(ast.Expr(emitter.runtime("value", site, emitter.name(target))))
        return
    read = emitter.name(target)
    if emitter.probes:
        read = emitter.runtime("value", emitter.constant(instruction.site), read)
    emitter.bind(instruction.target, read)


# stores


@emits(core.StoreGlobal, core.StoreCell)
def emit_store_name(emitter: Emitter, instruction: core.StoreGlobal | core.StoreCell) -> None:
    """Write a global or a cell."""
    (value,) = emitter.take([instruction.value])
    emitter.statement(ast.Assign([emitter.target(instruction.name)], value))


@emits(core.StoreAttribute)
def emit_store_attribute(emitter: Emitter, instruction: core.StoreAttribute) -> None:
    """Write an attribute."""
    value, owner = emitter.take([instruction.value, instruction.owner])
    target = emitter.at(ast.Attribute(owner, instruction.name, ast.Store()))
    emitter.statement(ast.Assign([target], value))


@emits(core.StoreItem)
def emit_store_item(emitter: Emitter, instruction: core.StoreItem) -> None:
    """Write an item."""
    value, owner, key = emitter.take([instruction.value, instruction.owner, instruction.index])
    target = emitter.at(ast.Subscript(owner, index(key), ast.Store()))
    emitter.statement(ast.Assign([target], value))


@emits(core.DeleteLocal, core.DeleteCell, core.DeleteGlobalName)
def emit_delete_name(emitter: Emitter, instruction: core.DeleteLocal | core.DeleteCell | core.DeleteGlobalName) -> None:
    """Unbind a name."""
    emitter.statement(ast.Delete([emitter.at(ast.Name(instruction.name, ast.Del()))]))


@emits(core.RemoveAttribute)
def emit_remove_attribute(emitter: Emitter, instruction: core.RemoveAttribute) -> None:
    """Delete an attribute."""
    (owner,) = emitter.take([instruction.owner])
    emitter.statement(ast.Delete([emitter.at(ast.Attribute(owner, instruction.name, ast.Del()))]))


@emits(core.RemoveItem)
def emit_remove_item(emitter: Emitter, instruction: core.RemoveItem) -> None:
    """Delete an item."""
    owner, key = emitter.take([instruction.owner, instruction.index])
    emitter.statement(ast.Delete([emitter.at(ast.Subscript(owner, index(key), ast.Del()))]))


@emits(core.ListAppend)
def emit_append(emitter: Emitter, instruction: core.ListAppend) -> None:
    """Append to the list of a comprehension."""
    _method(emitter, "append", instruction.owner, instruction.value)


@emits(core.SetAdd)
def emit_add(emitter: Emitter, instruction: core.SetAdd) -> None:
    """Add to the set of a comprehension."""
    _method(emitter, "add", instruction.owner, instruction.value)


def _method(emitter: Emitter, name: str, owner: Atom, value: Atom) -> None:
    receiver, argument = emitter.take([owner, value])
    function = emitter.at(ast.Attribute(receiver, name, ast.Load()))
    emitter.statement(ast.Expr(emitter.at(ast.Call(function, [argument], []))))


@emits(core.DictInsert)
def emit_insert(emitter: Emitter, instruction: core.DictInsert) -> None:
    """Insert into the dict of a comprehension."""
    operands = emitter.take([instruction.owner, instruction.key, instruction.value])
    emitter.statement(ast.Expr(emitter.runtime("insert", *operands)))


@emits(core.GetIterator)
def emit_iterator(emitter: Emitter, instruction: core.GetIterator) -> None:
    """Make an iterator; a ``for`` statement makes it itself."""
    (value,) = emitter.take([instruction.value])
    emitter.bind(instruction.target, emitter.runtime("iter", value), iterable=value)


@emits(core.Unpack)
def emit_unpack(emitter: Emitter, instruction: core.Unpack) -> None:
    """Unpack into locals."""
    (value,) = emitter.take([instruction.value])
    emitter.statement(ast.Assign([_unpack_target(emitter, instruction)], value))
    emitter.assigned[-1].update(name for name in instruction.targets if name.startswith("."))


def _unpack_target(emitter: Emitter, instruction: core.Unpack) -> ast.expr:
    names: list[ast.expr] = [emitter.target(name) for name in instruction.targets]
    if instruction.star >= 0:
        names[instruction.star] = emitter.at(ast.Starred(names[instruction.star], ast.Store()))
    node: ast.expr = emitter.at(ast.Tuple(names, ast.Store()))
    return node


# branches


def truth(emitter: Emitter, site: int, node: ast.expr) -> ast.expr:
    """Return a test; with probes, its truth is asked in the user's frame and then counted."""
    if not emitter.probes:
        return node
    negated = emitter.at(ast.UnaryOp(ast.Not(), node))
    return emitter.runtime("branch", emitter.constant(site), emitter.at(ast.UnaryOp(ast.Not(), negated)))


@emits(core.If)
def emit_if(emitter: Emitter, instruction: core.If) -> None:
    """Emit a branch, as an expression if both sides are one."""
    (test,) = emitter.take_pending([instruction.condition])
    inside = reads_inside([instruction.then, instruction.orelse])
    if any(pending.name in inside for pending in emitter.pending):
        emitter.flush()
    then = emitter.block(instruction.then)
    orelse = emitter.block(instruction.orelse)
    emitter.span = instruction.span
    if not then[0] and not orelse[0] and _folded(emitter, instruction, test, then[1], orelse[1]):
        return
    left = instruction.condition
    if isinstance(left, Local) and emitter.is_kept(left.name) and not _is_assigned(test, left.name):
        emitter.flush()
        emitter.assign(left.name, test.node)
        test = Pending(left.name, emitter.name(left.name))
    node = ast.If(truth(emitter, instruction.site, test.node), emitter.closed(*then), [])
    if orelse[0] or orelse[1]:
        node.orelse = emitter.closed(*orelse)
    emitter.statement(node)
    emitter.assigned[-1].update(pending.name for pending in (*then[1], *orelse[1]))


def _folded(
    emitter: Emitter, instruction: core.If, test: Pending, then: Sequence[Pending], orelse: Sequence[Pending]
) -> bool:
    """Write the branch as a ternary, ``and`` or ``or`` if it is one."""
    if len(then) == len(orelse) == 1 and then[0].name == orelse[0].name and emitter.uses[then[0].name] == 1:
        condition = truth(emitter, instruction.site, test.node)
        emitter.pending.append(Pending(then[0].name, emitter.at(ast.IfExp(condition, then[0].node, orelse[0].node))))
        return True
    left = instruction.condition
    sides = [*then, *orelse]
    if len(sides) != 1 or not isinstance(left, Local) or sides[0].name != left.name:
        return False
    if _is_assigned(test, left.name) or not emitter.is_kept(left.name):
        return False
    emitter.pending.append(Pending(left.name, _logical(emitter, instruction.site, test, sides[0], bool(then))))
    return True


def _is_assigned(value: Pending, name: str) -> bool:
    """Whether a value is the temporary itself, assigned before."""
    return isinstance(value.node, ast.Name) and value.node.id == name


def _logical(emitter: Emitter, site: int, left: Pending, right: Pending, conjunction: bool) -> ast.expr:
    node: ast.expr
    if not emitter.probes:
        node = ast.BoolOp(ast.And() if conjunction else ast.Or(), [left.node, right.node])
    else:
        named = emitter.at(ast.NamedExpr(emitter.target(left.name), left.node))
        emitter.assigned[-1].add(left.name)
        kept = emitter.name(left.name)
        sides = (right.node, kept) if conjunction else (kept, right.node)
        node = ast.IfExp(truth(emitter, site, named), *sides)
    placed: ast.expr = emitter.at(node)
    return placed


# loops


@emits(core.For)
def emit_for(emitter: Emitter, instruction: core.For) -> None:
    """Emit a ``for`` statement."""
    (iterator,) = emitter.take_pending([instruction.iterator])
    emitter.flush()
    iterable = iterator.node if iterator.iterable is None else iterator.iterable
    loop_start(emitter, instruction.site)
    if emitter.instrumentation.replaces and isinstance(instruction.iterator, Local):
        iterable = _kept_iterator(emitter, instruction, iterable)
    target, block = _loop_target(emitter, instruction)
    first: list[ast.stmt] = []
    if emitter.probes and isinstance(target, ast.Name):
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
    target = _unpack_target(emitter, first)
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


def apart(emitter: Emitter, block: Block, atom: Atom) -> tuple[list[ast.stmt], ast.expr]:
    """Emit a block that computes ``atom``; return its statements and the expression of the atom."""
    statements, pending = emitter.block(block)
    if isinstance(atom, Constant):
        return (emitter.closed(statements, pending) if statements or pending else []), emitter.constant(atom.value)
    emitter.remaining[atom.name] -= 1
    if pending and pending[-1].name == atom.name:
        last = pending.pop()
        return (emitter.closed(statements, pending) if statements or pending else []), last.node
    return (emitter.closed(statements, pending) if statements or pending else []), emitter.name(atom.name)


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
    emitter.assign(name, emitter.runtime("iter", emitter.name(source)))
    private = emitter.runtime("is_private", emitter.name(source), emitter.name(name))
    emitter.statement(ast.Assign([emitter.target(f".private_{site}")], private))
    emitter.statement(ast.Assign([emitter.target(source)], emitter.constant(None)))
    return emitter.name(name)


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
    entered = emitter.runtime("replace", emitter.constant(turning.site), cells)
    return [emitter.at(ast.If(test, [emitter.at(ast.Return(entered))], []))]


def loop_end(emitter: Emitter, site: int) -> None:
    """Report the trips, where there are probes."""
    if emitter.probes:
        emitter.statement(_trips(emitter, site, f".trips_{site}"))


def _trips(emitter: Emitter, site: int, counter: str) -> ast.stmt:
    node: ast.stmt = emitter.at(ast.Expr(emitter.runtime("trips", emitter.constant(site), emitter.name(counter))))
    return node


# jumps


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
    if emitter.probes:
        for turning in emitter.loops:
            emitter.statement(_trips(emitter, turning.site, turning.counter))
    emitter.statement(ast.Return(value))


@emits(core.Raise)
def emit_raise(emitter: Emitter, instruction: core.Raise) -> None:
    """Raise."""
    parts: list[ast.expr | None] = [*emitter.take([instruction.exception, instruction.cause]), None, None]
    emitter.statement(ast.Raise(parts[0], parts[1]))


@emits(core.Assert)
def emit_assert(emitter: Emitter, instruction: core.Assert) -> None:
    """Assert; the message is evaluated on failure only."""
    (condition,) = emitter.take([instruction.condition])
    emitter.flush()
    test = truth(emitter, instruction.site, condition)
    if instruction.message_value is None:
        emitter.statement(ast.Assert(test, None))
        return
    statements, message = apart(emitter, instruction.message, instruction.message_value)
    emitter.span = instruction.span
    if not statements:
        emitter.statement(ast.Assert(test, message))
        return
    failing = emitter.at(ast.Assert(emitter.constant(False), message))
    emitter.statement(ast.If(test, [emitter.at(ast.Pass())], [*statements, failing]))


# blocks


@emits(core.With)
def emit_with(emitter: Emitter, instruction: core.With) -> None:
    """Emit ``with``."""
    (manager,) = emitter.take([instruction.manager])
    emitter.flush()
    target = None if instruction.target is None else emitter.target(instruction.target)
    item = ast.withitem(manager, target)
    emitter.protected += 1
    body = emitter.suite(instruction.body)
    emitter.protected -= 1
    emitter.span = instruction.span
    emitter.statement(ast.With([item], body))
    if instruction.target is not None and instruction.target.startswith("."):
        emitter.assigned[-1].add(instruction.target)


@emits(core.Try)
def emit_try(emitter: Emitter, instruction: core.Try) -> None:
    """Emit ``try``."""
    emitter.flush()
    emitter.protected += 1
    body = emitter.suite(instruction.body)
    emitter.protected -= 1
    emit_try_around(emitter, instruction, body)


def emit_try_around(emitter: Emitter, instruction: core.Try, body: list[ast.stmt]) -> None:
    """Emit ``try`` around a body that has been emitted."""
    emitter.protected += 1
    handlers = [_handler(emitter, handler) for handler in instruction.handlers]
    orelse = emitter.suite(instruction.orelse) if instruction.orelse.instructions else []
    final = emitter.suite(instruction.final) if instruction.final.instructions or not handlers else []
    emitter.span = instruction.span
    emitter.protected -= 1
    emitter.statement(ast.Try(body, handlers, orelse, final))


def _handler(emitter: Emitter, handler: core.Handler) -> ast.ExceptHandler:
    matcher: ast.expr | None = None
    if handler.exception_type is not None:
        statements, matcher = apart(emitter, handler.matcher, handler.exception_type)
        if statements:
            raise SourceError("source.unsupported", "an exception type that needs statements", emitter.span)
    span = emitter.span
    body = emitter.suite(handler.body)
    node: ast.ExceptHandler = emitter.at(ast.ExceptHandler(matcher, handler.name, body), span)
    return node


@emits(core.Opaque)
def emit_opaque(emitter: Emitter, instruction: core.Opaque) -> None:
    """Emit the user's own source."""
    emitter.flush()
    tree = ast.parse(instruction.source)
    ast.increment_lineno(tree, instruction.span.line - 1)
    emitter.statements.extend(tree.body)
