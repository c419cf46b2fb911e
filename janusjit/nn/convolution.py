"""Convolutions, as products with the windows of their input.

Owns `conv1d`, `conv2d` and their transposes. Invariant: a convolution is one matrix product for all images of a batch,
and its gradients are two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from janusjit.nn.windows import convolve, each, fold, output_sizes, unfold

Setting = int | tuple[int, ...]


def conv1d(
    input: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> np.ndarray:
    """Convolve over one axis; see `conv2d`.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, length) or (channels, length)
        Floats.
    weight : ndarray, shape (out_channels, channels // groups, kernel)
        Floats of the same dtype.
    bias : ndarray, shape (out_channels,), optional
        Added to each output channel.
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    ndarray, shape (batch, out_channels, out_length) or (out_channels, out_length)

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.conv1d(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[[1.0, -1.0]]]))
    array([[-1., -1., -1.]])
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> np.ndarray:
    """Convolve over two axes (correlate: the kernel is not reversed).

    Parameters
    ----------
    input : ndarray, shape (batch, channels, height, width) or (channels, height, width)
        Floats.
    weight : ndarray, shape (out_channels, channels // groups, kernel_height, kernel_width)
        Floats of the same dtype.
    bias : ndarray, shape (out_channels,), optional
        Added to each output channel.
    stride, dilation : int or tuple of int
        Distance between windows, and between the elements of one.
    padding : int, tuple of int, "valid" or "same"
        Zeros at both ends of each axis; ``"same"`` keeps the size, for stride 1.
    groups : int
        Channels and output channels are divided into so many groups, each convolved by itself.

    Returns
    -------
    ndarray, shape (batch, out_channels, out_height, out_width) or (out_channels, out_height, out_width)
        ``out = (size + 2*padding - dilation*(kernel - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        If shapes do not fit, or padding is ``"same"`` and the stride is not 1.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.conv2d``. The windows are laid out as a matrix (Chellapilla,
    Puri, Simard: "High performance convolutional neural networks for document processing", 2006).

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> image, kernel = np.arange(9.0).reshape(1, 3, 3), np.ones((1, 1, 2, 2))
    >>> nn.conv2d(image, kernel)
    array([[[ 8., 12.],
            [20., 24.]]])
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


def _convolve(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Setting,
    padding: Setting | str,
    dilation: Setting,
    groups: int,
) -> Any:
    x = input if input.ndim == rank + 2 else input[None]
    kernel, strides, dilations = weight.shape[2:], each(stride, rank), each(dilation, rank)
    out_channels, channels = weight.shape[0], weight.shape[1] * groups
    if x.ndim != rank + 2 or weight.ndim != rank + 2 or x.shape[1] != channels or out_channels % groups:
        raise ValueError(f"input {input.shape} does not fit weight {weight.shape} in {groups} groups")
    before, total = _padding(padding, kernel, strides, dilations)
    output = output_sizes(x.shape[2:], kernel, strides, total, dilations)
    if min(output) < 1:
        raise ValueError(f"the kernel {kernel} is larger than the padded input {x.shape[2:]}")
    if groups == 1:
        result = convolve(x, weight, output, kernel, strides, before, dilations)
    else:
        columns = unfold(x, output, kernel, strides, before, dilations)
        batch, inner = x.shape[0], weight.shape[1] * math.prod(kernel)
        matrices = weight.reshape(groups, out_channels // groups, inner)
        product = matrices @ columns.reshape(groups, inner, batch * math.prod(output))
        result = np.moveaxis(product.reshape(out_channels, batch, *output), 1, 0)
    result = _with_bias(result, bias, rank)
    return result if input.ndim == rank + 2 else result[0]


def _with_bias(result: Any, bias: Any, rank: int) -> Any:
    if bias is None:
        return result
    return result + bias.reshape(bias.shape[0], *(1,) * rank)


def _padding(padding: Setting | str, kernel: Any, stride: Any, dilation: Any) -> tuple[Any, Any]:
    """Return the zeros before the first element along each axis, and those at both ends together."""
    rank = len(kernel)
    if padding == "valid":
        return (0,) * rank, (0,) * rank
    if padding == "same":
        if any([s != 1 for s in stride]):
            raise ValueError("padding='same' is not supported for strided convolutions")
        total = tuple([d * (k - 1) for k, d in zip(kernel, dilation, strict=True)])
        return tuple([t // 2 for t in total]), total
    if isinstance(padding, str):
        raise ValueError(f"padding is a number, 'valid' or 'same', not {padding!r}")
    before = each(padding, rank)
    return before, tuple([2 * p for p in before])


def conv_transpose1d(
    input: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> np.ndarray:
    """Apply the transpose of a convolution over one axis; see `conv_transpose2d`.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, length) or (channels, length)
        Floats.
    weight : ndarray, shape (channels, out_channels // groups, kernel)
        Floats of the same dtype.
    bias : ndarray, shape (out_channels,), optional
        Added to each output channel.
    stride, padding, output_padding, groups, dilation
        As for `conv_transpose2d`.

    Returns
    -------
    ndarray, shape (batch, out_channels, out_length) or (out_channels, out_length)

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.conv_transpose1d(np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0]]]), stride=2)
    array([[ 1., 10.,  2., 20.]])
    """
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> np.ndarray:
    """Apply the transpose of a convolution over two axes: what takes gradients back through `conv2d`.

    Parameters
    ----------
    input : ndarray, shape (batch, channels, height, width) or (channels, height, width)
        Floats.
    weight : ndarray, shape (channels, out_channels // groups, kernel_height, kernel_width)
        Floats of the same dtype.
    bias : ndarray, shape (out_channels,), optional
        Added to each output channel.
    stride, padding, dilation : int or tuple of int
        Those of the convolution.
    output_padding : int or tuple of int
        Added to the size of the result at one end.
    groups : int
        As for `conv2d`.

    Returns
    -------
    ndarray, shape (batch, out_channels, out_height, out_width) or (out_channels, out_height, out_width)
        ``out = (size - 1)*stride - 2*padding + dilation*(kernel - 1) + output_padding + 1``.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.conv_transpose2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.conv_transpose2d(np.ones((1, 1, 2)), np.array([[[[1.0, 2.0]]]]))
    array([[[1., 3., 2.]]])
    """
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve_transposed(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Setting,
    padding: Setting,
    output_padding: Setting,
    groups: int,
    dilation: Setting,
) -> Any:
    x = input if input.ndim == rank + 2 else input[None]
    kernel, strides, dilations = weight.shape[2:], each(stride, rank), each(dilation, rank)
    before, extra = each(padding, rank), each(output_padding, rank)
    channels, out_channels = weight.shape[0], weight.shape[1] * groups
    if x.ndim != rank + 2 or weight.ndim != rank + 2 or x.shape[1] != channels or channels % groups:
        raise ValueError(f"input {input.shape} does not fit weight {weight.shape} in {groups} groups")
    size = tuple(
        [
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, s, p, d, k, e in zip(x.shape[2:], strides, before, dilations, kernel, extra, strict=True)
        ]
    )
    batch, places = x.shape[0], x.shape[0] * math.prod(x.shape[2:])
    inner = weight.shape[1] * math.prod(kernel)
    rows = np.moveaxis(x, 0, 1)
    if groups == 1:
        columns = weight.reshape(channels, inner).T @ rows.reshape(channels, places)
    else:
        matrices = weight.reshape(groups, channels // groups, inner)
        columns = np.swapaxes(matrices, 1, 2) @ rows.reshape(groups, channels // groups, places)
    windows = columns.reshape(out_channels, *kernel, batch, *x.shape[2:])
    result = _with_bias(fold(windows, size, kernel, strides, before, dilations), bias, rank)
    return result if input.ndim == rank + 2 else result[0]
