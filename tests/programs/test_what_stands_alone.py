"""NumPy's scalars and sums of one element: their kinds, their signs, and what indexing them gives or raises."""

import numpy as np
import pytest

import janusjit
from tests.differential import Side, run_side_by_side

PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


@program
def new_axes(x):
    return x[0][None], x[0][...], x[0][None, ...], x[0][None, None], x[0][()]


@program
def new_axes_under_a_handler(x):
    try:
        x[1:] = x.std()[None]
    except LookupError:
        x *= 2
    return x


@program
def indices_that_are_refused(x):
    seen = []
    for number in (x[0], float(x[0])):
        try:
            number[0]
        except IndexError:
            seen.append("scalar")
        except TypeError:
            seen.append("number")
    try:
        x[0][..., ...]
    except IndexError:
        seen.append("ellipses")
    return seen


@program
def sums_of_nothing_else(x):
    alone = x.reshape(1, 3)[0, 1:2].reshape(())
    return alone.sum(), x[1].sum(), x[1].mean(), np.sum(alone), x.sum(axis=()), x.mean(axis=()), np.nansum(x[1])


@program
def scalars_stay_scalars(x):
    total = x.sum()
    return x[0].squeeze(), total.squeeze(), total.reshape(()), total.transpose(), np.squeeze(total), total.copy()


@program
def products_with_a_number(x):
    return np.dot(x[2], x), np.dot(x, 0), np.dot(x, np.float64(2.0)), np.dot(x[1], -x[2:]), np.inner(x[2], x)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_stands_alone(function, dtype):
    def arguments(number):
        return (np.array([-1.5, -0.0, 0.0], dtype),)

    jitted = janusjit.jit(function, warmup=2, background=False)
    assert run_side_by_side(Side(function, arguments), Side(jitted, arguments), 6) == []
    assert (jitted.stats.graph_calls, jitted.stats.host_calls) == (4, 0)


def masked_by_a_scalar(x, limit, rest):
    try:
        x[x > limit] = 3.0
        rest += 1
    except IndexError:
        rest -= 1
    return rest


def test_a_boolean_scalar_is_an_index():
    jitted = janusjit.jit(masked_by_a_scalar, warmup=2, background=False)
    for number in range(6):
        given, kept = np.array(1.5), np.zeros(2)
        jitted(given, number, kept)
        assert (given[()], kept.tolist()) == (3.0 if number < 1.5 else 1.5, [1.0, 1.0])
    assert jitted.stats.host_calls > 0


def without_a_negative_zero(x):
    return np.sum(x, initial=-0.0)


def test_a_sum_that_begins_with_negative_zero():
    jitted = janusjit.jit(without_a_negative_zero, warmup=2, background=False)
    assert np.signbit([jitted(np.array([-0.0])) for _ in range(5)]).all()
    assert jitted.stats.host_calls == 3
