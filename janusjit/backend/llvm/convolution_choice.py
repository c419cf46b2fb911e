"""How convolutions of known sizes are cut into blocks and register tiles.

Owns `ForwardPlan`, `KernelPlan` and what chooses them. Invariant: a choice depends on sizes, element type and machine
alone; None means that windows are laid out in memory, and a matrix product does the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from janusjit.backend.llvm.convolution_panels import Geometry, Panel
from janusjit.backend.llvm.gemm_tiling import Machine, Tiling, choose
from janusjit.backend.llvm.values import Extent, item_size

#: a panel has so many bytes at most, where its rows permit: it stays in the second-level cache with the operands
PANEL_BYTES = 256 * 1024
#: products that are added in registers, at most and where a panel would be too large at least
MOST_STEPS, LEAST_STEPS = 256, 96
#: rows and columns of a kernel are unrolled
MOST_ROWS, MOST_COLUMNS, MOST_ROWS_OF_SUMS = 11, 11, 7
#: windows that there are in all at least
LEAST_PLACES = 64
#: images that are done together at most
_IMAGES = 8
#: vectors of sums are kept in memory, between blocks of so many vectors, up to so many bytes
_SUM_VECTORS, _SUM_BYTES = 64, 1 << 20
#: what it takes to begin and to add up the vector of a sum, to lay out a vector of windows or of a row of what they are
#: multiplied by, and to call what does, in cycles
_SUM_CYCLES, _WINDOW_CYCLES, _ROW_CYCLES, _CALL_CYCLES = 15.0, 3.0, 2.0, 600.0
#: what storing a vector of a result takes where images are together, in cycles
_COPY_CYCLES = 3.0


@dataclass(frozen=True)
class ForwardPlan:
    """A convolution in register tiles: rows are output channels, columns the windows of a block."""

    panel: Panel
    tiling: Tiling

    @property
    def cycles(self) -> float:
        """The estimate for one image, its windows and all channels but for the steps of the sum."""
        height = self.panel.geometry.output[0]
        return self.tiling.cycles * -(-height // self.panel.rows) / self.panel.images

    def __str__(self) -> str:
        images = "" if self.panel.images == 1 else f", {self.panel.images} images at a time"
        return f"implicit windows in {self.tiling}{images}"


def is_possible(geometry: Geometry | None, sizes: tuple[Extent, ...], batch: Extent) -> bool:
    """Return whether kernels may be made for some sizes; those of the batch need not be known."""
    if geometry is None or not all(isinstance(size, int) and size > 0 for size in sizes):
        return False
    extents = (*geometry.output, *geometry.size)
    if min(extents) < 1 or geometry.kernel[0] > MOST_ROWS or geometry.kernel[1] > MOST_COLUMNS:
        return False
    return geometry.places * (batch if isinstance(batch, int) else 1) >= LEAST_PLACES


def choose_forward(geometry: Geometry, dtype: str, batch: Extent, channels: int, out_channels: int) -> ForwardPlan:
    """Return how a convolution is cut."""
    machine = Machine.host()
    steps = channels * math.prod(geometry.kernel)
    lanes = machine.lanes(dtype)

    def plan(images: int) -> ForwardPlan:
        panel = _fitting(Panel(dtype, geometry, images, geometry.output[0], _channels(geometry, channels)))
        return ForwardPlan(panel, choose(out_channels, panel.places, dtype, machine, MOST_STEPS))

    def cycles(found: ForwardPlan) -> float:
        copying = 0.0 if found.panel.images == 1 else _COPY_CYCLES * out_channels * geometry.places / lanes
        return found.cycles * steps + copying

    most = min(batch, _IMAGES) if isinstance(batch, int) else 1
    return min(map(plan, range(1, most + 1)), key=cycles)


def _channels(geometry: Geometry, channels: int) -> int:
    """Return how many channels are added up in registers: parts as equal as can be."""
    most = max(1, MOST_STEPS // math.prod(geometry.kernel))
    return -(-channels // -(-channels // most))


def _fitting(panel: Panel) -> Panel:
    """Return the layout with fewer channels, then with fewer rows, where it would be too large."""
    size = item_size(panel.dtype)
    while panel.elements * size > PANEL_BYTES:
        if panel.channels * math.prod(panel.geometry.kernel) > LEAST_STEPS and panel.channels > 1:
            panel = replace(panel, channels=-(-panel.channels // 2))
        elif panel.rows > 1:
            panel = replace(panel, rows=-(-panel.rows // 2))
        else:
            return panel
    return panel


@dataclass(frozen=True)
class KernelPlan:
    """Sums over windows in tiles of inner products: ``rows`` output channels, and ``planes`` with all their rows."""

    panel: Panel
    rows: int
    planes: int

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.planes * self.panel.geometry.kernel[0]

    def __str__(self) -> str:
        return f"implicit windows in inner products in tiles {self.rows}×{self.columns}"


def choose_by_kernel(
    geometry: Geometry, dtype: str, batch: Extent, channels: int, out_channels: int
) -> KernelPlan | None:
    """Return how the sums over windows are cut."""
    machine = Machine.host()
    sums = out_channels * channels * math.prod(geometry.kernel) * machine.vector_bytes
    if geometry.kernel[0] > MOST_ROWS_OF_SUMS or sums > _SUM_BYTES:
        return None
    if isinstance(batch, int):
        vectors = batch * geometry.places / machine.lanes(dtype)
        elements = channels * math.prod(geometry.kernel)
        laying_out = (_WINDOW_CYCLES * elements + _ROW_CYCLES * out_channels) * vectors + _CALL_CYCLES
        if _SUM_CYCLES * out_channels * elements > laying_out:
            return None
    wanted = _SUM_VECTORS * machine.lanes(dtype)
    images = min(batch, max(1, round(wanted / geometry.places))) if isinstance(batch, int) else 1
    rows = geometry.output[0]
    if geometry.places > 2 * wanted:
        rows = -(-rows // -(-geometry.places // wanted))
    panel = Panel(dtype, geometry, images, rows, channels)
    while panel.elements * item_size(dtype) > PANEL_BYTES and panel.channels > 1:
        panel = replace(panel, channels=-(-panel.channels // 2))
    height, planes = _sum_tile(out_channels, panel.planes, geometry.kernel[0], machine)
    return KernelPlan(panel, height, planes)


def _sum_tile(rows: int, planes: int, height: int, machine: Machine) -> tuple[int, int]:
    """Return the rows and planes of the tiles that take the fewest cycles."""

    def cycles(shape: tuple[int, int]) -> float:
        tile, columns = shape[0], shape[1] * height
        loads = 0.75 * tile + columns  # of vectors that two lines of the cache share, most of them
        step = max(tile * columns / 2, 4.0, loads) + 0.5
        return -(-rows // tile) * -(-planes // shape[1]) * step

    room = machine.registers - 2
    shapes = [(h, p) for h in range(1, min(rows, 8) + 1) for p in range(1, min(planes, 8) + 1)]
    fitting = [(h, p) for h, p in shapes if (h + 1) * p * height <= room]
    return min(fitting or [(1, 1)], key=cycles)
