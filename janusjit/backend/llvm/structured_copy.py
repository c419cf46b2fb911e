"""Kernels that put the inputs' elements in other places: ``concatenate``, ``roll``, ``pad``, ``tile``, ``repeat``.

Invariant: each is a few copies of whole blocks, whose innermost loops run along memory, of the result at least.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.indexing import at, copy_elements, nest, part
from janusjit.backend.llvm.values import I64, ArrayValue, Extent, KernelContext, as_i64, element_pointer, load, store
from janusjit.ir.graph import Node

Arrays = Sequence[ArrayValue]

#: so many arrays are stored element beside element at most
INTERLEAVED = 4


def _sum(context: KernelContext, a: Extent, b: Extent) -> Extent:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return context.builder.add(as_i64(a), as_i64(b))


def emit_concatenate(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``concatenate``: each input is copied to its place along the axis."""
    axis, start = node.attributes["axis"], 0
    if axis == len(outputs[0].dims) - 1 and 1 < len(inputs) <= INTERLEAVED and all(x.dims[axis] == 1 for x in inputs):
        _emit_interleaved(context, inputs, outputs[0])
        return
    for array in inputs:
        copy_elements(context, array, part(context, outputs[0], axis, start, array.dims[axis]))
        start = _sum(context, start, array.dims[axis])


def _emit_interleaved(context: KernelContext, inputs: Arrays, out: ArrayValue) -> None:
    """Emit one loop that stores an element of each input beside each other: memory is written from begin to end."""
    context.needs_passes = True  # LLVM makes vectors of what is stored together
    with nest(context, out.dims[:-1]) as index:
        for number, array in enumerate(inputs):
            element = load(context.builder, array.dtype, element_pointer(context.builder, array, (*index, 0)))
            store(context.builder, element, element_pointer(context.builder, out, (*index, number)))


def emit_roll(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``roll``: the end of the axis is copied to the front, the rest behind it."""
    (x,), (out,), axis = inputs, outputs, node.attributes["axis"]
    size = x.dims[axis]
    shift = _modulo(context, node.attributes["shift"], size)
    rest = _difference(context, size, shift)
    copy_elements(context, part(context, x, axis, rest, shift), part(context, out, axis, 0, shift))
    copy_elements(context, part(context, x, axis, 0, rest), part(context, out, axis, shift, rest))


def _difference(context: KernelContext, a: Extent, b: Extent) -> Extent:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return context.builder.sub(as_i64(a), as_i64(b))


def _modulo(context: KernelContext, number: int, size: Extent) -> Extent:
    """Return ``number`` modulo ``size``, 0 for size 0."""
    if isinstance(size, int):
        return number % size if size else 0
    builder = context.builder
    divisor = builder.select(builder.icmp_signed("==", size, ir.Constant(I64, 0)), ir.Constant(I64, 1), size)
    rest = builder.srem(ir.Constant(I64, number), divisor)
    negative = builder.icmp_signed("<", rest, ir.Constant(I64, 0))
    return builder.select(negative, builder.add(rest, divisor), rest)


def emit_pad(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``pad``: everything is set to the value, and the inside is copied."""
    (x, value), (out,) = inputs, outputs
    copy_elements(context, value, out)
    inside = out
    for axis, (before, _) in enumerate(node.attributes["widths"]):
        inside = part(context, inside, axis, before, x.dims[axis])
    copy_elements(context, x, inside)


def emit_tile(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``tile``: one copy a repetition."""
    (x,), (out,) = inputs, outputs
    with nest(context, node.attributes["reps"]) as repetition:
        place = out
        for axis, (number, size) in enumerate(zip(repetition, x.dims, strict=True)):
            start = context.builder.mul(number, as_i64(size))
            place = part(context, place, axis, start, size)
        copy_elements(context, x, place)


def emit_repeat(context: KernelContext, node: Node, inputs: Arrays, outputs: Arrays) -> None:
    """Emit ``repeat``: a copy a repetition of each position, so that the result is written from begin to end."""
    (x,), (out,) = inputs, outputs
    axis, repeats = node.attributes["axis"], node.attributes["repeats"]
    with nest(context, x.dims[: axis + 1]) as index, context.loop(repeats) as repetition:
        position = context.builder.add(context.builder.mul(index[axis], as_i64(repeats)), repetition)
        copy_elements(context, at(context, x, index), at(context, out, (*index[:axis], position)))
