"""Messages that are printed on some ways through a loop only."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest

import janusjit as jj


def iterated(matrix, vector, tolerance):
    for turn in range(100):
        following = 0.85 * matrix @ vector + 0.15 / len(vector)
        if np.abs(following - vector).sum() < tolerance:
            print(f"converged after {turn} turns")
            break
        vector = following
    return vector


def stepped(x, limits):
    total = 0.0
    for limit in limits:
        x = x * 1.5 + 0.25
        if x.sum() > limit:
            print("above", limit)
            total += limit
    return x, total


def printed(function, *args):
    out = io.StringIO()
    with redirect_stdout(out):
        result = function(*args)
    return result, out.getvalue()


def test_a_loop_that_says_why_it_ends_stays_in_the_graph():
    step = jj.jit(iterated, background=False)
    rng = np.random.default_rng(0)
    matrix = rng.random((8, 8))
    matrix /= matrix.sum(axis=0)
    for tolerance in (1e-3, 1e-6, 1e-5, 1e-4, 1e-30, 1e-6):
        vector = rng.random(8)
        (expected, text), (found, said) = (printed(f, matrix, vector, tolerance) for f in (iterated, step))
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        assert said == text
    assert step.stats.graph_calls == 4
    assert step.stats.host_calls == 3  # nothing is said where the loop is not left early


def test_messages_of_a_short_loop_do_not_double_the_paths_at_each_turn():
    step = jj.jit(stepped, background=False)
    rng = np.random.default_rng(1)
    limits = (1.0, 4.0, 9.0, 16.0, 20.0, 30.0, 50.0)
    for _ in range(12):
        x = rng.random(3)
        (expected, text), (found, said) = (printed(f, x, limits) for f in (stepped, step))
        assert said == text and found[1] == expected[1]
        np.testing.assert_array_equal(found[0], expected[0])
    assert step.stats.graph_calls >= 8
    assert step.stats.host_calls > 0


def halved(x):
    turn = 0
    while True:
        turn += 1
        x = x * 0.5
        if x.sum() < 0.1:
            print(turn, x.sum(), f"{x[0]:.6f}", x[:2])
            break
    x[0] = 4.0
    return x


def decayed(x):
    for turn in range(3 * len(x)):
        x = x * 0.9 - 0.001 * turn
    else:
        print("in the end", turn * 0.5, [x[1]], end="!\n")
    x += 1.0
    return x


@pytest.mark.parametrize("program", [halved, decayed])
def test_messages_on_the_way_out_say_what_the_loop_computed(program):
    step = jj.jit(program, background=False)
    for number in range(7):
        (expected, text), (found, said) = (printed(f, np.arange(9.0 + number) + number) for f in (program, step))
        assert said == text
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert step.stats.graph_calls >= 4
    assert program is decayed or step.stats.host_calls == 0
