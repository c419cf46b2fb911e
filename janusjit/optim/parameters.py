"""Nested parameters.

Owns `leaves` and `zeros`. Invariant: arrays come in one order, that of the structure, so parameters, gradients and what
an optimiser remembers go together.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def leaves(tree: Any) -> list[Any]:
    """Return the arrays in nested dicts, lists, tuples and dataclasses; None stands for what has no gradient.

    Parameters
    ----------
    tree : array, dict, list, tuple, dataclass or None
        The structure.

    Returns
    -------
    list of ndarray or None

    Raises
    ------
    TypeError
        If there is anything else in it: numbers, for one, cannot be changed in place.

    Examples
    --------
    >>> import numpy as np
    >>> leaves({"a": np.ones(1), "b": [np.zeros(1), None]})
    [array([1.]), array([0.]), None]
    """
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[Any]) -> None:
    if tree is None or isinstance(tree, np.ndarray):
        found.append(tree)
    elif isinstance(tree, dict):
        for key in tree:
            _collect(tree[key], found)
    elif isinstance(tree, list | tuple):
        for item in tree:
            _collect(item, found)
    elif hasattr(type(tree), "__dataclass_fields__"):
        for name in type(tree).__dataclass_fields__:
            _collect(getattr(tree, name), found)
    else:
        raise TypeError(f"parameters are arrays, in dicts, lists, tuples and dataclasses, not {type(tree).__name__}")


def zeros(tree: Any, value: float = 0.0) -> list[Any]:
    """Return an array of one number for each array of parameters.

    Parameters
    ----------
    tree : nested parameters
        See `leaves`.
    value : float
        The number.

    Returns
    -------
    list of ndarray or None
    """
    return [None if leaf is None else np.full_like(leaf, value) for leaf in leaves(tree)]
