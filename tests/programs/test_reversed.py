"""``reversed`` looks at what it goes through when an item is drawn, in compiled code as in Python."""

import collections

import numpy as np
import pytest

import janusjit
from tests.differential import Side, run_side_by_side

PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


@program
def elements_written_meanwhile(x):
    for value in reversed(x):
        x[0] += value
    return x


@program
def rows_written_meanwhile(x):
    rows = x.reshape(2, 2)
    seen = []
    for row in reversed(rows):
        row *= 2
        rows[0] += 1
        seen.append(row)
    return seen


@program
def items_replaced_meanwhile(x):
    items, total = [1.0, 2.0, x[0]], 0.0
    for value in reversed(items):
        items[0] = value + total
        total += value
    return items, total


@program
def items_of_the_caller(x, numbers):
    seen = []
    for value in reversed(numbers):
        seen.append(value * x[0])
        numbers[0] = 7.0
    return seen


@program
def values_of_a_dict(x):
    table, seen = {"a": 1.0, "b": 2.0}, []
    for value in reversed(table.values()):
        table["a"] = x[0]
        seen.append(value)
    return seen


@program
def keys_and_items_of_a_dict(x):
    table, seen = {"a": 1.0, "b": 2.0}, []
    for key, value in reversed(table.items()):
        table["a"] = x[0] + value
        seen.append((key, value))
    return seen, list(reversed(table)), list(reversed(table.keys()))


@program
def items_of_a_deque(x):
    items, seen = collections.deque([1.0, 2.0, 3.0]), []
    for value in reversed(items):
        items[0] = x[0]
        seen.append(value)
    return seen


@program
def made_before_a_write(x):
    backwards = reversed(x)
    first = next(backwards)
    x[:] = 5.0
    return first, list(backwards)


@program
def handed_out_half_way(x, numbers):
    rows, items, table = reversed(x.reshape(2, 2)), reversed(numbers), reversed({"a": x, "b": 2.0}.items())
    for backwards in (rows, items, table):
        next(backwards)
    x *= 2
    numbers[0] = 9.0
    return list(rows), list(items), list(table)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_items_are_those_of_the_moment(function):
    def arguments(number):
        given = np.arange(4.0) + number, [1.0, 2.0, 3.0]
        return given[: function.__code__.co_argcount]

    jitted = janusjit.jit(function, warmup=2, background=False)
    assert run_side_by_side(Side(function, arguments), Side(jitted, arguments), 6) == []
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (4, 0)


def leaves_iterators(x, numbers):
    return reversed(x), reversed(numbers), reversed({"a": 1, "b": 2}.values()), reversed(collections.deque(numbers))


def test_iterators_that_leave_are_what_reversed_makes():
    jitted = janusjit.jit(leaves_iterators, warmup=2, background=False)
    for _ in range(5):
        expected, found = (function(np.arange(3.0), [1.0, 2.0]) for function in (leaves_iterators, jitted))
        assert [type(item) for item in found] == [type(item) for item in expected]
        assert [list(item) for item in found] == [list(item) for item in expected]
    assert jitted.stats.graph_calls == 3


def with_python_in_between(x, numbers):
    seen = []
    for row, number in zip(reversed(x), reversed(numbers), strict=True):
        seen.append(row * number)
        print(float(row))
        x[0] = 4.0
        numbers[0] = 9.0
    return seen


def test_iterators_outlast_host_calls(capsys):
    jitted = janusjit.jit(with_python_in_between, warmup=2, background=False)
    for number in range(6):
        given = [(np.arange(3.0) + number, [1.0, 2.0, 3.0]) for _ in range(2)]
        assert with_python_in_between(*given[0]) == jitted(*given[1])
    assert jitted.stats.graph_calls == 4


def shortened_meanwhile(x):
    items, seen = [1.0, 2.0, 3.0], []
    for value in reversed(items):
        seen.append(value * x)
        if len(seen) == 1:
            del items[:2]
    return seen


def test_a_list_that_is_shortened_is_left_to_python():
    jitted = janusjit.jit(shortened_meanwhile, warmup=2, background=False)
    assert [jitted(2.0) for _ in range(6)] == [[6.0]] * 6
    assert jitted.stats.graph_calls + jitted.stats.host_calls > 0
