"""Functions that are made ready beside their calls, and calls that are not one of many."""

import os
import sys
import threading

import numpy as np
import pytest

import janusjit as jj
from janusjit.runtime import background, building, preparation, replacement
from janusjit.runtime.surroundings import is_one_of_many

COUNT = 5


def scaled(x):
    return np.tanh(x) * 0.5


def step(x):
    return scaled(x).sum() + 1.0


def held_preparation(monkeypatch):
    """Make preparations beside the program wait for the returned event."""
    go_on = threading.Event()
    beside = building.Builder.beside
    monkeypatch.setattr(
        building.Builder, "beside", lambda self, work: beside(self, lambda: go_on.wait(60) and work())
    )
    return go_on


def test_calls_of_many_go_on_in_python_while_the_function_is_made_ready():
    jitted = jj.jit(background=True)(step)
    x, seen = np.ones(3), []
    for _ in range(100):
        np.testing.assert_allclose(jitted(x), step(x), rtol=1e-14)
        assert jitted.wait(60)
        seen.append((jitted.stats.profiled_calls, jitted.stats.graph_calls))
    # plain; profiled, but for `scaled`; twice profiled; captured; from the graph
    assert seen[:6] == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 0), (3, 1)]
    assert jitted._lifecycle.preparation.partial_calls == 1
    assert jitted.stats.graph_calls == 95 and jitted.stats.deopts == 0


def test_calls_before_the_function_is_ready_do_not_look_for_more(monkeypatch):
    go_on = held_preparation(monkeypatch)
    jitted, slow = jj.jit(background=True)(step), []
    call_slowly = type(jitted)._call_slowly
    monkeypatch.setattr(
        type(jitted), "_call_slowly", lambda self, *given: slow.append(given) or call_slowly(self, *given)
    )
    for _ in range(300):
        jitted(np.ones(3))
    assert jitted.stats.eager_calls == 300 and jitted.stats.profiled_calls == 0 and len(slow) < 10
    go_on.set()
    assert jitted.wait(60)
    jitted(np.ones(3))
    assert jitted.stats.profiled_calls == 1


def test_a_call_that_stands_alone_is_profiled_at_once():
    jitted = jj.jit(background=True)(step)
    jitted(np.ones(3))
    assert jitted.stats.profiled_calls == 1 and jitted._lifecycle.preparation.future is None


def test_a_loop_of_a_call_that_stands_alone_is_taken_over(monkeypatch):
    monkeypatch.setattr(replacement, "HOT_SECONDS", 0.0)

    def train(x, count):
        for _ in range(count):
            x = x + scaled(x)
        return x

    jitted = jj.jit(background=True)(train)
    np.testing.assert_allclose(jitted(np.ones(3), 64), train(np.ones(3), 64), rtol=1e-12)
    assert jitted.stats.loop_entries == 1 and jitted.stats.profiled_calls == 1


def test_no_loop_is_taken_over_before_its_functions_are_profiled(monkeypatch):
    monkeypatch.setattr(replacement, "HOT_SECONDS", 0.0)

    def train(x, count):
        for _ in range(count):
            x = x + scaled(x)
        return x

    jitted, entries = jj.jit(background=True)(train), []
    go_on = None
    for number in range(40):
        if number == 1:
            go_on = held_preparation(monkeypatch)
        np.testing.assert_allclose(jitted(np.ones(3), 32), train(np.ones(3), 32), rtol=1e-12)
        if go_on is not None:
            go_on.set()
        assert jitted.wait(60)
        entries.append(jitted.stats.loop_entries)
    assert entries[:3] == [0, 0, 1] and jitted._lifecycle.preparation.partial_calls == 1


def test_functions_that_are_new_in_each_call_are_profiled_in_the_end():
    def calls_new(x):
        names = {}
        exec("def fresh(x): return x + 1.0", names)
        return names["fresh"](x) + scaled(x)

    jitted = jj.jit(background=True)(calls_new)
    for _ in range(40):
        np.testing.assert_array_equal(jitted(np.ones(3)), calls_new(np.ones(3)))
        assert jitted.wait(60)
    assert jitted._lifecycle.preparation.partial_calls <= preparation._MOST_PARTIAL
    assert jitted.stats.profiled_calls - jitted._lifecycle.preparation.partial_calls == 2


def test_without_threads_functions_are_made_ready_at_once(monkeypatch):
    monkeypatch.setattr(background, "submit", lambda work: None)
    jitted = jj.jit(background=True)(step)
    for _ in range(40):
        assert jitted(np.ones(3)) == step(np.ones(3))
    assert jitted.stats.profiled_calls == 2 and jitted._lifecycle.preparation.partial_calls == 0


def test_a_function_without_source_stays_in_python(monkeypatch):
    names = {}
    exec("def double(x): return x * 2.0", names)
    jitted = jj.jit(background=True, policy="fallback")(names["double"])
    for _ in range(40):
        np.testing.assert_array_equal(jitted(np.ones(3)), np.full(3, 2.0))
        assert jitted.wait(60)
    assert jitted.reason.code.startswith("source.") and jitted.stats.eager_calls == 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_begins_again(monkeypatch):
    go_on = held_preparation(monkeypatch)
    jitted = jj.jit(background=True)(step)
    for _ in range(40):
        jitted(np.ones(3))
    assert jitted._lifecycle.preparation.under_way
    jitted._lifecycle.forget_threads()
    assert not jitted._lifecycle.preparation.under_way and not jitted._lifecycle.plain
    for _ in range(40):
        jitted(np.ones(3))
    assert jitted._lifecycle.preparation.under_way and jitted.stats.profiled_calls == 0
    go_on.set()
    assert jitted.wait(60)
    assert jitted(np.ones(3)) == step(np.ones(3)) and jitted.stats.profiled_calls == 1


def test_several_threads_call_a_function_that_is_made_ready():
    jitted, results = jj.jit(background=True)(step), []

    def call():
        for number in range(400):
            results.append(jitted(np.full(3, float(number))))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jitted.wait(60)
    expected = sorted([step(np.full(3, float(number))) for number in range(400)] * 4)
    np.testing.assert_allclose(sorted(results), expected, rtol=1e-14)
    assert jitted.stats.calls == 1600 and jitted.reason is None


def test_where_a_call_is_one_of_many():
    few, rows, found = (1, 2), tuple(range(100)), {}
    found["alone"] = is_one_of_many()
    for _ in few:
        found["rows"] = is_one_of_many()
    for _ in range(COUNT):
        found["few"] = is_one_of_many()
        for _ in range(2, 100, 2):
            found["few times many"] = is_one_of_many()
        for _ in [1, few, rows]:
            found["few times few"] = is_one_of_many()
    for _ in (0.1, 0.2):
        found["constants"] = is_one_of_many()
    while "while" not in found:
        found["while"] = is_one_of_many()
    for _ in enumerate(rows):
        with np.errstate(all="ignore"):
            found["with"] = is_one_of_many()
    found["comprehension"] = {is_one_of_many() for _ in rows} == {True}
    found["behind"] = is_one_of_many()
    many = {name for name, is_many in found.items() if is_many}
    assert many == {"rows", "few times many", "while", "with", "comprehension"}


def test_a_loop_around_the_caller_counts():
    def inner():
        return is_one_of_many()

    found = [inner() for _ in iter((1, 2))]
    assert found == [True, True] and not inner()
    assert not is_one_of_many(sys._getframe())
