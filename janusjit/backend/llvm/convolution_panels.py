"""Images and kernels laid out for implicit products.

Owns `Panel`, which says how a part of some images lies in memory so that their windows need not, and what fills it. For
each channel and column of the kernel there is a *plane*: the columns that element of the windows takes, row by row,
with nothing between rows and images. So the windows' elements of one place in the kernel are neighbours, from the
place's own offset on; a row of the kernel is an offset. Rows of a stride greater than one are apart by remainders.
Invariant: what a panel takes is the windows' memory divided by the rows of the kernel, at most; elements beside the
image are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm.gemm_tiling import Machine, Tiling, pieces, tile_start
from janusjit.backend.llvm.indexing import nest
from janusjit.backend.llvm.structured_rows import shifted
from janusjit.backend.llvm.values import (
    I64,
    ArrayValue,
    Extent,
    KernelContext,
    Scalar,
    element_pointer,
    item_size,
    load,
    memory_type,
    offset_pointer,
    store,
)
from janusjit.backend.llvm.vectors import store_piece, zeros

Pair = tuple[int, int]
#: a row of so many vectors is copied without a loop
_VECTORS = 8


@dataclass(frozen=True)
class Geometry:
    """A convolution over two axes of known sizes; one over one axis has a first axis of length 1.

    Attributes
    ----------
    kernel, stride, padding, dilation, size, output : tuple of int
        As for ``unfold``.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair
    output: Pair

    @staticmethod
    def of(attributes: Any, size: tuple[Extent, ...], output: tuple[Extent, ...]) -> Geometry | None:
        """Return that of a node; None where sizes are not known, or axes more than two."""
        if not all(isinstance(extent, int) for extent in (*size, *output)) or len(size) > 2:
            return None
        more = 2 - len(size)
        neutral = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
        extents: Any = {name: (value,) * more + attributes[name] for name, value in neutral.items()}
        ones: Any = (1,) * more
        return Geometry(**extents, size=(*ones, *size), output=(*ones, *output))

    @property
    def places(self) -> int:
        """How many windows an image has."""
        return self.output[0] * self.output[1]


@dataclass(frozen=True)
class Panel:
    """The layout of what ``rows`` rows of windows of ``images`` images need of them, of up to ``channels`` channels."""

    dtype: str
    geometry: Geometry
    images: int
    rows: int
    channels: int

    @property
    def phases(self) -> tuple[int, ...]:
        """The remainders of rows that are apart."""
        (height, _), (stride, _), (step, _) = self.geometry.kernel, self.geometry.stride, self.geometry.dilation
        return tuple(sorted({place * step % stride for place in range(height)}))

    @property
    def depth(self) -> int:
        """Rows of each remainder."""
        (height, _), (stride, _), (step, _) = self.geometry.kernel, self.geometry.stride, self.geometry.dilation
        return self.rows + (height - 1) * step // stride

    @property
    def pitch(self) -> int:
        """Elements of a row of all images."""
        return self.images * self.geometry.output[1]

    @property
    def places(self) -> int:
        """How many windows there are."""
        return self.rows * self.pitch

    @property
    def plane_bytes(self) -> int:
        """Bytes from one plane to the next."""
        return len(self.phases) * self.depth * self.pitch * item_size(self.dtype)

    @property
    def planes(self) -> int:
        """How many planes there are."""
        return self.channels * self.geometry.kernel[1]

    @property
    def elements(self) -> int:
        """How many elements there are in all."""
        return self.planes * self.plane_bytes // item_size(self.dtype)

    def offset(self, place: int) -> int:
        """Return the bytes from a plane's beginning to where a row of the kernel begins."""
        (stride, _), (step, _) = self.geometry.stride, self.geometry.dilation
        row = self.phases.index(place * step % stride) * self.depth + place * step // stride
        return row * self.pitch * item_size(self.dtype)

    def emit(
        self,
        context: KernelContext,
        x: ArrayValue,
        panel: ir.Value,
        start: tuple[ir.Value, ir.Value, ir.Value],
        channels: Extent,
    ) -> None:
        """Emit the filling for windows from an image, a row of windows and a channel on."""
        (image, row, channel), geometry, size = start, self.geometry, item_size(self.dtype)
        (stride, _), (padding, _), (height, _) = geometry.stride, geometry.padding, geometry.size
        for number, phase in enumerate(self.phases):
            with nest(context, (channels, self.images, self.depth)) as (plane, of_block, below):
                builder = context.builder
                source = builder.mul(builder.add(row, below), ir.Constant(I64, stride))
                source = builder.add(source, ir.Constant(I64, phase - padding))
                inside = builder.icmp_unsigned("<", source, ir.Constant(I64, height))
                there = builder.select(inside, source, ir.Constant(I64, 0))
                index = (builder.add(image, of_block), builder.add(channel, plane), there, 0)
                given = element_pointer(builder, x, index)
                strides = (geometry.kernel[1] * self.plane_bytes, geometry.output[1] * size, self.pitch * size)
                target = offset_pointer(builder, panel, number * self.depth * self.pitch * size)
                for value, distance in zip((plane, of_block, below), strides, strict=True):
                    target = offset_pointer(builder, target, builder.mul(value, ir.Constant(I64, distance)))
                self._emit_row(context, x, given, target, inside)

    def _emit_row(
        self, context: KernelContext, x: ArrayValue, source: ir.Value, target: ir.Value, inside: ir.Value
    ) -> None:
        """Emit the columns that each element of a row of the kernel takes of one row of an image."""
        geometry, size, machine = self.geometry, item_size(self.dtype), Machine.host()
        width, lanes = geometry.output[1], machine.lanes(self.dtype)
        in_vectors = geometry.stride[1] == 1 and x.strides[-1] == size and machine.has_masks
        if not in_vectors or width > _VECTORS * lanes:
            context.needs_passes = True
            with context.builder.if_else(inside, likely=True) as (there, beside):
                with there:
                    self._emit_columns(context, x, source, target)
                with beside:
                    for column in range(geometry.kernel[1]):
                        plane = offset_pointer(context.builder, target, column * self.plane_bytes)
                        self._zero(context, plane, 0, width)
            return
        for column in range(geometry.kernel[1]):
            for piece in pieces(width, lanes, machine.has_masks):
                shift = piece.start + column * geometry.dilation[1] - geometry.padding[1]
                vector = shifted(context, self.dtype, (source, shift), piece, geometry.size[1])
                vector = context.builder.select(inside, vector, zeros(vector.type))
                place = offset_pointer(context.builder, target, column * self.plane_bytes + piece.start * size)
                store_piece(context, self.dtype, vector, place, piece)

    def _emit_columns(self, context: KernelContext, x: ArrayValue, source: ir.Value, target: ir.Value) -> None:
        geometry, size = self.geometry, item_size(self.dtype)
        (_, stride), (_, padding), (_, step) = geometry.stride, geometry.padding, geometry.dilation
        distance = x.strides[-1]
        for column in range(geometry.kernel[1]):
            shift = column * step - padding
            first = min(max(0, -(shift // stride)), geometry.output[1])
            end = min(max((geometry.size[1] - 1 - shift) // stride + 1, first), geometry.output[1])
            plane = offset_pointer(context.builder, target, column * self.plane_bytes)
            self._zero(context, plane, 0, first)
            self._zero(context, plane, end, geometry.output[1])
            with context.loop(end - first) as index:
                builder = context.builder
                place = builder.add(index, ir.Constant(I64, first))
                taken = builder.add(builder.mul(place, ir.Constant(I64, stride)), ir.Constant(I64, shift))
                taken = builder.mul(taken, distance if not isinstance(distance, int) else ir.Constant(I64, distance))
                element = load(builder, self.dtype, offset_pointer(builder, source, taken))
                place = builder.mul(place, ir.Constant(I64, size))
                store(builder, element, offset_pointer(builder, plane, place))

    def _zero(self, context: KernelContext, row: ir.Value, first: int, end: int) -> None:
        zero, size = Scalar(self.dtype, ir.Constant(memory_type(self.dtype), 0)), item_size(self.dtype)
        with context.loop(end - first) as index:
            place = context.builder.add(index, ir.Constant(I64, first))
            place = context.builder.mul(place, ir.Constant(I64, size))
            store(context.builder, zero, offset_pointer(context.builder, row, place))


def emit_kernel_panel(context: KernelContext, w: ArrayValue, tiling: Tiling) -> ArrayValue:
    """Emit a copy of the kernels for tiles of their rows: ``(tiles, channels, columns, rows, rows of a tile)``."""
    out_channels, channels, height, width = w.dims
    assert isinstance(out_channels, int)
    panel = context.scratch(w.dtype, (tiling.row_tiles, channels, width, height, tiling.rows))
    with nest(context, panel.dims) as (tile, channel, column, row, number):
        builder = context.builder
        of_tile = builder.add(tile_start(builder, tile, tiling.rows, out_channels), number)
        element = load(builder, w.dtype, element_pointer(builder, w, (of_tile, channel, row, column)))
        store(builder, element, element_pointer(builder, panel, (tile, channel, column, row, number)))
    return panel
