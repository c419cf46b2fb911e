"""Steps of gradient descent on a loss, in the way each library's users write them.

Owns one maker of a step a library. Invariant: a step finds the loss and its gradient by all parameters, and takes a
hundredth of the gradient from them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import janusjit as jj
from benchmarks.peers import namespaces

RATE = 0.01

Loss = Callable[..., Any]


def descending(loss: Loss, state: int) -> Callable[..., Any]:
    """For janusjit."""
    return _in_place(jj.value_and_grad(lambda *given: loss(np, *given), tuple(range(state))))


def _in_place(both: Callable[..., Any]) -> Callable[..., Any]:
    """Return the step that changes parameters in place, by what finds the value and the gradients."""

    def step(*arguments: Any) -> Any:
        value, gradients = both(*arguments)
        for parameter, gradient in zip(arguments, gradients, strict=False):
            parameter -= RATE * gradient
        return value

    return step


def autograd_descending(loss: Loss, state: int) -> Callable[..., Any]:
    """For the package `autograd`."""
    autograd, anp = importlib.import_module("autograd"), importlib.import_module("autograd.numpy")
    return _in_place(autograd.value_and_grad(lambda *given: loss(anp, *given), tuple(range(state))))


def jax_descending(loss: Loss, state: int) -> Callable[..., Any]:
    """For JAX: a function of the old parameters to the new ones, not compiled yet."""
    jax, jnp = importlib.import_module("jax"), importlib.import_module("jax.numpy")
    both = jax.value_and_grad(lambda *given: jnp.reshape(loss(jnp, *given), ()), tuple(range(state)))

    def step(*arguments: Any) -> Any:
        value, gradients = both(*arguments)
        pairs = zip(arguments, gradients, strict=False)
        return [*(parameter - RATE * gradient for parameter, gradient in pairs), value]

    return step


def torch_descending(loss: Loss, state: int) -> Callable[..., Any]:
    """For PyTorch: a function of the old parameters to the new ones."""
    torch = importlib.import_module("torch")
    namespace = namespaces.torch_losses()

    def step(*arguments: Any) -> Any:
        parameters = [argument.detach().requires_grad_() for argument in arguments[:state]]
        value = loss(namespace, *parameters, *arguments[state:])
        gradients = torch.autograd.grad(value.sum(), parameters)
        pairs = zip(parameters, gradients, strict=True)
        return [*((parameter - RATE * gradient).detach() for parameter, gradient in pairs), value.detach()]

    return step
