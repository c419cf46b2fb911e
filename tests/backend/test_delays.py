"""Updates in place that read neighbouring rows: the bits are NumPy's, whatever neighbours are read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend import cost
from janusjit.backend.address import Address
from janusjit.backend.buffers import planned
from janusjit.backend.delays import BLOCK, delay
from janusjit.backend.layout import contiguous
from janusjit.backend.storage import Storage
from janusjit.ir.types import TensorType


def cross(u, b):
    for _ in range(4):
        u[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])


def with_source(u, b):
    for _ in range(3):
        u[1:-1, 1:-1] += 0.1 * (u[:-2, 1:-1] + u[2:, 1:-1] - 2 * u[1:-1, 1:-1]) + b[1:-1, 1:-1]


def far_up(u, b):
    for _ in range(3):
        u[3:, 2:] = u[:-3, :-2] * 0.5 + u[2:-1, 2:] * 0.25


def down(u, b):
    for _ in range(3):
        u[:-2, :] = u[2:, :] * 0.5 + u[1:-1, :] * 0.25


def whole_rows_up(u, b):
    for _ in range(3):
        u[2:] = u[:-2] * 0.5 + u[1:-1] * 0.25


def columns(u, b):
    for _ in range(3):
        u[:, 1:-1] = u[:, :-2] + u[:, 2:] * 0.5


def gaps(u, b):
    for _ in range(3):
        u[1:-1:2, 1:-1] = u[:-2:2, 1:-1] + u[2::2, 2:] * 0.5


def chosen(u, b):
    for _ in range(3):
        u[1:-1, 1:-1] = np.where(b[1:-1, 1:-1] > 0, u[:-2, :-2] + u[2:, 2:], u[1:-1, 1:-1])


def many_sweeps(u, b):
    worst = 0.0
    for k in range(70):
        u[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
        worst = max(worst, u[3, 3] + k)
    return worst


PROGRAMS = [cross, with_source, far_up, down, whole_rows_up, columns, gaps, chosen, many_sweeps]


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "CACHE_BYTES", 0)


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("shape", [(21, 40), (9, 7), (65, 130)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_sweeps(program: Callable[..., Any], dtype: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    u, b = rng.standard_normal((2, *shape)).astype(dtype)
    compiled = jj.jit(background=False, threads=1)(program)
    mine, other = u.copy(), u.copy()
    for _ in range(5):
        assert compiled(mine, b) == program(other, b)
        np.testing.assert_array_equal(mine, other)
        np.copyto(mine, u)
        np.copyto(other, u)
    assert compiled.stats.graph_calls >= 3
    assert not compiled.stats.deopts
    if program not in (whole_rows_up, down, chosen):
        graph = compiled.specializations[-1].captured
        assert planned(graph)[1].delays


@pytest.mark.usefixtures("small_caches")
def test_planes() -> None:
    def sweep(u):
        for _ in range(3):
            u[1:-1, 1:-1, 1:-1] = (u[:-2, 1:-1, 1:-1] + u[2:, 1:-1, 1:-1] + u[1:-1, 1:-1, 2:]) / 3

    u = np.random.default_rng(6).standard_normal((12, 9, 17))
    compiled = jj.jit(background=False, threads=1)(sweep)
    mine, other = u.copy(), u.copy()
    for _ in range(5):
        compiled(mine)
        sweep(other)
        np.testing.assert_array_equal(mine, other)
    assert compiled.stats.graph_calls >= 3
    assert planned(compiled.specializations[-1].captured)[1].delays


def diffusion(u, b):
    for _ in range(3):
        u[1:-1] += 0.1 * (u[2:] - 2.0 * u[1:-1] + u[:-2])


def one_step(u, b):
    u[1:-1] = 0.25 * u[:-2] + 0.5 * u[1:-1] + b[2:]


def far_forward(u, b):
    u[500:] = u[:-500] * 0.5 + b[500:]


def backward(u, b):
    u[:-700] = u[700:] * 0.5 - u[3:-697]


def in_both_ways(u, b):
    u[450:-450] = u[900:] + u[:-900] * 0.5 + u[449:-451]


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("size", [BLOCK * 5 + 2, BLOCK * 6 + 1, 3001])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("program", [diffusion, one_step, far_forward, backward, in_both_ways])
def test_arrays_of_one_axis(program: Callable[..., Any], dtype: str, size: int) -> None:
    rng = np.random.default_rng(7)
    u, b = rng.standard_normal((2, size)).astype(dtype)
    compiled = jj.jit(background=False, threads=1)(program)
    for _ in range(5):
        mine, other = u.copy(), u.copy()
        compiled(mine, b)
        program(other, b)
        np.testing.assert_array_equal(mine, other)
    assert compiled.stats.graph_calls >= 3 and not compiled.stats.deopts
    if program is not diffusion:  # which makes two steps in a turn
        assert planned(compiled.specializations[-1].captured)[1].delays


@pytest.mark.usefixtures("small_caches")
def test_errors_are_numpys() -> None:
    def sweep(u):
        for _ in range(3):
            u[1:-1, 1:-1] = (u[:-2, 1:-1] + u[2:, 1:-1]) * 1e200

    compiled = jj.jit(background=False, threads=1)(sweep)
    for scale in (1e-300, 1e-300, 1e-300, 1e-300, 1.0):
        mine, other = np.full((40, 30), scale), np.full((40, 30), scale)
        with np.errstate(over="raise"):
            raised = []
            for function, array in ((compiled, mine), (sweep, other)):
                try:
                    function(array)
                except FloatingPointError as error:
                    raised.append(str(error))
        assert raised in ([], ["overflow encountered in multiply"] * 2)
        np.testing.assert_array_equal(mine, other)
    assert compiled.stats.graph_calls >= 2


def test_rows_behind() -> None:
    """The delay is the least with which no row is read after it was written, by brute force over elements."""
    shape = (5, 7)
    storage = Storage(contiguous(TensorType("f64", shape)))
    layout = storage.layout
    for rows, columns in ((3, 4), (3, 7), (2, 6)):
        starts = [(r, c) for r in range(shape[0] - rows + 1) for c in range(shape[1] - columns + 1)]
        window = type(layout)("f64", (rows, columns), layout.strides)

        def elements(start: tuple[int, int], row: int, columns: int = columns) -> set[int]:
            first = (start[0] + row) * shape[1] + start[1]
            return set(range(first, first + columns))

        for target, source in itertools.product(starts, starts):
            places = [Address(storage, window, tuple(zip(s, layout.strides, strict=True))) for s in (target, source)]
            needed = max(
                (i - k for i in range(rows) for k in range(i) if elements(source, i) & elements(target, k)), default=0
            )
            found = delay(places[0], [places[1]])
            assert found is not None
            assert needed <= found <= needed + max(rows, target[0] - source[0] + 1)
            assert found == max(0, target[0] - source[0]) or abs(source[1] - target[1]) + columns > shape[1] - 1
