"""Fused kernels on several threads.

Owns `ParallelKernels`, which emits, for kernels over the same rows, a *task* that runs them for some of the rows, and
its dispatch. Invariant: a task gets all it needs in one block of memory (the *context*): addresses, scalars and
extents, eight bytes each; it calls the same functions as one thread would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.fused import FusedKernel
from janusjit.backend.llvm import parallel_totals, threads
from janusjit.backend.llvm.fused_loops import FusedFunctions
from janusjit.backend.llvm.memory import Extents, Memory
from janusjit.backend.llvm.row_prefetch import emit_request
from janusjit.backend.llvm.thread_pool_state import TASK_TYPE
from janusjit.backend.llvm.values import (
    I64,
    KernelContext,
    PythonEmitter,
    Scalar,
    as_i64,
    multiply,
    offset_pointer,
    store,
)
from janusjit.backend.parallel import PARTS, Division
from janusjit.ir.dims import Dim, Symbol, symbol, symbols_of
from janusjit.ir.graph import Value

#: stands for the rows a kernel is called for
ROWS = symbol("rows_of_chunk")


@dataclass(frozen=True)
class Part:
    """A kernel that does some rows.

    Attributes
    ----------
    kernel : FusedKernel
        In its sizes a symbol stands for how many rows there are.
    pitches : sequence of Dim
        How far the rows of each array lie apart, in bytes.
    private : sequence of int
        Where each thread has an array of its own: how far those lie apart, in bytes; 0 where all share one.
    requested : sequence of int
        The numbers of the arrays whose rows are asked for before the first of the kernels that share them begins.
    """

    kernel: FusedKernel
    pitches: Sequence[Dim]
    private: Sequence[Dim]
    requested: Sequence[int] = ()

    def key(self) -> tuple[Any, ...]:
        """Return what code for the kernel and its rows depends on."""
        pitches = tuple(p if isinstance(p, int) else None for p in self.pitches)
        return self.kernel.key(), pitches, tuple(self.private), tuple(self.requested)

    @staticmethod
    def of_tile(kernel: FusedKernel, requested: Sequence[int] = ()) -> Part:
        """Return a tile's kernel as one that does some rows; each thread has arrays there for a block only."""
        pitches = [address.layout.strides[0] for address in kernel.arrays]
        storages = [address.storage for address in kernel.arrays]
        private = [
            storage.room * pitch if storage.kept_rows is not None else 0
            for storage, pitch in zip(storages, pitches, strict=True)
        ]
        return Part(kernel, pitches, private, requested)

    @staticmethod
    def along(kernel: FusedKernel, axis: int) -> Part:
        """Return a kernel as one that does some turns of one of its loops."""
        dims = [ROWS if number == axis else dim for number, dim in enumerate(kernel.dims)]
        return Part(replace(kernel, dims=dims), [s[axis] for s in kernel.strides], [0] * len(kernel.arrays))


class ParallelKernels:
    """Emits kernels on several threads into a graph's entry function.

    Parameters
    ----------
    builder, memory, extents, scalars
        Those of the entry function.
    functions : FusedFunctions
        The functions of the kernels.
    count : int
        How many threads there are at most.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        memory: Memory,
        extents: Extents,
        scalars: dict[Value, Scalar],
        functions: FusedFunctions,
        python: PythonEmitter,
        count: int,
    ) -> None:
        self.count = count
        self._builder, self._memory, self._extents = builder, memory, extents
        self._scalars, self._functions, self._python = scalars, functions, python
        self._tasks: dict[tuple[Any, ...], ir.Function] = {}

    def call(self, kernel: FusedKernel, division: Division) -> None:
        """Emit the call of a kernel, on several threads where there is enough to do."""
        if division.axis is None:
            self._call_total(kernel, division)
            return
        part = Part.along(kernel, division.axis)
        arguments = self.arguments(part, ROWS)
        (size,) = symbols_of((ROWS,))
        if division.pays(self.count):
            self._dispatch([part], [arguments], size, division, None)
            return
        elements = self._extents.value(division.elements)
        function, rows = self._functions.function(part.kernel), self._extents.value(division.rows)
        extents = [rows if extent is None else extent for extent in arguments.extents]
        enough = self._builder.icmp_signed(">=", elements, ir.Constant(I64, division.least_elements))
        with self._builder.if_else(enough) as (divided, whole):
            with divided:
                self._dispatch([part], [arguments], size, division, None)
            with whole:
                self._builder.call(function, [*arguments.pointers, *arguments.scalars, *extents])

    def _call_total(self, kernel: FusedKernel, division: Division) -> None:
        part = Part(kernel, [0] * len(kernel.arrays), [0] * len(kernel.arrays))
        arguments = self.arguments(part, ROWS)
        whole = self._functions.function(kernel)
        elements = self._extents.value(division.elements)
        dtypes = [kernel.dtypes[reduction.target] for reduction in kernel.reductions]
        sums = self._memory.stack_slot(I64, PARTS * len(dtypes))

        def dispatch() -> None:
            task = parallel_totals.task(kernel, whole, self._python)
            self._run(task, [*arguments.in_context(), elements, sums], division)
            values = parallel_totals.combined(self._builder, dtypes, sums)
            for reduction, value in zip(kernel.reductions, values, strict=True):
                store(self._builder, value, arguments.pointers[reduction.target])

        if division.pays(self.count):
            dispatch()
            return
        enough = self._builder.icmp_signed(">=", elements, ir.Constant(I64, division.least_elements))
        with self._builder.if_else(enough) as (divided, together):
            with divided:
                dispatch()
            with together:
                self._builder.call(whole, arguments.in_context())

    def call_blocks(self, parts: Sequence[Part], size: Dim, division: Division, block: int) -> None:
        """Emit calls of kernels one after the other for each ``block`` of rows, on several threads."""
        (rows,) = symbols_of((size,))
        self._dispatch(parts, [self.arguments(part, size) for part in parts], rows, division, block)

    def emit_blocks(self, parts: Sequence[Part], size: Dim, rows: int, block: int) -> None:
        """Emit calls of kernels one after the other for each ``block`` of ``rows``, on one thread."""
        arguments = [self.arguments(part, size) for part in parts]
        builder, before = self._builder, self._builder.block
        body, after = builder.append_basic_block("rows"), builder.append_basic_block("tiled")
        builder.branch(body)
        builder.position_at_end(body)
        start, last = builder.phi(I64), ir.Constant(I64, rows)
        start.add_incoming(ir.Constant(I64, 0), before)
        following = builder.add(start, ir.Constant(I64, block))
        end = builder.select(builder.icmp_signed("<", following, last), following, last)
        (symbol_of_rows,) = symbols_of((size,))
        self.emit_rows(builder, parts, arguments, symbol_of_rows, start, end)
        start.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, last), body, after)
        builder.position_at_end(after)

    def arguments(self, part: Part, size: Dim) -> Arguments:
        kernel = part.kernel
        (rows,) = symbols_of((size,))
        return Arguments(
            [self._memory.pointer(address) for address in kernel.arrays],
            [self._scalars[value].value for value in kernel.scalars],
            [
                None if rows in symbols_of((extent,)) else self._extents.value(extent)
                for extent in kernel.numbered().extents
            ],
            [pitch if isinstance(pitch, int) else self._extents.value(pitch) for pitch in part.pitches],
        )

    def _dispatch(
        self,
        parts: Sequence[Part],
        arguments: Sequence[Arguments],
        size: Symbol,
        division: Division,
        block: int | None,
    ) -> None:
        task = self._known_task(parts, arguments, size, block)
        self._run(task, [value for one in arguments for value in one.in_context()], division)

    def _run(self, task: ir.Function, values: Sequence[ir.Value], division: Division) -> None:
        """Emit the job of a task whose context holds some values."""
        context = self._memory.stack_slot(I64, max(len(values), 1))
        for number, value in enumerate(values):
            place = self._builder.gep(context, [ir.Constant(I64, number)], source_etype=I64)
            self._builder.store(value, place)
        rows, chunk, work = self._amounts(division)
        limit = self._limit(division, work)
        function = threads.parallel_for(self._builder.module)
        self._builder.call(function, [task, context, rows, chunk, limit, work])

    def _limit(self, division: Division, work: ir.Value) -> ir.Value:
        """Return how many threads are of use for so many nanoseconds of work."""
        if division.work is not None:
            return ir.Constant(I64, division.limit(self.count))
        builder, two, most = self._builder, ir.Constant(I64, 2), ir.Constant(I64, self.count)
        useful = builder.udiv(work, ir.Constant(I64, cost.THREAD_NANOSECONDS))
        useful = builder.select(builder.icmp_unsigned("<", useful, most), useful, most)
        return builder.select(builder.icmp_unsigned("<", useful, two), two, useful)

    def _amounts(self, division: Division) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return how many rows there are, how many a chunk has, and the nanoseconds that all take one thread."""
        if division.work is not None:
            rows = self._extents.value(division.rows)
            return rows, ir.Constant(I64, division.chunk(self.count)), ir.Constant(I64, division.work)
        builder = self._builder
        rows, elements = self._extents.value(division.rows), self._extents.value(division.elements)
        one = ir.Constant(I64, 1)

        def larger(left: ir.Value, right: ir.Value) -> ir.Value:
            return builder.select(builder.icmp_unsigned(">", left, right), left, right)

        a_row = larger(builder.udiv(elements, larger(rows, one)), one)
        share = builder.udiv(rows, ir.Constant(I64, division.shares(self.count)))
        longest = builder.udiv(ir.Constant(I64, division.longest_elements), a_row)
        share = builder.select(builder.icmp_unsigned("<", share, longest), share, longest)
        long_enough = builder.udiv(ir.Constant(I64, division.chunk_elements), a_row)
        chunk = larger(builder.add(larger(share, long_enough), one), ir.Constant(I64, division.least))
        units = builder.udiv(builder.add(chunk, ir.Constant(I64, division.unit - 1)), ir.Constant(I64, division.unit))
        work = builder.mul(elements, ir.Constant(I64, round(division.nanoseconds * 1024)))
        work = builder.lshr(work, ir.Constant(I64, 10))
        return rows, builder.mul(units, ir.Constant(I64, division.unit)), work

    # -- the task

    def task(
        self, parts: Sequence[Part], arguments: Sequence[Arguments], size: Dim, block: int
    ) -> ir.Function:
        """Return the task that runs kernels one after the other for each ``block`` of some rows."""
        (rows,) = symbols_of((size,))
        return self._known_task(parts, arguments, rows, block)

    def _known_task(
        self, parts: Sequence[Part], arguments: Sequence[Arguments], size: Symbol, block: int | None
    ) -> ir.Function:
        key = (tuple(part.key() for part in parts), block)
        known = self._tasks.get(key)
        if known is None:
            known = self._tasks[key] = self._emit_task(parts, arguments, size, block)
        return known

    def _emit_task(
        self, parts: Sequence[Part], arguments: Sequence[Arguments], size: Symbol, block: int | None
    ) -> ir.Function:
        function = ir.Function(self._builder.module, TASK_TYPE, f"task.{len(self._tasks)}")
        function.linkage = "internal"
        function.attributes.add("nounwind")
        context = KernelContext(function, self._python)
        memory, number, start, end = function.args
        loaded = Loaded(context.builder, memory)
        found = [loaded.arguments(one) for one in arguments]
        for part, one in zip(parts, found, strict=True):
            one.pointers = [
                offset_pointer(context.builder, pointer, multiply(context.builder, number, private))
                for pointer, private in zip(one.pointers, part.private, strict=True)
            ]
        if block is None:
            self.emit_rows(context.builder, parts, found, size, start, end)
        else:
            step = ir.Constant(I64, block)
            count = context.builder.sub(end, start)
            blocks = context.builder.udiv(context.builder.add(count, ir.Constant(I64, block - 1)), step)
            with context.loop(blocks) as index:
                builder = context.builder
                first = builder.add(start, builder.mul(index, step))
                after = builder.add(first, step)
                after = builder.select(builder.icmp_signed("<", after, end), after, end)
                self.emit_rows(builder, parts, found, size, first, after)
        context.finish()
        context.mark_vectors()  # it only calls kernels
        return function

    def emit_rows(
        self,
        builder: ir.IRBuilder,
        parts: Sequence[Part],
        arguments: Sequence[Arguments],
        size: Symbol,
        start: ir.Value,
        end: ir.Value,
    ) -> None:
        """Emit calls of the kernels for some rows."""
        count = builder.sub(end, start)
        sizes = Extents(builder, {size: count})
        for part, one in zip(parts, arguments, strict=True):
            for number in part.requested:
                pitch = as_i64(one.pitches[number])
                first = offset_pointer(builder, one.pointers[number], builder.mul(start, pitch))
                emit_request(builder, first, builder.mul(count, pitch))
        for part, one in zip(parts, arguments, strict=True):
            pointers = [
                pointer if private else offset_pointer(builder, pointer, multiply(builder, start, pitch))
                for pointer, pitch, private in zip(one.pointers, one.pitches, part.private, strict=True)
            ]
            given = zip(one.extents, part.kernel.numbered().extents, strict=True)
            extents = [sizes.value(dim) if extent is None else extent for extent, dim in given]
            builder.call(self._functions.function(part.kernel), [*pointers, *one.scalars, *extents])


@dataclass
class Arguments:
    """What a kernel is called with; an extent that depends on the number of rows is None."""

    pointers: list[ir.Value]
    scalars: list[ir.Value]
    extents: list[ir.Value | None]
    pitches: list[int | ir.Value]

    def form(self) -> tuple[Any, ...]:
        """Return which of them the code that is called knows, and the types of the others."""
        scalars = tuple(str(value.type) for value in self.scalars)
        known = tuple(one if isinstance(one, int) else None for one in self.pitches)
        return scalars, tuple(one is None for one in self.extents), known

    def given(self, values: Iterator[ir.Value]) -> Arguments:
        """Return the arguments that the next values are, in the order of `in_context`."""
        return Arguments(
            [next(values) for _ in self.pointers],
            [next(values) for _ in self.scalars],
            [None if one is None else next(values) for one in self.extents],
            [one if isinstance(one, int) else next(values) for one in self.pitches],
        )

    def of_thread(self, builder: ir.IRBuilder, part: Part, thread: ir.Value) -> Arguments:
        """Return the arguments with a thread's rooms, of arrays there for a block only."""
        pointers = [
            offset_pointer(builder, pointer, multiply(builder, thread, private))
            for pointer, private in zip(self.pointers, part.private, strict=True)
        ]
        return replace(self, pointers=pointers)

    def in_context(self) -> list[ir.Value]:
        """Return the values that a task cannot know."""
        return [
            *self.pointers,
            *self.scalars,
            *(extent for extent in self.extents if extent is not None),
            *(pitch for pitch in self.pitches if not isinstance(pitch, int)),
        ]


class Loaded:
    """Loads what `Arguments.in_context` has stored, in its order."""

    def __init__(self, builder: ir.IRBuilder, memory: ir.Value) -> None:
        self._builder, self._memory, self._next = builder, memory, 0

    def _value(self, like: ir.Value) -> ir.Value:
        place = self._builder.gep(self._memory, [ir.Constant(I64, self._next)], source_etype=I64)
        self._next += 1
        return self._builder.load(place, typ=like.type)

    def arguments(self, like: Arguments) -> Arguments:
        return Arguments(
            [self._value(one) for one in like.pointers],
            [self._value(one) for one in like.scalars],
            [None if one is None else self._value(one) for one in like.extents],
            [one if isinstance(one, int) else self._value(one) for one in like.pitches],
        )


def unknown_count(builder: ir.IRBuilder, count: int) -> ir.Value:
    """Return a number that LLVM does not know: it would make code for so few rows, with lanes that are masked."""
    nothing = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0", side_effect=False)
    return builder.call(nothing, [ir.Constant(I64, count)])
