"""Structured kernels that are vector code from the start."""

import re

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.module_parts import VECTORS


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [
        ((10, 10), (2, 2), (2, 2), (1, 1)),
        ((9, 27), (3, 3), (2, 2), (1, 1)),
        ((6, 8), (1, 4), (1, 1), (1, 2)),
        ((11, 40), (2, 3), (3, 2), (2, 3)),
        ((5, 9), (2, 2), (1, 1), (1, 1)),
        ((9, 12), (3, 2), (1, 3), (1, 1)),  # not by vectors
    ],
)
def test_greatest_of_windows(dtype, size, kernel, stride, dilation):
    """Every remainder of vectors; the first of equals counts, and the first NaN; nothing behind the array is read."""

    def program(x):
        return jj.nn.max_pool2d(x, kernel, stride, dilation=dilation, return_indices=True)

    jitted = jj.jit(background=False)(program)
    rng = np.random.default_rng(0)
    for number in range(4):
        x = rng.integers(-3, 3, size=(3, 2, *size)).astype(dtype)
        x[rng.uniform(size=x.shape) < 0.05 * number] = np.nan
        x[0, 0, :2, :2] = [[0.0, -0.0], [-0.0, 0.0]]
        for found, expected in zip(jitted(x), program(x), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
    assert jitted.stats.graph_calls == 2 and jitted.stats.host_calls == 0
    source = jitted.specializations[0].compiled.code.source
    if engine.has_masked_lanes():
        (defined,) = re.findall(r'^define .*@"window_max.*$', source, re.MULTILINE)
        assert (VECTORS in defined) == (stride[1] <= 2)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (2, 24), (2, 3, 9)])
@pytest.mark.parametrize("steps", [False, True])
def test_indices_are_looked_at_wherever_they_are(shape, steps):
    """One out of bounds, at any place, from either end, leaves the array as it is until Python has raised."""

    def program(x, index, values):
        x[index] += values
        return x

    jitted = jj.jit(background=False)(program)
    rng = np.random.default_rng(0)

    def arguments():
        index = rng.permutation(120)[: 2 * int(np.prod(shape))].reshape(*shape, 2) - 60
        index = index[..., 0] if steps else np.array(index[..., 0], order="C")
        return np.arange(60.0), index, rng.normal(size=shape)

    for _ in range(4):
        one = arguments()
        np.testing.assert_array_equal(jitted(one[0].copy(), *one[1:]), program(one[0].copy(), *one[1:]))
    settled = jitted.stats.graph_calls
    assert settled == 2 and jitted.stats.deopts == 0
    for place in np.ndindex(shape):
        for wrong in (60, -61, 2**62, -(2**63)):
            x, index, values = arguments()
            index[place] = wrong
            before = x.copy()
            with pytest.raises(IndexError):
                jitted(x, index, values)
            np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "bool"])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_stacks_along_the_last_axis_are_written_from_begin_to_end(count: int, dtype: str) -> None:
    rows = (np.random.default_rng(count).standard_normal((count, 7, 45)) * 9).astype(dtype)
    step = jj.jit(lambda *parts: np.stack(parts, axis=-1), background=False)
    for _ in range(4):
        got = step(*rows)
    np.testing.assert_array_equal(got, np.stack(rows, axis=-1))
    assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)
    (body,) = re.findall(r"^define [^\n]*concatenate.*?^}", step.specializations[-1].llvm_ir, re.DOTALL | re.MULTILINE)
    if count <= 4 and engine.has_masked_lanes():
        assert re.search(r"= shufflevector .*\n(.*\n)*? *store <", body)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("function", [np.cumsum, np.cumprod])
def test_rows_are_scanned_side_by_side(function, dtype: str) -> None:
    for shape in ((66, 500), (5, 50), (2, 7, 33), (3, 9), (64, 0), (11, 1)):
        x = np.random.default_rng(0).choice([-1, 1, 1], shape).astype(dtype)
        step = jj.jit(lambda x: function(x, axis=-1), background=False)
        for _ in range(4):
            got = step(x)
        np.testing.assert_array_equal(got, function(x, axis=-1))
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)
        if shape == (66, 500) and dtype == "float64":
            (body,) = re.findall(r"^define [^\n]*@cum.*?^}", step.specializations[-1].llvm_ir, re.DOTALL | re.MULTILINE)
            assert len(re.findall(r"= phi double ", body)) >= 4
