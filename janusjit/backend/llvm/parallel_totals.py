"""Sums over all elements, on several threads.

Owns the task that adds up parts, and the sum of the parts. Invariant: parts are those that pairwise summation halves
all elements into, and their sums are added as it adds them; so the bits are those of one thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.fused import FusedKernel
from janusjit.backend.llvm import pairwise_sum, reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.fused_rows import part_function
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import I64, POINTER, KernelContext, PythonEmitter, Scalar, register_type
from janusjit.backend.parallel import HALVINGS, PARTS


def task(kernel: FusedKernel, whole: ir.Function, python: PythonEmitter) -> ir.Function:
    """Return the task of a kernel whose function is ``whole``.

    Its rows are parts. The context holds the arguments of ``whole``, the number of elements, and where the sums of the
    parts are to go: those of one part side by side, in eight bytes each.
    """
    module: ir.Module = whole.module
    name = f"{whole.name}.task"
    known = module.globals.get(name)
    if known is not None:
        return known
    function = ir.Function(module, TASK_TYPE, name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    context = KernelContext(function, python)
    memory, _, first, end = function.args
    types = [*whole.function_type.args, I64, POINTER]
    *arguments, count, sums = [
        context.builder.load(_word(context.builder, memory, ir.Constant(I64, at)), typ=type_)
        for at, type_ in enumerate(types)
    ]
    part = part_function(kernel, whole, python)
    with context.loop(context.builder.sub(end, first)) as turn:
        builder = context.builder
        number = builder.add(first, turn)
        start, length = _part(builder, number, count)
        totals = builder.call(part, [*arguments, start, length])
        for position in range(len(kernel.reductions)):
            at = builder.add(builder.mul(number, ir.Constant(I64, len(kernel.reductions))), ir.Constant(I64, position))
            builder.store(builder.extract_value(totals, position), _word(builder, sums, at))
    context.finish()
    return function


def _word(builder: ir.IRBuilder, memory: ir.Value, at: ir.Value) -> ir.Value:
    return builder.gep(memory, [at], source_etype=I64)


def _part(builder: ir.IRBuilder, number: ir.Value, count: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return where a part begins and how many elements it has: each bit of its number says in which half it is."""
    start: ir.Value = ir.Constant(I64, 0)
    for halving in reversed(range(HALVINGS)):
        first, second = pairwise_sum.halves(builder, count)
        bit = builder.and_(builder.lshr(number, ir.Constant(I64, halving)), ir.Constant(I64, 1))
        is_second = builder.icmp_unsigned("!=", bit, ir.Constant(I64, 0))
        start = builder.select(is_second, builder.add(start, first), start)
        count = builder.select(is_second, second, first)
    return start, count


def combined(builder: ir.IRBuilder, dtypes: Sequence[str], sums: ir.Value) -> list[Scalar]:
    """Emit the sums of all parts, added to what a sum begins with."""
    emitter = LLVMScalarEmitter(builder)
    totals = []
    for position, dtype in enumerate(dtypes):
        places = [_word(builder, sums, ir.Constant(I64, part * len(dtypes) + position)) for part in range(PARTS)]
        values = [builder.load(place, typ=register_type(dtype)) for place in places]
        while len(values) > 1:
            values = [builder.fadd(one, other) for one, other in zip(values[::2], values[1::2], strict=True)]
        begin = emitter.constant(reduce.identity("sum", dtype), dtype)
        totals.append(emitter.add(begin, Scalar(dtype, values[0])))
    return totals
