"""What compiled code assumes about the program around it is checked at every call."""

import numpy as np

import janusjit


def compiled(function, *arguments):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for _ in range(4):
        jitted(*arguments)
    assert jitted.stats.graph_calls == 2
    return jitted


def scaled(x, factor=2.0, *, offset=3):
    return x * factor + offset


def uses_defaults(x):
    return scaled(x)


def test_default_values_may_be_replaced():
    x = np.ones(2)
    function = compiled(uses_defaults, x)
    kept = scaled.__defaults__
    try:
        scaled.__defaults__ = (5.0,)
        np.testing.assert_array_equal(function(x), [8.0, 8.0])
    finally:
        scaled.__defaults__ = kept
    np.testing.assert_array_equal(function(x), [5.0, 5.0])


def test_keyword_defaults_may_be_replaced_and_changed_in_place():
    x = np.ones(2)
    function = compiled(uses_defaults, x)
    kept = scaled.__kwdefaults__
    try:
        scaled.__kwdefaults__ = {"offset": 7}
        np.testing.assert_array_equal(function(x), [9.0, 9.0])
        scaled.__kwdefaults__["offset"] = 100
        np.testing.assert_array_equal(function(x), [102.0, 102.0])
    finally:
        scaled.__kwdefaults__ = kept
    np.testing.assert_array_equal(function(x), [5.0, 5.0])


def extremes(x, k, r):
    smallest = min(max(k, r), r, 2)
    return x * max(k, r), smallest


def test_extremes_of_numbers_of_different_types():
    x = np.ones(2)
    function = compiled(extremes, x, 1, 0.5)
    for k, r in [(1, 1.0), (0, 0.5), (5, float("nan")), (3, 7.5), (2, 0.25)]:
        (array, smallest), (expected, expected_smallest) = function(x, k, r), extremes(x, k, r)
        np.testing.assert_array_equal(array, expected)
        assert repr(smallest) == repr(expected_smallest)
    assert function.stats.graph_calls == 7
