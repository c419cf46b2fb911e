"""Loops that write the caller's large arrays element by element are not looked at turn by turn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import janusjit as jj

SIZE = 5000  # 40 KB, more than what is backed up in any case


def quotients(x, y, out):
    for i in range(len(x)):
        out[i] = x[i] / y[i]


def smoothed(x):
    for i in range(1, len(x)):
        x[i] = 0.5 * x[i] + 0.5 * x[i - 1]


def quotients_from_the_right(x, y):
    for i in range(len(x) - 1):
        x[i] = x[i + 1] / y[i]


def few(x, y):
    for i in range(10):
        x[i] = x[i + 1] / y[i]


def read_afterwards(x, y, out):
    for i in range(len(x)):
        out[i] = x[i] / y[i]
    return out.sum()


def read_before(x, y, out):
    before = out[3] + out[7]
    for i in range(len(x)):
        out[i] = before + x[i] / y[i]
    return before


def lower_triangle(a, b):
    for i in range(a.shape[0]):
        for j in range(i + 1):
            a[i, j] = a[i, j] / b[i]


def looked_at(function) -> int:
    """Return how often compiled code asks which operation an error was of, when the call cannot be given up."""
    return function.specializations[-1].llvm_ir.count("words")


def settled(function, *arguments):
    jitted = jj.jit(function, background=False)
    for _ in range(5):
        jitted(*arguments)
    assert jitted.stats.graph_calls >= 2
    return jitted


def arrays(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.random(SIZE) + 0.5 for _ in range(count)]


@pytest.mark.parametrize("function", [quotients, read_afterwards, read_before, quotients_from_the_right])
@pytest.mark.parametrize("where", [0, 100, SIZE - 2])
def test_a_call_that_meets_an_error_is_done_again(function, where: int) -> None:
    given = arrays(function.__code__.co_argcount)
    jitted = settled(function, *given)
    assert looked_at(jitted) == 0 and jitted.stats.deopts == 0
    given[1][where] = 0.0
    mine = [array.copy() for array in given]
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in scalar divide") as expected:
        result = function(*given)
    with pytest.warns(RuntimeWarning) as told:
        assert repr(jitted(*mine)) == repr(result)
    assert [str(one.message) for one in told] == [str(one.message) for one in expected]
    assert jitted.stats.deopts == 1
    for one, other in zip(mine, given, strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_warnings_are_exceptions_nothing_is_written_behind_them() -> None:
    given = arrays(3)
    jitted = settled(quotients, *given)
    given[1][100] = 0.0
    given[2][:] = -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            given[2][:] = -1.0
            with pytest.raises(RuntimeWarning):
                jitted(*given)
            assert (given[2][:100] > 0).all() and (given[2][100:] == -1.0).all()


def test_what_a_loop_reads_and_writes_is_copied_before_it() -> None:
    (x,) = arrays(1)
    expected = x.copy()
    jitted = jj.jit(smoothed, background=False)
    for _ in range(5):
        jitted(x)
        smoothed(expected)
        np.testing.assert_array_equal(x, expected)
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0 and looked_at(jitted) == 0
    assert sum("copy" in kernel.text for kernel in jitted.specializations[-1].kernels) == 1


def test_an_array_of_which_little_is_written_is_not_copied() -> None:
    jitted = settled(few, *arrays(2))
    assert looked_at(jitted) > 0
    assert not any("copy" in kernel.text for kernel in jitted.specializations[-1].kernels)


def test_turns_that_another_loop_counts_are_estimated() -> None:
    rng = np.random.default_rng(0)
    jitted = settled(lower_triangle, rng.random((80, 80)), np.ones(80))
    assert looked_at(jitted) == 0
    assert sum("copy" in kernel.text for kernel in jitted.specializations[-1].kernels) == 1
