"""Convolutions whose windows are not in memory: results, gradients, and what the plan says of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit import nn
from janusjit.backend.llvm import convolution_choice, convolution_panels
from janusjit.backend.llvm.convolution_choice import PANEL_BYTES, choose_by_kernel, choose_forward
from janusjit.backend.llvm.convolution_panels import Geometry
from janusjit.backend.llvm.gemm_tiling import Machine
from janusjit.backend.llvm.values import item_size
from janusjit.nn.windows import convolve, output_sizes
from janusjit.ops.convolutions import eager_by_input, eager_by_kernel, eager_convolution

#: vector units, each with the element types it is tried with
UNITS = [
    *(pytest.param(Machine(64, 32, True), dtype, id=f"avx512 {dtype}") for dtype in ("float32", "float64")),
    pytest.param(Machine(32, 16, False), "float64", id="avx2 float64"),
    pytest.param(Machine(16, 32, False), "float32", id="neon float32"),
]
SIZES = (
    # batch, channels, out_channels, size, kernel, stride, padding, dilation
    (2, 3, 4, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 16, 16, (12, 17), (5, 5), (1, 1), (1, 2), (1, 1)),
    (9, 2, 20, (9, 40), (3, 2), (1, 2), (0, 0), (1, 1)),
    (5, 1, 6, (28, 28), (5, 5), (1, 1), (2, 2), (1, 1)),
    (17, 3, 5, (7, 7), (1, 1), (1, 1), (0, 0), (1, 1)),
    (3, 2, 5, (15, 15), (9, 3), (2, 2), (1, 1), (1, 1)),
    (1, 7, 1, (20, 130), (2, 7), (2, 3), (0, 1), (1, 1)),
    (2, 40, 9, (12, 12), (3, 3), (3, 1), (2, 0), (2, 1)),
    (70, 4, 3, (3, 3), (3, 3), (1, 1), (0, 0), (1, 1)),
    (2, 2, 3, (13, 13), (13, 13), (1, 1), (6, 6), (1, 1)),
    (1, 6, 2, (200, 400), (3, 3), (1, 1), (1, 1), (1, 1)),
)


def arrays_of(case: Any, dtype: str) -> tuple[Any, ...]:
    batch, channels, out_channels, size, kernel, stride, padding, dilation = case
    rng = np.random.default_rng(0)
    output = output_sizes(size, kernel, stride, tuple(2 * p for p in padding), dilation)
    shapes = ((batch, channels, *size), (out_channels, channels, *kernel), (batch, out_channels, *output))
    return (output, *(rng.standard_normal(shape).astype(dtype) for shape in shapes))


def three(case: Any, output: Any) -> Any:
    """Return the function that gives a convolution and both its gradients."""
    geometry = case[4:]

    def total(x, w, g):  # type: ignore[no-untyped-def]
        return (convolve(x, w, output, *geometry) * g).sum()

    def both(x, w, g):  # type: ignore[no-untyped-def]
        return convolve(x, w, output, *geometry), *jj.grad(total, (0, 1))(x, w, g)

    return both


@pytest.mark.parametrize(("machine", "dtype"), UNITS)
@pytest.mark.parametrize("case", SIZES, ids=str)
def test_results_and_gradients(case: Any, machine: Machine, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (convolution_choice, convolution_panels):
        monkeypatch.setattr(module.Machine, "host", staticmethod(lambda: machine))
    output, *arrays = arrays_of(case, dtype)
    function = three(case, output)
    step = jj.jit(function, background=False)
    for _ in range(4):
        got = step(*arrays)
    assert step.stats.graph_calls == 2
    eager = function(*arrays)
    x, w, g = (array.astype(np.longdouble) for array in arrays)
    exact = (
        eager_convolution(x, w, output, *case[4:]),
        eager_by_input(w, g, case[3], *case[4:]),
        eager_by_kernel(x, g, *case[4:]),
    )
    for one, plain, other in zip(got, eager, exact, strict=True):
        assert (one.dtype, one.shape) == (plain.dtype, plain.shape)
        assert one.flags.c_contiguous and plain.flags.c_contiguous
        # at most twice as far from the true value as NumPy, and the rounding of the true value itself
        bound = 2 * np.abs(plain - other).max() + 4 * np.finfo(dtype).eps * np.abs(other).max()
        assert np.abs(one - other).max() <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_windows_are_in_memory(dtype: str) -> None:
    """The plan has no step that makes windows, and what is laid out instead is a small part of them."""
    x, w = np.ones((16, 16, 16, 16), dtype), np.ones((16, 16, 3, 3), dtype)

    def loss(x, w):  # type: ignore[no-untyped-def]
        return (nn.relu(nn.conv2d(x, w, padding=1)) ** 2).sum()

    step = jj.jit(jj.value_and_grad(loss, (0, 1)), background=False)
    for _ in range(4):
        got = step(x, w)
    assert step.stats.graph_calls == 2
    np.testing.assert_allclose(got[1][1], jj.grad(loss, 1)(x, w), rtol=1e-5 if dtype == "float32" else 1e-12)
    plan = step.specializations[0].plan
    assert "convolution by implicit windows in register tiles" in plan
    assert "convolution_by_kernel by implicit windows in inner products" in plan
    assert "unfold" not in plan
    assert "of windows" not in plan
    name = {"float32": "f32", "float64": "f64"}[dtype]
    windows = 16 * 16 * 9 * 16 * 16 * item_size(name)
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), (16, 16), (16, 16))
    for chosen in (choose_forward(geometry, name, 16, 16, 16), choose_by_kernel(geometry, name, 16, 16, 16)):
        assert chosen is not None
        assert chosen.panel.elements * item_size(name) <= min(PANEL_BYTES, windows / 8)


def test_panels_are_small_and_lay_out_each_window() -> None:
    """Each element of a window is at its plane's offset, whatever the stride and the dilation."""
    for kernel, stride, dilation in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2)):
        size = 40
        output = (size - dilation * (kernel - 1) - 1) // stride + 1
        pairs = [(value, value) for value in (kernel, stride, 0, dilation, size, output)]
        panel = choose_forward(Geometry(*pairs), "f64", 4, 64, 16).panel
        assert panel.elements * 8 <= PANEL_BYTES
        rows = {
            (number * panel.depth + below) * panel.pitch * 8: below * stride + phase
            for number, phase in enumerate(panel.phases)
            for below in range(panel.depth)
        }
        for place in range(kernel):
            assert rows[panel.offset(place)] == place * dilation


def test_infinities_and_nan_are_those_of_plain_python() -> None:
    """Zeros beside the image are multiplied by the kernel, and by nothing on the way back."""
    case = (2, 2, 3, (9, 9), (3, 3), (1, 1), (1, 1), (1, 1))
    output, x, w, g = arrays_of(case, "float64")
    x[0, 0, 4, 4], w[1, 1, 0, 0], g[1, 2, 5, 5] = np.inf, -np.inf, np.nan
    function = three(case, output)
    step = jj.jit(function, background=False)
    with np.errstate(all="ignore"):
        for _ in range(4):
            got = step(x, w, g)
        for one, other in zip(got, function(x, w, g), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    assert step.stats.graph_calls == 2


def test_images_and_kernels_that_are_views() -> None:
    """Strides of the inputs are those they have: channels last, every second, backwards."""
    rng = np.random.default_rng(1)
    images, kernels = rng.standard_normal((4, 18, 20, 3)), rng.standard_normal((3, 3, 3, 10))

    def loss(images, kernels):  # type: ignore[no-untyped-def]
        x, w = images.transpose(0, 3, 1, 2)[:, :, ::2, ::-1], kernels.transpose(3, 2, 0, 1)[::2]
        return (nn.conv2d(x, w, stride=(1, 2), padding=1) ** 3).sum()

    gradient = jj.value_and_grad(loss, (0, 1))
    step = jj.jit(gradient, background=False)
    for _ in range(4):
        value, (by_images, by_kernels) = step(images, kernels)
    wanted, (first, second) = gradient(images, kernels)
    np.testing.assert_allclose(value, wanted, rtol=1e-11)
    np.testing.assert_allclose(by_images, first, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(by_kernels, second, rtol=1e-10, atol=1e-10)
    assert step.stats.graph_calls == 2


def test_other_batches_share_the_windows_that_are_not_there() -> None:
    """Where the number of images is known at run time only, images are done one by one."""
    rng = np.random.default_rng(2)
    w = rng.standard_normal((6, 2, 3, 3))
    gradient = jj.grad(lambda x, w: (nn.conv2d(x, w, padding=1) ** 2).sum(), (0, 1))
    step = jj.jit(gradient, background=False)
    for batch in (4, 4, 4, 3, 5, 7, 2, 4, 6):
        x = rng.standard_normal((batch, 2, 12, 12))
        for one, other in zip(step(x, w), gradient(x, w), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)
    assert step.stats.specializations <= 2
    assert all("implicit windows" in one.plan for one in step.specializations)


def test_a_convolution_takes_fewer_cycles_per_image_together_than_apart() -> None:
    """Small images are done together, and large ones by rows."""
    small = Geometry((3, 3), (1, 1), (1, 1), (1, 1), (4, 4), (4, 4))
    large = Geometry((3, 3), (1, 1), (1, 1), (1, 1), (224, 224), (224, 224))
    assert choose_forward(small, "f32", 64, 16, 16).panel.images > 1
    assert choose_forward(large, "f32", 64, 16, 16).panel.rows < 224
    assert math.prod(large.kernel) * choose_forward(large, "f32", 64, 64, 16).panel.channels <= 256


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype: str) -> None:
    """Images are divided among threads, and sums over them are added in the same groups by one thread."""
    for case in ((33, 6, 16, (14, 14), (5, 5)), (1, 3, 16, (90, 200), (3, 3)), (19, 16, 16, (16, 16), (3, 3))):
        output, *arrays = arrays_of((*case, (1, 1), (1, 1), (1, 1)), dtype)
        function = three((*case, (1, 1), (1, 1), (1, 1)), output)
        results = []
        for threads in (1, 3):
            step = jj.jit(function, background=False, threads=threads)
            for _ in range(4):
                got = step(*arrays)
            assert step.stats.graph_calls == 2
            results.append(got)
        assert "on up to 3 threads" in step.specializations[0].plan
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)
        for one, plain in zip(results[0], function(*arrays), strict=True):
            np.testing.assert_allclose(one, plain, rtol=0, atol=1e-5 * np.abs(plain).max())
