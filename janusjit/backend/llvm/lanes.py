"""Values in one lane or in several.

Owns the types and the constants that code is written in which does the same with a number and with a vector of numbers.
Invariant: with one lane they are those of scalars.
"""

from __future__ import annotations

import functools

from llvmlite import ir

#: masks of vectors of bytes have at least so many lanes, which fill the shortest vector register: LLVM 22 fills up
#: those of fewer itself, and loses the zeros where it keeps them on the stack meanwhile
LANES_OF_BYTES = 16


class _Splat(ir.Constant):  # type: ignore[misc]
    """A vector all of whose elements are one constant, written once: text takes time to write and to parse."""

    def __init__(self, type_: ir.VectorType, element: ir.Constant) -> None:
        self.type, self.constant = type_, element.constant
        self._element = element

    def _get_reference(self) -> str:
        return f"splat ({self._element})"


@functools.cache
def undefined(type_: ir.VectorType) -> ir.Constant:
    """Return a vector of which nothing is known."""
    return _Undefined(type_, ir.Undefined)


def zeros(type_: ir.Type) -> ir.Constant:
    """Return the constant whose elements are all zero."""
    return (_Zeros if isinstance(type_, ir.VectorType) else ir.Constant)(type_, None)


def widened(type_: ir.Type, lanes: int) -> ir.Type:
    """Return the type of so many values of a type side by side."""
    return type_ if lanes == 1 else ir.VectorType(type_, lanes)


def constant(type_: ir.Type, value: float) -> ir.Constant:
    """Return a number as a constant of a type, in every lane if that is a vector's."""
    if not isinstance(type_, ir.VectorType):
        return ir.Constant(type_, value)
    return _Splat(type_, ir.Constant(type_.element, value))


def splat(builder: ir.IRBuilder, element: ir.Value, type_: ir.Type) -> ir.Value:
    """Return the vector all of whose elements are ``element``; the element itself where the type is not a vector's."""
    if not isinstance(type_, ir.VectorType):
        return element
    nothing = undefined(type_)
    one = builder.insert_element(nothing, element, _FIRST)
    return builder.shuffle_vector(one, nothing, _first_in_all(type_.count))


class _Undefined(ir.Constant):  # type: ignore[misc]
    """A vector of which nothing is known, written as one word."""

    def _get_reference(self) -> str:
        return "undef"


class _Zeros(ir.Constant):  # type: ignore[misc]
    """A vector of zeros whose elements llvmlite looks at, but which is written as one word."""

    def _get_reference(self) -> str:
        return "zeroinitializer"


_FIRST = ir.Constant(ir.IntType(32), 0)


@functools.cache
def _first_in_all(lanes: int) -> ir.Constant:
    """Return the mask that takes the first element for each lane."""
    return _Zeros(ir.VectorType(_FIRST.type, lanes), [_FIRST] * lanes)


def resized(builder: ir.IRBuilder, vector: ir.Value, lanes: int, filling: ir.Constant | None = None) -> ir.Value:
    """Return the first lanes of a vector, or a longer one that begins with it and ends with lanes of ``filling``."""
    count = vector.type.count
    if count == lanes:
        return vector
    index = ir.IntType(32)
    order = ir.Constant(ir.VectorType(index, lanes), [ir.Constant(index, min(lane, count)) for lane in range(lanes)])
    return builder.shuffle_vector(vector, undefined(vector.type) if filling is None else filling, order)
