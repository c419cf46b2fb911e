"""Iterators that leave a graph over containers from outside that the graph has changed before."""

from __future__ import annotations

import collections

import pytest

import janusjit as jj
from tests.differential import Side, run_side_by_side


def over_items(held, x):
    held["new"] = x * 2.0
    return sorted(str(item) for item in held.items())


def after_a_first_item(held, x):
    held["new"] = x * 2.0
    iterator = iter(held)
    next(iterator)
    return sorted(str(item) for item in iterator)


def returned(held, x):
    held["new"] = x * 2.0
    return list(map(str, [*enumerate(held)])), next(iter(held.values()))


def zipped(held, x):
    del held["a"]
    return sorted(str(item) for item in zip(held, (x, x), strict=False))


def behind_what_was_there(held, x):
    held.append(x)
    held.append(x * 2.0)
    iterator = iter(held)
    for _ in range(len(held) - 1):
        next(iterator)
    return sorted(str(item) for item in iterator)


def over_a_deque(held, x):
    held.append(x)
    held.popleft()
    return sorted(str(item) for item in held)


@pytest.mark.parametrize(
    ("function", "make"),
    [
        (over_items, dict),
        (after_a_first_item, dict),
        (returned, dict),
        (zipped, dict),
        (behind_what_was_there, lambda items: list(items.values())),
        (over_a_deque, lambda items: collections.deque(items.values())),
    ],
)
def test_iterators_see_what_has_been_changed(function, make):
    def arguments(number):
        return make({"a": 1.0, "b": float(number)}), number + 0.5

    jitted = jj.jit(function, warmup=2, background=False)
    assert not run_side_by_side(Side(function, arguments), Side(jitted, arguments), 8)
    assert jitted.stats.graph_calls >= 5, (jitted.stats, jitted.reason)


def put_last(held, x):
    held["new"] = x
    held["a"] = held.pop("a")


def put_last_among_others(held, x):
    held["new"] = x
    del held["a"]
    held["a"] = x * 2.0
    held["last"] = x


def least_recently_used(held, x):
    held[x] = x
    if len(held) > 3:
        del held[next(iter(held))]
    held["b"] = held.pop("b")


def equal_key_of_another_type(held, x):
    del held[1]
    held[True] = x


@pytest.mark.parametrize("function", [put_last, put_last_among_others, least_recently_used, equal_key_of_another_type])
def test_dicts_have_the_order_and_the_keys_that_they_have_in_python(function):
    def arguments(number):
        return {"a": 1.0, "b": float(number), 1: 0.0}, number + 0.5

    jitted = jj.jit(function, warmup=2, background=False)
    assert not run_side_by_side(Side(function, arguments), Side(jitted, arguments), 8)
    assert jitted.stats.graph_calls >= 5, (jitted.stats, jitted.reason)


def test_a_number_of_turns_that_one_path_assumes_is_not_assumed_behind_the_join():
    held = {}

    def step(x, n):
        made = {number: x + number for number in range(n % 4)}
        if n % 2:
            held["odd"] = 1
        else:
            held.clear()
        return made

    jitted = jj.jit(step, warmup=2, background=False)
    assert [len(jitted(1.0, n)) for n in (0, 1, 2, 3, 4, 0, 1, 6, 7)] == [0, 1, 2, 3, 0, 0, 1, 2, 3]
    assert jitted.stats.graph_calls > 0, (jitted.stats, jitted.reason)
