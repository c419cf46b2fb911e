"""What the caller sees is written in place only where nothing behind a loop can fail any more."""

import numpy as np
import pytest

import janusjit


def index_behind_a_loop(x, y):
    x[0] += 2.0
    count = len([0 for value in x if value])
    return y[count]


def raises_behind_a_loop(x, y):
    x += 1.0
    found = np.array([value for value in x if value > y[0]])
    if found[0] > 100.0:
        raise ValueError(found[0])
    return found


def written_in_the_loop(x, y):
    count = 0
    for i in range(len(x)):
        x[i] *= 2.0
        if x[i] > 4.0:
            count += 1
            if x[i] > 1e3:
                break
    return y[count]


@pytest.mark.parametrize("function", [index_behind_a_loop, raises_behind_a_loop, written_in_the_loop])
def test_nothing_is_written_twice(function):
    def outcome(call, number):
        x, y = np.array([1.5, -1.0, 0.0, 2.0]) * (number + 1), np.arange(4.0 - number % 3)
        if number % 4 == 3:
            x[1:] = 101.0
        try:
            return repr(call(x, y)), x.tolist()
        except (IndexError, ValueError) as error:
            return repr(error), x.tolist()

    jitted = janusjit.jit(function, warmup=2, background=False)
    for number in range(16):
        assert outcome(jitted, number) == outcome(function, number), number
    assert jitted.stats.graph_calls > 4
    assert jitted.stats.deopts > 0
