"""Time steps are made so often in a row that arrays are where they were, and nothing is copied."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import janusjit as jj
from janusjit.transform.copies import skip_copies
from janusjit.transform.typed import parse_graph


def heat(u, v, steps):
    u = u.copy()
    for _ in range(steps):
        u[1:-1] += 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2])
    return u


def wave(u, v, steps):
    for _ in range(steps):
        new = u.copy()
        new[1:-1] = 2 * u[1:-1] - v[1:-1] + 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2])
        v = u
        u = new
    return u, v


def wave_that_keeps(u, v, steps):
    u = u.copy()
    for _ in range(steps):
        before = u.copy()
        u[1:-1] = 2 * u[1:-1] - v[1:-1] + 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2])
        v = before
    return u, v


def exchanged(u, v, steps):
    u, v, new = u.copy(), v.copy(), u.copy()
    for _ in range(steps):
        new[1:-1] = 2 * u[1:-1] - v[1:-1] + 0.1 * (u[2:] - 2 * u[1:-1] + u[:-2])
        v, u, new = u, new, v
    return u, v


def coupled(u, v, steps):
    u, v = u.copy(), v.copy()
    for _ in range(steps):
        mean = 0.1 * (u[2:] - u[:-2])
        v[1:-1] += 0.1 * (v[2:] - v[:-2])
        u[1:-1] += mean
    return u, v


def until_still(u, v, steps):
    u, count = u.copy(), 0
    while count < steps:
        new = u.copy()
        new[1:-1] = 0.5 * (u[2:] + u[:-2])
        count += 1
        if np.abs(new - u).max() < 1e-3:
            break
        u = new
    return u, count


PROGRAMS = {heat: 2, wave: 3, wave_that_keeps: 3, exchanged: 3, coupled: 2, until_still: 2}


def fields(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(1000), rng.random(1000)


@pytest.mark.parametrize("function", PROGRAMS)
def test_each_number_of_steps_gives_what_it_should(function) -> None:
    jitted, (u, v) = jj.jit(function, background=False), fields()
    for steps in (40, 40, 40, 41, 42, 43, 44, 1, 2, 3, 0, 7):
        expected = function(u, v, steps)
        found = jitted(u, v, steps)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert jitted.stats.graph_calls >= 6


@pytest.mark.parametrize("function", PROGRAMS)
def test_a_loop_makes_as_many_steps_in_a_turn_as_it_takes(function) -> None:
    jitted, (u, v) = jj.jit(function, background=False), fields()
    for _ in range(5):
        jitted(u, v, 30)
    assert jitted.stats.graph_calls >= 2 and jitted.stats.deopts == 0
    inside = jitted.specializations[0].plan.partition("loop\n")[2]
    updates = [line for line in inside.splitlines() if "update" in line]
    assert len(updates) >= PROGRAMS[function] and "copy" not in inside


def test_arrays_that_are_alike_are_not_one() -> None:
    def copied(u, v, steps):
        for _ in range(steps):
            v = u.copy()
            u = v.copy()
        return u, v

    jitted, (mine, other) = jj.jit(copied, background=False), fields()
    for _ in range(5):
        u, v = jitted(mine, other, 30)
        assert not (np.shares_memory(u, v) or np.shares_memory(u, mine) or np.shares_memory(v, mine))
        np.testing.assert_array_equal(u, mine)
        np.testing.assert_array_equal(v, mine)
    assert jitted.stats.graph_calls >= 2


def test_an_error_in_any_step_is_told_of() -> None:
    def growing(u, v, steps):
        u = u.copy()
        for _ in range(steps):
            u[1:-1] = u[2:] * u[:-2]
        return u

    jitted, u = jj.jit(growing, background=False), np.full(1000, 1.5)
    for _ in range(4):
        jitted(u, u, 5)
    for steps in (10, 11, 12, 13):
        with warnings.catch_warnings(record=True) as expected:
            warnings.simplefilter("always")
            growing(u, u, steps)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            jitted(u, u, steps)
        assert len(told) == len(expected)
    assert jitted.stats.graph_calls >= 2


def test_copies_that_leave_or_are_changed_twice_are_made() -> None:
    graph = parse_graph(
        """graph f(x: f64[9], y: f64[]) {
          %0 = copy(x)
          %1 = update(%0, y, path=(PathStep("view", (("index", (Pick(0),)),), 0),))
          %2 = copy(x)
          %3 = update(%2, y, path=(PathStep("view", (("index", (Pick(1),)),), 0),))
          %4 = update(%2, y, path=(PathStep("view", (("index", (Pick(2),)),), 0),))
          %5 = copy(x)
          exit(%1, %3, %4, %5) { return tuple(array(%1), array(%3), array(%4), array(%5)) }
        }"""
    )
    assert skip_copies(graph) == 1
    assert [node.op for node in graph.body.nodes] == ["update", "copy", "update", "update", "copy", "exit"]


def turned_around(u, v, steps):
    u = np.tanh(u)
    for _ in range(steps):
        u = u[::-1].copy()
    return u, v


def transposed(u, v, steps):
    u = u[:4, :4] * 2
    for _ in range(steps):
        u = u.T.copy()
    return u, v


def turned_and_exchanged(u, v, steps):
    u, v = u * 2, v + 1
    for _ in range(steps):
        u, v = v[::-1].copy(), u.copy()
    return u, v


@pytest.mark.parametrize("size", [(7, 5), (41, 7)], ids=str)
@pytest.mark.parametrize("function", [turned_around, transposed, turned_and_exchanged])
def test_copies_of_views_that_a_loop_hands_on_are_made(function, size) -> None:
    jitted = jj.jit(function, background=False)
    for number in range(5):
        numbers = np.random.default_rng(number)
        arrays = [numbers.normal(size=size) for _ in range(2)]
        for steps in (4, 5):
            for one, other in zip(jitted(*arrays, steps), function(*arrays, steps), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-14)
    assert jitted.stats.graph_calls >= 7
