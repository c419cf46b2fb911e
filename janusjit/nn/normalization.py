"""Normalisation.

Owns `batch_norm`, `layer_norm` and `group_norm`. Invariant: variances are means of squared distances from the mean, not
differences of large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from janusjit.nn.primitive import detach


def batch_norm(
    input: np.ndarray,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> np.ndarray:
    """Normalise each channel over the batch.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, ...)
        Floats.
    running_mean, running_var : ndarray, shape (channels,), or None
        What is subtracted and divided by when not training. When training they are moved, in place, towards the mean
        and the (unbiased) variance of the batch.
    weight, bias : ndarray, shape (channels,), optional
        Multiplied with the result, and added.
    training : bool
        Whether the batch's own mean and variance are used.
    momentum : float
        How far the running ones move.
    eps : float
        Added to the variance.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Raises
    ------
    ValueError
        If there are no running statistics and it is not training, or a batch of one element has no variance.

    Notes
    -----
    Ioffe, Szegedy: "Batch normalization", 2015. Names and defaults are those of ``torch.nn.functional.batch_norm``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> mean, variance = np.zeros(1), np.ones(1)
    >>> nn.batch_norm(np.array([[1.0], [3.0]]), mean, variance, training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    >>> mean, variance
    (array([0.2]), array([1.1]))
    """
    shape = (input.shape[1], *(1,) * (input.ndim - 2))
    if training:
        axes = (0, *range(2, input.ndim))
        mean = input.mean(axis=axes, keepdims=True)
        centered = input - mean
        variance = (centered * centered).mean(axis=axes, keepdims=True)
        if running_mean is not None and running_var is not None:
            count = input.size // input.shape[1]
            if count == 1:
                raise ValueError("more than one value for each channel is needed when training")
            _move(running_mean, detach(mean), momentum)
            _move(running_var, detach(variance) * (count / (count - 1)), momentum)
    elif running_mean is None or running_var is None:
        raise ValueError("running_mean and running_var are needed when not training")
    else:
        centered, variance = input - running_mean.reshape(shape), running_var.reshape(shape)
    scale = 1 / np.sqrt(variance + eps)
    if weight is not None:
        scale = scale * weight.reshape(shape)
    result = centered * scale
    return result if bias is None else result + bias.reshape(shape)


def _move(running: Any, value: Any, momentum: float) -> None:
    """Move a running statistic, in place."""
    running *= 1 - momentum
    running += momentum * value.reshape(running.shape)


def layer_norm(
    input: np.ndarray,
    normalized_shape: int | Sequence[int],
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
) -> np.ndarray:
    """Normalise over the last axes.

    Parameters
    ----------
    input : ndarray, shape (..., *normalized_shape)
        Floats.
    normalized_shape : int or sequence of int
        The last dimensions, over which means and variances are taken.
    weight, bias : ndarray, shape normalized_shape, optional
        Multiplied with the result, and added.
    eps : float
        Added to the variance.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Raises
    ------
    ValueError
        If the last dimensions are others.

    Notes
    -----
    Ba, Kiros, Hinton: "Layer normalization", 2016. Names and defaults are those of
    ``torch.nn.functional.layer_norm``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.layer_norm(np.array([[1.0, 3.0]]), 2, eps=0.0)
    array([[-1.,  1.]])
    """
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    first = input.ndim - len(sizes)
    if input.shape[first:] != sizes:
        raise ValueError(f"the last dimensions of {input.shape} are not {sizes}")
    axes = tuple(range(first, input.ndim))
    result = _normalized(input, axes, eps)
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


def _normalized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    centered = x - x.mean(axis=axes, keepdims=True)
    variance = (centered * centered).mean(axis=axes, keepdims=True)
    return centered * (1 / np.sqrt(variance + eps))


def group_norm(
    input: np.ndarray,
    num_groups: int,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
) -> np.ndarray:
    """Normalise over groups of channels.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, ...)
        Floats.
    num_groups : int
        Number of groups; divides the channels.
    weight, bias : ndarray, shape (channels,), optional
        Multiplied with the result, and added.
    eps : float
        Added to the variance.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Raises
    ------
    ValueError
        If the groups do not divide the channels.

    Notes
    -----
    Wu, He: "Group normalization", 2018. Names and defaults are those of ``torch.nn.functional.group_norm``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.group_norm(np.array([[1.0, 3.0, 7.0, 3.0]]), 2, eps=0.0)
    array([[-1.,  1.,  1., -1.]])
    """
    batch, channels = input.shape[:2]
    if channels % num_groups:
        raise ValueError(f"{channels} channels are no {num_groups} groups of one size")
    inner = channels // num_groups * math.prod(input.shape[2:])
    result = _normalized(input.reshape(batch, num_groups, inner), (2,), eps).reshape(input.shape)
    shape = (channels, *(1,) * (input.ndim - 2))
    if weight is not None:
        result = result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)
