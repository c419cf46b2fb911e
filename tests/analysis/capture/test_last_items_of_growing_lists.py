"""The last items of a list are read in the loop that appends to it, for any number of turns."""

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison


def traced_back(x):
    path = [1]
    for row in range(len(x) - 1, 0, -1):
        path.append(int(abs(x[row, path[-1]] * 10)) % 3)
    return path[::-1]


def smoothed(x):
    out = [x[0, 0]]
    for value in x[1:, 0]:
        out.append(0.3 * value + 0.7 * out[-1])
    return np.array(out), out[-1]


def from_a_float_to_numpys(x):
    position = [0.0]
    for row in range(len(x)):
        position.append(position[-1] + x[row, 0])
    return position


def two_before(x):
    numbers = [0, 1]
    for _ in range(2, len(x)):
        numbers.append(numbers[-1] + numbers[-2])
    return numbers


def before_and_behind_the_append(x):
    numbers = [1.5]
    total = 0.0
    for row in range(len(x)):
        before = numbers[-1]
        numbers.append(before * 0.5 + float(x[row, 0]))
        total += abs(numbers[-1] - numbers[-2]) + (numbers[-1] - before)
        if total > 1e6:
            break
    return numbers, total


def made_empty(x):
    numbers = []
    for row in range(len(x)):
        numbers.append(row)
        if numbers[-1] % 3 == 0:
            numbers.append(-row)
    return numbers


def arrays(x):
    rows = [x[0] * 1.0]
    for row in range(1, len(x)):
        rows.append(rows[-1] * 0.5 + x[row])
    return np.array(rows)


def arrays_that_leave(x):
    rows = [x[0] * 1.0]
    last = rows[0]
    for row in range(1, len(x)):
        rows.append(rows[-1] * 0.5 + x[row])
        last = rows[-1]
    return rows, last, last is rows[-1]


def arrays_that_are_written(x):
    rows = [x[0] * 1.0]
    for row in range(1, len(x)):
        rows.append(x[row] * 2.0)
        rows[-1] += 1.0
        last = rows[-1]
        last *= rows[-2]
    return rows


def arrays_that_are_compared(x):
    rows = [x[0] * 1.0]
    same = 0
    for row in range(1, len(x)):
        rows.append(x[row] * 2.0)
        same += rows[-1] is rows[-1]
    return rows, same


def arrays_that_are_kept(x):
    rows, kept = [x[0] * 1.0], []
    for row in range(1, len(x)):
        rows.append(x[row] * 2.0)
        kept.append(rows[-1])
    return rows, kept


def too_far(x):
    numbers = []
    for row in range(len(x)):
        numbers.append(row)
        if numbers[-2] > 7:
            break
    return numbers


def far_enough_later(x):
    numbers = [2]
    for row in range(len(x)):
        numbers.append(row + numbers[-1 if row < 3 else -3])
    return numbers


def compared(function, *, calls=14):
    jitted = jj.jit(function, warmup=2, background=False)
    rng = np.random.default_rng(0)
    for number in range(calls):
        x = rng.normal(size=(8 + number % 5, 3))
        comparison = Comparison(1e-12)
        comparison.compare(function(x.copy()), jitted(x.copy()), f"call {number}")
        assert not comparison.finish(), comparison.found[:3]
    return jitted


IN_GRAPH = [
    traced_back,
    smoothed,
    from_a_float_to_numpys,
    two_before,
    before_and_behind_the_append,
    made_empty,
    arrays,
]


@pytest.mark.parametrize("function", IN_GRAPH)
def test_they_are_read_in_the_graph(function):
    jitted = compared(function)
    assert jitted.stats.graph_calls >= 8 and jitted.stats.host_calls == 0


@pytest.mark.parametrize(
    "function",
    [arrays_that_leave, arrays_that_are_written, arrays_that_are_compared, arrays_that_are_kept, far_enough_later],
)
def test_what_is_done_with_them_is_right(function):
    jitted = compared(function)
    assert jitted.stats.graph_calls > 0


def test_an_item_that_is_not_there_is_an_error():
    jitted = jj.jit(too_far, warmup=2, background=False)
    for length in (0, 9, 0, 11, 12, 0):
        x = np.ones((length, 3))
        if length:
            with pytest.raises(IndexError, match="list index out of range"):
                jitted(x)
        else:
            assert jitted(x) == []
