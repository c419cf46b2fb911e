"""Operators, displays, calls, subscripts and strings.

Owns the lowering of expressions that neither branch nor open a scope. Invariant: operands are evaluated left to right,
each exactly once, as the Python reference orders them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Constant, Local
from janusjit.analysis.lower.context import NONE, Lowering, expression

BINARY: dict[type, str] = {
    cst.Add: "+", cst.Subtract: "-", cst.Multiply: "*", cst.Divide: "/", cst.FloorDivide: "//", cst.Modulo: "%",
    cst.Power: "**", cst.MatrixMultiply: "@", cst.BitAnd: "&", cst.BitOr: "|", cst.BitXor: "^", cst.LeftShift: "<<",
    cst.RightShift: ">>",
}  # fmt: skip
UNARY: dict[type, str] = {cst.Plus: "u+", cst.Minus: "u-", cst.BitInvert: "~", cst.Not: "not"}
COMPARISON: dict[type, str] = {
    cst.Equal: "==", cst.NotEqual: "!=", cst.LessThan: "<", cst.LessThanEqual: "<=", cst.GreaterThan: ">",
    cst.GreaterThanEqual: ">=", cst.Is: "is", cst.IsNot: "is not", cst.In: "in", cst.NotIn: "not in",
}  # fmt: skip
KEYWORD_CONSTANTS = {"True": True, "False": False, "None": None}


@expression(cst.Name)
def lower_name(state: Lowering, node: cst.Name) -> Atom:
    """Read a name, or one of the keyword constants."""
    if node.value in KEYWORD_CONSTANTS:
        return Constant(KEYWORD_CONSTANTS[node.value])
    if node.value == "__debug__":
        return Constant(state.unit.debug)
    return state.load(node, node.value)


@expression(cst.Integer, cst.Float, cst.Imaginary, cst.SimpleString)
def lower_literal(state: Lowering, node: cst.Integer | cst.Float | cst.Imaginary | cst.SimpleString) -> Atom:
    """Evaluate a literal."""
    return Constant(node.evaluated_value)


@expression(cst.Ellipsis)
def lower_ellipsis(state: Lowering, node: cst.Ellipsis) -> Atom:
    """Return the constant ``...``."""
    return Constant(...)


@expression(cst.BinaryOperation)
def lower_binary(state: Lowering, node: cst.BinaryOperation) -> Atom:
    """Lower ``left OP right``."""
    left, right = state.operands([node.left, node.right])
    return state.value(core.Operate, node, BINARY[type(node.operator)], left, right)


@expression(cst.UnaryOperation)
def lower_unary(state: Lowering, node: cst.UnaryOperation) -> Atom:
    """Lower a unary operator; the negative of a number literal is a constant."""
    operand = state.expression(node.expression)
    if isinstance(node.operator, cst.Minus) and isinstance(node.expression, cst.Integer | cst.Float | cst.Imaginary):
        return Constant(-node.expression.evaluated_value)
    return state.value(core.Operate, node, UNARY[type(node.operator)], operand)


@expression(cst.Attribute)
def lower_attribute(state: Lowering, node: cst.Attribute) -> Atom:
    """Lower ``owner.name``."""
    owner = state.expression(node.value)
    return state.value(core.LoadAttribute, node, owner, state.mangled(node.attr.value))


@expression(cst.Subscript)
def lower_subscript(state: Lowering, node: cst.Subscript) -> Atom:
    """Lower ``owner[index]``."""
    owner = state.settled(state.expression(node.value), node.value, node.slice)
    return state.value(core.LoadItem, node, owner, lower_index(state, node))


def lower_index(state: Lowering, node: cst.Subscript) -> Atom:
    """Lower what stands between the brackets of a subscript to one atom."""
    elements = node.slice
    only = elements[0]
    starred = [isinstance(item.slice, cst.Index) and item.slice.star is not None for item in elements]
    if len(elements) == 1 and not starred[0] and not isinstance(only.comma, cst.Comma):
        return _subscript_element(state, only)
    atoms: list[Atom] = []
    for position, element in enumerate(elements):
        atom = _subscript_element(state, element)
        atoms.append(state.settled(atom, element, elements[position + 1 :]))
    if not any(starred) and all(isinstance(atom, Constant) for atom in atoms):
        return Constant(tuple(atom.value for atom in atoms if isinstance(atom, Constant)))
    return state.value(core.Build, node, "tuple", tuple(atoms), tuple(starred))


def _subscript_element(state: Lowering, element: cst.SubscriptElement) -> Atom:
    part = element.slice
    if isinstance(part, cst.Index):
        return state.expression(part.value)
    assert isinstance(part, cst.Slice)
    given = [bound for bound in (part.lower, part.upper, part.step) if bound is not None]
    lowered = iter(state.operands(given))
    bounds = [NONE if bound is None else next(lowered) for bound in (part.lower, part.upper, part.step)]
    return state.value(core.BuildSlice, part, *bounds)


# displays


@expression(cst.Tuple)
def lower_tuple(state: Lowering, node: cst.Tuple) -> Atom:
    """Lower a tuple display; one of constants is a constant."""
    atoms, starred = lower_elements(state, node, node.elements)
    if not any(starred) and all(isinstance(atom, Constant) for atom in atoms):
        return Constant(tuple(atom.value for atom in atoms if isinstance(atom, Constant)))
    return state.value(core.Build, node, "tuple", atoms, starred)


@expression(cst.List)
def lower_list(state: Lowering, node: cst.List) -> Atom:
    """Lower a list display."""
    return state.value(core.Build, node, "list", *lower_elements(state, node, node.elements))


@expression(cst.Set)
def lower_set(state: Lowering, node: cst.Set) -> Atom:
    """Lower a set display."""
    return state.value(core.Build, node, "set", *lower_elements(state, node, node.elements, "set"))


def lower_elements(
    state: Lowering, node: cst.CSTNode, elements: Sequence[cst.BaseElement], kind: str = "list"
) -> tuple[tuple[Atom, ...], tuple[bool, ...]]:
    """Lower the items of a display; return the atoms and which of them are starred."""
    pairs = [(element.value, isinstance(element, cst.StarredElement)) for element in elements]
    return lower_sequence(state, node, pairs, kind)


def lower_sequence(
    state: Lowering, node: cst.CSTNode, pairs: Sequence[tuple[cst.CSTNode, bool]], kind: str = "list"
) -> tuple[tuple[Atom, ...], tuple[bool, ...]]:
    """Lower items in order; what a ``*`` draws is drawn before any later item is evaluated.

    A set with a ``*`` hashes its items as they come.
    """
    at_once = kind == "set" and any(star for _, star in pairs)
    atoms: list[Atom] = []
    starred: list[bool] = []
    undrawn = False
    for position, (item, star) in enumerate(pairs):
        if (undrawn or (at_once and atoms)) and not is_simple(item):
            gathered = state.value(core.Build, node, kind, tuple(atoms), tuple(starred))
            atoms, starred, undrawn = [gathered], [True], False
        atom = state.expression(item)
        undrawn |= star
        atoms.append(state.settled(atom, item, [later for later, _ in pairs[position + 1 :]]))
        starred.append(star)
    return tuple(atoms), tuple(starred)


def is_simple(node: cst.CSTNode) -> bool:
    """Whether evaluating the expression can have no effect on others: a name or a literal."""
    return isinstance(node, cst.Name | cst.Integer | cst.Float | cst.Imaginary | cst.SimpleString | cst.Ellipsis)


@expression(cst.Dict)
def lower_dict(state: Lowering, node: cst.Dict) -> Atom:
    """Lower a dict display; what ``**`` draws is drawn, and keys before it are hashed, before anything later runs."""
    items: list[tuple[Atom | None, Atom]] = []
    undrawn = 0
    for position, element in enumerate(node.elements):
        later = node.elements[position + 1 :]
        starred = isinstance(element, cst.StarredDictElement)
        parts = [element.value] if isinstance(element, cst.StarredDictElement) else [element.key, element.value]  # type: ignore[attr-defined]
        done = len(items) if starred else undrawn
        if done and not all(is_simple(part) for part in parts):
            items = [(None, state.value(core.BuildDict, node, tuple(items[:done]))), *items[done:]]
            undrawn = 0
        atoms = state.operands(parts)
        atoms = [state.settled(atom, part, later) for atom, part in zip(atoms, parts, strict=True)]
        items.append((None if starred else atoms[0], atoms[-1]))
        undrawn = len(items) if starred else undrawn
    return state.value(core.BuildDict, node, tuple(items))


# calls


@expression(cst.Call)
def lower_call(state: Lowering, node: cst.Call) -> Atom:
    """Lower a call: the function, positional and starred arguments, then keywords."""
    positional = [(argument.value, argument.star == "*") for argument in node.args if _is_positional(argument)]
    keywords = [argument for argument in node.args if not _is_positional(argument)]
    following = [item for item, _ in positional] + [argument.value for argument in keywords]
    function = state.settled(state.expression(node.func), node.func, following)
    if _is_bare_super(state, node):
        return _lower_super(state, node, function)
    atoms, starred = lower_sequence(state, node, positional)
    if len(atoms) > 1 and any(starred) and any(not is_simple(argument.value) for argument in keywords):
        atoms, starred = (state.value(core.Build, node, "list", atoms, starred),), (True,)
    atoms = tuple(state.settled(atom, node, [argument.value for argument in keywords]) for atom in atoms)
    return state.value(core.Call, node, function, atoms, starred, _lower_keywords(state, node, keywords))


def _is_positional(argument: cst.Arg) -> bool:
    return argument.keyword is None and argument.star != "**"


def _lower_keywords(
    state: Lowering, node: cst.Call, keywords: Sequence[cst.Arg]
) -> tuple[tuple[str | None, Atom], ...]:
    lowered: list[tuple[str | None, Atom]] = []
    for position, argument in enumerate(keywords):
        if any(name is None for name, _ in lowered) and not is_simple(argument.value):
            lowered = [
                (name, atom if name else state.value(core.BuildDict, node, ((None, atom),))) for name, atom in lowered
            ]
        atom = state.expression(argument.value)
        atom = state.settled(atom, argument.value, [later.value for later in keywords[position + 1 :]])
        lowered.append((None if argument.keyword is None else argument.keyword.value, atom))
    return tuple(lowered)


def _is_bare_super(state: Lowering, node: cst.Call) -> bool:
    if node.args or not isinstance(node.func, cst.Name) or node.func.value != "super":
        return False
    return state.unit.super_is_builtin and "__class__" in state.scope.free and bool(state.scope.parameters)


def _lower_super(state: Lowering, node: cst.Call, function: Atom) -> Atom:
    """Lower ``super()`` to the two-argument form it stands for."""
    cell = state.value(core.LoadCell, node, "__class__")
    first = state.scope.parameters[0]
    instance = state.value(core.LoadCell, node, first) if state.is_cell(first) else Local(first)
    return state.value(core.Call, node, function, (cell, instance), (False, False), ())


# strings


@expression(cst.ConcatenatedString)
def lower_concatenated(state: Lowering, node: cst.ConcatenatedString) -> Atom:
    """Lower adjacent literals."""
    pieces = _pieces(node)
    if all(isinstance(piece, cst.SimpleString) for piece in pieces):
        values = [piece.evaluated_value for piece in pieces if isinstance(piece, cst.SimpleString)]
        return Constant(b"".join(values) if isinstance(values[0], bytes) else "".join(values))  # type: ignore[arg-type]
    parts: list[Atom] = []
    for piece in pieces:
        if isinstance(piece, cst.FormattedString):
            parts.extend(_formatted_parts(state, piece.parts, piece))
        else:
            parts.append(state.expression(piece))
    return state.value(core.BuildString, node, _joined(parts))


def _pieces(node: cst.BaseExpression) -> list[cst.BaseExpression]:
    if isinstance(node, cst.ConcatenatedString):
        return _pieces(node.left) + _pieces(node.right)
    return [node]


@expression(cst.FormattedString)
def lower_formatted(state: Lowering, node: cst.FormattedString) -> Atom:
    """Lower an f-string."""
    parts = _joined(_formatted_parts(state, node.parts, node))
    if not parts:
        return Constant("")
    if len(parts) == 1 and isinstance(parts[0], Constant):
        return parts[0]
    return state.value(core.BuildString, node, parts)


def _joined(parts: Sequence[Atom]) -> tuple[Atom, ...]:
    """Merge neighbouring literal parts."""
    merged: list[Atom] = []
    for part in parts:
        if merged and isinstance(part, Constant) and isinstance(merged[-1], Constant):
            merged[-1] = Constant(merged[-1].value + part.value)
        else:
            merged.append(part)
    return tuple(merged)


def _formatted_parts(
    state: Lowering, parts: Sequence[cst.BaseFormattedStringContent], whole: cst.FormattedString
) -> list[Atom]:
    atoms: list[Atom] = []
    for part in parts:
        if isinstance(part, cst.FormattedStringText):
            atoms.append(Constant(_literal_text(part.value, whole)))
        elif isinstance(part, cst.FormattedStringExpression):
            atoms.extend(_replacement_field(state, part, whole))
        else:
            raise state.unsupported(part, f"the string part {type(part).__name__} is not known")
    return atoms


def _literal_text(text: str, whole: cst.FormattedString) -> str:
    """Evaluate the literal text of an f-string as the tokenizer does."""
    text = text.replace("{{", "{").replace("}}", "}")
    if "r" in whole.prefix.lower() or "\\" not in text:
        return text
    quoted = re.sub(r'\\.|"', lambda found: '\\"' if found[0] == '"' else found[0], text, flags=re.DOTALL)
    evaluated = ast.literal_eval(f'"""{quoted}"""')
    assert isinstance(evaluated, str)
    return evaluated


def _replacement_field(state: Lowering, field: cst.FormattedStringExpression, whole: cst.FormattedString) -> list[Atom]:
    atoms: list[Atom] = []
    conversion = field.conversion or ""
    if field.equal is not None:
        code = state.unit.module.code_for_node
        shown = code(field.whitespace_before_expression) + code(field.expression)
        shown += code(field.whitespace_after_expression) + code(field.equal)
        atoms.append(Constant(shown))
        if not conversion and field.format_spec is None:
            conversion = "r"
    value = state.expression(field.expression)
    specification: Atom = Constant("")
    if field.format_spec is not None:
        value = state.settled(value, field.expression, list(field.format_spec))
        parts = _joined(_formatted_parts(state, field.format_spec, whole))
        if len(parts) == 1 and isinstance(parts[0], Constant):
            specification = parts[0]
        elif parts:
            specification = state.value(core.BuildString, field, parts)
    atoms.append(state.value(core.Format, field, value, conversion, specification))
    return atoms
