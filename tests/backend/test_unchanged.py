"""Updates that are not made in place: only what they leave as it was is copied."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import janusjit as jj
from janusjit.backend.llvm.memory import Memory
from janusjit.backend.unchanged import unchanged_parts
from janusjit.ir.graph import Value
from janusjit.ops.indexing import IndexItem, NewAxis, Operand, Pick, Range, numpy_index
from tests.backend.lowering import Program, check, path

NUMBERS = np.random.default_rng(5)

BLOCKS: list[tuple[IndexItem, ...]] = [
    (Range(1, 62), Range(1, 62)),
    (Range(0, 64), Range(3, 50)),
    (Range(0, 60), Range(0, 64)),
    (Range(9, 55), Range(0, 64)),
    (Range(0, 64), NewAxis(), Range(0, 64)),
]


@pytest.mark.parametrize("index", BLOCKS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_parts_and_the_block_are_the_whole(index: tuple[IndexItem, ...], order: str) -> None:
    x = np.asarray(NUMBERS.normal(size=(64, 64)), order=order)
    program = Program()
    a = program.input(x)
    changed = program.update(a, program.multiply(program.view(a, index=index), 2.0), path=path(*index))
    parts = unchanged_parts(changed.node)
    assert parts is not None
    touched = np.zeros((64, 64), int)
    for part in [index, *parts]:
        touched[numpy_index(part, ())] += 1
    assert (touched == 1).all()
    graph = program.finish(changed, program.add(a, 1.0))  # the caller's array stays as it is
    check(graph, x)


def test_one_row_of_three_dimensions() -> None:
    x = NUMBERS.normal(size=(2, 40, 50))
    program = Program()
    a = program.input(x)
    index = (Pick(1), Range(1, 38), Range(0, 50))
    changed = program.update(a, program.view(a, index=(Pick(0), Range(2, 38), Range(0, 50))), path=path(*index))
    assert unchanged_parts(changed.node) is None  # half of it is more than is left out
    check(program.finish(changed), x)


def test_gaps_unknown_starts_and_small_arrays_are_copied_whole() -> None:
    x = NUMBERS.normal(size=(64, 64))
    for shape, index, extras in (
        ((64, 64), (Range(0, 32, 2), Range(0, 64)), 0),
        ((64, 64), (Range(Operand(0), 62), Range(0, 64)), 1),
        ((64, 64), (Range(63, 64, -1), Range(0, 64)), 0),
        ((8, 8), (Range(1, 6), Range(1, 6)), 0),
    ):
        program = Program()
        a, i = program.input(x[: shape[0], : shape[1]].copy()), program.input(2)
        part = [i][:extras]
        value = program.multiply(program.view(a, *part, index=index), 2.0)
        changed = program.update(a, value, *part, path=path(*index, extras=extras))
        assert unchanged_parts(changed.node) is None
        check(program.finish(changed, program.add(a, 1.0)), x[: shape[0], : shape[1]].copy(), 2)


def test_stencils_that_read_what_they_write() -> None:
    def sweep(u: np.ndarray, times: int) -> None:
        for _ in range(times):
            u[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
            u[2:, :] = u[:-2, :] + u[1:-1, :]

    for rows, times in itertools.product((60, 61), (1, 2, 7)):
        step = jj.jit(sweep)
        start = NUMBERS.normal(size=(rows, 70))
        for _ in range(5):
            mine, theirs = start.copy(), start.copy()
            step(mine, times)
            sweep(theirs, times)
            np.testing.assert_array_equal(mine, theirs)
        assert step.stats.graph_calls >= 1


def sweeps(program: Program, grid: Value, count: int, blocks: list[tuple[Range, Range]]) -> Value:
    """Emit updates of a block of a grid by the mean of the elements above and below."""
    for number in range(count):
        rows, columns = blocks[number % len(blocks)]
        around = [program.view(grid, index=(Range(rows.start + step, rows.length), columns)) for step in (-1, 1)]
        grid = program.update(grid, program.multiply(program.add(*around), 0.5), path=path(rows, columns))
    return grid


@pytest.mark.parametrize("kept", [None, 2, 3])
def test_sweeps(kept: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    spared: list[bool] = []
    takes_over = Memory.takes_over
    monkeypatch.setattr(
        Memory, "takes_over", lambda self, *values: spared.append(takes_over(self, *values)) or spared[-1]
    )
    x = NUMBERS.normal(size=(64, 70))
    inside, left = (Range(1, 62), Range(1, 68)), (Range(1, 62), Range(1, 60))
    for blocks, count in itertools.product(([inside], [inside, left], [inside, inside, left]), range(1, 8)):
        spared.clear()
        program = Program()
        a = program.input(x)
        swept = sweeps(program, a, count, blocks)
        results = [swept]
        if kept is not None:  # what is wanted later stays in its memory
            results.append(sweeps(program, a, kept, blocks))
            results.append(program.reduce("sum", program.multiply(swept, results[-1])))
        check(program.finish(*results), x)
        if blocks == [inside] and kept is None:  # the first two copy, and the last goes to the result
            assert sum(spared) == max(count - 3, 0)
        if blocks == [inside, left]:
            assert not any(spared)
