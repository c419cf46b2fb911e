"""Loops that append numbers to lists stay loops in the graph, and leave the lists that Python would have made."""

import copy

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison


def made_inside(x, log, turns):
    losses = []
    for _ in range(turns):
        losses.append(float((x * x).sum()))
        x = x * 0.99
    return losses, x


def from_outside(x, log, turns):
    for turn in range(turns):
        log.append(float(x.sum()) - turn)
        x = x * 0.99
    return x


def read_afterwards(x, log, turns):
    for turn in range(turns):
        log.append(float(x.sum()) + turn % 7)
        x = x * 0.99
    return np.mean(log[-20:]), max(log), min(log), log[-1], log[0], len(log), np.array(log).sum(), bool(log)


def summed_afterwards(x, log, turns):
    for turn in range(turns):
        log.append(float(x.sum()) + turn % 7)
        x = x * 0.99
    return sum(log)


def on_one_way_only(x, log, turns):
    best = 1e9
    for turn in range(turns):
        loss = float((x * x).sum())
        if loss < best:
            best = loss
            if turn % 3 == 0:
                log.append(loss)
        if loss < 1e-3:
            break
        x = x * 0.97
    log.append(best)
    return x, len(log)


def of_ints_and_floats(x, log, turns):
    signs, sizes = [], []
    for turn in range(turns):
        value = x.sum() + turn
        signs.append(turn % 5)
        sizes.append(value)
        sizes.append(value * 2)
    return signs, sizes, sum(signs[-3:])


def one_loop_in_another(x, log, turns):
    everything = []
    for turn in range(turns):
        for inner in range(200):
            everything.append(float(x[0]) * inner + turn)
        log.append(float(turn))
    return everything[-5:], len(everything), np.mean(everything)


def one_loop_after_another(x, log, turns):
    kept = [1.0]
    for turn in range(turns):
        kept.append(float(x.sum()) * turn)
    kept.append(-1.0)
    for value in x:
        kept.append(float(value))
    for turn in range(turns):
        kept.append(0.5 * turn)
    return kept


def gone_over_afterwards(x, log, turns):
    for turn in range(turns):
        log.append(float(x.sum()) * (turn % 3 - 1))
    total = 0.0
    for value in log:
        if value > 0:
            total += value
    return total, [value * 2 for value in log][-1]


def two_names(x, log, turns):
    first = []
    second = first
    for turn in range(turns):
        first.append(float(turn))
    return first, second


FUNCTIONS = [
    made_inside, from_outside, read_afterwards, on_one_way_only, of_ints_and_floats, one_loop_in_another,
    one_loop_after_another, two_names,
]  # fmt: skip


def _compared(function, step, log, turns, number):
    mine, its = (list(log), np.arange(1.0, 4.0) + number), (list(log), np.arange(1.0, 4.0) + number)
    comparison = Comparison(1e-12)
    comparison.compare(function(mine[1], mine[0], turns), step(its[1], its[0], turns), "result")
    comparison.compare(mine, its, "arguments")
    assert not comparison.finish(), comparison.found[:3]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_they_grow_in_the_graph(function):
    step = jj.jit(function, background=False)
    for number in range(9):
        _compared(function, step, [0.5 * at for at in range(3 + number)], 70 + 3 * number, number)
    stats = step.stats
    assert stats.graph_calls >= 6
    assert stats.host_calls == 0
    assert stats.specializations <= 3
    graph = str(step.specializations[0].graph)
    assert "loop" in graph
    assert graph.count("update") <= 8


def test_what_is_summed_afterwards():
    step = jj.jit(summed_afterwards, background=False)
    for number in range(9):
        _compared(summed_afterwards, step, [0.5 * at for at in range(3 + number)], 70 + 3 * number, number)
    assert step.stats.graph_calls >= 6
    assert step.stats.host_calls == 0


def test_what_is_gone_over_afterwards():
    step = jj.jit(gone_over_afterwards, background=False)
    for number in range(9):
        _compared(gone_over_afterwards, step, [0.5 * at for at in range(3 + number)], 70 + 3 * number, number)
    assert step.stats.graph_calls >= 6


def test_loops_that_do_not_turn():
    step = jj.jit(made_inside, background=False)
    for turns in (70, 70, 71, 72, 0, 73, 1, 0, 2, 90):
        _compared(made_inside, step, [], turns, turns)
    assert step.stats.graph_calls >= 4


def test_a_guard_that_fails_in_a_turn_keeps_the_turns_before():
    def fails_late(x, log, turns):
        for turn in range(turns):
            log.append(float(x[turn % 3]))
            if turn == 150:
                log.append(float(x[turn - 147 + len(log) * 0]))
        return len(log)

    step = jj.jit(fails_late, background=False)
    for turns in (100, 100, 110, 120, 130):
        _compared(fails_late, step, [1.0, 2.0], turns, turns)
    outcomes = []
    for function in (fails_late, step):
        log = [1.0, 2.0]
        with pytest.raises(IndexError):
            function(np.arange(3.0), log, 200)
        outcomes.append(log)
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 153
    assert step.stats.graph_calls >= 3


@pytest.mark.parametrize("limit", [10**9, 70])
def test_a_loop_that_might_make_very_many_turns_takes_no_memory_for_them(limit):
    def converges(x, log, turns):
        for _ in range(turns):
            log.append(float((x * x).sum()))
            x = x * 0.9
            if log and float(x[0]) < 1e-3:
                break
        return x

    step = jj.jit(converges, background=False)
    for number in range(5):
        _compared(converges, step, [1.0, 2.0], limit, number)
    for number in range(4):
        _compared(converges, step, [1.0, 2.0], 10**12, number)
    assert step.stats.calls == 9
    graph = "".join(str(found.graph) for found in step.specializations)
    assert limit == 70 or "full" not in graph


def several_kinds(x, log, turns):
    for turn in range(turns):
        log.append(turn if turn % 2 else float(x.sum()))
    return len(log)


def read_in_between(x, log, turns):
    for turn in range(turns):
        log.append(log[-1] + 1.0)
        if turn % 50 == 0:
            x = x + np.mean(log[-10:])
    return x


def taken_from(x, log, turns):
    for turn in range(turns):
        log.append(float(turn))
        if len(log) > 10:
            log.pop(0)
    return x.sum()


def gone_over_while_it_grows(x, log, turns):
    total = 0.0
    for value in log:
        total += value
        if len(log) < turns:
            log.append(value + 1.0)
    return total


@pytest.mark.parametrize("function", [several_kinds, read_in_between, taken_from])
def test_what_is_done_otherwise_is_right_too(function):
    step = jj.jit(function, background=False)
    for number in range(6):
        _compared(function, step, [0.5 * at for at in range(3 + number)], 70 + 3 * number, number)
    assert step.stats.graph_calls >= 3


def test_a_list_that_grows_while_it_is_gone_over():
    step = jj.jit(gone_over_while_it_grows, background=False)
    for number in range(6):
        _compared(gone_over_while_it_grows, step, [0.5 * at for at in range(3 + number)], 70 + 3 * number, number)
    assert step.stats.calls == 6


def test_gradients_go_through_a_loop_that_appends():
    def loss(w):
        total, seen = 0.0, []
        for turn in range(80):
            w = w * 0.99
            total = total + (w * w).sum()
            seen.append(turn)
        return total + len(seen)

    def step(w):
        return jj.grad(loss)(w)

    jitted = jj.jit(step, background=False)
    for number in range(6):
        w = np.arange(1.0, 4.0) + number
        np.testing.assert_allclose(jitted(copy.copy(w)), step(w), rtol=1e-12)
    assert jitted.stats.graph_calls == 4


def positions_above(x, log, turns):
    found = []
    for position in range(len(x)):
        if x[position] > 0.0:
            found.append(position)
    return np.array(found)


def as_a_stack(x, log, turns):
    return np.stack(positions_and_values(x)[1])


def positions_and_values(x):
    found, values = [], []
    for position in range(len(x)):
        if x[position] > 0.0:
            found.append(position)
            values.append(float(x[position]))
    return found, values


@pytest.mark.parametrize("function", [positions_above, as_a_stack])
def test_what_numpy_makes_of_an_empty_list(function):
    compiled = jj.jit(background=False)(function)
    x = np.sin(np.arange(60.0))
    for _ in range(6):
        np.testing.assert_array_equal(compiled(x, [], 0), function(x, [], 0))
    assert compiled.stats.graph_calls == 4 and compiled.stats.deopts == 0
    if function is positions_above:
        found = compiled(-np.abs(x), [], 0)
        assert found.dtype == np.float64 and found.shape == (0,)
    else:
        with pytest.raises(ValueError, match="need at least one array"):
            compiled(-np.abs(x), [], 0)
    assert compiled.stats.deopts == 1


def more_in_later_turns(x, log, turns):
    for turn in range(turns):
        if turn % 2:
            log.append(float(x[0]) * turn)
        log.append(float(x[1]) + turn)
    return len(log)


def more_in_later_turns_of_an_inner_loop(x, log, turns):
    for turn in range(turns):
        for inner in range(70):
            if inner % 2:
                log.append(float(x[0]) * turn)
            if inner % 3 and turn % 5:
                log.append(float(x[0]) * inner)
            log.append(float(x[1]) + turn)
    return len(log)


def more_turns_of_an_inner_loop_later(x, log, turns):
    for turn in range(turns):
        for inner in range(30 + 40 * turn % 90):
            log.append(float(x[1]) + turn * inner)
    return len(log)


def two_lists_and_more_in_later_turns_of_one(x, log, turns):
    others = []
    for turn in range(turns):
        if turn % 2:
            log.append(x[0] * turn)
        log.append(x[1] * turn)
        others.append(x[2] * turn)
    return others


def more_in_the_turn_that_leaves(x, log, turns):
    for turn in range(turns):
        log.append(float(x[1]) + turn)
        if turn == turns - 1:
            for _ in range(40):
                log.append(float(x[0]) * turn)
            break
    return len(log)


def more_in_the_turn_that_returns(x, log, turns):
    for turn in range(turns):
        log.append(float(x[1]) + turn)
        if turn == turns - 1:
            log.extend([float(x[0]) * turn, float(x[1])])
            log.append(float(x[0]) * turn)
            log.append(float(x[0]) + turn)
            return turn
    return len(log)


@pytest.mark.parametrize(
    "function",
    [
        more_in_later_turns,
        more_in_later_turns_of_an_inner_loop,
        more_turns_of_an_inner_loop_later,
        two_lists_and_more_in_later_turns_of_one,
        more_in_the_turn_that_leaves,
        more_in_the_turn_that_returns,
    ],
)
def test_there_is_room_for_what_the_first_turn_does_not_append(function):
    step = jj.jit(function, background=False)
    for number in range(6):
        _compared(function, step, [0.5 * at for at in range(3 + number)], 200 + number, number)
    assert step.stats.graph_calls == 4
    if function is more_in_later_turns:
        assert step.stats.host_calls == 0 and step.stats.deopts <= 1
