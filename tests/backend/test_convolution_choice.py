"""How convolutions are computed, and what they are expected to take, by the machine's own figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit import nn
from janusjit.backend import calibration
from janusjit.backend.llvm.convolution_choice import choose_by_kernel, choose_forward, convolution_nanoseconds
from janusjit.backend.llvm.convolution_panels import Geometry

MEASURED = calibration.Calibration(origin="a test", near=0.004, far=0.008, memory=0.013, cycle=0.24, far_cycle=0.33)


def geometry(size: int, kernel: int) -> Geometry:
    ones, output = (1, 1), size - kernel + 1
    return Geometry((kernel, kernel), ones, (0, 0), ones, (size, size), (output, output))


def test_windows_are_laid_out_where_that_is_expected_to_be_quicker() -> None:
    """A machine whose nearest cache is slow and the others fast, and one on which it is the other way round."""
    large = geometry(28, 3)
    slow = dataclasses.replace(MEASURED, near=0.3, far=0.001, memory=0.002)
    quick = dataclasses.replace(MEASURED, near=0.001, far=1.0, memory=3.0)
    for way in (choose_forward, choose_by_kernel):
        with calibration.using(quick):
            assert way(large, "f64", 16, 8, 16) is not None
        with calibration.using(slow):
            assert way(large, "f64", 16, 8, 16) is None


def test_where_nothing_has_been_measured_windows_are_implicit() -> None:
    assert choose_forward(geometry(28, 3), "f32", 16, 8, 16) is not None
    assert choose_forward(geometry(6, 5), "f64", 64, 4, 2) is not None


def test_expectations_follow_the_figures() -> None:
    with calibration.using(MEASURED):
        plan = choose_forward(geometry(28, 3), "f64", 16, 8, 16)
        assert plan is not None
        sizes = (16, 8, 16)
        alone = convolution_nanoseconds("convolution", geometry(28, 3), sizes, "f64", str(plan))
        assert alone == plan.nanoseconds(*sizes)
        divided = convolution_nanoseconds("convolution", geometry(28, 3), sizes, "f64", f"{plan}, on up to 2 threads")
        laid_out = convolution_nanoseconds("convolution", geometry(28, 3), sizes, "f64", "register tiles, of windows")
    assert alone is not None and divided == alone / 2
    assert laid_out is not None and laid_out > alone
    with calibration.using(dataclasses.replace(MEASURED, cycle=0.48, near=0.008, far=0.016)):
        assert choose_forward(geometry(28, 3), "f64", 16, 8, 16) == plan
        assert plan.nanoseconds(*sizes) == pytest.approx(2 * alone)


@pytest.mark.parametrize("rank", [1, 2])
def test_the_report_says_what_is_expected_of_each(rank: int) -> None:
    def loss(x, w):  # type: ignore[no-untyped-def]
        return ((nn.conv2d(x, w) if rank == 2 else nn.conv1d(x, w)) ** 2).sum()

    step: Any = jj.jit(jj.grad(loss, (0, 1)), background=False)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 3, *(20,) * rank)), rng.standard_normal((4, 3, *(3,) * rank))
    for _ in range(3):
        step(x, w)
    kernels = [kernel for kernel in step.specializations[0].kernels if "convolution" in kernel.text]
    assert len(kernels) == 3
    assert all(kernel.expected is not None and 1e-7 < kernel.expected < 1e-2 for kernel in kernels)
    assert step.stats.graph_calls == 1
