"""Generators of Python's that something else than a loop goes through, and those that containers and objects hold.

What they have left to do when they are dropped, they do when they do it in plain Python.
"""

from __future__ import annotations

import collections
import functools
import gc
import itertools

import numpy as np
import pytest

from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.runtime import replacement
from janusjit.transform.forced_failure import count_guards
from tests.commit_points.test_generators_with_python import compare, named, note


def rows(x, log):
    rest = 0
    try:
        for i in range(len(x)):
            note(log, i)
            yield x[i]
            rest += 1
    finally:
        log.append(f"rows end after {rest}")


def numbers(x, log):
    try:
        for row in x:
            note(log, "number")
            yield float(row.sum())
    finally:
        log.append("numbers end")


def scaled(source, log):
    try:
        for row in source:
            note(log, "scaled")
            yield row * 2.0
    finally:
        log.append("scaled end")


def echo(x, log):
    factor = 1.0
    try:
        while True:
            factor = yield x[0] * factor
            note(log, factor)
    finally:
        log.append("echo end")


class Stream:
    def __init__(self, source):
        self.source = source

    def take(self):
        return next(self.source)


def unpacked(x, w, log):
    a, b, c, d = rows(x, log)
    log.append("after")
    return (a * w + b * c + d).sum()


def unpacked_too_few(x, w, log):
    try:
        a, b = named(x, log, "rows")
    except ValueError as error:
        log.append(str(error))
        a = b = w
    log.append("after")
    return (a * w + b).sum()


def starred(x, w, log):
    a, *b = rows(x, log)
    log.append("after")
    return np.vstack([a * w, *numbers_as_rows(b, log)]).sum()


def numbers_as_rows(x, log):
    return (np.full(3, value) for value in numbers(x, log))


def of_a_generator_expression(x, w, log):
    total = sum((row * w).sum() for row in rows(x, log) if row[0] > -9.0)
    log.append("after")
    return total if any(value > 9.0 for value in numbers(x, log)) else total + 1.0


def by_functions(x, w, log):
    first = functools.reduce(lambda total, row: total + row * w, rows(x, log))
    log.append("between")
    second = np.fromiter(numbers(x, log), float)
    found = 1e300 in numbers(x, log)
    text = ",".join(format(value, ".3f") for value in numbers(x, log))
    log.append(text)
    return first.sum() + second.sum() + found + w.sum() * len(text)


def by_iterators(x, w, log):
    for row in itertools.islice(rows(x, log), 2):
        w = w + row
    log.append("between")
    a, b = itertools.islice(scaled(rows(x, log), log), 1, 3)
    log.append("between")
    last = collections.deque(rows(x, log), maxlen=1)
    return (w + a * b + last[0]).sum()


def by_methods(x, w, log):
    source = echo(x, log)
    w = w + next(source)
    w = w * source.send(2.0)
    log.append("between")
    w = w - source.send(0.5)
    source = None
    log.append("after")
    other = rows(x, log)
    w = w + other.__next__()
    other.close()
    log.append("closed")
    return w.sum()


def dropped_with_its_method(x, w, log):
    total = rows(x, log).__next__() * w
    log.append("after")
    rows(x, log)
    total = total + next(rows(x, log), None)
    log.append("after")
    return total.sum()


def a_zip_that_ends(x, w, log):
    products = [a @ b for a, b in zip(named(x, log, "one"), named(x, log, "other"), strict=False)]
    log.append("after")
    for a, row in zip(x[:2], rows(x, log), strict=False):
        w = w + a * row
    else:
        log.append("else")
    return sum(products) + w.sum()


def chained(x, w, log):
    for row in scaled(rows(x, log), log):
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def in_a_list(x, w, log):
    w = np.tanh(w @ x.T) @ x
    sources = [rows(x, log), numbers(x, log)]
    w = w + next(sources[0]) * next(sources[1])
    sources.pop()
    log.append("between")
    sources = None
    log.append("after")
    return w.sum()


def in_an_object(x, w, log):
    w = np.tanh(w @ x.T) @ x
    stream = Stream(rows(x, log))
    w = w + stream.take()
    stream.source = numbers(x, log)
    log.append("between")
    total = stream.take() + w.sum()
    del stream
    log.append("after")
    return total


def in_a_cell(x, w, log):
    source = rows(x, log)

    def take():
        return next(source)

    w = w * take()
    log.append("between")
    return (w + take()).sum()


def from_a_call(x, w, log):
    stream = Stream(identity(rows(x, log)))
    log.append("made")
    w = w + stream.take() * sum(v for v in identity(numbers(x, log)))
    stream = None
    log.append("after")
    return w.sum()


def identity(value):
    return value


def in_loops(x, w, log):
    for epoch in range(3):
        sources = {name: rows(x[epoch:], log) for name in ("one", "other")}
        for _ in range(2):
            w = w + next(sources["one"]) * next(sources["other"], w)
            if w[0] > 1.0:
                break
        del sources["one"]
        log.append(epoch)
    return w.sum()


def in_loops_unpacked(x, w, log):
    for epoch in range(3):
        a, b, *_ = rows(x, log)
        w = w + a * b
        log.append(epoch)
    return w.sum()


def appended(x, w, log):
    sources = []
    for step in range(2):
        sources.append(rows(x[step:], log))
        log.append(step)
    total = next(sources[0]) @ next(sources[1])
    sources.clear()
    log.append("cleared")
    return w.sum() + total


def returned(x, w, log):
    source = rows(x, log)
    w = w * next(source)
    return w.sum(), next(source)


PROGRAMS = [
    a_zip_that_ends,
    appended,
    by_functions,
    by_iterators,
    by_methods,
    chained,
    dropped_with_its_method,
    from_a_call,
    in_a_cell,
    in_a_list,
    in_an_object,
    in_loops,
    in_loops_unpacked,
    of_a_generator_expression,
    returned,
    starred,
    unpacked,
    unpacked_too_few,
]


@pytest.fixture(autouse=True)
def without_collection():
    """Nothing is dropped late, and then found by the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("function", PROGRAMS)
def test_same_results_and_log(function):
    step = compare(function)
    assert step.reason is None
    assert step.stats.graph_calls == 6 and step.stats.host_calls > 0
    for number in range(max(count_guards(found.captured) for found in step.specializations)):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            compare(function)


@pytest.mark.parametrize("function", [in_loops, in_loops_unpacked])
def test_same_where_loops_are_taken_over(function, monkeypatch):
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)
    assert (compare(function).stats.loop_entries > 0) is (function is in_loops_unpacked)
