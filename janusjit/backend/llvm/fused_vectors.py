"""Elementwise loops of fused kernels as vector code.

Owns `emit_elements` and `emit_row_behind`, which emit loops around the computation of elements: the innermost by
vectors where its arrays' elements lie side by side or are one, and the machine can leave out lanes of loads and
stores. LLVM's loop vectoriser does the same to loops over elements, and does the others; it takes several times as
long, and for what is left after whole vectors it makes a loop of scalars. Invariants: memory beyond the row is not
touched; a lane without an element computes what one does that is there, so no flag is raised that no element raises;
what is the same for all elements of a row is computed once, and not at all for a row without elements.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from janusjit.backend.fused import Argument, Element, Literal, Outcome, Source
from janusjit.backend.llvm import engine, vector_math
from janusjit.backend.llvm.division import LEAST, Divisor
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.fused_elements import ElementCode, Row
from janusjit.backend.llvm.lanes import splat, widened
from janusjit.backend.llvm.loops import Cursor, Place, emit_nest, turns
from janusjit.backend.llvm.values import (
    I64,
    Extent,
    KernelContext,
    Scalar,
    as_i64,
    item_size,
)
from janusjit.backend.llvm.vector_places import Everywhere, Mask, Neighbours
from janusjit.ops.registry import OPS, Elementwise

#: what computes the elements the cursors are at
Compute = Callable[[Sequence[Place], "Row | None"], None]

#: loops of at most so many vectors are written out, where it is known how many there are
WRITTEN_OUT = 2
#: loops of so many vectors have code of their own for what is left after whole ones, even if it is long
MANY = 16
#: sums of so many vectors are kept in registers
TOTALS = 8
#: no vector has more lanes
ROOM = 128
#: a mask has so many lanes at most
MASKED = 64


def emit_elements(
    code: ElementCode,
    dims: Sequence[Extent],
    cursors: Sequence[Cursor],
    compute: Compute,
    stored: Iterable[int] | None = None,
    roomy: Container[int] = (),
) -> None:
    """Emit loops over ``dims``, outermost first, around what ``compute`` emits for the elements there.

    It stores to the ``stored`` ones of the cursors, by default to those of all arrays that the kernel writes. Behind
    the ``roomy`` ones there are `ROOM` more elements for which there is memory.
    """
    written = [cursors[number] for number in (code.kernel.written() if stored is None else stored)]
    if code.is_alone or not dims or not _has_vectors(cursors, written):
        code.context.needs_passes = code.context.needs_passes or bool(dims)
        emit_nest(code.context, dims, cursors, lambda inner: compute(inner, None), code.is_long)
        return
    emit_nest(
        code.context,
        dims[:-1],
        cursors,
        lambda inner: _Rows(code.context, inner, dims[-1], compute, code, roomy).emit(),
    )


def emit_row_behind(
    code: ElementCode,
    cursors: Sequence[Cursor],
    count: Extent,
    compute: Compute,
    before: ir.Value,
    streamed: Container[int] = (),
    is_streamed: ir.Value | None = None,
) -> None:
    """Emit the loop over a row of ``count`` elements, such that whole vectors begin behind the first ``before``.

    Those are fewer than vectors have lanes, and no more than there are. Where ``is_streamed`` holds, whole vectors of
    the ``streamed`` arrays are lines of the cache, and written past it. The machine can leave out lanes, and the
    arrays' elements lie side by side or are one.
    """
    rows = _Rows(code.context, cursors, count, compute, code)
    rows.emit(lambda: rows.emit_behind(before, streamed, is_streamed))


def emit_totals(
    code: ElementCode,
    dims: Sequence[Extent],
    cursors: Sequence[Cursor],
    targets: Sequence[int],
    combine: Callable[[Sequence[Scalar], Sequence[Scalar], Row], list[Scalar]],
) -> bool:
    """Emit loops that combine rows of few elements, which are in registers meanwhile, if there are registers enough.

    Parameters
    ----------
    code, cursors
        The kernel, and its arrays before the loops.
    dims
        The last but one is reduced over, the last is not.
    targets
        The arrays that hold what is combined with.
    combine
        Emits the combination of totals with an element each; returns the totals.
    """
    count, written = dims[-1], [cursors[number] for number in code.kernel.written()]
    if code.is_alone or not isinstance(count, int) or count == 0 or not _has_vectors(cursors, written):
        return False
    if -(-count // _Rows(code.context, cursors, count, _nothing, code).lanes) * len(targets) > TOTALS:
        return False
    dtypes = [code.cursors[number].dtype for number in targets]

    def emit_block(inner: Sequence[Cursor]) -> None:
        builder = code.context.builder
        heads = [Cursor(cursor.dtype, cursor.pointer, cursor.strides[1:]) for cursor in inner]
        row = _Rows(code.context, heads, count, _nothing, code)
        row.prepare()
        pieces = row.pieces(count)
        places = [row.places(*piece)[number] for piece in pieces for number in targets]
        before = [place.load(builder).value for place in places]
        with turns(code.context, (ir.Constant(I64, 0), as_i64(dims[-2])), 1, before) as (index, carried):
            row = _Rows(code.context, [cursor.enter(builder, index) for cursor in inner], count, _nothing, code)
            row.prepare()
            for number, piece in enumerate(pieces):
                part = slice(number * len(targets), (number + 1) * len(targets))
                totals = [Scalar(dtype, value) for dtype, value in zip(dtypes, carried[part], strict=True)]
                following = combine(totals, code.emit(row.places(*piece), row.row), row.row)
                carried[part] = [total.value for total in following]
        for place, value, dtype in zip(places, carried, dtypes * len(pieces), strict=True):
            place.store(builder, Scalar(dtype, value))

    emit_nest(code.context, dims[:-2], cursors, emit_block)
    return True


def _nothing(places: Sequence[Place], row: Row | None) -> None:
    """Emit nothing."""


def emit_moves(
    context: KernelContext,
    dims: Sequence[Extent],
    cursors: Sequence[Cursor],
    move: Compute,
    written: Sequence[Cursor],
) -> None:
    """Emit loops over ``dims`` around what ``move`` emits, which computes nothing; it stores to the ``written``."""
    if not dims or not _has_vectors(cursors, written):
        context.needs_passes = context.needs_passes or bool(dims)
        emit_nest(context, dims, cursors, lambda inner: move(inner, None))
        return
    emit_nest(context, dims[:-1], cursors, lambda inner: _Rows(context, inner, dims[-1], move).emit())


def emit_copy(context: KernelContext, dims: Sequence[Extent], source: Cursor, target: Cursor) -> None:
    """Emit loops over ``dims`` that copy elements."""

    def copy(cursors: Sequence[Place], row: Row | None) -> None:
        cursors[1].store(context.builder, cursors[0].load(context.builder))

    emit_moves(context, dims, [source, target], copy, [target])


def _has_vectors(cursors: Sequence[Cursor], written: Sequence[Cursor]) -> bool:
    """Return whether the innermost loop can be done by vectors: strides are known, and lanes can be left out."""
    if not engine.has_masked_lanes() or any(cursor.strides[-1] == 0 for cursor in written):
        return False
    return all(cursor.strides[-1] in (0, item_size(cursor.dtype)) for cursor in cursors)


def _calls_functions(code: ElementCode) -> bool:
    """Return whether the elements take calls of functions, which compute a vector at a time."""
    return any(vector_math.is_called(instruction.op, instruction.dtype) for instruction in code.kernel.instructions)


class _Rows:
    """The innermost loop of a nest, for the row the cursors are at."""

    def __init__(
        self,
        context: KernelContext,
        cursors: Sequence[Cursor],
        count: Extent,
        compute: Compute,
        code: ElementCode | None = None,
        roomy: Container[int] = (),
    ) -> None:
        self.context, self.cursors, self.compute = context, cursors, compute
        self.roomy = roomy
        self.is_long = code is not None and code.is_long and not _calls_functions(code)
        self.instructions = [] if code is None else code.kernel.instructions
        self.scalars = [] if code is None else code.scalars
        self.loaded = set(range(len(cursors))) if code is None else code.kernel.loaded()
        self.count = count.constant if isinstance(count, ir.Constant) else count
        dtypes = [cursor.dtype for cursor in cursors] + [instruction.dtype for instruction in self.instructions]
        self.lanes = engine.vector_bytes() // max(map(item_size, dtypes))
        if self.is_long and not self._is_below(2 * self.lanes) and 2 * self.lanes <= MASKED:
            self.lanes *= 2
        self.row = Row(self.lanes, [], {})

    @property
    def builder(self) -> ir.IRBuilder:
        return self.context.builder

    def emit(self, emit_row: Callable[[], None] | None = None) -> None:
        """Emit the loop, or what is given, for rows that have elements."""
        emit_row = emit_row or self._emit_row
        if isinstance(self.count, int):
            if self.count > 0:
                emit_row()
            return
        with self.builder.if_then(self.builder.icmp_signed(">", self.count, ir.Constant(I64, 0))):
            emit_row()

    def _emit_row(self) -> None:
        self.prepare()
        if isinstance(self.count, int):
            self._emit_known(self.count)
        else:
            count = as_i64(self.count)
            whole = self.builder.and_(count, ir.Constant(I64, -self.lanes))
            with self._turns(ir.Constant(I64, 0), whole) as index:
                self._emit_vector(index, None)
            with self.builder.if_then(self.builder.icmp_signed("<", whole, count)):
                self._emit_vector(whole, self._left(whole))

    def _emit_known(self, count: int) -> None:
        """Emit the loop over a known number of elements."""
        whole = count - count % self.lanes
        if whole <= WRITTEN_OUT * self.lanes:
            for first in range(0, whole, self.lanes):
                self._emit_vector(ir.Constant(I64, first), None)
        elif whole < count and self.is_long and count < MANY * self.lanes:
            with self._turns(ir.Constant(I64, 0), ir.Constant(I64, count)) as index:
                self._emit_vector(index, self._left(index))
            return
        else:
            with self._turns(ir.Constant(I64, 0), ir.Constant(I64, whole)) as index:
                self._emit_vector(index, None)
        if whole < count:
            self._emit_vector(ir.Constant(I64, whole), ir.Constant(I64, count - whole))

    def emit_behind(self, before: ir.Value, streamed: Container[int], is_streamed: ir.Value | None) -> None:
        """Emit the loop of `emit_row_behind`, for a row that has elements.

        What is before whole vectors and what is left after them is done by one piece of code, in two turns.
        """
        self.prepare()
        builder, count = self.builder, as_i64(self.count)
        whole = builder.and_(builder.sub(count, before), ir.Constant(I64, -self.lanes))
        end = builder.add(before, whole)
        left = builder.sub(count, end)
        with self.context.loop(2) as turn:
            is_first = builder.icmp_signed("==", turn, ir.Constant(I64, 0))
            some = builder.select(is_first, before, left)
            with builder.if_then(builder.icmp_signed(">", some, ir.Constant(I64, 0))):
                self._emit_vector(builder.select(is_first, ir.Constant(I64, 0), end), some)
            first = builder.select(is_first, before, end)
            if is_streamed is None:
                self._emit_whole(first, end)
            else:
                with builder.if_else(is_streamed, likely=True) as (past_the_caches, as_usual):
                    with past_the_caches:
                        self._emit_whole(first, end, streamed)
                    with as_usual:
                        self._emit_whole(first, end)

    def _emit_whole(self, first: ir.Value, end: ir.Value, streamed: Container[int] = ()) -> None:
        """Emit the loop over whole vectors."""
        with self._turns(first, end) as index:
            self._emit_vector(index, None, streamed)

    def _is_below(self, limit: int) -> bool:
        return isinstance(self.count, int) and self.count < limit

    @contextmanager
    def _turns(self, first: ir.Value, end: ir.Value) -> Iterator[ir.Value]:
        """Emit ``for index in range(first, end, lanes)``; the ``with`` body emits the loop's."""
        with turns(self.context, (first, end), self.lanes, []) as (index, carried):
            del carried
            yield index

    def _left(self, index: ir.Value) -> ir.Value:
        return self.builder.sub(as_i64(self.count), index)

    def _emit_vector(self, first: ir.Value, left: ir.Value | None, streamed: Container[int] = ()) -> None:
        """Emit the computation of a vector of elements from ``first`` on, or of the ``left`` ones: at least one."""
        self.compute(self.places(first, None if left is None else self._mask(left), streamed), self.row)

    def places(self, first: ir.Value, mask: Mask | None, streamed: Container[int] = ()) -> list[Place]:
        """Return what stands for the arrays' elements from ``first`` on, those that the mask has."""
        return [
            place
            if isinstance(place, Everywhere)
            else Neighbours(
                place.dtype, place.pointer, first, self.lanes, mask, number in self.roomy, number in streamed
            )
            for number, place in enumerate(self._arrays)
        ]

    def pieces(self, count: int) -> list[tuple[ir.Value, Mask | None]]:
        """Return where the vectors of a row of ``count`` elements begin, and which elements they have."""
        starts = [ir.Constant(I64, first) for first in range(0, count, self.lanes)]
        return [(start, self._mask(ir.Constant(I64, count - start.constant))) for start in starts]

    def _mask(self, left: ir.Value) -> Mask | None:
        """Return the mask of the lanes for which there are elements ``left``; None if there are for all."""
        builder, everything = self.builder, ir.Constant(I64, (1 << self.lanes) - 1)
        if isinstance(left, ir.Constant):
            found = ir.Constant(I64, (1 << left.constant) - 1)
            return None if left.constant >= self.lanes else Mask.of(builder, found, self.lanes)
        some = builder.sub(builder.shl(ir.Constant(I64, 1), left), ir.Constant(I64, 1))
        enough = builder.icmp_signed("<", left, ir.Constant(I64, self.lanes))
        return Mask.of(builder, builder.select(enough, some, everything), self.lanes)

    # -- what is the same for all elements

    def prepare(self) -> None:
        """Emit what is computed once for the row."""
        builder = self.builder
        emitter = LLVMScalarEmitter(builder)
        same = {number for number in self.loaded if self.cursors[number].strides[-1] == 0}
        loaded = {number: self.cursors[number].load(builder) for number in sorted(same)}
        outcomes: dict[int, Scalar] = {}

        def is_same(source: Source) -> bool:
            if isinstance(source, Element):
                return source.number in same
            return isinstance(source, (Argument, Literal)) or source.number in outcomes

        def fetch(source: Source) -> Scalar:
            if isinstance(source, Argument):
                return self.scalars[source.number]
            if isinstance(source, Literal):
                return emitter.constant(source.value, source.dtype)
            return outcomes[source.number] if isinstance(source, Outcome) else loaded[source.number]

        divisors: dict[Source, Divisor] = {}
        is_worth_it = not self._is_below(LEAST)
        for number, instruction in enumerate(self.instructions):
            *_, last = instruction.sources
            if all(map(is_same, instruction.sources)):
                lowering = OPS[instruction.op].lowering
                assert isinstance(lowering, Elementwise)
                operands = emitter.operands_of(instruction.op, map(fetch, instruction.sources))
                outcomes[number] = lowering.scalar(emitter, *operands, **instruction.attributes)
            elif instruction.op == "divide" and instruction.dtype == "f64" and is_same(last) and is_worth_it:
                if last not in divisors:
                    divisors[last] = Divisor.of(builder, fetch(last), self.lanes)
                self.row.divisors[number] = divisors[last]
        self.row.scalars = [self._everywhere(scalar) for scalar in self.scalars]
        self.row.outcomes = {number: self._everywhere(outcome) for number, outcome in outcomes.items()}
        self._arrays: list[Cursor | Everywhere] = [
            Everywhere(cursor.dtype, self._everywhere(loaded[number])) if number in same else cursor
            for number, cursor in enumerate(self.cursors)
        ]

    def _everywhere(self, x: Scalar) -> Scalar:
        return Scalar(x.dtype, splat(self.builder, x.value, widened(x.value.type, self.lanes)))
