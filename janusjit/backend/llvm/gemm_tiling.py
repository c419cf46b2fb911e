"""How a matrix product of known sizes is cut into register tiles, and whether it is worth it.

Owns `Tiling`, `choose` and the estimates behind it. Invariants: the tiles cover the result; where they do not divide
it, the last one overlaps the one before and computes the same again, so one kernel does for all; estimates steer
choices only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.values import I64, item_size

#: how many products are added in registers before they are added to the result, which keeps long sums as accurate as a
#: library's: those of a single row, and of operands stored by columns, are added in several sums side by side there
DEPTH_BLOCK, DEPTH_BLOCK_ROW, DEPTH_BLOCK_BY_COLUMNS = 256, 64, 32
#: a right operand of up to this many bytes stays in the second-level cache while all rows pass by
RIGHT_BYTES = 256 * 1024
#: one that is read only once or a few times may be larger; past this a library may use several threads
STREAMED_BYTES = 4 * 1024 * 1024
#: products of more multiplications than this are the library's: it overlaps packing and arithmetic better, and divides
#: the work among its threads; where it has one, or few and rows or columns are few, more are worth it
MULTIPLICATIONS, MULTIPLICATIONS_ALONE = 160**3, 256**3
FEW_THREADS, FEW_ROWS = 4, 32
#: a copy of a right operand that is stored by columns is quick up to so many bytes, or if its rows are so short that a
#: panel of them keeps few pages and sets of the cache busy
COPIED_BYTES, COPIED_ROW_BYTES = 128 * 1024, 1280
#: how many vectors a row of a tile has at most
MOST_VECTORS = 8
#: from this many rows on it pays to copy a right operand that is stored by columns
ROWS_WORTH_A_COPY = 6

#: cycles of a multiplication-and-addition of vectors, of a load, and until the next on the same accumulator
_MULTIPLY_CYCLES, _LOAD_CYCLES, _LATENCY_CYCLES = 0.5, 0.5, 4.0
#: columns of a right operand that take up to this many bytes stay in the first-level cache from tile to tile; a load
#: from the second takes this long
_FIRST_LEVEL_BYTES, _SECOND_LEVEL_CYCLES = 16 * 1024, 2.5


@dataclass(frozen=True, slots=True)
class Machine:
    """What tiles depend on: the width of a vector, the number of vector registers, and masked loads and stores."""

    vector_bytes: int
    registers: int
    has_masks: bool

    @staticmethod
    def host() -> Machine:
        """Return this machine's."""
        width = engine.vector_bytes()
        many = width == 64 or engine.host_target()[0].startswith(("aarch64", "arm64"))
        return Machine(width, 32 if many else 16, width == 64)

    def lanes(self, dtype: str) -> int:
        """Return how many elements a vector has."""
        return self.vector_bytes // item_size(dtype)


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring elements that are one vector: ``lanes`` wide, of which the first ``used`` are there."""

    start: int
    lanes: int
    used: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of ``rows`` rows and of the columns in ``pieces``.

    Attributes
    ----------
    rows, row_tiles : int
        Rows of a tile, and how many tiles lie below each other.
    pieces : tuple of Piece
        The vectors of a row of a tile.
    column_tiles : int
        How many tiles lie beside each other.
    ways : int
        How many sums each element is made of while they are in registers, for want of other independent work.
    depth : int
        After how many products a tile's sums are added to the result.
    cycles : float
        The estimate for one step of the dimension summed over, of all tiles.
    """

    rows: int
    row_tiles: int
    pieces: tuple[Piece, ...]
    column_tiles: int
    ways: int
    depth: int
    cycles: float

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return sum(piece.used for piece in self.pieces)

    def for_rows(self, count: int) -> Tiling:
        """Return the tiling of so many rows of the result: every element is summed as it is in the whole."""
        row_tiles = -(-count // self.rows)
        return replace(self, rows=-(-count // row_tiles), row_tiles=row_tiles)

    def __str__(self) -> str:
        return f"register tiles {self.rows}×{self.columns}"


def pieces(count: int, lanes: int, has_masks: bool) -> tuple[Piece, ...]:
    """Return full vectors, then the rest: one vector in part where there are masks, else ever shorter vectors."""
    found = [Piece(start, lanes, lanes) for start in range(0, count - lanes + 1, lanes)]
    done = len(found) * lanes
    while done < count:
        left = count - done
        width = 1 << (left.bit_length() - 1)  # the widest that is full
        if has_masks and width != left:
            width *= 2
        found.append(Piece(done, width, min(width, left)))
        done += found[-1].used
    return tuple(found)


def tile_start(builder: ir.IRBuilder, number: ir.Value, width: int, end: int) -> ir.Value:
    """Return where tile ``number`` begins: not so late that it would not fit."""
    start = builder.mul(number, ir.Constant(I64, width))
    if end % width == 0:
        return start
    last = ir.Constant(I64, end - width)
    return builder.select(builder.icmp_signed("<", start, last), start, last)


def is_worth_it(rows: int, columns: int, depth: int, dtype: str, by_columns: bool = False, threads: int = 1) -> bool:
    """Return whether tiles are expected to beat a library.

    Parameters
    ----------
    rows, columns, depth : int
        The sizes of the product.
    dtype : {"f32", "f64"}
        The element type.
    by_columns : bool
        Whether the right operand is stored by columns.
    threads : int
        How many threads the library has.
    """
    right_bytes = columns * depth * item_size(dtype)
    multiplications = rows * columns * depth
    if multiplications <= MULTIPLICATIONS and right_bytes <= RIGHT_BYTES:
        return True
    alone = threads == 1 or (threads <= FEW_THREADS and min(rows, columns) <= FEW_ROWS)
    if multiplications > (MULTIPLICATIONS_ALONE if alone else MULTIPLICATIONS):
        return False
    if by_columns and right_bytes > COPIED_BYTES and columns * item_size(dtype) > COPIED_ROW_BYTES:
        return False
    return right_bytes <= (2 if alone else 1) * STREAMED_BYTES


def library_threads() -> int:
    """Return how many threads the library may divide a product among, as far as its settings tell."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        setting = os.environ.get(name, "")
        if setting.isdigit() and int(setting) > 0:
            return min(processors(), int(setting))
    return processors()


def processors() -> int:
    """Return how many processors the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(
    rows: int, columns: int, dtype: str, machine: Machine, steps: int = 64, by_columns: bool = False
) -> Tiling:
    """Return the tiling of a result that takes the fewest cycles.

    Parameters
    ----------
    rows, columns : int
        The size of the result.
    dtype : {"f32", "f64"}
        Its element type.
    machine : Machine
        What the kernel is made for.
    steps : int
        The length of the dimension summed over.
    by_columns : bool
        Whether the right operand was stored by columns.
    """
    lanes = machine.lanes(dtype)
    depth = DEPTH_BLOCK_BY_COLUMNS if by_columns else DEPTH_BLOCK_ROW if rows == 1 else DEPTH_BLOCK
    candidates = []
    for vectors in range(1, min(MOST_VECTORS, -(-columns // lanes)) + 1):
        most = max(1, min((machine.registers - vectors - 2) // vectors, 14))
        row_tiles = -(-rows // most)
        far = row_tiles > 1 and vectors * machine.vector_bytes * steps > _FIRST_LEVEL_BYTES
        vector_cycles = _SECOND_LEVEL_CYCLES if far else _LOAD_CYCLES
        tile = (-(-rows // row_tiles), vectors, depth)
        candidates.append(_tiling((rows, columns), tile, lanes, machine, vector_cycles))
    return min(candidates, key=lambda tiling: tiling.cycles)


def _tiling(
    shape: tuple[int, int], tile: tuple[int, int, int], lanes: int, machine: Machine, vector_cycles: float
) -> Tiling:
    (rows, columns), (tile_rows, vectors, depth) = shape, tile
    width = min(vectors * lanes, columns)
    cut = pieces(width, lanes, machine.has_masks)
    row_tiles, column_tiles = -(-rows // tile_rows), -(-columns // width)
    accumulators = tile_rows * len(cut)
    ways = 1
    while 2 * ways * accumulators * _MULTIPLY_CYCLES <= 2 * _LATENCY_CYCLES and ways < 4:
        ways *= 2
    arithmetic = accumulators * _MULTIPLY_CYCLES
    loads = tile_rows * _LOAD_CYCLES + len(cut) * vector_cycles
    step = max(arithmetic, loads, _LATENCY_CYCLES / ways) + 0.5
    return Tiling(tile_rows, row_tiles, cut, column_tiles, ways, depth, step * row_tiles * column_tiles)
