"""How loops step from turn to turn.

Owns `next_turn` and `next_pointer`. Invariant: each computes a sum, and costs one addition. Why they are not written as
one: loops of kernels step as they should when they are emitted, but LLVM's strength reduction looks at every use of
what it sees step, and takes a fifth of the time in which instructions are chosen. What it does not see step it leaves
alone; in functions that go through passes, the first of those makes ordinary additions of all turns.
"""

from __future__ import annotations

from llvmlite import ir

_I8, _I64, _POINTER = ir.IntType(8), ir.IntType(64), ir.PointerType()
_EXPECT = "llvm.expect.i64"


def next_turn(builder: ir.IRBuilder, index: ir.Value, step: int | ir.Value = 1) -> ir.Value:
    """Return what ``index`` is in the next turn: more by ``step``."""
    amount = ir.Constant(_I64, step) if isinstance(step, int) else step
    added = builder.add(index, amount, flags=("nsw",))
    module: ir.Module = builder.module
    expect = module.globals.get(_EXPECT)
    if expect is None:  # the first of the passes drops it, and so does the choice of instructions
        expect = ir.Function(module, ir.FunctionType(_I64, [_I64, _I64]), _EXPECT)
    return builder.call(expect, [added, ir.Constant(_I64, 0)])


def next_pointer(builder: ir.IRBuilder, pointer: ir.Value, step: int) -> ir.Value:
    """Return what ``pointer`` is in the next turn of a loop of vector code: ``step`` bytes on."""
    moved = builder.gep(pointer, [ir.Constant(_I64, step)], source_etype=_I8)
    nothing = ir.InlineAsm(ir.FunctionType(_POINTER, [_POINTER]), "", "=r,0", side_effect=False)
    return builder.call(nothing, [moved])
