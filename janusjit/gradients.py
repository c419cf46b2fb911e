"""Derivatives built on gradients.

Owns `vjp`, `jvp`, `jacobian`, `hessian` and `hvp`. Invariant: each is plain Python over `Differentiated`, so it means
the same outside compiled code and inside, nested in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from janusjit.analysis.differentiated import Differentiated, grad, unwrapped


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return a function's value and its vector-Jacobian product.

    Parameters
    ----------
    function : callable
        Returns an array or a float.
    *primals
        Where; see `janusjit.grad` for what they may be.

    Returns
    -------
    value
        ``function(*primals)``.
    pullback : callable
        Takes a cotangent of the value's shape; returns a tuple with the product for each of ``primals``.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> value, pullback = jj.vjp(np.sin, np.array([0.0, 1.0]))
    >>> pullback(np.array([1.0, 0.0]))
    (array([1., 0.]),)
    """
    plain = unwrapped(function)
    product = Differentiated(plain, tuple(range(len(primals))), False, seeded=True)
    return plain(*primals), lambda cotangent: product(cotangent, *primals)


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Return a function's value and its Jacobian-vector product.

    Parameters
    ----------
    function : callable
        Returns arrays and floats, also in tuples, lists and dicts.
    primals, tangents : sequence
        Where, and in which direction: a tangent for each of the primals, built like it, its arrays of the same shapes;
        None is zero.

    Returns
    -------
    value
        ``function(*primals)``.
    tangent
        Its derivative in that direction, built like the value, with None in the place of what is no float.

    Raises
    ------
    TypeError
        If the tangents are not built like the primals.

    Notes
    -----
    Forward mode: the function is gone through once, and nothing is kept.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.jvp(lambda x: x**2, (3.0,), (1.0,))
    (9.0, 6.0)
    """
    product = Differentiated(unwrapped(function), tuple(range(len(primals))), False, seeded=True, derivative="tangent")
    value, tangent = product(tuple(tangents), *primals)
    return value, tangent


def jacobian(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, mode: str | None = None
) -> Callable[..., Any]:
    """Return the function that gives the Jacobian of a function of arrays.

    Parameters
    ----------
    function : callable
        Returns an array or a float, or tuples, lists, dicts and dataclasses of them.
    argnums : int or tuple of int
        The arguments, built in the same way, to differentiate by.
    mode : {None, "forward", "reverse"}
        Forward mode takes a pass for each element of the arguments, reverse mode one for each element of the result.
        None takes forward mode where the result has at least as many.

    Returns
    -------
    callable
        Returns an array of shape ``result.shape + argument.shape`` (a tuple of such where ``argnums`` is one), of the
        dtype of the argument. In the place of each array of the result stands what is built like the argument, with an
        array for each of its own; None stands for what is no float.

    Raises
    ------
    ValueError
        If there is no such mode.
    TypeError
        When called, if there are no floats in the result or in an argument.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    if mode is not None and mode not in ("forward", "reverse"):
        raise ValueError(f"mode is None, 'forward' or 'reverse', not {mode!r}")
    return Differentiated(unwrapped(function), argnums, False, derivative="jacobian", mode=mode)


def hessian(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return the function that gives the Hessian of a function that returns one float.

    Parameters
    ----------
    function : callable
        Returns a float.
    argnums : int or tuple of int
        The arguments to differentiate by: arrays, floats, and tuples, lists, dicts and dataclasses of them.

    Returns
    -------
    callable
        Returns an array of shape ``argument.shape + argument.shape``. Of several arrays there is one for each two of
        them: in the place of each array of the gradient stands what is built like the gradient again.

    Notes
    -----
    The Jacobian of the gradient, by forward mode over reverse mode.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    >>> jj.hessian(lambda p: p["a"] ** 2 * p["b"])({"a": 1.0, "b": 2.0})["b"]["a"]
    array(2.)
    """
    return jacobian(grad(function, argnums), argnums, "forward")


def hvp(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return the function of ``(x, v)`` that gives the product of the Hessian at ``x`` with ``v``.

    ``x`` may be built of arrays, floats and containers of them; ``v`` is built like it.

    Notes
    -----
    The derivative of the gradient along ``v`` (Pearlmutter 1994), by forward mode over reverse mode.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.hvp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    gradient = grad(function)

    def product(x: Any, v: Any) -> Any:
        return jvp(gradient, (x,), (v,))[1]

    return product
