"""Optimisers: the steps of torch's, and under `@jit` those of plain Python, wholly in the graph."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import janusjit as jj
from janusjit import optim

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
]


@dataclasses.dataclass
class Layer:
    w: np.ndarray
    b: np.ndarray


def parameters_of(dtype=np.float64):
    draw = np.random.default_rng(0).normal
    first = Layer(draw(size=(3, 4)).astype(dtype), np.zeros(4, dtype))
    return {"first": first, "others": [draw(size=(4, 2)).astype(dtype), (draw(size=2).astype(dtype),)]}


def loss(p, x, y):
    hidden = np.tanh(x @ p["first"].w + p["first"].b)
    return ((hidden @ p["others"][0] + p["others"][1][0] - y) ** 2).mean()


def train(p, optimizer, x, y):
    value, gradients = jj.value_and_grad(loss)(p, x, y)
    optimizer.step(p, gradients)
    return value


def arrays_of(p):
    return [p["first"].w, p["first"].b, p["others"][0], p["others"][1][0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_under_jit(name, settings, dtype) -> None:
    here, there = parameters_of(dtype), parameters_of(dtype)
    one, other = (getattr(optim, name)(p, **settings) for p in (here, there))
    step = jj.jit(train, warmup=2, background=False)
    generator = np.random.default_rng(1)
    # rounding of sums and divisions, carried on through eight steps
    tolerance = 1e-11 if dtype is np.float64 else 2e-4
    for _ in range(8):
        x, y = generator.normal(size=(5, 3)).astype(dtype), generator.normal(size=(5, 2)).astype(dtype)
        np.testing.assert_allclose(step(here, one, x, y), train(there, other, x, y), rtol=tolerance)
        for a, b in zip(arrays_of(here), arrays_of(there), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert (step.stats.graph_calls, step.stats.host_calls) == (6, 0)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_steps_are_those_of_torch(name, settings) -> None:
    torch = pytest.importorskip("torch")
    here = parameters_of()
    tensors = [torch.tensor(a.copy(), requires_grad=True) for a in arrays_of(here)]
    ours, theirs = getattr(optim, name)(here, **settings), getattr(torch.optim, name)(tensors, **settings)
    generator = np.random.default_rng(1)
    for _ in range(6):
        gradients = [generator.normal(size=a.shape) for a in arrays_of(here)]
        nested = {"first": Layer(*gradients[:2]), "others": [gradients[2], (gradients[3],)]}
        ours.step(here, nested)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        for a, tensor in zip(arrays_of(here), tensors, strict=True):
            np.testing.assert_allclose(a, tensor.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_what_has_no_gradient_stays() -> None:
    for name, settings in SETTINGS:
        p = [np.ones(2), np.ones(2)]
        getattr(optim, name)(p, **settings).step(p, [None, np.ones(2)])
        assert (p[0] == 1).all() and (p[1] != 1).all()


def test_errors() -> None:
    with pytest.raises(TypeError, match="arrays"):
        optim.Adam([1.0])
    with pytest.raises(ValueError, match="momentum"):
        optim.SGD([np.ones(1)], nesterov=True)


@pytest.mark.parametrize("name", [f"janusjit.optim.{m.name}" for m in pkgutil.iter_modules(optim.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
