"""Back through a loop that is left in the middle of a turn: what the turn has begun is on the tape, used or not."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj

W = np.random.default_rng(0).uniform(0.1, 0.6, size=(6, 6))


def a_branch(x):
    total = np.zeros_like(x)
    i = 0
    while i < 30:
        y = np.sin(x)
        z = np.exp(y) @ W if y.sum() > 3.0 else y * y
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
        y = np.sin(x)
        z = np.exp(y) @ W if y.sum() > 3.0 else y * y
        u = np.tanh(x) @ W if y.sum() > 2.0 else np.cos(x) @ W.T
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
        y = np.sin(x)
        z = np.exp(y) @ W if y.sum() > 3.0 else y * y
        if i % 3 == 1:
            x = x * 1.05
            continue
        total = total + z
        x = x + 0.05 * z
        if x.sum() > 12.0:
            break
    return (total * x).sum()


@pytest.mark.parametrize("function", [a_branch, two_branches, a_loop, a_turn_cut_short])
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


@pytest.mark.parametrize("function", [a_branch, two_branches, a_loop, a_turn_cut_short])
def test_second_derivatives(function):
    compiled = jj.jit(lambda x: jj.grad(lambda x: (jj.grad(function)(x) ** 2).sum())(x), background=False)
    generator = np.random.default_rng(1)
    for _ in range(8):
        x = generator.uniform(0.1, 1.0, 6)
        wanted = jj.grad(lambda x: (jj.grad(function)(x) ** 2).sum())(x)
        np.testing.assert_allclose(compiled(x), wanted, rtol=1e-10)
    assert compiled.stats.graph_calls - compiled.stats.deopts >= 3
    assert compiled.stats.host_calls == 0
