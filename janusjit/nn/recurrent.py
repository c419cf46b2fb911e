"""Cells of recurrent networks.

Owns `lstm_cell` and `gru_cell`. Invariant: the weights of all gates are in one matrix, in PyTorch's order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from janusjit.nn.activation import sigmoid


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    product = x @ weight.T
    return product if bias is None else product + bias


def lstm_cell(
    input: np.ndarray,
    hx: tuple[np.ndarray, np.ndarray],
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Take one step of a long short-term memory.

    Parameters
    ----------
    input : ndarray, shape (batch, inputs)
        Floats.
    hx : tuple of ndarray, shape (batch, hidden)
        The hidden state and the cell state before.
    w_ih : ndarray, shape (4*hidden, inputs)
        Weights of the input for the input gate, the forget gate, the candidate and the output gate.
    w_hh : ndarray, shape (4*hidden, hidden)
        Weights of the hidden state.
    b_ih, b_hh : ndarray, shape (4*hidden,), optional
        Biases.

    Returns
    -------
    tuple of ndarray, shape (batch, hidden)
        The hidden state and the cell state after.

    Notes
    -----
    Hochreiter, Schmidhuber: "Long short-term memory", 1997; Gers, Schmidhuber, Cummins, 2000 (the forget gate). Names
    are those of ``torch.lstm_cell``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> zeros = np.zeros((1, 1))
    >>> h, c = nn.lstm_cell(np.ones((1, 1)), (zeros, zeros), np.ones((4, 1)), np.ones((4, 1)))
    >>> h.round(4), c.round(4)
    (array([[0.3696]]), array([[0.5568]]))
    """
    h, c = hx
    gates = _linear(input, w_ih, b_ih) + _linear(h, w_hh, b_hh)
    size = c.shape[-1]
    enter, forget = sigmoid(gates[..., :size]), sigmoid(gates[..., size : 2 * size])
    candidate, leave = np.tanh(gates[..., 2 * size : 3 * size]), sigmoid(gates[..., 3 * size :])
    after = forget * c + enter * candidate
    return leave * np.tanh(after), after


def gru_cell(
    input: np.ndarray,
    hx: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
) -> np.ndarray:
    """Take one step of a gated recurrent unit.

    Parameters
    ----------
    input : ndarray, shape (batch, inputs)
        Floats.
    hx : ndarray, shape (batch, hidden)
        The hidden state before.
    w_ih : ndarray, shape (3*hidden, inputs)
        Weights of the input for the reset gate, the update gate and the candidate.
    w_hh : ndarray, shape (3*hidden, hidden)
        Weights of the hidden state.
    b_ih, b_hh : ndarray, shape (3*hidden,), optional
        Biases.

    Returns
    -------
    ndarray, shape (batch, hidden)
        The hidden state after.

    Notes
    -----
    Cho et al.: "Learning phrase representations using RNN encoder-decoder", 2014, with the reset gate after the product
    as cuDNN and PyTorch have it. Names are those of ``torch.gru_cell``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import nn
    >>> nn.gru_cell(np.ones((1, 1)), np.zeros((1, 1)), np.ones((3, 1)), np.ones((3, 1))).round(4)
    array([[0.2048]])
    """
    size = hx.shape[-1]
    of_input, of_hidden = _linear(input, w_ih, b_ih), _linear(hx, w_hh, b_hh)
    both = sigmoid(of_input[..., : 2 * size] + of_hidden[..., : 2 * size])
    reset, update = both[..., :size], both[..., size:]
    candidate = np.tanh(of_input[..., 2 * size :] + reset * of_hidden[..., 2 * size :])
    return candidate + update * (hx - candidate)
