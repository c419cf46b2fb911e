"""Division of vectors by what is the same for all elements of a row.

Owns `Divisor`. The reciprocal is computed once for the row, as the sum of two floats; a quotient takes a multiplication
and three fused ones, which processors do several times as fast as they divide. Invariant: quotients and flags are those
of the division. Why: with the reciprocal in two parts, the first quotient is one of the two floats around the true one;
so what is left of the dividend is a float, and by Markstein's theorem the correction by it, with the rounded
reciprocal, is rounded as the true quotient. That holds where nothing overflows or loses bits at the lower end; other
dividends and divisors, which the code looks for, are divided as ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from janusjit.backend.llvm.lanes import constant, splat, widened
from janusjit.backend.llvm.values import F64, I64, Scalar, declare

#: rows of fewer elements are not worth a reciprocal
LEAST = 32
#: exponents between which there are the divisors, which are positive
_DIVISORS = (-250, 250)
#: the least exponent of dividends, with the bias; there are 1024 of them, and 0 is a dividend as well
_LEAST_USUAL = 512
_SIGN = -1 << 63


@dataclass(frozen=True)
class Divisor:
    """What a row is divided by.

    Attributes
    ----------
    value, reciprocal, rest
        In every lane: it, the float nearest to its reciprocal, and what that lacks.
    is_unusual
        Whether everything is to be divided as ever.
    """

    value: ir.Value
    reciprocal: ir.Value
    rest: ir.Value
    is_unusual: ir.Value

    @staticmethod
    def of(builder: ir.IRBuilder, divisor: Scalar, lanes: int) -> Divisor:
        """Emit what there is to compute once."""
        low, high = (ir.Constant(I64, _bits(exponent)) for exponent in _DIVISORS)
        bits = builder.bitcast(divisor.value, I64)
        is_usual = builder.icmp_unsigned("<", builder.sub(bits, low), builder.sub(high, low))
        one = ir.Constant(F64, 1.0)
        value = builder.select(is_usual, divisor.value, one)
        reciprocal = builder.fdiv(one, value)
        rest = builder.fmul(_times_plus(builder, builder.fneg(value), reciprocal, one), reciprocal)
        type_ = widened(F64, lanes)
        vectors = [splat(builder, x, type_) for x in (divisor.value, reciprocal, rest)]
        return Divisor(vectors[0], vectors[1], vectors[2], builder.not_(is_usual))

    def quotients(self, builder: ir.IRBuilder, dividends: Scalar) -> Scalar:
        """Emit the division of a vector."""
        x = dividends.value
        slow = builder.or_(self._is_any_unusual(builder, x), self.is_unusual)
        with builder.if_else(slow, likely=False) as (usually_not, usually):
            with usually_not:
                divided, after_dividing = builder.fdiv(x, self.value), builder.block
            with usually:
                multiplied, after_multiplying = self._multiplied(builder, x), builder.block
        result = builder.phi(x.type)
        result.add_incoming(divided, after_dividing)
        result.add_incoming(multiplied, after_multiplying)
        return Scalar(dividends.dtype, result)

    def _multiplied(self, builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        near = _times_plus(builder, x, self.reciprocal, builder.fmul(x, self.rest))
        left = _times_plus(builder, builder.fneg(near), self.value, x)
        exact = _times_plus(builder, left, self.reciprocal, near)
        bits = widened(I64, x.type.count)  # a zero has lost its sign
        sign = builder.and_(builder.bitcast(x, bits), constant(bits, _SIGN))
        return builder.bitcast(builder.or_(builder.bitcast(exact, bits), sign), x.type)

    @staticmethod
    def _is_any_unusual(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        """Emit whether a dividend is neither 0 nor of a usual magnitude.

        As many exponents are usual as are not, so a sign tells on which side of a limit one is: that takes fewer
        instructions than comparisons do.
        """
        bits = widened(I64, x.type.count)
        magnitude = builder.bitcast(x, bits)
        magnitude = builder.add(magnitude, magnitude)  # without the sign; exponents above 0 have the highest bit
        above = builder.sub(magnitude, constant(bits, _LEAST_USUAL << 53))
        not_zero = builder.add(magnitude, constant(bits, (1 << 63) - 1))
        unusual = builder.and_(above, builder.or_(not_zero, magnitude))
        return is_any_negative(builder, unusual)


def is_any_negative(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit whether an element of a vector is negative."""
    while x.type.count > 8:
        index, half = ir.IntType(32), x.type.count // 2
        halves = [
            builder.shuffle_vector(x, x, ir.Constant(ir.VectorType(index, half), list(range(first, first + half))))
            for first in (0, half)
        ]
        x = builder.or_(*halves)
    negative = builder.icmp_signed("<", x, constant(x.type, 0))
    together = builder.bitcast(negative, ir.IntType(x.type.count))
    return builder.icmp_unsigned("!=", together, ir.Constant(together.type, 0))


def _bits(exponent: int) -> int:
    """Return the bits of a power of two."""
    return (1023 + exponent) << 52


def _times_plus(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    name = f"v{a.type.count}f64" if isinstance(a.type, ir.VectorType) else "f64"
    return builder.call(declare(builder.module, f"llvm.fma.{name}", a.type, [a.type] * 3), [a, b, c])
