"""Fused kernels as functions.

Owns `FusedFunctions`, which emits a function for every different `FusedKernel` of a module and calls it. Invariant:
each element is computed once, all stores of an element follow all its loads, and the operations are those of the
graph in their order: nothing is reassociated or contracted, and sums go through `janusjit.backend.llvm.reduce`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from janusjit.backend.fused import FusedKernel, Reduction
from janusjit.backend.llvm import reduce
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.fused_aligned import Aligned
from janusjit.backend.llvm.fused_delayed import emit_delayed
from janusjit.backend.llvm.fused_elements import ElementCode
from janusjit.backend.llvm.fused_repeats import Repeats
from janusjit.backend.llvm.fused_rows import reduce_row
from janusjit.backend.llvm.fused_transposed import Transposed
from janusjit.backend.llvm.loops import Cursor, emit_nest
from janusjit.backend.llvm.values import VOID, KernelContext, PythonEmitter, Scalar


class FusedFunctions:
    """The functions of a module's fused kernels, each emitted at its first use."""

    def __init__(self, module: ir.Module, python: PythonEmitter) -> None:
        self._module, self._python = module, python
        self._functions: dict[tuple[Any, ...], ir.Function] = {}

    def call(
        self,
        builder: ir.IRBuilder,
        kernel: FusedKernel,
        pointers: Sequence[ir.Value],
        scalars: Sequence[Scalar],
        extents: Sequence[ir.Value],
    ) -> None:
        """Emit a call of the kernel with the addresses of its arrays, its scalars and its extents."""
        builder.call(self.function(kernel), [*pointers, *(scalar.value for scalar in scalars), *extents])

    def function(self, kernel: FusedKernel) -> ir.Function:
        """Return the function of a kernel."""
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
        function.attributes.add("noinline")  # one copy for all calls, and less for LLVM to do
        if kernel.open:
            function.attributes.add("noduplicate")  # nor copies for some of its sizes
        context = KernelContext(function, self._python)
        context.computes_elements_only = not kernel.is_total
        dims = [axis for axis, _ in enumerate(kernel.dims)]
        _Nest(ElementCode.of(kernel, context, dims)).emit()
        context.finish()
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
            emit_nest(self.context, dims, cursors, self._compute, self.code.is_long)
        elif reduced and reduced[-1]:
            if any(self._outer()):
                self._initialize()
            emit_nest(self.context, dims[: len(self._outer())], cursors, self._reduce_row)
        else:
            self._initialize()
            emit_nest(self.context, dims, cursors, self._accumulate, self.code.is_long)

    def _special(self) -> Repeats | Transposed | Aligned | None:
        return Repeats.of(self.code) or Transposed.of(self.code) or Aligned.of(self.code)

    def _outer(self) -> list[bool]:
        """Return which loops around the rows that are reduced as one are reductions themselves."""
        return self.kernel.reduced[: len(self.kernel.dims) - self.kernel.flat_dims]

    def _compute(self, cursors: Sequence[Cursor]) -> None:
        self.code.emit(cursors)

    # -- reductions

    def _initialize(self) -> None:
        """Emit the setting of every result to its identity."""
        kept = [axis for axis, reduced in enumerate(self.kernel.reduced) if not reduced]
        cursors = [self.code.cursors[target] for target in self.targets]
        cursors = [Cursor(c.dtype, c.pointer, tuple(c.strides[axis] for axis in kept)) for c in cursors]

        def initialize(current: Sequence[Cursor]) -> None:
            for reduction, cursor in zip(self.kernel.reductions, current, strict=True):
                cursor.store(self.context.builder, self._identity(reduction))

        emit_nest(self.context, [self.code.dims[axis] for axis in kept], cursors, initialize)

    def _identity(self, reduction: Reduction) -> Scalar:
        dtype = self.kernel.dtypes[reduction.target]
        emitter = LLVMScalarEmitter(self.context.builder)
        return emitter.constant(reduce.identity(reduction.kind, dtype), dtype)

    def _accumulate(self, cursors: Sequence[Cursor]) -> None:
        """Emit the combination of the current elements with the totals in memory."""
        values = self.code.emit(cursors)
        builder = self.context.builder
        emitter = LLVMScalarEmitter(builder)
        for reduction, value in zip(self.kernel.reductions, values, strict=True):
            x = reduce.element(emitter, reduction.kind, value)
            target = cursors[reduction.target]
            target.store(builder, reduce.combine(emitter, reduction.kind, target.load(builder), x))

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
