"""What a ``try`` that Python runs as a whole has bound stays bound where an exception leaves it."""

import time

import numpy as np
import pytest

import janusjit
from tests.differential import Side, run_side_by_side

PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


@program
def raised_in_the_finally(x):
    found = 0
    try:
        try:
            found = x[0]
            raise IndexError
        except IndexError:
            time.perf_counter()
        finally:
            x[1] += 1
            raise ValueError
    except ValueError:
        pass
    return found, x


@program
def raised_in_a_loop(x):
    last = 0
    for i in range(3):
        try:
            try:
                last = x[0] + i
                if i == 1:
                    raise KeyError(i)
            finally:
                time.perf_counter()
        except KeyError:
            x[0] += last
    return last, x


@program
def deleted_before_it_raises(x):
    found, other = 1.0, 2.0
    try:
        try:
            other = x
            del found
            raise IndexError
        except IndexError:
            time.perf_counter()
            raise KeyError from None
    except KeyError:
        pass
    try:
        return found  # noqa: F821 - it is not, which is the point
    except UnboundLocalError:
        return other


@program
def left_by_jumps_or_an_exception(x):
    seen = []
    for i in range(4):
        number = -1.0
        try:
            try:
                number = x[i % 3] * i
                if i == 1:
                    continue
                if i == 2:
                    raise ValueError(i)
                if i == 3:
                    break
            finally:
                time.perf_counter()
        except ValueError as error:
            seen.append((number, error.args))
        finally:
            seen.append(number)
    return seen


@program
def raised_in_a_function_that_is_called(x):
    def inner():
        count = 0
        try:
            try:
                count += 1
                x[count] = 9.0
                raise ZeroDivisionError
            except ZeroDivisionError:
                count += 1
                time.perf_counter()
                raise
        finally:
            x[2] += count

    try:
        inner()
    except ArithmeticError:
        return x * 2


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_variables_keep_what_was_bound(function):
    def arguments(number):
        return (np.arange(3.0) + 1 + number,)

    jitted = janusjit.jit(function, warmup=2, background=False)
    assert run_side_by_side(Side(function, arguments), Side(jitted, arguments), 6) == []
    assert jitted.stats.graph_calls == 4
    assert jitted.stats.host_calls >= 4


def in_a_cell_that_is_empty_yet(z, x, k):
    z *= 2
    for _ in range(k):
        later = x
    return lambda: later * 2.0


def test_a_variable_of_a_closure_is_not_bound_where_sizes_vary():
    jitted = janusjit.jit(in_a_cell_that_is_empty_yet, warmup=2, background=False)
    for size in (4, 4, 4, 5, 6, 4):
        x = np.arange(float(size))
        assert jitted(np.ones(2, complex), x, 1)().tolist() == (x * 2.0).tolist()
    assert (jitted.stats.graph_calls, jitted.stats.host_calls > 3) == (4, True)


def read_before_it_is_bound(x, late):
    time.perf_counter()
    try:
        if late:
            found = x.sum()
        kept = found
    except UnboundLocalError as error:
        return error.args
    return kept, [found for _ in range(2)], (lambda: found)()


def handled_by_python(x, late):
    try:
        if late:
            found = x.sum()
        time.perf_counter()
        found = found + 1.0
    except UnboundLocalError as error:
        time.perf_counter()
        return error.args
    return (lambda: found)()


@pytest.mark.parametrize("function", [read_before_it_is_bound, handled_by_python])
def test_a_variable_of_a_closure_that_is_read_too_early_is_local(function):
    jitted = janusjit.jit(function, warmup=2, background=False)
    for number in range(10):
        x = np.arange(3.0) + number
        assert jitted(x, number % 3 > 0) == function(x, number % 3 > 0)
    assert jitted.stats.graph_calls + jitted.stats.host_calls > 6
