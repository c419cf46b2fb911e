"""Arrays that lie between the elements of another are read with it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import janusjit as jj


def turned(x: Any) -> Any:
    return x[..., ::2] * 3 - x[..., 1::2]


def grey(x: Any) -> Any:
    return (77 * x[..., 0].astype(np.int32) + 150 * x[..., 1] + 29 * x[..., 2]) >> 8


def multiplied(x: Any) -> Any:
    return x[:, 3] * x[:, 0] - x[:, 1] * x[:, 2]


def backwards(x: Any) -> Any:
    return x[1::2] + x[::2] * x[1::2]


@pytest.mark.parametrize(
    ("program", "shape", "dtype"),
    [
        (turned, (7, 46), "float32"),
        (turned, (5000,), "float64"),
        (grey, (13, 17, 3), "uint8"),
        (multiplied, (61, 4), "float64"),
        (backwards, (44, 6), "float32"),
        (backwards, (1002,), "float64"),
    ],
)
def test_what_lies_between_elements_is_read_from_their_address(program: Any, shape: Any, dtype: str) -> None:
    x = (np.random.default_rng(0).random(shape) * 99).astype(dtype)
    step = jj.jit(program, background=False, threads=1)
    for _ in range(4):
        got = step(x)
    wanted = program(x)
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == wanted.dtype and (step.stats.graph_calls, step.stats.deopts) == (2, 0)
    if program is not backwards or x.ndim == 1:  # else rows lie beside each other
        (body,) = re.findall(r"^define [^\n]*@fused\.0\(.*?^}", step.specializations[-1].llvm_ir, re.DOTALL | re.M)
        assert not re.search(r"%1\b", body.partition("\n")[2])


def into_itself(x: Any) -> None:
    x[::2] += x[1::2] * 0.5
    x[1::3] = x[2::3] - x[::3]


def last_of_each(x: Any, y: Any) -> Any:
    return x[2::3] + y[::3] + x[::3]


def test_arrays_that_are_written_or_others_have_addresses_of_their_own() -> None:
    rng = np.random.default_rng(0)
    step, other = jj.jit(into_itself, background=False), jj.jit(last_of_each, background=False)
    for _ in range(5):
        mine, y = rng.random((2, 3000))
        expected = mine.copy()
        step(mine)
        into_itself(expected)
        np.testing.assert_array_equal(mine, expected)
        np.testing.assert_array_equal(other(mine, y), last_of_each(mine, y))
        np.testing.assert_array_equal(other(mine, mine), last_of_each(mine, mine))
    assert step.stats.graph_calls == 3 and other.stats.graph_calls >= 6
