"""Entry guards on the environment a call runs in.

Owns the emission of `ErrorStateDefault` and `ContextValueIs`. Invariant: values of context variables are compared by
identity; NumPy's error state is with the one last found right, and only one not seen before costs a call into Python.
"""

from __future__ import annotations

from typing import Any

from numpy._core import umath

from janusjit.backend.llvm.entry_places import call_python
from janusjit.backend.llvm.guards import GuardEmitter, emits
from janusjit.backend.llvm.python_api import NULL, POINTER
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
    known = api.reserve(builder, [None])
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
