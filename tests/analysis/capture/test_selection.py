"""Items of lists and tuples whose position is known at run time only are in the graph where they are alike."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


def numbers_known(x):
    weights = [0.5, 1.5, -0.0, float("nan")]
    return x * weights[int(x[0])]


def tuples(x):
    x_, y_ = [(0, 1), (0, -1), (1, 0), (-1, 0)][int(x[0])]
    return x_ * 10 + y_


def nested_tuples(x):
    point, name = ((1.0, 2.0), 7), ((3.0, 4.0), 8)
    (a, b), c = (point, name, point, name)[int(x[0])]
    return a * b + c


def run_time_items(x):
    values = [float(x[1]), 2.0, float(x[2]) * 3.0, 1.0]
    return values[int(x[0])]


def numpy_items(x):
    values = [x[1], x[2], x[1] * 2.0, x[2] + 1.0]
    return values[int(x[0])]


def written(x):
    values = [1.0, 2.0, 3.0, 4.0]
    values[int(x[0])] = float(x[1])
    values[-int(x[0]) - 1] += 0.5
    return values


def tuples_written(x):
    values = [(1, 2.0), (3, 4.0), (5, 6.0), (7, 8.0)]
    values[int(x[0])] = (int(x[1]), 0.5)
    return values


def counted_in_a_loop(x):
    counts, sums, actions = [0] * 4, [0.0] * 4, [(1, 0), (0, 1), (-1, 0), (0, -1)]
    row = column = 0
    for turn in range(40):
        which = int(x[0] + turn * 7) % 4
        step = actions[which]
        row, column = row + step[0], column + step[1]
        counts[which] += 1
        sums[which] += (float(x[1]) - sums[which]) / counts[which]
    return row, column, counts, sums


def many_known(x):
    table = [number * number for number in range(300)]
    return table[int(x[0]) * 50]


PROGRAMS = [
    numbers_known,
    tuples,
    nested_tuples,
    run_time_items,
    numpy_items,
    written,
    tuples_written,
    counted_in_a_loop,
    many_known,
]


def arguments(first):
    return np.array([first, 1.25, -2.5])


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_position_may_be_anything(program):
    step = jj.jit(program, background=False)
    for first in (0, 1, 2, 3, 0, 2, 1, 3, 3):
        x = arguments(first)
        assert not differences(program(x), step(x))
    # the position is assumed to stay what it is until it does not, once an access
    assert step.reason is None and step.stats.host_calls == 0
    assert step.stats.graph_calls == 7 and step.stats.deopts <= 2


@pytest.mark.parametrize("first", [4, -5])
@pytest.mark.parametrize("program", [numbers_known, tuples, written])
def test_a_position_out_of_bounds_raises_as_in_python(program, first):
    step = jj.jit(program, background=False)
    for position in (0, 1, 2, 3):
        step(arguments(position))
    with pytest.raises(IndexError) as expected:
        program(arguments(first))
    before = step.stats.deopts
    with pytest.raises(IndexError) as found:
        step(arguments(first))
    assert str(found.value) == str(expected.value)
    assert step.stats.deopts == before + 1 and step.reason is None


def given_list(x, values, new):
    which = int(x[0])
    old = values[which]
    values[which] = new
    return old * x[1]


def test_items_of_a_list_from_outside_are_read_and_written():
    step = jj.jit(given_list, background=False)
    for first in (0, 1, 2, 3, 0, 2, 1, 3, 3):
        one, other = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]
        assert given_list(arguments(first), one, 9.0) == step(arguments(first), other, 9.0)
        assert one == other
    assert step.stats.host_calls == 0 and step.stats.graph_calls == 7


def mixed(x):
    return [1, 2.0, "three", None][int(x[0])]


def of_two_kinds(x):
    return [1, 2.0, 3, 4.0][int(x[0])]


def another_kind_written(x):
    values = [1, 2, 3, 4]
    values[int(x[0])] = float(x[1])
    return values


def too_large(x):
    return [2**70, 1, 2, 3][int(x[0])]


@pytest.mark.parametrize("program", [mixed, of_two_kinds, another_kind_written, too_large])
def test_items_that_differ_are_left_to_python(program):
    step = jj.jit(program, background=False)
    for first in (0, 1, 2, 3, 0, 2, 1, 3, 3):
        assert not differences(program(arguments(first)), step(arguments(first)))
    assert step.stats.host_calls > 0


def gradient(x):
    def loss(w):
        values = [w[0] * w[1], w[1] * 2.0, w[2] ** 2, w.sum()]
        return values[int(x[0])]

    return jj.grad(loss)(x)


def test_gradients_go_through_the_selected_item():
    step = jj.jit(gradient, background=False)
    for first in (0, 1, 2, 3, 0, 2, 1, 3, 3):
        np.testing.assert_allclose(step(arguments(first)), gradient(arguments(first)), rtol=1e-15)
    assert step.stats.host_calls == 0 and step.stats.graph_calls == 7
