"""Scalar operations as LLVM instructions.

Owns `LLVMScalarEmitter`, the implementation of `janusjit.ops.emitter.ScalarEmitter` that compiled kernels use.
Invariants: every operation is branch-free, so that it can be done for the lanes of a vector, and LLVM's loop vectoriser
works through it; and its result is NumPy's for every operand, including NaN, signed zeros, integers divided by zero and
casts out of range (as on x86-64).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir

from janusjit.backend.llvm import engine
from janusjit.backend.llvm.lanes import constant, splat, widened
from janusjit.backend.llvm.values import I1, Scalar, declare, item_size, register_type
from janusjit.backend.llvm.vector_math import emit_function
from janusjit.ir.types import DTYPES
from janusjit.transform.facts import op_may_warn


def is_signed(dtype: str) -> bool:
    """Return whether ``dtype`` names a signed integer type."""
    return dtype[0] == "i"


def is_float(dtype: str) -> bool:
    """Return whether ``dtype`` names a floating-point type."""
    return dtype[0] == "f"


def bit_width(dtype: str) -> int:
    """Return the number of bits an element of ``dtype`` has in memory."""
    return 8 * item_size(dtype)


def scalar_constant(value: Any, dtype: str) -> ir.Constant:
    """Return a Python or NumPy number as an LLVM constant of ``dtype``, wrapped or rounded as ``astype`` would."""
    converted = np.asarray(value).astype(DTYPES[dtype])[()]
    return ir.Constant(register_type(dtype), int(converted) if dtype == "bool" else converted.item())


class LLVMScalarEmitter:
    """Emits scalar operations at the end of a builder's current block.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the instructions go; it may be moved between operations.
    is_alone : bool
        Whether there are no neighbouring elements for which a loop does the same: the C library's functions do then
        for those that are not short.
    lanes : int
        Where there are more than one, scalars are vectors of so many.
    """

    def __init__(self, builder: ir.IRBuilder, is_alone: bool = False, lanes: int = 1) -> None:
        self.builder, self._is_alone, self.lanes = builder, is_alone, lanes

    def _type(self, dtype: str) -> ir.Type:
        return widened(register_type(dtype), self.lanes)

    # -- values

    def dtype(self, x: Scalar) -> str:
        """Return the element type of a scalar."""
        return x.dtype

    def constant(self, value: Any, dtype: str) -> Scalar:
        """Return a constant of ``dtype``."""
        return Scalar(dtype, constant(self._type(dtype), scalar_constant(value, dtype).constant))

    def _constant_like(self, value: Any, x: Scalar) -> ir.Value:
        return self.constant(value, x.dtype).value

    # -- arithmetic

    def _binary(self, a: Scalar, b: Scalar, on_float: str, on_int: str) -> Scalar:
        operation = getattr(self.builder, on_float if is_float(a.dtype) else on_int)
        return Scalar(a.dtype, operation(a.value, b.value))

    def add(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a + b``; integers wrap."""
        return self._binary(a, b, "fadd", "add")

    def sub(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a - b``; integers wrap."""
        return self._binary(a, b, "fsub", "sub")

    def mul(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a * b``; integers wrap."""
        return self._binary(a, b, "fmul", "mul")

    def div(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the true quotient of two floats."""
        return Scalar(a.dtype, self.builder.fdiv(a.value, b.value))

    def neg(self, x: Scalar) -> Scalar:
        """Return ``-x``."""
        if is_float(x.dtype):
            return Scalar(x.dtype, self.builder.fneg(x.value))
        return Scalar(x.dtype, self.builder.sub(self._constant_like(0, x), x.value))

    def abs(self, x: Scalar) -> Scalar:
        """Return the absolute value; the least integer is its own."""
        if is_float(x.dtype):
            return self._intrinsic("llvm.fabs", x)
        return self.select(self.lt(x, self.constant(0, x.dtype)), self.neg(x), x) if is_signed(x.dtype) else x

    def _intrinsic(self, name: str, *operands: Scalar) -> Scalar:
        type_ = operands[0].value.type
        signature = ir.FunctionType(type_, [type_] * len(operands))
        if isinstance(type_, ir.VectorType):  # llvmlite names the intrinsics of scalar types only
            full = f"{name}.v{type_.count}{type_.element.intrinsic_name}"
            function = self.builder.module.globals.get(full) or ir.Function(self.builder.module, signature, full)
        else:
            function = self.builder.module.declare_intrinsic(name, (type_,), signature)
        return Scalar(operands[0].dtype, self.builder.call(function, [x.value for x in operands]))

    def sqrt(self, x: Scalar) -> Scalar:
        """Return the correctly rounded square root."""
        return self._intrinsic("llvm.sqrt", x)

    def floor(self, x: Scalar) -> Scalar:
        """Return the largest integral float not above ``x``."""
        return self._intrinsic("llvm.floor", x)

    def ceil(self, x: Scalar) -> Scalar:
        """Return the least integral float not below ``x``."""
        return self._intrinsic("llvm.ceil", x)

    def trunc(self, x: Scalar) -> Scalar:
        """Return ``x`` without its fraction."""
        return self._intrinsic("llvm.trunc", x)

    def rint(self, x: Scalar) -> Scalar:
        """Return the nearest integral float, halves to even."""
        return self._intrinsic("llvm.rint", x)

    def copysign(self, magnitude: Scalar, sign: Scalar) -> Scalar:
        """Return ``magnitude`` with the sign bit of ``sign``."""
        return self._intrinsic("llvm.copysign", magnitude, sign)

    # -- comparison and logic

    def _compare(self, operator: str, a: Scalar, b: Scalar) -> Scalar:
        if is_float(a.dtype):
            # IEEE: a NaN is unequal to everything, and every other comparison with it is false
            compare = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if is_signed(a.dtype) else self.builder.icmp_unsigned
        return Scalar("bool", compare(operator, a.value, b.value))

    def eq(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a == b``."""
        return self._compare("==", a, b)

    def ne(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a != b``."""
        return self._compare("!=", a, b)

    def lt(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a < b``."""
        return self._compare("<", a, b)

    def le(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a <= b``."""
        return self._compare("<=", a, b)

    def gt(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a > b``."""
        return self._compare(">", a, b)

    def ge(self, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a >= b``."""
        return self._compare(">=", a, b)

    def isnan(self, x: Scalar) -> Scalar:
        """Return whether a float is a NaN."""
        return Scalar("bool", self.builder.fcmp_unordered("uno", x.value, x.value))

    def logical_and(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the conjunction of two bools."""
        return Scalar("bool", self.builder.and_(a.value, b.value))

    def logical_or(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the disjunction of two bools."""
        return Scalar("bool", self.builder.or_(a.value, b.value))

    def logical_xor(self, a: Scalar, b: Scalar) -> Scalar:
        """Return whether two bools differ."""
        return Scalar("bool", self.builder.xor(a.value, b.value))

    def logical_not(self, x: Scalar) -> Scalar:
        """Return the negation of a bool."""
        return Scalar("bool", self.builder.not_(x.value))

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        """Return ``a`` where the bool ``condition`` holds, else ``b``."""
        return Scalar(a.dtype, self.builder.select(condition.value, a.value, b.value))

    # -- bits

    def bit_and(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the bitwise conjunction of integers or bools."""
        return Scalar(a.dtype, self.builder.and_(a.value, b.value))

    def bit_or(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the bitwise disjunction of integers or bools."""
        return Scalar(a.dtype, self.builder.or_(a.value, b.value))

    def bit_xor(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the bitwise exclusive disjunction of integers or bools."""
        return Scalar(a.dtype, self.builder.xor(a.value, b.value))

    def bit_not(self, x: Scalar) -> Scalar:
        """Return the bitwise complement of an integer or bool."""
        return Scalar(x.dtype, self.builder.not_(x.value))

    def shift_left(self, x: Scalar, count: Scalar) -> Scalar:
        """Return ``x << count``; ``count`` is below the width, or the result is not used."""
        return Scalar(x.dtype, self.builder.shl(x.value, count.value))

    def shift_right(self, x: Scalar, count: Scalar) -> Scalar:
        """Return ``x >> count``, arithmetically if signed; ``count`` is below the width, or the result is not used."""
        shift = self.builder.ashr if is_signed(x.dtype) else self.builder.lshr
        return Scalar(x.dtype, shift(x.value, count.value))

    # -- integer division

    def _safe_divisor(self, a: Scalar, b: Scalar) -> tuple[ir.Value, ir.Value]:
        """Return whether ``b`` is zero, and a divisor that the machine can divide ``a`` by in any case."""
        zero = self._is_zero_divisor(a, b)
        unsafe = zero
        if is_signed(a.dtype):
            least = self.builder.icmp_signed("==", a.value, constant(a.value.type, -(1 << (bit_width(a.dtype) - 1))))
            minus_one = self.builder.icmp_signed("==", b.value, self._constant_like(-1, b))
            unsafe = self.builder.or_(zero, self.builder.and_(least, minus_one))
        return zero, self.builder.select(unsafe, self._constant_like(1, b), b.value)

    def _is_zero_divisor(self, a: Scalar, b: Scalar) -> ir.Value:
        """Return whether an integer is zero, raising the flag of a division by zero if it is."""
        dtype = "f32" if bit_width(b.dtype) <= 16 else "f64"
        divided = self.constant(1.0, dtype)
        if isinstance(b.value, ir.Constant):
            if str(b.value) != str(self._constant_like(0, b)):
                return self.builder.icmp_unsigned("==", b.value, self._constant_like(0, b))
            divided = self.add(self.abs(self.cast(a, dtype)), divided)  # of constants, LLVM would raise no flag
        share = self.div(divided, self.cast(b, dtype))
        return self.eq(share, self.constant(np.inf, dtype)).value

    def int_floor_div(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the quotient rounded down: 0 for a zero divisor, the least integer for itself over -1."""
        builder = self.builder
        zero, divisor = self._safe_divisor(a, b)
        none = self._constant_like(0, a)
        if self._divides_as_floats(b):
            return Scalar(a.dtype, builder.select(zero, none, self._float_quotient(a, divisor)))
        if not is_signed(a.dtype):
            return Scalar(a.dtype, builder.select(zero, none, builder.udiv(a.value, divisor)))
        quotient = builder.sdiv(a.value, divisor)
        rest = builder.sub(a.value, builder.mul(quotient, divisor))
        lower = self._rest_has_other_sign(rest, divisor)
        floored = builder.sub(quotient, builder.zext(lower, quotient.type))
        return Scalar(a.dtype, builder.select(zero, none, floored))

    def int_remainder(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the remainder with the divisor's sign: 0 for a zero divisor."""
        builder = self.builder
        zero, divisor = self._safe_divisor(a, b)
        none = self._constant_like(0, a)
        if self._divides_as_floats(b):
            whole = builder.mul(self._float_quotient(a, divisor), divisor)
            return Scalar(a.dtype, builder.select(zero, none, builder.sub(a.value, whole)))
        if not is_signed(a.dtype):
            return Scalar(a.dtype, builder.select(zero, none, builder.urem(a.value, divisor)))
        rest = builder.srem(a.value, divisor)
        wrapped = builder.add(rest, builder.select(self._rest_has_other_sign(rest, divisor), divisor, none))
        return Scalar(a.dtype, builder.select(zero, none, wrapped))

    def _divides_as_floats(self, b: Scalar) -> bool:
        """Return whether integers are divided as floats: processors have no division of vectors of integers."""
        return self.lanes > 1 and bit_width(b.dtype) <= 32 and not isinstance(b.value, ir.Constant)

    def _float_quotient(self, a: Scalar, divisor: ir.Value) -> ir.Value:
        """Return the quotient rounded down.

        The format holds the sum of the operands' magnitudes, so a quotient that is no integer is not rounded to one.
        """
        dtype = "f32" if bit_width(a.dtype) <= 16 else "f64"
        operands = (self.cast(x, dtype) for x in (a, Scalar(a.dtype, divisor)))
        down = self.floor(self.div(*operands)).value
        wide = self.builder.fptosi(down, widened(ir.IntType(64 if a.dtype == "u32" else 32), self.lanes))
        return wide if a.dtype == "i32" else self.builder.trunc(wide, self._type(a.dtype))

    def _rest_has_other_sign(self, rest: ir.Value, divisor: ir.Value) -> ir.Value:
        zero = constant(rest.type, 0)
        opposite = self.builder.icmp_signed("<", self.builder.xor(rest, divisor), zero)
        return self.builder.and_(opposite, self.builder.icmp_signed("!=", rest, zero))

    def multiply_overflows(self, a: Scalar, b: Scalar) -> Scalar:
        """Return whether the product of two ``i64`` does not fit ``i64``."""
        whole = self._type("i64")
        pair = ir.LiteralStructType([whole, widened(I1, self.lanes)])
        name = f"llvm.smul.with.overflow.{f'v{self.lanes}' if self.lanes > 1 else ''}i64"
        function = declare(self.builder.module, name, pair, [whole, whole])
        return Scalar("bool", self.builder.extract_value(self.builder.call(function, [a.value, b.value]), 1))

    # -- functions and casts

    def call(self, name: str, *operands: Scalar) -> Scalar:
        """Return a transcendental function of floats, within 2 ULP, with NumPy's special values."""
        dtype = operands[0].dtype
        values = tuple(x.value for x in operands)
        return Scalar(dtype, emit_function(self.builder, name, dtype, values, self._is_alone, self.lanes))

    def cast(self, x: Scalar, dtype: str) -> Scalar:
        """Return what ``x.astype(dtype)`` gives."""
        if x.dtype == dtype:
            return x
        return Scalar(dtype, self._convert(x, dtype))

    def _convert(self, x: Scalar, dtype: str) -> ir.Value:
        builder, target = self.builder, self._type(dtype)
        if dtype == "bool":
            return self.ne(x, self.constant(0, x.dtype)).value
        if is_float(dtype):
            if is_float(x.dtype):
                return builder.fpext(x.value, target) if dtype == "f64" else builder.fptrunc(x.value, target)
            return (builder.sitofp if is_signed(x.dtype) else builder.uitofp)(x.value, target)
        if is_float(x.dtype):
            return self._float_to_int(x, dtype)
        if bit_width(dtype) < register_type(x.dtype).width:
            return builder.trunc(x.value, target)
        if bit_width(dtype) == register_type(x.dtype).width:
            return x.value
        return (builder.sext if is_signed(x.dtype) else builder.zext)(x.value, target)

    def _float_to_int(self, x: Scalar, dtype: str) -> ir.Value:
        """Convert as NumPy's C code does on x86-64: through 32 bits for what fits there, through 64 otherwise."""
        if dtype == "u64":
            return self._float_to_u64(x)
        width = 32 if bit_width(dtype) < 32 or dtype == "i32" else 64
        wide = self._truncate_to_signed(x, width)
        return wide if width == bit_width(dtype) else self.builder.trunc(wide, self._type(dtype))

    def _truncate_to_signed(self, x: Scalar, width: int) -> ir.Value:
        """Return the integral part; the least integer for what is out of range and for NaN, raising invalid."""
        if engine.truncates_to_least():
            return self._truncated_by_instruction(x, width)
        builder, target = self.builder, widened(ir.IntType(width), self.lanes)
        above = 2.0 ** (width - 1)
        # the least integer is in range; a float64 truncates to the least 32-bit integer from beyond it
        beyond = float(np.nextafter(DTYPES[x.dtype].type(-above), -np.inf))
        below = -above - 1.0 if width == 32 and x.dtype == "f64" else beyond
        bounds = [self.constant(bound, x.dtype) for bound in (below, above)]
        in_range = self.logical_and(self.gt(x, bounds[0]), self.lt(x, bounds[1]))
        # infinity times zero raises the flag, if the two conditions, which are the same, are not known to be
        number = self.mul(
            self.select(in_range, x, self.constant(np.inf, x.dtype)),
            self.select(self._is_between(x, below, above), self.constant(1.0, x.dtype), self.constant(0.0, x.dtype)),
        )
        least = constant(target, -(1 << (width - 1)))
        return builder.select(self.isnan(number).value, least, builder.fptosi(number.value, target))

    def _truncated_by_instruction(self, x: Scalar, width: int) -> ir.Value:
        """Return what the processor's instruction gives, which is just that.

        LLVM leaves open what it gives out of range, and would take any number for it if it knew a value to be there:
        none is known of what comes out of assembly, even if there is nothing in it.
        """
        builder, same = self.builder, self._unknown(x).value
        number = builder.fptosi(same, widened(ir.IntType(width), self.lanes))
        frozen = ir.Instruction(builder.block, number.type, "freeze", [number])  # llvmlite has no method for it
        builder._insert(frozen)
        return frozen

    def operands_of(self, op: str, operands: Iterable[Scalar]) -> tuple[Scalar, ...]:
        """Return the operands of an operation, unknown to LLVM where it would do the operation and raise no flag."""
        found = tuple(operands)
        known = all(isinstance(x.value, ir.Constant) and x.dtype != "bool" for x in found)
        if known and op_may_warn(op, any(is_float(x.dtype) for x in found)):
            return tuple(map(self._unknown, found))
        return found

    def _unknown(self, x: Scalar) -> Scalar:
        """Return the same number, of which LLVM does not know anything."""
        builder, bits = self.builder, ir.IntType(bit_width(x.dtype))
        lanes = x.value.type.count if isinstance(x.value.type, ir.VectorType) else 1
        zero = splat(builder, self._hidden_zero(bits), widened(bits, lanes))
        raw = builder.or_(builder.bitcast(x.value, zero.type), zero)
        return Scalar(x.dtype, builder.bitcast(raw, x.value.type))

    def _hidden_zero(self, type_: ir.IntType) -> ir.Value:
        """Return a zero of which LLVM does not know that it is one."""
        with self.builder.goto_entry_block():
            signature = ir.FunctionType(type_, [type_])
            return self.builder.asm(signature, "", "=r,0", [ir.Constant(type_, 0)], side_effect=False)

    def _is_between(self, x: Scalar, below: float, above: float) -> Scalar:
        """Return whether ``below < x < above`` (of signs minus and plus), found from the representations."""
        width = bit_width(x.dtype)
        builder, bits = self.builder, widened(ir.IntType(width), self.lanes)
        raw = builder.bitcast(x.value, bits)
        negative = builder.icmp_signed("<", raw, constant(bits, 0))
        sizes = np.abs(np.array([below, above], DTYPES[x.dtype])).view(f"i{width // 8}")
        limits = [constant(bits, int(size)) for size in sizes]
        magnitude = builder.and_(raw, constant(bits, (1 << (width - 1)) - 1))
        return Scalar("bool", builder.icmp_signed("<", magnitude, builder.select(negative, *limits)))

    def _float_to_u64(self, x: Scalar) -> ir.Value:
        half = self.constant(2.0**63, x.dtype)
        high = self.ge(x, half)
        low_part = self._truncate_to_signed(self.select(high, self.sub(x, half), x), 64)
        bits = widened(ir.IntType(64), self.lanes)
        flip = self.builder.select(high.value, constant(bits, 1 << 63), constant(bits, 0))
        return self.builder.xor(low_part, flip)
