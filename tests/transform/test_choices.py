"""Branches that divide where it may be done are choices: every bit, and every warning, is that of the branch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import janusjit as jj

SIZE = 1003  # not a whole number of vectors


def quotients(x, y, out):
    for i in range(len(x)):
        if y[i] != 0.0:
            out[i] = x[i] / y[i]
        else:
            out[i] = 0.0


def reciprocals(x, y, out):
    for i in range(len(x)):
        out[i] = 0.0 if y[i] == 0.0 else 1.0 / y[i]


def roots(x, y, out):
    for i in range(len(x)):
        root = np.sqrt(x[i]) + 1.0 if x[i] > 0.0 else y[i] * x[i]
        out[i] = root


def nested(x, y, out):
    for i in range(len(x)):
        if y[i] > 0.0:
            if x[i] > 0.0:
                out[i] = np.sqrt(x[i]) / y[i]
            else:
                out[i] = x[i] - y[i]
        else:
            out[i] = 2.0 * x[i]


def summed(x, y, out):
    total = 0.0
    for i in range(len(x)):
        if y[i] != 0.0:
            total += x[i] / y[i]
        else:
            total -= x[i]
    out[0] = total


def neighbours(x, y, out):
    for i in range(len(x)):
        if i > 3:
            out[i] = x[i] / y[i - 4]
        else:
            out[i] = 1.0


FUNCTIONS = [quotients, reciprocals, roots, nested, summed]


def arrays(dtype: str, special: list[float]) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    x, y = (generator.normal(size=SIZE).astype(dtype) for _ in range(2))
    y[::7], y[-3:] = 0.0, 0.0
    y[3::11], x[5::13] = -0.0, -0.0
    for number, value in enumerate(special):
        x[20 + number :: 97], y[30 + number :: 89] = value, value
    return [x, y, np.zeros(SIZE, dtype)]


def outcome(function, given):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        function(*given)
    return given[2], {str(one.message) for one in told}


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("function", [*FUNCTIONS, neighbours])
def test_bits_and_warnings_are_those_of_the_branch(function, dtype: str) -> None:
    jitted = jj.jit(function, background=False)
    for _ in range(5):
        outcome(jitted, arrays(dtype, []))
    assert jitted.stats.graph_calls >= 2
    for special in ([], [1e30], [np.inf, -np.inf, np.nan], [1e-300, -1e300]):
        with np.errstate(over="ignore", under="ignore"):
            given, expected = arrays(dtype, special), arrays(dtype, special)
        found, told = outcome(jitted, given)
        wanted, warned = outcome(function, expected)
        np.testing.assert_array_equal(found.view(f"i{found.itemsize}"), wanted.view(f"i{found.itemsize}"))
        assert told == warned


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_done_for_nobody_meets_no_error(function) -> None:
    jitted = jj.jit(function, background=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8):
            jitted(*arrays("f8", []))
    assert jitted.stats.graph_calls >= 5 and jitted.stats.deopts == 0
    assert " barrier(" in str(jitted.specializations[0].graph)


def test_what_may_not_be_there_is_not_read() -> None:
    jitted = jj.jit(neighbours, background=False)
    for _ in range(6):
        jitted(np.ones(SIZE), np.ones(SIZE), np.zeros(SIZE))
    assert jitted.stats.graph_calls >= 3 and jitted.stats.deopts == 0
    assert " barrier(" not in str(jitted.specializations[0].graph)
