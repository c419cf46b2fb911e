"""Nested functions and lambdas.

Owns making a `FunctionCore` of a function node. Invariant: the Core of a nested function is the same, site for site,
whether it is reached through the function around it or loaded by itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from types import CodeType

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Constant, FunctionCore, Parameters
from janusjit.analysis.lower.context import Lowering, expression, statement
from janusjit.analysis.scope import Comprehension, Scope, parameter_nodes


def kind_of(scope: Scope, is_async: bool, generator: bool = False) -> str:
    """Return the kind of function a scope is."""
    if scope.has_yield or generator:
        return "async generator" if is_async else "generator"
    return "coroutine" if is_async else "function"


def nested_lowering(state: Lowering, node: cst.FunctionDef | cst.Lambda | Comprehension, name: str) -> Lowering:
    """Open the state for a function written inside the one ``state`` lowers."""
    code = nested_code(state, node, name)
    qualified = f"{state.qualified_name}.<locals>.{name}" if code is None else code.co_qualname
    return Lowering(state.unit, state.unit.tree.of[node], name, qualified, code, code or state.container)


def nested_code(state: Lowering, node: cst.FunctionDef | cst.Lambda | Comprehension, name: str) -> CodeType | None:
    """Find the code object CPython made of a function written inside another."""
    if state.container is None:
        return None
    candidates = list(_codes_named(state.container, name))
    if isinstance(node, cst.FunctionDef | cst.Lambda):
        inside: cst.CSTNode = node.body
    else:
        inside = node.value if isinstance(node, cst.DictComp) else node.elt
    span = state.span(inside)
    first, last = (span.line, span.column), (span.end_line, span.end_column)
    for candidate in candidates:
        if any(first <= place < last for place in _positions(candidate)):
            return candidate
    line = state.span(node).line
    on_line = [candidate for candidate in candidates if candidate.co_firstlineno == line]
    return on_line[0] if len(on_line) == 1 else None


def _codes_named(code: CodeType, name: str) -> Iterator[CodeType]:
    """Yield the functions written in ``code``, those in its comprehensions (which Core may inline) included."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == name:
                yield constant
            if constant.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>"):
                yield from _codes_named(constant, name)


def _positions(code: CodeType) -> Iterator[tuple[int, int]]:
    """Yield the 1-based line and column of every instruction that has one."""
    for line, _, column, _ in code.co_positions():
        if line is not None and column is not None and (line, column) != (code.co_firstlineno, 0):
            yield line, column + 1


def lower_body(state: Lowering, node: cst.FunctionDef | cst.Lambda) -> FunctionCore:
    """Lower parameters and body in the state opened for the function."""
    if isinstance(node, cst.Lambda):
        value = state.expression(node.body)
        state.emit(core.Return, node.body, value)
        return state.finish(node, signature(state, node.params), kind_of(state.scope, is_async=False))
    state.suite(node.body, state.block)
    kind = kind_of(state.scope, is_async=node.asynchronous is not None)
    return state.finish(node, signature(state, node.params), kind)


def signature(state: Lowering, parameters: cst.Parameters) -> Parameters:
    """Return the parameter names by kind."""

    def names(nodes: Sequence[cst.Param]) -> tuple[str, ...]:
        return tuple(state.mangled(parameter.name.value) for parameter in nodes)

    star = parameters.star_arg
    variadic = state.mangled(star.name.value) if isinstance(star, cst.Param) else None
    keywords = parameters.star_kwarg
    return Parameters(
        names(parameters.posonly_params),
        names(parameters.params),
        variadic,
        names(parameters.kwonly_params),
        None if keywords is None else state.mangled(keywords.name.value),
    )


@expression(cst.Lambda)
def lower_lambda(state: Lowering, node: cst.Lambda) -> Atom:
    """Lower a lambda expression."""
    defaults, keyword_defaults = _defaults(state, node.params)
    function = lower_body(nested_lowering(state, node, "<lambda>"), node)
    return state.value(core.MakeFunction, node, function, defaults, keyword_defaults)


@statement(cst.FunctionDef)
def lower_function(state: Lowering, node: cst.FunctionDef) -> None:
    """Lower a nested ``def``: decorators, defaults, annotations, the function, the decorators' calls, the name."""
    if node.type_parameters is not None:
        raise state.unsupported(node, "a nested generic function is not read")
    decorators: list[Atom] = []
    for decorator in node.decorators:
        decorators.append(state.expression(decorator.decorator))
    defaults, keyword_defaults = _defaults(state, node.params)
    annotations = _annotations(state, node)
    function = lower_body(nested_lowering(state, node, node.name.value), node)
    made: Atom = state.value(core.MakeFunction, node, function, defaults, keyword_defaults, annotations)
    for decorator, wrapper in zip(reversed(node.decorators), reversed(decorators), strict=True):
        made = state.value(core.Call, decorator.decorator, wrapper, (made,), (False,), ())
    state.store(node.name, node.name.value, made, owned=True)


def _defaults(state: Lowering, parameters: cst.Parameters) -> tuple[tuple[Atom, ...], tuple[tuple[str, Atom], ...]]:
    positional = [
        parameter.default for parameter in (*parameters.posonly_params, *parameters.params) if parameter.default
    ]
    keyword = [(parameter.name.value, parameter.default) for parameter in parameters.kwonly_params if parameter.default]
    atoms = state.operands([*positional, *(default for _, default in keyword)])
    named = zip(keyword, atoms[len(positional) :], strict=True)
    return tuple(atoms[: len(positional)]), tuple((state.mangled(name), atom) for (name, _), atom in named)


def _annotations(state: Lowering, node: cst.FunctionDef) -> tuple[tuple[str, Atom], ...]:
    """Evaluate annotations in CPython's order: positional, ``*``, keyword-only, ``**``, the result."""
    annotated: list[tuple[str, cst.BaseExpression]] = []
    plain = [*node.params.params, *node.params.posonly_params]  # the order of compiler_visit_annotations
    ordered = plain + [item for item in parameter_nodes(node.params) if item not in plain]
    for parameter in ordered:
        if parameter.annotation is not None:
            annotated.append((state.mangled(parameter.name.value), parameter.annotation.annotation))
    if node.returns is not None:
        annotated.append(("return", node.returns.annotation))
    if not state.unit.annotations:
        return tuple((name, Constant(_unparsed(state, value))) for name, value in annotated)
    atoms = state.operands([value for _, value in annotated])
    return tuple((name, atom) for (name, _), atom in zip(annotated, atoms, strict=True))


def _unparsed(state: Lowering, node: cst.BaseExpression) -> str:
    """Return an annotation as ``from __future__ import annotations`` stores it."""
    return ast.unparse(ast.parse(f"({state.unit.module.code_for_node(node)})", mode="eval").body)
