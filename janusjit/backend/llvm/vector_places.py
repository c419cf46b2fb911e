"""What stands for the element of an array in code that computes many elements at a time.

Owns `Mask`, and `Everywhere` and `Neighbours`, vectors in the place of a `janusjit.backend.llvm.loops.Cursor`.
Invariant: memory of elements that a mask leaves out is not touched; for them there is a copy of one that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.lanes import LANES_OF_BYTES, constant, resized, splat
from janusjit.backend.llvm.values import I1, I8, I32, VOID, Scalar, declare, item_size, memory_type


@dataclass(frozen=True, slots=True)
class Mask:
    """Which lanes have an element: the first has one.

    Attributes
    ----------
    lanes
        A vector of bits.
    of_bytes
        The same for a vector of bytes, filled up to a register. LLVM would fill it up itself, with zeros; where it
        keeps the result on the stack meanwhile, LLVM 22 loses them, and elements that are not there are written.
    """

    lanes: ir.Value
    of_bytes: ir.Value

    @staticmethod
    def of(builder: ir.IRBuilder, bits: ir.Value, lanes: int) -> Mask:
        """Return the mask that has the lanes of an ``i64``'s bits, of which no others are set."""
        short, long = (_bits(builder, bits, count) for count in (lanes, max(lanes, LANES_OF_BYTES)))
        return Mask(short, short if lanes >= LANES_OF_BYTES else long)


def _bits(builder: ir.IRBuilder, bits: ir.Value, count: int) -> ir.Value:
    type_ = ir.IntType(count)
    if isinstance(bits, ir.Constant):
        bits = ir.Constant(type_, bits.constant)
    elif count < bits.type.width:
        bits = builder.trunc(bits, type_)
    return builder.bitcast(bits, ir.VectorType(I1, count))


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
        The lanes that have an element; None for all.
    is_roomy
        Whether there is memory for all lanes, to which anything may be stored.
    is_streamed
        Whether whole vectors are lines of the cache, past which they are to be written.
    """

    dtype: str
    pointer: ir.Value
    index: ir.Value
    lanes: int
    mask: Mask | None
    is_roomy: bool = False
    is_streamed: bool = False

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
            mask = self._mask_of(self.mask)
            type_ = ir.VectorType(element, mask.type.count)
            one = splat(builder, builder.load(pointer, typ=element, align=size), type_)
            name = f"llvm.masked.load.v{type_.count}{element.intrinsic_name}.p0"
            function = declare(builder.module, name, type_, [pointer.type, I32, mask.type, type_])
            raw = resized(builder, builder.call(function, [pointer, ir.Constant(I32, size), mask, one]), self.lanes)
        if self.dtype == "bool":
            raw = builder.icmp_unsigned("!=", raw, constant(raw.type, 0))
        return Scalar(self.dtype, raw)

    def store(self, builder: ir.IRBuilder, value: Scalar) -> None:
        """Store the elements that are there."""
        size, raw, pointer = item_size(self.dtype), value.value, self._at(builder)
        if self.dtype == "bool":
            raw = builder.zext(raw, ir.VectorType(I8, self.lanes))
        if self.mask is None or self.is_roomy:
            stored = builder.store(raw, pointer, align=self.lanes * size if self.is_streamed else size)
            if self.is_streamed:
                stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
            return
        mask = self._mask_of(self.mask)
        raw = resized(builder, raw, mask.type.count)
        name = f"llvm.masked.store.v{raw.type.count}{raw.type.element.intrinsic_name}.p0"
        function = declare(builder.module, name, VOID, [raw.type, pointer.type, I32, mask.type])
        builder.call(function, [raw, pointer, ir.Constant(I32, size), mask])

    def _mask_of(self, mask: Mask) -> ir.Value:
        return mask.of_bytes if item_size(self.dtype) == 1 else mask.lanes
