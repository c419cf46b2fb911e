"""Patterns: the two sides of a rewrite rule, and matching.

Owns `Pattern` kinds, `parse_rule` and `match`. Invariant: matching changes nothing; a binding maps each name of a rule
to one value, number or attribute.

A rule is a row of text in the syntax of the textual IR::

    transpose(transpose(x, axes=a), axes=b) -> transpose(x, axes=compose(a, b))
    divide(x, C) -> multiply(x, inverse(C)) if is_power_of_two(C, x)

Lower-case inputs are values, upper-case ones numbers known as constants, literals the constant itself; names among
attributes are attributes. Functions of attributes and numbers, and conditions, come from a table.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from janusjit.ir.graph import Value
from janusjit.ops import OPS
from janusjit.transform.facts import constant_of, exact_key

Bindings = dict[str, Any]
Functions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Variable:
    """Any value; the same one wherever the name stands."""

    name: str


@dataclass(frozen=True)
class Number:
    """A constant: the given one, or, bound to ``name``, any."""

    name: str | None
    value: int | float = 0


@dataclass(frozen=True)
class Apply:
    """A function of the table applied to what names are bound to; on a right side or in a condition."""

    function: str
    arguments: tuple[Any, ...]
    negated: bool = False

    def evaluate(self, bindings: Bindings, functions: Functions) -> Any:
        """Return what the function makes of the bound arguments."""
        arguments = [evaluate(argument, bindings, functions) for argument in self.arguments]
        result = functions[self.function](*arguments)
        return not result if self.negated else result


@dataclass(frozen=True)
class Operation:
    """A node: its op, inputs, and attributes (a `Variable`, an `Apply` or plain data each)."""

    op: str
    inputs: tuple[Pattern, ...]
    attributes: tuple[tuple[str, Any], ...]


Pattern = Union[Variable, Number, Operation, Apply]


class RuleSyntaxError(ValueError):
    """The text of a rule cannot be read: a defect of the table."""

    code = "transform.rule"


def evaluate(item: Any, bindings: Bindings, functions: Functions) -> Any:
    """Return the attribute or number that ``item`` stands for."""
    if isinstance(item, Apply):
        return item.evaluate(bindings, functions)
    if isinstance(item, Variable):
        return bindings[item.name]
    if isinstance(item, Number):
        return item.value if item.name is None else bindings[item.name]
    return item


def parse_rule(text: str) -> tuple[Operation, Pattern, tuple[Apply, ...]]:
    """Return left side, right side and conditions of a rule.

    Raises
    ------
    RuleSyntaxError
        If the text is no rule.
    """
    match_ = re.fullmatch(r"(.+?)\s*->\s*(.+?)(?:\s+if\s+(.+))?", text)
    if match_ is None:
        raise RuleSyntaxError(f"{text!r} has no left and right side")
    left, right, condition = match_.groups()
    pattern = _input(_expression(left))
    if not isinstance(pattern, Operation):
        raise RuleSyntaxError(f"the left side of {text!r} is no operation")
    return pattern, _input(_expression(right)), tuple(_conditions(condition)) if condition else ()


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise RuleSyntaxError(f"{text!r}: {error.msg}") from error


def _input(tree: ast.expr) -> Pattern:
    if isinstance(tree, ast.Name):
        return Number(tree.id) if tree.id.isupper() else Variable(tree.id)
    if isinstance(tree, ast.Call):
        name = ast.unparse(tree.func)
        if name not in OPS:
            return _apply(tree)
        attributes = tuple((str(keyword.arg), _attribute(keyword.value)) for keyword in tree.keywords)
        return Operation(name, tuple(map(_input, tree.args)), attributes)
    return Number(None, ast.literal_eval(tree))


def _attribute(tree: ast.expr) -> Any:
    if isinstance(tree, ast.Name):
        return Variable(tree.id)
    return _apply(tree) if isinstance(tree, ast.Call) else ast.literal_eval(tree)


def _apply(tree: ast.expr, negated: bool = False) -> Apply:
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return _apply(tree.operand, not negated)
    if not isinstance(tree, ast.Call):
        raise RuleSyntaxError(f"{ast.unparse(tree)!r} is no call of a function")
    return Apply(ast.unparse(tree.func), tuple(map(_attribute, tree.args)), negated)


def _conditions(text: str) -> Iterator[Apply]:
    tree = _expression(text)
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    return map(_apply, parts)


def names_in(pattern: Any) -> Iterator[str]:
    """Yield every name in a pattern or attribute."""
    if isinstance(pattern, (Variable, Number)):
        if pattern.name is not None:
            yield pattern.name
    elif isinstance(pattern, Operation):
        for part in (*pattern.inputs, *(item for _, item in pattern.attributes)):
            yield from names_in(part)
    elif isinstance(pattern, Apply):
        for part in pattern.arguments:
            yield from names_in(part)


def match(pattern: Pattern, value: Value, bindings: Bindings) -> Bindings | None:
    """Return ``bindings`` extended by what makes ``pattern`` describe ``value``, or None.

    A number is met as a constant, or as an array that holds it everywhere.
    """
    if isinstance(pattern, Variable):
        bound = bindings.get(pattern.name)
        if bound is None:
            return {**bindings, pattern.name: value}
        return bindings if bound is value else None
    if isinstance(pattern, Number):
        return _match_number(pattern, _number(value), bindings)
    if not isinstance(pattern, Operation):
        return None
    node = value.node
    if node is None or node.op != pattern.op or len(node.inputs) != len(pattern.inputs):
        return None
    with_attributes = _match_attributes(pattern, node.attributes, bindings)
    if with_attributes is None:
        return None
    found = _match_inputs(pattern.inputs, node.inputs, with_attributes)
    if found is None and len(node.inputs) == 2 and OPS[node.op].commutative:
        found = _match_inputs(pattern.inputs, node.inputs[::-1], with_attributes)
    return found


def _match_inputs(patterns: tuple[Pattern, ...], values: tuple[Value, ...], bindings: Bindings) -> Bindings | None:
    found: Bindings | None = bindings
    for pattern, value in zip(patterns, values, strict=True):
        if found is None:
            return None
        found = match(pattern, value, found)
    return found


def _match_attributes(pattern: Operation, attributes: Mapping[str, Any], bindings: Bindings) -> Bindings | None:
    if len(pattern.attributes) != len(attributes):
        return None
    for name, wanted in pattern.attributes:
        if name not in attributes:
            return None
        if not isinstance(wanted, Variable):
            if attributes[name] != wanted:
                return None
        elif wanted.name in bindings:
            if bindings[wanted.name] != attributes[name]:
                return None
        else:
            bindings = {**bindings, wanted.name: attributes[name]}
    return bindings


def _match_number(pattern: Number, found: Any, bindings: Bindings) -> Bindings | None:
    if found is None:
        return None
    if pattern.name is None:
        same = found == pattern.value and math.copysign(1, found) == math.copysign(1, pattern.value)
        return bindings if same else None
    if pattern.name in bindings:
        return bindings if exact_key(bindings[pattern.name]) == exact_key(found) else None
    return {**bindings, pattern.name: found}


def _number(value: Value) -> Any:
    while value.node is not None and value.node.op in ("full", "broadcast"):
        value = value.node.inputs[0]
    return constant_of(value)
