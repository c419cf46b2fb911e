"""How convolutions of known sizes are cut into blocks and register tiles.

Owns `ForwardPlan`, `KernelPlan`, what chooses them, and what convolutions are expected to take. Invariant: a choice
depends on sizes, element type, machine and calibration alone; None means that windows are laid out in memory, and a
matrix product does the rest: where that is expected to be quicker, if the machine has been measured.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from janusjit.backend import calibration
from janusjit.backend.llvm.convolution_estimates import (
    COPYING,
    laid_out_nanoseconds,
    sums_nanoseconds,
    tiles_nanoseconds,
)
from janusjit.backend.llvm.convolution_panels import Geometry, Panel
from janusjit.backend.llvm.gemm_estimates import product_nanoseconds
from janusjit.backend.llvm.gemm_tiling import Machine, Tiling, choose
from janusjit.backend.llvm.values import Extent, item_size

#: a panel has so many bytes at most, where its rows permit: it stays in the second-level cache with the operands
PANEL_BYTES = 256 * 1024
#: products that are added in registers, at most and where a panel would be too large at least
MOST_STEPS, LEAST_STEPS = 256, 96
#: rows and columns of a kernel are unrolled; more rows of one of one column
MOST_ROWS, MOST_COLUMNS, MOST_ROWS_OF_SUMS, MOST_ROWS_ALONE = 11, 11, 7, 64
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
#: how much quicker laying windows out has to seem: what it does to the caches of others is not known
_DOUBT = 1.2


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

    def nanoseconds(self, batch: int, channels: int, out_channels: int) -> float:
        """Return what it is expected to take one thread."""
        return tiles_nanoseconds(self.panel, self.tiling, batch, channels, out_channels)

    def __str__(self) -> str:
        images = "" if self.panel.images == 1 else f", {self.panel.images} images at a time"
        return f"implicit windows in {self.tiling}{images}"


def is_possible(geometry: Geometry | None, sizes: tuple[Extent, ...], batch: Extent) -> bool:
    """Return whether kernels may be made for some sizes; those of the batch need not be known."""
    if geometry is None or not all(isinstance(size, int) and size > 0 for size in sizes):
        return False
    extents = (*geometry.output, *geometry.size)
    most = MOST_ROWS_ALONE if geometry.kernel[1] == 1 else MOST_ROWS
    if min(extents) < 1 or geometry.kernel[0] > most or geometry.kernel[1] > MOST_COLUMNS:
        return False
    return geometry.places * (batch if isinstance(batch, int) else 1) >= LEAST_PLACES


def choose_forward(
    geometry: Geometry, dtype: str, batch: Extent, channels: int, out_channels: int
) -> ForwardPlan | None:
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
    found = min(map(plan, range(1, most + 1)), key=cycles)
    if isinstance(batch, int) and calibration.current().origin != calibration.BUILT_IN:
        places = batch * geometry.places
        laying_out = laid_out_nanoseconds(out_channels, places, steps, dtype, steps * places)
        if laying_out * _DOUBT < found.nanoseconds(batch, channels, out_channels):
            return None
    return found


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

    def nanoseconds(self, batch: int, channels: int, out_channels: int) -> float:
        """Return what it is expected to take one thread."""
        return sums_nanoseconds(self.panel, (self.rows, self.planes), batch, channels, out_channels)

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
    wanted = _SUM_VECTORS * machine.lanes(dtype)
    images = min(batch, max(1, round(wanted / geometry.places))) if isinstance(batch, int) else 1
    rows = geometry.output[0]
    if geometry.places > 2 * wanted:
        rows = -(-rows // -(-geometry.places // wanted))
    panel = Panel(dtype, geometry, images, rows, channels)
    while panel.elements * item_size(dtype) > PANEL_BYTES and panel.channels > 1:
        panel = replace(panel, channels=-(-panel.channels // 2))
    height, planes = _sum_tile(out_channels, panel.planes, geometry.kernel[0], machine)
    found = KernelPlan(panel, height, planes)
    is_slower = isinstance(batch, int) and _is_slower(found, batch, channels, out_channels)
    return None if is_slower else found


def _is_slower(plan: KernelPlan, batch: int, channels: int, out_channels: int) -> bool:
    """Return whether sums over windows are expected to take longer than a product with windows that are laid out."""
    geometry, dtype = plan.panel.geometry, plan.panel.dtype
    elements, places = channels * math.prod(geometry.kernel), batch * geometry.places
    if calibration.current().origin != calibration.BUILT_IN:
        laying_out = laid_out_nanoseconds(out_channels, elements, places, dtype, elements * places, turned=True)
        return laying_out * _DOUBT < plan.nanoseconds(batch, channels, out_channels)
    vectors = places / Machine.host().lanes(dtype)
    cycles = (_WINDOW_CYCLES * elements + _ROW_CYCLES * out_channels) * vectors + _CALL_CYCLES
    return _SUM_CYCLES * out_channels * elements > cycles


def convolution_nanoseconds(
    op: str, geometry: Geometry, sizes: tuple[int, int, int], dtype: str, how: str
) -> float | None:
    """Return what a convolution, or one of its gradients, is expected to take.

    Parameters
    ----------
    op : str
        The operation.
    geometry : Geometry
        Its sizes.
    sizes : tuple of int
        Images, channels and output channels.
    dtype : str
        The element type.
    how : str
        How it is computed, in words.
    """
    batch, channels, out_channels = sizes
    elements, places = channels * math.prod(geometry.kernel), batch * geometry.places
    plan: ForwardPlan | KernelPlan | None = None
    if how.startswith("implicit"):
        chosen = choose_forward if op == "convolution" else choose_by_kernel
        plan = chosen(geometry, dtype, batch, channels, out_channels)
    if plan is not None:
        alone = plan.nanoseconds(batch, channels, out_channels)
    elif op == "convolution_by_kernel":
        alone = laid_out_nanoseconds(out_channels, elements, places, dtype, elements * places, turned=True)
    elif op == "convolution":
        alone = laid_out_nanoseconds(out_channels, places, elements, dtype, elements * places)
    else:  # products of some images stay in the cache until they are added up
        adding = elements * places * item_size(dtype) * COPYING * calibration.current().near
        alone = product_nanoseconds(how, elements, places, out_channels, dtype) + adding
    return alone / int(words[1]) if (words := re.search(r"on up to (\d+)", how)) else alone


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
