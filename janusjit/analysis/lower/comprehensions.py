"""List, set and dict comprehensions and generator expressions.

Owns their lowering: a comprehension becomes a loop in the function around it, with its variables renamed, unless an
inner function captures one of them (or it looks at its own frame); then, as a generator expression always does, it
becomes a function of one parameter, ``.0``, the iterator.
"""

from __future__ import annotations

import libcst as cst

from janusjit.analysis import core
from janusjit.analysis.core import Atom, Block, FunctionCore, Local, Parameters
from janusjit.analysis.lower.assignment import assign
from janusjit.analysis.lower.context import Lowering, expression
from janusjit.analysis.lower.functions import kind_of, nested_lowering
from janusjit.analysis.scope import Comprehension
from janusjit.analysis.scope_builder import uses_frame

_NAMES: dict[type, str] = {
    cst.ListComp: "<listcomp>", cst.SetComp: "<setcomp>", cst.DictComp: "<dictcomp>", cst.GeneratorExp: "<genexpr>",
}  # fmt: skip


@expression(cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp)
def lower_comprehension(state: Lowering, node: Comprehension) -> Atom:
    """Lower a comprehension, inlined if nobody can tell the difference."""
    scope = state.unit.tree.of[node]
    if scope.has_await:
        raise state.unsupported(node, "an asynchronous comprehension is not read")
    if not scope.inlined:
        function = comprehension_function(state, node)
        if function.code is None and uses_frame(scope):
            raise state.unsupported(node, "a comprehension that reads the locals of its frame")
        made = state.value(core.MakeFunction, node, function, (), ())
        iterator = state.value(core.GetIterator, node.for_in.iter, state.expression(node.for_in.iter))
        return state.value(core.Call, node, made, (iterator,), (False,), ())
    result = _empty(state, node)
    iterator = state.value(core.GetIterator, node.for_in.iter, state.expression(node.for_in.iter))
    renames: dict[str, str] = {}
    for name in sorted(scope.own):
        renames[name] = _unused_name(state, name)
    state.renames.append(renames)
    _clauses(state, node, node.for_in, iterator, result)
    state.renames.pop()
    state.renamed -= set(renames.values())
    return result


def _unused_name(state: Lowering, name: str) -> str:
    """Return the temporary for a comprehension variable; nested comprehensions may use one name twice."""
    renamed = f".{name}"
    while renamed in state.renamed:
        renamed += "'"
    state.renamed.add(renamed)
    return renamed


def comprehension_function(state: Lowering, node: Comprehension) -> FunctionCore:
    """Lower a comprehension or generator expression as a function of its own."""
    inner = nested_lowering(state, node, _NAMES[type(node)])
    return comprehension_body(inner, node)


def comprehension_body(inner: Lowering, node: Comprehension) -> FunctionCore:
    """Lower the function a comprehension is, in the state opened for it."""
    inner.temporaries = 1  # ".0" is the parameter
    result: Local | None = None
    if not isinstance(node, cst.GeneratorExp):
        result = _empty(inner, node)
    _clauses(inner, node, node.for_in, Local(".0"), result)
    if result is not None:
        inner.emit(core.Return, node, result)
    kind = kind_of(inner.scope, is_async=inner.scope.has_await, generator=isinstance(node, cst.GeneratorExp))
    return inner.finish(node, Parameters(positional_only=(".0",)), kind)


def _empty(state: Lowering, node: Comprehension) -> Local:
    if isinstance(node, cst.DictComp):
        return state.value(core.BuildDict, node, ())
    return state.value(core.Build, node, "list" if isinstance(node, cst.ListComp) else "set", (), ())


def _clauses(state: Lowering, node: Comprehension, clause: cst.CompFor, iterator: Atom, result: Local | None) -> None:
    """Emit the loop of one ``for`` clause, with what is inside it."""
    if clause.asynchronous is not None:
        raise state.unsupported(clause, "an asynchronous comprehension is not read")
    target = state.plain_local(clause.target.value) if isinstance(clause.target, cst.Name) else None
    item = target if target is not None else state.fresh()
    with state.into(Block()) as body:
        if target is None:
            assign(state, clause.target, Local(item))
        with state.into(_conditions(state, clause)):
            if clause.inner_for_in is None:
                _element(state, node, result)
            else:
                inner = clause.inner_for_in
                source = state.value(core.GetIterator, inner.iter, state.expression(inner.iter))
                _clauses(state, node, inner, source, result)
    state.emit(core.For, (clause.target, clause.iter), item, iterator, body, Block())


def _conditions(state: Lowering, clause: cst.CompFor) -> Block:
    """Emit the ``if`` clauses as nested branches; return the innermost block."""
    block = state.block
    for test in clause.ifs:
        with state.into(block):
            holds = state.condition(test.test)
            then = Block()
            state.emit(core.If, test.test, holds, then, Block())
        block = then
    return block


def _element(state: Lowering, node: Comprehension, result: Local | None) -> None:
    if isinstance(node, cst.DictComp):
        assert result is not None
        key, value = state.operands([node.key, node.value])
        state.emit(core.DictInsert, (node.key, node.value), result, key, value)
        return
    value = state.expression(node.elt)
    if isinstance(node, cst.ListComp):
        state.emit(core.ListAppend, node.elt, result, value)
    elif isinstance(node, cst.SetComp):
        state.emit(core.SetAdd, node.elt, result, value)
    else:
        state.value(core.Yield, node.elt, value)
