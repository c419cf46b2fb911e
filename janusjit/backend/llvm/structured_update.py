"""Kernels that set picked elements of an array in place: ``update_take``, ``update_mask``.

Invariant: the output holds the base's values when a kernel begins; nothing is written before all requirements hold;
elements picked twice are set (or added to) in the order of the indices.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import at, broadcast_to, copy_elements, load_at, nest, require_in_bounds, wrapped
from janusjit.backend.llvm.structured_gather import picked
from janusjit.backend.llvm.structured_masks import count_true, set_in_order
from janusjit.backend.llvm.values import (
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    element_pointer,
    load,
    multiply,
    offset_pointer,
    store,
)
from janusjit.ir.graph import Node
from janusjit.ops.registry import OPS, Elementwise
from janusjit.ops.updates import accumulation

Arrays = Sequence[ArrayValue]


def emit_update_take(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``update_take``: set what index arrays pick, or combine it with values."""
    (_, value, *indices), (out,), axes = inputs, outputs, node.attributes["axes"]
    operation = accumulation(node.attributes["accumulate"])
    for axis, index in zip(axes, indices, strict=True):
        require_in_bounds(context, index, out.dims[axis])
    shape = _broadcast_dims([index.dims for index in indices])
    rest = tuple(dim for axis, dim in enumerate(out.dims) if axis not in axes)
    value = broadcast_to(value, (*shape, *rest))
    indices = [broadcast_to(index, shape) for index in indices]

    def set_elements(target: ArrayValue, source: ArrayValue) -> None:
        if operation is not None:
            combine_elements(context, operation, source, target)
        else:
            copy_elements(context, source, target)

    context.needs_passes = bool(rest) or not shape
    if context.needs_passes:  # rows are set in vectors that LLVM finds
        with nest(context, shape) as position:
            set_elements(picked(context, out, axes, indices, position), at(context, value, position))
        return
    with nest(context, shape[:-1]) as lead:
        rows = [at(context, index, lead) for index in indices]
        values = at(context, value, lead)
        same = [number for number, row in enumerate(rows) if row.strides == (0,)]
        others = [number for number in range(len(rows)) if number not in same]

        def at_picked(pointer: ir.Value, numbers: Sequence[int], place: Extent) -> ir.Value:
            for number in numbers:
                size, stride = out.dims[axes[number]], out.strides[axes[number]]
                chosen = wrapped(context, load_at(context, rows[number], (place,)), size)
                pointer = offset_pointer(context.builder, pointer, multiply(context.builder, chosen, stride))
            return pointer

        beginning = at_picked(out.pointer, same, 0)
        with context.loop(shape[-1]) as last:
            place = ArrayValue(out.dtype, at_picked(beginning, others, last), (), ())
            set_elements(place, at(context, values, (last,)))


def _broadcast_dims(shapes: Sequence[tuple[Extent, ...]]) -> tuple[Extent, ...]:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        next((dim for dim in dims if not isinstance(dim, int) or dim != 1), 1) for dims in zip(*padded, strict=True)
    )


def add_elements(context: KernelContext, source: ArrayValue, target: ArrayValue) -> None:
    """Emit ``target += source`` by the rule of the op ``add``, which for bools is ``or``."""
    combine_elements(context, "add", source, target)


def combine_elements(context: KernelContext, operation: str, source: ArrayValue, target: ArrayValue) -> None:
    """Emit ``target[...] = operation(target, source)``, done in the dtype of ``source``."""
    rule = OPS[operation].lowering
    assert isinstance(rule, Elementwise)
    with nest(context, target.dims) as index:
        builder = context.builder
        emitter = LLVMScalarEmitter(builder)
        place = element_pointer(builder, target, index)
        old = emitter.cast(load(builder, target.dtype, place), source.dtype)
        made = rule.scalar(emitter, old, load(builder, source.dtype, element_pointer(builder, source, index)))
        store(builder, emitter.cast(made, target.dtype), place)


def emit_update_mask(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``update_mask``: set where a mask over the leading dimensions is true.

    The values are one for each such place, in order, or broadcast to all.
    """
    (_, mask, value), (out,) = inputs, outputs
    rest = out.dims[mask.rank :]
    one_each = value.rank > len(rest) and not (isinstance(value.dims[0], int) and value.dims[0] == 1)
    if one_each:
        count = count_true(context, mask)
        context.require(context.builder.icmp_signed("==", count, as_i64(value.dims[0])))
        set_in_order(context, mask, broadcast_to(value, (value.dims[0], *rest)), out)
        return
    if value.rank > len(rest):
        value = at(context, value, (0,))
    value = broadcast_to(value, rest)
    with nest(context, mask.dims) as outer:
        chosen = load_at(context, mask, outer)
        _set_where(context, chosen, value, at(context, out, outer))


def _set_where(context: KernelContext, chosen: ir.Value, value: ArrayValue, target: ArrayValue) -> None:
    """Emit ``target[...] = value`` if ``chosen``, by selection for one element, which vectorises, else by a branch."""
    if target.rank:
        with context.builder.if_then(chosen):
            copy_elements(context, value, target)
        return
    builder = context.builder
    new, old = load(builder, value.dtype, value.pointer), load(builder, target.dtype, target.pointer)
    store(builder, Scalar(new.dtype, builder.select(chosen, new.value, old.value)), target.pointer)
