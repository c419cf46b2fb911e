"""Vectors of a given width in LLVM IR: loops over neighbours, loads and stores, in part too, arithmetic rounded once.

Invariant: memory beyond the elements in use is neither read nor written.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.gemm_tiling import Piece
from janusjit.backend.llvm.lanes import splat
from janusjit.backend.llvm.lanes import zeros as zeros
from janusjit.backend.llvm.values import I1, I32, I64, VOID, KernelContext, item_size, memory_type


def vector_type(dtype: str, lanes: int) -> ir.VectorType:
    """Return the type of a vector of ``lanes`` elements."""
    return ir.VectorType(memory_type(dtype), lanes)


def multiply_add(context: KernelContext, dtype: str, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Return ``x * y + z``, rounded once."""
    fma = context.declare(f"llvm.fma.v{x.type.count}{dtype}", x.type, [x.type] * 3)
    return context.builder.call(fma, [x, y, z])


def add_up(context: KernelContext, dtype: str, vector: ir.Value) -> ir.Value:
    """Return the sum of a vector's elements, in an order that suits the machine."""
    if vector.type.count == 1:
        return context.builder.extract_element(vector, ir.Constant(I32, 0))
    element = vector.type.element
    function = context.declare(f"llvm.vector.reduce.fadd.v{vector.type.count}{dtype}", element, [element, vector.type])
    return context.builder.call(function, [ir.Constant(element, -0.0), vector], fastmath=("reassoc",))


def load_piece(context: KernelContext, dtype: str, pointer: ir.Value, piece: Piece) -> ir.Value:
    """Return the elements of a piece whose first is at ``pointer``, and zeros for those that are not there."""
    type_ = vector_type(dtype, piece.lanes)
    if piece.used == piece.lanes:
        return context.builder.load(pointer, typ=type_, align=item_size(dtype))
    mask, align = _mask(piece), ir.Constant(I32, item_size(dtype))
    name = f"llvm.masked.load.v{piece.lanes}{dtype}.p0"
    function = context.declare(name, type_, [pointer.type, I32, mask.type, type_])
    return context.builder.call(function, [pointer, align, mask, zeros(type_)])


def store_piece(context: KernelContext, dtype: str, value: ir.Value, pointer: ir.Value, piece: Piece) -> None:
    """Store the elements of a piece that are there, the first to ``pointer``."""
    if piece.used == piece.lanes:
        context.builder.store(value, pointer, align=item_size(dtype))
        return
    mask, align = _mask(piece), ir.Constant(I32, item_size(dtype))
    name = f"llvm.masked.store.v{piece.lanes}{dtype}.p0"
    function = context.declare(name, VOID, [value.type, pointer.type, I32, mask.type])
    context.builder.call(function, [value, pointer, align, mask])


def load_some(context: KernelContext, dtype: str, pointer: ir.Value, lanes: int, count: ir.Value) -> ir.Value:
    """Return the first ``count`` elements of a vector, and zeros for the others; ``count`` may be any number."""
    type_, mask, align = vector_type(dtype, lanes), _first(context, lanes, count), ir.Constant(I32, item_size(dtype))
    name = f"llvm.masked.load.v{lanes}{dtype}.p0"
    function = context.declare(name, type_, [pointer.type, I32, mask.type, type_])
    return context.builder.call(function, [pointer, align, mask, zeros(type_)])


def store_some(context: KernelContext, dtype: str, value: ir.Value, pointer: ir.Value, count: ir.Value) -> None:
    """Store the first ``count`` elements of a vector; ``count`` may be any number."""
    lanes = value.type.count
    mask, align = _first(context, lanes, count), ir.Constant(I32, item_size(dtype))
    name = f"llvm.masked.store.v{lanes}{dtype}.p0"
    function = context.declare(name, VOID, [value.type, pointer.type, I32, mask.type])
    context.builder.call(function, [value, pointer, align, mask])


def _first(context: KernelContext, lanes: int, count: ir.Value) -> ir.Value:
    """Return the mask of the lanes before ``count``."""
    numbers = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return context.builder.icmp_signed("<", numbers, splat(context.builder, count, numbers.type))


def _mask(piece: Piece) -> ir.Value:
    lanes = [ir.Constant(I1, int(lane < piece.used)) for lane in range(piece.lanes)]
    return ir.Constant(ir.VectorType(I1, piece.lanes), lanes)


@dataclass(frozen=True)
class VectorLoop:
    """``for (index = first; index + lanes <= count; index += lanes)`` with vectors carried from turn to turn."""

    index: ir.PhiInstr
    carried: list[ir.PhiInstr]
    head: ir.Block
    after: ir.Block
    lanes: int

    @staticmethod
    def begin(
        context: KernelContext, span: tuple[ir.Value, ir.Value], carried: list[ir.Value], lanes: int
    ) -> VectorLoop:
        """Emit the loop's head; what is emitted next is its body."""
        builder, (first, count) = context.builder, span
        before = builder.block
        head, body, after = (context.function.append_basic_block(name) for name in ("vectors", "vector", "vectored"))
        builder.branch(head)
        builder.position_at_end(head)
        loop = VectorLoop(builder.phi(I64), [builder.phi(value.type) for value in carried], head, after, lanes)
        loop.index.add_incoming(first, before)
        for phi, value in zip(loop.carried, carried, strict=True):
            phi.add_incoming(value, before)
        end = builder.sub(count, ir.Constant(I64, lanes))
        builder.cbranch(builder.icmp_signed("<=", loop.index, end), body, after)
        builder.position_at_end(body)
        return loop

    def end(self, builder: ir.IRBuilder, following: list[ir.Value]) -> None:
        """Emit the way back to the head; what is emitted next comes after the loop."""
        self.index.add_incoming(builder.add(self.index, ir.Constant(I64, self.lanes), flags=("nsw",)), builder.block)
        for phi, value in zip(self.carried, following, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(self.head)
        builder.position_at_end(self.after)


def load_vector(builder: ir.IRBuilder, dtype: str, elements: ir.Value, index: ir.Value, lanes: int) -> ir.Value:
    """Emit a load of ``lanes`` consecutive elements."""
    pointer = builder.gep(elements, [index], inbounds=True, source_etype=memory_type(dtype))
    return builder.load(pointer, typ=ir.VectorType(memory_type(dtype), lanes), align=item_size(dtype))
