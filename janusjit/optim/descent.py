"""Gradient descent.

Owns `SGD`. Invariant: without momentum nothing is remembered.
"""

from __future__ import annotations

from typing import Any

from janusjit.optim.parameters import leaves, zeros


class SGD:
    """Stochastic gradient descent, with or without momentum.

    Parameters
    ----------
    params : nested parameters
        Arrays of floats in dicts, lists, tuples and dataclasses.
    lr : float
        The learning rate.
    momentum : float
        How much of the last step is taken again.
    weight_decay : float
        Factor of the parameters that is added to their gradients.
    nesterov : bool
        Whether the gradient is as if the momentum's step had been taken.

    Raises
    ------
    ValueError
        If ``nesterov`` is asked for without momentum.

    Notes
    -----
    Sutskever et al.: "On the importance of initialization and momentum in deep learning", 2013. Names, defaults and
    formulae are those of ``torch.optim.SGD``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import optim
    >>> parameters = {"w": np.array([1.0, 2.0])}
    >>> optim.SGD(parameters, lr=0.5).step(parameters, {"w": np.array([1.0, 1.0])})
    >>> parameters["w"]
    array([0.5, 1.5])
    """

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        if nesterov and momentum <= 0:
            raise ValueError("nesterov needs momentum")
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.buffers = zeros(params) if momentum else [None for _ in leaves(params)]

    def step(self, parameters: Any, gradients: Any) -> None:
        """Change parameters in place.

        Parameters
        ----------
        parameters, gradients : nested parameters
            Of one structure; a gradient None leaves its parameter as it is.
        """
        for parameter, gradient, buffer in zip(leaves(parameters), leaves(gradients), self.buffers, strict=True):
            if gradient is None:
                continue
            direction = gradient + self.weight_decay * parameter if self.weight_decay else gradient
            if buffer is not None:
                buffer *= self.momentum
                buffer += direction
                direction = direction + self.momentum * buffer if self.nesterov else buffer
            parameter -= self.lr * direction
