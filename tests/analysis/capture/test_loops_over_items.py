"""Loops over long lists of numbers, and over pairs of rows, are kept as loops instead of being unrolled."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from tests.differential import differences


def over_a_list(x):
    total = np.zeros(3)
    for number in [(position * 7) % 11 for position in range(60)]:
        if x[number % 3] > 0.5:
            total = total + x * number
        total = np.tanh(total) * 1.5
    return total


def over_positions_and_items(x):
    numbers = [(position * 7) % 11 for position in range(60)]
    counts = np.zeros(11)
    for position, number in enumerate(numbers):
        for other in range(max(0, position - 2), min(len(numbers), position + 3)):
            if other == position:
                continue
            counts[numbers[other]] += x[number % 3]
    return counts


def over_pairs(x):
    pairs = [(position % 3, float(position)) for position in range(80)]
    total = x[0]
    for place, weight in pairs:
        if x[place] > 0.3:
            total += x[place] * weight
        else:
            total -= x[2] * weight
    return total


def over_rows_side_by_side(x):
    rows = np.outer(np.linspace(-1.0, 1.0, 90), x)
    targets = np.linspace(0.0, 1.0, 90)
    weights = np.zeros(3)
    for row, target in zip(rows, targets, strict=False):
        if row @ weights <= target:
            weights = weights + 0.1 * row
    return weights


def left_early(x):
    found = -1
    for position, number in enumerate([3, 1, 4, 1, 5, 9, 2, 6, 5, 3]):
        if number * x[0] > 4.4:
            found = position
            break
    else:
        found = -2
    return found, number


def over_a_list_that_is_written(x):
    values = [float(position) for position in range(20)]
    for position, value in enumerate(values):
        if value > x[1]:
            values[(position + 1) % 20] = value * 0.5
    return values


PROGRAMS = [
    over_a_list,
    over_positions_and_items,
    over_pairs,
    over_rows_side_by_side,
    left_early,
    over_a_list_that_is_written,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_graph_does_not_grow_with_the_turns(program):
    step = jj.jit(program, background=False)
    for start in (0.2, 0.6, 0.4, 1.0, 5.0, 0.0):
        x = np.array([start, 0.5, 0.7])
        assert not differences(program(x), step(x))
    assert step.stats.graph_calls == 4 and step.stats.host_calls == 0
    assert max(sum(1 for _ in found.captured.walk()) for found in step.specializations) < 400


def names(x):
    total = 0.0
    for position, name in enumerate(["a", "b", "c", "d", "e", "f"]):
        if x[0] > position:
            total += ord(name)
    return total


def test_items_that_are_not_alike_are_unrolled():
    step = jj.jit(names, background=False)
    for start in (0.2, 3.5, 4.0, 1.0, 5.0, 0.0):
        x = np.array([start])
        assert not differences(names(x), step(x))
    assert step.stats.graph_calls == 4 and step.stats.host_calls == 0
