"""What waits for the interpreter while compiled code runs.

Owns `emit_is_free` and `deliver_signals`. Invariants: compiled code looks at CPython's own flag for this, where that is
where it is expected; and what a signal's handler raises as compiled code leaves for Python is raised at the line that
Python goes on from, so that the handlers of exceptions around it see it.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm import clock
from janusjit.backend.llvm.python_api import I1, I32, I64, NULL, POINTER, PythonApi
from janusjit.backend.llvm.python_api_layout import word
from janusjit.backend.llvm.python_api_shared import shared

#: nanoseconds that what waits is let wait, in a loop whose turns are shorter: leaving it takes some time too
PATIENCE = 20_000_000
#: how many bytes of an interpreter's state are searched
_SEARCHED = 4096

_HOLDER = "PyThreadState_Get" if sys.version_info >= (3, 13) else "PyInterpreterState_Get"
#: signals, requests to hand the interpreter over, calls to be made and exceptions from other threads (CPython 3.13)
_EVENTS = 0xF if sys.version_info >= (3, 13) else 0xFFFFFFFF
#: where in a thread's state its interpreter and its flag are (CPython 3.13), and the flag beside the recursion limit
_INTERPRETER, _FLAG = 16, 24
_FROM_LIMIT = -8 if sys.version_info >= (3, 12) else 4


def _state(name: str) -> int:
    return ctypes.PYFUNCTYPE(ctypes.c_void_p)((name, ctypes.pythonapi))() or 0


@functools.cache
def flag_offset() -> int | None:
    """Return where the flag is in what `_HOLDER` returns; None if CPython's structures are not as expected."""
    interpreter = _state("PyInterpreterState_Get")
    if sys.version_info >= (3, 13):
        thread = _state("PyThreadState_Get")
        versions = word(thread + _FLAG) >> 8, word(interpreter) >> 8  # of the tools that monitor
        return _FLAG if word(thread + _INTERPRETER) == interpreter and versions[0] == versions[1] else None
    limit = sys.getrecursionlimit()
    before = ctypes.string_at(interpreter, _SEARCHED)
    sys.setrecursionlimit(limit + 1)
    after = ctypes.string_at(interpreter, _SEARCHED)
    sys.setrecursionlimit(limit)
    wanted = [value.to_bytes(4, sys.byteorder) for value in (limit, limit + 1)]
    found = [at for at in range(0, _SEARCHED, 4) if [before[at : at + 4], after[at : at + 4]] == wanted]
    return found[0] + _FROM_LIMIT if len(found) == 1 else None


def emit_is_free(api: PythonApi, builder: ir.IRBuilder) -> ir.Value:
    """Emit whether (``i1``) nothing has waited for the interpreter for long."""
    offset = flag_offset() if clock.is_there() else None
    if offset is None:
        return ir.Constant(I1, 1)
    with builder.goto_entry_block():
        since = builder.alloca(I64)
        since.type = POINTER
        builder.store(ir.Constant(I64, 0), since)
        flag = api.address(builder, api.call(builder, _HOLDER), offset)
    noticed = builder.and_(builder.load_atomic(flag, "monotonic", 4, typ=I32), ir.Constant(I32, _EVENTS))
    free = builder.icmp_unsigned("==", noticed, ir.Constant(I32, 0))
    looked_in = builder.block
    with builder.if_then(builder.not_(free), likely=False):
        patient = _is_patient(api, builder, since)
        waited_in = builder.block
    answer = builder.phi(I1)
    answer.add_incoming(ir.Constant(I1, 1), looked_in)
    answer.add_incoming(patient, waited_in)
    return answer


@shared(I1, POINTER)
def _is_patient(api: PythonApi, function: ir.Function) -> None:
    """Whether what waits has not waited for long; the argument is the address of when it was seen first, or 0."""
    builder = ir.IRBuilder(function.append_basic_block())
    (since,) = function.args
    now = clock.emit_now(builder)
    began = builder.load(since, typ=I64)
    with builder.if_then(builder.icmp_signed("==", began, ir.Constant(I64, 0))):
        builder.store(now, since)
        builder.ret(ir.Constant(I1, 1))
    builder.ret(builder.icmp_signed("<", builder.sub(now, began), ir.Constant(I64, PATIENCE)))


@shared(POINTER, POINTER)
def deliver_signals(api: PythonApi, function: ir.Function) -> None:
    """Run the handlers of signals that have come; return a new reference to the result of a graph that is given.

    Where a handler raises, that is in the result: Python is to go on by raising it. Null if even that fails.
    """
    builder = ir.IRBuilder(function.append_basic_block())
    (result,) = function.args
    status = api.call(builder, "PyErr_CheckSignals")
    with builder.if_then(builder.not_(api.error(builder, status)), likely=True):
        api.incref(builder, result)
        builder.ret(result)
    parts = builder.alloca(POINTER, size=ir.Constant(I64, 4))
    parts.type = POINTER
    kind, error, traceback = (api.address(builder, parts, 8 * at) for at in (3, 1, 2))
    api.call(builder, "PyErr_Fetch", kind, error, traceback)
    api.call(builder, "PyErr_NormalizeException", kind, error, traceback)
    held = [builder.load(slot, typ=POINTER) for slot in (kind, error, traceback)]
    builder.store(result, parts)
    absent = api.is_null(builder, held[2])
    builder.store(builder.select(absent, api.object(builder, None), held[2]), traceback)
    made = api.call(builder, "PyObject_Vectorcall", api.object(builder, raising), parts, ir.Constant(I64, 3), NULL)
    for reference in held:
        api.decref_unless_null(builder, reference)
    builder.ret(made)


def raising(result: tuple[Any, ...], error: BaseException, traceback: Any) -> tuple[Any, ...]:
    """Return a graph's result that ends at a commit point as one from which Python goes on by raising."""
    return (result[0].raising(error.with_traceback(traceback)), *result[1:])
