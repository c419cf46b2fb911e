"""Work memory of kernels beside the stack.

Owns what `KernelContext.scratch` calls to get blocks of the workspace, and `call_kernel`, which calls a kernel that may
do so. Invariant: a kernel that gets no memory returns at once, on whichever thread it runs, and the entry function
learns it behind the call: it goes the way of any other allocation that fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.paced_builder import PacedBuilder
from janusjit.backend.llvm.python_api import I1, I64, NULL, POINTER, VOID, PythonApi, opaque
from janusjit.backend.llvm.python_api_shared import shared
from janusjit.backend.llvm.values import PythonEmitter, needs_memory
from janusjit.backend.llvm.workspace import block_give, block_size, block_take, most_bytes

_LIBRARY = "kernel_memory"
_LACKED = "memory_lacked"


def _lacked(api: PythonApi) -> ir.Value:
    """Return where it is noted that a kernel got no memory."""
    known = api.module.globals.get(_LACKED)
    if known is None:
        known = ir.GlobalVariable(api.module, I64, _LACKED)
        known.initializer = ir.Constant(I64, 0)
    return opaque(known)


@shared(POINTER, POINTER, I64, library=_LIBRARY)
def scratch_at(api: PythonApi, function: ir.Function) -> None:
    """Return a block of at least so many bytes, which a slot holds from then on; null if there is no memory.

    It is the one that is there already, if that is large enough; nothing of what was in it is kept.
    """
    slot, size = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    held = builder.load(slot, typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", held, NULL), likely=False):  # of the turn before in a loop
        with builder.if_then(builder.icmp_signed(">=", block_size(api, builder, held), size)):
            builder.ret(held)
        block_give(api, builder, held)
    block = block_take(api, builder, size, most_bytes(builder, size))
    builder.store(block, slot)
    with builder.if_then(builder.icmp_unsigned("==", block, NULL), likely=False):
        builder.atomic_rmw("xchg", _lacked(api), ir.Constant(I64, 1), "monotonic")
    builder.ret(block)


@shared(VOID, POINTER, library=_LIBRARY)
def scratch_back(api: PythonApi, function: ir.Function) -> None:
    """Give back the block that a slot holds, if it does."""
    (slot,) = function.args
    builder = PacedBuilder(function.append_basic_block("entry"))
    held = builder.load(slot, typ=POINTER)
    with builder.if_then(builder.icmp_unsigned("!=", held, NULL)):
        block_give(api, builder, held)
    builder.ret_void()


@shared(I1, library=_LIBRARY)
def scratch_lacked(api: PythonApi, function: ir.Function) -> None:
    """Return whether a kernel got no memory since this was asked last."""
    builder = PacedBuilder(function.append_basic_block("entry"))
    noted = builder.load_atomic(_lacked(api), "monotonic", 8, typ=I64)
    lacked = builder.icmp_unsigned("!=", noted, ir.Constant(I64, 0))
    with builder.if_then(lacked, likely=False):
        builder.atomic_rmw("xchg", _lacked(api), ir.Constant(I64, 0), "monotonic")
    builder.ret(lacked)


def call_kernel(
    python: PythonEmitter, builder: ir.IRBuilder, function: ir.Function, arguments: Sequence[ir.Value]
) -> ir.Value:
    """Emit the call of a kernel, and the way out of the entry function where there was no memory for it."""
    result = builder.call(function, arguments)
    if needs_memory(function):
        lacked = builder.call(scratch_lacked.declare(builder.module), [])
        failed, following = builder.append_basic_block("lacked"), builder.append_basic_block("computed")
        builder.cbranch(lacked, failed, following).set_weights([1, 1_000_000])
        python.emit_out_of_memory(ir.IRBuilder(failed))
        builder.position_at_end(following)
    return result
