"""Rows of a few elements that are done many at a time: the results are those of the rows one by one."""

from __future__ import annotations

import numpy as np
import pytest

from janusjit.backend.llvm.compile import compile_graph
from janusjit.backend.llvm.fused_repeats import Repeats
from janusjit.ir.dims import symbol
from janusjit.ops.indexing import Pick, Range
from tests.backend.lowering import Program, run_both, same

NUMBERS = np.random.default_rng(2)


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[Repeats]:
    """What is done many rows at a time."""
    seen: list[Repeats] = []
    emit = Repeats.emit

    def note(self: Repeats, *arguments: object) -> None:
        seen.append(self)
        emit(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Repeats, "emit", note)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize(("rows", "width"), [(5000, 10), (4097, 2), (1000, 3), (911, 7), (2000, 16), (100, 47)])
def test_rows_of_known_sizes(rows: int, width: int, dtype: str, emitted: list[Repeats]) -> None:
    x = NUMBERS.integers(-9, 9, (rows, width)).astype(dtype)
    row = NUMBERS.integers(-9, 9, width).astype(dtype)
    program = Program()
    a, b = program.input(x), program.input(row)
    got, *_ = run_both(program.finish(program.add(program.multiply(a, b), a)), x, row)
    same(got, (x * row + x,))
    assert [(one.width, one.repeated) for one in emitted] == [(width, (1,))]


def test_any_number_of_rows(emitted: list[Repeats]) -> None:
    program = Program()
    a, b = program.input(np.ones((3, 10)), (symbol("n", 0), 10)), program.input(np.ones(10))
    compiled = compile_graph(program.finish(program.subtract(a, b)))
    assert len(emitted) == 1
    group = emitted[0].group
    for rows in (0, 1, 2, group - 1, group, group + 1, 3 * group + 5):
        x, row = NUMBERS.normal(size=(rows, 10)), NUMBERS.normal(size=10)
        np.testing.assert_array_equal(compiled.entry(x, row)[0], x - row)


def test_leading_dimensions_and_scalars(emitted: list[Repeats]) -> None:
    x, row, factor = NUMBERS.normal(size=(5, 281, 12)), NUMBERS.normal(size=12), NUMBERS.normal(size=(5, 1, 1))
    program = Program()
    a, b, c = (program.input(value) for value in (x, row, factor))
    got, *_ = run_both(program.finish(program.multiply(program.add(a, b), c)), x, row, factor)
    same(got, ((x + row) * factor,))
    assert [one.repeated for one in emitted] == [(1,)]


def test_arrays_that_differ_from_row_to_row_are_not_repeated(emitted: list[Repeats]) -> None:
    x, rows, column = NUMBERS.normal(size=(5, 281, 12)), NUMBERS.normal(size=(5, 1, 12)), NUMBERS.normal(size=(281, 1))
    program = Program()
    a, b, c = (program.input(value) for value in (x, rows, column))
    got, *_ = run_both(program.finish(program.add(a, b), program.add(a, c)), x, rows, column)
    same(got, (x + rows, x + column))
    assert not emitted


def test_in_place(emitted: list[Repeats]) -> None:
    x, row = NUMBERS.normal(size=(500, 6)), NUMBERS.normal(size=6)
    for of_itself in (False, True):
        program = Program()
        a, b = program.input(x, writeable=True), program.input(row)
        added = program.view(a, index=(Pick(0), Range(0, 6))) if of_itself else b
        _, _, (changed, _), _, _ = run_both(program.finish(writes={0: program.add(a, added)}), x, row)
        np.testing.assert_array_equal(changed, x + (x[0] if of_itself else row))
    assert emitted
