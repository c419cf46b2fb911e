"""The judge itself: compilers that are wrong in known ways must be found wrong."""

import functools
from types import SimpleNamespace

import numpy as np

from tests.constructs.catalogue import CATALOGUE
from tests.constructs.construct import judge
from tests.differential import differences


def with_counters(function, wrapper):
    wrapped = functools.wraps(function)(wrapper)
    wrapped.stats = SimpleNamespace(
        calls=0, profiled_calls=0, graph_calls=0, eager_calls=0, deopts=0, host_calls=0, specializations=0
    )
    return wrapped


def plain(function):
    """A compiler that compiles nothing."""
    return with_counters(function, lambda *args: function(*args))


def replaying(function):
    """A compiler that bakes in the first call's result."""
    results = []

    def wrapper(*args):
        if not results:
            results.append(function(*args))
        return results[0]

    return with_counters(function, wrapper)


def copying(function):
    """A compiler that works on copies of the arrays it is given, so that writes are lost."""

    def wrapper(*args):
        return function(*(np.copy(item) if isinstance(item, np.ndarray) else item for item in args))

    return with_counters(function, wrapper)


def raising(function):
    def wrapper(*args):
        raise NotImplementedError

    return with_counters(function, wrapper)


def letters(jit):
    return {entry.name: judge(entry.path, entry.name, jit).letter for entry in CATALOGUE}


def test_plain_python_is_right_everywhere_and_never_in_the_graph():
    assert set(letters(plain).values()) == {"B"}


def test_a_compiler_that_replays_is_wrong_everywhere():
    assert set(letters(replaying).values()) == {"W"}


def test_a_compiler_that_loses_writes_is_wrong_where_arguments_are_written():
    wrong = {name for name, letter in letters(copying).items() if letter == "W"}
    assert wrong >= {"x += v seen by the caller", "write through a view", "same array passed twice, one written"}


def test_an_error_is_no_wrong_answer():
    assert set(letters(raising).values()) == {"E"}


def test_differences_that_compare_equal_are_found():
    one = np.arange(3.0)
    pairs = [
        (1, True),
        (1, 1.0),
        (1.0, np.float64(1.0)),
        (np.float64(1.0), np.array(1.0)),
        (0.0, -0.0),
        (np.float32(1), np.float64(1)),
        (np.zeros(3), np.zeros((3, 1))),
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([one, one], [one, one.copy()]),
        ([one, one[1:]], [one, one[1:].copy()]),
        (np.array([1.0, np.nan]), np.array([1.0, np.inf])),
        (1.0, 1.0 + 1e-12),
    ]
    for expected, actual in pairs:
        assert differences(expected, actual), (expected, actual)
        assert differences(actual, expected), (expected, actual)
    assert not differences([one, one[1:], np.nan], [one, one[1:], np.nan])
