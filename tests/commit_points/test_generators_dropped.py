"""Generators of Python's that are dropped before their end: what they have left to do, they do there and then.

They are drawn from through `enumerate`, `zip` and others, kept in variables that are bound anew or deleted, passed to
functions, returned, and left by exceptions.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.runtime import replacement
from janusjit.transform.forced_failure import count_guards
from tests.commit_points.test_generators_with_python import bar, compare, named, note, quiet, space

exec("def noted_bar(x, log):\n    log.append('made')\n    return bar(x, log)\n", space)
noted_bar = space["noted_bar"]


def enumerated(x, w, log):
    for i, row in enumerate(named(x, log, "rows")):
        w = w + i * row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def zipped(x, w, log):
    for a, row in zip(named(x, log, "one"), bar(x, log), strict=True):
        w = w + a * row
        if row[0] < 0.0:
            return w.sum()
    log.append("after")
    return w.sum()


def zipped_and_enumerated(x, w, log):
    for i, (a, row) in enumerate(zip(x, quiet(x, log), strict=False), 1):
        note(log, i)
        w = w + a * row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def mapped(x, w, log):
    for row in map(np.tanh, bar(x, log)):
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def left_in_a_callee(x, w, log):
    w = until_negative(x, w, log)
    log.append("between")
    return w.sum()


def until_negative(x, w, log):
    rows = named(x, log, "rows")
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            break
    log.append("in")
    return w


def bound_anew(x, w, log):
    rows = bar(x, log)
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            break
    log.append("in")
    rows = noted_bar(x, log)
    log.append("out")
    for row in rows:
        w = w + row
        if row[1] < 0.0:
            return w.sum()
    return w.sum()


def deleted(x, w, log):
    rows = enumerate(bar(x, log))
    w = w + next(rows)[1]
    log.append("in")
    del rows
    log.append("out")
    return w.sum()


def only_the_first(x, w, log):
    row = next(bar(x, log))
    log.append("between")
    return (row * w + next(named(x, log, "rows"))).sum()


def on_one_path(x, w, log):
    rows = bar(x, log)
    w = w + next(rows)
    if w[0] < 1.0:
        rows = None
        log.append("gone")
    else:
        log.append("kept")
    log.append("end")
    return w.sum()


def of_two_names(x, w, log):
    rows = bar(x, log)
    others = rows
    w = w + next(rows)
    rows = None
    log.append("still there")
    w = w + next(others)
    others = 3
    log.append("gone")
    return w.sum() + others


def made_elsewhere(x, w, log):
    for row in make(x, log):
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def make(x, log):
    rows = bar(x, log)
    log.append("made")
    return rows


def passed_on(x, w, log):
    w = consume(bar(x, log), w, log)
    log.append("after")
    return w.sum()


def consume(rows, w, log):
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            break
    log.append("consumed")
    return w


def raises_in_a_callee(x, w, log):
    try:
        w = consume_or_raise(bar(x, log), w, log)
    except ValueError:
        log.append("caught")
    log.append("after")
    return w.sum()


def consume_or_raise(rows, w, log):
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            raise ValueError
    log.append("consumed")
    return w


def several_times(x, w, log):
    for epoch in range(4):
        rows = bar(x, log)
        for row in rows:
            w = w + 0.1 * row
            if row[0] < 0.0:
                break
        log.append(epoch)
    return w.sum()


def drawn_by_hand(x, w, log):
    rows = enumerate(bar(x, log))
    while True:
        i, row = next(rows)
        w = w + i * row
        if row[0] < 0.3 or i == 3:
            break
    rows = ()
    log.append("after")
    return w.sum()


PROGRAMS = [
    bound_anew,
    deleted,
    drawn_by_hand,
    enumerated,
    left_in_a_callee,
    made_elsewhere,
    mapped,
    of_two_names,
    on_one_path,
    only_the_first,
    passed_on,
    raises_in_a_callee,
    several_times,
    zipped,
    zipped_and_enumerated,
]


@pytest.fixture
def without_collection():
    """Nothing is dropped late, and then found by the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("function", PROGRAMS)
def test_same_results_and_log(function):
    step = compare(function)
    assert step.reason is None
    assert step.stats.graph_calls == 6 and step.stats.host_calls > 0


@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("function", PROGRAMS)
def test_every_guard_forced_to_fail(function):
    step = compare(function)
    for number in range(max(count_guards(found.captured) for found in step.specializations)):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            compare(function)


@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize(
    "function", [enumerated, left_in_a_callee, made_elsewhere, several_times, passed_on, bound_anew]
)
def test_same_where_loops_are_taken_over(function, monkeypatch):
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)
    assert compare(function).stats.loop_entries > 0
