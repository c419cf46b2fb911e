"""Instructions that become statements.

Owns one emitter for each instruction without a value, and folding branches back into expressions.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Constant, Local
from janusjit.analysis.generate import overloads
from janusjit.analysis.generate.emitter import Emitter, Pending, emits, reads_inside
from janusjit.analysis.generate.expressions import BINARY
from janusjit.analysis.generate.subscripts import index
from janusjit.analysis.jumps import BEFORE, RETURNED
from janusjit.analysis.walk import walk
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
        if emitter.instrumentation.records:
            site = emitter.constant(instruction.site)
            emitter.statement(ast.Expr(emitter.runtime("value", site, emitter.name(target))))
        return
    read = emitter.name(target)
    if emitter.instrumentation.records:
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
    owner = _written(emitter, owner)
    target = emitter.at(ast.Attribute(owner, instruction.name, ast.Store()))
    emitter.statement(ast.Assign([target], value))


def _written(emitter: Emitter, owner: ast.expr) -> ast.expr:
    return emitter.runtime("storing", owner) if emitter.instrumentation.records else owner


@emits(core.StoreItem)
def emit_store_item(emitter: Emitter, instruction: core.StoreItem) -> None:
    """Write an item."""
    value, owner, key = emitter.take([instruction.value, instruction.owner, instruction.index])
    owner = _written(emitter, owner)
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
    emitter.statement(ast.Assign([unpack_target(emitter, instruction)], value))
    emitter.assigned[-1].update(name for name in instruction.targets if name.startswith("."))


def unpack_target(emitter: Emitter, instruction: core.Unpack) -> ast.expr:
    """Return the target of an assignment that unpacks."""
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


# jumps


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
    final = _final(emitter, instruction) if instruction.final.instructions or not handlers else []
    emitter.span = instruction.span
    emitter.protected -= 1
    emitter.statement(ast.Try(body, handlers, orelse, final))


def _final(emitter: Emitter, instruction: core.Try) -> list[ast.stmt]:
    """Emit a ``finally``; where `RETURNED` is set in it, that becomes what it was before if its end is reached."""
    final = emitter.suite(instruction.final)
    if emitter.returning is None or not any(isinstance(inner, core.Return) for inner in walk(instruction.final)):
        return final
    emitter.span = instruction.span
    returned, before = RETURNED.format(emitter.returning), BEFORE.format(instruction.site)
    keep = ast.Assign([emitter.target(before)], emitter.name(returned))
    restore = ast.Assign([emitter.target(returned)], emitter.name(before))
    forget = ast.Assign([emitter.target(before)], emitter.constant(None))
    return [emitter.at(keep), *final, emitter.at(restore), emitter.at(forget)]


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


@emits(core.Several)
def emit_several(emitter: Emitter, instruction: core.Several) -> None:
    """Emit instructions one after the other."""
    for part in instruction.body.instructions:
        emitter.instruction(part)


@emits(core.Opaque)
def emit_opaque(emitter: Emitter, instruction: core.Opaque) -> None:
    """Emit the user's own source."""
    emitter.flush()
    tree = ast.parse(instruction.source)
    ast.increment_lineno(tree, instruction.span.line - 1)
    emitter.statements.extend(tree.body)
