"""``unfold`` and ``fold`` of windows over two axes, one step apart, row by row.

Owns `emit_unfold_by_rows` and `emit_fold_by_rows`. Rows are loaded shifted, in vectors whose lanes beside the row are
masked and zero. Invariant: in sums, the elements of the kernel are added in their order, to zero, as in a loop over
them.
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

#: a row that is stored has so many vectors at most, and a row of the kernel so many elements
_VECTORS, _ELEMENTS = 8, 16


def emit_unfold_by_rows(context: KernelContext, node: Node, x: ArrayValue, out: ArrayValue, machine: Machine) -> bool:
    """Emit ``unfold`` if sizes are known, rows short and in one piece, and there are masked loads; return whether."""
    cut = _pieces(node, x, out, machine)
    if cut is None:
        return False
    kernel, padding, size = node.attributes["kernel"], node.attributes["padding"], item_size(x.dtype)
    height, width = x.dims[2:]
    assert isinstance(height, int) and isinstance(width, int)
    with nest(context, (x.dims[1], kernel[0])) as (channel, place):
        for column in range(kernel[1]):
            with nest(context, (x.dims[0], out.dims[4])) as (image, window):
                builder = context.builder
                row = builder.sub(builder.add(window, place), ir.Constant(I64, padding[0]))
                inside = builder.icmp_unsigned("<", row, ir.Constant(I64, height))
                there = builder.select(inside, row, ir.Constant(I64, 0))
                source = element_pointer(builder, x, (image, channel, there, 0))
                target = element_pointer(builder, out, (channel, place, ir.Constant(I64, column), image, window, 0))
                for piece in cut:
                    shift = piece.start + column - padding[1]
                    vector = shifted(context, x.dtype, (source, shift), piece, width)
                    vector = builder.select(inside, vector, zeros(vector.type))
                    store_piece(context, x.dtype, vector, offset_pointer(builder, target, piece.start * size), piece)
    return True


def emit_fold_by_rows(context: KernelContext, node: Node, y: ArrayValue, out: ArrayValue, machine: Machine) -> bool:
    """Emit ``fold`` if sizes are known, rows short and in one piece, and there are masked loads; return whether."""
    cut = _pieces(node, y, out, machine)
    if cut is None:
        return False
    rows = _Rows(context, y, out, node.attributes["kernel"], node.attributes["padding"], cut)
    with nest(context, (y.dims[0], out.dims[0], out.dims[2])) as (channel, image, row):
        rows.emit(channel, image, row)
    return True


def _pieces(node: Node, source: ArrayValue, out: ArrayValue, machine: Machine) -> tuple[Piece, ...] | None:
    """Return the vectors of a row of the result; None if it is not to be computed row by row."""
    kernel, size = node.attributes["kernel"], item_size(out.dtype)
    extents = (*source.dims, *source.strides, *out.dims, *out.strides)
    if len(kernel) != 2 or not machine.has_masks or not all(isinstance(extent, int) for extent in extents):
        return None
    apart = any(step != 1 for step in (*node.attributes["stride"], *node.attributes["dilation"]))
    if apart or source.strides[-1] != size or out.strides[-1] != size or 0 in (*source.dims, *out.dims):
        return None
    width, lanes = out.dims[-1], machine.lanes(out.dtype)
    assert isinstance(width, int)
    return pieces(width, lanes, has_masks=True) if width <= _VECTORS * lanes and kernel[1] <= _ELEMENTS else None


def shifted(
    context: KernelContext, dtype: str, source: tuple[ir.Value, int], piece: Piece, width: int
) -> ir.Value:
    """Return the elements of a row of ``width`` from one on; zeros where they lie beside it or not in the piece."""
    (pointer, shift), size = source, item_size(dtype)
    lanes = [0 <= shift + lane < width and lane < piece.used for lane in range(piece.lanes)]
    type_ = vector_type(dtype, piece.lanes)
    pointer = offset_pointer(context.builder, pointer, shift * size)
    if all(lanes):
        return context.builder.load(pointer, typ=type_, align=size)
    if not any(lanes):
        return zeros(type_)
    mask = ir.Constant(ir.VectorType(I1, len(lanes)), [ir.Constant(I1, int(lane)) for lane in lanes])
    function = context.declare(
        f"llvm.masked.load.v{len(lanes)}{dtype}.p0", type_, [pointer.type, I32, mask.type, type_]
    )
    return context.builder.call(function, [pointer, ir.Constant(I32, size), mask, zeros(type_)])


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
        padded = builder.add(row, ir.Constant(I64, self.padding[0]))
        height = ir.Constant(I64, self._windows[0] - 1)
        first = _larger(builder, builder.sub(padded, height), ir.Constant(I64, 0))
        last = _smaller(builder, padded, ir.Constant(I64, self.kernel[0] - 1))
        before = builder.block
        head, body, after = (context.function.append_basic_block(name) for name in ("fold", "folded", "fold.end"))
        builder.branch(head)
        builder.position_at_end(head)
        place = builder.phi(I64)
        place.add_incoming(first, before)
        sums = [builder.phi(vector_type(dtype, piece.lanes)) for piece in self.cut]
        builder.cbranch(builder.icmp_signed("<=", place, last), body, after)
        builder.position_at_end(body)
        totals = self._added(sums, (channel, place, image, builder.sub(padded, place)))
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
                vector = shifted(self.context, self.y.dtype, (start, shift), piece, self._windows[1])
                totals[number] = builder.fadd(totals[number], vector)
        return totals


def _larger(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed(">", one, other), one, other)


def _smaller(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed("<", one, other), one, other)
