"""How JAX, PyTorch and PyTensor spell what the functional programs use.

Owns one maker of a namespace for each library. Invariant: names and arguments are the same in all of them.
"""

from __future__ import annotations

from types import SimpleNamespace


def jax_namespace() -> SimpleNamespace:
    """Return JAX's spelling."""
    import jax
    import jax.numpy as jnp

    names = ("exp", "log", "tanh", "sqrt", "abs", "where", "sum", "max", "mean", "zeros_like", "outer", "clip")
    return SimpleNamespace(
        **{name: getattr(jnp, name) for name in names},
        relu=lambda x: jnp.maximum(x, 0.0),
        sigmoid=jax.nn.sigmoid,
        concatenate=jnp.concatenate,
        argmin=lambda x, axis: jnp.argmin(x, axis=axis),
        one_hot=lambda labels, count, like: (labels[:, None] == jnp.arange(count)).astype(like.dtype),
        length=len,
        set_interior=lambda u, value: u.at[1:-1, 1:-1].set(value),
        repeat=lambda count, body, u: jax.lax.fori_loop(0, count, lambda _, one: body(one), u),
    )


def torch_namespace() -> SimpleNamespace:
    """Return PyTorch's spelling."""
    import torch

    def set_interior(u, value):
        u = u.clone()
        u[1:-1, 1:-1] = value
        return u

    names = ("exp", "log", "tanh", "sqrt", "abs", "where", "sum", "mean", "zeros_like", "outer", "sigmoid", "relu")
    return SimpleNamespace(
        **{name: getattr(torch, name) for name in names},
        max=lambda x, axis, keepdims: torch.amax(x, dim=axis, keepdim=keepdims),
        clip=torch.clamp,
        concatenate=torch.cat,
        argmin=lambda x, axis: torch.argmin(x, dim=axis),
        one_hot=lambda labels, count, like: (labels[:, None] == torch.arange(count)).to(like.dtype),
        length=len,
        set_interior=set_interior,
        repeat=_unrolled,
    )


def torch_losses() -> SimpleNamespace:
    """Return PyTorch's spelling of what the losses use of NumPy."""
    import torch

    names = ("exp", "log", "tanh", "sum", "mean", "zeros_like", "swapaxes")
    return SimpleNamespace(
        **{name: getattr(torch, name) for name in names},
        max=lambda x, axis, keepdims: torch.amax(x, dim=axis, keepdim=keepdims),
        dot=torch.matmul,
        linalg=torch.linalg,
    )


def pytensor_losses() -> SimpleNamespace:
    """Return PyTensor's spelling of what the losses use of NumPy."""
    import pytensor.tensor as pt

    names = ("exp", "log", "tanh", "sum", "mean", "max", "zeros_like", "dot", "swapaxes", "linalg")
    return SimpleNamespace(**{name: getattr(pt, name) for name in names})


def pytensor_namespace(lengths: dict[int, int]) -> SimpleNamespace:
    """Return PyTensor's spelling; ``lengths`` are the first dimensions of the arguments, by identity."""
    import pytensor.tensor as pt

    names = ("exp", "log", "tanh", "sqrt", "abs", "where", "sum", "max", "mean", "zeros_like", "outer", "clip")
    return SimpleNamespace(
        **{name: getattr(pt, name) for name in names},
        relu=lambda x: pt.maximum(x, 0.0),
        sigmoid=pt.sigmoid,
        concatenate=lambda parts, axis: pt.concatenate(parts, axis=axis),
        argmin=lambda x, axis: pt.argmin(x, axis=axis),
        one_hot=lambda labels, count, like: pt.eq(labels[:, None], pt.arange(count)).astype(like.dtype),
        length=lambda array: lengths[id(array)],
        set_interior=lambda u, value: pt.set_subtensor(u[1:-1, 1:-1], value),
        repeat=_unrolled,
    )


def _unrolled(count, body, u):
    for _ in range(count):
        u = body(u)
    return u
