"""Operations that fail late in a long loop cost the turn they fail in, whatever Python then makes of it."""

from __future__ import annotations

import sys
import traceback

import numpy as np
import pytest

import janusjit as jj

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


CASES = [
    (index_error_ends_it, LENGTH + 50),
    (scatters, LENGTH + 50),
    (past_64_bits, LENGTH),
    (divides_by_zero, LENGTH),
    (draws, LENGTH),
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
        assert step(mine, at, 100) == function(theirs, at, 100)
    before = step.stats
    (mine, at), (theirs, _) = arguments(), arguments()
    result, turns = turns_in_python(lambda: step(mine, at, count))
    assert result == function(theirs, at, count)
    np.testing.assert_array_equal(mine, theirs)
    assert step.stats.deopts > before.deopts
    assert 1 <= turns < 200


def test_an_exception_leaves_the_writes_before_it():
    step = jj.jit(background=False, warmup=1)(raises)
    for number in range(5):
        mine, theirs = np.arange(float(LENGTH)), np.arange(float(LENGTH))
        count = 100 if number < 4 else LENGTH - 1
        outcomes = [outcome(step, mine, count), outcome(raises, theirs, count)]
        assert outcomes[0] == outcomes[1]
        np.testing.assert_array_equal(mine, theirs)
    assert step.stats.graph_calls >= 3


def outcome(function, a, count):
    """Return what a call returned, or the exception it raised and where."""
    try:
        return function(a, None, count)
    except IndexError as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == "raises"]
        return type(error), str(error), lines
