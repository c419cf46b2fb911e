"""Derivatives built on gradients.

Owns `vjp`, `jvp`, `jacobian`, `hessian` and `hvp`. Invariant: each is plain Python over `janusjit.grad`, so it means
the same outside compiled code and inside, nested in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
        Returns an array or a float.
    primals, tangents : sequence
        Where, and in which direction; arrays or floats.

    Notes
    -----
    The transpose of the vector-Jacobian product, which is linear: two reverse passes.

    Examples
    --------
    >>> import janusjit as jj
    >>> jj.jvp(lambda x: x**2, (3.0,), (1.0,))
    (9.0, 6.0)
    """
    plain = unwrapped(function)
    value = plain(*primals)
    product = Differentiated(plain, tuple(range(len(primals))), False, seeded=True)

    def along(cotangent: Any) -> Any:
        total = 0.0
        for part, tangent in zip(product(cotangent, *primals), tangents, strict=True):
            total = total + np.sum(part * tangent)
        return total

    return value, grad(along)(np.zeros_like(value) if isinstance(value, np.ndarray) else value * 0.0)


def jacobian(function: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """Return the function that gives the Jacobian of a function of an array.

    Parameters
    ----------
    function : callable
        Returns an array or a float.
    argnum : int
        The argument, an array or a float, to differentiate by.

    Returns
    -------
    callable
        Returns an array of shape ``result.shape + argument.shape``: one reverse pass an element of the result.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    plain = unwrapped(function)
    product = Differentiated(plain, argnum, False, seeded=True)

    def rows(*args: Any) -> Any:
        shape = np.shape(plain(*args))
        size = 1
        for length in shape:
            size *= length
        units = np.eye(size)
        found = [product(units[number].reshape(shape), *args) for number in range(size)]
        return np.reshape(np.stack(found), shape + np.shape(args[argnum]))

    return rows


def hessian(function: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """Return the function that gives the Hessian of a function that returns one float: the Jacobian of its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian(grad(function, argnum), argnum)


def hvp(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return the function of ``(x, v)`` that gives the product of the Hessian at ``x`` with ``v``.

    Notes
    -----
    The gradient of ``grad(function)(x) · v`` (Pearlmutter 1994): no Hessian is made.

    Examples
    --------
    >>> import numpy as np
    >>> import janusjit as jj
    >>> jj.hvp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    gradient = grad(function)

    def product(x: Any, v: Any) -> Any:
        return grad(lambda at: np.sum(gradient(at) * v))(x)

    return product
