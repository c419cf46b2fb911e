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
    structured_matrices,
    structured_scan,
    structured_update,
    structured_windows,
)
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import ElementSource, Index, nest
from janusjit.backend.llvm.lanes import splat, widened
from janusjit.backend.llvm.loops import turns
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    KernelContext,
    Operand,
    Scalar,
    as_i64,
    element_pointer,
    item_size,
    load,
    store,
)
from janusjit.ir.graph import Node
from janusjit.ops.registry import OPS, Structured

Kernel = Callable[[KernelContext, Node, Sequence[ArrayValue], Sequence[ArrayValue]], None]

#: the lanes of an element rule that needs no array
LANES = 8

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
    "small_inv": structured_matrices.emit_small_inverse,
}

#: ops of those kernels that say whether their loops need passes
TELLING = frozenset({"update_take", "window_max", "small_inv"})

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
    numbers = [load(context.builder, array.dtype, array.pointer) for array in inputs if array.rank == 0]
    if len(numbers) == len(inputs) and out.rank and _has_rows(out):
        _emit_vectors(context, node, numbers, out)
        return
    context.needs_passes = True
    with nest(context, out.dims) as index:
        emitter = LLVMScalarEmitter(context.builder)
        sources = [ElementSource(context.builder, array) for array in inputs]
        position = tuple(Scalar("i64", i) for i in index)
        value = lowering.element(emitter, position, *sources, **node.attributes)
        store(context.builder, value, element_pointer(context.builder, out, index))


def _emit_vectors(context: KernelContext, node: Node, numbers: Sequence[Scalar], out: ArrayValue) -> None:
    """Emit the loops that fill a result by the op's element rule, which takes numbers only, along contiguous rows."""
    rule, length = OPS[node.op].lowering, out.dims[-1]
    assert isinstance(rule, Structured) and rule.element is not None
    element, zero = rule.element, ir.Constant(I64, 0)
    steps = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))

    def compute(lead: Index, last: ir.Value, lanes: int) -> None:
        builder = context.builder
        along = last if lanes == 1 else builder.add(splat(builder, last, steps.type), steps)
        position = (*(splat(builder, i, along.type) for i in lead), along)
        sources = [NumberSource(builder, number, lanes) for number in numbers]
        emitter = LLVMScalarEmitter(builder, lanes=lanes)
        value = element(emitter, tuple(Scalar("i64", i) for i in position), *sources, **node.attributes)
        store(builder, value, element_pointer(builder, out, (*lead, last)))

    known = isinstance(length, int)
    whole = length // LANES * LANES if known else context.builder.and_(length, ir.Constant(I64, -LANES))
    with nest(context, out.dims[:-1]) as lead:
        with turns(context, (zero, as_i64(whole)), LANES, []) as (index, _):
            compute(lead, index, LANES)
        if not known or whole < length:
            with turns(context, (as_i64(whole), as_i64(length)), 1, []) as (index, _):
                compute(lead, index, 1)


def _has_rows(out: ArrayValue) -> bool:
    """Return whether neighbours along the last axis can be stored as a vector."""
    return out.dtype in ("f32", "f64", "i32", "i64") and out.strides[-1] == item_size(out.dtype)


@dataclass(frozen=True, slots=True)
class NumberSource:
    """A number as an element rule sees it in so many lanes (`janusjit.ops.registry.Source`)."""

    builder: ir.IRBuilder
    number: Scalar
    lanes: int

    @property
    def shape(self) -> tuple[Scalar, ...]:
        """It has no dimensions."""
        return ()

    def __call__(self, *index: Scalar) -> Scalar:
        """Return the number."""
        type_ = widened(self.number.value.type, self.lanes)
        return Scalar(self.number.dtype, splat(self.builder, self.number.value, type_))
