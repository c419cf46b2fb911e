"""Loops that something from outside ends: signals, their handlers' exceptions, other threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import janusjit as jj
from janusjit.analysis.continuation import points_of
from janusjit.backend.llvm.interruptions import flag_offset
from janusjit.runtime import native_call
from janusjit.runtime.pipeline import Pipeline

compiled = jj.jit(background=False)
stop = False


class Interrupted(KeyboardInterrupt):
    pass


@pytest.fixture(autouse=True)
def reset() -> Iterator[None]:
    global stop
    before = signal.getsignal(signal.SIGALRM)
    stop = False
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def end(*arguments: Any) -> None:
    global stop
    stop = True


def interrupt(*arguments: Any) -> None:
    raise Interrupted


def after(seconds: float, handler: Callable[..., Any]) -> None:
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def in_thread(seconds: float, action: Callable[..., Any]) -> threading.Thread:
    def run() -> None:
        time.sleep(seconds)
        action()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@compiled
def until_stopped(x, limit):
    turns = 0
    while not stop:
        x += 1.0
        turns += 1
        if turns >= limit:
            break
    return turns


@compiled
def waits():
    while not stop:
        pass
    return "over"


def warm(function: Callable[..., Any], *arguments: Any) -> Any:
    for _ in range(6):
        function(*arguments)
    assert function.stats.graph_calls >= 3  # type: ignore[attr-defined]
    return function.stats  # type: ignore[attr-defined]


def test_the_flag_is_where_it_is_expected() -> None:
    assert flag_offset() is not None


def test_a_handler_ends_a_loop() -> None:
    x = np.zeros(3)
    calls = warm(until_stopped, x, 100).calls
    x[:] = 0.0
    after(0.1, end)
    turns = until_stopped(x, 1 << 62)
    assert stop and turns > 100 and x.tolist() == [turns] * 3
    assert until_stopped.stats.deopts >= 1 and until_stopped.stats.calls == calls + 1


def test_another_thread_ends_a_loop() -> None:
    x = np.zeros(3)
    warm(until_stopped, x, 100)
    x[:] = 0.0
    thread = in_thread(0.1, end)
    turns = until_stopped(x, 1 << 62)
    thread.join()
    assert stop and x.tolist() == [turns] * 3


@pytest.mark.parametrize("begin", [lambda: after(0.1, end), lambda: in_thread(0.1, end)])
def test_a_loop_that_does_nothing_but_wait(begin: Callable[[], Any]) -> None:
    global stop
    stop = True
    for _ in range(4):
        assert waits() == "over"
    stop = False
    for _ in range(3):
        stop = False
        begin()
        assert waits() == "over" and stop


def test_an_exception_of_a_handler_leaves_a_loop_at_the_end_of_a_turn() -> None:
    @compiled
    def train(state, x):
        while state["turns"] < state["limit"]:
            state["sum"] += x
            state["turns"] += 1
        return state["turns"]

    state = {"sum": np.zeros(2), "turns": 0, "limit": 100}
    for number in range(6):
        state["limit"] = 100 * (number + 1)
        train(state, 1.0)
    assert train.stats.graph_calls >= 3
    state["limit"] = 1 << 62
    after(0.1, interrupt)
    with pytest.raises(Interrupted):
        train(state, 1.0)
    assert state["turns"] > 600 and state["sum"].tolist()[0] - state["turns"] in (0, 1)
    reached = state["limit"] = state["turns"] + 50
    assert train(state, 1.0) == reached


def test_handlers_of_exceptions_around_a_loop_see_what_a_signal_raises() -> None:
    said: list[Any] = []

    @compiled
    def train(x, limit):
        turns = 0
        try:
            while turns < limit:
                x += 1.0
                turns += 1
        except KeyboardInterrupt as error:
            said.append((type(error), turns))
            return -turns
        finally:
            said.append("finally")
        return turns

    x = np.zeros(2)
    for _ in range(6):
        assert train(x, 100) == 100
    assert train.stats.graph_calls >= 3
    x[:] = 0.0
    said.clear()
    after(0.1, interrupt)
    turns = -train(x, 1 << 62)
    assert said == [(Interrupted, turns), "finally"] and turns > 100 and x[0] - turns in (0, 1)
    assert train(x, 10) == 10


def test_a_test_that_has_effects_is_not_made_twice() -> None:
    box = SimpleNamespace(asked=0)

    def goes_on(box):
        box.asked += 1
        return not stop

    @compiled
    def run(box, x):
        turns = 0
        while goes_on(box) and turns < x:
            turns += 1
        return turns

    for _ in range(6):
        box.asked = 0
        assert run(box, 100) == 100 and box.asked == 101
    assert run.stats.graph_calls >= 3
    box.asked = 0
    after(0.1, end)
    turns = run(box, 1 << 62)
    assert stop and box.asked == turns + 1


def test_calls_that_nothing_interrupts_stay_in_the_graph() -> None:
    x = np.zeros(3)
    before = warm(until_stopped, x, 100)
    for _ in range(20):
        assert until_stopped(x, 100) == 100
    now = until_stopped.stats
    assert now.graph_calls == before.graph_calls + 20 and now.deopts == before.deopts


@pytest.mark.parametrize("handler", [interrupt, signal.default_int_handler])
def test_handlers_of_exceptions_see_what_is_raised_in_the_runtime_before_a_host_call(handler: Any) -> None:
    said: list[Any] = []

    @compiled
    def run(x):
        found = None
        try:
            x = x * 2.0
            found = host(x.sum())
        except KeyboardInterrupt:
            said.append(("caught", float(x[0]), found))
        finally:
            said.append("finally")
        return x

    def host(total):
        return eval("total + 1.0")

    for _ in range(8):
        assert run(np.ones(3))[0] == 2.0
    graph_calls, host_calls = run.stats.graph_calls, run.stats.host_calls
    assert graph_calls >= 5 and said == ["finally"] * 8
    points = {id(one): one for spec in run.specializations for one in points_of(spec.captured) if one.kind == "host"}
    assert points
    signal.signal(signal.SIGALRM, handler)

    def interrupting(runner: Any) -> Any:
        def first(result: Any) -> Any:
            signal.raise_signal(signal.SIGALRM)
            return runner(result)

        return first

    for point in points.values():
        point.runner = interrupting(point.runner)
    said.clear()
    try:
        assert run(np.ones(3))[0] == 2.0
    except KeyboardInterrupt:  # which would end all tests
        said.append("outside")
    assert said == [("caught", 2.0, None), "finally"]
    assert (run.stats.graph_calls, run.stats.host_calls) == (graph_calls + 1, host_calls), "the call was not made"


def test_handlers_of_exceptions_see_what_is_raised_between_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    def opaque(n):
        return eval("n + 1")

    def make():
        @compiled
        def run(x):
            done = 0
            try:
                while done < 200:
                    for _ in range(2000):
                        x = x * 1.0000001
                    done = opaque(done)
            except KeyboardInterrupt:
                said.append("caught")
            finally:
                said.append("finally")
            return done

        return run

    caught = 0
    run = make()
    native_call.prepare()  # or the first settled call of the process would do so, before its function begins
    for _ in range(8):  # until nothing is compiled any more
        run(np.ones(3))
    host_calls = run.stats.host_calls
    for delay in (0.0003, 0.0007, 0.001, 0.0015, 0.002):
        said.clear()
        after(delay, interrupt)
        try:
            run(np.ones(3))
            time.sleep(delay + 0.05)
        except Interrupted:
            said.append("outside")
        caught += "caught" in said
        assert said in (["caught", "finally"], ["finally", "outside"])
    assert caught and run.stats.host_calls > host_calls

    def interrupted(*arguments: Any) -> None:
        raise Interrupted

    run = make()
    run(np.ones(3))
    run(np.ones(3))
    said.clear()
    with monkeypatch.context() as patch:  # the function itself is captured, and what follows the first host call is not
        patch.setattr(Pipeline, "capture_continuation", interrupted)
        run(np.ones(3))
    assert said == ["caught", "finally"]
    said.clear()
    assert run(np.ones(3)) == 200 and said == ["finally"]


def test_an_interrupt_within_the_compiler_leaves_the_error_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = np.errstate.__enter__
    interruptions = []

    def enter_and_be_interrupted(self: Any) -> None:
        entered(self)
        if np.geterr()["over"] == "raise" and not interruptions:
            interruptions.append(True)
            signal.raise_signal(signal.SIGALRM)

    def scaled(x: Any) -> Any:
        return x * (2**3 + len(x))

    function, before = jj.jit(scaled, warmup=2, background=False), np.geterr()
    x = np.ones(3)
    signal.signal(signal.SIGALRM, interrupt)
    function(x)
    function(x)
    monkeypatch.setattr(np.errstate, "__enter__", enter_and_be_interrupted)
    with pytest.raises(Interrupted):
        function(x)
    assert interruptions and np.geterr() == before
    assert [function(x)[0] for _ in range(3)] == [11.0] * 3
    assert function.stats.graph_calls > 0
