"""What is known by two names on some paths is one object behind their join too, and what is written by one is seen."""

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


class Holder:
    """An object with an array."""

    def __init__(self, array):
        self.array = array


def list_chosen_and_written(x):
    ones, twos = [x * 1.0], [x * 2.0]
    chosen = ones if x.sum() > 0 else twos
    chosen[0] = x * 7.0
    return ones, twos


def dict_chosen_and_written(x):
    ones, twos = {"x": x * 1.0}, {"x": x * 2.0}
    chosen = ones if x.sum() > 0 else twos
    chosen["x"] = x * 7.0
    return ones, twos, chosen


def object_chosen_and_written(x):
    one, two = Holder(x * 1.0), Holder(x * 2.0)
    chosen = one if x.sum() > 0 else two
    chosen.array = x * 5.0
    return one.array, two.array


def object_chosen_and_compared(x):
    one, two = Holder(x * 1.0), Holder(x * 2.0)
    chosen = one if x.sum() > 0 else two
    return chosen is one, chosen is two, chosen.array.sum()


def object_written_behind_its_other_name(x):
    one, two = Holder(x * 1.0), Holder(x * 2.0)
    chosen = one if x.sum() > 0 else two
    one.array = x * 5.0
    return chosen.array.sum()


def objects_exchanged(x):
    one, two = Holder(x * 1.0), Holder(x * 2.0)
    if x.sum() > 0:
        one, two = two, one
    one.array = one.array + 3.0
    return one.array, two.array


def objects_exchanged_each_turn(x):
    one, two = Holder(x * 1.0), Holder(x * 2.0)
    for _ in range(40):
        one, two = two, one
        one.array = one.array * 0.5 + two.array
    return one.array, two.array


def object_kept_from_some_turn(x):
    current, kept = Holder(x * 1.0), Holder(x * 0.0)
    for turn in range(40):
        current.array = current.array * 0.9
        if turn == 20:
            kept = current
    kept.array = kept.array + 1.0
    return current.array, kept.array


def array_chosen_and_returned_beside_it(x):
    one, two = x * 1.0, x * 2.0
    if x.sum() > 0:
        two = one
    return one, two


def array_seen_through_a_view_of_it(x):
    one, two = x * 1.0, x * 2.0
    if x.sum() > 0:
        two = one.reshape(x.shape)
    return one, two


def arrays_exchanged(x):
    one, two = x * 1.0, x * 2.0
    if x.sum() > 0:
        one, two = two, one
    return one, two


def array_kept_when_it_is_best(x):
    w, best, least = x * 2.0, x * 0.0, 1e9
    for turn in range(40):
        w = w - 0.1 * w * (1 if turn % 7 else -3)
        loss = (w * w).sum()
        if loss < least:
            least, best = loss, w
    return w, best


#: whether each is in a graph: none returns two arrays that are one on some paths only
CASES = {
    list_chosen_and_written: True,
    dict_chosen_and_written: True,
    object_chosen_and_written: True,
    object_chosen_and_compared: True,
    object_written_behind_its_other_name: True,
    objects_exchanged: True,
    objects_exchanged_each_turn: True,
    object_kept_from_some_turn: True,
    array_chosen_and_returned_beside_it: False,
    array_seen_through_a_view_of_it: True,
    arrays_exchanged: True,
    array_kept_when_it_is_best: False,
}


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_names_behind_a_join(function):
    def arguments(number):
        return (np.arange(1.0, 4.0) * (1 if number % 3 else -1),)

    jitted = jj.jit(function, background=False)
    assert run_side_by_side(Side(function, arguments), Side(jitted, arguments), 9) == []
    assert (jitted.stats.graph_calls > 0) == CASES[function]
