"""Loops that append arrays to lists stay loops in the graph, and arrays and lists are the objects of plain Python."""

import copy

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison

TURNS = 150


class Kept:
    """The last array, and all there were."""

    def __init__(self, last):
        self.last, self.trace = last, []


def stacked(x, log, turns):
    states = []
    h = np.zeros(3)
    for turn in range(turns):
        h = np.tanh(h * 0.5 + x * turn)
        states.append(h)
    return np.array(states)


def several_lists_joined(x, log, turns):
    xs, hs, slopes, rewards = [], [], [], []
    previous = None
    current = np.zeros(3)
    for turn in range(turns):
        seen = current - previous if previous is not None else np.zeros(3)
        previous = current
        h = np.maximum(seen, 0.1)
        xs.append(seen)
        hs.append(h)
        slopes.append(float(h.sum()) - turn)
        current = np.cos(x * turn)
        rewards.append(1.0 if turn % 17 == 16 else 0.0)
    return np.vstack(xs), np.vstack(hs), np.vstack(slopes), np.vstack(rewards)


def returned_as_a_list(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.99 + turn
        states.append(x)
    return states


def returned_with_its_last_item(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.99 + turn
        states.append(x)
    return states, x


def kept_before_the_next_is_made(x, log, turns):
    states = []
    h = x * 2.0
    for turn in range(turns):
        states.append(h)
        h = h * 0.9 + turn
    return states, h


def only_now_and_then(x, log, turns):
    samples, accepted, theta = [], 0, x * 1.0
    for turn in range(turns):
        proposal = theta + np.cos(turn + x)
        if np.cos(turn * turn) > 0.3:
            theta = proposal
            accepted += 1
        if turn >= 20:
            samples.append(theta.copy())
    return np.array(samples), accepted / turns, theta


def to_a_list_from_outside(x, log, turns):
    for turn in range(turns):
        x = x * 0.5 + turn
        log.append(x)
    return x, len(log)


def kept_in_an_attribute(x, log, turns):
    kept = Kept(x)
    for turn in range(turns):
        x = x * 0.5 + turn
        kept.last = x
        kept.trace.append(x)
    return kept


def of_matrices(x, log, turns):
    P, covariances = np.eye(3), []
    for turn in range(turns):
        P = P * 0.9 + np.outer(x, x) / (turn + 1.0)
        covariances.append(P)
    return np.stack(covariances, axis=1), np.mean(covariances, axis=0), len(covariances)


def read_backwards(x, log, turns):
    hs, h = [], np.zeros(3)
    for _ in range(turns):
        h = np.tanh(h + x)
        hs.append(h)
    total = np.zeros(3)
    for turn in reversed(range(turns)):
        total = total * 0.9 + hs[turn] * hs[turn]
    return total, hs[-1].sum(), hs[0][1]


def until_it_is_small(x, log, turns):
    path, h = [], x * 1.0
    for _ in range(turns):
        h = h * 0.95
        path.append(h)
        if (h * h).sum() < 1e-2:
            break
    path.append(x * 7.0)
    return np.array(path), path


def of_ints(x, log, turns):
    rows = []
    row = np.arange(4)
    for turn in range(turns):
        row = (row * 3 + turn) % 11
        rows.append(row)
    return np.array(rows), np.concatenate(rows)


def gone_over_forwards(x, log, turns):
    states, totals = [], []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    total = 0.0
    for number, state in enumerate(states):
        total = total + state[number % 3] * number
        totals.append(state.sum() + total)
    return total, np.array(totals), len(states)


def gone_over_backwards(x, log, turns):
    states, rewards = [], []
    for turn in range(turns):
        x = np.tanh(x * 0.5 + turn % 3)
        states.append(x)
        rewards.append(float(x[0]) * turn)
    slope, running, returns = np.zeros(3), 0.0, []
    for state in reversed(states):
        slope = slope * 0.5 + state * state
    for reward in reversed(rewards):
        running = running * 0.9 + reward
        returns.append(running)
    for state, back in zip(states, reversed(rewards), strict=False):
        slope = slope + state * back
    return slope, returns[::-1], running


def more_in_later_turns(x, log, turns):
    states, h = [], x * 1.0
    for turn in range(turns):
        if turn % 2:
            states.append(h + 1.0)
        states.append(np.zeros(3))
        h = h * 0.5 + turn
        if turn % 3 == 2:
            states.append(h)
    return np.array(states), h


IN_THE_GRAPH = [
    more_in_later_turns,
    gone_over_forwards,
    gone_over_backwards,
    stacked,
    several_lists_joined,
    returned_as_a_list,
    returned_with_its_last_item,
    kept_before_the_next_is_made,
    only_now_and_then,
    to_a_list_from_outside,
    kept_in_an_attribute,
    of_matrices,
    read_backwards,
    until_it_is_small,
    of_ints,
]


def _compared(function, step, number, turns=TURNS):
    mine, its = ([np.arange(1.0, 4.0) + number, []] for _ in range(2))
    comparison = Comparison(1e-12)
    comparison.compare(function(*mine, turns), step(*its, turns), "result")
    comparison.compare(mine, its, "arguments")
    assert not comparison.finish(), comparison.found[:3]


@pytest.mark.parametrize("function", IN_THE_GRAPH, ids=lambda function: function.__name__)
def test_they_grow_in_the_graph(function):
    step = jj.jit(function, background=False)
    for number in range(8):
        _compared(function, step, number)
    stats = step.stats
    assert stats.graph_calls == 6 and stats.host_calls == 0 and stats.loop_entries == 0
    assert "loop" in step.specializations[-1].graph


def updated_in_place(x, log, turns):
    states, h = [], x * 1.0
    for turn in range(turns):
        h = h * 0.5 + turn
        states.append(h)
        h += 1.0
    return states


def the_same_each_turn(x, log, turns):
    states, h = [], x * 1.0
    for turn in range(turns):
        h += turn
        states.append(h)
    return states


def in_two_lists(x, log, turns):
    first, second = [], []
    for turn in range(turns):
        x = x * 0.5 + turn
        first.append(x)
        second.append(x)
    return first, second


def an_item_and_the_list(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    return states[-1], states, states[-1] is x


def two_items(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    return states[3], states[-1], states[turns - 1]


def an_item_written(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    states[2][:] = 0.0
    x += 1.0
    return np.array(states), x


def from_outside(x, log, turns):
    states = []
    for turn in range(turns):
        states.append(x)
        x = x if turn % 3 else x * 0.5
    return states


def with_views(x, log, turns):
    states, rows = [], np.outer(x, x)
    for turn in range(turns):
        rows = rows * 0.9
        states.append(rows[turn % 3])
    return states, rows


def of_several_shapes(x, log, turns):
    states = []
    for turn in range(turns):
        states.append(np.zeros(turn % 3 + 1) + x[0])
    return states


def in_another_order(x, log, turns):
    states = []
    for turn in range(turns):
        states.append(np.asfortranarray(np.outer(x, x) * turn))
    return states


def gone_over(x, log, turns):
    states, total = [], 0.0
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    for state in states:
        total = total + state.sum()
    for state, turn in zip(reversed(states), range(turns), strict=True):
        total = total + state[0] * turn
    return total


def written_while_gone_over(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    for state in states:
        state *= 2.0
    return np.array(states), x


def appended_while_gone_over(x, log, turns):
    states = []
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    for state in states:
        if len(states) < turns + 30:
            states.append(state + 1.0)
    kept = None
    for state in reversed(states):
        kept = state if kept is None or state[0] > kept[0] else kept
    return np.array(states), kept, states[0]


def one_loop_after_another(x, log, turns):
    states = [x * 3.0]
    for turn in range(turns):
        x = x * 0.5 + turn
        states.append(x)
    states.append(x * 2.0)
    for turn in range(turns):
        x = x * 0.5 - turn
        states.append(x)
    return states, x, np.array(states)


def one_loop_in_another(x, log, turns):
    states = []
    for _ in range(turns):
        for inner in range(100):
            x = x * 0.5 + inner
            states.append(x)
    return states, x


OTHERWISE = [
    updated_in_place,
    the_same_each_turn,
    in_two_lists,
    an_item_and_the_list,
    two_items,
    an_item_written,
    from_outside,
    with_views,
    of_several_shapes,
    in_another_order,
    gone_over,
    written_while_gone_over,
    appended_while_gone_over,
    one_loop_after_another,
    one_loop_in_another,
]


@pytest.mark.parametrize("function", OTHERWISE, ids=lambda function: function.__name__)
def test_what_is_done_otherwise_is_right_too(function):
    step = jj.jit(function, background=False)
    for number in range(6):
        _compared(function, step, number, 90)
    assert step.stats.calls == 6


@pytest.mark.parametrize("function", [stacked, until_it_is_small, read_backwards])
def test_other_numbers_of_turns(function):
    step = jj.jit(function, background=False)
    for number, turns in enumerate((100, 100, 100, 100, 120, 140, 160, 1, 130, 2, 150)):
        _compared(function, step, number, turns)
    assert step.stats.graph_calls >= 7


def test_no_turn_at_all():
    def collected(x, turns):
        states = []
        for _ in range(turns):
            x = x + 1.0
            states.append(x)
        return np.array(states), states

    step = jj.jit(collected, background=False)
    for turns in (80, 80, 80, 90, 100, 0, 110):
        comparison = Comparison(1e-12)
        comparison.compare(collected(np.ones(3), turns), step(np.ones(3), turns), "result")
        assert not comparison.finish(), comparison.found[:3]
    assert step.stats.graph_calls >= 3


def test_a_guard_that_fails_in_a_turn_keeps_the_turns_before():
    def collected(x, positions):
        states, h = [], x * 1.0
        for position in positions:
            h = h * 0.9 + x[position]
            states.append(h)
        return states, h

    step = jj.jit(collected, background=False)
    good = np.arange(200) % 3
    for _ in range(5):
        step(np.ones(3), good)
    assert step.stats.graph_calls == 3
    bad = copy.copy(good)
    bad[150] = 7
    with pytest.raises(IndexError):
        step(np.ones(3), bad)
    mine, its = collected(np.ones(3), good), step(np.ones(3), good)
    comparison = Comparison(1e-12)
    comparison.compare(mine, its, "result")
    assert not comparison.finish() and its[0][-1] is its[1]
    assert step.stats.deopts == 1
