"""Long elementwise loops begin with the elements up to an aligned store: the bits are NumPy's, at any address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm.fused_aligned import LEAST_ELEMENTS

COUNTS = (LEAST_ELEMENTS - 1, LEAST_ELEMENTS, LEAST_ELEMENTS + 7, 5000)


def fresh(x, y):
    return x * 2 + y


def in_place(x, y):
    x += y
    x *= 0.5


def two_results(x, y):
    return np.floor(x), x > y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", [fresh, in_place, two_results])
def test_begins_at_any_element_of_a_line(program: Callable[..., Any], dtype: str) -> None:
    rng = np.random.default_rng(2)
    compiled = jj.jit(background=False, threads=1)(program)
    memory, other = rng.standard_normal((2, 6000)).astype(dtype)
    for count in COUNTS:
        for start in range(17):
            mine, expected = memory.copy(), memory.copy()
            got = compiled(mine[start : start + count], other[3 : 3 + count])
            want = program(expected[start : start + count], other[3 : 3 + count])
            np.testing.assert_array_equal(mine, expected)
            np.testing.assert_equal(got, want)
    assert compiled.stats.graph_calls > 50
