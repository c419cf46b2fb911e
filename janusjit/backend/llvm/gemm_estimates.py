"""How long a matrix product is expected to take, by each of the ways there are to compute it.

Owns `beats_library` and `product_nanoseconds`. Invariant: estimates follow from sizes, element type and the calibration
alone; where the library has not been measured, the choice is `gemm_tiling.is_worth_it`'s.
"""

from __future__ import annotations

from janusjit.backend import calibration
from janusjit.backend.llvm.gemm_tiling import (
    COPIED_BYTES,
    COPIED_ROW_BYTES,
    STREAMED_BYTES,
    Machine,
    choose,
    is_worth_it,
    library_threads,
)
from janusjit.backend.llvm.values import item_size

#: products of up to so many multiplications are not worth a call, whatever was measured
_SMALL = 24**3
#: how many times a byte of a right operand stored by columns is moved until it has been copied by rows
_COPIES = 4
#: what it takes to add up the vector of an element in tiles of inner products, in cycles of a tile
_SUM_CYCLES = 10.0
#: what a step of a plain loop over products takes, in cycles of a tile
_LOOP_CYCLES = 2.0


def beats_library(
    rows: int, columns: int, depth: int, dtype: str, by_columns: bool, in_dots: bool = False
) -> bool:
    """Return whether a product in register tiles is expected to beat the library.

    Parameters
    ----------
    rows, columns, depth : int
        The sizes of the product.
    dtype : {"f32", "f64"}
        The element type.
    by_columns : bool
        Whether the right operand is stored by columns, and has to be copied.
    in_dots : bool
        Whether it is tiles of inner products that are meant.
    """
    machine = calibration.current()
    if not machine.library or rows == 1:
        return is_worth_it(rows, columns, depth, dtype, by_columns, library_threads())
    right_bytes = columns * depth * item_size(dtype)
    if by_columns and right_bytes > COPIED_BYTES and columns * item_size(dtype) > COPIED_ROW_BYTES:
        return False
    if rows * columns * depth <= _SMALL:
        return True
    tiles = tile_nanoseconds(rows, columns, depth, dtype, by_columns)
    tiles += rows * columns * _SUM_CYCLES * machine.cycle if in_dots else 0.0
    return right_bytes <= 2 * STREAMED_BYTES and tiles <= machine.library_nanoseconds(rows, columns, depth, dtype)


def tile_nanoseconds(rows: int, columns: int, depth: int, dtype: str, by_columns: bool = False) -> float:
    """Return what a product in register tiles is expected to take."""
    machine = calibration.current()
    tiling = choose(rows, columns, dtype, Machine.host(), depth, by_columns)
    right_bytes = columns * depth * item_size(dtype)
    cycle = machine.cycle if right_bytes <= calibration.NEAR_BYTES else machine.far_cycle
    copying = _COPIES * right_bytes * machine.transfer(right_bytes) if by_columns else 0.0
    reading = right_bytes * machine.transfer(right_bytes)
    return max(tiling.cycles * depth * cycle, reading) + copying


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
    machine, multiplications = calibration.current(), rows * columns * depth
    if dtype not in ("f32", "f64") or how.startswith("loops"):
        return multiplications * _LOOP_CYCLES * machine.cycle
    size = item_size(dtype)
    largest = max(rows * depth, depth * columns, rows * columns) * size
    reading = largest * machine.transfer(largest)
    if how.startswith("BLAS"):
        if min(rows, columns) == 1:
            return machine.call + max(reading, multiplications * size * machine.addition)
        return machine.library_nanoseconds(rows, columns, depth, dtype)
    if how.startswith("inner products") or min(rows, columns) == 1:
        return max(reading, multiplications / Machine.host().lanes(dtype) * machine.cycle)
    return tile_nanoseconds(rows, columns, depth, dtype)
