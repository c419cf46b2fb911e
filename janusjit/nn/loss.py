"""Losses.

Owns `cross_entropy`, `binary_cross_entropy_with_logits` and `mse_loss`. Invariant: a loss takes logits, never the
logarithm of a probability that may have been rounded to 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.nn.activation import log_softmax, softplus


def mse_loss(input: np.ndarray, target: np.ndarray, reduction: str = "mean") -> Any:
    """Return the squared differences, their mean or their sum.

    Parameters
    ----------
    input, target : ndarray
        Floats of one shape.
    reduction : {"mean", "sum", "none"}
        What becomes of the elements.

    Returns
    -------
    ndarray or numpy float
        Of the dtype of the inputs.

    Raises
    ------
    ValueError
        If ``reduction`` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> float(nn.mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    difference = input - target
    return reduced(difference * difference, reduction)


def reduced(values: Any, reduction: str) -> Any:
    """Return the mean or sum of a loss, or the loss itself."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction != "none":
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")
    return values


def cross_entropy(
    input: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Return the negative logarithm of the probability that logits give to the classes.

    Parameters
    ----------
    input : ndarray, shape (classes,), (batch, classes) or (batch, classes, ...)
        Logits.
    target : ndarray
        Integers, the classes, of the shape of the input without its axis of classes; or floats of the shape of the
        input, the probability of each class.
    weight : ndarray, shape (classes,), optional
        A factor for each class.
    ignore_index : int
        A class that does not count.
    reduction : {"mean", "sum", "none"}
        The mean is by the weights of the classes.
    label_smoothing : float
        How much of the probability is spread over all classes.

    Returns
    -------
    ndarray or numpy float
        Of the dtype of the input.

    Raises
    ------
    ValueError
        If ``reduction`` is none of these.
    IndexError
        If a class is out of bounds.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.cross_entropy``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> logits = np.array([[2.0, 0.0], [0.0, 0.0]])
    >>> float(nn.cross_entropy(logits, np.array([0, 1])).round(4))
    0.41
    >>> float(nn.cross_entropy(logits, np.array([[1.0, 0.0], [0.0, 1.0]])).round(4))
    0.41
    """
    axis = 0 if input.ndim == 1 else 1
    logits = input if axis == input.ndim - 1 else np.moveaxis(input, axis, -1)
    scores = log_softmax(logits, -1)
    if target.dtype.kind == "f":
        given = target if axis == target.ndim - 1 else np.moveaxis(target, axis, -1)
        return _of_probabilities(scores, given, weight, reduction, label_smoothing)
    return _of_classes(scores, target, weight, ignore_index, reduction, label_smoothing)


def _of_probabilities(scores: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    classes = scores.shape[-1]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        target = target * weight
    losses = -(target * scores).sum(axis=-1)
    return reduced(losses, reduction)


def _of_classes(scores: Any, target: Any, weight: Any, ignored: int, reduction: str, smoothing: float) -> Any:
    counted = target != ignored
    classes = np.where(counted, target, 0)
    picked = np.take_along_axis(scores, classes[..., None], -1)[..., 0]
    factors = counted.astype(scores.dtype) if weight is None else np.where(counted, weight[classes], 0)
    losses = -picked * factors
    if smoothing:
        spread = scores if weight is None else scores * weight
        spread = -spread.sum(axis=-1) / scores.shape[-1]
        losses = losses * (1 - smoothing) + np.where(counted, spread, 0) * smoothing
    return losses.sum() / factors.sum() if reduction == "mean" else reduced(losses, reduction)


def binary_cross_entropy_with_logits(
    input: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    pos_weight: np.ndarray | None = None,
) -> Any:
    """Return the cross-entropy of the probabilities ``sigmoid(input)`` of yes-or-no questions.

    Parameters
    ----------
    input : ndarray
        Logits.
    target : ndarray
        Floats between 0 and 1, of the same shape.
    weight : ndarray, optional
        A factor for each element, or what broadcasts to that.
    reduction : {"mean", "sum", "none"}
        What becomes of the elements.
    pos_weight : ndarray, optional
        A factor for the answers yes.

    Returns
    -------
    ndarray or numpy float
        Of the dtype of the input.

    Raises
    ------
    ValueError
        If ``reduction`` is none of these.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.binary_cross_entropy_with_logits``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> float(nn.binary_cross_entropy_with_logits(np.array([0.0, -1000.0]), np.array([1.0, 0.0])).round(4))
    0.3466
    """
    below = softplus(-input, threshold=np.inf)  # -log(sigmoid(x)); -log(1 - sigmoid(x)) is x more
    if pos_weight is None:
        losses = (1 - target) * input + below
    else:
        losses = (1 - target) * input + (1 + (pos_weight - 1) * target) * below
    return reduced(losses if weight is None else losses * weight, reduction)
