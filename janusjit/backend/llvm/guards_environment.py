"""Entry guards on the environment a call runs in.

Owns the emission of `ErrorStateDefault`, `WarningFilters` and `ContextValueIs`. Invariant: values of context variables
are compared by identity; NumPy's error state and the filters of warnings are with those last found right, and only ones
not seen before cost a call into Python.
"""

from __future__ import annotations

import warnings
from typing import Any

from llvmlite import ir
from numpy._core import umath

from janusjit.backend.llvm import python_api_layout as layout
from janusjit.backend.llvm.entry_places import call_python, dict_item
from janusjit.backend.llvm.guards import GuardEmitter, emits
from janusjit.backend.llvm.python_api import I1, I64, NULL, POINTER, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.ir import guards as kinds


class ErrorStateCheck:
    """Compares NumPy's error state with a guard's, and keeps the state object last found right."""

    def __init__(self, guard: kinds.ErrorStateDefault) -> None:
        self.guard = guard
        self._last: Any = None

    def __call__(self, state: Any) -> bool:
        holds, _ = self.guard.check((), kinds.SymbolValues())
        if holds:
            self._last = state  # compiled code remembers its address
        return holds


@emits(kinds.ErrorStateDefault)
def _emit_error_state(emitter: GuardEmitter, guard: kinds.ErrorStateDefault, number: int) -> None:
    """Compare the identity of the context variable's value with the one last found right, else ask Python."""
    api, builder, frame = emitter.api, emitter.builder, emitter.frame
    known = api.reserve([None])
    state = _context_value(emitter, umath._extobj_contextvar, number)
    is_known = builder.icmp_unsigned("==", state, builder.load(known, typ=POINTER))
    checked = builder.append_basic_block()
    asking = builder.append_basic_block()
    builder.cbranch(is_known, checked, asking)
    builder.position_at_end(asking)
    result = call_python(api, frame, ErrorStateCheck(guard), state)
    api.decref_unless_null(builder, result)
    frame.fail_unless(builder.icmp_unsigned("==", result, api.object(builder, True)), number)
    builder.store(state, known)
    builder.branch(checked)
    builder.position_at_end(checked)


class WarningFiltersCheck:
    """Compares what the filters of warnings do with a guard's, and keeps the filters last found right."""

    def __init__(self, guard: kinds.WarningFilters) -> None:
        self.guard = guard
        self._last: tuple[Any, ...] | None = None

    def __call__(self, filters: list[Any]) -> tuple[Any, ...] | None:
        holds, _ = self.guard.check((), kinds.SymbolValues())
        if not holds:
            return None
        self._last = tuple(filters)  # compiled code remembers its address
        return self._last


@emits(kinds.WarningFilters)
def _emit_warning_filters(emitter: GuardEmitter, guard: kinds.WarningFilters, number: int) -> None:
    """Compare the filters, one by one, with those last found right, else ask Python."""
    api, builder, frame = emitter.api, emitter.builder, emitter.frame
    known = api.reserve([()])
    filters = _present_filters(emitter, number)
    same = has_items(api, builder, filters, builder.load(known, typ=POINTER))
    checked = builder.append_basic_block()
    asking = builder.append_basic_block()
    builder.cbranch(same, checked, asking)
    builder.position_at_end(asking)
    result = call_python(api, frame, WarningFiltersCheck(guard), filters)
    frame.fail_if(api.is_null(builder, result), number)
    api.decref(builder, result)  # the check keeps it
    frame.fail_if(builder.icmp_unsigned("==", result, api.object(builder, None)), number)
    builder.store(result, known)
    builder.branch(checked)
    builder.position_at_end(checked)


def _present_filters(emitter: GuardEmitter, number: int) -> ir.Value:
    """Emit reading ``warnings.filters``: again only where the module's dictionary is in another state; a list."""
    api, builder = emitter.api, emitter.builder
    namespace = api.object(builder, warnings.__dict__)
    if layout.DICT_VERSION is None:
        return _read_filters(emitter, namespace, number)
    state, found = (_variable(api, f"warnings_{name}.{number}") for name in ("state", "filters"))
    version = api.field(builder, namespace, layout.DICT_VERSION, I64)
    with builder.if_then(builder.icmp_signed("!=", version, builder.load(state, typ=I64)), likely=False):
        builder.store(builder.ptrtoint(_read_filters(emitter, namespace, number), I64), found)
        builder.store(version, state)
    return builder.inttoptr(builder.load(found, typ=I64), POINTER)


def _read_filters(emitter: GuardEmitter, namespace: ir.Value, number: int) -> ir.Value:
    api, builder, frame = emitter.api, emitter.builder, emitter.frame
    filters = dict_item(api, builder, namespace, api.object(builder, "filters"))
    frame.fail_if(api.is_null(builder, filters), number)
    frame.fail_unless(api.has_type(builder, filters, list), number)
    return filters


def _variable(api: PythonApi, name: str) -> ir.Value:
    """Return a word that code keeps from call to call, 0 at first."""
    variable = ir.GlobalVariable(api.module, I64, name)
    variable.initializer = ir.Constant(I64, 0)
    return opaque(variable)


@shared(I1, POINTER, POINTER)
def has_items(api: PythonApi, function: ir.Function) -> None:
    """Return whether the items of a list are those of a tuple."""
    listed, wanted = function.args
    entry, loop, look, differs, same = (
        function.append_basic_block(name) for name in ("entry", "loop", "look", "differs", "same")
    )
    builder = ir.IRBuilder(entry)
    count = api.field(builder, listed, layout.VARIABLE_SIZE, I64)
    items = api.field(builder, listed, layout.LIST_ITEMS, POINTER)
    alike = builder.icmp_signed("==", count, api.field(builder, wanted, layout.VARIABLE_SIZE, I64))
    builder.cbranch(alike, loop, differs)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    builder.cbranch(builder.icmp_signed("<", index, count), look, same)
    builder.position_at_end(look)
    item = builder.load(builder.gep(items, [index], source_etype=POINTER), typ=POINTER)
    others = api.address(builder, wanted, layout.TUPLE_ITEMS)
    other = builder.load(builder.gep(others, [index], source_etype=POINTER), typ=POINTER)
    index.add_incoming(builder.add(index, ir.Constant(I64, 1)), look)
    builder.cbranch(builder.icmp_unsigned("==", item, other), loop, differs)
    builder.position_at_end(differs)
    builder.ret(ir.Constant(I1, 0))
    builder.position_at_end(same)
    builder.ret(ir.Constant(I1, 1))


@emits(kinds.ContextValueIs)
def _emit_context_value(emitter: GuardEmitter, guard: kinds.ContextValueIs, number: int) -> None:
    """Compare the value in the present context with the guard's."""
    value = _context_value(emitter, guard.variable, number)
    wanted = emitter.api.object(emitter.builder, guard.value)
    emitter.frame.fail_unless(emitter.builder.icmp_unsigned("==", value, wanted), number)


def _context_value(emitter: GuardEmitter, variable: Any, number: int) -> Any:
    """Emit reading a context variable; the guard fails if it has no value."""
    api, builder, frame = emitter.api, emitter.builder, emitter.frame
    slot = frame.scratch(POINTER)
    status = api.call(builder, "PyContextVar_Get", api.object(builder, variable), NULL, slot)
    frame.fail_if(api.error(builder, status), number)
    value = builder.load(slot, typ=POINTER)
    frame.hold(value)
    return value
