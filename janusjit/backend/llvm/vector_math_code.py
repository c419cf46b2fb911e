"""Formulas over floats as LLVM instructions.

Owns `FloatCode` and its values `Real`, `Whole` and `Truth`, which let the bodies of mathematical functions be written
with operators, once for every precision and vector width. Invariant: operations are emitted as written, never
reassociated; only `Real.times_plus` may round once or twice, as the processor prefers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.lanes import constant, widened
from janusjit.backend.llvm.values import F32, F64, I1, I32, I64, declare

Number = Union["Real", float]


@dataclass(frozen=True, slots=True)
class Precision:
    """The layout of a floating-point format.

    Attributes
    ----------
    dtype : str
        ``f32`` or ``f64``.
    width, mantissa : int
        Bits altogether, and of the stored mantissa.
    bias : int
        Exponent bias.
    """

    dtype: str
    width: int
    mantissa: int
    bias: int

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def half_ulp(self) -> float:
        """Half a unit in the last place of 1."""
        return 2.0 ** (-self.mantissa - 1)


F32_FORMAT = Precision("f32", 32, 23, 127)
F64_FORMAT = Precision("f64", 64, 52, 1023)


class ConstantPool:
    """The constants of a function side by side in memory, addressed from one register.

    Code that may lie anywhere gets each address by an instruction of its own otherwise, which for formulas full of
    constants is a third of all instructions. The memory is declared variable, lest LLVM takes the constants out again.
    """

    def __init__(self, module: ir.Module, precision: Precision, lanes: int) -> None:
        self._element, self._lanes = ir.IntType(precision.width), lanes
        self._numbers: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        name = module.get_unique_name("janusjit_constants")
        self._memory = ir.GlobalVariable(module, ir.ArrayType(self._element, 0), name)
        self._memory.align = 64

    def load(self, builder: ir.IRBuilder, numbers: tuple[int, ...], type_: ir.Type) -> ir.Value:
        """Emit a load of numbers, given as integers of the width, or of a vector that begins with them."""
        place = self._places.get(numbers)
        if place is None:
            if len(numbers) > 1:
                self._numbers += [0] * (-len(self._numbers) % self._lanes)
            place = self._places[numbers] = len(self._numbers)
            self._numbers += numbers
        pointer = builder.gep(self._memory, [ir.Constant(I64, place)], inbounds=True, source_etype=self._element)
        return builder.load(pointer, typ=type_, align=len(numbers) * self._element.width // 8)

    def finish(self) -> None:
        """Fill the memory, when no more constants will be asked for."""
        type_ = ir.ArrayType(self._element, len(self._numbers))
        self._memory.value_type, self._memory.initializer = type_, ir.Constant(type_, self._numbers)


class FloatCode:
    """Emits formulas in one precision, for a scalar or for vectors.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the instructions go.
    precision : Precision
        Of every `Real`.
    lanes : int
        1 for scalars, else the number of vector elements.
    pool : ConstantPool, optional
        Where constants of vectors are kept.
    """

    def __init__(
        self, builder: ir.IRBuilder, precision: Precision, lanes: int = 1, pool: ConstantPool | None = None
    ) -> None:
        self._pool = pool
        self.builder = builder
        self.precision = precision
        self.lanes = lanes
        self.is_f64 = precision.dtype == "f64"
        self.has_scale_instruction = engine.has_vector_scaling()
        self.real_type = self._widened(F64 if self.is_f64 else F32)
        self.whole_type = self._widened(ir.IntType(precision.width))

    def _widened(self, type_: ir.Type) -> ir.Type:
        return widened(type_, self.lanes)

    def real(self, value: Number) -> Real:
        """Return a number as a `Real`."""
        if isinstance(value, Real):
            return value
        if self._pool is None or value == 0:
            return Real(self, constant(self.real_type, float(value)))
        return Real(self, self._pooled(self._bits_of(value), self.real_type))

    def _bits_of(self, value: float) -> int:
        real, whole = ("<d", "<q") if self.is_f64 else ("<f", "<i")
        return int(struct.unpack(whole, struct.pack(real, value))[0])

    def _pooled(self, bits: int, type_: ir.Type) -> ir.Value:
        """Return a vector all of whose elements are a constant."""
        assert self._pool is not None
        one = self._pool.load(self.builder, (bits,), type_.element)
        undefined = ir.Constant(type_, ir.Undefined)
        first = self.builder.insert_element(undefined, one, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, self.lanes), None))

    def whole(self, value: Whole | int) -> Whole:
        """Return an integer as a `Whole`."""
        if isinstance(value, Whole):
            return value
        if self._pool is None or value == 0:
            return self.immediate(value)
        return Whole(self, self._pooled(value, self.whole_type))

    def immediate(self, value: int) -> Whole:
        """Return an integer that stands in the instruction itself."""
        return Whole(self, constant(self.whole_type, value))

    def intrinsic(self, name: str, *operands: Real) -> Real:
        """Call an LLVM intrinsic whose operands and result are floats."""
        signature = ir.FunctionType(self.real_type, [self.real_type] * len(operands))
        suffix = f"v{self.lanes}{self.precision.dtype}" if self.lanes > 1 else self.precision.dtype
        known = self.builder.module.globals.get(f"{name}.{suffix}")
        function = known or ir.Function(self.builder.module, signature, f"{name}.{suffix}")
        return Real(self, self.builder.call(function, [x.value for x in operands]))

    def select(self, condition: Truth, a: Number, b: Number) -> Real:
        """Return ``a`` where the condition holds, else ``b``."""
        return Real(self, self.builder.select(condition.value, self.real(a).value, self.real(b).value))

    def minimum(self, bound: float, x: Real) -> Real:
        """Return ``x``, but not more than ``bound``; NaN stays."""
        return self.select(self.real(bound) < x, bound, x)

    def maximum(self, bound: float, x: Real) -> Real:
        """Return ``x``, but not less than ``bound``; NaN stays."""
        return self.select(self.real(bound) > x, bound, x)

    def nearest(self, x: Real, factor: float = 1.0) -> tuple[Real, Whole]:
        """Return the integer nearest to ``x * factor``, as a float and as the low bits of an integer.

        The product must be below two to the mantissa's width less one. Adding a number so large that its last place is
        the units place rounds there, and leaves the integer in the low bits.
        """
        shift = 1.5 * 2.0**self.precision.mantissa
        shifted = x.times_plus(factor, shift) if factor != 1.0 else x + shift
        return shifted - shift, shifted.bits

    def power_of_two(self, exponent: Whole) -> Real:
        """Return two to the power in the low bits of ``exponent``, which gives a normal number."""
        one = self.precision.bias << self.precision.mantissa
        return ((exponent << self.precision.mantissa) + one).as_real

    def scaled(self, x: Real, exponent: Real, exponent_bits: Whole) -> Real:
        """Return ``x * 2**exponent``, rounded once; the exponent is a whole number, as `nearest` gives it."""
        if self.has_scale_instruction:
            return self._scaled_by_instruction(x, exponent_bits)
        # one power of two may leave the range of normal numbers, two halves of it do not
        half, half_bits = self.nearest(exponent, 0.5)
        _, rest_bits = self.nearest(exponent - half)
        return x * self.power_of_two(half_bits) * self.power_of_two(rest_bits)

    def _scaled_by_instruction(self, x: Real, exponent_bits: Whole) -> Real:
        exponent = (exponent_bits - self.real(1.5 * 2.0**self.precision.mantissa).bits).value
        narrow_type = self._widened(I32)
        narrow = self.builder.trunc(exponent, narrow_type) if self.is_f64 else exponent
        prefix = f"v{self.lanes}" if self.lanes > 1 else ""
        name = f"llvm.ldexp.{prefix}{self.precision.dtype}.{prefix}i32"
        function = declare(self.builder.module, name, self.real_type, [self.real_type, narrow_type])
        return Real(self, self.builder.call(function, [x.value, narrow]))

    def scaled_by_floor(self, x: Real, exponent: Real) -> Real:
        """Return ``x`` times two to the integer not above ``exponent``, rounded once."""
        if self.has_scale_instruction and self.lanes * self.precision.width == 512:
            return self._scaled_in_one_instruction(x, exponent)
        whole = self.intrinsic("llvm.floor", exponent)
        return self.scaled(x, whole, self.nearest(whole)[1])

    def _scaled_in_one_instruction(self, x: Real, exponent: Real) -> Real:
        mask_type = ir.IntType(self.lanes)
        current_rounding = ir.Constant(I32, 4)
        name = f"llvm.x86.avx512.mask.scalef.{'pd' if self.is_f64 else 'ps'}.512"
        function = declare(self.builder.module, name, self.real_type, [self.real_type] * 3 + [mask_type, I32])
        operands = [x.value, exponent.value, x.value, ir.Constant(mask_type, -1), current_rounding]
        return Real(self, self.builder.call(function, operands))

    def looked_up(self, table: Sequence[float], index: Whole) -> Real:
        """Return the elements of ``table`` at the low bits of ``index``; its length is a power of two."""
        if engine.vector_bytes() == 64 and self.lanes * 2 == len(table) and self.lanes * self.precision.width == 512:
            return self._permuted(table, index)
        type_ = ir.ArrayType(self.real_type if self.lanes == 1 else self.real_type.element, len(table))
        module = self.builder.module
        data = ir.GlobalVariable(module, type_, module.get_unique_name("table"))
        data.linkage, data.global_constant, data.initializer = "private", True, ir.Constant(type_, list(table))
        low_bits = index & (len(table) - 1)
        if self.lanes == 1:
            place = self.builder.gep(data, [low_bits.value], source_etype=self.real_type)
            return Real(self, self.builder.load(place, typ=self.real_type))
        result = ir.Constant(self.real_type, ir.Undefined)
        for lane in range(self.lanes):
            position = self.builder.extract_element(low_bits.value, ir.Constant(I32, lane))
            place = self.builder.gep(data, [position], source_etype=type_.element)
            element = self.builder.load(place, typ=type_.element)
            result = self.builder.insert_element(result, element, ir.Constant(I32, lane))
        return Real(self, result)

    def _permuted(self, table: Sequence[float], index: Whole) -> Real:
        """Return elements of a table that two vector registers hold."""
        parts = (table[: self.lanes], table[self.lanes :])
        halves = [ir.Constant(self.real_type, list(part)) for part in parts]
        if self._pool is not None:
            bits = [tuple(map(self._bits_of, part)) for part in parts]
            halves = [self._pool.load(self.builder, numbers, self.real_type) for numbers in bits]
        name = f"llvm.x86.avx512.vpermi2var.{'pd' if self.is_f64 else 'ps'}.512"
        signature = [self.real_type, self.whole_type, self.real_type]
        function = declare(self.builder.module, name, self.real_type, signature)
        return Real(self, self.builder.call(function, [halves[0], index.value, halves[1]]))

    def polynomial(self, x: Real, coefficients: Sequence[float]) -> Real:
        """Return the polynomial, lowest coefficient first, by Estrin's scheme: a tree, where Horner's is a chain."""
        terms = [self.real(c) for c in coefficients]
        power = x
        while len(terms) > 1:
            pairs = [high.times_plus(power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + terms[len(pairs) * 2 :]
            power = power * power if len(terms) > 1 else power
        return terms[0]


@dataclass(frozen=True, slots=True)
class Real:
    """A float, or a vector of floats."""

    code: FloatCode
    value: ir.Value

    def _with(self, operation: str, left: Number, right: Number) -> Real:
        a, b = self.code.real(left), self.code.real(right)
        return Real(self.code, getattr(self.code.builder, operation)(a.value, b.value))

    def __add__(self, other: Number) -> Real:
        return self._with("fadd", self, other)

    def __radd__(self, other: Number) -> Real:
        return self._with("fadd", other, self)

    def __sub__(self, other: Number) -> Real:
        return self._with("fsub", self, other)

    def __rsub__(self, other: Number) -> Real:
        return self._with("fsub", other, self)

    def __mul__(self, other: Number) -> Real:
        return self._with("fmul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Real:
        return self._with("fdiv", self, other)

    def __rtruediv__(self, other: Number) -> Real:
        return self._with("fdiv", other, self)

    def __neg__(self) -> Real:
        return Real(self.code, self.code.builder.fneg(self.value))

    def times_plus(self, factor: Number, addend: Number) -> Real:
        """Return ``self * factor + addend``, rounded once where the processor does that in one instruction."""
        return self.code.intrinsic("llvm.fmuladd", self, self.code.real(factor), self.code.real(addend))

    def fused(self, factor: Number, addend: Number) -> Real:
        """Return ``self * factor + addend``, rounded once."""
        return self.code.intrinsic("llvm.fma", self, self.code.real(factor), self.code.real(addend))

    @property
    def magnitude(self) -> Real:
        """The absolute value."""
        return self.code.intrinsic("llvm.fabs", self)

    def with_sign_of(self, other: Real) -> Real:
        """Return the magnitude with another number's sign."""
        return self.code.intrinsic("llvm.copysign", self, other)

    @property
    def bits(self) -> Whole:
        """The representation."""
        return Whole(self.code, self.code.builder.bitcast(self.value, self.code.whole_type))

    def _compare(self, operator: str, other: Number) -> Truth:
        right = self.code.real(other)
        return Truth(self.code, self.code.builder.fcmp_ordered(operator, self.value, right.value))

    def __lt__(self, other: Number) -> Truth:
        return self._compare("<", other)

    def __le__(self, other: Number) -> Truth:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Truth:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Truth:
        return self._compare(">=", other)

    def equals(self, other: Number) -> Truth:
        """Return whether the two are equal; false for NaN."""
        return self._compare("==", other)

    @property
    def is_nan(self) -> Truth:
        """Whether this is not a number."""
        return Truth(self.code, self.code.builder.fcmp_unordered("uno", self.value, self.value))


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer as wide as the floats, or a vector of such; arithmetic wraps."""

    code: FloatCode
    value: ir.Value

    def _with(self, operation: str, other: Whole | int) -> Whole:
        return Whole(self.code, getattr(self.code.builder, operation)(self.value, self.code.whole(other).value))

    def __add__(self, other: Whole | int) -> Whole:
        return self._with("add", other)

    def __sub__(self, other: Whole | int) -> Whole:
        return self._with("sub", other)

    def __and__(self, other: Whole | int) -> Whole:
        return self._with("and_", other)

    def __or__(self, other: Whole | int) -> Whole:
        return self._with("or_", other)

    def __xor__(self, other: Whole | int) -> Whole:
        return self._with("xor", other)

    def __lshift__(self, other: int) -> Whole:
        return self._with("shl", self.code.immediate(other))

    def __rshift__(self, other: int) -> Whole:
        return self._with("lshr", self.code.immediate(other))

    def shifted_right_signed(self, count: int) -> Whole:
        """Return this shifted right, with copies of the sign from the left."""
        return self._with("ashr", self.code.immediate(count))

    def to_real(self) -> Real:
        """Return the float nearest to this number."""
        return Real(self.code, self.code.builder.sitofp(self.value, self.code.real_type))

    def _compare(self, operator: str, other: int) -> Truth:
        right = self.code.whole(other)
        return Truth(self.code, self.code.builder.icmp_signed(operator, self.value, right.value))

    def __lt__(self, other: int) -> Truth:
        return self._compare("<", other)

    def is_between(self, start: int, stop: int) -> Truth:
        """Return whether this is at least ``start`` and less than ``stop``, by one comparison."""
        count = self.code.whole(stop - start)
        return Truth(self.code, self.code.builder.icmp_unsigned("<", (self - start).value, count.value))

    def equals(self, other: int) -> Truth:
        """Return whether this is ``other``."""
        return self._compare("==", other)

    @property
    def as_real(self) -> Real:
        """The float with this representation."""
        return Real(self.code, self.code.builder.bitcast(self.value, self.code.real_type))


@dataclass(frozen=True, slots=True)
class Truth:
    """A truth value, or a vector of such."""

    code: FloatCode
    value: ir.Value

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.code, self.code.builder.and_(self.value, other.value))

    def __or__(self, other: Truth) -> Truth:
        return Truth(self.code, self.code.builder.or_(self.value, other.value))

    def __xor__(self, other: Truth) -> Truth:
        return Truth(self.code, self.code.builder.xor(self.value, other.value))

    def __invert__(self) -> Truth:
        lanes = self.code.lanes
        return Truth(self.code, self.code.builder.xor(self.value, constant(widened(I1, lanes), 1)))
