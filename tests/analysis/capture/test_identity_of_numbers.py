"""`is` of numbers: one object for each truth value and small int, and of others the one that the program has."""

from __future__ import annotations

import math

import numpy as np
import pytest

import janusjit as jj

MISSING = -1.5
MANY = 100_000


def run_by_python():
    """Return what only Python can find."""
    return eval("1 + 1")


def agree(function, arguments, calls: int = 24):
    """Call a function with `@jit` and without, with the same objects; return the jitted one."""
    jitted = jj.jit(background=False)(function)
    for number in range(calls):
        given = arguments(number)
        assert repr(jitted(*given)) == repr(function(*given)), number
    return jitted


def flag_is_true(n, flag):
    x = np.arange(n)
    return x, flag is True, flag is not True, flag is False, flag is None, True is flag


def flag_in_branches(n, flag):
    x = np.arange(n)
    if flag is True:
        x = x + 1
    if flag is not False and flag is not None:
        x = x * 2
    return x


def flag_matched(n, flag):
    x = np.arange(n)
    match flag:
        case True:
            return x, "yes"
        case False:
            return x, "no"
        case _:
            return x, "neither"


def computed_flags(n, flag):
    x = np.arange(n)
    return x, (len(x) > 3) is True, (not n) is False, (n > 2) is not (n < 5), (n > 2) is flag


@pytest.mark.parametrize("function", [flag_is_true, flag_in_branches, flag_matched, computed_flags])
def test_a_flag_known_at_run_time_is_the_constant_it_equals(function):
    jitted = agree(function, lambda number: ([5, 2, 7, 3][number % 4], number % 3 == 1))
    assert jitted.stats.graph_calls >= 20
    assert jitted.stats.host_calls == 0
    assert jitted.stats.deopts <= 4


def test_numpy_has_one_object_for_each_truth_value():
    def truths(x):
        return x.any() is True, bool(x.any()) is True, x.all() is np.True_, (x.sum() > 1) is np.False_

    jitted = agree(truths, lambda number: (np.arange(-1.0, 3) + number % 3,))
    assert jitted.stats.graph_calls == 22
    assert jitted.stats.host_calls == 0


def test_equal_small_ints_are_one_object():
    def is_many(x, n, m):
        return x + n, n is m, n is not m

    jitted = agree(is_many, lambda number: (np.ones(2), number % 5, number % 3))
    assert jitted.stats.graph_calls >= 20
    assert jitted.stats.deopts <= 3


def test_python_looks_which_object_equal_numbers_are():
    def is_one(x, first, second):
        return x + first, first is second

    pairs = [(MISSING, MISSING), (MISSING, float("-1.5")), (MANY, int("100000")), (2.0, 3.0), (MANY, MANY), (4.0, 5.0)]
    jitted = agree(is_one, lambda number: (np.ones(2), *pairs[number % 6]))
    assert jitted.stats.graph_calls > 0


def test_nan_is_the_caller_s_own():
    def is_nan(x):
        return x is np.nan, x * 2.0

    jitted = agree(is_nan, lambda number: ([1.0, 3.0, 2.5, np.nan, float("nan")][max(number - 12, 0) % 5],))
    assert jitted.stats.graph_calls >= 10


def test_equal_strings_may_be_two_objects():
    def is_mode(x, mode, other):
        return x + 1, mode is other

    jitted = agree(is_mode, lambda number: (np.ones(2), "fast", "fast" if number % 2 else "".join("fast")))
    assert jitted.stats.calls == 24


def test_a_number_that_is_handed_on_stays_the_same_object():
    class Settings:
        rate = MISSING

    settings = Settings()
    settings.rate, settings.table = MISSING, {"a": [np.nan]}

    @jj.jit(background=False)
    def hand_on(x):
        before = settings.rate
        settings.rate = x
        return before, x, settings.table["a"][0], np.nan

    given = [MISSING, math.nan, 1e6, np.float64(2.5), 1_000_000]
    for number in range(20):
        x, expected = given[number // 4], settings.rate
        before, after, held, nan = hand_on(x)
        assert before is expected
        assert after is x
        assert settings.rate is x
        assert held is np.nan
        assert nan is np.nan
    assert hand_on.stats.graph_calls >= 14


def test_a_number_is_the_same_object_behind_what_python_runs():
    def asked_later(x):
        found = run_by_python()
        return x is MISSING, x is np.nan, found

    jitted = agree(asked_later, lambda number: ([1.0, MISSING, float("-1.5"), 2.0][number % 4],))
    assert jitted.stats.host_calls > 0
    assert jitted.stats.graph_calls > 0
