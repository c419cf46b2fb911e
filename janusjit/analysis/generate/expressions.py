"""Instructions that become expressions.

Owns one builder for each instruction with a target. Invariant: the operands are taken in the order in which the built
expression evaluates them, which is the order Core names them in.
"""

from __future__ import annotations

import ast
from typing import Any

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Constant
from janusjit.analysis.generate import overloads
from janusjit.analysis.generate.emitter import RUNTIME, Emitter, builds
from janusjit.analysis.generate.subscripts import SliceCall, index
from janusjit.analysis.overloads import OPERATORS

BINARY: dict[str, type[ast.operator]] = {
    "+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "//": ast.FloorDiv, "%": ast.Mod, "**": ast.Pow,
    "@": ast.MatMult, "&": ast.BitAnd, "|": ast.BitOr, "^": ast.BitXor, "<<": ast.LShift, ">>": ast.RShift,
}  # fmt: skip
_UNARY: dict[str, type[ast.unaryop]] = {"u+": ast.UAdd, "u-": ast.USub, "~": ast.Invert, "not": ast.Not}
_COMPARISON: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE, "is": ast.Is,
    "is not": ast.IsNot, "in": ast.In, "not in": ast.NotIn,
}  # fmt: skip
_DISPLAY: dict[str, type] = {"tuple": ast.Tuple, "list": ast.List, "set": ast.Set}
_FRAME_READERS = ("locals", "vars", "dir")


def observed(emitter: Emitter, instruction: Any, node: ast.expr) -> ast.expr:
    """Wrap an expression in what makes its value part of a recording."""
    if not emitter.instrumentation.records or instruction.target in emitter.called:
        return node
    return emitter.runtime("value", emitter.constant(instruction.site), node)


@builds(core.Move)
def build_move(emitter: Emitter, instruction: core.Move) -> ast.expr:
    """Read an atom."""
    return emitter.take([instruction.value])[0]


@builds(core.LoadGlobal)
def build_global(emitter: Emitter, instruction: core.LoadGlobal) -> ast.expr:
    """Read a global; the readers of the frame's locals are shown the user's own."""
    node = emitter.name(instruction.name)
    if instruction.name in _FRAME_READERS:
        return emitter.runtime("frame_reader", node)
    return observed(emitter, instruction, node)


@builds(core.LoadCell)
def build_cell(emitter: Emitter, instruction: core.LoadCell) -> ast.expr:
    """Read a cell."""
    read = emitter.name(instruction.name)
    if instruction.name in emitter.unbound:
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        reader = emitter.at(ast.Lambda(nothing, read))
        read = emitter.runtime("own_variable", emitter.constant(instruction.name), reader)
    return observed(emitter, instruction, read)


@builds(core.Operate)
def build_operate(emitter: Emitter, instruction: core.Operate) -> ast.expr:
    """Apply an operator."""
    operands = emitter.take([instruction.left, instruction.right])
    symbol = instruction.operator

    def build(parts: list[ast.expr]) -> ast.expr:
        node: ast.expr
        if len(parts) == 1:
            node = ast.UnaryOp(_UNARY[symbol](), parts[0])
        elif symbol in BINARY:
            node = ast.BinOp(parts[0], BINARY[symbol](), parts[1])
        else:
            node = ast.Compare(parts[0], [_COMPARISON[symbol]()], [parts[1]])
        placed: ast.expr = emitter.at(node)
        return placed

    if emitter.probes and symbol in OPERATORS:
        return observed(emitter, instruction, overloads.operator(emitter, instruction.site, symbol, operands, build))
    return observed(emitter, instruction, build(operands))


@builds(core.LoadAttribute)
def build_attribute(emitter: Emitter, instruction: core.LoadAttribute) -> ast.expr:
    """Read an attribute."""
    (owner,) = emitter.take([instruction.owner])
    if emitter.probes and instruction.target not in emitter.called:
        node = overloads.attribute(emitter, instruction.site, owner, instruction.name)
    else:
        node = emitter.at(ast.Attribute(owner, instruction.name, ast.Load()))
    return observed(emitter, instruction, node)


@builds(core.LoadItem)
def build_item(emitter: Emitter, instruction: core.LoadItem) -> ast.expr:
    """Read an item."""
    owner, key = emitter.take([instruction.owner, instruction.index])
    if emitter.probes and not isinstance(key, SliceCall | ast.Tuple):
        return observed(emitter, instruction, overloads.item(emitter, instruction.site, owner, key))
    return observed(emitter, instruction, emitter.at(ast.Subscript(owner, index(key), ast.Load())))


@builds(core.BuildSlice)
def build_slice(emitter: Emitter, instruction: core.BuildSlice) -> ast.expr:
    """Make a slice."""
    atoms = (instruction.start, instruction.stop, instruction.step)
    bounds = emitter.take(atoms)
    call = emitter.runtime("slice", *bounds)
    assert isinstance(call, ast.Call)
    node: SliceCall = emitter.at(SliceCall(call.func, call.args, []))
    given = [None if _is_none(atom) else bound for atom, bound in zip(atoms, bounds, strict=True)]
    node.subscript = emitter.at(ast.Slice(*given))
    return node


def _is_none(atom: Atom) -> bool:
    return isinstance(atom, Constant) and atom.value is None


@builds(core.Build)
def build_display(emitter: Emitter, instruction: core.Build) -> ast.expr:
    """Make a tuple, list or set."""
    items = emitter.take(instruction.items)
    starred = [
        emitter.at(ast.Starred(item, ast.Load())) if star else item
        for item, star in zip(items, instruction.starred, strict=True)
    ]
    kind = _DISPLAY[instruction.kind]
    if kind is ast.Set:
        node: ast.expr = ast.Set(starred) if starred else emitter.runtime("set")
    else:
        node = kind(starred, ast.Load())
    built: ast.expr = emitter.at(node)
    return built


@builds(core.BuildDict)
def build_dict(emitter: Emitter, instruction: core.BuildDict) -> ast.expr:
    """Make a dict."""
    taken = iter(emitter.take([atom for item in instruction.items for atom in item]))
    keys: list[ast.expr | None] = []
    values: list[ast.expr] = []
    for key, _ in instruction.items:
        keys.append(None if key is None else next(taken))
        values.append(next(taken))
    node: ast.expr = emitter.at(ast.Dict(keys, values))
    return node


@builds(core.Format)
def build_format(emitter: Emitter, instruction: core.Format) -> ast.expr:
    """Format one replacement field."""
    value, specification = emitter.take([instruction.value, instruction.specification])
    conversion = ord(instruction.conversion) if instruction.conversion else -1
    form: ast.expr | None = None
    if isinstance(specification, ast.JoinedStr):
        form = specification
    elif isinstance(specification, ast.Constant):
        form = emitter.at(ast.JoinedStr([specification])) if specification.value else None
    else:
        form = emitter.at(ast.JoinedStr([emitter.at(ast.FormattedValue(specification, -1))]))
    node: ast.expr = emitter.at(ast.FormattedValue(value, conversion, form))
    return node


@builds(core.BuildString)
def build_string(emitter: Emitter, instruction: core.BuildString) -> ast.expr:
    """Join the parts of an f-string."""
    parts = [
        part if isinstance(part, ast.FormattedValue | ast.Constant) else emitter.at(ast.FormattedValue(part, -1))
        for part in emitter.take(instruction.parts)
    ]
    node: ast.expr = emitter.at(ast.JoinedStr(parts))
    return node


@builds(core.Call)
def build_call(emitter: Emitter, instruction: core.Call) -> ast.expr:
    """Call; with probes, the callee may be replaced by its twin."""
    named = [atom for _, atom in instruction.keywords]
    function, *arguments = emitter.take([instruction.function, *instruction.positional, *named])
    if emitter.probes:
        function = emitter.runtime("callee", function)
    count = len(instruction.positional)
    positional = [
        emitter.at(ast.Starred(node, ast.Load())) if star else node
        for node, star in zip(arguments[:count], instruction.starred, strict=True)
    ]
    keywords = [
        emitter.at(ast.keyword(name, node))
        for (name, _), node in zip(instruction.keywords, arguments[count:], strict=True)
    ]
    return observed(emitter, instruction, emitter.at(ast.Call(function, positional, keywords)))


@builds(core.Intrinsic)
def build_intrinsic(emitter: Emitter, instruction: core.Intrinsic) -> ast.expr:
    """Call a step of ``match``."""
    return emitter.runtime(instruction.name, *emitter.take(instruction.arguments))


@builds(core.Yield)
def build_yield(emitter: Emitter, instruction: core.Yield) -> ast.expr:
    """Suspend a generator."""
    node: ast.expr = emitter.at(ast.Yield(emitter.take([instruction.value])[0]))
    return node


@builds(core.YieldFrom)
def build_yield_from(emitter: Emitter, instruction: core.YieldFrom) -> ast.expr:
    """Delegate to a generator or awaitable."""
    (value,) = emitter.take([instruction.value])
    node: ast.expr = emitter.at(ast.Await(value) if instruction.kind == "await" else ast.YieldFrom(value))
    return node


@builds(core.MakeFunction)
def build_function(emitter: Emitter, instruction: core.MakeFunction) -> ast.expr:
    """Make a nested function through the runtime object, from the code the user's own function would have."""
    keyword_names = tuple(name for name, _ in instruction.keyword_defaults)
    annotation_names = tuple(name for name, _ in instruction.annotations)
    atoms = [
        *instruction.defaults,
        *(atom for _, atom in instruction.keyword_defaults),
        *(atom for _, atom in instruction.annotations),
    ]
    values = emitter.take(atoms)
    number = len(emitter.functions)
    emitter.functions.append(instruction.function)
    reads = [emitter.name(name) for name in instruction.function.free]
    body = emitter.at(ast.Tuple(reads, ast.Load()))
    empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    cells = emitter.at(ast.Lambda(empty, body))
    split = len(instruction.defaults)
    last = split + len(keyword_names)
    parts = [values[:split], values[split:last], values[last:]]
    tuples = [emitter.at(ast.Tuple(part, ast.Load())) for part in parts]
    names = [emitter.constant(keyword_names), emitter.constant(annotation_names)]
    assert RUNTIME not in instruction.function.free
    return emitter.runtime("make_function", emitter.constant(number), cells, *tuples, *names)
