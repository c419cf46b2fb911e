"""Fused kernels as functions.

Owns `FusedFunctions`, which emits a function for every different `FusedKernel` of a module and calls it. Invariant:
each element is computed once, all stores of an element follow all its loads, and the operations are those of the
graph in their order: nothing is reassociated or contracted, and sums go through `janusjit.backend.llvm.reduce`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir

from janusjit.backend.fused import FusedKernel, Reduction
from janusjit.backend.llvm import reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.fused_aligned import Aligned
from janusjit.backend.llvm.fused_delayed import emit_delayed
from janusjit.backend.llvm.fused_elements import ElementCode, Row
from janusjit.backend.llvm.fused_repeats import Repeats
from janusjit.backend.llvm.fused_rows import reduce_row
from janusjit.backend.llvm.fused_transposed import Transposed
from janusjit.backend.llvm.fused_vectors import emit_elements, emit_moves, emit_totals
from janusjit.backend.llvm.kernel_memory import call_kernel
from janusjit.backend.llvm.loops import Cursor, Place, emit_nest
from janusjit.backend.llvm.quick_code import QuickCode
from janusjit.backend.llvm.values import VOID, KernelContext, PythonEmitter, Scalar


class FusedFunctions:
    """The functions of a module's fused kernels, each emitted at its first use; ``quick`` is told of their calls.

    ``lasting`` are the kernels that move an element to where no later turn of the loop around them writes.
    """

    def __init__(
        self, module: ir.Module, python: PythonEmitter, quick: QuickCode, lasting: Iterable[FusedKernel] = ()
    ) -> None:
        self._module, self._python, self._quick = module, python, quick
        self._lasting = set(map(id, lasting))
        self._functions: dict[tuple[Any, ...], ir.Function] = {}

    def call(
        self,
        builder: ir.IRBuilder,
        kernel: FusedKernel,
        pointers: Sequence[ir.Value],
        scalars: Sequence[Scalar],
        extents: Sequence[ir.Value],
        nanoseconds: float | None = None,
    ) -> None:
        """Emit a call of the kernel with the addresses of its arrays, its scalars and its extents.

        ``nanoseconds`` is what it is expected to take, if it happens once in a call of the entry function at most.
        """
        function = self._function(kernel)
        if kernel.moves_one_element:  # what is stored is computed before, as it is for a call, in each turn of a loop
            if id(kernel) not in self._lasting:
                scalars = [self._python.pinned(builder, scalar) for scalar in scalars]
        else:
            self._quick.note(function, nanoseconds)
        call_kernel(self._python, builder, function, [*pointers, *(scalar.value for scalar in scalars), *extents])

    def function(self, kernel: FusedKernel) -> ir.Function:
        """Return the function of a kernel, for any number of calls."""
        function = self._function(kernel)
        self._quick.note(function, None)
        return function

    def _function(self, kernel: FusedKernel) -> ir.Function:
        key = kernel.key()
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._emit(kernel)
        return function

    def _emit(self, kernel: FusedKernel) -> ir.Function:
        signature = ir.FunctionType(VOID, ElementCode.argument_types(kernel))
        function = ir.Function(self._module, signature, f"fused.{len(self._functions)}")
        function.linkage = "internal"
        function.attributes.add("nounwind")
        # of other kernels one copy for all calls, and less for LLVM to do
        function.attributes.add("alwaysinline" if kernel.moves_one_element else "noinline")
        if kernel.open:
            function.attributes.add("noduplicate")  # nor copies for some of its sizes
        context = KernelContext(function, self._python)
        context.computes_elements_only = not kernel.is_total
        dims = [axis for axis, _ in enumerate(kernel.dims)]
        _Nest(ElementCode.of(kernel, context, dims)).emit()
        context.finish()
        context.mark_vectors()
        return function


class _Nest:
    """The loops of one kernel."""

    def __init__(self, code: ElementCode) -> None:
        self.code, self.kernel, self.context = code, code.kernel, code.context
        self.targets = [reduction.target for reduction in code.kernel.reductions]

    def emit(self) -> None:
        """Emit the loops."""
        dims, cursors, reduced = self.code.dims, self.code.cursors, self.kernel.reduced
        special = None if self.kernel.reductions else self._special()
        if self.kernel.delay is not None:
            emit_delayed(self.code, self.kernel.delay)
        elif special is not None:
            special.emit(self.code, self._compute)
        elif not self.kernel.reductions:
            emit_elements(self.code, dims, cursors, self._compute)
        elif reduced and reduced[-1]:
            if any(self._outer()):
                self._initialize()
            emit_nest(self.context, dims[: len(self._outer())], cursors, self._reduce_row)
        else:
            self._initialize()
            self._emit_totals()

    def _special(self) -> Repeats | Transposed | Aligned | None:
        return Repeats.of(self.code) or Transposed.of(self.code) or Aligned.of(self.code)

    def _outer(self) -> list[bool]:
        """Return which loops around the rows that are reduced as one are reductions themselves."""
        return self.kernel.reduced[: len(self.kernel.dims) - self.kernel.flat_dims]

    def _compute(self, cursors: Sequence[Place], row: Row | None) -> None:
        self.code.emit(cursors, row)

    # -- reductions

    def _initialize(self) -> None:
        """Emit the setting of every result to its identity."""
        kept = [axis for axis, reduced in enumerate(self.kernel.reduced) if not reduced]
        cursors = [self.code.cursors[target] for target in self.targets]
        cursors = [Cursor(c.dtype, c.pointer, tuple(c.strides[axis] for axis in kept)) for c in cursors]

        def initialize(current: Sequence[Place], row: Row | None) -> None:
            for reduction, cursor in zip(self.kernel.reductions, current, strict=True):
                cursor.store(self.context.builder, self._identity(reduction, row))

        emit_moves(self.context, [self.code.dims[axis] for axis in kept], cursors, initialize, cursors)

    def _identity(self, reduction: Reduction, row: Row | None = None) -> Scalar:
        dtype = self.kernel.dtypes[reduction.target]
        emitter = LLVMScalarEmitter(self.context.builder, lanes=1 if row is None else row.lanes)
        return emitter.constant(reduce.identity(reduction.kind, dtype), dtype)

    def _emit_totals(self) -> None:
        """Emit the reduction of other dimensions than the innermost."""
        dims, cursors, reduced = self.code.dims, self.code.cursors, self.kernel.reduced
        if not (len(dims) > 1 and reduced[-2] and emit_totals(self.code, dims, cursors, self.targets, self._combined)):
            emit_elements(self.code, dims, cursors, self._accumulate)

    def _accumulate(self, cursors: Sequence[Place], row: Row | None) -> None:
        """Emit the combination of the current elements with the totals in memory."""
        values = self.code.emit(cursors, row)
        before = [cursors[target].load(self.context.builder) for target in self.targets]
        for target, total in zip(self.targets, self._combined(before, values, row), strict=True):
            cursors[target].store(self.context.builder, total)

    def _combined(self, totals: Sequence[Scalar], values: Sequence[Scalar], row: Row | None) -> list[Scalar]:
        """Emit the combination of totals with an element each."""
        emitter = LLVMScalarEmitter(self.context.builder, lanes=1 if row is None else row.lanes)
        return [
            reduce.combine(emitter, reduction.kind, total, reduce.element(emitter, reduction.kind, value))
            for reduction, total, value in zip(self.kernel.reductions, totals, values, strict=True)
        ]

    def _reduce_row(self, cursors: Sequence[Cursor]) -> None:
        """Emit the reduction of the innermost dimensions."""
        outermost = not any(self._outer())
        builder = self.context.builder
        before = [
            self._identity(reduction) if outermost else cursors[reduction.target].load(builder)
            for reduction in self.kernel.reductions
        ]
        totals = reduce_row(self.code, cursors, before)
        for target, total in zip(self.targets, totals, strict=True):
            cursors[target].store(builder, total)
