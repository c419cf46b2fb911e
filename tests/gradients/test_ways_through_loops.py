"""Back through a loop that is left in the middle of a turn: what the turn has begun is on the tape, used or not."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj

W = np.random.default_rng(0).uniform(0.1, 0.6, size=(6, 6))


def begun(x):
    y = np.sin(x)
    return np.exp(y) @ W if y.sum() > 3.0 else y * y


def a_branch(x):
    total = np.zeros_like(x)
    i = 0
    while i < 30:
        z = begun(x)
        if x.sum() > 8.0:
            break  # z is not used on this way
        total = total + z
        x = x + 0.1 * z
        i += 1
    return (total * x).sum()


def two_branches(x):
    total = np.zeros_like(x)
    i = 0
    while i < 30:
        z = begun(x)
        u = np.tanh(x) @ W if x.sum() > 3.0 else np.cos(x) @ W.T
        if x.sum() > 8.0:
            x = x * u
            break
        total = total + z * u
        x = x + 0.1 * z
        i += 1
    return (total * x).sum()


def a_loop(x):
    total = np.zeros_like(x)
    i = 0
    while i < 30:
        z = np.sin(x)
        j = 0
        while z.sum() < 4.0 + i:
            z = np.exp(0.3 * z) @ W + x
            j += 1
        if x.sum() > 8.0:
            break
        total = total + z
        x = x + 0.1 * np.abs(z)
        i += 1
    return (total * x).sum()


def a_turn_cut_short(x):
    total = np.zeros_like(x)
    i = 0
    while i < 30:
        i += 1
        z = begun(x)
        if i % 3 == 1:
            x = x * 1.05
            continue
        total = total + z
        x = x + 0.05 * z
        if x.sum() > 12.0:
            break
    return (total * x).sum()


PROGRAMS = [a_branch, two_branches, a_loop, a_turn_cut_short]


@pytest.mark.parametrize("function", PROGRAMS)
def test_every_way_pops_what_the_turn_has_pushed(function):
    compiled = jj.jit(lambda x: jj.grad(function)(x), background=False)
    generator = np.random.default_rng(1)
    step = 1e-6
    for _ in range(10):
        x = generator.uniform(0.1, 1.0, 6)
        found = compiled(x)
        np.testing.assert_allclose(found, jj.grad(function)(x), rtol=1e-12)
        differences = [(function(x + step * u) - function(x - step * u)) / (2 * step) for u in np.eye(6)]
        np.testing.assert_allclose(found, differences, rtol=1e-7)  # a central difference: 1e-6 squared, and rounding
    assert compiled.stats.graph_calls - compiled.stats.deopts >= 5
    assert compiled.stats.host_calls == 0


@pytest.mark.parametrize("function", PROGRAMS)
def test_second_derivatives(function):
    compiled = jj.jit(lambda x: jj.grad(lambda x: (jj.grad(function)(x) ** 2).sum())(x), background=False)
    generator = np.random.default_rng(1)
    for _ in range(8):
        x = generator.uniform(0.1, 1.0, 6)
        wanted = jj.grad(lambda x: (jj.grad(function)(x) ** 2).sum())(x)
        np.testing.assert_allclose(compiled(x), wanted, rtol=1e-10)
    assert compiled.stats.graph_calls - compiled.stats.deopts >= 3
    assert compiled.stats.host_calls == 0


def scaled_on_leaving(x, y):
    for _ in range(30):
        x = np.sin(x) + 0.3
        if x.sum() > 0.9 * len(x):
            x = np.exp(x * y) * x
            break
    return x.sum()


def test_a_gradient_of_which_a_part_is_used():
    """The part that is not used reads the same tape, which is gone back through as a whole."""

    def function(x, y):
        return (jj.grad(scaled_on_leaving, (0, 1))(x, y)[1] ** 2).sum()

    compiled = jj.jit(lambda x, y: jj.grad(function)(x, y), warmup=1, background=False)
    step, y = 1e-6, np.ones(4)
    for x in np.random.default_rng(0).uniform(0.1, 0.3, size=(6, 4)):
        found = compiled(x, y)
        np.testing.assert_allclose(found, jj.grad(function)(x, y), rtol=1e-12)
        differences = [(function(x + step * u, y) - function(x - step * u, y)) / (2 * step) for u in np.eye(4)]
        np.testing.assert_allclose(found, differences, rtol=1e-7)  # a central difference: 1e-6 squared, and rounding
    assert (compiled.stats.graph_calls, compiled.stats.deopts) == (5, 0)
