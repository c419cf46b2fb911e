"""Activation functions, and what makes probabilities.

Owns `relu` and its kin, `sigmoid`, `softplus`, `softmax` and `log_softmax`. Invariant: nothing overflows that the true
value does not; results and gradients keep the dtype of a float input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erf

from janusjit.analysis.capture.arrays import cast, wrap
from janusjit.analysis.capture.machine import Machine
from janusjit.analysis.capture.numpy_arguments import array
from janusjit.analysis.capture.values import AbstractValue
from janusjit.nn.primitive import detach, primitive


def relu(input: np.ndarray) -> np.ndarray:
    """Return the positive part, ``max(x, 0)``; the derivative at 0 is 0.

    Parameters
    ----------
    input : ndarray
        Numbers.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.where(input <= 0, 0, input)


def leaky_relu(input: np.ndarray, negative_slope: float = 0.01) -> np.ndarray:
    """Return ``x`` where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    input : ndarray
        Floats.
    negative_slope : float
        The derivative at 0 and below.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.leaky_relu(np.array([-1.0, 2.0]), 0.5)
    array([-0.5,  2. ])
    """
    return np.where(input > 0, input, input * negative_slope)


def elu(input: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Return ``x`` where it is positive, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    input : ndarray
        Floats.
    alpha : float
        Minus the limit at minus infinity.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Notes
    -----
    Clevert, Unterthiner, Hochreiter: "Fast and accurate deep network learning by exponential linear units", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.elu(np.array([-1e9, 2.0]))
    array([-1.,  2.])
    """
    return np.where(input > 0, input, alpha * np.expm1(np.where(input > 0, 0, input)))


def gelu(input: np.ndarray, approximate: str = "none") -> np.ndarray:
    """Return ``x`` times the probability that a standard normal variable is below ``x``.

    Parameters
    ----------
    input : ndarray
        Floats.
    approximate : {"none", "tanh"}
        ``"tanh"``: by ``0.5*x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))``.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Raises
    ------
    ValueError
        If ``approximate`` is neither.

    Notes
    -----
    Hendrycks, Gimpel: "Gaussian error linear units", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    if approximate == "none":
        return 0.5 * input * (1 + erf(input * math.sqrt(0.5)))
    if approximate != "tanh":
        raise ValueError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
    return 0.5 * input * (1 + np.tanh(inner))


def silu(input: np.ndarray) -> np.ndarray:
    """Return ``x * sigmoid(x)``.

    Parameters
    ----------
    input : ndarray
        Floats.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """
    return input * sigmoid(input)


def _model(op: str) -> Any:
    def model(machine: Machine, input: AbstractValue) -> AbstractValue:
        value = array(machine, input)
        return wrap(machine, machine.emit(op, value if value.type.is_float else cast(machine, value, "f64")))

    return model


@primitive(_model("sigmoid"))
def sigmoid(input: np.ndarray) -> np.ndarray:
    """Return ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    input : ndarray
        Numbers.

    Returns
    -------
    ndarray
        Floats, of the dtype of the input if it is one.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    small = np.exp(-np.abs(input))
    return np.where(input >= 0, 1, small) / (1 + small)


@primitive(_model("softplus"))
def _softplus(input: np.ndarray) -> np.ndarray:
    return np.maximum(input, 0) + np.log1p(np.exp(-np.abs(input)))


def softplus(input: np.ndarray, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    """Return ``log(1 + exp(beta*x)) / beta``.

    Parameters
    ----------
    input : ndarray
        Floats.
    beta : float
        How sharp it bends.
    threshold : float
        Above it ``beta*x`` counts as its own softplus.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.softplus(np.array([-100.0, 0.0, 100.0])).round(4)
    array([  0.    ,   0.6931, 100.    ])
    """
    scaled = input * beta
    return np.where(scaled > threshold, input, _softplus(scaled) / beta)


def softmax(input: np.ndarray, dim: int = -1) -> np.ndarray:
    """Return the exponentials along an axis, divided by their sum.

    Parameters
    ----------
    input : ndarray
        Floats.
    dim : int
        The axis.

    Returns
    -------
    ndarray
        Of the same shape and dtype; sums along the axis are 1.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.softmax(np.array([1000.0, 1000.0]), dim=0)
    array([0.5, 0.5])
    """
    powers = np.exp(input - detach(input.max(axis=dim, keepdims=True)))
    return powers / powers.sum(axis=dim, keepdims=True)


def log_softmax(input: np.ndarray, dim: int = -1) -> np.ndarray:
    """Return the logarithm of `softmax`, without taking it of a number near 0.

    Parameters
    ----------
    input : ndarray
        Floats.
    dim : int
        The axis.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.log_softmax(np.array([1000.0, 0.0]), dim=0)
    array([    0., -1000.])
    """
    shifted = input - detach(input.max(axis=dim, keepdims=True))
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))
