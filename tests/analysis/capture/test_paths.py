"""Paths behind branches that leave what cannot be joined are code of their own, but not without end."""

import re

import numpy as np

import janusjit as jj
from janusjit.analysis.capture.effort import SPLIT_LIMIT
from tests.differential import Side, run_side_by_side


def chosen(numbers, sizes, room):
    kept = {}
    for index in range(9):
        if numbers[index] != numbers[index + 1]:
            kept[index] = sizes[index]
            room -= sizes[index]
    return kept, room


def arguments(number):
    draws = np.random.default_rng(number)
    return [int(one) for one in draws.integers(0, 2, 10)], [int(one) for one in draws.integers(1, 9, 10)], 30


def test_paths_do_not_double_without_end():
    step = jj.jit(chosen, background=False)
    assert run_side_by_side(Side(chosen, arguments), Side(step, arguments), 16) == []
    assert step.stats.graph_calls > 0
    for specialization in step.specializations:
        exits = len(re.findall(r"^ *exit\b", specialization.graph, re.MULTILINE))
        assert 0 < exits <= 2 * (SPLIT_LIMIT + 1)
