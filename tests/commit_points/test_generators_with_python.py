"""Generators whose body needs Python are Python's: their items are drawn one by one, and the rest is compiled."""

from __future__ import annotations

import io

import numpy as np
import pytest

import janusjit as jj
from janusjit import config
from janusjit.api import _PIPELINE
from janusjit.runtime import replacement
from janusjit.transform.forced_failure import count_guards

space: dict = {}
exec("def note(log, what):\n    log.append(what)\n", space)
note = space["note"]


def batches(x, count, log):
    for i in range(count):
        note(log, f"batch {i}")
        yield x[i] * 2.0


def leaves(tree, log):
    if isinstance(tree, list):
        for branch in tree:
            yield from leaves(branch, log)
    else:
        note(log, tree)
        yield tree


def drawn_in_a_loop(x, w, log):
    total = 0.0
    for row in batches(x, 4, log):
        total = total + np.tanh(row @ w).sum()
        w = w - 0.01 * row
    return total, w


def recursive(x, w, log):
    total = 0.0
    for k in leaves([0, [1, [2]], 3], log):
        total = total + np.tanh(x[k] @ w).sum()
    return total


def drawn_by_hand(x, w, log):
    rows = batches(x, 3, log)
    first = next(rows)
    total = np.tanh(first @ w).sum()
    note(log, "between")
    for row in rows:
        total = total + row.sum()
    return total


def suspended_over_a_host_call(x, w, log):
    """The generator's own body is followed, but it is suspended where Python is needed."""
    rows = (x[i] * 3.0 for i in range(4))
    total = 0.0
    for row in rows:
        total = total + row @ w
        note(log, "row")
    return total


def left_early(x, w, log):
    total = 0.0
    for row in batches(x, 4, log):
        total = total + row.sum()
        if total > 8:
            break
    note(log, "after")
    return total


def summed(x, w, log):
    return sum(np.tanh(row @ w) for row in batches(x, 4, log))


def lines(count, log):
    """A loader: a file is open while it is gone through."""
    with io.StringIO("1.5 2.5 3.5\n" * count) as file:
        for line in file:
            yield [float(number) for number in line.split()]
        note(log, "read")
    note(log, file.closed)


def with_a_loader(x, w, log):
    total = 0.0
    for row in lines(4, log):
        if row[0] > 100:
            continue
        total = total + np.tanh(x @ np.array(row)).sum()
    return total


PROGRAMS = [drawn_in_a_loop, recursive, drawn_by_hand, suspended_over_a_host_call, left_early, summed, with_a_loader]


def compare(function):
    step, plain, jitted = jj.jit(function, background=False), [], []
    for number in range(8):
        x = np.random.default_rng(number).normal(size=(4, 3))
        found, wanted = step(x.copy(), np.ones(3), jitted), function(x, np.ones(3), plain)
        assert type(found) is type(wanted)
        for one, other in zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]:
            np.testing.assert_allclose(one, other, rtol=1e-12)
        assert jitted == plain
    return step


def marked(x, log):
    try:
        for i in range(4):
            note(log, i)
            yield x[i]
    finally:
        x += 100.0
        log.append("finally")


def delegates(x, log):
    yield from marked(x, log)


def left_before_its_finally(x, w, log):
    for row in marked(x, log):
        w = w + row
        break
    return w.sum() + x.sum()


def left_before_the_finally_of_another(x, w, log):
    for row in delegates(x, log):
        w = w + row
        break
    return w.sum() + x.sum()


def named(x, log, name):
    with Logged(log, name):
        for i in range(len(x)):
            note(log, f"{name} {i}")
            yield x[i]


class Logged:
    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.log.append(f"{self.name} is left")


def until_small(x, w, log):
    for row in named(x, log, "rows"):
        w = w + 0.1 * row
        if row[0] < 0.0:
            return w
    return 2.0 * w


def returns_out_of_a_callee(x, w, log):
    w = until_small(x, w, log)
    log.append("between")
    w = until_small(x[::-1], w, log)
    log.append("after")
    return w.sum()


def left_out_of_two_loops(x, w, log):
    for row in named(x, log, "outer"):
        for other in named(x, log, "inner"):
            w = w + 0.1 * row * other
            if row[1] < other[1]:
                break
            if row[2] < other[2]:
                return w.sum()
        log.append("between")
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def left_through_a_finally(x, w, log):
    for row in named(x, log, "rows"):
        try:
            w = w + row
            if row[0] < 0.0:
                break
        finally:
            note(log, "finally")
    log.append("after")
    return w.sum()


def left_inside_a_manager(x, w, log):
    with Logged(log, "outside"):
        for row in named(x, log, "rows"):
            w = w + row
            if row[0] < 0.0:
                return w.sum()
    log.append("after")
    return w.sum()


def quiet(x, log):
    try:
        for i in range(len(x)):
            yield x[i]
    finally:
        log.append("quiet")


def suspended_in_its_try(x, w, log):
    """The generator needs no Python, but it is suspended where Python is needed."""
    for row in quiet(x, log):
        note(log, "row")
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


def left_inside_a_try(x, w, log):
    try:
        for row in named(x, log, "rows"):
            for other in named(x, log, "others"):
                w = w + row * other
                if other[0] < 0.0:
                    break
            log.append("between")
            if row[0] < 0.0:
                break
    except ValueError:
        log.append("caught")
    log.append("after")
    return w.sum()


def kept_in_a_variable(x, w, log):
    rows = named(x, log, "rows")
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    return w.sum()


FINALIZED = [
    kept_in_a_variable,
    left_inside_a_manager,
    suspended_in_its_try,
    left_inside_a_try,
    left_before_its_finally,
    left_before_the_finally_of_another,
    returns_out_of_a_callee,
    left_out_of_two_loops,
    left_through_a_finally,
]


@pytest.mark.parametrize("function", [*PROGRAMS, *FINALIZED])
def test_same_results_and_log(function):
    step = compare(function)
    assert step.reason is None
    assert step.stats.graph_calls == 6 and step.stats.host_calls > 0
    assert "python" not in {point.kind for point in step._lifecycle.prepared.sites.points.values()}


@pytest.mark.parametrize("function", [*PROGRAMS, *FINALIZED])
def test_every_guard_forced_to_fail(function):
    step = compare(function)
    for number in range(max(count_guards(found.captured) for found in step.specializations)):
        _PIPELINE._forced.clear()
        with config.override(fail_guard=number):
            compare(function)


TAKEN_OVER = [suspended_in_its_try, returns_out_of_a_callee, left_out_of_two_loops, left_through_a_finally]


@pytest.mark.parametrize("function", TAKEN_OVER)
def test_a_generator_is_finalized_there_where_its_loop_is_taken_over(function, monkeypatch):
    monkeypatch.setattr(replacement, "MINIMUM_TRIPS", 1)
    monkeypatch.setattr(replacement, "HOT_SECONDS", -1.0)
    assert compare(function).stats.loop_entries > 0


def bar_in_a_variable(x, w, log):
    rows = bar(x, log)
    for row in rows:
        w = w + row
        if row[0] < 0.0:
            break
    log.append("after")
    note(log, "and after")
    return w.sum()


def test_a_generator_without_source_is_kept_by_its_variable():
    step = compare(bar_in_a_variable)
    assert step.reason is None and step.stats.graph_calls == 6 and step.stats.host_calls > 0


def raises_in_python(x, w, log):
    for row in named(x, log, "outer"):
        for other in named(x, log, "inner"):
            w = w + row * other
            refuse(log, w[0] < 1.0)
    return w.sum()


def refuse(log, refused):
    if refused:
        log.append("refused")
        raise ValueError("refused")


def raises_in_the_graph(x, w, log):
    for row in named(x, log, "rows"):
        w = w + row
        w = w + x[int(row[0] < 0.0) * 7]
    return w.sum()


def raises_in_a_callee(x, w, log):
    total = 0.0
    for row in named(x, log, "rows"):
        total = total + raises_in_python(x, w + 0.5 * row, log)
    return total


@pytest.mark.parametrize("function", [raises_in_python, raises_in_the_graph, raises_in_a_callee])
def test_a_generator_is_finalized_where_an_exception_leaves_its_loop(function):
    def caught(called, x, log):
        try:
            return called(x, np.ones(3), log)
        except (ValueError, IndexError) as error:
            log.append("caught")  # while the exception holds the frames
            return str(error)

    step, plain, jitted = jj.jit(function, background=False), [], []
    for number in range(16):
        x = np.random.default_rng(number).normal(size=(2, 3))
        found, wanted = caught(step, x.copy(), jitted), caught(function, x, plain)
        assert jitted == plain
        np.testing.assert_allclose(found, wanted, rtol=1e-12) if not isinstance(wanted, str) else None
        assert isinstance(wanted, float) or found == wanted
    assert "caught" in plain and step.stats.graph_calls > 0 and step.stats.host_calls > 0


exec(
    "def bar(rows, log):\n    try:\n        yield from rows\n    finally:\n        log.append('closed')\n", space
)  # no source: capture cannot follow it
bar = space["bar"]


def breaks_out_of_a_bar(x, w, log):
    total = 0.0
    for row in bar(x, log):
        total = total + np.tanh(row @ w)
        if len(log) % 2 == 0:
            break
    log.append("after")
    return total


def first(x, w, log):
    for row in bar(x, log):
        if row.sum() < 100.0:
            return np.tanh(row @ w)
    return 0.0


def returns_out_of_a_bar(x, w, log):
    total = first(x, w, log)
    log.append("after")
    return total


@pytest.mark.parametrize("function", [breaks_out_of_a_bar, returns_out_of_a_bar])
def test_a_generator_without_source_is_dropped_where_its_loop_is_left(function):
    step = compare(function)
    assert step.reason is None and step.stats.graph_calls == 6 and step.stats.host_calls > 0


def caught_behind_the_loop(x, w, log):
    try:
        for row in bar(x, log):
            w = w + row
            if row[0] < 0.0:
                raise ValueError
    except ValueError:
        log.append("caught")
    finally:
        log.append("end")
    return w.sum()


def sum_until_negative(x, w, log):
    for row in named(x, log, "rows"):
        w = w + row
        if row[0] < 0.0:
            raise ValueError
    return w.sum()


def caught_by_the_caller(x, w, log):
    try:
        total = sum_until_negative(x, w, log)
    except ValueError:
        log.append("caught")
        total = 0.0
    return total


@pytest.mark.parametrize("function", [caught_behind_the_loop, caught_by_the_caller])
def test_a_generator_is_dropped_before_its_loops_exception_is_handled(function):
    step = compare(function)
    assert step.reason is None and step.stats.graph_calls == 6 and step.stats.deopts > 0  # Python goes to the handler


def bar_inside_a_manager(x, w, log):
    with Logged(log, "outside"):
        for row in bar(x, log):
            w = w + row
            if row[0] < 0.0:
                return w.sum()
    log.append("after")
    return w.sum()


def test_a_generator_is_dropped_before_a_manager_around_its_loop_is_left():
    step = compare(bar_inside_a_manager)
    assert step.stats.graph_calls == 6 and step.stats.host_calls > 0
