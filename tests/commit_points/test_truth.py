"""The truth of an object that capture cannot enter is asked of Python, once, and the branch it chooses is compiled."""

import re

import numpy as np
import pytest

import janusjit as jj

space = {}
exec(
    """
class Box:
    def __init__(self):
        self.log, self.items = [], []

    def __bool__(self):
        self.log.append("bool")
        return len(self.items) > 2

    def find(self, number):
        self.items.append(number)
        return self if number % 3 else None
""",
    space,
)
Box = space["Box"]


def once(x, box):
    y = x * 2
    if box:
        y = y + 1
    else:
        box.items.append(1)
    return y.sum()


def in_a_loop(x, box):
    total = 0.0
    for number in range(6):
        found = box.find(number)
        if found:
            total += (x * number).sum()
        elif number > 3:
            break
        total = total + (1 if found else 2)
    return total


class Countdown:
    """Capture can enter this one, but not what its ``__bool__`` calls."""

    def __init__(self):
        self.left, self.log, self.items = 5, [], []

    def __bool__(self):
        Box.find(self, self.left)
        self.left -= 1
        return self.left > 0


def while_it_is_true(x, box):
    total, count = 0.0, Countdown()
    while count:
        total = total + (x * len(count.items)).sum()
        if len(count.items) == 2:
            continue
        x = x * 0.9
    else:
        total = -total
    box.log.append(count.items)
    return total


def while_python_says(x, box):
    total = 0.0
    box.items.clear()
    while not box:
        box.find(len(box.items))
        total = total + x.sum()
        while box:
            total = total * 2.0
            box.items.append(9)
            if len(box.items) > 5:
                break
        else:
            total = total + 0.5
    return total


@pytest.mark.parametrize("function", [once, in_a_loop, while_it_is_true, while_python_says])
def test_asked_as_often_as_python_asks(function):
    step, plain, jitted = jj.jit(function, background=False), Box(), Box()
    for number in range(10):
        x = np.arange(3.0) + number
        np.testing.assert_array_equal(step(x, jitted), function(x, plain))
        assert (plain.log, plain.items) == (jitted.log, jitted.items)
    assert step.stats.graph_calls == 8
    assert step.stats.host_calls >= 8
    assert "python" not in {point.kind for point in step._lifecycle.prepared.sites.points.values()}


def test_matches_of_regular_expressions():
    def weights(x, names):
        total = 0.0
        for name in names:
            if re.match("w", name):
                total = total + x.sum()
        return total

    step = jj.jit(weights, background=False)
    for number in range(8):
        x = np.arange(3.0) + number
        assert step(x, ["w1", "b1", "w2"]) == weights(x, ["w1", "b1", "w2"])
    assert step.stats.graph_calls == 6
    assert step.reason is None


def test_python_goes_on_behind_a_truth_it_was_asked_for():
    def waits(flags, box):
        total, at = 0.0, 0
        while at < len(flags):
            flag = flags[at]
            at += 1
            if flag:
                box.find(1)
            elif box:
                total += box.items.pop()
            else:
                total -= 1
        return total

    step = jj.jit(waits, background=False)
    for number in range(12):
        flags = [(at * number) % 3 == 0 for at in range(4 + number)]
        plain, jitted = Box(), Box()
        assert step(flags, jitted) == waits(flags, plain)
        assert (plain.log, plain.items) == (jitted.log, jitted.items)
    assert step.stats.host_calls > 0
    assert step.stats.deopts > 0
