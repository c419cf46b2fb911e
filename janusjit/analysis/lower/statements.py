"""Assignments, branches, loops and jumps.

Owns the lowering of statements that Core has a form for. Invariant: one Python statement never jumps into the middle
of what another was lowered to.
"""

from __future__ import annotations

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Block, Local
from janusjit.analysis.lower.assignment import assign, delete
from janusjit.analysis.lower.context import NONE, Lowering, is_temporary, statement
from janusjit.analysis.lower.expressions import lower_index

IN_PLACE: dict[type, str] = {
    cst.AddAssign: "+", cst.SubtractAssign: "-", cst.MultiplyAssign: "*", cst.DivideAssign: "/",
    cst.FloorDivideAssign: "//", cst.ModuloAssign: "%", cst.PowerAssign: "**", cst.MatrixMultiplyAssign: "@",
    cst.BitAndAssign: "&", cst.BitOrAssign: "|", cst.BitXorAssign: "^", cst.LeftShiftAssign: "<<",
    cst.RightShiftAssign: ">>",
}  # fmt: skip


@statement(cst.Expr)
def lower_expression_statement(state: Lowering, node: cst.Expr) -> None:
    """Evaluate an expression for its effects; a bare name is read, since it may be unbound."""
    before = len(state.block.instructions)
    atom = state.expression(node.value)
    if isinstance(atom, Local) and len(state.block.instructions) == before:
        state.value(core.Move, node.value, atom)


@statement(cst.Assign)
def lower_assign(state: Lowering, node: cst.Assign) -> None:
    """Lower ``a = b = value``: the value first, then the targets from left to right."""
    value = state.expression(node.value)
    if len(node.targets) == 1 and isinstance(node.targets[0].target, cst.Name):
        assign(state, node.targets[0].target, value, owned=True)
        return
    if len(node.targets) > 1 and isinstance(value, Local) and not is_temporary(value):
        value = state.value(core.Move, node.value, value)
    value = state.settled(value, node.value, [target.target for target in node.targets])
    for target in node.targets:
        assign(state, target.target, value)


@statement(cst.AnnAssign)
def lower_annotated(state: Lowering, node: cst.AnnAssign) -> None:
    """Lower ``target: annotation = value``; in a function the annotation is not evaluated."""
    if node.value is not None:
        value = state.expression(node.value)
        assign(state, node.target, value, owned=isinstance(node.target, cst.Name))
    elif isinstance(node.target, cst.Attribute):
        _evaluate(state, node.target.value)
    elif isinstance(node.target, cst.Subscript):
        _evaluate(state, node.target.value)
        lower_index(state, node.target)


def _evaluate(state: Lowering, node: cst.BaseExpression) -> None:
    atom = state.expression(node)
    if isinstance(atom, Local):
        state.value(core.Move, node, atom)


@statement(cst.AugAssign)
def lower_augmented(state: Lowering, node: cst.AugAssign) -> None:
    """Lower ``target OP= value``: the target's owner and index are evaluated once, before the value."""
    operator = IN_PLACE[type(node.operator)]
    target = node.target
    if isinstance(target, cst.Name):
        current = state.settled(state.load(target, target.value), target, [node.value])
        value = state.expression(node.value)
        updated = state.value(core.OperateInPlace, node, operator, current, value)
        state.store(target, target.value, updated, owned=True)
    elif isinstance(target, cst.Attribute):
        name = state.mangled(target.attr.value)
        owner = state.settled(state.expression(target.value), target.value, [node.value])
        current = state.value(core.LoadAttribute, target, owner, name)
        value = state.expression(node.value)
        updated = state.value(core.OperateInPlace, node, operator, current, value)
        state.emit(core.StoreAttribute, target, owner, name, updated)
    else:
        assert isinstance(target, cst.Subscript)
        owner = state.settled(state.expression(target.value), target.value, [*target.slice, node.value])
        index = state.settled(lower_index(state, target), target, [node.value])
        current = state.value(core.LoadItem, target, owner, index)
        value = state.expression(node.value)
        updated = state.value(core.OperateInPlace, node, operator, current, value)
        state.emit(core.StoreItem, target, owner, index, updated)


@statement(cst.Return)
def lower_return(state: Lowering, node: cst.Return) -> None:
    """Lower ``return``."""
    state.emit(core.Return, node, NONE if node.value is None else state.expression(node.value))


@statement(cst.Pass, cst.Global, cst.Nonlocal)
def lower_nothing(state: Lowering, node: cst.Pass | cst.Global | cst.Nonlocal) -> None:
    """Emit nothing: declarations are the scope's business."""


@statement(cst.Break)
def lower_break(state: Lowering, node: cst.Break) -> None:
    """Lower ``break``."""
    state.emit(core.Break, node)


@statement(cst.Continue)
def lower_continue(state: Lowering, node: cst.Continue) -> None:
    """Lower ``continue``."""
    state.emit(core.Continue, node)


@statement(cst.Del)
def lower_delete(state: Lowering, node: cst.Del) -> None:
    """Lower ``del``."""
    delete(state, node.target)


@statement(cst.Assert)
def lower_assert(state: Lowering, node: cst.Assert) -> None:
    """Lower ``assert``, which is nothing when Python runs with ``-O``."""
    if not state.unit.debug:
        return
    condition = state.condition(node.test)
    with state.into(Block()) as message:
        value = None if node.msg is None else state.expression(node.msg)
    state.emit(core.Assert, node, condition, message, value)


@statement(cst.Raise)
def lower_raise(state: Lowering, node: cst.Raise) -> None:
    """Lower ``raise exception from cause``."""
    parts = [part for part in (node.exc, node.cause.item if node.cause is not None else None) if part is not None]
    atoms = state.operands(parts)
    exception = atoms[0] if atoms else None
    state.emit(core.Raise, node, exception, atoms[1] if len(atoms) > 1 else None)


@statement(cst.If)
def lower_if(state: Lowering, node: cst.If) -> None:
    """Lower ``if``/``elif``/``else``."""
    condition = state.condition(node.test)
    then = state.suite(node.body)
    with state.into(Block()) as orelse:
        if isinstance(node.orelse, cst.If):
            state.statement(node.orelse)
        elif node.orelse is not None:
            state.suite(node.orelse.body, orelse)
    state.emit(core.If, node.test, condition, then, orelse)


@statement(cst.While)
def lower_while(state: Lowering, node: cst.While) -> None:
    """Lower ``while``."""
    with state.into(Block()) as test:
        condition = state.condition(node.test)
    body = state.suite(node.body)
    orelse = Block() if node.orelse is None else state.suite(node.orelse.body)
    state.emit(core.While, node.test, test, condition, body, orelse)


@statement(cst.For)
def lower_for(state: Lowering, node: cst.For) -> None:
    """Lower ``for``: the iterator is made once, and each item is assigned at the head of the body."""
    if node.asynchronous is not None:
        raise state.unsupported(node, "async for is not read")
    iterator = state.value(core.GetIterator, node.iter, state.expression(node.iter))
    target = state.plain_local(node.target.value) if isinstance(node.target, cst.Name) else None
    item = target if target is not None else state.fresh()
    with state.into(Block()) as body:
        if target is None:
            assign(state, node.target, Local(item))
        state.suite(node.body, body)
    orelse = Block() if node.orelse is None else state.suite(node.orelse.body)
    state.emit(core.For, (node, node.iter), item, iterator, body, orelse)
