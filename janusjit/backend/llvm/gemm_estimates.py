"""How long a matrix product is expected to take, by each of the ways there are to compute it.

Owns `Product`, `quickest` and `product_nanoseconds`. Invariant: estimates follow from sizes, strides, element type and
the calibration alone; where the library has not been measured, the choice is `gemm_tiling.is_worth_it`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from janusjit.backend import calibration
from janusjit.backend.llvm.divided_work import threads_for
from janusjit.backend.llvm.gemm_dots import column_tiles
from janusjit.backend.llvm.gemm_packed import DEPTH, LEAST, ROWS_OF_THREAD, column_blocks
from janusjit.backend.llvm.gemm_packed_tile import Shape
from janusjit.backend.llvm.gemm_tiling import (
    Machine,
    choose,
    is_worth_it,
    library_threads,
)
from janusjit.backend.llvm.values import item_size

#: how many times a byte of a right operand stored by columns is moved until it has been copied by rows
_COPIES = 4
#: what it takes to add up the vector of an element in tiles of inner products, in cycles of a tile
_SUM_CYCLES = 10.0
#: what multiplying a vector of a column with one of a row takes, in cycles of a tile
_DOT_CYCLES = 2.0
#: what a step of a plain loop over products takes, in cycles of a tile
_LOOP_CYCLES = 2.0
#: what a packed tile takes besides its steps, in cycles; packing a byte, in transfers of one; a call, in nanoseconds
_TILE_CYCLES, _PACKED, _ROUTINE = 60.0, 2.0, 300.0
#: how much slower packed tiles are where blocks of the operands push each other out of the caches
_FAR_PANELS = 1.08
#: storing a byte of the result, in transfers of one, as libraries do
_STORING = 2.0
#: reading a right operand that is in no core's cache, a part of each row at a time, instead of in order
_PARTS_OF_ROWS = 2.0
#: a right operand of so many bytes leaves too little of a core's own cache to the others
_NEAR_BYTES = calibration.NEAR_BYTES * 3 // 4
#: what stays in the first-level cache from tile to tile; parts of rows that are read as quickly as rows
_NEAREST_BYTES, _LONG_PART = 32 << 10, 512
#: how much slower tiles are where each step finds the left operand on another page
_PAGE, _PAGE_MISSES = 4096, 2.0
#: how much quicker a library has to seem: its times for shapes that were not measured are guesses
_DOUBT, _DOUBT_TURNED = 1.1, 1.4
#: for less than so many nanoseconds of packing and multiplying, threads do too little between waiting for each other
LEAST_DIVIDED = 40_000.0
#: what threads take more than their share
_DIVIDED = 1.1


@dataclass(frozen=True)
class Product:
    """A product that is to be computed.

    Attributes
    ----------
    rows, columns, depth : int
        Its sizes.
    dtype : {"f32", "f64"}
        The element type.
    by_columns : bool
        Whether the right operand is stored by columns, and has to be copied for tiles.
    in_dots : bool
        Whether tiles are to be tiles of inner products.
    row_by_row : bool
        Whether there are to be inner products of each row instead of tiles.
    left_pitch : int
        How far neighbours in a row of the left operand lie apart, in bytes.
    """

    rows: int
    columns: int
    depth: int
    dtype: str
    by_columns: bool = False
    in_dots: bool = False
    row_by_row: bool = False
    left_pitch: int = 8

    @property
    def sizes(self) -> tuple[int, int, int, str]:
        """The sizes and the element type."""
        return self.rows, self.columns, self.depth, self.dtype

    @property
    def right_bytes(self) -> int:
        """Bytes of the right operand."""
        return self.columns * self.depth * item_size(self.dtype)

    @property
    def storing(self) -> float:
        """What it takes to store the result, which is little beside a long sum."""
        written = self.rows * self.columns * item_size(self.dtype)
        return written * calibration.current().transfer(written)


def quickest(product: Product, threads: int = 1) -> str:
    """Return the way that is expected to compute a product in the shortest time.

    Parameters
    ----------
    product : Product
        The product.
    threads : int
        How many threads our own kernels may use.

    Returns
    -------
    {"tiles", "packed", "library"}
    """
    machine = calibration.current()
    may_pack = min(product.rows, product.columns, product.depth) > 1 and Machine.host().vector_bytes == 64
    if not machine.library or product.rows == 1:
        if product.row_by_row or is_worth_it(*product.sizes, product.by_columns, library_threads()):
            return "tiles"
        return "packed" if may_pack and min(product.sizes[:3]) >= LEAST and library_threads() == 1 else "library"
    doubt = _DOUBT_TURNED if product.by_columns else _DOUBT
    if product.right_bytes >= calibration.FAR_BYTES:
        doubt = 1.0  # libraries are no slower then than for what was measured
    expected = {"tiles": _tiles_on_threads(product, threads), "library": library_nanoseconds(*product.sizes) * doubt}
    if may_pack:
        alone = packed_nanoseconds(*product.sizes, product.by_columns)
        of_use = packed_threads(product.rows, alone, threads)
        expected["packed"] = alone if of_use == 1 else alone / of_use * _DIVIDED
    return min(expected, key=lambda way: expected[way])


def _tiles_on_threads(product: Product, threads: int) -> float:
    """Return what a product in register tiles is expected to take so many threads."""
    alone = tile_nanoseconds(product)
    if product.in_dots:
        return alone
    tiling = choose(product.rows, product.columns, product.dtype, Machine.host(), product.depth, product.by_columns)
    of_use = threads_for(column_tiles(product.columns) if product.row_by_row else tiling.row_tiles, alone, threads)
    return alone if of_use == 1 else alone / of_use * _DIVIDED


def tile_nanoseconds(product: Product) -> float:
    """Return what a product in register tiles is expected to take."""
    machine, right_bytes = calibration.current(), product.right_bytes
    if product.row_by_row:
        vectors = product.columns * product.depth / Machine.host().lanes(product.dtype)
        return product.rows * max(right_bytes * machine.transfer(right_bytes), vectors * _DOT_CYCLES * machine.cycle)
    tiling = choose(product.rows, product.columns, product.dtype, Machine.host(), product.depth, product.by_columns)
    computing = tiling.cycles * product.depth * machine.cycle
    copies = _COPIES if right_bytes > _NEAREST_BYTES else _COPIES / 2
    copying = copies * right_bytes * machine.transfer(right_bytes) if product.by_columns else 0.0
    if product.in_dots:
        copying += product.rows * product.columns * _SUM_CYCLES * machine.cycle
    reading = right_bytes * machine.transfer(right_bytes)
    width = tiling.columns * item_size(product.dtype)
    if right_bytes >= _NEAR_BYTES:
        times = tiling.row_tiles if product.depth * width > _NEAREST_BYTES else 1
        in_parts = times > 1 or (product.depth * width > _NEAREST_BYTES and width < _LONG_PART)
        reading = times * right_bytes * machine.far * (_PARTS_OF_ROWS if in_parts else 1.0)
        computing += reading if in_parts else 0.0
    left_bytes = product.rows * product.depth * item_size(product.dtype)
    if left_bytes >= calibration.NEAR_BYTES:
        computing *= _PAGE_MISSES if product.left_pitch > _PAGE // 2 else 1.0
        computing += (tiling.column_tiles - 1) * left_bytes * machine.far
    return max(computing, reading) + copying + product.storing


def packed_nanoseconds(rows: int, columns: int, depth: int, dtype: str, by_columns: bool = False) -> float:
    """Return what a product by the routine that packs is expected to take one thread."""
    machine, size = calibration.current(), item_size(dtype)
    shape = Shape.of(dtype, Machine.host())
    whole = shape.whole_rows(rows)
    heights = {shape.rows: -(-whole // shape.rows), shape.fewer: -(-(rows - whole) // shape.fewer)}
    full, rest = divmod(columns, shape.columns)
    widths = {shape.vectors: full}
    if rest:
        vectors = -(-rest // shape.lanes)
        widths[vectors] = widths.get(vectors, 0) + 1
    turns = -(-depth // DEPTH)
    cycles = 0.0
    for height, down in heights.items():
        for width, across in widths.items():
            step = max(height * width / 2, (height + width) / 2, 4.0) + 1.0
            cycles += down * across * (step * depth + _TILE_CYCLES * turns)
    right, left = columns * depth * size, rows * depth * size * column_blocks(columns)
    packing = right * machine.transfer(right) if by_columns and right >= calibration.FAR_BYTES else 0.0
    packing += sum(moved * (_PACKED * machine.near + machine.transfer(moved)) for moved in (left, right))
    storing = turns * Product(rows, columns, depth, dtype).storing
    cycles *= _FAR_PANELS if right >= calibration.FAR_BYTES else 1.0
    return cycles * machine.cycle + packing + storing + _ROUTINE


def packed_threads(rows: int, nanoseconds: float, threads: int) -> int:
    """Return how many threads are of use to the routine that packs, for what takes one of them so long."""
    if nanoseconds < max(calibration.current().parallel_nanoseconds, LEAST_DIVIDED):
        return 1
    return max(min(threads, rows // ROWS_OF_THREAD), 1)


def library_nanoseconds(rows: int, columns: int, depth: int, dtype: str) -> float:
    """Return what a product is expected to take the library."""
    machine, size = calibration.current(), item_size(dtype)
    if min(rows, columns) == 1:
        multiplications = rows * columns * depth
        largest = max(rows * depth, depth * columns, rows * columns) * size
        return machine.call + max(largest * machine.transfer(largest), multiplications * size * machine.addition)
    counted = machine.library_nanoseconds(rows, columns, depth, dtype)
    return counted + _STORING * Product(rows, columns, depth, dtype).storing


def product_nanoseconds(how: str, rows: int, columns: int, depth: int, dtype: str) -> float:
    """Return what a product is expected to take.

    Parameters
    ----------
    how : str
        As `emit_matmul` says.
    rows, columns, depth : int
        The sizes of the product.
    dtype : str
        The element type.
    """
    alone = _alone_nanoseconds(how, rows, columns, depth, dtype)
    return alone / int(words[1]) if (words := re.search(r"up to (\d+)", how)) else alone


def _alone_nanoseconds(how: str, rows: int, columns: int, depth: int, dtype: str) -> float:
    """Return what a product is expected to take one thread, or the library's."""
    machine, multiplications = calibration.current(), rows * columns * depth
    if dtype not in ("f32", "f64") or how.startswith("loops"):
        return multiplications * _LOOP_CYCLES * machine.cycle
    size = item_size(dtype)
    largest = max(rows * depth, depth * columns, rows * columns) * size
    reading = largest * machine.transfer(largest)
    if how.startswith("BLAS"):
        return library_nanoseconds(rows, columns, depth, dtype)
    if how.startswith("packed"):
        return packed_nanoseconds(rows, columns, depth, dtype)
    if how.startswith("inner products") or min(rows, columns) == 1:
        return max(reading, multiplications / Machine.host().lanes(dtype) * machine.cycle)
    return tile_nanoseconds(Product(rows, columns, depth, dtype))
