"""Operations that fail late in a long loop cost the turn they fail in, whatever Python then makes of it."""

from __future__ import annotations

import sys
import traceback

import numpy as np
import pytest

import janusjit as jj
from tests.differential import Comparison

LENGTH = 3000


def index_error_ends_it(a, positions, count):
    total, i = 0.0, 0
    try:
        while i < count:
            total = total + a[i] * 0.5 + a[positions + i].sum()
            i += 1
    except IndexError:
        return total, -i
    return total, i


def scatters(a, positions, count):
    i = 0
    try:
        while i < count:
            np.add.at(a, positions + i, abs(1.0))
            a[positions[1:] + i] = 0.5 * a[positions[:-1] + i]
            i += 1
    except IndexError:
        return "out of bounds", i
    return "done", i


def past_64_bits(a, positions, count):
    """A factorial, for a while modulo nothing."""
    value, i = 1, 0
    for i in range(count):
        value = value * abs(3) if i > count - 60 else value * abs(3) % 1000003
        a[i % 7] += 1.0
    return value, i


def divides_by_zero(a, positions, count):
    total = 0.0
    for i in range(count):
        for j in range(2):
            try:
                total += 1.0 / float(a[i] - abs(count - 40)) + j
            except ZeroDivisionError:
                total -= 1000.0
    return total


def draws(a, positions, count):
    """The generator is where it would be."""
    rng = np.random.default_rng(7)
    total, i = 0.0, 0
    try:
        for i in range(count + 50):
            total += rng.random() * abs(a[i])
    except IndexError:
        total = -total
    return total, i, rng.random()


def raises(a, positions, count):
    for i in range(count):
        a[i] += a[i + 1 + (count > 1000)]
    return 0


def solves(a, positions, count):
    """The last matrix is singular, and the generator is where it would be."""
    rng = np.random.default_rng(3)
    total, i, x = 0.0, 0, np.ones(3)
    try:
        for i in range(count):
            matrix = np.eye(3) * (LENGTH + 49.0 - abs(i))
            x = np.linalg.solve(matrix, x + rng.random())
            total += x.sum()
    except np.linalg.LinAlgError as error:
        return str(error), total, i, x, rng.random()
    return total, i, x


def decomposes_again(a, positions, count):
    """Every matrix past a point is not positive definite, at first."""
    i = 0
    for i in range(count):
        a[:4] += 1.0
        matrix = np.eye(4) * (LENGTH + 40.5 - abs(i))
        try:
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            factor = np.linalg.cholesky(-matrix)
            a[1] -= 5.0
        values = np.linalg.eigh(factor @ factor.T)[0]
        a[4] += values[0]
    return a[:5].copy(), i


def draws_with_a_negative_scale(a, positions, count):
    rng = np.random.RandomState(5)
    total, i = 0.0, 0
    try:
        for i in range(count):
            a[i % 5] = rng.normal(0.0, LENGTH + 49.5 - abs(i), size=4).sum()
            total += rng.normal(0.0, LENGTH + 48.5 - abs(i))
    except ValueError as error:
        total = (total, str(error))
    return total, i, rng.random_sample()


def empty_at_last(a, positions, count):
    total, i = 0.0, 0
    try:
        for i in range(count):
            total += a[: LENGTH + 48 - abs(i)].max()
    except ValueError as error:
        return total, i, str(error)
    return total, i


CASES = [
    (index_error_ends_it, LENGTH + 50),
    (scatters, LENGTH + 50),
    (past_64_bits, LENGTH),
    (divides_by_zero, LENGTH),
    (draws, LENGTH),
    (solves, LENGTH + 50),
    (decomposes_again, LENGTH + 50),
    (draws_with_a_negative_scale, LENGTH + 50),
    (empty_at_last, LENGTH + 50),
]


def turns_in_python(call):
    """Return the result of a call, and how often Python called a builtin for this file meanwhile: once a turn."""
    count = 0

    def observe(frame, event, argument):
        nonlocal count
        count += event == "c_call" and frame.f_code.co_filename == __file__

    previous = sys.getprofile()
    sys.setprofile(observe)
    try:
        return call(), count
    finally:
        sys.setprofile(previous)


@pytest.mark.parametrize(("function", "count"), CASES, ids=lambda item: getattr(item, "__name__", ""))
def test_the_turns_before_are_kept(function, count):
    step = jj.jit(background=False, warmup=1)(function)

    def arguments():
        return np.arange(float(LENGTH)), np.arange(3)

    for _ in range(4):  # too few turns for anything to fail
        (mine, at), (theirs, _) = arguments(), arguments()
        same(step(mine, at, 100), function(theirs, at, 100))
    before = step.stats
    (mine, at), (theirs, _) = arguments(), arguments()
    result, turns = turns_in_python(lambda: step(mine, at, count))
    same(result, function(theirs, at, count))
    np.testing.assert_array_equal(mine, theirs)
    assert step.stats.deopts > before.deopts
    assert 1 <= turns < 200


def prints_and_solves(a, positions, count):
    x = a[:3]
    for i in range(count):
        x += np.linalg.solve(np.eye(3) * (LENGTH - 2.0 - i), np.ones(3))
        if i % 1000 == 0:
            print(i, x.sum())
        a[5] = np.random.normal(0.0, 1.0)
    return x


@pytest.mark.parametrize("function", [raises, prints_and_solves])
def test_an_exception_leaves_the_writes_before_it(function, capsys):
    step = jj.jit(background=False, warmup=1)(function)
    for number in range(5):
        mine, theirs = np.arange(float(LENGTH)), np.arange(float(LENGTH))
        count = 100 if number < 4 else LENGTH - 1
        outcomes = []
        for called, argument in ((step, mine), (function, theirs)):
            np.random.seed(4)
            outcomes.append((*outcome(called, argument, count), capsys.readouterr().out, np.random.random()))
        same(*outcomes)
        np.testing.assert_array_equal(mine, theirs)
    assert step.stats.graph_calls >= 3


def outcome(function, a, count):
    """Return what a call returned, or the exception it raised and where."""
    try:
        return function(a, None, count), None, None
    except (IndexError, np.linalg.LinAlgError) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == function.__name__]
        return type(error), str(error), lines


def same(mine, theirs):
    """Compare results, the arrays among them up to the rounding of a decomposition."""
    comparison = Comparison()
    comparison.compare(theirs, mine, "result")
    assert not comparison.finish()
