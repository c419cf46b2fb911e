"""Code of passes over rows that end in products which sum over these.

Owns `RowPasses`. Invariants: a block of rows is computed by the kernels that its steps would have by themselves; each
sum of neighbouring rows is one thread's, and the sums are added up in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from janusjit.backend.llvm.blas import emit_matmul
from janusjit.backend.llvm.blas_loops import Matrix, emit_copy
from janusjit.backend.llvm.divided_work import Units, emit_divided
from janusjit.backend.llvm.fused_parallel import Arguments, ParallelKernels, Part, unknown_count
from janusjit.backend.llvm.gemm import on_threads
from janusjit.backend.llvm.gemm_added import emit_added_product
from janusjit.backend.llvm.gemm_tiling import Machine, Piece, pieces
from janusjit.backend.llvm.kernel_memory import call_kernel
from janusjit.backend.llvm.memory import Memory
from janusjit.backend.llvm.values import (
    I1,
    I8,
    I64,
    POINTER,
    VOID,
    ArrayValue,
    KernelContext,
    PythonEmitter,
    as_i64,
    item_size,
    multiply,
    offset_pointer,
)
from janusjit.backend.llvm.vectors import load_piece, store_piece
from janusjit.backend.row_passes import RowPass, rows_first
from janusjit.ir.dims import symbols_of
from janusjit.ir.graph import Node


@dataclass(frozen=True)
class Product:
    """A product in a pass.

    Attributes
    ----------
    arrays : tuple of ArrayValue
        Its operands and its result; where it ``sums`` over the rows, both operands have these along the first axis.
    rooms : tuple of int
        For each, how many rows lie between those of two threads, where there is room for a block only; 0 if all rows
        have a place.
    sums : bool
        Whether it sums over the rows.
    """

    arrays: tuple[ArrayValue, ArrayValue, ArrayValue]
    rooms: tuple[int, int, int]
    sums: bool

    @staticmethod
    def of(memory: Memory, node: Node, sums: bool) -> Product:
        """Return a product of arrays in memory."""
        left, right = rows_first(memory.addresses, node) if sums else map(memory.addresses.of, node.inputs)
        addresses = (left, right, memory.addresses.of(node.result))
        a, b, out = map(memory.array_at, addresses)
        first, second, third = (one.storage.room if one.storage.kept_rows is not None else 0 for one in addresses)
        return Product((a, b, out), (first, second, third), sums)


#: what is done for a block of rows: a product, or a fused kernel
Work = Product | Part


class RowPasses:
    """The functions of a module's passes over rows.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where they go.
    kernels : ParallelKernels
        Gives the arguments of the fused kernels, and calls them for some rows.
    python : PythonEmitter
        Keeps objects alive.
    """

    def __init__(self, module: ir.Module, kernels: ParallelKernels, python: PythonEmitter) -> None:
        self._module, self._kernels, self._python = module, kernels, python
        self._functions: dict[tuple[Any, ...], tuple[ir.Function, list[str], int]] = {}

    def call(self, builder: ir.IRBuilder, one: RowPass, works: Sequence[Work], nanoseconds: float) -> list[str]:
        """Emit a pass that takes one thread so long; return in words how each of its products is computed."""
        arguments = [self._kernels.arguments(work, one.size) for work in works if isinstance(work, Part)]
        arrays = [array for work in works for array in _arrays(work)]
        values = [array.pointer for array in arrays]
        values += [value for each in arguments for value in each.in_context()]
        key = (one.rows, one.block, one.parts, *map(_key, works), *(each.form() for each in arguments))
        if key not in self._functions:
            self._functions[key] = self._function(one, works, arguments, values, nanoseconds)
        function, words, threads = self._functions[key]
        call_kernel(self._python, builder, function, values)
        together = f"{one.block} rows at a time with steps {one.first.time} to {one.steps[-1].time}"
        return [on_threads(f"{how}, {together}", threads, nanoseconds) for how in words]

    def _function(
        self,
        one: RowPass,
        works: Sequence[Work],
        arguments: Sequence[Arguments],
        values: Sequence[ir.Value],
        nanoseconds: float,
    ) -> tuple[ir.Function, list[str], int]:
        """Emit the function of a pass; return it, how each product is computed, and on how many threads."""
        name = f"row_pass.{len(self._functions)}"
        function = ir.Function(self._module, ir.FunctionType(VOID, [value.type for value in values]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        context = KernelContext(function, self._python, self._kernels.count)
        given = iter(function.args)
        arrays = [replace(array, pointer=next(given)) for work in works for array in _arrays(work)]
        found = [each.given(given) for each in arguments]
        words, threads = self._emit(context, one, _with_arrays(works, arrays), found, nanoseconds)
        context.finish()
        context.mark_vectors()
        return function, words, threads

    def _emit(
        self,
        context: KernelContext,
        one: RowPass,
        works: Sequence[Work],
        arguments: Sequence[Arguments],
        nanoseconds: float,
    ) -> tuple[list[str], int]:
        sums = [_Partial.of(context, work, one.parts) for work in works if isinstance(work, Product) and work.sums]
        arrays = [array for work in works for array in _arrays(work)]
        memory = [partial.memory for partial in sums]
        told = [value for each in arguments for value in each.in_context()]
        words: list[str] = []

        def body(inside: KernelContext, given: Sequence[ArrayValue], some: Units) -> None:
            own = iter(given[len(arrays) :])
            partials = [replace(partial, memory=next(own)) for partial in sums]
            values = iter(some.told)
            known = [each.given(values) for each in arguments]
            block = _Blocks(self._kernels, one, _with_arrays(works, given), known, some.thread)
            with inside.loop(some.count) as number:
                words[:] = block.emit_part(inside, inside.builder.add(some.start, number), partials)

        threads = emit_divided(context, one.parts, nanoseconds, [*arrays, *memory], body, values=told)
        summing = [work for work in works if isinstance(work, Product) and work.sums]
        for partial, work in zip(sums, summing, strict=True):
            partial.emit_total(context, work.arrays[2])
        return words, threads


def _arrays(work: Work) -> tuple[ArrayValue, ...]:
    return () if isinstance(work, Part) else work.arrays


def _key(work: Work) -> tuple[Any, ...]:
    """Return what code for some work depends on."""
    if isinstance(work, Part):
        return work.key()
    return (work.sums, work.rooms, *((one.dtype, one.dims, one.strides) for one in work.arrays))


def _with_arrays(works: Sequence[Work], arrays: Sequence[ArrayValue]) -> list[Work]:
    """Return works with their arrays as a function knows them."""
    given = iter(arrays)
    found: list[Work] = []
    for work in works:
        if isinstance(work, Part):
            found.append(work)
        else:
            found.append(replace(work, arrays=(next(given), next(given), next(given))))
    return found


@dataclass(frozen=True)
class _Partial:
    """The sums of one product: ``memory`` has one matrix for each, turned if ``is_turned``."""

    memory: ArrayValue
    is_turned: bool

    @staticmethod
    def of(context: KernelContext, work: Product, parts: int) -> _Partial:
        """Return memory for so many sums."""
        left, right, _ = work.arrays
        sizes = [_width(left), _width(right)]
        is_turned = sizes[0] > sizes[1]
        rows, columns = reversed(sizes) if is_turned else sizes
        return _Partial(context.scratch(left.dtype, (parts, rows, columns)), is_turned)

    def part(self, builder: ir.IRBuilder, number: ir.Value) -> Matrix:
        """Return one of the sums."""
        size, *strides = self.memory.strides
        pointer = offset_pointer(builder, self.memory.pointer, multiply(builder, number, size))
        return Matrix(self.memory.dtype, pointer, *self.memory.dims[1:], *strides)

    def emit_total(self, context: KernelContext, out: ArrayValue) -> None:
        """Emit adding the sums up, in order."""
        parts, rows, columns = self.memory.dims
        assert isinstance(parts, int) and isinstance(rows, int) and isinstance(columns, int)
        whole = self.part(context.builder, ir.Constant(I64, 0))
        _emit_added_up(context, self.memory, parts, rows * columns)
        target = _matrix(out)
        if (rows, columns) != (target.rows, target.columns) or (self.is_turned and out.rank > 1):
            target = target.transposed
        emit_copy(context, whole, target)


def _emit_added_up(context: KernelContext, memory: ArrayValue, parts: int, count: int) -> None:
    """Emit adding arrays of so many elements, which follow each other, to the first of them."""
    if parts == 1:
        return
    dtype, size = memory.dtype, item_size(memory.dtype)
    machine = Machine.host()
    lanes = machine.lanes(dtype)
    turns = count // lanes

    def add(start: ir.Value, piece: Piece) -> None:
        builder = context.builder
        places = [
            offset_pointer(builder, memory.pointer, builder.add(start, ir.Constant(I64, number * count * size)))
            for number in range(parts)
        ]
        total = load_piece(context, dtype, places[0], piece)
        for place in places[1:]:
            total = builder.fadd(total, load_piece(context, dtype, place, piece))
        store_piece(context, dtype, total, places[0], piece)

    with context.loop(turns) as turn:
        add(context.builder.mul(turn, ir.Constant(I64, lanes * size)), Piece(0, lanes, lanes))
    done = turns * lanes
    for piece in pieces(count - done, lanes, machine.has_masks):
        add(ir.Constant(I64, (done + piece.start) * size), piece)


def _width(array: ArrayValue) -> int:
    width = array.dims[1] if array.rank > 1 else 1
    assert isinstance(width, int)
    return width


class _Blocks:
    """Emits the work on blocks of rows, by one thread."""

    def __init__(
        self,
        kernels: ParallelKernels,
        one: RowPass,
        works: Sequence[Work],
        arguments: Sequence[Arguments],
        thread: ir.Value,
    ) -> None:
        self._kernels, self._pass, self._works = kernels, one, works
        self._arguments, self._thread = arguments, thread

    def emit_part(self, context: KernelContext, number: ir.Value, partials: Sequence[_Partial]) -> list[str]:
        """Emit the blocks of one sum; return in words how each product is computed."""
        one = self._pass
        whole, rest = divmod(one.rows, one.block)
        each = -(-whole // one.parts)
        builder = context.builder
        sums = [partial.part(builder, number) for partial in partials]
        for sum_ in sums:
            _emit_zeros(context, sum_)
        first = builder.mul(number, ir.Constant(I64, each))
        last, end = builder.add(first, ir.Constant(I64, each)), ir.Constant(I64, whole)
        last = builder.select(builder.icmp_signed("<", last, end), last, end)
        with context.loop(builder.sub(last, first)) as index:
            start = context.builder.mul(context.builder.add(first, index), ir.Constant(I64, one.block))
            words = self._emit_block(context, start, one.block, sums)
        if rest:
            is_last = context.builder.icmp_signed("==", number, ir.Constant(I64, one.parts - 1))
            with context.builder.if_then(is_last):
                self._emit_block(context, ir.Constant(I64, whole * one.block), rest, sums)
        return words

    def _emit_block(self, context: KernelContext, start: ir.Value, count: int, sums: Sequence[Matrix]) -> list[str]:
        words = []
        arguments, totals = iter(self._arguments), iter(sums)
        (size,) = symbols_of((self._pass.size,))
        for work in self._works:
            if isinstance(work, Part):
                builder, given = context.builder, next(arguments)
                moved = given.of_thread(builder, work, self._thread)
                end = builder.add(start, unknown_count(builder, count))
                self._kernels.emit_rows(builder, [work], [moved], size, start, end)
                continue
            left, right, out = (
                self._rows(context, array, start, count, room)
                for array, room in zip(work.arrays, work.rooms, strict=True)
            )
            if work.sums:
                _emit_sum(context, left, right, next(totals))
                words.append("sums over rows")
            else:
                words.append(emit_matmul(context, left, work.arrays[1], out))
        return words

    def _rows(self, context: KernelContext, array: ArrayValue, start: ir.Value, count: int, room: int) -> ArrayValue:
        """Return some rows of an array, which may have room for a block only."""
        builder = context.builder
        first = multiply(builder, self._thread, room) if room else start
        pointer = offset_pointer(builder, array.pointer, multiply(builder, first, array.strides[0]))
        return replace(array, pointer=pointer, dims=(count, *array.dims[1:]))


def _emit_sum(context: KernelContext, left: ArrayValue, right: ArrayValue, total: Matrix) -> None:
    """Emit adding the products of rows to a sum, which may be turned."""
    a, b = _matrix(left), _matrix(right)
    if (a.columns, b.columns) != (total.rows, total.columns):
        a, b = b, a
    emit_added_product(context, a.transposed, b, total, Machine.host())


def _matrix(array: ArrayValue) -> Matrix:
    """Return rows as a matrix: those of an array of rank 1 have one element."""
    if array.rank == 1:
        return Matrix(array.dtype, array.pointer, array.dims[0], 1, array.strides[0], item_size(array.dtype))
    return Matrix.of(array)


def _emit_zeros(context: KernelContext, matrix: Matrix) -> None:
    """Emit filling a matrix without gaps with zeros."""
    assert isinstance(matrix.rows, int) and isinstance(matrix.columns, int)
    size = matrix.rows * matrix.columns * item_size(matrix.dtype)
    fill = context.module.declare_intrinsic("llvm.memset", [POINTER, I64])
    context.builder.call(fill, [matrix.pointer, ir.Constant(I8, 0), as_i64(size), ir.Constant(I1, 0)])
