"""A recursion over numbers and arrays of one shape is a loop in the graph, over stacks of its own."""

import sys

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def ackermann(m, n):
    if m == 0:
        return n + 1
    return ackermann(m - 1, 1) if n == 0 else ackermann(m - 1, ackermann(m, n - 1))


def is_even(n):
    return True if n == 0 else is_odd(n - 1)


def is_odd(n):
    return False if n == 0 else is_even(n - 1)


def bisect(low, high, n):
    middle = 0.5 * (low + high)
    if n == 0:
        return middle
    return bisect(low, middle, n - 1) if middle * middle > 2 else bisect(middle, high, n - 1)


def simpson(a, b, tolerance, left, right):
    middle = 0.5 * (a + b)
    value = np.sin(middle) * middle
    if abs(b - a) * abs(left - 2 * value + right) < tolerance:
        return (b - a) * (left + 4 * value + right) / 6
    half = tolerance / 2
    return simpson(a, middle, half, left, value) + simpson(middle, b, half, value, right)


def hanoi(n, source, target, spare, moves):
    """Write moves into an array from outside; return how many there are."""
    if n == 0:
        return 0
    done = hanoi(n - 1, source, spare, target, moves)
    moves[source, target] += 1
    return done + 1 + hanoi(n - 1, spare, target, source, moves)


def mixed(x, weights, depth):
    """Keep arrays across calls, and write the results of calls in place."""
    if depth == 0:
        return np.tanh(x)
    hidden = x @ weights
    left = mixed(hidden, weights, depth - 1)
    left += hidden
    right = mixed(left, weights, depth - 2 if depth > 1 else 0)
    return left * 0.5 + right


def paths(grid, row, column, visited):
    """Count ways through a grid, with a loop around the recursive calls."""
    if row == grid.shape[0] - 1 and column == grid.shape[1] - 1:
        return 1
    found = 0
    for down in range(2):
        r, c = row + down, column + 1 - down
        if r < grid.shape[0] and c < grid.shape[1] and grid[r, c] == 0:
            visited[r, c] += 1
            found += paths(grid, r, c, visited)
    return found


def queens(row, columns, size):
    """Count the ways to place queens; the board is an array that is written and put back."""
    if row == size:
        return 1
    count = 0
    for column in range(size):
        free = True
        for before in range(row):
            distance = columns[before] - column
            if distance == 0 or abs(distance) == row - before:
                free = False
        if free:
            columns[row] = column
            count += queens(row + 1, columns, size)
    return count


def pair(n):
    if n == 0:
        return 0.0, 1
    value, count = pair(n - 1)
    return value + 0.5 * n, count * 2 % 1000


def within(x, limit):
    def halved(y, steps):
        if np.abs(y).max() < limit:
            return y * 1.0, steps
        return halved(y / 2, steps + 1)

    return halved(x, 0)


def _numbers(*columns):
    return [tuple(column[i % len(column)] for column in columns) for i in range(24)]


RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((4, 4)) / 2
ENDS = np.arange(24.0) / 4 + 1
CASES = {
    "fibonacci": (fibonacci, lambda: _numbers(range(5, 16))),
    "ackermann": (ackermann, lambda: _numbers((1, 2, 2, 2), range(1, 9))),
    "is_even": (is_even, lambda: _numbers(range(30, 53))),
    "bisect": (bisect, lambda: _numbers((1.0, 1.1, 1.2), (2.0, 3.0), range(20, 31))),
    "simpson": (simpson, lambda: [(0.0, b, 1e-4, 0.0, np.sin(b) * b) for b in ENDS]),
    "hanoi": (hanoi, lambda: [(n % 8, 0, 1, 2, np.zeros((3, 3), int)) for n in range(3, 27)]),
    "mixed": (mixed, lambda: [(RNG.standard_normal(4), WEIGHTS, 2 + i % 7) for i in range(24)]),
    "paths": (paths, lambda: [(RNG.random((5, 6)) < 0.2, 0, 0, np.zeros((5, 6), int)) for _ in range(24)]),
    "queens": (queens, lambda: [(0, np.zeros(6, int), 3 + i % 4) for i in range(24)]),
    "pair": (pair, lambda: _numbers(range(10, 40))),
    "within": (within, lambda: [(RNG.standard_normal(5) * 10 ** (i % 8), 0.5) for i in range(24)]),
}


@pytest.mark.parametrize("name", CASES)
def test_recursion_is_a_loop_in_the_graph(name):
    function, make = CASES[name]
    calls = make()
    step = jj.jit(function, background=False)
    settled = None
    for number, arguments in enumerate(calls):
        copies = [one.copy() if isinstance(one, np.ndarray) else one for one in arguments]
        assert not differences(function(*arguments), step(*copies), tolerance=1e-13)
        assert not differences(arguments, tuple(copies), "arguments")
        if number == 17:
            settled = step.stats
    stats = step.stats
    assert stats.graph_calls - settled.graph_calls == 6, step.stats
    assert (stats.deopts, stats.host_calls) == (settled.deopts, 0)
    assert any("tape_push" in one.graph for one in step.specializations)


def test_recursion_that_is_too_deep_for_python_is_python_s():
    def deep(n):
        return 0 if n == 0 else 1 + deep(n - 1)

    step = jj.jit(deep, background=False)
    for n in range(100, 112):
        assert step(n) == n
    before = step.stats
    assert any("tape_push" in one.graph for one in step.specializations)
    with pytest.raises(RecursionError):
        step(2 * sys.getrecursionlimit())
    assert step.stats.deopts == before.deopts + 1


def test_exceptions_inside_are_python_s():
    def countdown(n, x):
        if n == 3:
            raise ValueError(f"no {n}")
        return x[n] if n == 0 else countdown(n - 1, x) + x[n]

    def harmonic(n):
        return 0 if n == 0 else 1 / (n - 5) + harmonic(n - 1) if n > 9 else 1.0 / n

    step = jj.jit(harmonic, background=False)
    for n in range(10, 40):
        assert step(n) == harmonic(n)
    with pytest.raises(RecursionError):
        step(-1) if harmonic(8) < 0 else countdown(sys.getrecursionlimit() + 9, np.zeros(5000))
    failing = jj.jit(countdown, background=False)
    for n in range(10, 30):
        with pytest.raises(ValueError, match="no 3"):
            failing(n, np.arange(40.0))
    assert failing(2, np.arange(4.0)) == 3.0


def test_the_returned_object_is_the_one_plain_python_returns():
    def first(x, n):
        return x if n == 0 else first(x, n - 1)

    def either(x, n):
        return x if n == 0 else either(x * 1.0, n - 1)

    x = np.arange(3.0)
    for function in (first, either):
        step = jj.jit(function, background=False)
        for n in range(14):
            assert (step(x, n) is x) == (function(x, n) is x)
            assert not differences(function(x, n), step(x, n))
