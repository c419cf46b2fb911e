"""Code that lets a twin see into overloaded operators.

Owns the conditional expressions around operators, items and attributes in instrumented code. Invariant: the operands
are evaluated once, in order; where no user-written class is involved, the operator itself runs in the user's frame.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from janusjit.analysis.generate.emitter import Emitter


def _named(emitter: Emitter, name: str, node: ast.expr) -> tuple[ast.expr, Callable[[], ast.expr]]:
    """Return an expression that evaluates ``node``, and what reads its value again."""
    if isinstance(node, ast.Constant):
        return node, lambda: node
    if isinstance(node, ast.Name):
        return node, lambda: emitter.name(node.id)
    emitter.assigned[-1].add(name)
    first: ast.expr = emitter.at(ast.NamedExpr(emitter.target(name), node))
    return first, lambda: emitter.name(name)


def operator(
    emitter: Emitter, site: int, symbol: str, operands: list[ast.expr], build: Callable[[list[ast.expr]], ast.expr]
) -> ast.expr:
    """Return the application of an operator that may be overloaded; ``build`` makes the plain one."""
    if all(isinstance(operand, ast.Constant) for operand in operands):
        return build(operands)
    parts = [_named(emitter, f".operand_{site}_{place}", operand) for place, operand in enumerate(operands)]
    test = emitter.runtime("overloaded", *(first for first, _ in parts))
    dispatched = emitter.runtime("operate", emitter.constant(symbol), *(again() for _, again in parts))
    node: ast.expr = emitter.at(ast.IfExp(test, dispatched, build([again() for _, again in parts])))
    return node


def in_place(emitter: Emitter, site: int, symbol: str, target: str, right: ast.expr, plain: ast.operator) -> ast.stmt:
    """Return the statement ``target symbol= right`` where the operator may be overloaded."""
    first, again = _named(emitter, f".operand_{site}_1", right)
    test = emitter.runtime("overloaded", emitter.name(target), first)
    dispatched = emitter.runtime("in_place", emitter.constant(symbol), emitter.name(target), again())
    assign = emitter.at(ast.Assign([emitter.target(target)], dispatched))
    augment = emitter.at(ast.AugAssign(emitter.target(target), plain, again()))
    node: ast.stmt = emitter.at(ast.If(test, [assign], [augment]))
    return node


def item(emitter: Emitter, site: int, owner: ast.expr, key: ast.expr) -> ast.expr:
    """Return ``owner[key]`` where ``__getitem__`` may be the user's; the key is no slice and no tuple."""
    first, again = _named(emitter, f".operand_{site}_0", owner)
    first_key, key_again = _named(emitter, f".operand_{site}_1", key)
    test = emitter.runtime("has_item", first, first_key)
    dispatched = emitter.runtime("item", again(), key_again())
    plain = emitter.at(ast.Subscript(again(), key_again(), ast.Load()))
    node: ast.expr = emitter.at(ast.IfExp(test, dispatched, plain))
    return node


def attribute(emitter: Emitter, site: int, owner: ast.expr, name: str) -> ast.expr:
    """Return ``owner.name`` where the attribute may be a property of the user's."""
    first, again = _named(emitter, f".operand_{site}_0", owner)
    text = emitter.constant(name)
    plain = emitter.at(ast.Attribute(again(), name, ast.Load()))
    test = emitter.runtime("has_property", first, text)
    node: ast.expr = emitter.at(ast.IfExp(test, emitter.runtime("property", again(), text), plain))
    return node
