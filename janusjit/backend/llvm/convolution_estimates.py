"""How long convolutions are expected to take, by each of the ways there are to compute them.

Owns `tiles_nanoseconds`, `sums_nanoseconds` and `laid_out_nanoseconds`. Invariant: estimates follow from sizes, element
type and the calibration alone.
"""

from __future__ import annotations

import math

from janusjit.backend import calibration
from janusjit.backend.llvm.convolution_panels import Panel
from janusjit.backend.llvm.gemm_estimates import Product, product_nanoseconds, quickest
from janusjit.backend.llvm.gemm_tiling import Machine, Tiling
from janusjit.backend.llvm.values import item_size

#: filling a byte of a panel, in transfers of one within a core's own cache
_FILLING = 2.0
#: kernels of so many bytes stay in the first-level cache from tile to tile
_NEAREST_BYTES = 32 << 10
#: adding the vector of a sum to the one before, in cycles of a tile
_SUM_CYCLES = 4.0
#: laying out a byte of windows, in transfers of one: it is written, and images are read
_LAYING_OUT = 2.0
#: copying a byte of a result to its place, in transfers of one, or adding it up there
COPYING = 2.0
#: how the ways to compute a product are called where one has been chosen
_WAYS = {"library": "BLAS", "packed": "packed tiles", "tiles": "register tiles"}


def tiles_nanoseconds(panel: Panel, tiling: Tiling, batch: int, channels: int, out_channels: int) -> float:
    """Return what a convolution by implicit windows is expected to take one thread."""
    machine, size = calibration.current(), item_size(panel.dtype)
    steps = channels * math.prod(panel.geometry.kernel)
    blocks = -(-batch // panel.images) * -(-panel.geometry.output[0] // panel.rows)
    computing = tiling.cycles * blocks * steps * machine.cycle
    filling = panel.elements * blocks * -(-channels // panel.channels) * size * _FILLING * machine.near
    kernels = out_channels * steps * size
    reading = 0.0
    if kernels > _NEAREST_BYTES:
        reading = kernels * blocks * tiling.column_tiles * machine.transfer(kernels)
    copying = 0.0
    if panel.images > 1:
        copying = out_channels * batch * panel.geometry.places * size * COPYING * machine.near
    return computing + filling + reading + copying


def sums_nanoseconds(panel: Panel, tile: tuple[int, int], batch: int, channels: int, out_channels: int) -> float:
    """Return what the sums over implicit windows are expected to take one thread, in tiles of rows and planes."""
    machine, size = calibration.current(), item_size(panel.dtype)
    (rows, planes), height = tile, panel.geometry.kernel[0]
    columns = planes * height
    step = max(rows * columns / 2, 4.0, 0.75 * rows + columns) + 0.5
    blocks = -(-batch // panel.images) * -(-panel.geometry.output[0] // panel.rows)
    parts = -(-channels // panel.channels)
    tiles = parts * -(-out_channels // rows) * -(-panel.planes // planes)
    vectors = -(-panel.places // Machine.host().lanes(panel.dtype))
    computing = blocks * tiles * (vectors * step + rows * columns * _SUM_CYCLES) * machine.cycle
    filling = panel.elements * blocks * parts * size * _FILLING * machine.near
    return computing + filling


def laid_out_nanoseconds(
    rows: int, columns: int, depth: int, dtype: str, windows: int, *, turned: bool = False
) -> float:
    """Return what laying out windows of so many elements, and the product with them, is expected to take.

    Parameters
    ----------
    rows, columns, depth : int
        The sizes of the product.
    dtype : str
        The element type.
    windows : int
        How many elements all windows have.
    turned : bool
        Whether the columns of the product are the rows of the windows.
    """
    machine, size = calibration.current(), item_size(dtype)
    way = quickest(Product(rows, columns, depth, dtype, by_columns=turned))
    moved, result = windows * size, rows * columns * size
    moving = moved * _LAYING_OUT * machine.transfer(moved) + result * COPYING * machine.transfer(result)
    return product_nanoseconds(_WAYS[way], rows, columns, depth, dtype) + moving
