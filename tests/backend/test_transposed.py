"""Elementwise kernels over transposed arrays: block by block, with the bits of plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm import fused_transposed

PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "one": lambda x, y: x.T * 2.0 + y,
    "reversed": lambda x, y: x[::-1].T * 2.0 + y,
    "both": lambda x, y: x.T * 2.0 + y[::-1],
    "copy": lambda x, y: x.T.copy(),
    "long": lambda x, y: np.exp(x.T) / (1.0 + y * y),
    "two": lambda x, y: (x.T - y) / ((x * x).T + 1.0),
}


@pytest.fixture(autouse=True)
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_transposed, "ELEMENTS", 1)
    monkeypatch.setattr(fused_transposed, "LONG_ELEMENTS", 1)


def compared(program: Callable[..., Any], arguments: tuple[Any, ...], turned: bool = True) -> None:
    """Compare a program with plain Python, and require that arrays are turned, or that none is."""
    jitted = jj.jit(lambda *given: program(*given), background=False)
    for _ in range(4):
        got, expected = jitted(*map(np.copy, arguments)), program(*map(np.copy, arguments))
        np.testing.assert_allclose(got, expected, rtol=1e-6 if expected.dtype == np.float32 else 1e-14)
        assert got.dtype == expected.dtype
    assert jitted.stats.graph_calls == 2 and jitted.stats.deopts == 0
    assert ("handwritten.transpose" in jitted.specializations[0].llvm_ir) == turned


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_and_what_is_left_of_them(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    for rows, columns in ((16, 16), (17, 65), (64, 64), (130, 33), (33, 200)):
        x, y = (rng.standard_normal(shape).astype(dtype) for shape in ((columns, rows), (rows, columns)))
        compared(PROGRAMS[name], (x, y))


def test_bits_are_those_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 70)), rng.standard_normal((70, 90))
    results = []
    for elements in (1, 1 << 40):
        monkeypatch.setattr(fused_transposed, "ELEMENTS", elements)
        monkeypatch.setattr(fused_transposed, "LONG_ELEMENTS", elements)
        jitted = [jj.jit(program, background=False) for program in PROGRAMS.values()]
        results.append([[function(x, y) for _ in range(4)][-1] for function in jitted])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_leading_dimensions_and_element_types() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 40, 50)), rng.standard_normal((3, 50, 40))
    compared(lambda x, y: np.swapaxes(x, 1, 2) * 2.0 + y, (x, y))
    compared(lambda x, y: np.swapaxes(x, 1, 2) * y, (x.astype(np.float32), y))
    compared(lambda x, y: np.swapaxes(x, 1, 2) * y, (x.astype(np.int64), y), turned=False)


def test_an_array_updated_by_its_own_transpose() -> None:
    def update(x):  # type: ignore[no-untyped-def]
        x += x.T
        x -= 0.5 * x[::-1].T
        return x

    compared(update, (np.random.default_rng(0).standard_normal((80, 80)),))


def test_few_rows_and_small_arrays_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    compared(PROGRAMS["one"], (rng.standard_normal((100, 8)), rng.standard_normal((8, 100))), turned=False)
    monkeypatch.setattr(fused_transposed, "ELEMENTS", 1 << 17)
    compared(PROGRAMS["one"], (rng.standard_normal((50, 50)), rng.standard_normal((50, 50))), turned=False)
