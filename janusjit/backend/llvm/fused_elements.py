"""The computation of one element of a fused kernel.

Owns `ElementCode`, a kernel inside one LLVM function. Invariant: functions that compute elements of a kernel take their
arguments in one order: arrays, scalars, symbolic extents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llvmlite import ir

from janusjit.backend import cost
from janusjit.backend.fused import Argument, FusedKernel, Literal, Outcome, Size, Source
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.division import Divisor
from janusjit.backend.llvm.emitter import LLVMScalarEmitter
from janusjit.backend.llvm.loops import Cursor, Place
from janusjit.backend.llvm.values import I8, I64, POINTER, Extent, KernelContext, Scalar, register_type
from janusjit.ops.registry import OPS, Elementwise


@dataclass
class Row:
    """What the elements have in common that are computed together, each in a lane of vectors.

    Attributes
    ----------
    lanes : int
        How many elements those are.
    scalars : list of Scalar
        The kernel's scalar arguments, in every lane.
    outcomes : dict
        Outcomes that are the same for all elements of the row, in every lane, by the number of the instruction.
    divisors : dict
        What all elements of the row are divided by, where that is no division any more, by the instruction's number.
    """

    lanes: int
    scalars: list[Scalar]
    outcomes: dict[int, Scalar]
    divisors: dict[int, Divisor] = field(default_factory=dict)


@dataclass(frozen=True)
class ElementCode:
    """A kernel in the terms of the function ``context`` is building.

    Attributes
    ----------
    cursors : list of Cursor
        The arrays, before the first loop the function emits.
    dims : list of Extent
        The loops it emits.
    scalars : list of Scalar
        The scalar arguments.
    """

    kernel: FusedKernel
    context: KernelContext
    cursors: list[Cursor]
    dims: list[Extent]
    scalars: list[Scalar]

    @property
    def is_long(self) -> bool:
        """Whether an element takes so many instructions, one after the other, that two vectors should be under way."""
        length = sum(cost.operation_cost(instruction.op) for instruction in self.kernel.instructions)
        return length >= cost.INTERLEAVED and engine.has_many_vector_registers()

    @property
    def is_alone(self) -> bool:
        """Whether there is one element only."""
        return all(dim == 1 for dim in self.kernel.dims)

    @staticmethod
    def argument_types(kernel: FusedKernel) -> list[ir.Type]:
        """Return the types of the arguments of a function of the kernel."""
        scalars = [register_type(value.type.dtype) for value in kernel.scalars]
        return [POINTER] * len(kernel.arrays) + scalars + [I64] * len(kernel.numbered().extents)

    @staticmethod
    def of(kernel: FusedKernel, context: KernelContext, axes: Sequence[int]) -> ElementCode:
        """Return the kernel in terms of a function's first arguments; the function emits the loops over ``axes``."""
        arguments = list(context.function.args)
        pointers, arguments = arguments[: len(kernel.arrays)], arguments[len(kernel.arrays) :]
        values, arguments = arguments[: len(kernel.scalars)], arguments[len(kernel.scalars) :]
        for pointer in pointers if kernel.delay is None else ():
            pointer.add_attribute("noalias")
        builder = context.builder
        for number, (other, distance) in kernel.beside().items():
            pointers[number] = builder.gep(pointers[other], [ir.Constant(I64, distance)], source_etype=I8)
        numbered = kernel.numbered()

        def extents(sizes: Sequence[int | Size]) -> list[Extent]:
            picked = [sizes[axis] for axis in axes]
            return [arguments[size.number] if isinstance(size, Size) else size for size in picked]

        return ElementCode(
            kernel,
            context,
            [
                Cursor(dtype, pointer, tuple(extents(strides)))
                for dtype, pointer, strides in zip(kernel.dtypes, pointers, numbered.strides, strict=True)
            ],
            extents(numbered.dims),
            [Scalar(value.type.dtype, argument) for value, argument in zip(kernel.scalars, values, strict=True)],
        )

    def emit(self, places: Sequence[Place], row: Row | None = None) -> list[Scalar]:
        """Emit instructions and stores for the elements at the places; return what the reductions combine.

        For elements of a ``row``, these are vectors.
        """
        builder = self.context.builder
        emitter = LLVMScalarEmitter(builder, self.is_alone, 1 if row is None else row.lanes)
        scalars = self.scalars if row is None else row.scalars
        common: dict[int, Scalar] = {} if row is None else row.outcomes
        divisors: dict[int, Divisor] = {} if row is None else row.divisors
        loaded: dict[int, Scalar] = {}
        outcomes: list[Scalar] = []

        def fetch(source: Source) -> Scalar:
            if isinstance(source, Argument):
                return scalars[source.number]
            if isinstance(source, Literal):
                return emitter.constant(source.value, source.dtype)
            if isinstance(source, Outcome):
                return outcomes[source.number]
            if source.number not in loaded:
                loaded[source.number] = places[source.number].load(builder)
            return loaded[source.number]

        for number, instruction in enumerate(self.kernel.instructions):
            if number in common:
                outcomes.append(common[number])
                continue
            if number in divisors:
                outcomes.append(divisors[number].quotients(builder, fetch(instruction.sources[0])))
                continue
            lowering = OPS[instruction.op].lowering
            assert isinstance(lowering, Elementwise)
            operands = emitter.operands_of(instruction.op, map(fetch, instruction.sources))
            outcomes.append(lowering.scalar(emitter, *operands, **instruction.attributes))
        stored = [(fetch(source), number) for source, number in self.kernel.stores]
        combined = [fetch(reduction.source) for reduction in self.kernel.reductions]
        for value, number in stored:
            places[number].store(builder, value)
        return combined
