"""Products and the work on their elements, block by block of rows, as functions.

Owns `ProductBlocks`, which emits a function for every different tile that begins with a product and calls it.
Invariants: the function calls the same kernels as the steps would one after the other, each for the rows of a block;
tiles of the same products and kernels share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from janusjit.backend.address import Address
from janusjit.backend.epilogues import ByRows
from janusjit.backend.llvm.blas import by_rows, emit_matmul_and, emit_matmul_in_blocks
from janusjit.backend.llvm.convolution import convolution_by_rows, emit_convolution_and
from janusjit.backend.llvm.fused_parallel import Arguments, ParallelKernels, Part, unknown_count
from janusjit.backend.llvm.gemm_packed import After
from janusjit.backend.llvm.kernel_memory import call_kernel
from janusjit.backend.llvm.row_blocks import Block, Blocks
from janusjit.backend.llvm.values import (
    I64,
    VOID,
    ArrayValue,
    KernelContext,
    PythonEmitter,
)
from janusjit.backend.tiles import Tile
from janusjit.ir.dims import symbols_of
from janusjit.ir.graph import Node


def rows_of(node: Node, a: Address, b: Address, out: Address, threads: int = 1) -> ByRows | None:
    """Return how a product is computed by rows; None if it is not."""
    operands = []
    for address in (a, b, out):
        extents = (*address.layout.shape, *address.layout.strides)
        if address.layout.dtype not in ("f32", "f64") or not all(isinstance(extent, int) for extent in extents):
            return None
        shape, strides = extents[: len(address.layout.shape)], extents[len(address.layout.shape) :]
        operands.append(ArrayValue(address.layout.dtype, None, shape, strides))
    left, right, result = operands
    if node.op == "convolution":
        return convolution_by_rows(node, left, right, result, threads)
    return by_rows(left, right, result, threads)


class ProductBlocks:
    """The functions of a module's tiles that begin with a product.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where they go.
    kernels : ParallelKernels
        Gives the arguments of the fused kernels, and calls them for some rows.
    python : PythonEmitter
        Keeps objects alive.
    """

    def __init__(self, module: ir.Module, kernels: ParallelKernels, python: PythonEmitter) -> None:
        self._module, self._kernels, self._python = module, kernels, python
        self._functions: dict[tuple[Any, ...], tuple[ir.Function, str]] = {}

    def call(
        self,
        builder: ir.IRBuilder,
        tile: Tile,
        operands: tuple[ArrayValue, ArrayValue, ArrayValue],
        parts: Sequence[Part],
        room: int,
    ) -> str:
        """Emit the call of the function of a tile, whose product or convolution is that of known sizes of ``operands``.

        ``room`` is that of the result's storage, 0 if it is there as a whole.

        Returns
        -------
        str
            How the product is computed, in words.
        """
        arguments = [self._kernels.arguments(part, tile.size) for part in parts]
        values = [operand.pointer for operand in operands]
        values += [value for one in arguments for value in one.in_context()]
        key = (
            *((one.dtype, one.dims, one.strides) for one in operands),
            *(part.key() for part in parts),
            *(one.form() for one in arguments),
            (tile.block, room, tile.is_packed, tile.threads),
            *_attributes_of(tile),
        )
        if key not in self._functions:
            self._functions[key] = self._emit(tile, operands, (parts, arguments), room, values)
        function, chosen = self._functions[key]
        call_kernel(self._python, builder, function, values)
        last = tile.steps[-1].time
        behind = f"step {last}" if len(tile.steps) == 1 else f"steps {tile.steps[0].time} to {last}"
        return f"{chosen}, {tile.block} rows at a time with {behind}"

    def _emit(
        self,
        tile: Tile,
        operands: tuple[ArrayValue, ArrayValue, ArrayValue],
        kernels: tuple[Sequence[Part], Sequence[Arguments]],
        room: int,
        values: Sequence[ir.Value],
    ) -> tuple[ir.Function, str]:
        """Emit the function of a tile, which takes ``values``; return it and how the product is computed."""
        parts, arguments = kernels
        name = f"product.{len(self._functions)}"
        function = ir.Function(self._module, ir.FunctionType(VOID, [value.type for value in values]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        context = KernelContext(function, self._python, self._kernels.count)
        given = iter(function.args)
        a, b, out = (ArrayValue(one.dtype, next(given), one.dims, one.strides) for one in operands)
        found = [one.given(given) for one in arguments]
        if tile.is_packed:
            follows = After(*self._task(context, tile, parts, found), room)
            if tile.product is not None and tile.product.node.op == "convolution":
                chosen = emit_convolution_and(context, tile.product.node, (a, b, out), follows)
            else:
                chosen = emit_matmul_and(context, (a, b, out), follows)
            context.finish()
            context.mark_vectors()
            return function, chosen
        (size,) = symbols_of((tile.size,))

        def after(inside: KernelContext, block: Block) -> None:
            builder, told = inside.builder, iter(block.units.told)
            known = [one.given(told) for one in arguments]
            if tile.threads > 1:
                thread = block.units.thread
                known = [one.of_thread(builder, part, thread) for one, part in zip(known, parts, strict=True)]
            end = builder.add(block.start, unknown_count(builder, block.count))
            self._kernels.emit_rows(builder, parts, known, size, block.start, end)

        told = [value for one in found for value in one.in_context()]
        blocks = Blocks(tile.block, room, tile.threads > 1, after, told)
        chosen = emit_matmul_in_blocks(context, (a, b, out), blocks)
        context.finish()
        context.mark_vectors()
        return function, chosen

    def _task(
        self, context: KernelContext, tile: Tile, parts: Sequence[Part], arguments: Sequence[Arguments]
    ) -> tuple[ir.Value, ir.Value]:
        """Return the task that does the steps for some rows, and the memory of what it is told."""
        values = [value for one in arguments for value in one.in_context()]
        told = context.stack_slot(I64, max(len(values), 1))
        for number, value in enumerate(values):
            context.builder.store(value, context.builder.gep(told, [ir.Constant(I64, number)], source_etype=I64))
        return self._kernels.task(parts, arguments, tile.size, tile.block), told


def _attributes_of(tile: Tile) -> tuple[str, ...]:
    """Return what distinguishes the products of tiles beside their operands."""
    assert tile.product is not None
    node = tile.product.node
    return (node.op, repr(sorted(node.attributes.items())))
