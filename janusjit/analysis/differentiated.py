"""Functions that give gradients.

Owns `Differentiated`, what `janusjit.grad` and `janusjit.value_and_grad` return. Invariant: capture knows such a
function by its type and reads its fields; called by Python, it runs the function on recording values (define by run).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

#: set by `janusjit.analysis.gradient_calls`, which builds on capture
EAGER: list[Callable[[Differentiated, tuple[Any, ...], dict[str, Any]], Any]] = []


class Differentiated:
    """The gradient of a function.

    Parameters
    ----------
    function : callable
        The function.
    argnums : int or tuple of int
        The positional arguments by which it is differentiated.
    with_value : bool
        Whether the function's result is returned too.
    has_aux : bool
        Whether the function returns a pair, of which only the first is differentiated.
    seeded : bool
        Whether the first argument of the call is the cotangent of the result instead of one.
    argnames : str, tuple of str or None
        The arguments by which it is differentiated, by name: then ``argnums`` does not count.
    derivative : str
        What it gives: ``gradient``, ``tangent`` (the value, and the derivative along the directions in the first
        argument of the call) or ``jacobian``.
    mode : str or None
        Whether a Jacobian is computed by ``forward`` or ``reverse`` mode; None leaves that to its shape.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        argnums: int | tuple[int, ...] | None,
        with_value: bool,
        has_aux: bool = False,
        seeded: bool = False,
        argnames: str | tuple[str, ...] | None = None,
        derivative: str = "gradient",
        mode: str | None = None,
    ) -> None:
        if argnums is not None and argnames is not None:
            raise TypeError("the arguments to differentiate by are given by argnums or by argnames, not by both")
        self.function = function
        self.argnums = 0 if argnums is None else argnums
        self.argnames = argnames
        self.with_value = with_value
        self.has_aux = has_aux
        self.seeded = seeded
        self.derivative = derivative
        self.mode = mode
        functools.update_wrapper(self, function, updated=())

    @property
    def single(self) -> bool:
        """Whether the gradient is by one argument, and comes without a tuple around it."""
        return isinstance(self.argnums if self.argnames is None else self.argnames, int | str)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arguments differentiated by, where they are given by name."""
        return (self.argnames,) if isinstance(self.argnames, str) else self.argnames or ()

    def chosen(self, count: int, keywords: frozenset[str]) -> list[int | str]:
        """Return the position or the keyword of each argument differentiated by.

        Parameters
        ----------
        count : int
            How many positional arguments a call has.
        keywords : frozenset of str
            The names of its keyword arguments.

        Raises
        ------
        TypeError
            If the call has no such argument.
        """
        if self.argnames is None:
            numbers = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
            if any(not -count <= number < count for number in numbers):
                raise TypeError(f"no positional argument {max(numbers)} to differentiate by")
            return list(numbers)
        missing = [name for name in self.names if name not in keywords]
        positional = self._positions()[:count] if missing else []
        for name in missing:
            if name not in positional:
                raise TypeError(f"no argument {name!r} to differentiate by")
        return [name if name in keywords else positional.index(name) for name in self.names]

    def _positions(self) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [item.name for item in inspect.signature(self.function).parameters.values() if item.kind in kinds]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the gradient, or the value and the gradient."""
        return EAGER[0](self, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<gradient of {self.function!r}>"


def grad(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] | None = None,
    *,
    has_aux: bool = False,
    argnames: str | tuple[str, ...] | None = None,
) -> Callable[..., Any]:
    """Return the function that gives the gradient of a function that returns one float.

    Parameters
    ----------
    function : callable
        Takes arrays, floats, and tuples, lists, dicts and dataclasses of them; written in NumPy. A jitted function
        counts as the function it was made of.
    argnums : int or tuple of int, optional
        The positional arguments to differentiate by: the first, if neither this nor ``argnames`` is given.
    has_aux : bool
        Whether it returns a pair ``(result, aux)``: then the gradient comes as ``(gradient, aux)``.
    argnames : str or tuple of str, optional
        The arguments to differentiate by, by name, passed by position or by keyword.

    Returns
    -------
    callable
        Takes what ``function`` takes. Returns what is built like the argument differentiated by, each array and float
        in it replaced by the derivative, of the same shape and dtype (a tuple of such where ``argnums`` or
        ``argnames`` is one); None stands for what has no derivative.

    Raises
    ------
    TypeError
        If both ``argnums`` and ``argnames`` are given. When called, if there is no such argument, the result is no
        float, or the gradient would be lost (``float()`` of an intermediate value, a write into an array that is not
        being differentiated).

    Notes
    -----
    Reverse mode, by the rules of `docs/ops.md`. Called in plain Python, operations are recorded as they run; inside a
    jitted function the gradient is a transform of the graph.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.grad(lambda w: (w**2).sum())(np.array([1.0, 2.0]))
    array([2., 4.])
    >>> jj.grad(lambda x, scale: scale * x**2, argnames="scale")(3.0, scale=2.0)
    9.0
    """
    return Differentiated(unwrapped(function), argnums, False, has_aux, argnames=argnames)


def value_and_grad(
    function: Callable[..., Any],
    argnums: int | tuple[int, ...] | None = None,
    *,
    has_aux: bool = False,
    argnames: str | tuple[str, ...] | None = None,
) -> Callable[..., Any]:
    """Return the function that gives the value of a function and its gradient; see `grad`.

    Returns
    -------
    callable
        Returns ``(value, gradient)``, or ``((value, aux), gradient)`` with ``has_aux``.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.value_and_grad(lambda x: x**3)(2.0)
    (8.0, 12.0)
    """
    return Differentiated(unwrapped(function), argnums, True, has_aux, argnames=argnames)


def stop_gradient(value: Any) -> Any:
    """Return a value as a constant: no derivative flows through it.

    Parameters
    ----------
    value : array or number
        What to pass on.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.grad(lambda x: x * jj.stop_gradient(x))(3.0)
    3.0
    """
    recording = getattr(value, "recording", None)
    return value if recording is None else recording.call(stop_gradient, (value,), {})


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the plain function behind a jitted one."""
    while hasattr(type(function), "__janusjit_profiled_through__"):
        function = function.__wrapped__  # type: ignore[attr-defined]
    return function
