"""Arrays that remember how they were computed.

Owns `Variable`. Invariant: an operation with an operand that requires gradients is recorded unless the mode
(`janusjit.analysis.recording_mode`) says no; how, is the business of an engine
(`janusjit.analysis.recorded_variables`), and capture knows each of the methods here by identity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from janusjit.analysis.recording_mode import MODE


class Recorded:
    """Where a result comes from that compiled code computed.

    Parameters
    ----------
    meaning : str
        What it says.
    """

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning


#: the operations are in the graph being captured: such a result cannot leave it, since they cannot
IN_GRAPH = Recorded("in a graph")
#: the operations have been freed, or used up in a graph
FREED = Recorded("freed")


#: what is said of a recorded variable that `janusjit.grad` is given, or that the function returns
RECORDED_IN_GRADIENT = (
    "a Variable that requires gradients is given to, or returned from, a gradient function: pass its data"
)


class Engine(Protocol):
    """What does operations on variables."""

    def binary(self, symbol: str, left: Any, right: Any) -> Any:
        """Return ``left symbol right``."""

    def in_place(self, symbol: str, left: Variable, right: Any) -> Any:
        """Return ``left symbol= right``."""

    def unary(self, symbol: str, operand: Variable) -> Any:
        """Return ``symbol operand``."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of NumPy."""

    def method(self, owner: Variable, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method that arrays have."""

    def attribute(self, owner: Variable, name: str) -> Any:
        """Return an attribute that arrays have."""

    def item(self, owner: Variable, index: Any) -> Any:
        """Return ``owner[index]``."""

    def set_item(self, owner: Variable, index: Any, value: Any) -> None:
        """``owner[index] = value``."""

    def data(self, owner: Variable) -> Any:
        """Return the present data of a computed variable."""

    def backward(self, owner: Variable, gradient: Any, retain_graph: bool) -> None:
        """Add to the gradients of the leaves."""


#: set by `janusjit.analysis.recorded_variables`, which builds on capture
ENGINE: list[Engine] = []


class Variable:
    """An array of floats that gradients can be taken by, in the manner of PyTorch and TensorFlow.

    NumPy's functions, operators, indexing, methods and attributes work on it. What they give is a Variable again where
    it is made of floats (of shape ``()`` where NumPy gives a number), and plain where it is not. Operations on a
    variable that requires gradients are recorded, and so do their results; `backward` goes back through them.

    Parameters
    ----------
    data : array_like
        Numbers; copied. Other than float32 and float64 become float64.
    requires_grad : bool
        Whether gradients are to be had by it.
    dtype : dtype, optional
        float32 or float64.

    Attributes
    ----------
    grad : ndarray or None
        The gradient so far, of the shape and dtype of the data; None before the first `backward`.
    requires_grad : bool
        Whether operations on it are recorded.

    Raises
    ------
    TypeError
        If the data are no real numbers.

    Notes
    -----
    An operation takes a copy of the data of its operands, so that writing to `data` later changes no gradient. A result
    may be written in place (``y[0] = x``), which is recorded; what requires gradients and is no result (a leaf) may
    only under `no_grad`. The operations recorded live as long as their results, or until `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> w = jj.Variable([1.0, 2.0])
    >>> loss = ((w * 3.0) ** 2).sum()
    >>> loss.backward()
    >>> w.grad
    array([18., 36.])
    >>> with jj.no_grad():
    ...     w -= 0.01 * w.grad
    >>> w
    Variable([0.82, 1.64], requires_grad=True)
    """

    __array_priority__ = 1000.0

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None) -> None:
        self._data = own_copy(data, dtype)
        self.grad: Any = None
        self.requires_grad = bool(requires_grad)
        self._history: Any = None

    # ------------------------------------------------------------------ data

    @property
    def data(self) -> Any:
        """The array itself, which may be written; of the result of a recorded operation, a read-only one."""
        return self._data if self._history is None else ENGINE[0].data(self)

    @data.setter
    def data(self, value: Any) -> None:
        if value is self._data and self._history is None:
            return
        if self._history is not None:
            raise RuntimeError("the data of the result of a recorded operation cannot be replaced: see detach()")
        self._data = value if type(value) is np.ndarray and is_float(value) else own_copy(value, None)

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the data as an ndarray, as `data` does.

        Examples
        --------
        >>> import janusjit as jj
        >>> jj.Variable([1.0]).numpy()
        array([1.])
        """
        array: np.ndarray[Any, Any] = self.data
        return array

    def item(self) -> float:
        """Return the only element as a Python float.

        Examples
        --------
        >>> import janusjit as jj
        >>> (jj.Variable([1.0, 2.0]) ** 2).sum().item()
        5.0
        """
        number: float = self.data.item()
        return number

    def detach(self) -> Variable:
        """Return a variable with the same data that requires no gradients.

        It shares the memory of a leaf; of a result's data it has a copy.

        Examples
        --------
        >>> import janusjit as jj
        >>> jj.Variable(2.0).detach()
        Variable(2., requires_grad=False)
        """
        return untracked(self._data if self._history is None else self.data.copy())

    def assign(self, value: Any) -> Variable:
        """Write values into the data of a leaf, without recording; broadcast as NumPy does.

        Examples
        --------
        >>> import janusjit as jj
        >>> jj.Variable([1.0, 2.0]).assign(3.0)
        Variable([3., 3.], requires_grad=True)
        """
        self._leaf_data()[...] = plain(value)
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the data of a leaf, without recording."""
        data = self._leaf_data()
        data += plain(value)
        return self

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the data of a leaf, without recording.

        Examples
        --------
        >>> import janusjit as jj
        >>> jj.Variable([1.0, 2.0]).assign_sub([0.5, 0.5])
        Variable([0.5, 1.5], requires_grad=True)
        """
        data = self._leaf_data()
        data -= plain(value)
        return self

    def _leaf_data(self) -> Any:
        if self._history is not None:
            raise RuntimeError("only a leaf can be assigned to, not the result of a recorded operation")
        return self._data

    # ------------------------------------------------------------------ gradients

    @property
    def recording(self) -> Engine:
        """What functions that are no NumPy functions are called through, to be recorded."""
        return ENGINE[0]

    @property
    def is_leaf(self) -> bool:
        """Whether it is no result of a recorded operation."""
        return self._history is None

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradients of this result to `grad` of the leaves it was computed from.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent, of this variable's shape; one, if there is a single element.
        retain_graph : bool
            Whether the recorded operations are kept, to go back through them again.

        Raises
        ------
        RuntimeError
            If nothing was recorded, the recorded operations have been freed by an earlier `backward`, or the
            cotangent is missing or has another shape.

        Examples
        --------
        >>> import janusjit as jj
        >>> x = jj.Variable([1.0, 2.0])
        >>> (x * x).backward([1.0, 10.0])
        >>> x.grad
        array([ 2., 40.])
        """
        ENGINE[0].backward(self, gradient, retain_graph)

    def zero_grad(self) -> None:
        """Forget the gradient so far: `grad` is None again."""
        self.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Variable:
        """Set `requires_grad` of a leaf, and return it."""
        if self._history is not None:
            raise RuntimeError("requires_grad can only be changed of a leaf: see detach()")
        self.requires_grad = bool(requires_grad)
        return self

    # ------------------------------------------------------------------ as an array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            kwargs["out"] = kwargs["out"][0] if len(kwargs["out"]) == 1 else kwargs["out"]
        return ENGINE[0].call(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ENGINE[0].call(function, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        if recorded(self):
            raise TypeError("an array of what requires gradients would lose them: use np.stack, detach() or data")
        return np.array(self.data, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = None if name.startswith("_") else getattr(np.ndarray, name, None)
        if found is None:
            raise AttributeError(f"'Variable' object has no attribute {name!r}")
        return functools.partial(ENGINE[0].method, self, name) if callable(found) else ENGINE[0].attribute(self, name)

    def __getitem__(self, index: Any) -> Any:
        return ENGINE[0].item(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        ENGINE[0].set_item(self, index, value)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data)

    def __int__(self) -> int:
        return int(self.data)

    def __format__(self, specification: str) -> str:
        return format(self.data[()] if self.data.shape == () else self.data, specification)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Variable(")
        return f"Variable({text}, requires_grad={self.requires_grad})"

    def __reduce__(self) -> Any:
        if self._history is not None:
            raise TypeError("only a leaf can be copied or pickled: see detach()")
        return rebuilt, (self._data, self.requires_grad, self.grad)

    __hash__ = object.__hash__


def rebuilt(data: Any, requires_grad: bool, grad: Any) -> Variable:
    """Return a leaf from what a pickle says of it."""
    made = Variable(data, requires_grad)
    made.grad = grad
    return made


_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
}  # fmt: skip
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
#: the symbol of the operation of each special method, and whether operands are exchanged: what capture takes it for
BINARY_METHODS: dict[Any, tuple[str, bool]] = {}
IN_PLACE_METHODS: dict[Any, str] = {}
UNARY_METHODS: dict[Any, str] = {}


def _binary(symbol: str, reflected: bool) -> Callable[[Variable, Any], Any]:
    def operate(self: Variable, other: Any) -> Any:
        return ENGINE[0].binary(symbol, other, self) if reflected else ENGINE[0].binary(symbol, self, other)

    BINARY_METHODS[operate] = (symbol, reflected)
    return operate


def _in_place(symbol: str) -> Callable[[Variable, Any], Any]:
    def operate(self: Variable, other: Any) -> Any:
        return ENGINE[0].in_place(symbol, self, other)

    IN_PLACE_METHODS[operate] = symbol
    return operate


def _unary(symbol: str) -> Callable[[Variable], Any]:
    def operate(self: Variable) -> Any:
        return ENGINE[0].unary(symbol, self)

    UNARY_METHODS[operate] = symbol
    return operate


for _name, _symbol in _BINARY.items():
    setattr(Variable, f"__{_name}__", _binary(_symbol, False))
    setattr(Variable, f"__r{_name}__", _binary(_symbol, True))
    setattr(Variable, f"__i{_name}__", _in_place(_symbol))
for _name, _symbol in _COMPARED.items():
    setattr(Variable, f"__{_name}__", _binary(_symbol, False))
for _name, _symbol in (("neg", "u-"), ("pos", "u+"), ("abs", "abs")):
    setattr(Variable, f"__{_name}__", _unary(_symbol))


# ---------------------------------------------------------------------- making them


def is_float(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is of a type that has gradients."""
    return array.dtype in (np.float64, np.float32)


def own_copy(data: Any, dtype: Any) -> Any:
    """Return data as a new array of floats.

    Raises
    ------
    TypeError
        If they are no real numbers.
    """
    if isinstance(data, Variable):
        data = data.data
    differentiated = RECORDED_DATA[0](data, dtype) if RECORDED_DATA else None
    if differentiated is not None:
        return differentiated
    array = np.array(data, dtype)
    if not is_float(array):
        if array.dtype.kind not in "biuf":
            raise TypeError(f"a Variable holds float32 or float64, not {array.dtype}")
        array = array.astype(np.float64)
    return array


#: set by `janusjit.analysis.recorded_variables`: a copy of data that `janusjit.grad` differentiates, or None
RECORDED_DATA: list[Callable[[Any, Any], Any]] = []


def as_it_is(array: Any) -> Any:
    """Return an array, or one that is being differentiated, itself; of a number, an array."""
    return array if hasattr(array, "recording") else np.asarray(array)


def untracked(array: Any) -> Variable:
    """Return an array as a variable that requires no gradients, without a copy."""
    made = Variable.__new__(Variable)
    made._data, made.grad, made.requires_grad, made._history = as_it_is(array), None, False, None
    return made


def plain(value: Any) -> Any:
    """Return the data of a variable, and anything else as it is."""
    return value.data if isinstance(value, Variable) else value


def recorded(value: Any) -> bool:
    """Whether an operation on a value is recorded; of a list, tuple or dict, whether it is on a part."""
    if isinstance(value, Variable):
        return value.requires_grad and MODE.get().enabled
    if isinstance(value, list | tuple):
        return any(map(recorded, value))
    return isinstance(value, dict) and any(map(recorded, value.values()))
