"""``fold`` of windows over two axes, one step apart, row by row of the result.

Owns `emit_fold_by_rows`. A row is summed in registers, where the windows' rows are loaded shifted, with lanes masked
that lie beside them. Invariant: the elements of the kernel are added in their order, to zero, as in a loop over them.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces
from janusjit.backend.llvm.indexing import nest
from janusjit.backend.llvm.values import (
    I1,
    I32,
    I64,
    ArrayValue,
    KernelContext,
    element_pointer,
    item_size,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import store_piece, vector_type, zeros
from janusjit.ir.graph import Node

#: a row of the result has so many vectors at most, and a row of the kernel so many elements
_VECTORS, _ELEMENTS = 8, 16


def emit_fold_by_rows(context: KernelContext, node: Node, y: ArrayValue, out: ArrayValue, machine: Machine) -> bool:
    """Emit ``fold`` if sizes are known, rows short and in one piece, and there are masked loads; return whether."""
    kernel, size = node.attributes["kernel"], item_size(y.dtype)
    extents = (*y.dims, *y.strides, *out.dims, *out.strides)
    if len(kernel) != 2 or not machine.has_masks or not all(isinstance(extent, int) for extent in extents):
        return False
    apart = (*node.attributes["stride"], *node.attributes["dilation"])
    if any(step != 1 for step in apart) or y.strides[-1] != size or out.strides[-1] != size or 0 in extents[: y.rank]:
        return False
    width = out.dims[3]
    assert isinstance(width, int)
    if not 0 < width <= _VECTORS * machine.lanes(y.dtype) or kernel[1] > _ELEMENTS:
        return False
    cut = pieces(width, machine.lanes(y.dtype), has_masks=True)
    rows = _Rows(context, y, out, kernel, node.attributes["padding"], cut)
    with nest(context, (y.dims[0], out.dims[0], out.dims[2])) as (channel, image, row):
        rows.emit(channel, image, row)
    return True


@dataclass(frozen=True)
class _Rows:
    """The rows of one result."""

    context: KernelContext
    y: ArrayValue
    out: ArrayValue
    kernel: tuple[int, int]
    padding: tuple[int, int]
    cut: tuple[Piece, ...]

    def emit(self, channel: ir.Value, image: ir.Value, row: ir.Value) -> None:
        """Emit one row: the sum over the rows of the kernel for which a window's row is there."""
        context, dtype = self.context, self.y.dtype
        builder = context.builder
        shifted = builder.add(row, ir.Constant(I64, self.padding[0]))
        height = ir.Constant(I64, self._windows[0] - 1)
        first = _larger(builder, builder.sub(shifted, height), ir.Constant(I64, 0))
        last = _smaller(builder, shifted, ir.Constant(I64, self.kernel[0] - 1))
        before = builder.block
        head, body, after = (context.function.append_basic_block(name) for name in ("fold", "folded", "fold.end"))
        builder.branch(head)
        builder.position_at_end(head)
        place = builder.phi(I64)
        place.add_incoming(first, before)
        sums = [builder.phi(vector_type(dtype, piece.lanes)) for piece in self.cut]
        builder.cbranch(builder.icmp_signed("<=", place, last), body, after)
        builder.position_at_end(body)
        totals = self._added(sums, (channel, place, image, builder.sub(shifted, place)))
        for phi, total in zip(sums, totals, strict=True):
            phi.add_incoming(zeros(phi.type), before)
            phi.add_incoming(total, body)
        place.add_incoming(builder.add(place, ir.Constant(I64, 1)), body)
        builder.branch(head)
        builder.position_at_end(after)
        target = element_pointer(builder, self.out, (image, channel, row, 0))
        for piece, total in zip(self.cut, sums, strict=True):
            store_piece(context, dtype, total, offset_pointer(builder, target, piece.start * self._size), piece)

    @property
    def _size(self) -> int:
        return item_size(self.y.dtype)

    @property
    def _windows(self) -> tuple[int, int]:
        height, width = self.y.dims[4:]
        assert isinstance(height, int) and isinstance(width, int)
        return height, width

    def _added(self, sums: list[ir.PhiInstr], where: tuple[ir.Value, ...]) -> list[ir.Value]:
        """Return the sums with the elements of one row of the kernel added."""
        builder, (channel, place, image, window) = self.context.builder, where
        totals: list[ir.Value] = list(sums)
        for column in range(self.kernel[1]):
            index = (channel, place, ir.Constant(I64, column), image, window, 0)
            start = element_pointer(builder, self.y, index)
            for number, piece in enumerate(self.cut):
                shift = piece.start + self.padding[1] - column  # the window of the piece's first lane
                lanes = [0 <= shift + lane < self._windows[1] and lane < piece.used for lane in range(piece.lanes)]
                if any(lanes):
                    vector = self._masked(offset_pointer(builder, start, shift * self._size), lanes)
                    totals[number] = builder.fadd(totals[number], vector)
        return totals

    def _masked(self, pointer: ir.Value, lanes: list[bool]) -> ir.Value:
        """Return the elements from ``pointer`` on, and zeros in the other lanes, which are not read."""
        context, type_ = self.context, vector_type(self.y.dtype, len(lanes))
        if all(lanes):
            return context.builder.load(pointer, typ=type_, align=self._size)
        mask = ir.Constant(ir.VectorType(I1, len(lanes)), [ir.Constant(I1, int(lane)) for lane in lanes])
        name = f"llvm.masked.load.v{len(lanes)}{self.y.dtype}.p0"
        function = context.declare(name, type_, [pointer.type, I32, mask.type, type_])
        return context.builder.call(function, [pointer, ir.Constant(I32, self._size), mask, zeros(type_)])


def _larger(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed(">", one, other), one, other)


def _smaller(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed("<", one, other), one, other)
