"""Casts of floats to integers: what NumPy gives out of range, where compilers know the numbers and where not."""

from __future__ import annotations

import platform
import warnings
from typing import Any

import numpy as np
import pytest

import janusjit as jj

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="out of range, processors differ")


def special(dtype: str) -> np.ndarray:
    powers = [2.0**k for k in (7, 8, 15, 16, 31, 32, 52, 62, 63, 64, 100)]
    near = [y for x in powers for y in (x, np.nextafter(x, 0), np.nextafter(x, np.inf), x - 1, x - 0.5, x + 1)]
    with np.errstate(over="ignore"):
        positive = np.array([0.0, 0.5, 1.5, 1e300, np.inf, *near]).astype(dtype)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("to", INTEGERS)
def test_every_number_becomes_what_numpy_makes_of_it(to: str, dtype: str) -> None:
    cast = jj.jit(lambda x: x.astype(to), background=False)
    x = special(dtype)
    with np.errstate(invalid="ignore"):
        for values in (x, x[::-1].copy(), x[:3], x[:17], x[-5:]):
            # one by one: what NumPy makes of numbers beyond uint32 depends on where in an array they stand
            expected = np.concatenate([values[i : i + 1].astype(to) for i in range(values.size)])
            before = cast.stats.graph_calls
            got = [cast(values) for _ in range(4)][-1]
            assert cast.stats.graph_calls > before
            np.testing.assert_array_equal(got, expected)
    assert cast.stats.host_calls == 0


@pytest.mark.parametrize("to", [to for to in INTEGERS if to != "uint32"])
def test_numbers_that_are_known_when_code_is_compiled(to: str) -> None:
    def program(mask: Any) -> Any:
        chosen = np.where(mask, np.inf, 0.25).astype(to)
        return chosen, np.full(9, np.nan).astype(to), np.where(mask, 3e20, -1e10).astype(to), np.full(3, 7.9).astype(to)

    jitted = jj.jit(program, background=False)
    mask = np.arange(37) % 3 == 0
    with np.errstate(invalid="ignore"):
        for _ in range(5):
            for got, expected in zip(jitted(mask), program(mask), strict=True):
                np.testing.assert_array_equal(got, expected)
                assert got.dtype == expected.dtype
    assert jitted.stats.graph_calls == 3


def test_warnings_are_those_of_numpy() -> None:
    cast = jj.jit(lambda x: x.astype(np.int32), background=False)
    x = np.linspace(-5, 5, 100)
    for _ in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cast(x)
    assert cast.stats.graph_calls == 2
    x[50] = np.nan
    with pytest.warns(RuntimeWarning, match="invalid value encountered in cast"):
        cast(x)
    llvm_ir = cast.specializations[0].llvm_ir
    assert "fptosi <" in llvm_ir and "fcmp" not in llvm_ir
