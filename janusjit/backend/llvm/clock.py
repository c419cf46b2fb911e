"""A clock for compiled code.

Owns `emit_now`. Invariant: the clock never runs backwards, and reading it needs no interpreter.
"""

from __future__ import annotations

import sys

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.values import I32, I64, POINTER, declare

_MONOTONIC = 6 if sys.platform == "darwin" else 1


def is_there() -> bool:
    """Return whether the system has the clock."""
    return engine.is_defined("clock_gettime")


def emit_now(builder: ir.IRBuilder) -> ir.Value:
    """Emit the reading of the clock, in nanoseconds."""
    with builder.goto_entry_block():
        slot = builder.alloca(I64, size=ir.Constant(I64, 2))
    slot.align = 16
    slot.type = POINTER
    read = declare(builder.module, "clock_gettime", I32, [I32, POINTER])
    builder.call(read, [ir.Constant(I32, _MONOTONIC), slot])
    seconds = builder.load(slot, typ=I64)
    rest = builder.load(builder.gep(slot, [ir.Constant(I64, 1)], source_etype=I64), typ=I64)
    return builder.add(builder.mul(seconds, ir.Constant(I64, 1_000_000_000)), rest)
