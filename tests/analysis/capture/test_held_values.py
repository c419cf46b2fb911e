"""What a rule holds while the function it calls goes through branches and loops: operands, items, earlier results."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import janusjit as jj


def one_or_other(x):
    return np.sin(x) if x.sum() > 1.0 else np.exp(x)


def combined(a, b):
    return a + b if a.sum() > 1.0 else a - b


def until_large(x):
    while x.sum() < 3.0:
        x = x * 1.5 + 0.1
    return x


def pullback_of_a_temporary(x):
    y, back = jj.vjp(one_or_other, x * 2.0)
    return back(np.ones(3) * y)[0]


def pullback_twice(x):
    _, back = jj.vjp(lambda z: until_large(one_or_other(z)), x)
    units = np.eye(3)
    return back(units[0])[0] + 2.0 * back(units[1])[0]


def gradient_of_a_pullback(x):
    def function(x):
        _, back = jj.vjp(jj.grad(lambda z: (one_or_other(z) ** 2).sum()), x)
        units = np.eye(3)
        return (back(units[0])[0] ** 2).sum() + (back(units[1])[0] ** 2).sum()

    return jj.grad(function)(x)


def tangent_of_a_temporary(x):
    return jj.jvp(one_or_other, (x * 2.0,), (np.ones(3) * 2.0,))[1]


def reduced(x):
    return functools.reduce(combined, [x * 1.0, x * 2.0, x * 3.0], np.zeros(3))


def mapped(x):
    results = list(map(combined, [x * 1.0, x * 2.0], [x * 3.0, x * 4.0]))
    return results[0] * results[1]


def mapped_through_a_loop(x):
    results = list(map(until_large, [x * 1.0, x * 2.0, x * 3.0]))
    return results[0] * results[1] - results[2]


def filled(x):
    def add(total, part):
        part += combined(total, part)
        return part

    parts = [np.zeros(3), np.ones(3)]
    functools.reduce(add, parts, x)
    return parts[0] * 2.0 + parts[1]


PROGRAMS = [
    pullback_of_a_temporary,
    pullback_twice,
    gradient_of_a_pullback,
    tangent_of_a_temporary,
    reduced,
    mapped,
    mapped_through_a_loop,
    filled,
]


@pytest.mark.parametrize("function", PROGRAMS)
def test_it_is_there_when_the_rule_goes_on(function):
    compiled = jj.jit(function, background=False)
    for seed in range(10):
        x = np.random.default_rng(seed).uniform(0.0, 0.6, size=3)
        found, wanted = compiled(x), function(x)
        assert type(found) is type(wanted) and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert compiled.reason is None
    assert compiled.stats.graph_calls == 8 and compiled.stats.host_calls == 0
    assert compiled.stats.deopts <= 3


@pytest.mark.parametrize("choose", [sorted, max, min])
def test_items_are_there_behind_the_keys(choose):
    def function(x):
        chosen = choose([x * 1.0, x * 2.0, x * -3.0], key=lambda part: part.sum() if part[0] > 0.3 else -part.sum())
        return chosen[0] * 2.0

    compiled = jj.jit(function, background=False)
    for seed in range(10):
        x = np.random.default_rng(seed).uniform(0.0, 0.6, size=3)
        np.testing.assert_array_equal(compiled(x), function(x))
    assert compiled.reason is None
    assert compiled.stats.graph_calls == 8


def test_a_generator_that_yields_on_one_path_only():
    """How many items there are depends on the values: no join of the paths has one generator for both."""

    def some(x):
        return sum((v * v for v in x if v > 0.3), x[0])

    def function(x):
        return jj.grad(some)(x), max(v for v in x if v < 0.5), list(v * 2.0 for v in x if v > 0.3)  # noqa: C400

    compiled = jj.jit(function, warmup=1, background=False)
    for seed in range(6):
        x = np.random.default_rng(seed // 2).uniform(0.0, 0.6, size=3)
        found, wanted = compiled(x), function(x)
        np.testing.assert_array_equal(found[0], wanted[0])
        assert found[1:] == wanted[1:] and type(found[1]) is type(wanted[1])
    assert compiled.stats.graph_calls == 5 and compiled.stats.host_calls == 0
