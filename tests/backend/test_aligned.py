"""Long elementwise loops begin with the elements up to an aligned store: the bits are NumPy's, at any address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.llvm import engine
from janusjit.backend.llvm.fused_aligned import LEAST_ELEMENTS, LEAST_VECTORS

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


def brightened(x, y):
    return (x.astype(np.int16) + 40).astype(np.uint8)


def compared_with_a_mean(x, y):
    return (x > y.mean()).astype(np.uint8)


def in_double(x, y):
    return (x.astype(np.float64) * 3).astype(np.float32)


@pytest.mark.parametrize(
    ("program", "dtype"), [(brightened, "uint8"), (compared_with_a_mean, "uint8"), (in_double, "float32")]
)
def test_what_is_computed_may_be_wider_than_all_arrays(program: Callable[..., Any], dtype: str) -> None:
    memory, other = (np.random.default_rng(4).random((2, 6000)) * 255).astype(dtype)
    compiled = jj.jit(background=False, threads=1)(program)
    for count in COUNTS:
        for start in range(17):
            operands = memory[start : start + count], other[3 : 3 + count]
            np.testing.assert_array_equal(compiled(*operands), program(*operands))
    assert compiled.stats.graph_calls > 50


def wide_into(x, y, z):
    z[1:] = (x.astype(np.float64) - 0.1).astype(np.float32)


def into(x, y, z):
    z[1:] = x * 2 + y


def into_two(x, y, z):
    z[1:] = x - y
    return x + y


def back_into(x, y, z):
    z[1:] = z[1:] * x + y


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("program", [into, into_two, back_into, wide_into])
def test_written_past_the_caches(
    monkeypatch: pytest.MonkeyPatch, program: Callable[..., Any], dtype: str, threads: int
) -> None:
    monkeypatch.setattr(cost, "streamed_bytes", lambda: 1 << 10)
    count = 300_007 if threads > 1 else 10_007
    rng = np.random.default_rng(3)
    memory = (rng.standard_normal((3, count + 64)) * 100).astype(dtype)
    compiled = jj.jit(background=False, threads=threads)(program)
    for start in range(12):
        mine, expected = memory.copy(), memory.copy()
        views = [(m[0, 5 : 5 + count], m[1, :count], m[2, start : start + count + 1]) for m in (mine, expected)]
        np.testing.assert_equal(compiled(*views[0]), program(*views[1]))
        np.testing.assert_array_equal(mine, expected)
    assert compiled.stats.graph_calls == 10
    if engine.has_masked_lanes():
        assert ("vmovnt" in compiled.specializations[-1].asm) == (program is not back_into)


def test_what_fits_into_the_caches_stays_there() -> None:
    compiled = jj.jit(background=False)(into)
    for _ in range(4):
        compiled(np.ones(10_000), np.ones(10_000), np.ones(10_001))
    assert compiled.stats.graph_calls == 2
    assert "vmovnt" not in compiled.specializations[-1].asm
    assert cost.streamed_bytes() >= 1 << 20


def shifted(x, row, out):
    out[:, 1:-2] = x * row + 1


def centered(x, row, out):
    out[:, 1:-2] = (x - x.mean(axis=1, keepdims=True)) * row
    return out.sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", [shifted, centered])
def test_rows_begin_at_any_element_of_a_line(program: Callable[..., Any], dtype: str) -> None:
    rng = np.random.default_rng(4)
    for columns in (LEAST_VECTORS * 64 // np.dtype(dtype).itemsize - 1, 300, 701):
        compiled = jj.jit(background=False, threads=1)(program)
        memory, row = rng.standard_normal(20 * columns + 64).astype(dtype), rng.standard_normal(columns).astype(dtype)
        for start in range(12):
            x = memory[start : start + 20 * columns].reshape(20, columns)
            mine, expected = np.zeros((2, 20, columns + 3), dtype)
            np.testing.assert_equal(compiled(x, row, mine), program(x, row, expected))
            np.testing.assert_array_equal(mine, expected)
        assert compiled.stats.graph_calls == 10


@pytest.mark.skipif(engine.vector_bytes() != 64, reason="vectors are shorter than lines")
@pytest.mark.parametrize(("columns", "peeled"), [(300, True), (100, False)])
def test_long_rows_begin_with_what_lies_before_a_line(columns: int, peeled: bool) -> None:
    compiled = jj.jit(background=False, threads=1)(shifted)
    for _ in range(3):
        compiled(np.ones((20, columns)), np.ones(columns), np.ones((20, columns + 3)))
    assert compiled.stats.graph_calls == 1
    assert bool(re.search(r"and i64 %.*, 63\n", compiled.specializations[0].llvm_ir)) == peeled


@pytest.mark.skipif(not engine.has_masked_lanes(), reason="lanes cannot be left out")
def test_one_piece_of_code_does_what_is_before_whole_vectors_and_what_is_left() -> None:
    compiled = jj.jit(background=False, threads=1)(shifted)
    for _ in range(3):
        compiled(np.ones((20, 300)), np.ones(300), np.ones((20, 303)))
    assert compiled.stats.graph_calls == 1
    assert compiled.specializations[0].llvm_ir.count("fmul <8 x double>") == 2
