"""Optimisers that scale each parameter's step by the gradients it has had.

Owns `Adam`, `AdamW`, `RMSprop` and `Adagrad`. Invariant: a step reads and writes each array once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from janusjit.optim.parameters import leaves, zeros


class Adam:
    """Adam: means of gradients and of their squares, each corrected for having begun at zero.

    Parameters
    ----------
    params : nested parameters
        Arrays of floats in dicts, lists, tuples and dataclasses.
    lr : float
        The learning rate.
    betas : tuple of float
        How much of the means stays at each step.
    eps : float
        Added to what is divided by.
    weight_decay : float
        Factor of the parameters that is added to their gradients.

    Notes
    -----
    Kingma, Ba: "Adam: a method for stochastic optimization", 2015. Names, defaults and formulae are those of
    ``torch.optim.Adam``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import optim
    >>> parameters = [np.array([1.0, 2.0])]
    >>> optim.Adam(parameters, lr=0.5).step(parameters, [np.array([3.0, -4.0])])
    >>> parameters[0].round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.steps = 0
        self.means, self.squares = zeros(params), zeros(params)

    def step(self, parameters: Any, gradients: Any) -> None:
        """Change parameters in place; see `SGD.step`."""
        self._move(parameters, gradients, self.weight_decay)

    def _move(self, parameters: Any, gradients: Any, weight_decay: float) -> None:
        self.steps += 1
        first, second = self.betas
        rate = self.lr / (1 - first**self.steps)
        root = math.sqrt(1 - second**self.steps)
        groups = zip(leaves(parameters), leaves(gradients), self.means, self.squares, strict=True)
        for parameter, gradient, mean, square in groups:
            if gradient is None:
                continue
            direction = gradient + weight_decay * parameter if weight_decay else gradient
            mean *= first
            mean += (1 - first) * direction
            square *= second
            square += (1 - second) * (direction * direction)
            parameter -= rate * (mean / (np.sqrt(square) / root + self.eps))


class AdamW(Adam):
    """Adam with weights that decay by themselves.

    Parameters
    ----------
    params, lr, betas, eps
        As of `Adam`.
    weight_decay : float
        How much smaller parameters become at each step, times the learning rate.

    Notes
    -----
    Loshchilov, Hutter: "Decoupled weight decay regularization", 2019. Names, defaults and formulae are those of
    ``torch.optim.AdamW``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import optim
    >>> parameters = [np.array([1.0, 2.0])]
    >>> optim.AdamW(parameters, lr=0.5, weight_decay=0.1).step(parameters, [np.array([3.0, -4.0])])
    >>> parameters[0].round(6)
    array([0.45, 2.4 ])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def step(self, parameters: Any, gradients: Any) -> None:
        """Change parameters in place; see `SGD.step`."""
        for parameter, gradient in zip(leaves(parameters), leaves(gradients), strict=True):
            if gradient is not None:
                parameter *= 1 - self.lr * self.weight_decay
        self._move(parameters, gradients, 0.0)


class RMSprop:
    """Steps divided by the root of a running mean of the squares of gradients.

    Parameters
    ----------
    params : nested parameters
        Arrays of floats in dicts, lists, tuples and dataclasses.
    lr : float
        The learning rate.
    alpha : float
        How much of the mean stays at each step.
    eps : float
        Added to what is divided by.
    weight_decay : float
        Factor of the parameters that is added to their gradients.
    momentum : float
        How much of the last step is taken again.

    Notes
    -----
    Tieleman, Hinton: "Lecture 6.5: RMSProp", 2012. Names, defaults and formulae are those of ``torch.optim.RMSprop``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import optim
    >>> parameters = [np.array([1.0, 2.0])]
    >>> optim.RMSprop(parameters, lr=0.05).step(parameters, [np.array([3.0, -4.0])])
    >>> parameters[0].round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        self.lr, self.alpha, self.eps, self.weight_decay, self.momentum = lr, alpha, eps, weight_decay, momentum
        self.squares = zeros(params)
        self.buffers = zeros(params) if momentum else [None for _ in leaves(params)]

    def step(self, parameters: Any, gradients: Any) -> None:
        """Change parameters in place; see `SGD.step`."""
        groups = zip(leaves(parameters), leaves(gradients), self.squares, self.buffers, strict=True)
        for parameter, gradient, square, buffer in groups:
            if gradient is None:
                continue
            direction = gradient + self.weight_decay * parameter if self.weight_decay else gradient
            square *= self.alpha
            square += (1 - self.alpha) * (direction * direction)
            direction = direction / (np.sqrt(square) + self.eps)
            if buffer is not None:
                buffer *= self.momentum
                buffer += direction
                direction = buffer
            parameter -= self.lr * direction


class Adagrad:
    """Steps divided by the root of the sum of the squares of all gradients.

    Parameters
    ----------
    params : nested parameters
        Arrays of floats in dicts, lists, tuples and dataclasses.
    lr : float
        The learning rate.
    lr_decay : float
        How fast the learning rate falls.
    weight_decay : float
        Factor of the parameters that is added to their gradients.
    initial_accumulator_value : float
        What the sums begin with.
    eps : float
        Added to what is divided by.

    Notes
    -----
    Duchi, Hazan, Singer: "Adaptive subgradient methods", 2011. Names, defaults and formulae are those of
    ``torch.optim.Adagrad``.

    Examples
    --------
    >>> import numpy as np
    >>> from janusjit import optim
    >>> parameters = [np.array([1.0, 2.0])]
    >>> optim.Adagrad(parameters, lr=0.5).step(parameters, [np.array([3.0, -4.0])])
    >>> parameters[0].round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        self.lr, self.lr_decay, self.weight_decay, self.eps = lr, lr_decay, weight_decay, eps
        self.steps = 0
        self.sums = zeros(params, initial_accumulator_value)

    def step(self, parameters: Any, gradients: Any) -> None:
        """Change parameters in place; see `SGD.step`."""
        rate = self.lr / (1 + self.steps * self.lr_decay)
        self.steps += 1
        for parameter, gradient, total in zip(leaves(parameters), leaves(gradients), self.sums, strict=True):
            if gradient is None:
                continue
            direction = gradient + self.weight_decay * parameter if self.weight_decay else gradient
            total += direction * direction
            parameter -= rate * (direction / (np.sqrt(total) + self.eps))
