"""Work on the elements of convolutions, done for images that have been computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit import nn


def activated(x: Any, w: Any, b: Any) -> Any:
    return np.maximum(nn.conv2d(x, w, b), 0.0)


def curved(x: Any, w: Any, b: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.tanh(nn.conv2d(x, w, b, padding=1, stride=2))))


def wanted_too(x: Any, w: Any, b: Any) -> Any:
    product = nn.conv2d(x, w)
    return product, np.tanh(product + b.reshape(-1, 1, 1))


def written_in_place(x: Any, w: Any, b: Any) -> Any:
    total = np.ones((x.shape[0], w.shape[0], x.shape[2] - 2, x.shape[3] - 1))
    total -= nn.conv2d(x, w) * 0.5
    total *= 2.0
    return total


def reduced(x: Any, w: Any, b: Any) -> Any:
    return (nn.conv2d(x, w, b) ** 2).sum(axis=(1, 2, 3))


PROGRAMS = [activated, curved, wanted_too, written_in_place, reduced]


def run(function: Any, shape: tuple[int, ...], dtype: str = "float64", threads: int = 1) -> str:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape).astype(dtype), rng.standard_normal((4, shape[1], 3, 2)).astype(dtype)
    b = rng.standard_normal(4).astype(dtype)
    step = jj.jit(function, background=False, threads=threads)
    for _ in range(4):
        got = step(x, w, b)
    wanted = function(x, w, b)
    pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        bound = 100 * np.finfo(dtype).eps * max(np.abs(other).max(), 1)
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    return str(step.specializations[0].plan)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_they_are_done_image_by_image(program: Any, threads: int) -> None:
    """Large images are done one by one, by several threads where that pays."""
    plan = run(program, (24, 3, 41, 37), threads=threads)
    assert "1 rows at a time with step" in plan
    assert threads == 1 or program is curved or "on up to 3 threads, 1 rows" in plan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_small_images_are_done_together_or_apart(program: Any, dtype: str) -> None:
    """Where some of the images would be done twice, the work is done behind all of them."""
    for batch in (1, 2, 7, 8, 13, 16):
        run(program, (batch, 2, 6, 7), dtype)


def test_so_are_those_over_one_axis() -> None:
    def step(x, w, b):  # type: ignore[no-untyped-def]
        return np.tanh(nn.conv1d(x.reshape(x.shape[0], x.shape[1], -1), w[:, :, :, 0], b))

    assert "rows at a time with step" in run(step, (24, 3, 41, 37))


def test_convolutions_that_differ_in_their_geometry_alone_are_two() -> None:
    def step(x, w, b):  # type: ignore[no-untyped-def]
        first = np.tanh(nn.conv2d(x, w[:, :, :, :1], b, padding=(2, 0)))
        x = x * (1.0 + 0.0 * first.sum(axis=(1, 2, 3), keepdims=True))
        return first, np.tanh(nn.conv2d(x, w[:, :, :, :1], b, padding=(3, 0), dilation=(2, 1)))

    assert run(step, (24, 3, 41, 37)).count("rows at a time with step") == 2
