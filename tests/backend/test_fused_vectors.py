"""Elementwise loops by vectors: every length, no memory beyond a row, no flag that no element raises."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import engine, machine_code
from janusjit.backend.llvm.module_parts import Part

LENGTHS = (0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 129, 300)
DTYPES = ("float64", "float32", "int64", "int32", "int16", "uint8", "bool")


def settled(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a jitted function that has been called often enough to run compiled, with copies of the arguments."""
    step = jj.jit(function, background=False, warmup=1)
    for _ in range(2):
        step(*(np.array(argument) for argument in arguments))
    assert (step.stats.graph_calls, step.stats.deopts) == (1, 0)
    return step


def pair(dtype: str, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return arrays of numbers of a dtype."""
    rng = np.random.default_rng(count)
    return tuple(rng.integers(0, 100, (2, count)).astype(dtype))  # type: ignore[return-value]


def mixed(x: Any, y: Any) -> Any:
    """Return elementwise results of several dtypes."""
    chosen = np.where(x > y, x, y)
    return chosen, x == y, (x + y).astype(np.float32), (x.astype(np.float64) * 0.5 - 7) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_and_dtype(dtype: str) -> None:
    for count in LENGTHS:
        x, y = pair(dtype, count)
        step = settled(mixed, x, y)
        for got, expected in zip(step(x, y), mixed(x, y), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected, err_msg=str(count))
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "uint8"])
def test_memory_around_a_row_is_left_alone(dtype: str) -> None:
    def update(x: Any, y: Any) -> None:
        x *= 3
        x += y

    for count in LENGTHS[1:]:
        given, y = pair(dtype, count)
        step = settled(update, given, y)
        around = np.full(count + 64, 77, dtype)
        around[32:-32] = given
        expected = around.copy()
        update(expected[32:-32], y)
        step(around[32:-32], y)
        np.testing.assert_array_equal(around, expected, err_msg=str(count))
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


def test_lengths_known_at_run_time_only() -> None:
    def function(x: Any, y: Any) -> Any:
        return np.tanh(x) + y, x * 2 - y, (x / (y + 1)).sum()

    step = jj.jit(function, background=False, warmup=1)
    for count in (4, 6, 9, *LENGTHS[2:], 1000, 5):
        x, y = pair("float64", count)
        for got, expected in zip(step(x, y), function(x, y), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-15)
    assert step.stats.specializations == 2  # of one length, and of any
    assert step.stats.graph_calls >= len(LENGTHS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lanes_without_elements_raise_no_flags(dtype: str) -> None:
    """Zeros in such lanes would divide by zero, and numbers that are everywhere would overflow there."""

    def function(x: Any, large: Any) -> Any:
        return 1.0 / x, np.log(x), x * large, np.sqrt(x - 1.5), np.arctan2(x, x)

    large = np.array([np.finfo(dtype).max / 4], dtype)
    for count in LENGTHS[1:]:
        x = np.linspace(2, 3, count).astype(dtype)
        step = settled(function, x, large)
        for got, expected in zip(step(x, large), function(x, large), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == "float32" else 1e-15)
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0), count


@pytest.mark.filterwarnings("error")
def test_what_rows_have_in_common_is_not_computed_without_elements() -> None:
    def function(x: Any, scale: Any) -> Any:
        return x * (1.0 / scale)

    step = jj.jit(function, background=False, warmup=1)
    shapes = ((3, 4), (5, 4), (6, 4), (7, 4), (0, 4), (3, 0))
    for shape in shapes:
        scale = np.zeros((shape[0], 1)) if 0 in shape else np.ones((shape[0], 1))
        if shape == (3, 0):
            with pytest.warns(RuntimeWarning):  # NumPy divides by zero, if by nothing else
                assert step(np.ones(shape), scale).shape == shape
        else:
            np.testing.assert_array_equal(step(np.ones(shape), scale), np.ones(shape))
    assert step.stats.graph_calls >= 2


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "bool"])
@pytest.mark.parametrize("width", [1, 3, 8, 10, 33, 70, 300])
def test_sums_along_columns(dtype: str, width: int) -> None:
    """Few totals are in registers while rows are gone through; rows with one number times each are multiplied first."""

    def function(x: Any, factor: Any) -> Any:
        return (x * factor).sum(axis=0), x.max(axis=0), (x > 1).any(axis=0)

    for rows in (1, 5, 31):
        rng = np.random.default_rng(rows)
        x, factor = rng.integers(0, 4, (rows, width)).astype(dtype), rng.integers(0, 4, (rows, 1)).astype(dtype)
        step = settled(function, x, factor)
        for got, expected in zip(step(x, factor), function(x, factor), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


def test_functions_that_are_called_take_vectors_of_any_length() -> None:
    """An operand of another width makes vectors of fewer lanes than the functions have, or more."""

    def function(x: Any, y: Any, flags: Any) -> Any:
        small = x.astype(np.float32)
        chosen = np.where(flags, np.log(y), np.cos(y))
        return np.sin(small) + y, chosen, np.hypot(x, y), np.power(small, np.float32(2.5))

    for count in (1, 7, 8, 9, 24, 100):
        x, y = np.linspace(0.5, 3, count), np.linspace(1, 9, count)
        flags = np.arange(count) % 3 == 0
        step = settled(function, x, y, flags)
        for got, expected in zip(step(x, y, flags), function(x, y, flags), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=3e-7 if got.dtype == np.float32 else 1e-15, atol=1e-7)
        assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Part]]:
    """The parts of modules that are compiled."""
    found: list[Part] = []
    begin = machine_code.PartCompiler.__init__

    def note(self: machine_code.PartCompiler, part: Part, *rest: Any) -> None:
        found.append(part)
        begin(self, part, *rest)

    monkeypatch.setattr(machine_code.PartCompiler, "__init__", note)
    return iter([found])  # type: ignore[return-value]


def test_vector_code_goes_through_no_passes(parts: Any) -> None:
    (found,) = parts

    def function(x: Any, y: Any) -> Any:
        return np.exp(x) * y, (x * y).sum(axis=1)

    x, y = np.linspace(0, 1, 4567).reshape(1, -1), np.ones((1, 4567))
    step = settled(function, x, y)
    np.testing.assert_allclose(step(x, y)[1], 4567 / 2)
    kernels = {part.is_handwritten for part in found if re.search(r'^define void @"fused', part.text, re.MULTILINE)}
    assert kernels == {engine.has_masked_lanes()}
    assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)


@pytest.mark.parametrize("count", [1, 2, 5, 7, 9, 15])
def test_memory_around_rows_of_bytes_beside_numbers_is_left_alone(count: int) -> None:
    """The mask of eight lanes waits while a function is called; that of bytes has to have sixteen."""

    def function(x: Any, y: Any, same: Any) -> Any:
        ratio = x / y
        same[...] = x != x
        return ratio, np.arctan2(y, ratio)

    x, y = np.arange(8.0 * count).reshape(4, 2, count) + 1, np.arange(8.0).reshape(4, 2, 1) + 1
    with np.errstate(all="ignore"):
        step = jj.jit(function, background=False, warmup=1)
        for _ in range(3):
            around = np.full(8 * count + 64, True)
            step(x, y, around[32:-32].reshape(x.shape))
    assert (step.stats.graph_calls, step.stats.deopts) == (2, 0)
    assert not around[32:-32].any()
    assert around[:32].all() and around[-32:].all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_quotients_and_remainders_of_integers(dtype: str) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    some = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2, limits.max // 3, 0, 1, 2, 3, 7, 10]
    values = np.array(some + ([-1, -2, -7] if limits.min else []), dtype)
    x, y = (np.ascontiguousarray(one.ravel()) for one in np.meshgrid(values, values))
    spread = [
        rng.integers(limits.min, limits.max, 3000, dtype) >> np.array(shift, dtype)
        for shift in rng.integers(0, limits.bits - 1, 8)
    ]
    near = (spread[0] // np.maximum(spread[1], 1)) * spread[1]  # multiples, and their neighbours
    x = np.concatenate([x, *spread[:4], near, near + np.array(1, dtype), near - np.array(1, dtype)]).astype(dtype)
    y = np.concatenate([y, *spread[4:], spread[1], spread[1], spread[1]]).astype(dtype)
    y[y == 0] = 3

    def divide(x: Any, y: Any, z: Any) -> Any:
        return x // y, x % y, np.fmod(x, y), *np.divmod(x, z), x // 7, x % 7

    with np.errstate(all="ignore"):
        for count in (x.size, 70, 1):
            arguments = x[:count], y[:count], y[5:6]
            step = settled(divide, *arguments)
            for got, expected in zip(step(*arguments), divide(*arguments), strict=True):
                assert got.dtype == expected.dtype
                np.testing.assert_array_equal(got, expected)
            assert (step.stats.graph_calls, step.stats.deopts, step.stats.host_calls) == (2, 0, 0)
    if limits.bits <= 32:
        assert "fdiv <" in step.specializations[0].llvm_ir or count == 1


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool"])
def test_an_element_is_deleted_without_gathering_the_others(dtype: str) -> None:
    step = jj.jit(lambda x, i: (np.delete(x, i), np.delete(x, -1)), background=False)
    for count in (1, 2, 40, 40, 40, 33):
        x = (np.arange(count) % 3).astype(dtype)
        for i in (0, count - 1, -count, count // 2):
            for got, expected in zip(step(x, i), (np.delete(x, i), np.delete(x, -1)), strict=True):
                assert got.dtype == expected.dtype
                np.testing.assert_array_equal(got, expected)
    assert step.stats.graph_calls == step.stats.calls - 2 and step.stats.host_calls == 0
    assert all("take" not in str(one.plan) for one in step.specializations)
