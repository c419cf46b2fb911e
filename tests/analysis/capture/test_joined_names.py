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


def a_function_made_in_each_turn(x, d):
    for _ in range(3 * len(x)):
        scaled = lambda z, m=d["t"]: z * m + 1.5
        d["t"] = scaled(0.5)
    return scaled(3.0), scaled.__defaults__


def a_function_with_keywords(x, d):
    for _ in range(3 * len(x)):

        def scaled(z, *, m=d["t"]):
            return z * m + 1.5

        d["t"] = scaled(0.5)
    d["f"] = scaled
    return d.pop("f")(1.0), x


def a_text_of_the_last_turn(x, d):
    for turn in range(3 * len(x)):
        x = x * 0.9
        text = f"turn {turn}: {x[0]:.4f}"
    return text, x


@pytest.mark.parametrize(
    "program", [a_function_made_in_each_turn, a_function_with_keywords, a_text_of_the_last_turn]
)
def test_what_is_made_in_a_turn_of_what_cannot_be_seen_behind_the_loop(program):
    step = jj.jit(program, background=False)
    for number in range(9):
        x = np.arange(6.0 + number % 3) + number
        expected, found = ({"t": 0.5}, {"t": 0.5})
        first, second = program(x, expected), step(x, found)
        np.testing.assert_array_equal(first[-1], second[-1])
        assert expected == found and first[0] == second[0]
    assert step.stats.graph_calls >= 4


def compared_behind_a_branch(x):
    one, two = x * 1.0, x * 2.0
    chosen = one if x.sum() > 0 else two
    return chosen is one, chosen is two, chosen is x, chosen.sum()


def compared_in_a_loop(x):
    first = x * 1.0
    kept, same = first, 0
    for turn in range(90):
        if kept is first:
            same += 1
        if (turn % 30) == int(x.sum() + 8.0):
            kept = x * turn
    return same, kept.sum()


@pytest.mark.parametrize("function", [compared_behind_a_branch, compared_in_a_loop])
def test_which_array_one_is_behind_a_join_is_found_by_python(function):
    compiled = jj.jit(background=False)(function)
    for number in range(12):
        x = np.arange(4.0) * (-1) ** (number // 2)
        assert compiled(x) == function(x)
    if function is compared_in_a_loop:
        assert compiled.stats.graph_calls == 10 and compiled.stats.host_calls > 0


def chosen_and_written(x, turns):
    one = x * 2.0
    chosen = one if turns % 2 else x * 3.0
    chosen[0] = 9.0
    return one.sum() + chosen[0]


def written_by_its_other_name(x, turns):
    one = x * 2.0
    chosen = one if turns % 2 else x * 3.0
    one[0] = 9.0
    return chosen * 1.0


def written_where_a_list_has_it(x, turns):
    one = x * 2.0
    held = {"chosen": one if turns % 2 else x * 3.0, "all": [one]}
    held["all"][0][1] = 9.0
    return held["chosen"] * 1.0


def written_behind_the_loop_that_chose(x, turns):
    chosen, one = x * 1.0, np.ones(3)
    for turn in range(turns):
        chosen = one if turn % 2 else chosen * 1.0
    one += 1.0
    return chosen


def written_in_the_loop_that_chose(x, turns):
    chosen, one, total = x * 1.0, np.ones(3), 0.0
    for turn in range(turns):
        chosen = one if turn % 2 else chosen * 1.0
        one += 1.0
        total += chosen.sum()
    return total


@pytest.mark.parametrize(
    "function",
    [
        chosen_and_written,
        written_by_its_other_name,
        written_where_a_list_has_it,
        written_behind_the_loop_that_chose,
        written_in_the_loop_that_chose,
    ],
    ids=lambda function: function.__name__,
)
def test_what_a_conditional_expression_has_chosen_is_not_written_as_if_it_were_alone(function):
    compiled = jj.jit(background=False)(function)
    for number in range(12):
        turns = 70 + 5 * (number // 2)
        np.testing.assert_array_equal(compiled(np.arange(3.0), turns), function(np.arange(3.0), turns))
    assert compiled.stats.calls == 12 and compiled.stats.deopts <= 2
