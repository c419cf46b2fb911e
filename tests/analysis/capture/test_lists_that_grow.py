"""Lists whose length differs from call to call share one specialization, and give what Python gives."""

import copy

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison

SIZES = [5, 5, 5, 5, 7, 9, 3, 100, 12, 40, 33, 8]


def discounted(rewards, rows):
    returns, running = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        running = running * 0.9 + rewards[t]
        returns[t] = running
    return returns, running, (returns * np.array(rewards)).sum()


def one_by_one(rewards, rows):
    total, count = 0.0, 0
    for position, reward in enumerate(rewards):
        if reward > 0:
            total += reward * position
            count += 1
    return total, count, len(rewards)


def joins(rewards, rows):
    return np.vstack(rows), np.stack(rows, axis=1), np.concatenate(rows), np.hstack(rows), np.array(rows).mean(axis=0)


def appended_then_read(rewards, rows):
    rewards.append(0.5)
    rows.append(rows[0] * 2)
    total = 0.0
    for t in range(len(rewards)):
        total += rewards[t] * t
    return total, np.vstack(rows).sum(axis=0), np.asarray(rewards)


def appended_of_another_dtype(rewards, rows):
    rows.append(rows[0].astype(np.float32))
    singles = [row.astype(np.float32) for row in rows[:2]]
    singles.append(rows[0])
    return np.vstack(rows), np.vstack(singles)


def last_items(rewards, rows):
    return rewards[-1] + rewards[-2], rows[-1] @ rows[0], rewards[0]


def written_then_joined(rewards, rows):
    rows[0] += 1.0
    return np.vstack(rows).sum()


def both_at_once(rewards, rows):
    return sum(a * b.sum() for a, b in zip(rewards, rows, strict=True)), max(rewards)


def _arguments(size, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size).tolist(), [rng.normal(size=4) for _ in range(size)]


def _check(function, calls, tolerance=1e-12):
    step = jj.jit(function, background=False)
    for arguments in calls:
        own = copy.deepcopy(arguments)
        comparison = Comparison(tolerance)  # sums and products are ordered otherwise
        comparison.compare(function(*arguments), step(*own), "result")
        comparison.compare(arguments, own, "arguments")
        assert not comparison.finish(), comparison.found[:3]
    return step


@pytest.mark.parametrize("function", [discounted, one_by_one, joins, appended_then_read, last_items])
def test_one_specialization_for_all_lengths(function):
    step = _check(function, [_arguments(size, seed) for seed, size in enumerate(SIZES)])
    stats = step.stats
    assert stats.graph_calls == len(SIZES) - 2
    assert stats.host_calls == 0
    assert stats.specializations <= 3


@pytest.mark.parametrize("function", [written_then_joined, both_at_once, appended_of_another_dtype])
def test_what_is_not_packed_is_right_too(function):
    step = _check(function, [_arguments(size, seed) for seed, size in enumerate(SIZES[:8])])
    assert step.stats.graph_calls >= 4


def test_short_and_mixed_lists():
    calls = [_arguments(size, size) for size in (5, 6, 7, 8)]
    mixed = ([1.0, 2, 3.0, True], [np.ones(4)] * 4)
    ragged = ([1.0, 2.0, 3.0], [np.ones(4), np.ones(4, dtype=np.float32), np.ones(4)])
    calls += [_arguments(1, 0), ([], []), mixed, ragged, _arguments(9, 9)]
    step = _check(one_by_one, calls)
    assert step.stats.graph_calls >= 6


@pytest.mark.parametrize("items", [[3, 1, 2], [True, False, True], [np.float64(1.5)] * 3, [np.float32(0.5)] * 3])
def test_items_keep_their_type(items):
    def folded(items):
        total = items[0]
        for item in items:
            total = item if item > total else total
        return total

    step = _check(folded, [(items * count,) for count in (1, 1, 1, 2, 3, 4, 5)])
    assert step.stats.graph_calls >= 5
    assert step.stats.host_calls == 0


def test_a_list_that_grows_while_it_is_read():
    def grows(items):
        total = 0.0
        for item in items:
            total += item
            if len(items) < 20:
                items.append(item / 2)
        return total

    step = _check(grows, [([1.0] * count,) for count in (3, 3, 3, 4, 5, 6, 7)])
    assert step.stats.graph_calls == 5


def test_python_is_needed_in_a_loop_over_a_list_that_grows():
    space = {}
    exec("def opaque(x):\n    return x * 2.0", space)
    opaque = space["opaque"]

    def loop(items):
        total = 0.0
        for item in items:
            total += opaque(item) + len(items)
        return total

    step = _check(loop, [([float(i) for i in range(count)],) for count in (3, 3, 3, 4, 5, 6, 30, 7, 2, 1, 0, 9)])
    stats = step.stats
    assert (stats.graph_calls, step.reason) == (10, None)
    assert stats.host_calls == 3 + 4 + 5 + 6 + 30 + 7 + 2 + 1 + 9  # one for each item, and no more
    assert stats.specializations <= 16


def test_a_length_read_on_one_path_only():
    def either(x, n):
        y = np.ones(n).sum() if x.sum() > 0 else 0.0
        return y + np.zeros(n).sum() + np.arange(n).sum()

    step = _check(either, [(np.ones(3) * (-1) ** n, n) for n in range(3, 15)])
    assert step.stats.graph_calls == 10


def test_the_length_of_a_list_that_each_call_appends_to_is_not_assumed():
    def logged(history, x):
        history["loss"].append(float(x.sum()))
        return x * 2 if len(history["loss"]) > 2 else x

    def counted(history, x):
        number = len(history["loss"])
        for value in (1.0, 2.0):
            history["loss"].append(value)
        return x * number

    for function in (logged, counted):
        step = jj.jit(function, background=False)
        history, expected = {"loss": [0.5, 0.5, 0.5]}, {"loss": [0.5, 0.5, 0.5]}
        for number in range(20):
            x = np.arange(3.0) + number
            np.testing.assert_array_equal(step(history, x), function(expected, x))
        assert history == expected
        assert step.stats.graph_calls == 18
        assert step.stats.specializations == 1
        assert not step.stats.deopts


def test_the_length_of_a_list_that_each_call_appends_to_and_replaces_is_assumed():
    class Log:
        def __init__(self):
            self.rows = []

    def filled(log, tables, x):
        for _ in range(3):
            log.rows.append(x * tables[len(log.rows)])
        total = log.rows[len(log.rows) - 1].sum()
        log.rows = []
        return total

    step, log, expected = jj.jit(filled, background=False), Log(), Log()
    for number in range(12):
        x = np.arange(3.0) + number
        assert step(log, [1.0, 2.0, 3.0], x) == filled(expected, [1.0, 2.0, 3.0], x)
        assert log.rows == expected.rows == []
    assert step.stats.graph_calls == 10 and step.stats.specializations == 1
    assert step.stats.host_calls == 0 and step.stats.deopts == 0
