"""The kernel of inverses of small matrices.

Owns `emit_small_inverse`. Invariant: its requirement fails if one of the matrices is singular, whatever is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.indexing import ElementSource, nest
from janusjit.backend.llvm.values import I1, I64, ArrayValue, KernelContext, Scalar, element_pointer, store
from janusjit.ir.graph import Node
from janusjit.ops.small_matrices import inverse


def emit_small_inverse(
    context: KernelContext, node: Node, inputs: Sequence[ArrayValue], outputs: Sequence[ArrayValue]
) -> None:
    """Emit ``small_inv``: one matrix in a turn, several at once where LLVM does so."""
    (x,), (out,) = inputs, outputs
    size = node.attributes["size"]
    regular = context.stack_slot(I1, align=1)
    context.builder.store(ir.Constant(I1, 1), regular)
    context.needs_passes = True
    with nest(context, x.dims[:-2]) as index:
        builder = context.builder
        position = tuple(Scalar("i64", i) for i in index)
        rows, is_singular = inverse(LLVMScalarEmitter(builder), position, ElementSource(builder, x), size)
        for i, row in enumerate(rows):
            for j, element in enumerate(row):
                place = (*index, *(ir.Constant(I64, number) for number in (i, j)))
                store(builder, element, element_pointer(builder, out, place))
        still = builder.and_(builder.load(regular, typ=I1), builder.not_(is_singular.value))
        builder.store(still, regular)
    context.require(context.builder.load(regular, typ=I1))
