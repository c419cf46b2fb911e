"""Expressions that branch: ``and``, ``or``, ``not``, the ternary, chained comparison, ``:=``.

Owns their lowering to `If` over temporaries, once for their value and once for their truth alone. Invariant: the truth
of each operand is asked as often as CPython asks it, which is once where only the truth counts.
"""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, Local
from janusjit.analysis.lower.context import FALSE, TRUE, Lowering, condition, expression
from janusjit.analysis.lower.expressions import COMPARISON


def choose(
    state: Lowering, node: cst.CSTNode, test: Atom, then: Callable[[], Atom], otherwise: Callable[[], Atom]
) -> Local:
    """Emit ``If test`` with a temporary that takes the value of one side or the other."""
    result = state.fresh()
    with state.into(Block()) as first:
        state.move(node, result, then(), owned=True)
    with state.into(Block()) as second:
        state.move(node, result, otherwise(), owned=True)
    state.emit(core.If, node, test, first, second)
    return Local(result)


@expression(cst.BooleanOperation)
def lower_boolean(state: Lowering, node: cst.BooleanOperation) -> Atom:
    """Lower ``left and right`` / ``left or right`` for the value."""
    result = state.fresh()
    state.move(node.left, result, state.expression(node.left), owned=True)
    with state.into(Block()) as block:
        state.move(node.right, result, state.expression(node.right), owned=True)
    return _keep_or_replace(state, node.left, result, block, isinstance(node.operator, cst.And))


def _keep_or_replace(state: Lowering, node: cst.CSTNode, result: str, block: Block, conjunction: bool) -> Local:
    then, orelse = (block, Block()) if conjunction else (Block(), block)
    state.emit(core.If, node, Local(result), then, orelse)
    return Local(result)


@condition(cst.BooleanOperation)
def boolean_condition(state: Lowering, node: cst.BooleanOperation) -> Atom:
    """Lower ``left and right`` / ``left or right`` for the truth."""
    left = state.condition(node.left)
    if isinstance(node.operator, cst.And):
        return choose(state, node.left, left, lambda: state.condition(node.right), lambda: FALSE)
    return choose(state, node.left, left, lambda: TRUE, lambda: state.condition(node.right))


@condition(cst.UnaryOperation)
def unary_condition(state: Lowering, node: cst.UnaryOperation) -> Atom:
    """Lower ``not operand`` for the truth."""
    if not isinstance(node.operator, cst.Not):
        return state.expression(node)
    return state.value(core.Operate, node, "not", state.condition(node.expression))


@expression(cst.IfExp)
def lower_ternary(state: Lowering, node: cst.IfExp) -> Atom:
    """Lower ``body if test else orelse``."""
    test = state.condition(node.test)
    return choose(state, node.test, test, lambda: state.expression(node.body), lambda: state.expression(node.orelse))


@condition(cst.IfExp)
def ternary_condition(state: Lowering, node: cst.IfExp) -> Atom:
    """Lower a ternary for the truth."""
    test = state.condition(node.test)
    return choose(state, node.test, test, lambda: state.condition(node.body), lambda: state.condition(node.orelse))


@expression(cst.Comparison)
def lower_comparison(state: Lowering, node: cst.Comparison) -> Atom:
    """Lower a comparison, chained or not, for the value."""
    if len(node.comparisons) == 1:
        return _single(state, node)
    left = state.operands([node.left, *(item.comparator for item in node.comparisons[:1])])
    result = state.fresh()
    _chain(state, node, result, left[0], left[1], 0)
    return Local(result)


def _chain(state: Lowering, node: cst.Comparison, result: str, left: Atom, right: Atom, position: int) -> None:
    """Emit link ``position`` of a chain whose operands are already evaluated; the rest hangs on its truth."""
    operator = COMPARISON[type(node.comparisons[position].operator)]
    state.emit(core.Operate, node, result, operator, left, right)
    if position + 1 == len(node.comparisons):
        return
    with state.into(Block()) as block:
        following = node.comparisons[position + 1].comparator
        right = state.settled(right, node, [following])
        _chain(state, node, result, right, state.expression(following), position + 1)
    _keep_or_replace(state, node, result, block, conjunction=True)


def _single(state: Lowering, node: cst.Comparison) -> Atom:
    left, right = state.operands([node.left, node.comparisons[0].comparator])
    return state.value(core.Operate, node, COMPARISON[type(node.comparisons[0].operator)], left, right)


@condition(cst.Comparison)
def comparison_condition(state: Lowering, node: cst.Comparison) -> Atom:
    """Lower a comparison for the truth."""
    if len(node.comparisons) == 1:
        return _single(state, node)
    left, right = state.operands([node.left, node.comparisons[0].comparator])
    return _chain_condition(state, node, left, right, 0)


def _chain_condition(state: Lowering, node: cst.Comparison, left: Atom, right: Atom, position: int) -> Atom:
    operator = COMPARISON[type(node.comparisons[position].operator)]
    test = state.value(core.Operate, node, operator, left, right)
    if position + 1 == len(node.comparisons):
        return test

    def rest() -> Atom:
        following = node.comparisons[position + 1].comparator
        kept = state.settled(right, node, [following])
        return _chain_condition(state, node, kept, state.expression(following), position + 1)

    return choose(state, node, test, rest, lambda: FALSE)


@expression(cst.NamedExpr)
def lower_walrus(state: Lowering, node: cst.NamedExpr) -> Atom:
    """Lower ``name := value``."""
    assert isinstance(node.target, cst.Name)
    value = state.expression(node.value)
    plain = state.plain_local(node.target.value)
    state.store(node.target, node.target.value, value, owned=plain is not None)
    return value if plain is None else Local(plain)
