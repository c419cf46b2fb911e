"""Products with windows that become convolutions, as programs write them, and those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import janusjit as jj


def by_einsum(x: Any, w: Any) -> Any:
    return np.einsum("bchwij,ocij->bohw", sliding_window_view(x, w.shape[2:], axis=(2, 3)), w)


def by_tensordot(x: Any, w: Any) -> Any:
    windows = sliding_window_view(x, (3, 2), axis=(2, 3))
    return np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2) * 1.0


def with_channels_last(x: Any, w: Any) -> Any:
    windows = sliding_window_view(x.transpose(0, 2, 3, 1), (3, 2), axis=(1, 2))
    return np.tensordot(windows, w, axes=((3, 4, 5), (1, 2, 3))) + 0.5


def windows_times_kernels(x: Any, w: Any) -> Any:
    windows = sliding_window_view(x, (3, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    return np.tanh(windows.reshape(-1, x.shape[1] * 6) @ w.reshape(w.shape[0], -1).T)


def kernels_times_windows(x: Any, w: Any) -> Any:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 0)))
    windows = sliding_window_view(padded, (3, 2), axis=(2, 3)).transpose(1, 4, 5, 0, 2, 3)
    return np.maximum(w.reshape(w.shape[0], -1) @ windows.reshape(x.shape[1] * 6, -1), 0.0)


def of_one_image(x: Any, w: Any) -> Any:
    return np.einsum("chwij,ocij->ohw", sliding_window_view(x[0], (3, 2), axis=(1, 2)), w) ** 2


def of_rows(x: Any, w: Any) -> Any:
    return np.einsum("nli,oi->nol", sliding_window_view(x.reshape(5, -1), 3, axis=1), w[:, 0, :, 0]) ** 2


PROGRAMS = [
    *(by_einsum, by_tensordot, with_channels_last, windows_times_kernels, kernels_times_windows),
    *(of_one_image, of_rows),
]


def operands(dtype: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 3, 11, 13)).astype(dtype), rng.standard_normal((4, 3, 3, 2)).astype(dtype)


def check(function: Any, *arguments: Any) -> str:
    """Compare four calls with plain Python; return the plan."""
    step = jj.jit(function, background=False)
    for _ in range(4):
        got = step(*arguments)
    wanted = function(*arguments)
    flat = [(got, wanted)] if isinstance(got, np.ndarray) else list(zip(got, wanted, strict=True))
    for one, other in flat:
        assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
        # sums of up to some hundred products in another order
        bound = 200 * np.finfo(one.dtype).eps * max(np.abs(other).max(), 1)
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    plan: str = step.specializations[0].plan
    return plan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda function: function.__name__)
def test_programs_with_windows_are_convolutions(program: Any, dtype: str) -> None:
    plan = check(program, *operands(dtype))
    assert "convolution by" in plan
    assert not any(word in plan for word in ("unfold", "take", "matmul", "einsum"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda function: function.__name__)
def test_so_are_their_gradients(program: Any) -> None:
    plan = check(jj.grad(lambda x, w: (program(x, w) ** 2).sum(), (0, 1)), *operands("float64"))
    assert "convolution_by_kernel by" in plan
    assert "convolution_by_input by" in plan
    assert not any(word in plan for word in ("fold", "take", "matmul", "einsum"))


def test_a_gradient_by_hand() -> None:
    """The windows of the forward part serve the gradient by the kernel, neither is in memory."""

    def step(x, w, g):  # type: ignore[no-untyped-def]
        windows = sliding_window_view(x, (3, 2), axis=(2, 3)).transpose(1, 4, 5, 0, 2, 3).reshape(18, -1)
        product = np.maximum(w.reshape(4, -1) @ windows, 0.0)
        return product * 2.0, ((product * g) @ windows.T).reshape(w.shape) * 0.5

    x, w = operands("float64")
    plan = check(step, x, w, np.random.default_rng(1).standard_normal((4, 5 * 9 * 12)))
    assert "convolution by" in plan
    assert "convolution_by_kernel by" in plan
    assert "matmul" not in plan
    assert "unfold" not in plan


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_windows_that_are_wanted_stay(dtype: str) -> None:
    """Their product with a kernel is a product then; so it is where it is returned itself, or sums over other axes."""

    def both(x, w):  # type: ignore[no-untyped-def]
        windows = sliding_window_view(x, (3, 2), axis=(2, 3))
        return windows.min(axis=(4, 5)), np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))) * 1

    def over_images(x, w):  # type: ignore[no-untyped-def]
        windows = sliding_window_view(x, (3, 2), axis=(2, 3))
        return np.einsum("bchwij,bo->cohwij", windows, w[:, :, 0, 0].repeat(2, 0)[:5]) * 1

    x, w = (array.astype(dtype) for array in operands("float64"))
    for function in (both, over_images):
        step = jj.jit(function, background=False)
        for _ in range(4):
            got = step(x, w)
        wanted = function(x, w)
        pairs = zip(got, wanted, strict=True) if isinstance(got, tuple) else [(got, wanted)]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
        assert step.stats.graph_calls == 2
        assert "convolution" not in step.specializations[0].plan


def test_windows_show_what_is_written_afterwards() -> None:
    def step(x, w):  # type: ignore[no-untyped-def]
        x = x * 1.0
        windows = sliding_window_view(x, (3, 2), axis=(2, 3))
        before = np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))) * 1.0
        x[:, 1] = 2.0
        return before, np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))) * 1.0

    assert check(step, *operands("float64")).count("convolution by") == 2
