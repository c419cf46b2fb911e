"""Arrays whose own elements share memory: they are read by compiled code, and written by Python."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import janusjit as jj
from janusjit.ir.guards import ArrayLayout
from janusjit.ir.memory import lies_apart
from tests.backend.test_guards import A, agree
from tests.differential import Side, run_side_by_side

#: shape, strides in elements
OVERLAPPING = [((4, 4), (1, 1)), ((3, 4), (0, 1)), ((3, 4), (1, 2)), ((2, 2), (3, -3)), ((3, 1, 3), (2, 9, -1))]
APART = [((4, 4), (4, 1)), ((4, 4), (1, 4)), ((3, 4), (-8, 2)), ((1, 4), (0, 3)), ((2, 3, 2), (2, 4, 1))]
APART += [((0, 2), (1, 5)), ((0, 4), (0, 0)), ((4, 0, 2), (0, 0, 0))]  # without elements, whatever the steps


def strided(shape: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    memory = np.arange(100.0)[50:]
    return as_strided(memory, shape, [8 * step for step in steps])


@pytest.mark.parametrize(("shape", "steps"), OVERLAPPING + APART)
def test_compiled_code_sees_overlaps_as_python_does(shape: tuple[int, ...], steps: tuple[int, ...]) -> None:
    array = strided(shape, steps)
    apart = (shape, steps) in APART
    assert lies_apart(array) == apart
    guard = ArrayLayout(place=A, dtype="f64", shape=shape, layout="any", writeable=True)
    assert agree((guard,), array) == apart


def added_in_place(m: np.ndarray) -> float:
    m += 1.0
    m[0] *= 2.0
    return m.sum()


def one_by_one(m: np.ndarray) -> float:
    for i in range(m.shape[0]):
        for j in range(m.shape[1]):
            m[i, j] = m[i, j] * 0.5 + i
    return m.sum()


@pytest.mark.parametrize("program", [added_in_place, one_by_one])
def test_windows_that_overlap_are_written_as_by_numpy(program: object) -> None:
    step = jj.jit(background=False)(program)

    def arguments(number: int) -> tuple[np.ndarray]:
        memory = np.arange(40.0) + number
        return (as_strided(memory, (4, 4), (8, 8) if number == 6 else (64, 8)),)

    assert run_side_by_side(Side(program, arguments), Side(step, arguments), 9) == []
    assert step.stats.graph_calls >= 6 and step.stats.deopts == 1 and step.stats.host_calls == 0
    assert {row.code for row in step.report().functions[0].rows} == {"array.aliasing", "array.overlap"}


def test_windows_that_overlap_are_read_in_the_graph() -> None:
    step = jj.jit(background=False)(lambda m: (m * 2.0).sum(axis=0))
    for number in range(6):
        windows = as_strided(np.arange(9.0) + number, (4, 4), (8, 8))
        np.testing.assert_array_equal(step(windows), (windows * 2.0).sum(axis=0))
    assert step.stats.graph_calls == 4
