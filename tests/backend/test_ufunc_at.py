"""``ufunc.at``: elements combined in the order of the indices, in the dtype NumPy combines them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.eager_machine import GradientError

UFUNCS = ["add", "subtract", "multiply", "maximum", "minimum", "fmax", "fmin", "bitwise_and", "bitwise_or"]


def at(ufunc: np.ufunc) -> Any:
    def program(target: Any, indices: Any, values: Any) -> Any:
        ufunc.at(target, indices, values)
        return target

    return program


def compared(ufunc: np.ufunc, target: np.ndarray, indices: Any, values: Any) -> Any:
    """Compare with plain Python; return the counters."""
    program = at(ufunc)
    jitted = jj.jit(program, background=False)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = program(target.copy(), indices, values)
        for _ in range(4):
            got = jitted(target.copy(), indices, values)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
    assert jitted.stats.deopts == 0
    return jitted.stats


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint8"])
@pytest.mark.parametrize("name", UFUNCS)
def test_repeated_indices(name: str, dtype: str) -> None:
    if name.startswith("bitwise") and dtype.startswith("float"):
        pytest.skip("not defined")
    rng = np.random.default_rng(0)
    target, values = rng.integers(0, 5, 50).astype(dtype), rng.integers(0, 5, 200).astype(dtype)
    if dtype.startswith("float"):
        values[::7] = np.nan
        values[3] = -0.0
    indices = rng.integers(-50, 50, 200)
    for given in (values, 2):
        stats = compared(getattr(np, name), target, indices, given)
        assert stats.graph_calls == 2 and stats.host_calls == 0


@pytest.mark.parametrize("name", ["maximum", "multiply", "add"])
def test_several_dimensions_and_other_indices(name: str) -> None:
    rng = np.random.default_rng(0)
    target, ufunc = rng.standard_normal((6, 7)), getattr(np, name)
    rows, columns = rng.integers(0, 6, 20), rng.integers(0, 7, 20)
    cases: list[tuple[Any, Any]] = [
        ((rows, columns), rng.standard_normal(20)),
        (rows, rng.standard_normal((20, 7))),
        (target > 0, 0.5),
        (3, 0.5),
    ]
    for indices, values in cases:
        stats = compared(ufunc, target, indices, values)
        assert stats.graph_calls == 2 and stats.host_calls == 0


@pytest.mark.parametrize("name", [*UFUNCS, "logical_or"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint8", "bool"])
def test_types_that_differ(dtype: str, name: str) -> None:
    rng = np.random.default_rng(0)
    target, indices, ufunc = rng.integers(0, 4, 9).astype(dtype), rng.integers(0, 9, 40), getattr(np, name)
    wide, fractions = rng.integers(-(2**40), 2**40, 40), rng.standard_normal(40)
    for values in (wide, fractions, fractions.astype(np.float32), np.float64(0.1), 0.1, 300, -1, True):
        try:
            at(ufunc)(target.copy(), indices, values)
        except TypeError:
            continue
        stats = compared(ufunc, target, indices, values)
        assert stats.graph_calls == 2 and stats.host_calls == 0


def test_the_maximum_has_no_gradient() -> None:
    def program(x: Any) -> Any:
        found = np.zeros(3)
        np.maximum.at(found, [0, 1, 1], x)
        return found.sum()

    with pytest.raises(GradientError, match=r"np\.maximum\.at has no gradient"):
        jj.grad(program)(np.ones(3))
