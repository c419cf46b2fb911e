"""Iterators that Python draws from between graphs: what is drawn is gone for what follows."""

import numpy as np
import pytest

import janusjit as jj

space = {}
exec("def drawn(iterator):\n    return next(iterator)\n", space)
drawn = space["drawn"]


def of_an_array(x):
    iterator = iter(x)
    first = next(iterator)
    second = next(iterator)
    return first, second, list(iterator)


def of_a_list(x):
    iterator = iter([x, x + 1, x + 2])
    first = drawn(iterator)
    return first, [item.sum() for item in iterator]


def of_a_range(x):
    iterator = iter(range(4))
    first = drawn(iterator)
    total = 0.0
    for number in iterator:
        total += x[0] * number
    return first, total


def counted(x):
    iterator = enumerate(x)
    first = drawn(iterator)
    return first, sum(number * item for number, item in iterator)


def side_by_side(x):
    numbers = iter(range(5))
    pairs = zip(x, numbers, strict=False)
    first = drawn(pairs)
    return first, drawn(numbers), [item * number for item, number in pairs]


@pytest.mark.parametrize("function", [of_an_array, of_a_list, of_a_range, counted, side_by_side])
def test_what_python_draws_is_gone(function):
    step = jj.jit(function, background=False)
    for size in (4, 4, 4, 5, 5, 5, 6, 6, 6):
        x = np.arange(1.0, size + 1)
        assert repr(step(x)) == repr(function(x))
    assert step.stats.graph_calls == 7
    assert step.stats.host_calls > 0
