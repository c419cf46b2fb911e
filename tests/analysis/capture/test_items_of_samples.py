"""Samples of tuples, as of a replay buffer: which arrays in them are one, and which flags are set, differs."""

import copy
import random

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison


def _memory(length):
    generator = np.random.default_rng(0)
    state, memory = generator.normal(size=4), []
    for _ in range(length):
        following = state * 0.9 + generator.normal(size=4) * 0.1
        done = bool(generator.random() < 0.1)
        memory.append((state, int(generator.integers(2)), float(generator.normal()), following, done))
        state = following
    return memory


def columns_by_comprehensions(batch, weights):
    states = np.array([row[0] for row in batch])
    actions = np.array([row[1] for row in batch])
    rewards = np.array([row[2] for row in batch])
    following = np.array([row[3] for row in batch])
    done = np.array([row[4] for row in batch])
    values = states @ weights
    target = rewards + 0.9 * (following @ weights).max(axis=1) * (1 - done)
    error = np.zeros_like(values)
    rows = np.arange(len(actions))
    error[rows, actions] = values[rows, actions] - target
    weights -= 0.01 * (states.T @ error) / len(actions)
    return (error**2).mean()


def columns_by_zip(batch, weights):
    states, actions, rewards, following, done = zip(*batch, strict=True)
    values = np.stack(states) @ weights
    target = np.array(rewards) + 0.9 * (np.vstack(following) @ weights).max(1) * ~np.array(done)
    return ((values[range(len(actions)), np.array(actions)] - target) ** 2).mean()


def handed_out_again(batch, weights):
    return [row[0] for row in batch[:3]], batch[0][0] * weights.sum()


@pytest.mark.parametrize("function", [columns_by_comprehensions, columns_by_zip, handed_out_again])
def test_one_specialization_is_for_all_samples(function):
    compiled = jj.jit(background=False)(function)
    memory, draws = _memory(60), random.Random(1)
    mine, its = np.ones((4, 2)) * 0.1, np.ones((4, 2)) * 0.1
    for _ in range(40):
        batch = draws.sample(memory, 12)
        comparison = Comparison(1e-12)
        comparison.compare(function(batch, mine), compiled(batch, its), "result")
        comparison.compare((batch, mine), (batch, its), "arguments")
        assert not comparison.finish(), comparison.found[:3]
    stats = compiled.stats
    assert stats.graph_calls >= 36 and stats.deopts <= 2 and stats.host_calls == 0 and stats.specializations <= 2


def test_arrays_of_a_sample_that_are_written_are_written_once():
    def shifted(batch):
        for first, second in batch:
            first += 1.0
            second *= 2.0
        return batch[0][0].sum()

    compiled = jj.jit(background=False)(shifted)
    draws = random.Random(3)
    for _ in range(20):
        mine = [np.ones(3) * number for number in range(6)]
        its = copy.deepcopy(mine)
        rows = [(draws.randrange(6), draws.randrange(6)) for _ in range(3)]
        assert shifted([(mine[a], mine[b]) for a, b in rows]) == compiled([(its[a], its[b]) for a, b in rows])
        np.testing.assert_array_equal(mine, its)
    assert compiled.stats.calls == 20


def test_whether_arrays_of_a_sample_are_one_is_found_by_python():
    def compared(batch):
        return [first is second for first, second in batch], batch[0][0].sum()

    compiled = jj.jit(background=False)(compared)
    draws, arrays = random.Random(5), [np.ones(3) * number for number in range(3)]
    for _ in range(30):
        batch = [(draws.choice(arrays), draws.choice(arrays)) for _ in range(3)]
        assert compared(batch) == compiled(batch)
    assert compiled.stats.calls == 30


def test_deep_copies_of_what_may_be_one():
    def copied(first, second, table):
        ones = copy.deepcopy([first, second])
        ones[0][0] += 1.0
        tables = copy.deepcopy({"a": table, "b": [table, first]})
        tables["a"]["x"] = 3
        return ones[1] * 1.0, tables["b"][0]["x"]

    compiled = jj.jit(background=False)(copied)
    for number in range(10):
        first, table = np.ones(3), {"x": number % 2}
        second = first if number in (5, 6, 8) else np.ones(3)
        expected = copied(first, second, table)
        found = compiled(first, second, table)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]
    assert compiled.stats.graph_calls == 8


def test_a_flag_that_a_host_call_returns_in_a_tuple_has_a_specialization_for_each_value():
    """What comes behind the loop is then compiled once, not with each number of turns there has been."""
    space = {}
    exec("def draw(turns, most):\n    return turns + 1, 1.0, turns >= most", space)
    host = space["draw"]

    def follow(gathered, rewards, weights):
        returns, running = np.zeros(len(rewards)), 0.0
        for t in reversed(range(len(rewards))):
            running = running * 0.9 + rewards[t]
            returns[t] = running
        weights += 0.01 * (np.vstack(gathered).T @ returns)

    def episode(weights, most):
        turns, done = 0, False
        gathered, rewards = [], []
        while not done:
            gathered.append(np.tanh(weights * turns))
            turns, reward, done = host(turns, most)
            rewards.append(reward)
        follow(gathered, rewards, weights)
        return len(rewards)

    compiled = jj.jit(background=False)(episode)
    with jj.config.override(trials=False):
        for number in range(40):
            mine, its = np.ones(4), np.ones(4)
            assert compiled(mine, 3 + number * 7 % 11) == episode(its, 3 + number * 7 % 11)
            np.testing.assert_allclose(mine, its, rtol=1e-12)
    assert compiled.stats.graph_calls == 38 and compiled.stats.specializations <= 6
