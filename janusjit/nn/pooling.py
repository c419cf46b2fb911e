"""Pooling.

Owns `max_pool1d`, `max_pool2d`, `avg_pool1d` and `avg_pool2d`. Invariant: the gradient of a maximum goes to the first
of the greatest elements of its window.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from janusjit.nn.windows import each, output_sizes, unfold, window_max

Setting = int | tuple[int, ...]


def max_pool1d(
    input: np.ndarray,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the greatest element of each window along one axis; see `max_pool2d`.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, length) or (channels, length)
        Floats.
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As for `max_pool2d`.

    Returns
    -------
    ndarray, shape (batch, channels, out_length) or (channels, out_length)

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.max_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2)
    array([[3., 5.]])
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: np.ndarray,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the greatest element of each window along two axes.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, height, width) or (channels, height, width)
        Floats.
    kernel_size : int or tuple of int
        Size of a window.
    stride : int or tuple of int, optional
        Distance between windows; their size if it is left out.
    padding : int or tuple of int
        How far windows reach over both ends, at most half their size.
    dilation : int or tuple of int
        Distance between the elements of a window.
    ceil_mode : bool
        Whether a last window that only partly fits counts.
    return_indices : bool
        Whether the indices of the elements (``int64``, into the flattened image) are returned too.

    Returns
    -------
    ndarray or tuple of two ndarrays, shape (batch, channels, out_height, out_width)

    Raises
    ------
    ValueError
        If padding is more than half the size of a window.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    rank: int,
    input: Any,
    kernel_size: Setting,
    stride: Setting | None,
    padding: Setting,
    dilation: Setting,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = input if input.ndim == rank + 2 else input[None]
    kernel, before, dilations = each(kernel_size, rank), each(padding, rank), each(dilation, rank)
    strides = kernel if stride is None else each(stride, rank)
    output = _pooled_sizes(x.shape[2:], kernel, strides, before, dilations, ceil_mode)
    values, indices = window_max(x, output, kernel, strides, before, dilations)
    if input.ndim != rank + 2:
        values, indices = values[0], indices[0]
    return (values, indices) if return_indices else values


def _pooled_sizes(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    for p, k in zip(padding, kernel, strict=True):
        if 2 * p > k:
            raise ValueError(f"padding {p} is more than half the size {k} of a window")
    both = tuple([2 * p for p in padding])
    if not ceil_mode:
        return output_sizes(size, kernel, stride, both, dilation)
    output = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        count = -((d * (k - 1) + 1 - n - 2 * p) // s) + 1
        output.append(count - 1 if (count - 1) * s >= n + p else count)  # a window begins within the input
    return tuple(output)


def avg_pool1d(
    input: np.ndarray,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Return the mean of each window along one axis; see `avg_pool2d`.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, length) or (channels, length)
        Floats.
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As for `avg_pool2d`.

    Returns
    -------
    ndarray, shape (batch, channels, out_length) or (channels, out_length)

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.avg_pool1d(np.array([[1.0, 3.0, 2.0, 5.0]]), 2)
    array([[2. , 3.5]])
    """
    return _average(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: np.ndarray,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """Return the mean of each window along two axes.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, height, width) or (channels, height, width)
        Floats.
    kernel_size : int or tuple of int
        Size of a window.
    stride : int or tuple of int, optional
        Distance between windows; their size if it is left out.
    padding : int or tuple of int
        Zeros at both ends, at most half the size of a window.
    ceil_mode : bool
        Whether a last window that only partly fits counts.
    count_include_pad : bool
        Whether these zeros count.
    divisor_override : int, optional
        What sums are divided by instead of the number of elements.

    Returns
    -------
    ndarray, shape (batch, channels, out_height, out_width) or (channels, out_height, out_width)

    Raises
    ------
    ValueError
        If padding is more than half the size of a window.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.avg_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    return _average(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _average(
    rank: int,
    input: Any,
    kernel_size: Setting,
    stride: Setting | None,
    padding: Setting,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Any:
    x = input if input.ndim == rank + 2 else input[None]
    kernel, before = each(kernel_size, rank), each(padding, rank)
    strides = kernel if stride is None else each(stride, rank)
    output = _pooled_sizes(x.shape[2:], kernel, strides, before, (1,) * rank, ceil_mode)
    if strides == kernel and not any(before) and not ceil_mode:
        sums = _sums_of_blocks(x, output, kernel)
    else:
        columns = unfold(x, output, kernel, strides, before, (1,) * rank)
        sums = np.moveaxis(columns.sum(axis=tuple(range(1, 1 + rank))), 1, 0)
    if divisor_override is not None:
        result = sums / divisor_override
    elif ceil_mode or (any(before) and not count_include_pad):
        result = sums / _counts(x.shape[2:], output, kernel, strides, before, count_include_pad).astype(x.dtype)
    else:
        result = sums / math.prod(kernel)
    return result if input.ndim == rank + 2 else result[0]


def _sums_of_blocks(x: Any, output: Any, kernel: Any) -> Any:
    """Return the sums of windows that lie side by side."""
    if len(kernel) == 1:
        (count,), (k,) = output, kernel
        return x[..., : count * k].reshape(*x.shape[:2], count, k).sum(axis=3)
    (rows, columns), (k, m) = output, kernel
    blocks = x[..., : rows * k, : columns * m].reshape(*x.shape[:2], rows, k, columns, m)
    return blocks.sum(axis=(3, 5))


def _counts(size: Any, output: Any, kernel: Any, stride: Any, padding: Any, include_padding: bool) -> Any:
    """Return how many elements of each window there are."""
    counts: Any = np.ones((1,) * len(kernel))
    for axis, (n, o, k, s, p) in enumerate(zip(size, output, kernel, stride, padding, strict=True)):
        starts = np.arange(o) * s - p
        ends = np.minimum(starts + k, n + p)
        if not include_padding:
            starts, ends = np.maximum(starts, 0), np.minimum(ends, n)
        shape = [1] * len(kernel)
        shape[axis] = o
        counts = counts * (ends - starts).reshape(shape)
    return counts
