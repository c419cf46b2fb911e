"""Functions and classes of NumPy as Python code.

Owns the Python that capture follows in place of what NumPy has written in C, or in Python that capture cannot follow.
Invariant: each does what NumPy's does, with its errors; what it has no code for, it asks `numpy` for by a function that
capture leaves to Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy._core import _multiarray_umath as umath  # type: ignore[attr-defined]


class Converter:
    """What NumPy's own functions ask for their arguments as arrays, and to give results the arguments' type."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = tuple([np.asarray(array) for array in arrays])

    def __getitem__(self, position: int) -> Any:
        return self.arrays[position]

    def as_arrays(self, subok: bool = True, pyscalars: str = "convert_if_no_array") -> Any:
        """Return the arguments as arrays."""
        return self.arrays

    def wrap(self, result: Any, to_scalar: Any = None) -> Any:
        """Return a result as the arguments' type would be: arrays."""
        return result


def _ndindex(*shape: Any) -> Iterator[Any]:
    if len(shape) == 1 and isinstance(shape[0], tuple):
        shape = shape[0]
    for size in shape:
        if size < 0:
            raise ValueError("negative dimensions are not allowed")
    return itertools.product(*[range(size) for size in shape])


def _ndenumerate(arr: Any) -> Iterator[Any]:
    array = np.asarray(arr)
    for index in itertools.product(*[range(size) for size in array.shape]):
        yield index, array[index]


def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim < 1 or b.ndim < 1:
        raise ValueError("At least one array has zero dimension")
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        np.broadcast(a, b)  # vectors of two elements, or an error: Python goes on
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2]
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2]
    parts = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


def _fromiter(iter: Iterable[Any], dtype: Any, count: int = -1) -> Any:  # noqa: A002 - NumPy's name
    items: list[Any] = []
    if count != 0:
        for item in iter:
            items.append(item)
            if len(items) == count:
                break
    if len(items) < count:
        raise ValueError(f"iterator too short: Expected {count} but iterator had only {len(items)} items.")
    made = np.array(items, dtype=dtype)
    if made.ndim != 1:
        np.broadcast(made)  # items that are sequences: Python goes on
    return made


def _ix(*sequences: Any) -> Any:
    found = []
    for position, sequence in enumerate(sequences):
        indices = np.asarray(sequence)
        if indices.ndim != 1:
            raise ValueError("Cross index must be 1 dimensional")
        if indices.size == 0:
            indices = indices.astype(np.intp)
        if np.issubdtype(indices.dtype, np.bool_):
            (indices,) = indices.nonzero()
        found.append(indices.reshape((*(1,) * position, indices.size, *(1,) * (len(sequences) - position - 1))))
    return tuple(found)


def _axis(array: Any, axis: Any) -> tuple[Any, int]:
    """Return an array and its axis, both as they are if an axis is given."""
    if axis is None:
        return array.ravel(), 0
    if not -array.ndim <= axis < array.ndim:
        raise np.exceptions.AxisError(axis, array.ndim)
    return array, axis % array.ndim


def _delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    array, place = _axis(np.asarray(arr), axis)
    size = array.shape[place]
    if isinstance(obj, slice):
        gone: Any = range(*obj.indices(size))
        return np.take(array, np.array([i for i in range(size) if i not in gone], np.intp), axis=place)
    if isinstance(obj, (int, np.integer)) and not isinstance(obj, (bool, np.bool_)):
        if not -size <= obj < size:
            raise IndexError(f"index {obj} is out of bounds for axis {place} with size {size}")
        kept = np.arange(size - 1)
        if array.ndim == 1:
            return np.where(kept < (obj + size) % size, array[:-1], array[1:])
        return np.take(array, kept + (kept >= (obj + size) % size), axis=place)
    if isinstance(obj, (list, tuple)) and all(type(i) is int and -size <= i < size for i in obj):
        gone = [i % size for i in obj]
        return np.take(array, np.array([i for i in range(size) if i not in gone], np.intp), axis=place)
    return np.broadcast(array)  # Python goes on


def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    array, place = _axis(np.asarray(arr), axis)
    size = array.shape[place]
    if not isinstance(obj, (int, np.integer)) or isinstance(obj, (bool, np.bool_)):
        return np.broadcast(array)  # Python goes on
    if not -size <= obj <= size:
        raise IndexError(f"index {obj} is out of bounds for axis {place} with size {size}")
    position = obj + size if obj < 0 else obj
    new = np.array(values, dtype=array.dtype)
    new = np.moveaxis(new.reshape((1,) * (array.ndim - new.ndim) + new.shape), 0, place)
    new = np.broadcast_to(new, (*array.shape[:place], new.shape[place], *array.shape[place + 1 :]))
    index = (slice(None),) * place
    before, after = array[(*index, slice(None, position))], array[(*index, slice(position, None))]
    return np.concatenate([before, new, after], axis=place)


def _nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False
) -> Any:
    array = np.asarray(a)
    if dtype is not None or out is not None or array.dtype.kind != "f":
        return np.broadcast(array)  # Python goes on
    missing = np.isnan(array)
    present = np.where(missing, 0, array)
    count = np.sum(~missing, axis=axis, keepdims=True)
    mean = (np.sum(present, axis=axis, keepdims=True) / count).astype(array.dtype)
    apart = np.where(missing, 0, present - mean)
    total = np.sum(apart * apart, axis=axis, keepdims=keepdims)
    freedom = np.sum(~missing, axis=axis, keepdims=keepdims) - ddof
    if np.any(freedom <= 0):
        return np.broadcast(array)  # Python warns
    return (total / freedom).astype(array.dtype)


def _nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False
) -> Any:
    return np.sqrt(_nanvar(a, axis, dtype, out, ddof, keepdims))


def _apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    array = np.asarray(arr)
    moved = np.moveaxis(array, axis, -1)
    outer = moved.shape[:-1]
    results = [
        np.array(func1d(moved[index], *args, **kwargs))
        for index in itertools.product(*[range(size) for size in outer])
    ]
    if not results:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    shape, dtype = results[0].shape, results[0].dtype
    for result in results:
        if result.shape != shape:
            np.broadcast(result)  # NumPy would broadcast it, or raise: Python goes on
    made = np.stack([result.astype(dtype) for result in results]).reshape(outer + shape)
    rank, inner = made.ndim, len(shape)
    place = axis + array.ndim if axis < 0 else axis
    front = len(outer)
    order = (*range(place), *range(front, rank), *range(place, front))
    return made.transpose(order) if inner else made


#: what capture follows, by what it stands for
def _vectorized(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function by ``np.vectorize``: if the result's dtype is not given, twice for the first elements.

    It is given NumPy's scalars then, whose result has that dtype, and Python's afterwards.
    """
    function, otypes = self.pyfunc, self.otypes
    plain = self.signature is None and not self.cache and not self.excluded
    typed = otypes is None or (len(otypes) == 1 and not self._ufunc)  # an object that was called keeps its function
    if kwargs or not args or not plain or not typed or not all(map(_can_be_vectorized, args)):
        return np.frompyfunc(function, len(args), 1)  # left to Python
    arrays = np.broadcast_arrays(*args)
    if arrays[0].size == 0:
        raise ValueError("cannot call `vectorize` on size 0 inputs unless `otypes` is set")  # Python says
    columns = [array.ravel() for array in arrays]
    found = np.asarray(function(*[column[0] for column in columns])).dtype if otypes is None else otypes[0]
    dtype = np.dtype(found)
    results = []
    for position in range(arrays[0].size):
        results.append(function(*[column[position].item() for column in columns]))
    made = np.array(results)
    if made.ndim != 1 or (made.dtype.kind != dtype.kind and not np.can_cast(made.dtype, dtype)):
        return np.frompyfunc(function, len(args), 1)  # left to Python, which converts one by one
    return np.array(results, dtype=dtype).reshape(arrays[0].shape)  # numbers that do not fit are refused


def _can_be_vectorized(argument: Any) -> bool:
    """Whether it is a number, or an array in C order: of others, elements are taken in the order they lie in memory."""
    if isinstance(argument, np.ndarray):
        return argument.ndim > 0 and np.ascontiguousarray(argument) is argument
    return isinstance(argument, (np.generic, float, int))


NUMPY: dict[Any, Any] = {
    umath._array_converter: Converter,
    np.vectorize.__call__: _vectorized,
    np.ndindex: _ndindex,
    np.ndenumerate: _ndenumerate,
    np.cross: _cross,
    np.cross._implementation: _cross,  # type: ignore[attr-defined]
    np.fromiter: _fromiter,
    np.ix_: _ix,
    np.apply_along_axis: _apply_along_axis,
    np.delete: _delete,
    np.insert: _insert,
    np.nanvar: _nanvar,
    np.nanstd: _nanstd,
}
