"""Reductions of the innermost dimensions of a fused kernel.

Owns `reduce_row`. The dimensions are walked through as one, in blocks: what is to be combined goes to a buffer on the
stack in a loop that LLVM can vectorise, and a block function of `janusjit.backend.llvm.reduce` combines it.
What is in memory already is combined as it is. Invariant: sums are added in the order of NumPy's pairwise summation,
by a recursive function where there is more than one block.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.fused import Element, FusedKernel, Reduction
from janusjit.backend.llvm import pairwise_sum, reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter, is_float
from janusjit.backend.llvm.fused_elements import ElementCode, Row
from janusjit.backend.llvm.fused_vectors import ROOM, emit_elements
from janusjit.backend.llvm.loops import Cursor, Place
from janusjit.backend.llvm.values import (
    I64,
    POINTER,
    Extent,
    KernelContext,
    PythonEmitter,
    Scalar,
    as_i64,
    item_size,
    memory_type,
    multiply,
    offset_pointer,
    register_type,
)

#: rows of fewer elements are computed without loops, if that takes no more instructions; sums of so few elements are
#: added one after the other by NumPy too
UNROLLED = pairwise_sum.LANES
UNROLLED_INSTRUCTIONS = 64


def reduce_row(code: ElementCode, cursors: Sequence[Cursor], before: list[Scalar]) -> list[Scalar]:
    """Emit the reduction of the last dimensions; return ``before`` combined with it, for each reduction.

    ``cursors`` have the strides of these dimensions left.
    """
    count: Extent = 1
    for dim in code.dims[len(code.dims) - len(cursors[0].strides) :]:
        count = multiply(code.context.builder, count, dim)
    if len(cursors[0].strides) == 1 and all(_in_any_order(code, reduction) for reduction in code.kernel.reductions):
        return _emit_in_registers(code, cursors, as_i64(count), before)
    is_short = isinstance(count, int) and 0 < count < UNROLLED
    if is_short and count * len(code.kernel.instructions) <= UNROLLED_INSTRUCTIONS:
        return _emit_unrolled(code, cursors, before)
    in_memory = not code.kernel.stores and all(_direct(code, r, cursors) for r in code.kernel.reductions)
    if in_memory or (isinstance(count, int) and count <= reduce.BLOCK):
        return _combined(code, before, _emit_block(code, cursors, ir.Constant(I64, 0), as_i64(count), before))
    if not any(_is_pairwise(code, reduction) for reduction in code.kernel.reductions):
        return _emit_blocks(code, cursors, as_i64(count), before)
    slots = []
    for reduction, total in zip(code.kernel.reductions, before, strict=True):
        if not _is_pairwise(code, reduction):
            slots.append(code.context.stack_slot(register_type(total.dtype)))
            code.context.builder.store(total.value, slots[-1])
    builder = code.context.builder
    arguments = [cursor.pointer for cursor in cursors] + list(code.context.function.args[len(cursors) :])
    part = part_function(code.kernel, code.context.function, code.context.python)
    result = builder.call(part, [*arguments, *slots, ir.Constant(I64, 0), as_i64(count)])
    return _combined(code, before, _totals(code, result, slots))


def _emit_unrolled(code: ElementCode, cursors: Sequence[Cursor], before: list[Scalar]) -> list[Scalar]:
    """Emit the computation and combination of a few elements, one after the other, without loops."""
    dims = code.dims[len(code.dims) - len(cursors[0].strides) :]
    builder = code.context.builder
    code.context.needs_passes = True
    emitter = LLVMScalarEmitter(builder)
    reductions = code.kernel.reductions
    totals = [None if _is_pairwise(code, r) else total for r, total in zip(reductions, before, strict=True)]
    for position in itertools.product(*map(range, dims)):
        current = list(cursors)
        for index in position:
            current = [cursor.enter(builder, ir.Constant(I64, index)) for cursor in current]
        for number, (reduction, value) in enumerate(zip(reductions, code.emit(current), strict=True)):
            x, total = reduce.element(emitter, reduction.kind, value), totals[number]
            totals[number] = x if total is None else reduce.combine(emitter, reduction.kind, total, x)
    return _combined(code, before, [total for total in totals if total is not None])


def _is_pairwise(code: ElementCode, reduction: Reduction) -> bool:
    return reduce.is_pairwise(reduction.kind, code.kernel.dtypes[reduction.target])


def _in_any_order(code: ElementCode, reduction: Reduction) -> bool:
    """Return whether LLVM may combine the elements in whatever order suits its vectors."""
    return reduction.kind in ("any", "all") or not is_float(code.kernel.dtypes[reduction.target])


def _emit_in_registers(
    code: ElementCode, cursors: Sequence[Cursor], count: ir.Value, before: list[Scalar]
) -> list[Scalar]:
    """Emit one loop that combines each element with the totals."""
    context, builder = code.context, code.context.builder
    context.needs_passes = True
    emitter = LLVMScalarEmitter(builder)
    slots = [context.stack_slot(register_type(total.dtype)) for total in before]
    for slot, total in zip(slots, before, strict=True):
        builder.store(total.value, slot)
    with context.loop(count) as index:
        values = code.emit([cursor.enter(builder, index) for cursor in cursors])
        totals = _loaded(builder, slots, before)
        for reduction, slot, total, value in zip(code.kernel.reductions, slots, totals, values, strict=True):
            x = reduce.element(emitter, reduction.kind, value)
            builder.store(reduce.combine(emitter, reduction.kind, total, x).value, slot)
    return _loaded(builder, slots, before)


def _combined(code: ElementCode, before: list[Scalar], totals: list[Scalar]) -> list[Scalar]:
    """Add the pairwise sums to what was there before; other totals began with it."""
    emitter = LLVMScalarEmitter(code.context.builder)
    return [
        emitter.add(old, new) if _is_pairwise(code, reduction) else new
        for reduction, old, new in zip(code.kernel.reductions, before, totals, strict=True)
    ]


def _totals(code: ElementCode, sums: ir.Value, slots: list[ir.Value]) -> list[Scalar]:
    """Return the totals of all reductions, from the pairwise sums and the slots of the others."""
    builder = code.context.builder
    left, position, totals = list(slots), 0, []
    for reduction in code.kernel.reductions:
        dtype = code.kernel.dtypes[reduction.target]
        if _is_pairwise(code, reduction):
            totals.append(Scalar(dtype, builder.extract_value(sums, position)))
            position += 1
        else:
            totals.append(Scalar(dtype, builder.load(left.pop(0), typ=register_type(dtype))))
    return totals


def _emit_blocks(code: ElementCode, cursors: Sequence[Cursor], count: ir.Value, before: list[Scalar]) -> list[Scalar]:
    """Emit a loop over blocks, each of which begins with the totals of the one before."""
    context, builder = code.context, code.context.builder
    slots = [context.stack_slot(register_type(total.dtype)) for total in before]
    for slot, total in zip(slots, before, strict=True):
        builder.store(total.value, slot)
    block = ir.Constant(I64, reduce.BLOCK)
    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, reduce.BLOCK - 1)), block)
    with context.loop(blocks) as number:
        start = builder.mul(number, block)
        left = builder.sub(count, start)
        size = builder.select(builder.icmp_signed("<", left, block), left, block)
        running = _loaded(builder, slots, before)
        for slot, total in zip(slots, _emit_block(code, cursors, start, size, running), strict=True):
            builder.store(total.value, slot)
    return _loaded(builder, slots, before)


def _loaded(builder: ir.IRBuilder, slots: list[ir.Value], like: list[Scalar]) -> list[Scalar]:
    return [
        Scalar(one.dtype, builder.load(slot, typ=register_type(one.dtype)))
        for slot, one in zip(slots, like, strict=True)
    ]


def _direct(code: ElementCode, reduction: Reduction, cursors: Sequence[Cursor]) -> Cursor | None:
    """Return the array a reduction combines, if it is in memory already and contiguous."""
    if not isinstance(reduction.source, Element) or reduction.kind in ("any", "all", "count_nonzero"):
        return None
    number = reduction.source.number
    if any(number == stored for _, stored in code.kernel.stores):
        return None  # what is combined is the element before the store
    cursor = cursors[number]
    return cursor if cursor.strides == (item_size(cursor.dtype),) else None


def _emit_block(
    code: ElementCode, cursors: Sequence[Cursor], start: ir.Value, count: ir.Value, before: list[Scalar]
) -> list[Scalar]:
    """Emit the computation of elements ``start`` to ``start + count``, and their reduction.

    Returns the sum of the block for pairwise reductions, and ``before`` combined with the block for others.
    """
    context = code.context
    direct = [_direct(code, reduction, cursors) for reduction in code.kernel.reductions]
    dtypes = [code.kernel.dtypes[reduction.target] for reduction in code.kernel.reductions]
    buffers = [
        _at(code, cursor, start) if cursor else context.stack_slot(memory_type(dtype), reduce.BLOCK + ROOM)
        for cursor, dtype in zip(direct, dtypes, strict=True)
    ]
    if code.kernel.stores or not all(direct):
        wanted = [None if cursor else buffer for cursor, buffer in zip(direct, buffers, strict=True)]
        if len(cursors[0].strides) == 1:
            _emit_elements(code, cursors, start, count, wanted)
        else:
            _emit_segments(code, cursors, start, count, wanted)
    totals = []
    for reduction, cursor, buffer, total in zip(code.kernel.reductions, direct, buffers, before, strict=True):
        totals.append(reduce.combined_block(context, reduction.kind, total, buffer, count, cursor is None))
    return totals


Buffers = Sequence["ir.Value | None"]


def _emit_elements(
    code: ElementCode, cursors: Sequence[Cursor], start: ir.Value, count: ir.Value, buffers: Buffers
) -> None:
    """Emit the loop that computes ``count`` elements of the last dimension from ``start`` on, into the buffers."""
    builder = code.context.builder
    entered = [cursor.enter(builder, start) for cursor in cursors]
    moved = [Cursor(at.dtype, at.pointer, cursor.strides) for at, cursor in zip(entered, cursors, strict=True)]
    dtypes = [code.kernel.dtypes[reduction.target] for reduction in code.kernel.reductions]
    filled = [
        Cursor(dtype, buffer, (item_size(dtype),))
        for dtype, buffer in zip(dtypes, buffers, strict=True)
        if buffer is not None
    ]

    def compute(current: Sequence[Place], row: Row | None) -> None:
        values = code.emit(current, row)
        emitter = LLVMScalarEmitter(code.context.builder, lanes=1 if row is None else row.lanes)
        places = iter(current[len(cursors) :])
        for reduction, value, buffer in zip(code.kernel.reductions, values, buffers, strict=True):
            if buffer is not None:
                next(places).store(code.context.builder, reduce.element(emitter, reduction.kind, value))

    places = [*moved, *filled]
    stored, own = [number for _, number in code.kernel.stores], range(len(cursors), len(places))
    emit_elements(code, [count], places, compute, [*stored, *own], own)


def _emit_segments(
    code: ElementCode, cursors: Sequence[Cursor], start: ir.Value, count: ir.Value, buffers: Buffers
) -> None:
    """Emit a loop over the parts of rows that elements ``start`` to ``start + count`` of several dimensions are."""
    context, builder = code.context, code.context.builder
    dims = code.dims[len(code.dims) - len(cursors[0].strides) :]
    width = _at_least_one(builder, dims[-1])
    done = context.stack_slot(I64)
    builder.store(ir.Constant(I64, 0), done)
    first_row = builder.udiv(start, width)
    end = builder.add(start, count)
    rows = builder.sub(builder.udiv(builder.add(end, builder.sub(width, ir.Constant(I64, 1))), width), first_row)
    with context.loop(rows) as step:
        position = builder.load(done, typ=I64)
        row = builder.add(first_row, step)
        column = builder.sub(builder.add(start, position), builder.mul(row, width))
        room, left = builder.sub(width, column), builder.sub(count, position)
        size = builder.select(builder.icmp_signed("<", room, left), room, left)
        inside = [_enter_row(builder, cursor, dims[:-1], row) for cursor in cursors]
        targets = [
            b if b is None else builder.gep(b, [position], inbounds=True, source_etype=memory_type(dtype))
            for b, dtype in zip(buffers, [code.kernel.dtypes[r.target] for r in code.kernel.reductions], strict=True)
        ]
        _emit_elements(code, inside, column, size, targets)
        builder.store(builder.add(position, size), done)


def _at_least_one(builder: ir.IRBuilder, dim: Extent) -> ir.Value:
    """Return a dimension to divide by: where it is 0, nothing is computed, and any other number does."""
    if isinstance(dim, int):
        return ir.Constant(I64, max(dim, 1))
    one = ir.Constant(I64, 1)
    return builder.select(builder.icmp_signed("<", dim, one), one, dim)


def _enter_row(builder: ir.IRBuilder, cursor: Cursor, dims: Sequence[Extent], row: ir.Value) -> Cursor:
    """Return the cursor at a row that is counted through all dimensions but the last."""
    position: Extent = 0
    for axis in reversed(range(len(dims))):
        size = _at_least_one(builder, dims[axis])
        index = row if axis == 0 else builder.urem(row, size)
        row = row if axis == 0 else builder.udiv(row, size)
        offset = multiply(builder, index, cursor.strides[axis])
        position = offset if position == 0 else builder.add(as_i64(position), as_i64(offset))
    return Cursor(cursor.dtype, offset_pointer(builder, cursor.pointer, position), cursor.strides[-1:])


def _at(code: ElementCode, cursor: Cursor, start: ir.Value) -> ir.Value:
    return cursor.enter(code.context.builder, start).pointer


def part_function(kernel: FusedKernel, whole: ir.Function, python: PythonEmitter) -> ir.Function:
    """Return the recursive function that sums ``count`` elements from ``start`` on, for a kernel's function ``whole``.

    Its arguments are those of the kernel, with the arrays at the row's begin, then a slot for the total of each
    reduction that is not pairwise, ``start`` and ``count``; it returns a structure of the pairwise sums.
    """
    module: ir.Module = whole.module
    name = f"{whole.name}.part"
    known = module.globals.get(name)
    if known is not None:
        return known
    pairwise = [r for r in kernel.reductions if reduce.is_pairwise(r.kind, kernel.dtypes[r.target])]
    result = ir.LiteralStructType([register_type(kernel.dtypes[r.target]) for r in pairwise])
    types = ElementCode.argument_types(kernel) + [POINTER] * (len(kernel.reductions) - len(pairwise)) + [I64, I64]
    function = ir.Function(module, ir.FunctionType(result, types), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    function.attributes.add("noinline")
    context = KernelContext(function, python)
    first = len(kernel.dims) - kernel.flat_dims
    part = ElementCode.of(kernel, context, range(first, len(kernel.dims)))
    slots, (start, count) = list(function.args[:-2][len(ElementCode.argument_types(kernel)) :]), function.args[-2:]
    small = context.builder.icmp_signed("<=", count, ir.Constant(I64, reduce.BLOCK))
    with context.builder.if_then(small):
        context.builder.ret(_sum_block(part, slots, start, count))
    context.finish_with(_sum_halves(part, start, count))
    context.mark_vectors()
    return function


def _sum_block(part: ElementCode, slots: list[ir.Value], start: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the sums of one block; totals of other kinds go to their slots."""
    builder = part.context.builder
    left, before, targets = list(slots), [], []
    for reduction in part.kernel.reductions:
        dtype = part.kernel.dtypes[reduction.target]
        pairwise = _is_pairwise(part, reduction)
        targets.append(None if pairwise else left.pop(0))
        before.append(
            Scalar(dtype, ir.Constant(register_type(dtype), ir.Undefined))
            if pairwise
            else Scalar(dtype, builder.load(targets[-1], typ=register_type(dtype)))
        )
    sums: ir.Value = ir.Constant(part.context.function.function_type.return_type, ir.Undefined)
    position = 0
    for target, total in zip(targets, _emit_block(part, part.cursors, start, count, before), strict=True):
        if target is None:
            sums = builder.insert_value(sums, total.value, position)
            position += 1
        else:
            builder.store(total.value, target)
    return sums


def _sum_halves(part: ElementCode, start: ir.Value, count: ir.Value) -> ir.Value:
    """Emit the sums of two halves, the first a multiple of 8 long, as NumPy has them."""
    builder, function = part.context.builder, part.context.function
    half, rest = pairwise_sum.halves(builder, count)
    outer = list(function.args[:-2])
    first = builder.call(function, [*outer, start, half])
    second = builder.call(function, [*outer, builder.add(start, half), rest])
    sums: ir.Value = ir.Constant(function.function_type.return_type, ir.Undefined)
    for position in range(len(function.function_type.return_type.elements)):
        total = builder.fadd(builder.extract_value(first, position), builder.extract_value(second, position))
        sums = builder.insert_value(sums, total, position)
    return sums
