"""What the package `autograd` gives as Python code that capture can follow.

Owns the Python that stands in place of autograd's vector spaces and of those of its functions that only work on its own
boxes or on NumPy in an unusual way. Invariant: each returns what autograd's returns for real arrays and containers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from janusjit.analysis.differentiated import stop_gradient


class ArraySpace:
    """The vector space of an array or a number."""

    iscomplex = False

    def __init__(self, value: Any) -> None:
        array = np.asarray(value)
        self.shape = array.shape
        self.dtype = array.dtype
        self.size = array.size
        self.ndim = array.ndim

    def zeros(self) -> Any:
        """Return the zero of the space."""
        return np.zeros(self.shape, dtype=self.dtype)

    def ones(self) -> Any:
        """Return the element that is one everywhere."""
        return np.ones(self.shape, dtype=self.dtype)

    def standard_basis(self) -> Iterator[Any]:
        """Give the unit vectors."""
        for index in itertools.product(*[range(length) for length in self.shape]):
            unit = np.zeros(self.shape, dtype=self.dtype)
            unit[index] = 1
            yield unit


class ContainerSpace:
    """The vector space of a tuple, list or dict."""

    iscomplex = False

    def __init__(self, value: Any) -> None:
        self.value = value

    def _filled(self, what: str) -> Any:
        value = self.value
        if type(value) is dict:
            return {key: getattr(space(part), what)() for key, part in value.items()}
        parts = [getattr(space(part), what)() for part in value]
        return tuple(parts) if type(value) is tuple else parts

    def zeros(self) -> Any:
        """Return the zero of the space."""
        return self._filled("zeros")

    def ones(self) -> Any:
        """Return the element that is one everywhere."""
        return self._filled("ones")

    @property
    def size(self) -> int:
        """The number of dimensions."""
        value = self.value
        return sum([space(part).size for part in (value.values() if type(value) is dict else value)])


def space(value: Any) -> Any:
    """Return the vector space that a value is in, as ``autograd.extend.vspace``."""
    if type(value) in (tuple, list, dict):
        return ContainerSpace(value)
    return ArraySpace(value)


def wraps(fun: Any, namestr: str = "{fun}", docstr: str = "{doc}", **names: Any) -> Callable[[Any], Any]:
    """Return a decorator that changes nothing: names of functions inside a graph are not seen."""
    return lambda function: function


def stack(arrays: Any, axis: int = 0) -> Any:
    """Stack arrays that come from any iterable, as ``autograd.numpy.stack``."""
    return np.stack([np.array(array) for array in arrays], axis)


def concatenate(arr_list: Any, axis: int = 0) -> Any:
    """Concatenate arrays that come from any iterable, as ``autograd.numpy.concatenate``."""
    return np.concatenate([*arr_list], axis)


def concatenate_args(axis: int, *arrays: Any) -> Any:
    """Concatenate arguments."""
    return np.concatenate(arrays, axis)


def array_from_args(array_args: Any, array_kwargs: Any, *args: Any) -> Any:
    """Make an array of arguments."""
    return np.array(args, *array_args, **array_kwargs)


def array_from_value(array_args: Any, array_kwargs: Any, value: Any) -> Any:
    """Make an array of a number or an array."""
    return np.array(value, *array_args, **array_kwargs)


def getval(value: Any) -> Any:
    """Return what is in a box: the value as a constant."""
    return stop_gradient(value)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: Any = False) -> Any:
    """Return ``log(sum(exp(a)))``; exact for any summand that is taken out, so that it has all derivatives."""
    if b is not None or type(axis) is tuple:
        np.broadcast(a, b)  # weights, or several axes: Python goes on
    array = np.asarray(a)
    shape = np.shape(array)
    if axis is None:
        array, axis = np.ravel(array), 0
    largest = np.expand_dims(np.argmax(array, axis), axis)
    count = array.shape[axis]
    positions = np.reshape(np.arange(count), (count,) + (1,) * (array.ndim - 1))
    taken = np.moveaxis(positions, 0, axis) == largest
    out = np.sum(np.where(taken, array, 0.0), axis, keepdims=True)
    shift = np.where(np.isfinite(out), out, 0.0)
    rest = np.sum(np.where(taken, 0.0, np.exp(array - shift)), axis, keepdims=True)
    found = np.log1p(rest) + out
    if not keepdims:
        return np.squeeze(found, axis)[()]
    return np.reshape(found, (1,) * len(shape)) if array.ndim != len(shape) else found


def norm_logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Return the logarithm of the density of the normal distribution, nan where the scale is not positive."""
    at = (np.asarray(x) - loc) / scale
    found = -(at**2) / 2.0 - _LOG_ROOT - np.log(scale)
    return np.where(np.asarray(scale) > 0, found, np.nan)[()]


def norm_pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Return the density of the normal distribution, nan where the scale is not positive."""
    at = (np.asarray(x) - loc) / scale
    return np.where(np.asarray(scale) > 0, np.exp(-(at**2) / 2.0) / _ROOT / scale, np.nan)[()]


def expit(x: Any) -> Any:
    """Return the logistic function; no branch overflows, and at 0 one branch has all derivatives."""
    power = np.exp(np.where(np.asarray(x) >= 0, -np.asarray(x), x))
    return np.where(np.asarray(x) >= 0, 1.0, power)[()] / (1.0 + power)


#: √2π and its logarithm
_ROOT = math.sqrt(2 * math.pi)
_LOG_ROOT = math.log(_ROOT)

#: by the function's module and name in autograd
BY_NAME: dict[tuple[str, str], Any] = {
    ("autograd.core", "vspace"): space,
    ("autograd.wrap_util", "wraps"): wraps,
    ("autograd.numpy.numpy_wrapper", "stack"): stack,
    ("autograd.numpy.numpy_wrapper", "concatenate"): concatenate,
    ("autograd.numpy.numpy_wrapper", "concatenate_args"): concatenate_args,
    ("autograd.numpy.numpy_wrapper", "array_from_args"): array_from_args,
    ("autograd.numpy.numpy_wrapper", "_array_from_scalar_or_array"): array_from_value,
    ("autograd.scipy.special", "logsumexp"): logsumexp,
    ("autograd.scipy.special", "expit"): expit,
    ("autograd.scipy.stats.norm", "logpdf"): norm_logpdf,
    ("autograd.scipy.stats.norm", "pdf"): norm_pdf,
    ("autograd.tracer", "getval"): getval,
    ("autograd.builtins", "tuple"): tuple,
    ("autograd.builtins", "list"): list,
    ("autograd.builtins", "dict"): dict,
    ("autograd.builtins", "isinstance"): isinstance,
    ("autograd.builtins", "type"): type,
}
