"""What stands for the element of an array in code that computes many elements at a time.

Owns `Everywhere` and `Neighbours`, vectors in the place of a `janusjit.backend.llvm.loops.Cursor`. Invariant: memory of
elements that a mask leaves out is not touched; for them there is a copy of one that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.lanes import constant, splat
from janusjit.backend.llvm.values import I8, I32, VOID, Scalar, declare, item_size, memory_type


@dataclass(frozen=True, slots=True)
class Everywhere:
    """An array of which all elements of a row are one, in the place of a `Cursor`."""

    dtype: str
    value: Scalar

    def load(self, builder: ir.IRBuilder) -> Scalar:
        """Return the element in every lane."""
        return self.value

    def store(self, builder: ir.IRBuilder, value: Scalar) -> None:
        """Raise AssertionError: loops that write to one place are not done by vectors."""
        raise AssertionError("a row of which all elements are one place is written to")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A vector of elements that lie side by side, in the place of a `Cursor`.

    Attributes
    ----------
    pointer, index
        Where the row begins, and the number of the first element in it.
    mask
        The lanes that have an element; None for all. The first has one.
    is_roomy
        Whether there is memory for all lanes, to which anything may be stored.
    """

    dtype: str
    pointer: ir.Value
    index: ir.Value
    lanes: int
    mask: ir.Value | None
    is_roomy: bool = False

    def _at(self, builder: ir.IRBuilder) -> ir.Value:
        return builder.gep(self.pointer, [self.index], inbounds=True, source_etype=memory_type(self.dtype))

    def load(self, builder: ir.IRBuilder) -> Scalar:
        """Load the elements, and the first for those that are not there."""
        element = memory_type(self.dtype)
        type_, size = ir.VectorType(element, self.lanes), item_size(self.dtype)
        pointer = self._at(builder)
        if self.mask is None:
            raw = builder.load(pointer, typ=type_, align=size)
        else:
            one = splat(builder, builder.load(pointer, typ=element, align=size), type_)
            name = f"llvm.masked.load.v{self.lanes}{element.intrinsic_name}.p0"
            function = declare(builder.module, name, type_, [pointer.type, I32, self.mask.type, type_])
            raw = builder.call(function, [pointer, ir.Constant(I32, size), self.mask, one])
        if self.dtype == "bool":
            raw = builder.icmp_unsigned("!=", raw, constant(type_, 0))
        return Scalar(self.dtype, raw)

    def store(self, builder: ir.IRBuilder, value: Scalar) -> None:
        """Store the elements that are there."""
        size, raw, pointer = item_size(self.dtype), value.value, self._at(builder)
        if self.dtype == "bool":
            raw = builder.zext(raw, ir.VectorType(I8, self.lanes))
        if self.mask is None or self.is_roomy:
            builder.store(raw, pointer, align=size)
            return
        name = f"llvm.masked.store.v{self.lanes}{raw.type.element.intrinsic_name}.p0"
        function = declare(builder.module, name, VOID, [raw.type, pointer.type, I32, self.mask.type])
        builder.call(function, [raw, pointer, ir.Constant(I32, size), self.mask])
