"""The call that captures waits for a snapshot of its arguments, not for capture."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis import snapshot
from janusjit.analysis.snapshot import snapshot_of
from janusjit.runtime import background, building, preparation
from tests.constructs import data_and_classes, state_and_effects
from tests.constructs.construct import judge

SCALE = [2.0]


class Model:
    def __init__(self, width):
        self.weights = {"w": np.ones((3, width)), "b": np.zeros(width)}
        self.rate, self.steps = 0.1, 0

    def step(self, x):
        self.steps += 1
        hidden = np.tanh(x @ self.weights["w"] + self.weights["b"])
        self.weights["w"] = self.weights["w"] - self.rate * x.T @ hidden
        return hidden.sum()


def captured_on(monkeypatch):
    """Return the threads that functions are captured on from now on."""
    threads = []
    capture = building.Builder.capture

    def noted(self, *given):
        threads.append(threading.current_thread())
        return capture(self, *given)

    monkeypatch.setattr(building.Builder, "capture", noted)
    return threads


def settle(function, *arguments, calls=40):
    """Call a function as one of many, waiting for what goes on beside it; return its results."""
    results = []
    for _ in range(calls):
        results.append(function(*arguments))
        assert function.wait(60)
    return results


def test_capture_goes_on_beside_the_program(monkeypatch):
    threads = captured_on(monkeypatch)

    def step(shared, x):
        shared["w"] -= 0.1 * np.tanh(x @ shared["w"])
        return shared["w"].sum()

    jitted, x = jj.jit(background=True)(step), np.full((4, 4), 0.5)
    mine, other = {"w": np.ones(4)}, {"w": np.ones(4)}
    np.testing.assert_allclose(settle(jitted, mine, x), [step(other, x) for _ in range(40)], rtol=1e-12)
    np.testing.assert_allclose(mine["w"], other["w"], rtol=1e-12)
    assert len(threads) == 1 and threads[0] is not threading.current_thread()
    assert jitted.stats.graph_calls >= 30 and jitted.stats.deopts == 0


def test_what_is_seen_to_go_another_way_is_captured_again_beside(monkeypatch):
    threads = captured_on(monkeypatch)

    def step(x):
        if x.sum() > 0.0:
            return np.tanh(x)
        return x * 2.0

    jitted = jj.jit(background=True)(step)
    np.testing.assert_allclose(settle(jitted, np.ones(3)), [step(np.ones(3))] * 40, rtol=1e-14)
    for sign in [-1.0, 1.0] * 20:
        np.testing.assert_allclose(jitted(np.full(3, sign)), step(np.full(3, sign)), rtol=1e-14)
        assert jitted.wait(60)
    assert len(threads) == 2 and threading.current_thread() not in threads
    assert jitted.stats.deopts == 1 and jitted.stats.graph_calls >= 70


def test_objects_are_in_the_snapshot(monkeypatch):
    threads = captured_on(monkeypatch)
    jitted = jj.jit(background=True)(Model.step)
    mine, other, x = Model(2), Model(2), np.full((4, 3), 0.5)
    np.testing.assert_allclose(settle(jitted, mine, x), [other.step(x) for _ in range(40)], rtol=1e-12)
    assert mine.steps == other.steps == 40
    assert len(threads) == 1 and threads[0] is not threading.current_thread()
    assert jitted.stats.graph_calls >= 30 and jitted.stats.deopts == 0


def test_what_is_in_no_snapshot_is_captured_while_the_call_waits(monkeypatch):
    threads = captured_on(monkeypatch)
    jitted = jj.jit(background=True)(lambda x: x * SCALE[0])
    np.testing.assert_array_equal(settle(jitted, np.ones(3)), np.full((40, 3), 2.0))
    assert [thread is threading.current_thread() for thread in threads] == [False, True]
    assert jitted.stats.graph_calls >= 30 and jitted.reason is None


def test_a_failure_is_told_by_a_call_that_waits(monkeypatch):
    threads = captured_on(monkeypatch)
    jitted = jj.jit(background=True, policy="fallback")(lambda x: x[5])
    for _ in range(40):
        with pytest.raises(IndexError):
            jitted(np.ones(3))
        assert jitted.wait(60)
    assert [thread is threading.current_thread() for thread in threads][:2] == [False, True]


def test_how_errors_are_treated_is_that_of_the_call(monkeypatch):
    threads = captured_on(monkeypatch)
    jitted = jj.jit(background=True)(lambda x: 1.0 / x)
    with np.errstate(divide="raise"):
        settle(jitted, np.ones(3))
        assert jitted.stats.graph_calls >= 30 and jitted.stats.deopts == 0 and len(threads) == 1
        with pytest.raises(FloatingPointError):
            jitted(np.zeros(3))


def test_the_program_may_change_everything_meanwhile(monkeypatch):
    capture, at, go_on = building.Builder.capture, threading.Event(), threading.Event()

    def held(self, *given):
        if threading.current_thread() is not threading.main_thread():
            at.set()
            assert go_on.wait(60)
        return capture(self, *given)

    monkeypatch.setattr(building.Builder, "capture", held)
    jitted = jj.jit(background=True)(lambda state: state["x"][0] * state["rate"] + state["x"][1])
    state = {"x": [np.ones(3), np.ones(3)], "rate": 2.0}
    for _ in range(40):
        jitted(state)
        if not jitted._lifecycle.preparation.under_way and at.is_set():
            break
        if jitted._lifecycle.preparation.under_way:
            assert jitted._lifecycle.preparation.future.result(60) is None
    assert at.wait(60)
    state["x"][0].resize(8)  # nobody else refers to it
    state["x"][:] = [np.zeros((2, 2)), 1.0]
    state["rate"] = "none"
    del state["x"][1]
    go_on.set()
    assert jitted.wait(60)
    state = {"x": [np.ones(3), np.full(3, 4.0)], "rate": 2.0}
    for _ in range(40):
        np.testing.assert_array_equal(jitted(state), np.full(3, 6.0))
        assert jitted.wait(60)
    assert jitted.stats.graph_calls >= 30 and jitted.reason is None


def test_a_snapshot_is_alike_and_keeps_nothing_alive():
    array = np.ones((2, 3), order="F")
    array.flags.writeable = False
    model = Model(2)
    items = [array, 1, "text", None]
    given = (array, items, {"model": model, "again": items}, (model, np.float32(2.0)), model)
    found = snapshot_of(given)
    assert found[0].flags.f_contiguous and not found[0].flags.writeable and found[0] is not array
    assert found[1][0] is found[0] and found[1][1:] == [1, "text", None] and found[2]["again"] is found[1]
    assert found[2]["model"] is found[3][0] is found[4] and type(found[4]) is Model
    assert found[4].weights["w"].shape == (3, 2) and found[4].rate == 0.1 and found[3][1] == 2.0
    assert found.holds(found[0]) and found.holds((1, 2.0)) and not found.holds(array) and not found.holds((array,))
    watched = [weakref.ref(array), weakref.ref(model)]
    del array, model, items, given
    gc.collect()
    assert [reference() for reference in watched] == [None, None]


class Finalized:
    def __del__(self):
        raise AssertionError


class Slotted:
    __slots__ = ("x",)


class Key:
    def __hash__(self):
        return 1


def test_there_are_arguments_without_a_snapshot(monkeypatch):
    whole = np.ones(8)
    cyclic = []
    cyclic.append(cyclic)
    unsuitable = [
        np.ones((4, 4))[:, 1], np.array([None]), np.ones(3, ">f8"), Slotted(), {Key(): 1}, np.random.default_rng(0),
        iter([1]), {1, 2}, [[0] * 600] * 2 + [[1] * 600], np.ma.ones(3), sys._getframe(),
    ]  # fmt: skip
    for argument in unsuitable:
        assert snapshot_of([argument]) is None
    assert snapshot_of([whole[:5], whole[4:]]) is None
    assert snapshot_of([whole[:4], whole[4:]]) is not None
    found = snapshot_of([cyclic])
    assert found[0][0] is found[0]
    monkeypatch.setattr(Finalized, "__del__", lambda self: None)
    assert snapshot_of([Finalized()]) is None
    assert snapshot._MOST_OBJECTS < 1200


@pytest.mark.parametrize("module", [data_and_classes, state_and_effects], ids=lambda module: module.__name__)
def test_programs_do_the_same_when_they_are_captured_beside(monkeypatch, module):
    submit, threads = background.submit, captured_on(monkeypatch)

    def submit_and_wait(work):
        future = submit(work)
        future.exception(60)
        return future

    monkeypatch.setattr(background, "submit", submit_and_wait)
    monkeypatch.setattr(preparation, "is_one_of_many", lambda: True)
    found = {}
    for construct in module.CONSTRUCTS:
        verdict = judge(module.__file__, construct.name, jj.jit(background=True, warmup=2))
        found[construct.name] = verdict.letter
        assert verdict.statistics["graph_calls"] > 0, construct.name
    assert set(found.values()) <= {"G", "B"}, found
    assert sum(thread is not threading.main_thread() for thread in threads) >= len(found)
