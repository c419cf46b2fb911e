"""Functions that one definition makes again and again: beginning with each of them has to pay."""

import numpy as np

import janusjit as jj
from janusjit.runtime import generations, preparation
from janusjit.runtime.generations import Generations


class Life:
    def __init__(self, taken, saved):
        self.amounts = taken, saved

    def paid(self):
        return self.amounts


def test_the_first_few_begin_at_once_and_later_ones_when_time_has_passed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(generations.time, "perf_counter", lambda: clock[0])
    found, lives, waited = Generations(), [], []
    for _ in range(20):
        before = clock[0]
        while not found.may_begin():
            clock[0] += 0.01
        waited.append(clock[0] - before)
        lives.append(Life(0.1, 0.0))
        found.began(lives[-1])
    assert waited[:8] == [0.0] * 8
    assert 0.15 < waited[8] < 0.3 and all(6.3 < seconds < 6.6 for seconds in waited[14:])


def test_what_has_paid_is_not_held_up(monkeypatch):
    monkeypatch.setattr(generations.time, "perf_counter", lambda: 0.0)
    found, lives = Generations(), []
    for number in range(30):
        assert found.may_begin()
        lives = [*lives[-3:], Life(0.1, 0.2)]  # others are gone
        found.began(lives[-1])
        assert number < 3 or len(found._lives) <= 5


def experiment(steps, seed, decorate):
    weights = np.zeros((4, 4))

    @decorate
    def step(x):
        nonlocal weights
        hidden = np.tanh(x @ weights + 0.1)
        weights = weights - 0.01 * x.T @ hidden
        return float(hidden.sum())

    x = np.random.default_rng(seed).normal(size=(8, 4))
    return [step(x) for _ in range(steps)], weights, step


def test_functions_that_are_soon_over_are_plain_python_after_a_few(monkeypatch):
    monkeypatch.setattr(preparation, "is_one_of_many", lambda: False)
    steps = []
    for number in range(16):
        expected, actual = experiment(6, number, lambda f: f), experiment(6, number, jj.jit(background=True))
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-12)
        steps.append(actual[2])
    jj.wait()
    assert all(step.stats.calls == 6 for step in steps)
    assert all(step.stats.profiled_calls == 2 for step in steps[:8])
    assert any(step.stats.profiled_calls == 0 for step in steps[8:])


def test_a_rest_that_the_compiler_has_just_ended_is_no_review(monkeypatch):
    monkeypatch.setattr(preparation, "is_one_of_many", lambda: False)
    lifecycle = experiment(3, 0, jj.jit(background=True))[2]._lifecycle
    lifecycle._rest(5)
    lifecycle._resume()
    assert isinstance(lifecycle.review((np.ones((8, 4)),), {}), float)
    jj.wait()
    assert lifecycle.trial.verdict is None and not lifecycle.plain
