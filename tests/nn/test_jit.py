"""Functions of `janusjit.nn` under `@jit`: results and gradients of the graph are those of plain Python."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit import nn
from janusjit.nn import windows
from tests.nn.cases import CASES, Case

# sums of some hundred terms in another order
RTOL, ATOL = 1e-11, 1e-12


def compiled(function):
    return jj.jit(function, warmup=1, background=False)


def check(function, *arguments):
    """Compare four calls with plain Python; all but the first run in the graph."""
    jitted = compiled(function)
    for _ in range(4):
        expected, got = function(*arguments), jitted(*arguments)
        flat = lambda values: values if isinstance(values, tuple) else (values,)
        for one, other in zip(flat(expected), flat(got), strict=True):
            assert type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape
            np.testing.assert_allclose(other, one, rtol=RTOL, atol=ATOL)
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (3, 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_results(case: Case) -> None:
    check(lambda *arrays: case.call(case.function, list(arrays)), *case.arrays)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_gradients(case: Case) -> None:
    weights = case.weights()
    check(jj.grad(lambda *arrays: case.total(case.function, list(arrays), weights), case.floats), *case.arrays)


def test_float32_stays_float32() -> None:
    for case in CASES:
        arrays = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in case.arrays]
        found = case.call(case.function, arrays)
        for result in found if isinstance(found, tuple) else (found,):
            assert result.dtype == np.float32, case.label


def test_batch_norm_moves_its_statistics_in_place() -> None:
    def step(x, mean, variance):
        return nn.batch_norm(x, mean, variance, training=True)

    jitted, generator = compiled(step), np.random.default_rng(0)
    here, there = (np.zeros(3), np.ones(3)), (np.zeros(3), np.ones(3))
    for _ in range(5):
        x = generator.normal(size=(4, 3, 5))
        np.testing.assert_allclose(jitted(x, *here), step(x, *there), rtol=RTOL, atol=ATOL)
        for one, other in zip(here, there, strict=True):
            np.testing.assert_allclose(one, other, rtol=RTOL)
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (4, 0)


def test_batch_norm_under_a_gradient_moves_its_statistics() -> None:
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(4, 3)), generator.normal(size=(4, 3))

    def gradient(x, mean, variance):
        return jj.grad(lambda x: (nn.batch_norm(x, mean, variance, training=True) * w).sum())(x)

    jitted = compiled(gradient)
    here, there = (np.zeros(3), np.ones(3)), (np.zeros(3), np.ones(3))
    for _ in range(5):
        np.testing.assert_allclose(jitted(x, *here), gradient(x, *there), rtol=RTOL, atol=ATOL)
        for one, other in zip(here, there, strict=True):
            np.testing.assert_allclose(one, other, rtol=RTOL)
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (4, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dropout_draws_what_numpy_draws(dtype) -> None:
    def loss(x, generator):
        return (nn.dropout(x, 0.3, generator=generator) ** 2).sum()

    def both(x, generator):
        return jj.value_and_grad(loss)(x, generator)

    jitted, x = compiled(both), np.linspace(1, 2, 12).reshape(3, 4).astype(dtype)
    here, there = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(5):
        (one, gradient), (other, wanted) = jitted(x, here), both(x, there)
        tolerance = {"rtol": RTOL if dtype is np.float64 else 1e-6}
        np.testing.assert_allclose(one, other, **tolerance)
        np.testing.assert_allclose(gradient, wanted, **tolerance)
        assert gradient.dtype == dtype
    assert here.bit_generator.state == there.bit_generator.state
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (4, 0)
    assert nn.dropout(x, 0.3, training=False, generator=here) is x
    assert not nn.dropout(x, 1.0, generator=here).any()


def test_the_mean_of_dropout_stays() -> None:
    kept = nn.dropout(np.ones(10_000), 0.2, generator=np.random.default_rng(0))
    assert set(np.unique(kept)) == {0.0, 1.25}
    assert abs(kept.mean() - 1) < 0.05  # 20 times the variance of the mean


def test_batches_of_other_sizes_share_one_specialization() -> None:
    def loss(w, x):
        return nn.max_pool2d(nn.relu(nn.conv2d(x, w, padding=1)), 2).sum()

    gradient = jj.grad(loss)
    jitted, generator = compiled(gradient), np.random.default_rng(0)
    w = generator.normal(size=(4, 2, 3, 3))
    for size in (4, 4, 4, 3, 5, 4, 7, 2, 6):
        x = generator.normal(size=(size, 2, 6, 6))
        np.testing.assert_allclose(jitted(w, x), gradient(w, x), rtol=RTOL, atol=ATOL)
    assert jitted.stats.host_calls == 0
    assert jitted.stats.specializations <= 2


def test_second_derivatives() -> None:
    generator = np.random.default_rng(0)
    x, w, v = (
        generator.normal(size=(2, 2, 5, 5)),
        generator.normal(size=(3, 2, 2, 2)),
        generator.normal(size=(3, 2, 2, 2)),
    )

    def loss(w):
        return (nn.avg_pool2d(nn.sigmoid(nn.conv2d(x, w, stride=2)), 2) ** 2).sum() + nn.max_pool2d(
            nn.conv2d(x, w), 2
        ).sum() ** 2

    step = 1e-6
    quotient = (jj.grad(loss)(w + step * v) - jj.grad(loss)(w - step * v)) / (2 * step)
    # the quotient's own error: rounding over the step
    np.testing.assert_allclose(jj.hvp(loss)(w, v), quotient, rtol=1e-5, atol=1e-6)
    check(lambda w: jj.hvp(loss)(w, v), w)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: nn.conv2d(np.ones((1, 2, 4, 4)), np.ones((1, 3, 2, 2))), "does not fit"),
        (lambda: nn.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3))), "larger than"),
        (lambda: nn.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), stride=2, padding="same"), "strided"),
        (lambda: nn.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), padding="full"), "'valid' or 'same'"),
        (lambda: nn.conv_transpose1d(np.ones((1, 2, 4)), np.ones((3, 1, 2))), "does not fit"),
        (lambda: nn.max_pool2d(np.ones((1, 4, 4)), 2, padding=2), "more than half"),
        (lambda: nn.mse_loss(np.ones(2), np.ones(2), "average"), "reduction"),
        (lambda: nn.gelu(np.ones(2), "sigmoid"), "approximate"),
        (lambda: nn.layer_norm(np.ones((2, 3)), 2), "last dimensions"),
        (lambda: nn.group_norm(np.ones((2, 3)), 2), "groups"),
        (lambda: nn.batch_norm(np.ones((2, 3)), None, None), "not training"),
        (lambda: nn.batch_norm(np.ones((1, 3)), np.ones(3), np.ones(3), training=True), "more than one value"),
        (lambda: nn.dropout(np.ones(2), 1.5, generator=np.random.default_rng(0)), "probability"),
        (lambda: nn.scaled_dot_product_attention(*[np.ones((2, 2))] * 3, np.ones((2, 2)), is_causal=True), "exclude"),
        (lambda: nn.scaled_dot_product_attention(*[np.ones((2, 2))] * 3, dropout_p=0.5), "generator"),
    ],
)
def test_errors(call, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        call()
    jitted = compiled(call)
    for _ in range(3):
        with pytest.raises(ValueError, match=error):
            jitted()


def test_a_class_out_of_bounds_is_an_error() -> None:
    jitted = compiled(nn.cross_entropy)
    logits = np.eye(3)
    for _ in range(4):
        jitted(logits, np.array([0, 1, 2]))
    assert jitted.stats.graph_calls == 3
    with pytest.raises(IndexError):
        jitted(logits, np.array([0, 1, 3]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_greatest_of_a_window_with_nan_ties_and_infinities(dtype: type) -> None:
    """The first of equals and the first NaN count, in windows within the array and over its border."""
    rng = np.random.default_rng(4)
    x = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0, 2.0], (2, 3, 9, 18)).astype(dtype)
    for kernel, stride, padding, output in (((2, 2), 2, 0, (4, 9)), ((3, 2), 1, 0, (7, 17)), ((2, 2), 2, 1, (5, 10))):

        def greatest(x):  # type: ignore[no-untyped-def]
            return windows.window_max(x, output, kernel, (stride,) * 2, (padding,) * 2, (1, 1))  # noqa: B023

        step = jj.jit(greatest, background=False)
        for _ in range(4):
            got = step(x)
        for one, eager in zip(got, greatest(x), strict=True):
            np.testing.assert_array_equal(one, eager)
            assert one.dtype == eager.dtype
        assert step.stats.graph_calls == 2


def test_nothing_on_the_border_is_the_greatest_of_a_window() -> None:
    """Not even where all elements of a window are the least number there is."""
    x = np.full((1, 1, 4, 4), -np.inf)
    x[0, 0, 3, 3] = 1.0
    gradient = jj.grad(lambda x: jj.nn.max_pool2d(x, 2, stride=2, padding=1).sum())
    step = jj.jit(gradient, background=False)
    for _ in range(5):
        np.testing.assert_array_equal(step(x)[0, 0], [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]])
    np.testing.assert_array_equal(gradient(x), step(x))
    assert step.stats.graph_calls == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_are_taken_and_added_up_row_by_row(dtype: type) -> None:
    """Each element is the sum of the windows' elements in their order: the bits of a loop over the kernel."""
    rng = np.random.default_rng(4)
    for size, kernel, padding in (((9, 16), (3, 3), 1), ((5, 7), (5, 2), 0), ((4, 37), (2, 5), 2), ((6, 3), (1, 1), 0)):
        output = tuple(n + 2 * padding - k + 1 for n, k in zip(size, kernel, strict=True))

        def folded(y):  # type: ignore[no-untyped-def]
            geometry = (kernel, (1, 1), (padding,) * 2, (1, 1))  # noqa: B023
            summed = windows.fold(y, size, *geometry)  # noqa: B023
            return summed, windows.unfold(summed, output, *geometry)  # noqa: B023

        y = rng.standard_normal((3, *kernel, 2, *output)).astype(dtype)
        y[rng.random(y.shape) < 0.2] = -0.0
        y[0, 0, 0, 0, 0, 0] = np.nan
        step = jj.jit(folded, background=False)
        for _ in range(4):
            got = step(y)
        for one, eager in zip(got, folded(y), strict=True):
            np.testing.assert_array_equal(one, eager)
            np.testing.assert_array_equal(np.signbit(one), np.signbit(eager))
            assert one.dtype == dtype
        assert step.stats.graph_calls == 2
