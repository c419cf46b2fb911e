"""Kernels of the structured operations.

Owns `emit_structured` and `emit_count`. Invariant: every op that is declared `Structured` has a kernel here, its own or
that of its element rule, but for ``update`` and ``constant_array``, which are matters of memory and not of computing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm import (
    structured_copy,
    structured_gather,
    structured_masks,
    structured_scan,
    structured_update,
    structured_windows,
)
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import nest
from janusjit.backend.llvm.values import (
    ArrayValue,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    element_pointer,
    load,
    store,
)
from janusjit.ir.graph import Node
from janusjit.ops.registry import OPS, Structured

Kernel = Callable[[KernelContext, Node, Sequence[ArrayValue], Sequence[ArrayValue]], None]

#: kernels by op name, given the node, its inputs and its outputs in memory
STRUCTURED: dict[str, Kernel] = {
    "concatenate": structured_copy.emit_concatenate,
    "roll": structured_copy.emit_roll,
    "pad": structured_copy.emit_pad,
    "tile": structured_copy.emit_tile,
    "repeat": structured_copy.emit_repeat,
    "take": structured_gather.emit_take,
    "gather": structured_gather.emit_gather,
    "compress": structured_masks.emit_compress,
    "nonzero": structured_masks.emit_nonzero,
    "update_take": structured_update.emit_update_take,
    "update_mask": structured_update.emit_update_mask,
    "cumsum": structured_scan.emit_scan,
    "cumprod": structured_scan.emit_scan,
    "unfold": structured_windows.emit_unfold,
    "fold": structured_windows.emit_fold,
    "window_max": structured_windows.emit_window_max,
}

#: ops whose result's length depends on the data: the kernels that count it
COUNTED: dict[str, Callable[[KernelContext, Node, Sequence[ArrayValue]], ir.Value]] = {
    "compress": structured_masks.count_compress,
    "nonzero": structured_masks.count_nonzero,
}


def emit_structured(
    context: KernelContext, node: Node, inputs: Sequence[Operand], outputs: Sequence[ArrayValue]
) -> None:
    """Emit the kernel of a structured op.

    Parameters
    ----------
    context : KernelContext
        The function to emit into; a fallible node's returns ``i1``.
    node : Node
        The operation.
    inputs : sequence of Operand
        Its inputs; where indices are out of bounds, or numbers of elements differ, the kernel's requirement fails.
    outputs : sequence of ArrayValue
        Memory for each result, of rank 0 for scalars, that overlaps no input. For updates it holds the values of the
        base already, or is the base's own memory.
    """
    kernel = STRUCTURED.get(node.op, emit_by_element)
    kernel(context, node, [context.as_array(operand) for operand in inputs], outputs)


def emit_count(context: KernelContext, node: Node, inputs: Sequence[Operand]) -> ir.Value:
    """Emit the computation of the length (``i64``) that the attribute ``symbol`` of a node stands for."""
    return COUNTED[node.op](context, node, [context.as_array(operand) for operand in inputs])


def emit_by_element(
    context: KernelContext, node: Node, inputs: Sequence[ArrayValue], outputs: Sequence[ArrayValue]
) -> None:
    """Emit the loops that fill a result by the op's element rule."""
    lowering = OPS[node.op].lowering
    assert isinstance(lowering, Structured)
    assert lowering.element is not None, f"{node.op} has neither a kernel nor an element rule"
    (out,) = outputs
    with nest(context, out.dims) as index:
        emitter = LLVMScalarEmitter(context.builder)
        sources = [ElementSource(context.builder, array) for array in inputs]
        position = tuple(Scalar("i64", i) for i in index)
        value = lowering.element(emitter, position, *sources, **node.attributes)
        store(context.builder, value, element_pointer(context.builder, out, index))


@dataclass(frozen=True, slots=True)
class ElementSource:
    """An input as an element rule sees it (`janusjit.ops.registry.Source`)."""

    builder: ir.IRBuilder
    array: ArrayValue

    @property
    def shape(self) -> tuple[Scalar, ...]:
        """The dimensions, as ``i64`` scalars."""
        return tuple(Scalar("i64", as_i64(dim)) for dim in self.array.dims)

    def __call__(self, *index: Scalar) -> Scalar:
        """Emit a load of the element at an index."""
        pointer = element_pointer(self.builder, self.array, [i.value for i in index])
        return load(self.builder, self.array.dtype, pointer)
