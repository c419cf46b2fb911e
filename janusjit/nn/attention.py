"""Attention, and what stands around it.

Owns `embedding`, `dropout` and `scaled_dot_product_attention`. Invariant: random numbers come from a generator that is
given, and are drawn as NumPy draws them.
"""

from __future__ import annotations

import math

import numpy as np

from janusjit.nn.activation import softmax
from janusjit.nn.primitive import detach


def embedding(input: np.ndarray, weight: np.ndarray, padding_idx: int | None = None) -> np.ndarray:
    """Return rows of a matrix.

    Parameters
    ----------
    input : ndarray of int
        Which rows.
    weight : ndarray, shape (rows, columns)
        The matrix.
    padding_idx : int, optional
        A row through which no derivative flows.

    Returns
    -------
    ndarray, shape (*input.shape, columns)

    Raises
    ------
    IndexError
        If there is no such row.

    Notes
    -----
    Names and defaults are those of ``torch.nn.functional.embedding``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.embedding(np.array([1, 0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [1., 2.]])
    """
    rows = weight[input]
    if padding_idx is None:
        return rows
    padding = padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx
    return np.where((input == padding)[..., None], detach(rows), rows)


def dropout(input: np.ndarray, p: float = 0.5, training: bool = True, *, generator: np.random.Generator) -> np.ndarray:
    """Set elements to zero at random, and scale the others so that the mean stays.

    Parameters
    ----------
    input : ndarray
        Floats.
    p : float
        Probability that an element is set to zero.
    training : bool
        Whether anything is done.
    generator : numpy.random.Generator
        Where the random numbers come from: one for each element.

    Returns
    -------
    ndarray
        Of the same shape and dtype.

    Raises
    ------
    ValueError
        If ``p`` is no probability.

    Notes
    -----
    Srivastava et al.: "Dropout", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.dropout(np.ones(5), 0.5, generator=np.random.default_rng(0))
    array([2., 0., 0., 0., 2.])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, not {p}")
    if not training or p == 0:
        return input
    kept = generator.random(input.shape, dtype=input.dtype) >= p
    return np.where(kept, input / (1 - p), 0) if p < 1 else input * 0


def scaled_dot_product_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    attn_mask: np.ndarray | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    *,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Return means of values, weighted by how well keys fit queries.

    Parameters
    ----------
    query : ndarray, shape (..., queries, features)
        Floats.
    key : ndarray, shape (..., keys, features)
        Floats.
    value : ndarray, shape (..., keys, columns)
        Floats.
    attn_mask : ndarray, shape (..., queries, keys), optional
        Where it is False a key does not count; or floats that are added to the scores.
    dropout_p : float
        Probability that a weight is set to zero (`dropout`).
    is_causal : bool
        Whether a query sees the keys up to its own position only.
    scale : float, optional
        Factor of the scores; ``1/sqrt(features)`` if it is left out.
    generator : numpy.random.Generator, optional
        For dropout.

    Returns
    -------
    ndarray, shape (..., queries, columns)

    Raises
    ------
    ValueError
        If there is a mask and ``is_causal`` too, or dropout without a generator.

    Notes
    -----
    Vaswani et al.: "Attention is all you need", 2017. Names and defaults are those of
    ``torch.nn.functional.scaled_dot_product_attention``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> nn.scaled_dot_product_attention(x, x, x, is_causal=True).round(4)
    array([[1.    , 0.    ],
           [0.3302, 0.6698]])
    """
    if is_causal and attn_mask is not None:
        raise ValueError("attn_mask and is_causal exclude each other")
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ np.swapaxes(key, -1, -2)
    if is_causal:
        positions = np.arange(query.shape[-2])[:, None], np.arange(key.shape[-2])
        scores = np.where(positions[0] >= positions[1], scores, -np.inf)
    elif attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype.kind == "b" else scores + attn_mask
    weights = softmax(scores, -1)
    if dropout_p > 0:
        if generator is None:
            raise ValueError("dropout needs a generator")
        weights = dropout(weights, dropout_p, generator=generator)
    return weights @ value
