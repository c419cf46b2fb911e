"""Windows that programs lay out by hand, and sums over them: those that become windows, and those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import janusjit as jj


def check(function: Any, *arguments: Any, exactly: bool = False) -> str:
    """Compare four calls with plain Python; return the plan."""
    step = jj.jit(function, background=False)
    for _ in range(4):
        got = step(*arguments)
    wanted = function(*arguments)
    pairs = [(got, wanted)] if isinstance(got, np.ndarray) else list(zip(got, wanted, strict=True))
    for one, other in pairs:
        assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
        if exactly:
            np.testing.assert_array_equal(one, other)
            assert (np.signbit(one) == np.signbit(other)).all()
        else:
            bound = 400 * np.finfo(one.dtype).eps * max(np.abs(other).max(), 1)  # sums in another order
            np.testing.assert_allclose(one, other, rtol=0, atol=bound)
    assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    plan: str = step.specializations[0].plan
    return plan


def images(dtype: str = "float64", shape: tuple[int, ...] = (5, 3, 11, 13)) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def kernels(dtype: str = "float64", shape: tuple[int, ...] = (4, 3, 3, 2)) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------------- slices beside each other


def by_slices(x: Any, height: int, width: int, stride: int = 1) -> Any:
    """Return columns as they are laid out in "Deep Learning from Scratch"."""
    rows, columns = (x.shape[2] - height) // stride + 1, (x.shape[3] - width) // stride + 1
    cols = np.zeros((x.shape[0], x.shape[1], height, width, rows, columns), x.dtype)
    for y in range(height):
        for z in range(width):
            cols[:, :, y, z, :, :] = x[:, :, y : y + stride * rows : stride, z : z + stride * columns : stride]
    return cols.transpose(0, 4, 5, 1, 2, 3).reshape(x.shape[0] * rows * columns, -1)


def added_by_slices(cols: Any, shape: tuple[int, ...], height: int, width: int, stride: int = 1) -> Any:
    rows, columns = (shape[2] - height) // stride + 1, (shape[3] - width) // stride + 1
    cols = cols.reshape(shape[0], rows, columns, shape[1], height, width).transpose(0, 3, 4, 5, 1, 2)
    image = np.zeros(shape, cols.dtype)
    for y in range(height):
        for z in range(width):
            image[:, :, y : y + stride * rows : stride, z : z + stride * columns : stride] += cols[:, :, y, z, :, :]
    return image


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slices_stored_beside_each_other(dtype: str, stride: int) -> None:
    def step(x, w):  # type: ignore[no-untyped-def]
        x = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)], "constant")
        columns = by_slices(x, 3, 2, stride)
        product = np.tanh(np.dot(columns, w.reshape(4, -1).T) + 0.5)
        back = added_by_slices(np.dot(product, w.reshape(4, -1)), x.shape, 3, 2, stride)
        return product, np.dot(columns.T, product) * 1.0, back[:, :, 2:-2, 2:-2] * 1.0

    plan = check(step, images(dtype), kernels(dtype))
    for op in ("convolution by", "convolution_by_kernel by", "convolution_by_input by"):
        assert op in plan
    assert not any(word in plan for word in ("unfold", "fold [", "matmul"))


def test_windows_and_their_sums_have_the_same_bits() -> None:
    def step(x, g):  # type: ignore[no-untyped-def]
        return by_slices(x, 3, 2, 2) * 1.0, added_by_slices(g, x.shape, 3, 2, 1) * 1.0

    g = np.random.default_rng(2).standard_normal((5 * 9 * 12, 18))
    g[::7] = -0.0
    plan = check(step, images(), g, exactly=True)
    assert "unfold" in plan
    assert "fold\n" in plan


def channels_last(x: Any, w: Any) -> Any:
    cols = np.empty((5, 9, 12, 3, 2, 3))
    for y in range(3):
        for z in range(2):
            cols[:, :, :, y, z] = x[:, y : y + 9, z : z + 12]
    return np.tanh(cols.reshape(-1, 18) @ w.transpose(2, 3, 1, 0).reshape(18, 4))


def in_a_list(x: Any, w: Any) -> Any:
    parts = [x[:, :, y : y + 9, z : z + 12] for y in range(3) for z in range(2)]
    return np.tanh(np.tensordot(np.stack(parts), w.reshape(4, 3, 6), axes=((0, 2), (2, 1))))


def in_one_axis(x: Any, w: Any) -> Any:
    cols = np.zeros((5, 3, 6, 9, 12))
    for y in range(3):
        for z in range(2):
            cols[:, :, y * 2 + z] = x[:, :, y : y + 9, z : z + 12]
    return np.tanh(np.einsum("nckhw,fck->nfhw", cols, w.reshape(4, 3, 6)))


def window_by_window(x: Any, w: Any) -> Any:
    cols = np.zeros((5, 3, 4, 18))
    for y in range(3):
        for z in range(4):
            cols[:, y, z] = x[:, :, y : y + 3, z : z + 2].reshape(5, -1)
    return np.tanh(cols.reshape(-1, 18) @ w.reshape(4, 18).T)


def along_one_axis(x: Any, w: Any) -> Any:
    rows = x.reshape(5, -1)
    cols = np.zeros((5, 3, 427))
    for k in range(3):
        cols[:, k] = rows[:, k : k + 427]
    return np.tanh(np.einsum("nkl,fk->nfl", cols, w[:, 0, :, 0]))


@pytest.mark.parametrize("program", [in_a_list, in_one_axis, along_one_axis], ids=lambda one: one.__name__)
def test_other_ways_to_lay_them_out(program: Any) -> None:
    plan = check(program, images(), kernels())
    assert "convolution by" in plan
    assert not any(word in plan for word in ("unfold", "concatenate", "einsum", "matmul"))


def test_channels_may_be_last() -> None:
    plan = check(channels_last, images(shape=(5, 11, 13, 3)), kernels())
    assert "convolution by" in plan
    assert "unfold" not in plan


def test_windows_may_be_stored_one_by_one() -> None:
    plan = check(window_by_window, images(), kernels())
    assert "update" not in plan


# ---------------------------------------------------------------------- index arrays


def positions(shape: tuple[int, ...], height: int, width: int, stride: int) -> Any:
    """Return index arrays as they are made in the course CS231n."""
    _, channels, rows, columns = shape
    rows, columns = (rows - height) // stride + 1, (columns - width) // stride + 1
    i = np.tile(np.repeat(np.arange(height), width), channels).reshape(-1, 1)
    j = np.tile(np.arange(width), height * channels).reshape(-1, 1)
    i = i + stride * np.repeat(np.arange(rows), columns).reshape(1, -1)
    j = j + stride * np.tile(np.arange(columns), rows).reshape(1, -1)
    return np.repeat(np.arange(channels), height * width).reshape(-1, 1), i, j


@pytest.mark.parametrize("stride", [1, 2])
def test_elements_at_positions(stride: int) -> None:
    def step(x, w):  # type: ignore[no-untyped-def]
        k, i, j = positions(x.shape, 3, 2, stride)
        columns = x[:, k, i, j].transpose(1, 2, 0).reshape(18, -1)
        product = np.maximum(w.reshape(4, -1) @ columns, 0.0)
        back = np.zeros(x.shape, x.dtype)
        added = (w.reshape(4, -1).T @ product).reshape(18, -1, 5).transpose(2, 0, 1)
        np.add.at(back, (slice(None), k, i, j), added)
        return product, (product @ columns.T) * 1.0, back * 1.0

    plan = check(step, images(), kernels())
    for op in ("convolution by", "convolution_by_kernel by", "convolution_by_input by"):
        assert op in plan
    assert not any(word in plan for word in ("gather", "update_take", "matmul"))


def test_sums_at_positions_have_the_same_bits() -> None:
    def step(x, g):  # type: ignore[no-untyped-def]
        k, i, j = positions(x.shape, 3, 2, 2)
        back = np.zeros(x.shape, x.dtype)
        np.add.at(back, (slice(None), k, i, j), g)
        return x[:, k, i, j] * 1.0, back * 1.0

    g = np.random.default_rng(2).standard_normal((5, 18, 5 * 6))
    plan = check(step, images(), g, exactly=True)
    assert not any(word in plan for word in ("gather", "update_take"))


# ---------------------------------------------------------------------- strides


def test_windows_by_strides() -> None:
    def step(x, w):  # type: ignore[no-untyped-def]
        n, c, h, v = x.strides
        windows = as_strided(x, (5, 3, 5, 6, 3, 2), (n, c, 2 * h, 2 * v, h, v))
        return np.tanh(np.einsum("nchvij,fcij->nfhv", windows, w))

    plan = check(step, images(), kernels())
    assert "convolution by" in plan
    assert not any(word in plan for word in ("unfold", "einsum", "gather"))


def test_convolutions_of_autograd() -> None:
    """They are windows by strides, with subscripts given as numbers, and so is what goes back."""
    pytest.importorskip("autograd")
    from autograd import grad
    from autograd.scipy.signal import convolve

    def loss(w, x):  # type: ignore[no-untyped-def]
        hidden = convolve(x, w[0], axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid")
        return (convolve(hidden, w[1], axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid") ** 2).sum()

    def step(w, v, x):  # type: ignore[no-untyped-def]
        first, second = grad(loss)((w, v), x)
        return first * 1.0, second * 1.0

    plan = check(step, kernels(shape=(3, 4, 3, 2)), kernels(shape=(4, 2, 2, 2)), images())
    for op in ("convolution by", "convolution_by_kernel by", "convolution_by_input by"):
        assert op in plan
    assert "einsum" not in plan


def test_strides_of_a_transposed_array_and_of_integers() -> None:
    def step(x):  # type: ignore[no-untyped-def]
        turned = x.transpose(1, 0)
        a, b = turned.strides
        return as_strided(turned, (4, 3, 2), (a, b, a)) + 0, as_strided(turned, (3, 4), (2 * a, b)) + 0

    check(step, np.arange(63).reshape(9, 7), exactly=True)
    check(step, images(shape=(9, 7)), exactly=True)


def test_strides_of_axes_of_one_element_are_those_of_the_argument() -> None:
    """They mean nothing to NumPy, and may be anything; what is computed of them may show them."""

    def step(x):  # type: ignore[no-untyped-def]
        n, c, h, v = x.strides
        windows = as_strided(x, (5, 1, 9, 12, 3, 2), (n, c, h, v, h, v))
        return windows.max(axis=(4, 5)), np.full(3, float(c))

    x = images(shape=(5, 1, 11, 13))
    check(step, x, exactly=True)
    wide = images(shape=(5, 4, 11, 13))[:, :1]
    jitted = jj.jit(step, background=False)
    for argument in (x, x, x, x, wide, wide, wide, images(shape=(5, 11, 13))[:, None]):
        for one, other in zip(jitted(argument), step(argument), strict=True):
            np.testing.assert_array_equal(one, other)
    assert jitted.stats.graph_calls >= 2


def test_what_is_computed_of_views_by_strides_lies_in_memory_as_they_do() -> None:
    def step(x):  # type: ignore[no-untyped-def]
        a, b = x.strides
        return as_strided(x, (2, 8, 7), (a, a, b)) * 2.0, as_strided(x, (7, 2, 8), (b, a, a)) * 2.0

    x = images(shape=(9, 7))
    jitted = jj.jit(step, background=False)
    for _ in range(4):
        got = jitted(x)
    assert [one.strides for one in got] == [one.strides for one in step(x)]
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (2, 0)


def test_views_by_strides_show_what_is_written_afterwards() -> None:
    def step(x):  # type: ignore[no-untyped-def]
        x = x * 1.0
        a, b = x.strides
        windows = as_strided(x, (8, 6, 2, 2), (a, b, a, b))
        before = windows.sum(axis=(2, 3))
        x[3] = 2.0
        return before, windows.sum(axis=(2, 3))

    check(step, images(shape=(9, 7)))


def test_writing_through_strides_and_returning_them_is_left_to_python() -> None:
    def write(x):  # type: ignore[no-untyped-def]
        x = x * 1.0
        a, b = x.strides
        as_strided(x, (4, 7), (2 * a, b))[...] = 3.0
        return x

    def keep(x):  # type: ignore[no-untyped-def]
        a, b = x.strides
        return as_strided(x, (8, 7, 2), (a, b, a))

    def beyond(x):  # type: ignore[no-untyped-def]
        return as_strided(x, (2, 4), (x.strides[1] * 3, x.strides[1])).sum(axis=0)

    x = images(shape=(9, 7))
    for function in (write, keep, beyond):
        step = jj.jit(function, background=False)
        for _ in range(4):
            np.testing.assert_array_equal(step(x), function(x))
    shown = jj.jit(keep, background=False)
    for _ in range(4):
        result = shown(x)
    assert np.shares_memory(result, x)


# ---------------------------------------------------------------------- what is something else


def test_what_is_no_sum_over_windows_stays() -> None:
    """Zeros that are none, slices in another order, added twice, of which some are missing, or that are looked at."""

    def of_ones(x):  # type: ignore[no-untyped-def]
        out = np.ones((11, 13))
        for k in range(3):
            out[k : k + 9] += x[k]
        return out

    def backwards(x):  # type: ignore[no-untyped-def]
        out = np.zeros((11, 13))
        for k in (2, 1, 0):
            out[k : k + 9] += x[k]
        return out

    def twice(x):  # type: ignore[no-untyped-def]
        out = np.zeros((11, 13))
        for k in (0, 1, 1):
            out[k : k + 9] += x[k]
        return out

    def without_one(x):  # type: ignore[no-untyped-def]
        out = np.zeros((11, 13))
        for k in (0, 2):
            out[k : k + 9] += x[k]
        return out

    def looked_at(x):  # type: ignore[no-untyped-def]
        out = np.zeros((11, 13))
        totals = 0.0
        for k in range(3):
            out[k : k + 9] += x[k]
            totals = totals + out.sum()
        return out + totals

    def irregular(x):  # type: ignore[no-untyped-def]
        out = np.zeros((13, 13))
        for k, start in enumerate((0, 1, 4)):
            out[start : start + 9] += x[k]
        return out

    def of_two(x):  # type: ignore[no-untyped-def]
        out = np.zeros((11, 13))
        for k, part in enumerate((x[0], x[1] * 2.0, x[2])):
            out[k : k + 9] += part
        return out

    x = images(shape=(3, 9, 13))
    for function in (of_ones, backwards, twice, without_one, looked_at, irregular, of_two):
        assert "fold" not in check(function, x, exactly=True)


def test_what_are_no_windows_stays() -> None:
    def overwritten(x):  # type: ignore[no-untyped-def]
        cols = np.zeros((3, 9, 13))
        for k in (0, 1, 2, 1):
            cols[k] = x[k : k + 9] if k != 1 else x[0:9]
        return cols * 1.0

    def in_part(x):  # type: ignore[no-untyped-def]
        cols = np.zeros((4, 9, 13))
        for k in range(3):
            cols[k] = x[k : k + 9]
        return cols * 1.0

    def backwards(x):  # type: ignore[no-untyped-def]
        cols = np.zeros((3, 9, 13))
        for k in range(3):
            cols[k] = x[2 - k : 11 - k]
        return cols * 1.0

    def diagonal(x):  # type: ignore[no-untyped-def]
        i = np.arange(3)[:, None] + np.arange(9)
        return x[i, i] * 1.0

    def wrapped(x):  # type: ignore[no-untyped-def]
        i = (np.arange(3)[:, None] + np.arange(11)) % 11
        return x[i, np.arange(11)] * 1.0

    def from_the_end(x):  # type: ignore[no-untyped-def]
        i = np.arange(3)[:, None, None] + np.arange(9)[:, None] - 11
        return x[i, np.arange(13)] * 1.0

    x = images(shape=(11, 13))
    for function in (overwritten, in_part, backwards, diagonal, wrapped, from_the_end):
        plan = check(function, x, exactly=True)
        assert "unfold" not in plan or function is from_the_end


def test_sums_returned_as_views_of_their_memory() -> None:
    def step(g):  # type: ignore[no-untyped-def]
        image = added_by_slices(g, (5, 3, 11, 13), 3, 2)
        return image, image[:, :, 1:-1, 1:-1]

    step_jitted = jj.jit(step, background=False)
    g = np.random.default_rng(2).standard_normal((5 * 9 * 12, 18))
    for _ in range(4):
        whole, part = step_jitted(g)
    np.testing.assert_array_equal(whole, step(g)[0])
    assert part.base is whole
    assert (step_jitted.stats.graph_calls, step_jitted.stats.deopts) == (2, 0)


# ---------------------------------------------------------------------- index arrays between slices


def test_index_arrays_between_slices_are_assigned_and_added_to() -> None:
    def step(x, v, t):  # type: ignore[no-untyped-def]
        i, j = np.array([[0, 1], [2, 0]]), np.array([1, 1])
        x, y, z = x * 1.0, x * 1.0, x * 1.0
        x[:, i, j] = v
        np.add.at(y, (slice(None), i, j), v)
        np.add.at(z, (i, slice(1, None), j), t)
        x[:, i, j, 0] = 4.0
        return x, y, z

    rng = np.random.default_rng(0)
    check(step, images(shape=(4, 3, 5, 2)), rng.standard_normal((4, 2, 2, 2)), rng.standard_normal((2, 2, 2, 2)))


def test_numbers_joined_to_an_array_are_no_windows() -> None:
    """What they are taken from has no axes."""

    def function(x: np.ndarray) -> np.ndarray:
        low, high = x.min(), x.max()
        return np.array([low, high]) * np.stack([low, low])

    step = jj.jit(function, background=False, warmup=1)
    for _ in range(4):
        np.testing.assert_array_equal(step(np.arange(1.0, 5.0)), [1.0, 4.0])
    assert (step.stats.graph_calls, step.stats.deopts) == (3, 0)


# ---------------------------------------------------------------------- parts of windows


def pooled_by_view(x: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))
    return windows[:, :, ::2, 1::3].max(axis=(-1, -2))


def pooled_by_strides(x: Any) -> Any:
    n, c, h, w = x.shape
    a, b, d, e = x.strides
    shape, strides = (n, (h - 2) // 2 + 1, (w - 2) // 2 + 1, 2, 2, c), (a, 2 * d, 2 * e, d, e, b)
    return as_strided(x, shape, strides).max(axis=(3, 4))


def kept_dimensions(x: Any) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, (4, 1), axis=(2, 3)).max(axis=(-1, -2), keepdims=True)


def parts_of_kernels(x: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 4), axis=(2, 3))
    return windows[1:4, ::2, 1::2, :5, 1::2, 1:].max(axis=(4, 5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", [pooled_by_view, pooled_by_strides, kept_dimensions, parts_of_kernels])
def test_the_greatest_elements_of_windows_take_no_windows(program: Any, dtype: str) -> None:
    x = images(dtype)
    x[2, 1, 4, 5] = np.nan
    plan = check(program, x, exactly=True)
    assert "window_max" in plan and "unfold" not in plan


def some_convolution(x: Any, w: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
    return np.einsum("nchwij,ocij->nohw", windows, w)


def some_means(x: Any) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))[:, :, ::2, 1::2].mean(axis=(-1, -2))


def test_only_those_windows_are_laid_out_that_are_needed() -> None:
    assert "convolution" in check(some_convolution, images(), kernels())
    check(some_means, images())


def both(x: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, 4, axis=2)
    return windows.max(axis=2), windows.max(axis=(2, -1)), windows[..., 0].max(axis=-1)


def test_other_greatest_elements_are_found_as_before() -> None:
    check(both, images(), exactly=True)
