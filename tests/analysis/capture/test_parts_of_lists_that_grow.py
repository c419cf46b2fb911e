"""The last items of a list that grows from call to call, its sum and its extremes, in one specialization."""

import copy
import math
import random
import warnings

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison


def recent_mean(values, x):
    values.append(float(x.sum()))
    return np.mean(values[-5:]), len(values)


def recent_mean_before(values, x):
    return np.mean(values[-5:]) + x.sum(), np.array(values[-3:])


def plateau(values, x):
    values.append(float((x * x).sum()))
    if len(values) > 6 and values[-1] > values[-6]:
        return x * 0.5
    return x


def extremes(values, x):
    return len(values), max(values), min(values), x.sum()


def totals(values, x):
    return sum(values) / len(values), max(values), min(values), x.sum()


def totals_of_recent(values, x):
    recent = values[-6:]
    return sum(recent) / len(recent), max(recent), min(recent), recent[0], recent[-1], x.sum()


def returned(values, x):
    recent = values[-4:]
    same = recent
    return recent, same, values[2:], values[:-2], x * 2


def written_after(values, x):
    recent = values[-4:]
    recent.append(float(x.sum()))
    recent[0] = 7.0
    return recent


def looped(values, x):
    total = 0.0
    for value in values[-8:]:
        if value > 0:
            total += value
    return total + x.sum()


def appended_last(values, x):
    for _ in range(3):
        values.append(values[-1] * 0.5)
    return values[-3:], values[-1] + x.sum(), values[-4]


def _check(function, calls):
    step = jj.jit(function, background=False)
    for arguments in calls:
        own = copy.deepcopy(arguments)
        comparison = Comparison(1e-13)
        comparison.compare(function(*arguments), step(*own), "result")
        comparison.compare(arguments, own, "arguments")
        assert not comparison.finish(), comparison.found[:3]
    return step


def _floats(size):
    return np.random.default_rng(size).normal(size=size).tolist()


_FUNCTIONS = [
    recent_mean, recent_mean_before, plateau, extremes, totals_of_recent, returned, looped, appended_last
]  # fmt: skip


@pytest.mark.parametrize("function", _FUNCTIONS)
def test_one_specialization_for_all_lengths(function):
    x = np.arange(3.0)
    step = _check(function, [(_floats(size), x + size) for size in (12, 13, 14, 15, 16, 9, 40, 300, 17)])
    assert step.stats.graph_calls == 7
    assert step.stats.specializations <= 3
    assert step.stats.host_calls == 0


def test_sums_of_any_length():
    x = np.arange(3.0)
    step = _check(totals, [(_floats(size), x + size) for size in (12, 13, 14, 15, 16, 9, 40, 300, 17)])
    assert step.stats.graph_calls == 7
    assert step.stats.host_calls == 0


def test_sums_are_pythons_to_the_bit():
    """Since Python 3.12, sum() of floats carries a compensation along. NumPy's warnings are not given of it."""

    def total(values, x):
        x += 1.0
        return sum(values)

    step = jj.jit(total, background=False)
    found, wanted = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(60):
            draw = random.Random(number)
            values = [draw.choice((1.0, 1e10, 1e-10, 1e100)) * draw.uniform(-1, 1) for _ in range(70 + number % 9)]
            for _ in range(number // 15):
                values[draw.randrange(70)] = draw.choice([math.inf, -math.inf, 1.7e308, 1e308, -1e308, -0.0, 0.1])
            found.append(repr(step(values, np.ones(5000))))
            wanted.append(repr(total(values, np.ones(5000))))
    assert found == wanted
    assert step.stats.graph_calls == 58 and step.stats.host_calls == 0


@pytest.mark.parametrize("function", [recent_mean, plateau, totals_of_recent, looped])
def test_a_list_that_grows_from_the_beginning(function):
    x, values = np.arange(3.0), [0.5, -0.25]
    step = _check(function, [([*values, *_floats(size)], x + size) for size in range(14)])
    assert step.stats.graph_calls >= 8


def test_what_is_written_is_pythons():
    step = _check(written_after, [(_floats(size), np.ones(2)) for size in (8, 9, 10, 11, 12, 13, 14)])
    assert step.stats.host_calls > 0


@pytest.mark.parametrize("items", [[3, 1, 2], [1.5, -2.0, 0.25], [np.float64(1.5)] * 3, [np.float32(0.5)] * 3])
def test_numbers_keep_their_type(items):
    def parts(values):
        return values[-3:], max(values), min(values), values[-2:][0], sum(values[-3:])

    step = _check(parts, [(items * count,) for count in (2, 2, 2, 3, 4, 5, 6)])
    assert step.stats.graph_calls >= 5


def test_special_values_come_out_as_python_has_them():
    def extremes(values):
        return max(values), min(values), sum(values)

    nan, zero = math.nan, [0.0, -0.0, 0.0]
    lists = [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 2.0, 1.0], zero, [-v for v in zero], [-0.0] * 4]
    lists += [[nan, 1.0, 2.0], [1.0, nan, 2.0], [math.inf, -math.inf], [5.0], [1.0, 2], [], [1e308, 1e308, -1e308]]
    step = jj.jit(extremes, background=False)
    for values in lists:
        outcomes = []
        for function in (extremes, step):
            try:
                outcomes.append(repr(function(list(values))))
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
    assert step.stats.graph_calls >= 5
    assert step.stats.deopts >= 2


def test_ints_that_do_not_fit_are_pythons():
    def largest(values):
        return max(values)

    step = _check(largest, [(list(range(n)),) for n in (4, 4, 4, 5, 6)] + [([1, 2**70, 3],)])
    assert step.stats.graph_calls >= 3
    assert step.stats.specializations >= 2
