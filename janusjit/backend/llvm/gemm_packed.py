"""Matrix products of any size by one routine, which packs parts of the operands for the sake of the caches.

Owns `emit_packed`. The depth is done in blocks; of each, the right operand is copied to panels of the columns of a
register tile, and as many rows of the left one as stay in the second-level cache to panels of its rows (Goto, van de
Geijn: "Anatomy of high-performance matrix multiplication", 2008). Where there are threads, each does some of the rows
with the panels of all columns, which they make together. Invariant: all elements of a product are summed in one order,
each block of `DEPTH` products in registers, whatever tile they fall into and whoever computes it; panels are filled up
with zeros, and what is computed of those is not stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.llvm import threads as pool
from janusjit.backend.llvm.blas_loops import Matrix
from janusjit.backend.llvm.gemm_packed_blocks import Panels, blocks, least, part_of, range_of
from janusjit.backend.llvm.gemm_packed_tile import Shape, load_tile
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.module_parts import HANDWRITTEN
from janusjit.backend.llvm.process_code import load_once
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import (
    I1,
    I64,
    POINTER,
    VOID,
    Extent,
    KernelContext,
    PythonEmitter,
    as_i64,
    declare,
    item_size,
    offset_pointer,
)

#: products that are added in registers; bytes of the left operand's block, and columns of the right one's, or half as
#: many more: for each block of these, the left operand is packed again
DEPTH, LEFT_BYTES, RIGHT_COLUMNS = 256, 384 * 1024, 1024
#: bytes of the panels of as many blocks of the depth as are done together where the result is there for a block only:
#: they pass by for each block of rows, so they should be near
PANELS_BYTES = 2 << 20
#: bytes of the result that are worked on while they are near, a part of the second-level cache: with fewer, much of
#: the time goes into fetching the panels of the columns
KEPT_BYTES = 512 * 1024
#: the least size of a product that is packed where nothing has been measured
LEAST = 32
#: a thread helps with so many rows at least; what a chunk of rows takes besides, in rows: the panels of all columns
#: pass by
ROWS_OF_THREAD, CHUNK_ROWS = 48, 2
#: multiplications in a nanosecond, and bytes that are packed in one, by which the pool is told what there is to do
_SPEED, _PACKING = {"f32": 64, "f64": 32}, 4
#: a job of packing that takes fewer nanoseconds is done by the caller alone
_LEAST_PACKING = 20_000

#: the words that tasks are told: addresses and strides of the parts of the operands and of the result that are at
#: hand, their rows, columns and depth, whether nothing of the result is there yet, where panels are, the task for rows
#: that are done, if they are with this, and how many rows are done at a time and kept by each thread; then the depth of
#: the block that is packed, and where to, and where the addresses of the tiles are
_A, _B, _OUT = 0, 3, 6
_ROWS, _COLUMNS, _DEPTH, _IS_FIRST, _LEFT, _LEFT_BYTES, _PANELS, _AFTER, _AFTER_TOLD, _HEIGHT, _KEPT = range(8, 19)
_PACKED_DEPTH, _PACKED, _TILES, _WORDS = range(19, 23)


@dataclass(frozen=True)
class After:
    """What follows a product whose columns are no more than `RIGHT_COLUMNS`.

    Attributes
    ----------
    task, told : llvmlite.ir.Value
        The task that the thread that has done some rows runs for them, and what it is told.
    kept : int
        For how many rows each thread has room; 0 where the result is there as a whole. In the first case the depth is
        no more than `packed_depth`.
    """

    task: ir.Value
    told: ir.Value
    kept: int


def packed_block(dtype: str, stride: int) -> int:
    """Return how many rows of a result are done at a time where something follows."""
    shape = Shape.of(dtype, Machine.host())
    return min(max(1, KEPT_BYTES // (stride * shape.rows)) * shape.rows, _height(dtype, shape))


def _height(dtype: str, shape: Shape) -> int:
    """Return how many rows of the left operand are in panels at a time, at most."""
    return max(1, LEFT_BYTES // (DEPTH * item_size(dtype) * shape.rows)) * shape.rows


def emit_packed(
    context: KernelContext,
    a: Matrix,
    b: Matrix,
    out: Matrix,
    machine: Machine,
    threads: int = 1,
    after: After | None = None,
) -> None:
    """Emit ``out = a @ b`` on up to so many threads, and what follows; ``out`` has contiguous rows and elements."""
    shape = Shape.of(out.dtype, machine)
    symbol = f"{HANDWRITTEN}packed_{out.dtype}_{shape.name}{'_threads' if threads > 1 else ''}"
    parameters = [*[POINTER, I64, I64] * 2, POINTER, *[I64] * 5, POINTER, POINTER, I64, POINTER]

    def emit(module: ir.Module) -> None:
        _Routine(module, context.python, out.dtype, shape, threads > 1).emit(declare(module, symbol, VOID, parameters))

    if threads > 1:
        pool.parallel_for(context.module)
    load_once((symbol,), emit)
    function = declare(context.module, symbol, VOID, parameters)
    function.attributes.add("nounwind")
    extents: list[Extent | ir.Value] = [a.pointer, a.row_stride, a.column_stride, b.pointer, b.row_stride]
    extents += [b.column_stride, out.pointer, out.row_stride, out.rows, out.columns, a.columns, threads]
    extents += [ir.Constant(POINTER, None)] * 2 if after is None else [after.task, after.told]
    kept = 0 if after is None else after.kept
    extents += [kept, _tiles(context, shape, out, kept, threads)]
    context.note_memory()
    context.builder.call(function, [as_i64(extent) for extent in extents])


def _tiles(context: KernelContext, shape: Shape, out: Matrix, kept: int, threads: int) -> ir.Value:
    """Load the tiles that a product needs; return where their addresses are."""
    table = context.stack_slot(POINTER, len(shape.tiles))
    rows = out.rows if threads == 1 else ir.Constant(I64, 0)  # cut differently where there are more threads
    for tile in shape.tiles_for(rows, out.columns, kept or _height(out.dtype, shape)):
        place = context.builder.gep(table, [ir.Constant(I64, shape.tiles.index(tile))], source_etype=POINTER)
        function = load_tile(context, out.dtype, shape, *tile)
        context.builder.store(context.builder.bitcast(function, POINTER), place)
    return table


def column_blocks(columns: int) -> int:
    """Return into how many blocks so many columns are cut; see `_Routine._width`."""
    return max(1, (columns + RIGHT_COLUMNS // 2) // RIGHT_COLUMNS)


def packed_depth(dtype: str, columns: int) -> int:
    """Return the depth of the blocks that are done together, for so many columns."""
    width = Shape.of(dtype, Machine.host()).columns
    return max(1, PANELS_BYTES // (DEPTH * -(-columns // width) * width * item_size(dtype))) * DEPTH


@dataclass(frozen=True)
class _Routine:
    """The routine for an element type: its tasks, and the loops around them."""

    module: ir.Module
    python: PythonEmitter
    dtype: str
    shape: Shape
    is_divided: bool

    @property
    def _height(self) -> int:
        return _height(self.dtype, self.shape)

    def emit(self, function: ir.Function) -> None:
        """Emit the loops over blocks of columns and of the depth; its arguments are those of `emit_packed`."""
        pack, multiply = self._packing_task(), self._rows_task()
        context = KernelContext(function, self.python)
        builder, shape, size = context.builder, self.shape, item_size(self.dtype)
        *_, rows, columns, whole_depth, threads, after, after_told, kept, tiles = values = function.args
        a = Matrix(self.dtype, values[0], rows, whole_depth, values[1], values[2])
        b = Matrix(self.dtype, values[3], whole_depth, columns, values[4], values[5])
        out = Matrix(self.dtype, values[6], rows, columns, values[7], size)
        width = self._width(builder, columns)
        deepest = least(builder, whole_depth, DEPTH)
        tall = builder.add(least(builder, rows, self._height), ir.Constant(I64, shape.rows))
        left_bytes = builder.mul(builder.mul(tall, deepest), ir.Constant(I64, size))
        left = context.scratch(self.dtype, (builder.mul(tall, threads), deepest)).pointer
        a_block = builder.mul(width, ir.Constant(I64, DEPTH * size))
        together = builder.udiv(ir.Constant(I64, PANELS_BYTES), a_block)
        one = ir.Constant(I64, 1)
        together = builder.select(builder.icmp_signed("<", together, one), one, together)
        together = builder.mul(together, ir.Constant(I64, DEPTH))
        is_whole = builder.icmp_signed("==", kept, ir.Constant(I64, 0))
        together = builder.select(is_whole, ir.Constant(I64, DEPTH), together)
        panels = context.scratch(self.dtype, (width, least(builder, whole_depth, together))).pointer
        told = context.stack_slot(I64, _WORDS)
        height = builder.select(is_whole, ir.Constant(I64, self._height), kept)
        _tell_all(context, told, {_LEFT: left, _LEFT_BYTES: left_bytes, _PANELS: panels, _ROWS: rows})
        _tell_all(context, told, {_AFTER_TOLD: after_told, _HEIGHT: height, _KEPT: kept, _TILES: tiles})
        with context.loop(blocks(context.builder, columns, width)) as across:
            column, some = range_of(context.builder, across, width, columns)
            with context.loop(blocks(context.builder, whole_depth, together)) as inward:
                builder, zero = context.builder, ir.Constant(I64, 0)
                start, depth = range_of(builder, inward, together, whole_depth)
                first = builder.zext(builder.icmp_signed("==", inward, zero), I64)
                is_last = builder.icmp_signed("==", builder.add(start, depth), whole_depth)
                due = builder.select(is_last, after, ir.Constant(POINTER, None))
                _tell_all(context, told, {_COLUMNS: some, _DEPTH: depth, _IS_FIRST: first, _AFTER: due})
                _tell_matrix(context, told, _A, part_of(builder, a, (zero, start), (rows, depth)))
                _tell_matrix(context, told, _OUT, part_of(builder, out, (zero, column), (rows, some)))
                part = part_of(builder, b, (start, column), (depth, some))
                with context.loop(blocks(builder, depth, DEPTH)) as number:
                    builder = context.builder
                    begin, length = range_of(builder, number, DEPTH, depth)
                    _tell_matrix(context, told, _B, part_of(builder, part, (begin, zero), (length, some)))
                    place = offset_pointer(builder, panels, self._panel_bytes(builder, some, begin))
                    _tell_all(context, told, {_PACKED_DEPTH: length, _PACKED: place})
                    self._run_packing(context, pack, told, some, length, threads)
                self._run_rows(context, multiply, told, (rows, some, depth), threads)
        context.finish()

    def _width(self, builder: ir.IRBuilder, columns: ir.Value) -> ir.Value:
        """Return the columns of a block, in whole tiles: as many in each block as can be, near `RIGHT_COLUMNS`."""
        half, one = ir.Constant(I64, RIGHT_COLUMNS // 2), ir.Constant(I64, 1)
        count = builder.udiv(builder.add(columns, half), ir.Constant(I64, RIGHT_COLUMNS))
        count = builder.select(builder.icmp_signed("<", count, one), one, count)
        tiles = blocks(builder, blocks(builder, columns, count), self.shape.columns)
        return builder.mul(tiles, ir.Constant(I64, self.shape.columns))

    def _panel_bytes(self, builder: ir.IRBuilder, columns: ir.Value, depth: ir.Value) -> ir.Value:
        """Return how much memory the panels of so many columns and such a depth take."""
        whole = builder.mul(blocks(builder, columns, self.shape.columns), ir.Constant(I64, self.shape.columns))
        return builder.mul(builder.mul(whole, depth), ir.Constant(I64, item_size(self.dtype)))

    # -- the tasks

    def _packing_task(self) -> ir.Function:
        """Emit the task that packs some panels of the right operand."""
        context, told = self._task("pack")
        builder, width = context.builder, ir.Constant(I64, self.shape.columns)
        _, _, start, end = context.function.args
        columns, depth = (_told(context, told, place) for place in (_COLUMNS, _PACKED_DEPTH))
        first, last = builder.mul(start, width), builder.mul(end, width)
        last = builder.select(builder.icmp_signed("<", last, columns), last, columns)
        b = self._matrix(context, told, _B, (depth, columns))
        some = part_of(builder, b, (ir.Constant(I64, 0), first), (depth, builder.sub(last, first)))
        place = builder.mul(first, builder.mul(depth, ir.Constant(I64, item_size(self.dtype))))
        panels = offset_pointer(builder, _told(context, told, _PACKED, POINTER), place)
        Panels(context, self.shape).pack(some, panels, self.shape.columns)
        context.finish()
        return context.function

    def _rows_task(self) -> ir.Function:
        """Emit the task that computes some rows, with the panels of all columns."""
        shape = self.shape
        context, told = self._task("multiply")
        _, number, start, end = context.function.args
        columns, depth = (_told(context, told, place) for place in (_COLUMNS, _DEPTH))
        a = self._matrix(context, told, _A, (_told(context, told, _ROWS), depth))
        out = self._matrix(context, told, _OUT, (_told(context, told, _ROWS), columns))
        builder, zero = context.builder, ir.Constant(I64, 0)
        mine = builder.mul(number, _told(context, told, _LEFT_BYTES))
        left = offset_pointer(builder, _told(context, told, _LEFT, POINTER), mine)
        panels = _told(context, told, _PANELS, POINTER)
        is_first = builder.trunc(_told(context, told, _IS_FIRST), I1)
        code = Panels(context, shape, _told(context, told, _TILES, POINTER))
        height, kept = (_told(context, told, place) for place in (_HEIGHT, _KEPT))
        is_whole = builder.icmp_signed("==", kept, zero)
        with context.loop(blocks(builder, builder.sub(end, start), height)) as down:
            builder = context.builder
            row, rows = range_of(builder, down, height, builder.sub(end, start))
            row = builder.add(start, row)
            place = builder.select(is_whole, row, builder.mul(number, kept))
            target = part_of(builder, out, (place, zero), (rows, columns))
            with context.loop(blocks(builder, depth, DEPTH)) as inward:
                builder = context.builder
                begin, length = range_of(builder, inward, DEPTH, depth)
                rest = part_of(builder, a, (row, begin), (rows, length))
                right = offset_pointer(builder, panels, self._panel_bytes(builder, columns, begin))
                is_new = builder.and_(is_first, builder.icmp_signed("==", inward, zero))
                code.multiply(target, rest, left, right, is_new)
            self._run_after(context, told, (number, row, rows))
        context.finish()
        return context.function

    def _run_after(self, context: KernelContext, told: ir.Value, rows: tuple[ir.Value, ir.Value, ir.Value]) -> None:
        """Emit the task for rows that are done, if there is one: given the thread, the first, and how many."""
        builder, (number, first, count) = context.builder, rows
        task = builder.ptrtoint(_told(context, told, _AFTER, POINTER), I64)
        with builder.if_then(builder.icmp_signed("!=", task, ir.Constant(I64, 0))):
            function = builder.inttoptr(task, TASK_TYPE.as_pointer())
            after_told = _told(context, told, _AFTER_TOLD, POINTER)
            builder.call(function, [after_told, number, first, builder.add(first, count)])

    def _task(self, name: str) -> tuple[KernelContext, ir.Value]:
        function = ir.Function(self.module, TASK_TYPE, f"{HANDWRITTEN}{name}")
        function.linkage = "internal"
        for attribute in ("nounwind", "noinline"):
            function.attributes.add(attribute)
        return KernelContext(function, self.python), function.args[0]

    def _matrix(self, context: KernelContext, told: ir.Value, place: int, extent: tuple[ir.Value, ir.Value]) -> Matrix:
        pointer, stride = _told(context, told, place, POINTER), _told(context, told, place + 1)
        along = item_size(self.dtype) if place == _OUT else _told(context, told, place + 2)
        return Matrix(self.dtype, pointer, *extent, stride, along)

    # -- their dispatch

    def _run_packing(
        self,
        context: KernelContext,
        task: ir.Function,
        told: ir.Value,
        columns: ir.Value,
        depth: ir.Value,
        threads: ir.Value,
    ) -> None:
        builder = context.builder
        panels = blocks(builder, columns, self.shape.columns)
        work = builder.mul(builder.mul(columns, depth), ir.Constant(I64, item_size(self.dtype)))
        work = builder.udiv(work, ir.Constant(I64, _PACKING))
        share = blocks(builder, panels, builder.mul(threads, ir.Constant(I64, 2)))
        is_little = builder.icmp_signed("<", work, ir.Constant(I64, _LEAST_PACKING))
        self._run(context, task, told, panels, builder.select(is_little, panels, share), work, threads)

    def _run_rows(
        self,
        context: KernelContext,
        task: ir.Function,
        told: ir.Value,
        extents: tuple[ir.Value, ir.Value, ir.Value],
        threads: ir.Value,
    ) -> None:
        """Emit the job of the rows."""
        rows, columns, depth = extents
        chunk = self._chunk(context, rows, threads)
        builder = context.builder
        work = builder.udiv(builder.mul(builder.mul(rows, columns), depth), ir.Constant(I64, _SPEED[self.dtype]))
        self._run(context, task, told, rows, chunk, work, threads)

    def _chunk(self, context: KernelContext, rows: ir.Value, threads: ir.Value) -> ir.Value:
        """Emit the search for the rows of a chunk, in whole tiles, with which the last thread is done soonest.

        It is that of `divided_work.even_chunk`, for rows that are known when it runs.
        """
        builder, one, unit = context.builder, ir.Constant(I64, 1), ir.Constant(I64, self.shape.rows)
        best, least_taken = context.stack_slot(I64), context.stack_slot(I64)
        builder.store(unit, best)
        builder.store(ir.Constant(I64, (1 << 63) - 1), least_taken)
        tallest = blocks(builder, rows, builder.mul(threads, unit))
        tallest = least(builder, tallest, self._height // self.shape.rows)
        with context.loop(tallest) as number:  # of two that are as good, the taller one
            builder = context.builder
            chunk = builder.mul(builder.sub(tallest, number), unit)
            count = blocks(builder, rows, chunk)
            lacking = builder.sub(builder.mul(count, chunk), rows)  # what the last one is shorter
            is_alone = builder.icmp_unsigned("==", builder.urem(count, threads), one)
            taken = builder.mul(blocks(builder, count, threads), builder.add(chunk, ir.Constant(I64, CHUNK_ROWS)))
            taken = builder.sub(taken, builder.select(is_alone, lacking, ir.Constant(I64, 0)))
            is_less = builder.icmp_signed("<", taken, builder.load(least_taken, typ=I64))
            with builder.if_then(is_less):
                builder.store(taken, least_taken)
                builder.store(chunk, best)
        return context.builder.load(best, typ=I64)

    def _run(
        self,
        context: KernelContext,
        task: ir.Function,
        told: ir.Value,
        rows: ir.Value,
        chunk: ir.Value,
        work: ir.Value,
        threads: ir.Value,
    ) -> None:
        builder, zero = context.builder, ir.Constant(I64, 0)
        if not self.is_divided:
            builder.call(task, [told, zero, zero, rows])
            return
        useful, two = builder.udiv(work, ir.Constant(I64, cost.THREAD_NANOSECONDS)), ir.Constant(I64, 2)
        useful = builder.select(builder.icmp_signed("<", useful, two), two, useful)
        limit = builder.select(builder.icmp_signed("<", useful, threads), useful, threads)
        builder.call(pool.parallel_for(self.module), [task, told, rows, chunk, limit, work])


def _tell(context: KernelContext, told: ir.Value, place: int, value: ir.Value) -> None:
    context.builder.store(value, context.builder.gep(told, [ir.Constant(I64, place)], source_etype=I64))


def _tell_all(context: KernelContext, told: ir.Value, values: dict[int, ir.Value]) -> None:
    for place, value in values.items():
        _tell(context, told, place, value)


def _tell_matrix(context: KernelContext, told: ir.Value, place: int, matrix: Matrix) -> None:
    _tell(context, told, place, matrix.pointer)
    _tell(context, told, place + 1, as_i64(matrix.row_stride))
    if place != _OUT:
        _tell(context, told, place + 2, as_i64(matrix.column_stride))


def _told(context: KernelContext, told: ir.Value, place: int, type_: ir.Type = I64) -> ir.Value:
    return context.builder.load(context.builder.gep(told, [ir.Constant(I64, place)], source_etype=I64), typ=type_)
