"""Python goes on inside a loop that every way ahead leaves: the loop's iterator is not needed any more."""

import numpy as np
import pytest

import janusjit as jj

space = {}
exec("def described(number):\n    return f'at {number}'\ndef following(number):\n    return number + 1\n", space)
described, following = space["described"], space["following"]


class Diverged(Exception):
    def __init__(self, number):
        super().__init__(described(number))
        self.number = number


def raises(x, log):
    for number in range(4):
        if x[number] > 0:
            raise Diverged(number)
    return x


def handles(x, log):
    try:
        for number in range(4):
            if x[number] > 0:
                raise Diverged(number)
    except Diverged as error:
        return str(error), error.number
    finally:
        log.append(number)
    return x


def cleans_up(x, log):
    try:
        for number in range(4):
            for _ in [1, 2]:
                if x[number] > 0:
                    raise Diverged(number)
    finally:
        x[0] = 7
    return x


def looks_up(x, log):
    for number in range(4):
        for _ in [1, 2]:
            if x[number] > 0:
                found = following(number)
                return x[found * 10]
    return x


def breaks(x, log):
    found = 0
    for number in range(4):
        with np.errstate(all="ignore"):
            for _ in [1, 2]:
                if x[number] > 0:
                    found = following(number)
                    break
            else:
                continue
            log.append(x[found * 10])
            break
    return found


def outcome(function, x):
    x, log = x.copy(), []
    try:
        returned = function(x, log)
    except (Diverged, IndexError) as error:
        returned = type(error), str(error), error.args
    return repr((returned, x, log))


@pytest.mark.parametrize("function", [raises, handles, cleans_up, looks_up, breaks])
def test_python_goes_on_in_a_loop_that_is_left(function):
    step = jj.jit(function, background=False)
    inputs = [np.zeros(4)] * 4 + [np.array([0.0, 0.0, 1.0, 0.0])] * 6
    for x in inputs:
        assert outcome(step, x) == outcome(function, x)
    assert step.stats.graph_calls == 8
    assert step.stats.host_calls >= 5


def test_an_exception_made_by_python_is_no_mistake_of_the_program():
    step = jj.jit(handles, background=False)
    for x in [np.zeros(4)] * 4 + [np.ones(4)] * 6:
        assert outcome(step, x) == outcome(handles, x)
    assert step.stats.graph_calls == 8
    assert {row.code for row in step.report().functions[0].rows} == {"branch", "python.source", "python.host_object"}
