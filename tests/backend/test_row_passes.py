"""Products that sum over rows, in one pass with what they sum: near the true value, and what must not be disturbed."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.calibration import Calibration
from tests.backend.row_programs import (
    column_step,
    covariance,
    diverging_loop,
    diverging_step,
    fitted,
    linear_step,
    logistic_step,
    network_step,
    newton_step,
    overwritten_step,
    scaled_covariance,
    softmax_step,
    svm_step,
    training,
)

Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANUSJIT_CACHE", "0")


def drawn(rows: int, columns: int, dtype: str) -> tuple[Any, Any]:
    numbers = np.random.default_rng(3)
    x = numbers.standard_normal((rows, columns)).astype(dtype)
    return x, (x @ np.linspace(-1, 1, columns) > 0.1).astype(dtype)


def compiled(function: Function, *arguments: Any, calls: int = 4, threads: int = 1) -> tuple[Any, Any, str]:
    """Return what a function returns under ``@jit`` and what it does to its arguments, and its plan."""
    step = jj.jit(function, background=False, threads=threads)
    given = copy.deepcopy(arguments)
    results = [step(*given) for _ in range(calls)]
    assert step.stats.graph_calls == calls - 2 and step.stats.deopts == 0
    return results, given, step.specializations[0].plan


def assert_one_pass(function: Function, *arguments: Any, sums: int = 1, **keywords: Any) -> str:
    """A function's sums over rows are made in one pass, and are near plain Python's."""
    results, given, plan = compiled(function, *arguments, **keywords)
    assert len(re.findall(r"sums over rows, \d+ rows at a time with steps", plan)) == sums, plan
    expected = copy.deepcopy(arguments)
    eager = [function(*expected) for _ in results]
    for one, other in zip(flat((results, given)), flat((eager, expected)), strict=True):
        # thousands of products are added up in another order, and four steps of descent follow each other
        tolerance = 2e-4 if np.asarray(other).dtype == np.float32 else 1e-11
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        assert np.asarray(one).dtype == np.asarray(other).dtype
    return plan


def flat(parts: Any) -> list[Any]:
    if isinstance(parts, dict):
        parts = list(parts.values())
    return [leaf for part in parts for leaf in flat(part)] if isinstance(parts, (list, tuple)) else [parts]


SIZES = [(6000, 50), (20_001, 3), (4099, 33), (700, 300)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("function", [logistic_step, linear_step, svm_step])
def test_a_step_goes_over_its_data_once(function: Function, size: tuple[int, int], dtype: str) -> None:
    x, y = drawn(*size, dtype)
    assert_one_pass(function, np.zeros(size[1], dtype), x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [10, 64])
def test_several_classes(columns: int, dtype: str) -> None:
    x, _ = drawn(3001, columns, dtype)
    labels = np.eye(5, dtype=dtype)[np.random.default_rng(1).integers(0, 5, 3001)]
    assert_one_pass(softmax_step, np.zeros((columns, 5), dtype), np.zeros(5, dtype), x, labels)


def test_a_column_of_targets() -> None:
    x, y = drawn(5000, 20, "float64")
    assert_one_pass(column_step, np.zeros((20, 1)), x, y[:, None])


def test_all_products_of_a_network_are_in_one_pass() -> None:
    numbers = np.random.default_rng(4)
    shapes = {"W": (16, 12), "b": (12,), "V": (12, 3), "c": (3,)}
    layers = {name: numbers.normal(size=shape) for name, shape in shapes.items()}
    x, targets = numbers.normal(size=(4000, 16)), numbers.normal(size=(4000, 3))
    plan = assert_one_pass(network_step, layers, x, targets, sums=2)
    assert len(re.findall(r"register tiles \d+×\d+, \d+ rows at a time with steps", plan)) == 3


def test_sums_of_products_with_themselves() -> None:
    x, y = drawn(8000, 12, "float64")
    assert_one_pass(covariance, x)
    assert_one_pass(newton_step, np.zeros(12), x, y, sums=2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operands_whose_rows_do_not_lie_along_memory(dtype: str) -> None:
    x, _ = drawn(9000, 6, dtype)
    for one in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x):
        results, _, _ = compiled(scaled_covariance, one)
        wanted, tolerance = scaled_covariance(one), 2e-3 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(results, [wanted] * len(results), rtol=tolerance, atol=tolerance)


def test_a_loop_inside() -> None:
    x, y = drawn(3000, 24, "float64")
    assert_one_pass(training, np.zeros(24), x, y, sums=5)
    assert_one_pass(fitted, np.zeros(24), x, y)


@pytest.mark.parametrize("rows", [20_000, 20_011])
def test_threads_give_the_same_bits(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calibration, "parallel_nanoseconds", property(lambda _: 1.0))
    x, y = drawn(rows, 30, "float64")
    runs = [compiled(logistic_step, np.zeros(30), x, y, threads=threads) for threads in (1, 2, 3)]
    assert "up to 3" in runs[2][2]
    for results, given, _ in runs[1:]:
        np.testing.assert_array_equal(results, runs[0][0])
        np.testing.assert_array_equal(given[0], runs[0][1][0])


def test_as_near_the_true_value_as_in_two_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(8)
    x = numbers.standard_normal((200_000, 8)).astype("float32") + np.float32(1)
    true = np.asarray(x, "float64").T @ (np.asarray(x, "float64") @ np.ones(8))

    def gradient(x, w):  # type: ignore[no-untyped-def]
        return x.T @ (x @ w)

    (*_, found), _, plan = compiled(gradient, x, np.ones(8, "float32"))
    assert "sums over rows" in plan
    assert np.abs(found - true).max() <= 2 * np.abs(gradient(x, np.ones(8, "float32")) - true).max()


def test_results_wanted_by_others_are_there_as_a_whole() -> None:
    def with_all(x, w):  # type: ignore[no-untyped-def]
        errors = np.tanh(x @ w)
        return errors, x.T @ errors, errors.max()

    x, _ = drawn(5000, 30, "float64")
    assert_one_pass(with_all, x, np.ones(30) / 9)


def test_what_a_step_overwrites_is_read_before() -> None:
    x, y = drawn(5000, 30, "float64")
    results, given, _ = compiled(overwritten_step, np.zeros(30), x, y)
    expected = (np.zeros(30), x.copy(), y)
    eager = [overwritten_step(*expected) for _ in results]
    np.testing.assert_allclose(results, eager, rtol=1e-11)
    np.testing.assert_allclose(given[1], expected[1], rtol=1e-11)


def test_not_a_number_and_infinity_reach_what_they_reach_in_python() -> None:
    x, y = drawn(5000, 30, "float64")
    x[77, 3], x[4000, 5] = np.nan, np.inf
    with np.errstate(all="ignore"):
        results, given, plan = compiled(linear_step, np.zeros(30), x, y)
        expected = (np.zeros(30), x, y)
        eager = [linear_step(*expected) for _ in results]
    assert "sums over rows" in plan
    np.testing.assert_array_equal(np.isnan(given[0]), np.isnan(expected[0]))
    np.testing.assert_allclose(results, eager)


@pytest.mark.parametrize("function", [diverging_step, diverging_loop])
def test_errors_are_told_of_as_in_python(function: Function) -> None:
    x, y = drawn(3000, 24, "float64")
    x *= 1e60
    said = []
    for one in (function, jj.jit(function, background=False, threads=1)):
        w = np.zeros(24)
        for call in range(6):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = one(w, x, y, 1e-120 if call < 4 else 1.0)
            said.append((call, sorted(str(warning.message) for warning in caught), result, w.copy()))
    assert one.stats.graph_calls >= 2  # type: ignore[attr-defined]
    assert "sums over rows" in one.specializations[0].plan  # type: ignore[attr-defined]
    assert any(messages for _, messages, *_ in said[:6])
    for eager, jitted in zip(said[:6], said[6:], strict=True):
        assert eager[:2] == jitted[:2]
        # errors are cubed, turn after turn, and with them what another order of the sums has changed
        np.testing.assert_allclose(jitted[2], eager[2], rtol=1e-9)
        np.testing.assert_allclose(jitted[3], eager[3], rtol=1e-9)


def test_short_or_few_rows_are_left_alone() -> None:
    x, y = drawn(40, 30, "float64")
    assert "sums over rows" not in compiled(logistic_step, np.zeros(30), x, y)[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "PASS_SPARED", 1 << 40)
        x, y = drawn(5000, 30, "float64")
        assert "sums over rows" not in compiled(logistic_step, np.zeros(30), x, y)[2]
