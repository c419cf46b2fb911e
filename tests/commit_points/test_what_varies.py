"""What varies where calls go on: it is learnt once for all commit points, and what Python answers is never assumed."""

from __future__ import annotations

import numpy as np
import pytest

import janusjit as jj
from janusjit.runtime.events import GuardFailed, Specialized


def events_of(kind, function, calls):
    compiled, events = jj.jit(background=False)(function), []
    stop = jj.on_event(events.append)
    try:
        for arguments in calls:
            assert compiled(*arguments) == pytest.approx(function(*arguments))
    finally:
        stop()
    return compiled.stats, [event for event in events if isinstance(event, kind)]


def test_an_answer_of_python_is_a_value_and_no_reason_for_another_specialization():
    walls = {(0, 1), (2, 2)}

    def walk(row, column, x):
        blocked = (row, column) in walls
        if blocked:
            row = row + 1
        return row * x + 1.0, blocked

    calls = [(row, column, 0.5) for row in range(3) for column in range(3)] * 2
    stats, made = events_of(Specialized, walk, calls)
    assert stats.host_calls == stats.graph_calls - 1 == len(calls) - 3
    assert len(made) == 3, "two for the begin of calls, where the row was known once, one for what follows"


def test_a_size_that_varied_at_one_commit_point_is_not_assumed_at_those_made_later():
    def fit(x, steps):
        total = 0.0
        for _ in range(steps):
            total = total + x.sum() * np.median(x)
            if steps > 3:
                total = total - np.median(x) * x.max()
        return total

    rng = np.random.default_rng(0)
    calls = [(rng.normal(size=size), 2) for size in (10, 10, 10, 11, 12)]
    calls += [(rng.normal(size=size), 4) for size in (13, 14, 15, 16)]
    _, failed = events_of(GuardFailed, fit, calls)
    sizes = [event for event in failed if event.cause.code == "array.shape"]
    assert all(len(event.differences[0].expected) <= 2 for event in sizes)
    assert len(sizes) <= 1
