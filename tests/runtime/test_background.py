"""Compilation beside the program: the default, and how to wait for it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import janusjit as jj
from janusjit.config import override
from janusjit.runtime import background, building, function_lifecycle, statistics
from janusjit.runtime.pipeline import Pipeline
from tests.commit_points.programs import Host

PROGRAM = """
import numpy as np
import janusjit as jj

@jj.jit
def step(w, x):
    return np.tanh(w @ x).sum()

w, x = np.ones((3, 3)), np.ones(3)
for _ in range(3):
    step(w, x)
assert step.stats.calls == 3
{more}
print("done", step.stats.graph_calls)
"""


def run(folder, more, **environment):
    program = folder / "program.py"
    program.write_text(PROGRAM.format(more=more))
    result = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env={**os.environ, "JANUSJIT_QUIET": "1", **environment},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def held_compiler(monkeypatch):
    """Make compilations wait for the returned event."""
    go_on = threading.Event()
    compile_ = building.Builder._compile

    def held(self, attempt, build):
        assert go_on.wait(60)
        return compile_(self, attempt, build)

    monkeypatch.setattr(building.Builder, "_compile", held)
    return go_on


def test_calls_go_on_in_python_meanwhile_and_waiting_settles(monkeypatch):
    go_on = held_compiler(monkeypatch)

    @jj.jit(background=True)
    def step(w, x):
        w += np.tanh(x)
        return w.sum()

    w = np.zeros(3)
    for _ in range(10):
        step(w, np.ones(3))
    assert step.stats.graph_calls == 0 and step.stats.eager_calls == 10
    assert not step.wait(0.01) and not jj.wait(0.01)
    go_on.set()
    assert step.wait(60) and jj.wait(60)
    for _ in range(10):
        step(w, np.ones(3))
    assert step.stats.graph_calls == 10 and step.stats.calls == 20
    np.testing.assert_allclose(w, 20 * np.tanh(1.0), rtol=1e-14)


def test_waiting_costs_calls_next_to_nothing(monkeypatch):
    go_on = held_compiler(monkeypatch)

    @jj.jit(background=True)
    def double(x):
        return x * 2.0

    slow = []
    call_slowly = type(double)._call_slowly
    monkeypatch.setattr(
        type(double), "_call_slowly", lambda self, *given: slow.append(given) or call_slowly(self, *given)
    )
    for _ in range(3):
        double(np.ones(3))
    for _ in range(197):
        np.testing.assert_array_equal(double(np.ones(3)), np.full(3, 2.0))
    assert len(slow) < 10 and double.stats.eager_calls == double.stats.calls == 200
    go_on.set()
    assert double.wait(60)
    np.testing.assert_array_equal(double(np.ones(3)), np.full(3, 2.0))
    assert double.stats.graph_calls == 1


def test_calls_give_way_to_the_compiler_now_and_then(monkeypatch):
    go_on, given = held_compiler(monkeypatch), []
    monkeypatch.setattr(function_lifecycle, "give_way", lambda: given.append(None))

    @jj.jit(background=True)
    def double(x):
        return x * 2.0

    for _ in range(1000):
        np.testing.assert_array_equal(double(np.ones(3)), np.full(3, 2.0))
    assert 1000 // 128 <= len(given) <= 200 and double.stats.eager_calls == 1000
    go_on.set()
    while not double.stats.graph_calls:
        assert double.wait(60) and double.stats.calls < 1020
        double(np.ones(3))
    count = len(given)
    for _ in range(200):
        double(np.ones(3))
    assert double.stats.graph_calls > 100 and len(given) == count


def test_a_guard_that_fails_while_the_compiler_is_busy(monkeypatch):
    go_on = held_compiler(monkeypatch)

    @jj.jit(background=True)
    def double(x):
        return x * 2.0

    for _ in range(3):
        double(np.ones(3))
    np.testing.assert_array_equal(double(np.ones(5)), np.full(5, 2.0))
    go_on.set()
    assert double.wait(60)
    for _ in range(3):
        np.testing.assert_array_equal(double(np.ones(5)), np.full(5, 2.0))
        double.wait(60)
    np.testing.assert_array_equal(double(np.ones(3)), np.full(3, 2.0))
    assert double.stats.graph_calls >= 2


def test_it_is_the_default(tmp_path):
    assert run(tmp_path, "assert step._options.background", JANUSJIT_BACKGROUND="").startswith("done")
    assert run(tmp_path, "assert not step._options.background", JANUSJIT_BACKGROUND="0") == "done 1\n"
    assert run(tmp_path, "jj.wait(); step(w, x)", JANUSJIT_BACKGROUND="1") == "done 1\n"


def test_the_program_may_end_before_the_compiler_does(tmp_path):
    assert run(tmp_path, "", JANUSJIT_BACKGROUND="1").startswith("done")


def test_a_policy_that_refuses_python_compiles_at_once():
    @jj.jit(policy="raise", background=True)
    def double(x):
        return x * 2.0

    for _ in range(4):
        double(np.ones(3))
    assert double.stats.graph_calls == 2


def test_a_thread_that_outlives_the_main_one_runs_in_python(tmp_path):
    more = """
import threading, time

def go_on():
    threading.main_thread().join()
    for _ in range(5):
        another(w, x)
    print("went on", another.stats.eager_calls)

@jj.jit
def another(w, x):
    return np.tanh(w @ x).sum()

threading.Thread(target=go_on).start()
"""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(more=more))
    environment = {**os.environ, "JANUSJIT_QUIET": "1", "JANUSJIT_BACKGROUND": "1"}
    result = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment)
    assert result.returncode == 0 and result.stderr == "" and "went on 5" in result.stdout


@pytest.mark.parametrize("calls", [0, 2, 4])
def test_calls_while_the_interpreter_ends(tmp_path, calls):
    more = f"""
import atexit, sys

@jj.jit(background=False)
def last(w, x):
    return np.tanh(w @ x).sum()

class Closing:
    def __init__(self):
        self.around, self.parts = self, (last, step, w, x, print, sys.is_finalizing)

    def __del__(self):
        last, step, w, x, print, is_finalizing = self.parts
        for _ in range(6):
            assert last(w, x) == step(w, x)
        print("closed", is_finalizing(), last.stats.graph_calls)

for _ in range({calls}):
    last(w, x)
atexit.register(lambda: [step(w, x) for _ in range(4)])
sys.modules["kept to the end"] = Closing()
"""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(more=more))
    environment = {**os.environ, "JANUSJIT_QUIET": "1", "JANUSJIT_BACKGROUND": "1"}
    result = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment)
    assert result.returncode == 0 and result.stderr == ""
    assert f"closed True {max(calls - 2, 0)}" in result.stdout


def test_without_threads_calls_go_on_in_python_and_are_compiled_later(monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    @jj.jit(background=True)
    def step(x):
        return np.tanh(x).sum()

    with monkeypatch.context() as patch:
        patch.setattr(background, "_worker", None)
        patch.setattr(threading.Thread, "start", no_thread)
        for _ in range(5):
            step(np.ones(3))
    assert step.stats.eager_calls == 5
    for _ in range(200):
        step(np.ones(3))
        step.wait(60)
    assert step.stats.graph_calls > 0 and step.stats.compile_seconds > 0.0


def test_an_interrupt_in_the_compiler_is_the_programs():
    class Interrupted(KeyboardInterrupt):
        pass

    def stage():
        try:
            raise Interrupted
        finally:
            {}["what the interrupted step would have put there"]

    def outcome():
        try:
            return building.guarded(stage)
        except Interrupted:
            return "interrupted"

    assert outcome() == "interrupted"
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:  # what the program is handling meanwhile is no interrupt of the compiler
        assert outcome() == "interrupted"
        with override(verify=False):
            assert building.guarded(lambda: {}["missing"]).code == "bug.internal"


class TimedOut(Exception):
    pass


def raise_timed_out(*arguments):
    raise TimedOut


@pytest.mark.parametrize(
    "handler", [raise_timed_out, functools.partial(raise_timed_out, 1), type("", (), {"__call__": raise_timed_out})()]
)
def test_an_exception_of_a_signals_handler_in_the_compiler_is_the_programs(handler):
    def stage():
        signal.raise_signal(signal.SIGUSR1)
        return "not reached"

    def cleaning_up():
        try:
            stage()
        finally:
            {}["what the interrupted step would have put there"]

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        for way in (stage, cleaning_up):
            with pytest.raises(TimedOut):
                building.guarded(way)
        with override(verify=False):
            assert building.guarded(lambda: {}["missing"]).code == "bug.internal"
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("stage", ["prepare", "capture", "compile"])
def test_a_signal_at_any_stage_leaves_the_function_as_it_was(monkeypatch, stage):
    @jj.jit(background=False)
    def step(state, x):
        state["n"] += 1
        state["w"] += x
        return state["n"]

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGUSR1)

    state = {"n": 0, "w": np.zeros(2)}
    before = signal.signal(signal.SIGUSR1, raise_timed_out)
    try:
        for _ in range(0 if stage == "prepare" else 2):
            step(state, 1.0)
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, stage, interrupted)
            with pytest.raises(TimedOut):
                step(state, 1.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
    done = state["n"]
    for number in range(6):
        assert step(state, 1.0) == done + number + 1
    assert state["w"].tolist() == [state["n"]] * 2 and step.stats.graph_calls >= 4 and step.reason is None


@pytest.mark.parametrize("is_submitted", [False, True])
def test_an_interrupt_while_a_compilation_is_handed_over(monkeypatch, is_submitted):
    """The function is compiled at another call, whether or not the compiler has got this one."""
    compile_later = building.Builder.compile_later

    def interrupted(self, attempt, done):
        if is_submitted:
            compile_later(self, attempt, done).result(60)
        raise KeyboardInterrupt

    @jj.jit(background=True)
    def step(x):
        return x * 2.0 + 1.0

    with monkeypatch.context() as patch:
        patch.setattr(building.Builder, "compile_later", interrupted)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(5):
                np.testing.assert_array_equal(step(np.ones(3)), 3.0)
    for _ in range(200):
        np.testing.assert_array_equal(step(np.ones(3)), 3.0)
        step.wait(60)
    assert step.stats.graph_calls > 0


LONG = """
import os, sys
import numpy as np
import janusjit as jj
from janusjit.runtime import building

lines = ["def step(x):", *(f"    x = x * {1 + n / 1000} + {n}" for n in range(300)), "    return x"]
with open("long_function.py", "w") as file:
    file.write("\\n".join(lines))
sys.path.insert(0, "")
import long_function

x, capturing = np.ones(3), []
capture = building.Builder.capture
building.Builder.capture = lambda *given: capturing.append(1) or capture(*given)
step = jj.jit(long_function.step, background=True)
while not capturing:
    step(x)
print("graph calls", step.stats.graph_calls, "specializations", step.stats.specializations, flush=True)
"""


def test_a_program_that_ends_stops_the_compiler(tmp_path):
    program, events = tmp_path / "program.py", tmp_path / "events"
    program.write_text(LONG)
    settings = {"JANUSJIT_QUIET": "1", "JANUSJIT_EVENTS": str(events)}
    result = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env={**os.environ, **settings},
        cwd=tmp_path,
        timeout=120,
    )
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout == "graph calls 0 specializations 0\n"
    assert "profiled" in events.read_text() and "specialized" not in events.read_text()


def test_nothing_is_begun_when_the_program_has_ended(monkeypatch):
    monkeypatch.setattr(background, "_has_ended", True)
    assert background.submit(lambda: None) is None

    @jj.jit(background=True)
    def scaled(x):
        return x * 2.0 - 1.0

    for _ in range(40):
        np.testing.assert_array_equal(scaled(np.ones(3)), np.ones(3))
    assert scaled.stats.calls == 40


def test_the_thread_goes_on_after_a_failure():
    def fails():
        raise ValueError("not this one")

    first = background.submit(fails)
    done = []
    background.submit(lambda: done.append(threading.current_thread().name)).result(60)
    assert isinstance(first.exception(60), ValueError) and done == ["janusjit-compiler"]


@pytest.mark.parametrize("seconds", [1e-4, 1e4])
def test_a_short_call_does_not_wait_for_what_follows_a_host_call(monkeypatch, seconds):
    compiled, compile_ = [], building.Builder._compile

    def noted(self, attempt, build):
        compiled.append((type(self).__name__, threading.current_thread() is threading.main_thread()))
        return compile_(self, attempt, build)

    monkeypatch.setattr(building.Builder, "_compile", noted)
    monkeypatch.setattr(statistics.Tally, "about_eager_seconds", lambda self: seconds)
    host = Host()

    def program(x):
        y = np.tanh(x) * 2.0
        host.note(y)
        return (y + 1.0).sum()

    with override(trials=False):
        jitted = jj.jit(program, background=True)
        for _ in range(40):
            assert jitted(np.ones(3)) == program(np.ones(3))
            assert jitted.wait(60)
    after = [waited for builder, waited in compiled if builder == "_ContinuationBuilder"]
    assert after == [seconds > 1.0]
    assert jitted.stats.graph_calls >= 30 and jitted.stats.host_calls >= 30 and len(host.seen) == 80
    entries = [part.entries for part in jitted._lifecycle.resumptions.continuations.values()]
    assert entries and all(entries)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_compiles_what_follows_a_host_call_itself(monkeypatch):
    monkeypatch.setattr(statistics.Tally, "about_eager_seconds", lambda self: 1e-4)
    host, go_on = Host(), threading.Event()
    later = building.Builder._compile_beside

    def program(x):
        y = x * 3.0
        host.note(y)
        return (y - 1.0).sum()

    with override(trials=False):
        jitted = jj.jit(program, background=True)
        for _ in range(10):
            jitted(np.ones(3))
            jitted.wait(60)
            if jitted.stats.graph_calls:
                break
        part = next(iter(jitted._lifecycle.resumptions.continuations.values()))
        with monkeypatch.context() as patch:
            patch.setattr(building.Builder, "_compile_beside", lambda *given: go_on.wait(60) and later(*given))
            part.cache.retire(next(iter(part.cache))) if len(part.cache) else None
            part._settle()
            for _ in range(10):
                jitted(np.ones(3))
            assert part._compiling.locked()
            child = os.fork()
            if child == 0:
                building.Builder._compile_beside = later
                for _ in range(10):
                    jitted(np.ones(3))
                    jitted.wait(60)
                os._exit(0 if part.entries else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            go_on.set()
            assert jitted.wait(60)
