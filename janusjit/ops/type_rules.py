"""Type rules: the dtype and shape algebra shared by the declarations.

Owns broadcasting over symbolic dimensions and ufunc loop resolution. Invariant: a rule never guesses: where two
dimensions are not known to be equal it raises `TypeRuleError`, and it is the caller (capture) who adds a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from janusjit.ir.dims import Dim
from janusjit.ir.types import DTYPES, TensorType, dtype_name


class TypeRuleError(TypeError):
    """An op is not defined for these input types and attributes."""

    code = "op.type"


@lru_cache(maxsize=4096)
def loop_dtypes(ufunc: np.ufunc, operands: tuple[str | type, ...]) -> tuple[str, ...]:
    """Return the dtypes of the loop NumPy runs for these operands: the inputs' and, last, the outputs'.

    Parameters
    ----------
    ufunc : numpy.ufunc
        The function.
    operands : tuple
        Short dtype names; Python numbers (NEP 50's weak operands) as the types ``int`` and ``float``.

    Raises
    ------
    TypeRuleError
        If NumPy has no loop, or one of dtypes that graphs do not hold (float16, complex, object).
    """
    given = [DTYPES[operand] if isinstance(operand, str) else operand for operand in operands]
    try:
        resolved = ufunc.resolve_dtypes((*given, *[None] * ufunc.nout))
    except TypeError as error:
        raise TypeRuleError(f"{ufunc.__name__} is not defined for {_list(operands)}") from error
    names = [dtype_name(dtype) for dtype in resolved]
    if None in names:
        raise TypeRuleError(f"{ufunc.__name__} of {_list(operands)} runs in {_list(d.name for d in resolved)}")
    return tuple(name for name in names if name is not None)


def _list(operands: Iterable[str | type]) -> str:
    return ", ".join(o if isinstance(o, str) else f"Python {o.__name__}" for o in operands)


def broadcast_shapes(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Return the shape that ``shapes`` broadcast to: dimensions are equal, or the int 1.

    Raises
    ------
    TypeRuleError
        If two dimensions differ, or are not known to be equal.
    """
    rank = max(map(len, shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            known = result[axis]
            if known == 1:
                result[axis] = dim
            elif dim not in (1, known):
                raise TypeRuleError(f"shapes {' and '.join(map(show_shape, shapes))} do not broadcast")
    return tuple(result)


def show_shape(shape: tuple[Dim, ...]) -> str:
    """Return a shape as it is printed in messages."""
    return f"[{','.join(map(str, shape))}]"


def check_broadcastable(shape: tuple[Dim, ...], target: tuple[Dim, ...]) -> None:
    """Raise `TypeRuleError` unless ``shape`` broadcasts to exactly ``target``."""
    if broadcast_shapes(shape, target) != target:
        raise TypeRuleError(f"{show_shape(shape)} does not broadcast to {show_shape(target)}")


def check_equal_shapes(first: tuple[Dim, ...], second: tuple[Dim, ...], what: str) -> None:
    """Raise `TypeRuleError` unless two shapes are the same."""
    if first != second:
        raise TypeRuleError(f"{what}: {show_shape(first)} is not {show_shape(second)}")


def check_same_dtype(types: Sequence[TensorType], what: str) -> str:
    """Return the one dtype of ``types``, or raise `TypeRuleError`."""
    dtypes = {type_.dtype for type_ in types}
    if len(dtypes) != 1:
        raise TypeRuleError(f"{what} wants inputs of one dtype, not {', '.join(map(str, types))}")
    return dtypes.pop()


def check_dtype(type_: TensorType, dtypes: str | tuple[str, ...], what: str) -> None:
    """Raise `TypeRuleError` unless the dtype is (one of) ``dtypes``."""
    if type_.dtype not in ((dtypes,) if isinstance(dtypes, str) else dtypes):
        raise TypeRuleError(f"{what} is {type_}, not {dtypes}")


def check_rank(type_: TensorType, rank: int, what: str) -> None:
    """Raise `TypeRuleError` unless an input has ``rank`` dimensions."""
    if type_.rank != rank:
        raise TypeRuleError(f"{what} wants {rank} dimensions, not {type_}")


def check_arity(inputs: Sequence[TensorType], count: int, what: str) -> None:
    """Raise `TypeRuleError` unless there are ``count`` inputs."""
    if len(inputs) != count:
        raise TypeRuleError(f"{what} takes {count} inputs, not {len(inputs)}")


def check_axis(axis: int, rank: int) -> None:
    """Raise `TypeRuleError` unless ``axis`` is a normalised axis of an array of this rank."""
    if not 0 <= axis < rank:
        raise TypeRuleError(f"axis {axis} is not one of {rank} dimensions")


def check_axes(axes: tuple[int, ...], rank: int) -> None:
    """Raise `TypeRuleError` unless ``axes`` are distinct normalised axes."""
    for axis in axes:
        check_axis(axis, rank)
    if len(set(axes)) != len(axes):
        raise TypeRuleError(f"axes {axes} repeat")


def at_least(dim: Dim, bound: int) -> bool:
    """Return whether ``dim`` is known never to be below ``bound``."""
    if isinstance(dim, int):
        return dim >= bound
    lower = dim.lower_bound()
    return lower is not None and lower >= bound


def ufunc_rule(ufunc: np.ufunc) -> Callable[[tuple[TensorType, ...], Any], tuple[TensorType, ...]]:
    """Return the type rule of an elementwise ufunc whose inputs are already cast to the loop's dtypes."""

    def infer(inputs: tuple[TensorType, ...], attributes: Any) -> tuple[TensorType, ...]:
        check_arity(inputs, ufunc.nin, ufunc.__name__)
        given = tuple(type_.dtype for type_ in inputs)
        loop = loop_dtypes(ufunc, given)
        if loop[: ufunc.nin] != given:
            raise TypeRuleError(f"{ufunc.__name__} of {_list(given)} wants casts to {_list(loop[: ufunc.nin])}")
        shape = broadcast_shapes(*[type_.shape for type_ in inputs])
        return tuple(TensorType(dtype, shape) for dtype in loop[ufunc.nin :])

    return infer
