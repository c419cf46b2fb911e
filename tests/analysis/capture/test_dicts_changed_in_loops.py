"""A loop over a dict that its turns change: it gives what is there at each turn, or raises what Python raises."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj


def run_by_python():
    """Return what only Python can find."""
    return eval("1 + 1")


def later_value_in_items(table, x):
    found = []
    for _, value in table.items():
        table["c"] = value * 2
        found.append(value)
    return found, x + 1


def later_value_in_values(table, x):
    found = []
    for number, value in enumerate(table.values()):
        table["c"] = x.sum() + number
        found.append(value)
    return found, x + 1


def later_value_behind_a_commit_point(table, x):
    found = []
    for (_, value), number in zip(table.items(), range(3), strict=True):
        found.append(run_by_python() + number)
        table["b"] = table["c"] = value * 2
        found.append(value)
    return found, x + 1


def later_value_in_a_loop_of_the_graph(table, x):
    longer, total = {**table, **{str(i): float(i) for i in range(40)}}, 0.0
    for value in longer.values():
        longer["7"] = longer["a"] + value
        longer["39"] = value * x[0]
        total += value
    return total, longer


def key_added(table, x):
    for key in table:
        table[key + "x"] = x.sum()
        if len(table) > 9:
            break
    return x + 1


def key_added_behind_a_commit_point(table, x):
    for key, value in table.items():
        table[key + "x"] = value + run_by_python()
    return x + 1


def key_removed_on_one_way(table, x):
    found = []
    try:
        for key, value in table.items():
            if value > x[0]:
                del table[key]
            found.append(value)
    except RuntimeError as error:
        found.append(str(error))
    return found, x + 1


def key_removed_before_leaving(table, x):
    for key in table:
        if table[key] > x[0]:
            del table[key]
            break
    return x + 1


GIVES = [later_value_in_items, later_value_in_values, later_value_behind_a_commit_point, key_removed_before_leaving]
RAISES = [key_added, key_added_behind_a_commit_point, key_removed_on_one_way]


def outcome(function, number):
    table = {"a": 1.0, "b": 2.0 if number % 3 else 0.0, "c": 0.5 + number % 2}
    try:
        result = function(table, np.ones(3) * (number // 2 % 2 + 0.5))
    except RuntimeError as error:
        result = error
    return repr(result), repr(table)


@pytest.mark.parametrize("function", [*GIVES, later_value_in_a_loop_of_the_graph, *RAISES])
def test_a_dict_is_gone_through_as_it_is_at_each_turn(function):
    jitted = jj.jit(background=False)(function)
    for number in range(20):
        assert outcome(jitted, number) == outcome(function, number), number
    assert jitted.stats.graph_calls >= (12 if function in RAISES else 14)
    if function in (later_value_in_items, later_value_in_values, later_value_in_a_loop_of_the_graph):
        assert jitted.stats.host_calls == 0
