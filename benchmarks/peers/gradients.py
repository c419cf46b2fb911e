"""Steps of training on a loss, in the way each library's users write them.

Owns one maker of a step a library. Invariant: a step finds the loss and its gradient by all parameters, and takes a
hundredth of the gradient from them, or updates them as Adam does where a row's state has its moments (`ADAM`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import janusjit as jj
from benchmarks.peers import layers, namespaces
from benchmarks.peers.functional_programs import adam as functional_adam
from benchmarks.peers.loss_programs import LOSSES
from benchmarks.peers.network_losses import NETWORKS
from benchmarks.peers.numpy_programs import adam
from benchmarks.peers.rows import Row
from janusjit import nn

RATE = 0.01

#: losses whose parameters Adam updates: the state is the parameters, both moments of each, and the number of the step
ADAM = ("transformer_block_loss",)

Loss = Callable[..., Any]


def has_gradients(row: Row) -> bool:
    """Whether a row is a loss, the gradients of which the contestant finds itself."""
    return row.program in LOSSES or row.program in NETWORKS


def _loss(row: Row, xp: Any, layers_of: Any) -> Loss:
    """Return the loss as a function of parameters and data."""
    if row.program in NETWORKS:
        network = NETWORKS[row.program]
        return lambda *given: network(xp, layers_of, *given)
    loss = LOSSES[row.program]
    return lambda *given: loss(xp, *given)


def _count(row: Row) -> int:
    """Return how many parameters there are."""
    return (row.state - 1) // 3 if row.program in ADAM else row.state


def descending(row: Row) -> Callable[..., Any]:
    """For janusjit."""
    return _in_place(jj.value_and_grad(_loss(row, np, nn), tuple(range(_count(row)))), row)


def _in_place(both: Callable[..., Any], row: Row) -> Callable[..., Any]:
    """Return the step that changes its state in place, by what finds the value and the gradients."""
    count, state = _count(row), row.state

    def descend(*arguments: Any) -> Any:
        value, gradients = both(*arguments)
        for parameter, gradient in zip(arguments, gradients, strict=False):
            parameter -= RATE * gradient
        return value

    def update(*arguments: Any) -> Any:
        parameters, first, second = (arguments[count * n : count * (n + 1)] for n in range(3))
        value, gradients = both(*parameters, *arguments[state:])
        adam(parameters, first, second, gradients, arguments[state - 1])
        return value

    return update if row.program in ADAM else descend


def _functional(both: Callable[..., Any], row: Row, xp: Any) -> Callable[..., Any]:
    """Return the step that returns the new state and the value."""
    count, state = _count(row), row.state

    def descend(*arguments: Any) -> Any:
        value, gradients = both(*arguments)
        pairs = zip(arguments, gradients, strict=False)
        return [*(parameter - RATE * gradient for parameter, gradient in pairs), value]

    def update(*arguments: Any) -> Any:
        parameters, first, second = (arguments[count * n : count * (n + 1)] for n in range(3))
        value, gradients = both(*parameters, *arguments[state:])
        return [*functional_adam(xp, parameters, first, second, gradients, arguments[state - 1]), value]

    return update if row.program in ADAM else descend


def autograd_descending(row: Row) -> Callable[..., Any]:
    """For the package `autograd`."""
    autograd, anp = importlib.import_module("autograd"), importlib.import_module("autograd.numpy")
    loss = _loss(row, anp, layers.autograd_layers())
    return _in_place(autograd.value_and_grad(loss, tuple(range(_count(row)))), row)


def jax_descending(row: Row) -> Callable[..., Any]:
    """For JAX: a function of the old state to the new one, not compiled yet."""
    jax, jnp = importlib.import_module("jax"), importlib.import_module("jax.numpy")
    loss = _loss(row, jnp, layers.jax_layers())
    both = jax.value_and_grad(lambda *given: jnp.reshape(loss(*given), ()), tuple(range(_count(row))))
    return _functional(both, row, jnp)


def torch_descending(row: Row) -> Callable[..., Any]:
    """For PyTorch: a function of the old state to the new one."""
    torch = importlib.import_module("torch")
    loss, count = _loss(row, namespaces.torch_losses(), layers.torch_layers()), _count(row)

    def both(*arguments: Any) -> Any:
        parameters = [argument.detach().requires_grad_() for argument in arguments[:count]]
        value = loss(*parameters, *arguments[count:])
        return value.detach(), torch.autograd.grad(value.sum(), parameters)

    return _functional(both, row, torch)


def pytensor_descending(row: Row) -> Callable[..., Any]:
    """For PyTensor: a function of the symbols of the old state to those of the new one."""
    pytensor = importlib.import_module("pytensor")
    loss, count = _loss(row, namespaces.pytensor_losses(), layers.pytensor_layers()), _count(row)

    def both(*symbols: Any) -> Any:
        value = loss(*symbols).sum()
        return value, pytensor.grad(value, list(symbols[:count]))

    return _functional(both, row, pytensor.tensor)
