"""Determinants and inverses of small matrices, one matrix of a stack after the other.

Owns ``small_det`` and ``small_inv``, which `janusjit.transform.small_matrices` puts in the place of ``linalg.det`` and
``linalg.inv`` where matrices have two to four rows. Invariants: it is LAPACK's elimination, though it may round
otherwise; so an inverse is refused where a pivot is so small that LAPACK may find 0 there; and pivots are multiplied so
that nothing overflows or vanishes on the way to a product that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from janusjit.ir.types import DTYPES, TensorType
from janusjit.ops.gradients_linalg import LINALG
from janusjit.ops.registry import Attributes, Op, Structured, TypeRule, declare, gradient_in, implementation
from janusjit.ops.samples import Exactly, Sample
from janusjit.ops.type_rules import TypeRuleError, check_arity, check_dtype

#: how many rows matrices have
SIZES = (2, 3, 4)
#: a pivot of so many units in the last place of what it is a sum of may be 0 to who rounds otherwise
_DOUBT = 256


def _stack(inputs: tuple[TensorType, ...], attributes: Attributes, without: int) -> tuple[TensorType, ...]:
    """Return the type of a result that lacks so many of the last axes."""
    check_arity(inputs, 1, "a function of small matrices")
    check_dtype(inputs[0], ("f32", "f64"), "a small matrix")
    shape, size = inputs[0].shape, attributes["size"]
    if len(shape) < 2 or shape[-2:] != (size, size) or size not in SIZES:
        raise TypeRuleError(f"{inputs[0]} is no stack of matrices of {size} rows")
    return (inputs[0].with_shape(shape[: len(shape) - without]),)


@dataclass
class _Eliminated:
    """A matrix whose lower part has been eliminated, with what was done to the columns behind it.

    Attributes
    ----------
    rows : list of list of Scalar
        Its rows.
    pivots : list of Scalar
        The elements of the diagonal, 1 in the place of 0.
    is_singular : Scalar
        Whether one of them is 0.
    is_doubtful : Scalar
        Whether one of them may be 0 to who rounds otherwise, if that was asked.
    is_odd : Scalar
        Whether the number of rows that changed places is odd.
    """

    rows: list[list[Any]]
    pivots: list[Any]
    is_singular: Any
    is_doubtful: Any
    is_odd: Any


def _eliminate(e: Any, rows: list[list[Any]], has_doubts: bool = False) -> _Eliminated:
    """Return what elimination makes of a matrix, and of further columns."""
    dtype, count, columns = e.dtype(rows[0][0]), len(rows), len(rows[0])
    zero, one = (e.constant(number, dtype) for number in (0.0, 1.0))
    found = _Eliminated(rows, [], *(e.constant(False, "bool") for _ in range(3)))
    # behind each row the sizes of what its elements are sums of, to which their rounding errors are in proportion
    sizes = [[e.abs(element) for element in row[:count]] for row in rows] if has_doubts else []
    doubt = e.constant(_DOUBT * float(np.finfo(DTYPES[dtype]).eps), dtype)
    for place in range(count):
        for other in range(place + 1, len(rows)):  # the first of the greatest comes up
            is_greater = e.gt(e.abs(rows[other][place]), e.abs(rows[place][place]))
            found.is_odd = e.logical_xor(found.is_odd, is_greater)
            for column in range(place, columns):
                ours, theirs = rows[place][column], rows[other][column]
                rows[place][column] = e.select(is_greater, theirs, ours)
                rows[other][column] = e.select(is_greater, ours, theirs)
            for column in range(place, count) if has_doubts else ():
                ours, theirs = sizes[place][column], sizes[other][column]
                sizes[place][column] = e.select(is_greater, theirs, ours)
                sizes[other][column] = e.select(is_greater, ours, theirs)
        if has_doubts:
            is_clear = e.gt(e.abs(rows[place][place]), e.mul(doubt, sizes[place][place]))
            found.is_doubtful = e.logical_or(found.is_doubtful, e.logical_not(is_clear))
        is_zero = e.eq(rows[place][place], zero)
        found.is_singular = e.logical_or(found.is_singular, is_zero)
        pivot = e.select(is_zero, one, rows[place][place])
        found.pivots.append(pivot)
        for other in range(place + 1, count):
            factor = e.div(rows[other][place], pivot)
            for column in range(place + 1, columns):
                taken = e.mul(factor, rows[place][column])
                rows[other][column] = e.sub(rows[other][column], taken)
                if has_doubts and column < count:
                    sizes[other][column] = e.add(sizes[other][column], e.abs(taken))
    return found


def _loaded(e: Any, index: tuple[Any, ...], x: Any, size: int) -> list[list[Any]]:
    numbers = [e.constant(number, "i64") for number in range(size)]
    return [[x(*index, row, column) for column in numbers] for row in numbers]


def _determinant(e: Any, index: tuple[Any, ...], x: Any, size: int) -> Any:
    """Return the determinant of one matrix."""
    rows = _loaded(e, index, x, size)
    zero = e.constant(0.0, e.dtype(rows[0][0]))
    found = _eliminate(e, rows)
    product = _product(e, found.pivots)
    return e.select(found.is_singular, zero, e.select(found.is_odd, e.neg(product), product))


def inverse(e: Any, index: tuple[Any, ...], x: Any, size: int) -> tuple[list[list[Any]], Any]:
    """Return the rows of the inverse of one matrix, and whether it is singular, or may be."""
    rows = _loaded(e, index, x, size)
    zero, one = (e.constant(number, e.dtype(rows[0][0])) for number in (0.0, 1.0))
    beside = [[one if i == j else zero for j in range(size)] for i in range(size)]
    found = _eliminate(e, [[*row, *unit] for row, unit in zip(rows, beside, strict=True)], has_doubts=True)
    solved: list[list[Any]] = [[] for _ in range(size)]
    for place in reversed(range(size)):
        row = found.rows[place]
        for column in range(size, 2 * size):
            rest = row[column]
            for known in range(place + 1, size):
                rest = e.sub(rest, e.mul(row[known], solved[known][column - size]))
            solved[place].append(e.div(rest, found.pivots[place]))
    return solved, found.is_doubtful


def _product(e: Any, factors: list[Any]) -> Any:
    """Return the product of some numbers: the greatest by the least, and then what moves it towards 1 first."""
    one = e.constant(1.0, e.dtype(factors[0]))
    ordered: list[Any] = []
    for factor in factors:
        for position, other in enumerate(ordered):
            is_less = e.lt(e.abs(factor), e.abs(other))
            ordered[position], factor = e.select(is_less, factor, other), e.select(is_less, other, factor)
        ordered.append(factor)
    least, *between, greatest = ordered
    product = e.mul(greatest, least)
    if len(between) == 2:
        less, more = between
        grows = e.gt(e.abs(product), one)
        first, second = e.select(grows, less, more), e.select(grows, more, less)
        return e.mul(e.mul(product, first), second)
    return e.mul(product, between[0]) if between else product


def _stacks() -> Iterator[Exactly]:
    generator = np.random.default_rng(3)
    for size in SIZES:
        stack = generator.normal(size=(3, 2, size, size)) + 3.0 * np.eye(size)
        for part in (stack, stack[0, 1]):
            yield from (Exactly(part.astype(dtype)) for dtype in ("f8", "f4"))


def _declare(function: Callable[..., Any], infer: TypeRule, lowering: Structured) -> None:
    name = function.__name__
    declare(
        Op(
            name=f"small_{name}",
            family="small_matrices",
            eager=lambda x, size: implementation(function)(x),
            infer=infer,
            lowering=lowering,
            sums=True,
            fallible=name == "inv",
            gradient=gradient_in(LINALG, f"linalg.{name}"),
            samples=tuple(Sample((stack,), {"size": stack.values.shape[-1]}) for stack in _stacks()),
        )
    )


_declare(np.linalg.det, lambda inputs, attributes: _stack(inputs, attributes, 2), Structured(_determinant))
_declare(np.linalg.inv, lambda inputs, attributes: _stack(inputs, attributes, 0), Structured())
